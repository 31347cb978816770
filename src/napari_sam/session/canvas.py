"""Labels that a session writes, plane by plane."""

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

_PART = 64 << 20  # bytes of labels that are searched at a time


@dataclass(frozen=True, slots=True, eq=False)
class Write:
    """Pixels of a plane and what they become.

    Parameters
    ----------
    plane
        The plane.
    region
        (rows, columns), as slices with a start and a stop.
    where
        `(h, w)`; which pixels of the region change.
    values
        `(n,)`; what they become, in C order of `where`.
    """

    plane: Plane
    region: Region
    where: NDArray[np.bool_]
    values: NDArray[Any]


class LabelCanvas(Protocol):
    """Labels that a session reads and writes; only its owner's thread writes.

    Other threads read planes, too: where objects are looked for, followed, linked or recorded.
    Labels may change meanwhile, so what they found is written by what labels show by then.
    """

    @property
    def is_kept(self) -> bool:
        """Whether the labels outlive the process without us, as on a disk."""
        ...

    def prepare(self, plane: Plane, highest: int) -> None:
        """Have a plane and a number fit in; enlarge the labels where that is possible.

        Raises
        ------
        ValueError
            If the labels don't have the plane, or can't hold the number.
        MemoryError
            If they would not fit into memory.
        """
        ...

    def read(self, plane: Plane, region: Region) -> NDArray[Any]:
        """Return the labels `(h, w)` of a region of a plane, as a copy.

        Raises
        ------
        OSError
            If they can't be read.
        """
        ...

    def write(self, writes: Sequence[Write]) -> None:
        """Change pixels: all of the writes, or none.

        Raises
        ------
        OSError
            If the labels can't be written; every pixel is as it was.
        """
        ...

    def planes(self) -> Sequence[Plane]:
        """Return every plane that labels have, of the source's two spanned axes."""
        ...

    def settle(self) -> None:
        """Tell the session what was painted up to now, also of a stroke that is being made."""
        ...

    def highest(self, report: Report | None = None) -> int:
        """Return the highest number in all labels; another thread may ask, since it takes long.

        Parameters
        ----------
        report
            As of :func:`highest_label`.

        Raises
        ------
        OSError
            If they can't be read.
        """
        ...


class ArrayCanvas:
    """Labels in an array: NumPy, zarr, anything that is sliced and assigned alike.

    Parameters
    ----------
    array
        Integers, with the axes of the image.
    channel_axis
        Axis whose positions are the model's colours: all of them get the same labels.
    displayed
        The two axes that a plane spans; the last two by default.
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
        """Whether the labels outlive the process: those of NumPy don't."""
        return not isinstance(self.array, np.ndarray)

    def prepare(self, plane: Plane, highest: int) -> None:
        """Refuse a number that the labels can't hold, and a plane that they don't have."""
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
        """Return the labels `(h, w)` of a region of a plane, as a copy."""
        return np.array(self.array[self._at(plane, region)])

    def write(self, writes: Sequence[Write]) -> None:
        """Change pixels: all of the writes, or none."""
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
                with suppress(Exception):  # the first error says why
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
        """Do nothing: nobody paints in an array."""

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
    """Return the highest number in labels, reading them part by part, and each chunk once.

    Parameters
    ----------
    data
        Whatever can be sliced.
    report
        Called before each part, to be stopped there; how many there are isn't said.
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
