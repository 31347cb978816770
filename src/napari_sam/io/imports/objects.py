"""Imported objects, whatever the format: labels on planes of an image, and their records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam.io.exports.objects import ClassRecord, ObjectRecord, Report

_STATES = ("proposed", "accepted", "locked")

Index = tuple[int, ...]
Notify = Callable[[str], None]
"""Called with a message for the user."""
HIGHEST = 2**31 - 1
"""Largest object number that is kept from a file."""


@dataclass(frozen=True, slots=True)
class ImportTarget:
    """The image that imported objects belong to.

    Parameters
    ----------
    axes
        One letter for each axis, ending in ``YX``, without the axis of colours.
    shape
        Length of each axis.
    name
        Name of the image, by which it is found in a file with the objects of many images.
    """

    axes: str
    shape: tuple[int, ...]
    name: str = ""

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

    def index(self, place: Mapping[str, int]) -> Index | None:
        """Return the index of the plane at a position.

        Parameters
        ----------
        place
            Position along axes, by their letters in lower case; 0 along an axis without an entry.

        Returns
        -------
        index
            Position along each of `plane_axes`; None if the image has no plane there.
        """
        index = tuple(place.get(axis.lower(), 0) for axis in self.plane_axes)
        inside = all(0 <= i < n for i, n in zip(index, self.stack_shape, strict=True))
        others = {axis: i for axis, i in place.items() if axis.upper() not in self.plane_axes}
        return index if inside and not any(others.values()) else None


@dataclass(frozen=True, slots=True, eq=False)
class ImportedObjects:
    """Objects on planes of an image.

    Parameters
    ----------
    planes
        Yields the index and the labels `(H, W)` of each plane that has any. Its argument is a
        callback for the finished fraction, or None.
    records
        Class, state, origin and score of objects, by label.
    classes
        Classes with their colours, in order.
    notes
        Messages about what differs from the file; complete when all planes have been read.
    """

    planes: Callable[[Report | None], Iterator[tuple[Index, NDArray[Any]]]]
    records: Mapping[int, ObjectRecord] = field(default_factory=dict)
    classes: tuple[ClassRecord, ...] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True, eq=False)
class ImportedMask:
    """An object on a plane.

    Parameters
    ----------
    number
        Number of the object in the file; None if it has none, and is only this mask.
    record
        Its class, state, origin and score.
    index
        Index of the plane.
    origin, mask
        (row, column) of the mask's first pixel in the plane, and the mask `(h, w)`.
    """

    number: int | None
    record: ObjectRecord
    index: Index
    origin: tuple[int, int]
    mask: NDArray[np.bool_]


def imported(
    masks: Sequence[ImportedMask],
    target: ImportTarget,
    classes: Sequence[ClassRecord],
    left_out: Mapping[str, int],
    notify: Notify,
) -> ImportedObjects:
    """Make labels of masks; where two overlap, the first in the file keeps the pixels.

    Parameters
    ----------
    masks
        In the order of the file.
    target
        The image.
    classes
        Classes of the file, with their colours.
    left_out
        Number of objects that were left out, by the reason.
    notify
        Called with a message for each difference from the file.
    """
    used = {one.number for one in masks if one.number is not None}
    following = iter(range(max(used, default=0) + 1, HIGHEST))
    records: dict[int, ObjectRecord] = {}
    planes: dict[Index, list[tuple[int, ImportedMask]]] = {}
    empty = 0
    for one in masks:
        if not one.mask.any():
            empty += 1
            continue
        number = next(following) if one.number is None else one.number
        records.setdefault(number, one.record)
        planes.setdefault(one.index, []).append((number, one))
    reasons = {**left_out, "without a pixel in the image": left_out.get("", 0) + empty}
    if counts := ", ".join(f"{count} {why}" for why, count in reasons.items() if count and why):
        notify(f"left out: {counts}")
    names = dict.fromkeys(one.class_name for one in records.values() if one.class_name)
    colours = {one.name: one.colour for one in classes if one.name}
    known = tuple(ClassRecord(name, colour) for name, colour in colours.items())
    known += tuple(ClassRecord(name) for name in names if name not in colours)

    def paint(report: Report | None) -> Iterator[tuple[Index, NDArray[Any]]]:
        overlapping = pixels = 0
        for i, (index, objects) in enumerate(sorted(planes.items())):
            if report is not None:
                report(i / len(planes))
            labels = np.zeros(target.plane_shape, np.int32)
            for number, one in objects:
                (row, column), (height, width) = one.origin, one.mask.shape
                part = labels[row : row + height, column : column + width]
                lost = int(np.count_nonzero(part[one.mask]))
                overlapping, pixels = overlapping + (lost > 0), pixels + lost
                part[one.mask & (part == 0)] = number
            yield index, labels
        if overlapping:
            notify(
                f"{overlapping} objects overlap with others: the first in the file kept the "
                f"{pixels} pixels that they share"
            )

    return ImportedObjects(paint, records, known)


def number_of(value: object) -> int | None:
    """Return a number that an object may keep; None for anything else."""
    if isinstance(value, str) and value.strip().isdigit():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 < value <= HIGHEST else None


def record_of(
    class_name: object = "", state: object = "", origin: object = "", score: object = None
) -> ObjectRecord:
    """Return the record of an object from values of a file; unknown values are left out."""
    return ObjectRecord(
        0,
        " ".join(class_name.split()) if isinstance(class_name, str) else "",
        state if isinstance(state, str) and state in _STATES else "proposed",
        origin if isinstance(origin, str) else "",
        float(score) if isinstance(score, int | float) else None,
    )


def hex_colour(rgb: object) -> str:
    """Return three numbers from 0 to 255 as ``#rrggbb``; empty for anything else."""
    if not isinstance(rgb, list | tuple) or len(rgb) < 3:
        return ""
    if not all(type(one) is int and 0 <= one < 256 for one in rgb[:3]):
        return ""
    return "#{:02x}{:02x}{:02x}".format(*rgb[:3])


def joined(
    parts: Iterable[tuple[tuple[int, int], NDArray[np.bool_]]],
) -> tuple[tuple[int, int], NDArray[np.bool_]]:
    """Join masks, each with the place of its first pixel, to one."""
    kept = [(origin, mask) for origin, mask in parts if mask.size]
    if len(kept) < 2:
        return kept[0] if kept else ((0, 0), np.zeros((0, 0), bool))
    low = np.min([origin for origin, _ in kept], 0)
    high = np.max([np.add(origin, mask.shape) for origin, mask in kept], 0)
    full = np.zeros(high - low, bool)
    for origin, mask in kept:
        row, column = np.subtract(origin, low)
        full[row : row + mask.shape[0], column : column + mask.shape[1]] |= mask
    return (int(low[0]), int(low[1])), full
