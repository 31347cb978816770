"""Exported objects, whatever the format: labels, plane by plane, and their records."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam.io.image_file import ImageFile, LazyArray, check_axes
from napari_sam.io.plane_array import PlaneArray

Report = Callable[[float], None]
"""Called with the finished fraction; it may raise an exception to cancel."""

_LONGEST_TABLE = 1 << 24  # highest label for which a lookup table is used rather than a search


@dataclass(frozen=True, slots=True)
class ObjectRecord:
    """Properties of an object besides its pixels.

    Parameters
    ----------
    id
        Its label.
    class_name
        Name of its class; empty if it has none.
    state
        ``proposed``, ``accepted`` or ``locked``.
    origin
        How it was made, such as ``prompted``, ``found`` or ``painted``; empty if unknown.
    score
        IoU that the model predicts; None if it predicts none.
    prompts
        Number of its prompts, such as clicks and boxes.
    seconds
        Time that the user spent on it; None if unknown.
    parent
        Label of the object that it descends from; 0 for none.
    """

    id: int
    class_name: str = ""
    state: str = "proposed"
    origin: str = ""
    score: float | None = None
    prompts: int = 0
    seconds: float | None = None
    parent: int = 0


@dataclass(frozen=True, slots=True)
class ClassRecord:
    """A class of objects.

    Parameters
    ----------
    name
        Its name.
    colour
        ``#rrggbb``; empty if it has none.
    """

    name: str
    colour: str = ""

    @property
    def rgb(self) -> tuple[int, int, int] | None:
        """Red, green and blue from 0 to 255; None where there is no colour."""
        try:
            value = int(self.colour.removeprefix("#"), 16)
        except ValueError:
            return None
        return value >> 16 & 255, value >> 8 & 255, value & 255


@dataclass(frozen=True, slots=True, eq=False)
class ExportedObjects:
    """Objects of an image for export: labels, with a record of each object.

    Parameters
    ----------
    labels
        Integers; planes of an array on disk are read when they are indexed.
    axes
        One letter for each axis of `labels`, ending in ``YX``.
    name
        Name of the image.
    records
        Records by label. Labels without a record are objects, too.
    classes
        Classes in their order; objects may have others, too.
    pixel_size, unit
        As in :class:`~napari_sam.io.ImageFile`.
    image
        The image, with the axes of the labels and possibly colours; None if it isn't available.
    only
        The labels to export; None for all.

    Raises
    ------
    ValueError
        If the labels are not integers, or their axes don't end in ``YX`` or differ from those of
        the image.
    """

    labels: LazyArray
    axes: str
    name: str = "image"
    records: Mapping[int, ObjectRecord] = field(default_factory=dict)
    classes: tuple[ClassRecord, ...] = ()
    pixel_size: Mapping[str, float] | None = None
    unit: str | None = None
    image: ImageFile | None = None
    only: frozenset[int] | None = None

    def __post_init__(self) -> None:
        check_axes(self.axes, tuple(self.labels.shape))
        if not self.axes.endswith("YX") or np.dtype(self.labels.dtype).kind not in "iu":
            raise ValueError(
                f"expected integer labels with axes that end in YX, got {self.labels.dtype} with "
                f"{self.axes!r}"
            )
        if self.image is not None:
            shape = tuple(self.image.data.shape[: len(self.axes)])
            if self.image.axes.removesuffix("S") != self.axes or shape != self.shape:
                raise ValueError(
                    f"expected an image with the labels' axes {self.axes} and shape {self.shape}, "
                    f"got {self.image.axes} and {tuple(self.image.data.shape)}"
                )

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""
        return tuple(self.labels.shape)

    @property
    def plane_axes(self) -> str:
        """The letters of the axes that index planes."""
        return self.axes[:-2]

    @property
    def stack_shape(self) -> tuple[int, ...]:
        """Length of each axis in `plane_axes`."""
        return self.shape[:-2]

    @property
    def plane_shape(self) -> tuple[int, int]:
        """Rows and columns of a plane."""
        return self.shape[-2], self.shape[-1]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of all classes: those of the session first, then others that objects have."""
        listed = dict.fromkeys(one.name for one in self.classes)
        return tuple(
            listed | dict.fromkeys(r.class_name for r in self.records.values() if r.class_name)
        )

    def colour_of(self, class_name: str) -> tuple[int, int, int] | None:
        """Return the colour of a class as (red, green, blue); None if it has none."""
        return next((one.rgb for one in self.classes if one.name == class_name), None)

    def record(self, label: int) -> ObjectRecord:
        """Return the record of an object; one with the defaults if it has none."""
        known = self.records.get(label)
        return ObjectRecord(label) if known is None else known

    def accepted(self) -> ExportedObjects:
        """Return the objects that are accepted or locked, without the others."""
        kept = {i for i, one in self.records.items() if one.state in ("accepted", "locked")}
        return replace(self, only=frozenset(kept if self.only is None else kept & self.only))

    def planes(
        self, report: Report | None = None
    ) -> Iterator[tuple[tuple[int, ...], NDArray[Any]]]:
        """Yield the index and the labels of each plane; each is read when it is yielded."""
        lookup = None if self.only is None else _Lookup(self.only)
        total = max(1, int(np.prod(self.stack_shape)))
        for number, index in enumerate(np.ndindex(self.stack_shape)):
            if report is not None:
                report(number / total)
            labels = np.asarray(self.labels[index])
            yield index, labels if lookup is None else lookup.kept(labels)

    def plane(self, index: tuple[int, ...]) -> NDArray[Any]:
        """Return the labels of a plane."""
        labels = np.asarray(self.labels[index])
        return labels if self.only is None else _Lookup(self.only).kept(labels)

    def mapped(
        self,
        change: Callable[[NDArray[Any]], NDArray[Any]],
        dtype: Any,
        report: Report | None = None,
    ) -> PlaneArray:
        """Return an array of changed labels, computed when a plane of it is read.

        Parameters
        ----------
        change
            Called with the labels of a plane; returns what the array has there.
        dtype
            Of what it returns.
        report
            Called with the fraction that is read, if planes are read in order.
        """
        total = max(1, int(np.prod(self.stack_shape)))
        lookup = None if self.only is None else _Lookup(self.only)

        def read(index: tuple[int, ...]) -> NDArray[Any]:
            if report is not None:
                at = int(np.ravel_multi_index(index, self.stack_shape)) if index else 0
                report(at / total)
            labels = np.asarray(self.labels[index])
            return change(labels if lookup is None else lookup.kept(labels))

        return PlaneArray(read, self.stack_shape, self.plane_shape, dtype)

    def place(self, index: Sequence[int]) -> dict[str, int]:
        """Return a plane's position along each axis, by the axes' letters in lower case."""
        return {axis.lower(): int(i) for axis, i in zip(self.plane_axes, index, strict=True)}


