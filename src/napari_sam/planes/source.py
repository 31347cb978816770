"""The protocol of images that are read plane by plane, and comparisons of two of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_sam.image import Limits
from napari_sam.plane_input import PlaneInput

Plane = tuple[int | None, ...]
"""A plane of an n-D image: for every axis its index, or None for the two that it spans.

An axis whose positions are the model's colours has index 0: all of them belong to the plane. A
plane that spans such an axis itself has no colours.
"""


class PlaneSource(Protocol):
    """An image that is read plane by plane. It is immutable: a changed image is a new source."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of every axis, without the samples of RGB."""
        ...

    @property
    def spanned(self) -> tuple[int, int]:
        """The two axes of a plane, in ascending order: its rows and columns."""
        ...

    @property
    def stamp(self) -> Hashable:
        """Hashable value that changes when the pixels of planes do; embeddings depend on it."""
        ...

    @property
    def content_stamp(self) -> Hashable:
        """Hashable value that changes when the image's content does, however it is shown."""
        ...

    @property
    def channel_axis(self) -> int | None:
        """Axis whose positions are the model's colours; a mask holds for all of them."""
        ...

    def plane_of(self, index: object = ()) -> Plane:
        """Complete a plane from the indices of the axes it doesn't span."""
        ...

    def plane_shape(self, plane: Plane) -> tuple[int, int]:
        """(H, W) of a plane."""
        ...

    def describe(self, plane: Plane) -> PlaneInput:
        """Return the model's input for a plane, as far as it is known without reading the plane."""
        ...

    def read_described(self, plane: Plane) -> tuple[NDArray[Any], Limits | None, PlaneInput]:
        """Read a plane as :meth:`read`, and also return a description of the model's input."""
        ...

    def read(self, plane: Plane) -> tuple[NDArray[Any], Limits | None]:
        """Read the pixels `(H, W)` or `(H, W, 3)` and their contrast limits. May be slow."""
        ...


def extends(shape: tuple[int, ...], before: tuple[int, ...], spanned: tuple[int, int]) -> bool:
    """Whether an image of a shape has every plane of one of the shape before, and perhaps more."""
    return len(shape) == len(before) and all(
        n == old if axis in spanned else n >= old
        for axis, (n, old) in enumerate(zip(shape, before, strict=True))
    )


def same_planes(
    one: PlaneSource, other: PlaneSource, planes: Sequence[Plane], report: Callable[[float], None]
) -> bool:
    """Whether two sources have the same pixels, and limits, in some planes. Reads them all."""
    for done, plane in enumerate(planes):
        report(done / len(planes))
        (pixels, limits), (others, other_limits) = one.read(plane), other.read(plane)
        floats = pixels.dtype.kind == "f"
        if limits != other_limits or not np.array_equal(pixels, others, equal_nan=floats):
            return False
    return True


def plane_axes(plane: Plane) -> tuple[int, int]:
    """Return the axes that are a plane's rows and columns."""
    rows, columns = (axis for axis, i in enumerate(plane) if i is None)
    return rows, columns
