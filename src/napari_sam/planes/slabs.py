"""Thick slices: several planes shown, and read, as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Projection = Literal["mean", "sum", "max", "min"]

_DIGITS = 6  # of a pixel: what rounding leaves of a position is no other view


@dataclass(frozen=True, slots=True)
class Slab:
    """What is projected around every plane of an image.

    Parameters
    ----------
    projection
        How the planes become one.
    before, after
        For every axis of the image, how far the slab reaches to either side, in pixels; what an
        axis that a plane spans has there is of no meaning.
    offset
        For every axis, where the middle of the slab lies relative to the plane, in pixels: a
        viewer may show a position between two planes.

    Raises
    ------
    ValueError
        For another projection, or numbers of axes that differ.
    """

    projection: Projection
    before: tuple[float, ...]
    after: tuple[float, ...]
    offset: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.projection not in get_args(Projection):
            raise ValueError(
                f"expected a projection of {', '.join(get_args(Projection))}, got "
                f"{self.projection!r}"
            )
        if not len(self.before) == len(self.after) == len(self.offset):
            raise ValueError(
                f"expected margins of the same number of axes, got {self.before}, {self.after} "
                f"and {self.offset}"
            )

    @classmethod
    def around(
        cls,
        projection: Projection,
        position: Sequence[float],
        before: Sequence[float],
        after: Sequence[float],
        index: Sequence[int],
    ) -> Slab:
        """Make the slab that a viewer shows at a position; `index` is the plane it belongs to.

        What floating point leaves behind is rounded off, so that every plane has the same slab,
        unless this one would be another number of planes then.
        """
        offset = [float(x) - i for x, i in zip(position, index, strict=True)]
        exact = cls(projection, tuple(map(float, before)), tuple(map(float, after)), tuple(offset))
        rounded = cls(projection, *(_rounded(values) for values in (before, after, offset)))
        spans = [[slab.span(a, i) for a, i in enumerate(index)] for slab in (exact, rounded)]
        return rounded if spans[0] == spans[1] else exact

    @classmethod
    def of_spans(
        cls,
        projection: Projection,
        plane: Sequence[int | None],
        spans: Sequence[tuple[int, int, int]],
    ) -> Slab:
        """Make the slab that gives a plane what it was projected from.

        `spans` are (axis, first, last), as in :class:`~napari_sam.plane_input.PlaneInput`.
        """
        before, after = [0.0] * len(plane), [0.0] * len(plane)
        for axis, first, last in spans:
            index = plane[axis] or 0
            before[axis], after[axis] = float(index - first), float(last - index)
        return cls(projection, tuple(before), tuple(after), (0.0,) * len(plane))

    def span(self, axis: int, index: int, length: int | None = None) -> tuple[int, int]:
        """Return the first plane of the slab around a plane, and the one after the last.

        Parameters
        ----------
        axis, index
            The axis, and the plane's index on it.
        length
            Of the axis, where the slab ends at the latest.

        Notes
        -----
        As napari rounds it: margins of one and a half reach two planes if they end between two
        of them exactly, of which one is even.
        """
        middle = index + self.offset[axis]
        first = max(round(middle - self.before[axis]), 0)
        end = max(round(middle + self.after[axis]), 0)
        if np.isclose(end, middle + self.after[axis]):
            end += 1
        if length is not None:
            first, end = min(first, length - 1), min(end, length)
        return first, max(end, first + 1)

    def project(self, pixels: NDArray[Any], axes: tuple[int, ...]) -> NDArray[Any]:
        """Project an array along axes, which are dropped; one plane alone is left as it is."""
        if all(pixels.shape[axis] == 1 for axis in axes):
            return pixels.squeeze(axes)
        return np.asarray(getattr(np, self.projection)(pixels, axes))


def _rounded(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(round(float(value), _DIGITS) + 0.0 for value in values)