class Recoding:
    """Replace labels by other numbers.

    Parameters
    ----------
    numbers
        New numbers by label.
    other
        New number of labels that are not in `numbers`; 0 stays 0.
    """

    def __init__(self, numbers: Mapping[int, int], other: int = 0) -> None:
        self._labels = np.array(sorted(numbers), np.uint64)
        self._numbers = np.array([numbers[i] for i in sorted(numbers)], np.int64)
        self._other = other

    def __call__(self, labels: NDArray[Any]) -> NDArray[np.int64]:
        """Return the new numbers of labels."""
        found, inverse = np.unique(labels, return_inverse=True)
        new = np.full(len(found), self._other, np.int64)
        new[found <= 0] = 0
        if len(self._labels):
            wanted = np.where(found > 0, found, 0).astype(np.uint64)
            at = np.minimum(np.searchsorted(self._labels, wanted), len(self._labels) - 1)
            known = (self._labels[at] == wanted) & (found > 0)
            new[known] = self._numbers[at][known]
        return new[inverse.reshape(labels.shape)]


class _Lookup:
    """Keep some labels and set the others to background."""

    def __init__(self, only: Collection[int]) -> None:
        self._only = np.array(sorted(only), np.uint64)
        highest = int(self._only[-1]) if len(self._only) else 0
        self._table: NDArray[np.bool_] | None = None
        if highest < _LONGEST_TABLE:
            self._table = np.zeros(highest + 2, bool)
            self._table[self._only.astype(np.int64)] = True

    def kept(self, labels: NDArray[Any]) -> NDArray[Any]:
        if self._table is None:
            wanted = np.where(labels > 0, labels, 0).astype(np.uint64)
            return np.where(np.isin(wanted, self._only), labels, np.zeros((), labels.dtype))
        last = len(self._table) - 1  # stands for all that are higher
        at = np.where((labels < 0) | (labels > last), last, labels).astype(np.int64)
        return np.where(self._table[at], labels, np.zeros((), labels.dtype))
