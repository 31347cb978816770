"""The canvas: the labels that a session reads and writes, plane by plane."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_sam.engine import Report
from napari_sam.geometry import Region
from napari_sam.image import as_pixels
from napari_sam.planes import Plane, plane_axes

_PART = 64 << 20  # bytes of labels that are read at once


@dataclass(frozen=True, slots=True, eq=False)
class Write:
    """New values for some pixels of a plane.

    Parameters
    ----------
    plane
        The plane: for every axis its index, or None for the two that it spans.
    region
        (rows, columns) of a rectangle, as slices with a start and a stop.
    where
        `(h, w)` bool; which pixels of the rectangle change.
    values
        `(n,)` the new values of these pixels, in C order of `where`.
    """

    plane: Plane
    region: Region
    where: NDArray[np.bool_]
    values: NDArray[Any]


class LabelCanvas(Protocol):
    """Protocol of the labels that a session reads and writes.

    Only the thread that uses the session writes; background threads may read at the same time.
    """

    @property
    def is_kept(self) -> bool:
        """Whether the labels persist without the session, such as in a file."""
        ...

    def prepare(self, plane: Plane, highest: int) -> None:
        """Make sure that the labels have a plane and can hold a number; enlarge them if possible.

        Parameters
        ----------
        plane
            The plane.
        highest
            The highest number that will be written.

        Raises
        ------
        ValueError
            If the labels don't have the plane, or can't hold the number.
        MemoryError
            If the enlarged labels don't fit into memory.
        """
        ...

    def read(self, plane: Plane, region: Region) -> NDArray[Any]:
        """Return a copy of the labels of a region of a plane.

        Parameters
        ----------
        plane
            The plane.
        region
            (rows, columns), as slices with a start and a stop.

        Returns
        -------
        labels
            `(h, w)` integers.

        Raises
        ------
        OSError
            If the labels can't be read.
        """
        ...

    def write(self, writes: Sequence[Write]) -> None:
        """Change pixels: either all of the writes or, if there is an error, none.

        Parameters
        ----------
        writes
            The new values.

        Raises
        ------
        OSError
            If the labels can't be written; all pixels have their previous values then.
        """
        ...

    def planes(self) -> Sequence[Plane]:
        """Return every plane of the labels, along the two axes that planes of the image span."""
        ...

    def settle(self) -> None:
        """Report what was painted so far to the session, including an unfinished brush stroke."""
        ...

    def highest(self, report: Report | None = None) -> int:
        """Return the highest number in all labels. This may be slow, and may run in any thread.

        Parameters
        ----------
        report
            Called between the parts that are read; it may raise an exception to cancel.

        Raises
        ------
        OSError
            If the labels can't be read.
        """
        ...


class ArrayCanvas:
    """A canvas on an array: NumPy, zarr, or another array that supports slices and assignment.

    Parameters
    ----------
    array
        The labels, of an integer type, with the axes of the image.
    channel_axis
        The axis along which channels are passed to the model as colours, as of the image: all its
        positions get the same labels. None if there is none.
    displayed
        The two axes that a plane spans; the last two by default.

    Raises
    ------
    ValueError
        If the array is not of an integer type.
    """

    def __init__(
        self,
        array: Any,
        channel_axis: int | None = None,
        displayed: tuple[int, int] | None = None,
    ) -> None:
        if np.dtype(array.dtype).kind not in "iu":
            raise ValueError(f"expected labels of an integer type, got {array.dtype}; convert them")
        self.array = array
        self._channel_axis = channel_axis
        self._displayed = displayed or (len(array.shape) - 2, len(array.shape) - 1)

    @property
    def is_kept(self) -> bool:
        """Whether the labels persist without the session: True unless they are a NumPy array."""
        return not isinstance(self.array, np.ndarray)

    def prepare(self, plane: Plane, highest: int) -> None:
        """Check that the labels have a plane and hold a number; see :meth:`LabelCanvas.prepare`."""
        if highest > np.iinfo(self.array.dtype).max:
            raise ValueError(
                f"expected labels that hold {highest}, got {self.array.dtype}, which ends at "
                f"{np.iinfo(self.array.dtype).max}; convert them"
            )
        shape = tuple(self.array.shape)
        inside = all(i is None or i < n for i, n in zip(plane, shape, strict=False))
        if len(plane) != len(shape) or not inside:
            raise ValueError(f"expected labels with the plane {plane}, got the shape {shape}")

    def read(self, plane: Plane, region: Region) -> NDArray[Any]:
        """Return a copy of the labels of a region; see :meth:`LabelCanvas.read`."""
        return np.array(self.array[self._at(plane, region)])

    def write(self, writes: Sequence[Write]) -> None:
        """Change pixels: either all of the writes or, if there is an error, none."""
        done: list[tuple[Write, NDArray[Any]]] = []
        try:
            for write in writes:
                before = self.read(write.plane, write.region)
                done.append((write, before))
                after = before.copy()
                after[write.where] = write.values
                self._put(write, after)
        except Exception as error:
            for write, before in reversed(done):
                with suppress(Exception):  # the first error is reported
                    self._put(write, before)
            raise OSError(
                f"expected to write labels, got {type(error).__name__}: {error}; free the disk, "
                "or choose other labels"
            ) from error

    def planes(self) -> list[Plane]:
        """Return every plane."""
        spanned = {*self._displayed, self._channel_axis}
        lengths = tuple(1 if axis in spanned else n for axis, n in enumerate(self.array.shape))
        return [
            tuple(
                None if axis in self._displayed else int(i)
                for axis, i in enumerate(np.unravel_index(flat, lengths))
            )
            for flat in range(prod(lengths))
        ]

    def settle(self) -> None:
        """Do nothing: an array is not painted in by hand."""

    def highest(self, report: Report | None = None) -> int:
        """Return the highest number in all labels."""
        return highest_label(self.array, report)

    def _put(self, write: Write, pixels: NDArray[Any]) -> None:
        channel = self._channel_axis
        copies = 1
        if channel is not None and write.plane[channel] is not None:
            copies = self.array.shape[channel]
        for copy in range(copies):
            self.array[self._at(write.plane, write.region, copy)] = pixels

    def _at(self, plane: Plane, region: Region, copy: int = 0) -> tuple[Any, ...]:
        rows, columns = plane_axes(plane)
        at: dict[int, Any] = {rows: region[0], columns: region[1]}
        if self._channel_axis is not None and plane[self._channel_axis] is not None:
            at[self._channel_axis] = copy
        return tuple(at.get(axis, i) for axis, i in enumerate(plane))


def highest_label(data: Any, report: Report | None = None) -> int:
    """Return the highest number in labels, reading them part by part and each chunk once.

    Parameters
    ----------
    data
        The labels: an array that supports slices.
    report
        Called with 0 before each part; it may raise an exception to cancel.
    """
    chunks = getattr(data, "chunks", None) or (1, 1)
    rows, columns = (n if isinstance(n, int) else 1 for n in chunks[:2])
    bytes_a_column = max(1, rows * data.dtype.itemsize * prod(data.shape[2:]))
    columns *= max(1, _PART // (bytes_a_column * columns))
    parts = (
        data[row : row + rows, column : column + columns]
        for row in range(0, data.shape[0], rows)
        for column in range(0, data.shape[1], columns)
    )
    highest = 0
    for part in parts:
        if report is not None:
            report(0.0)
        highest = max(highest, int(np.max(as_pixels(part))))
    return highest
