"""Planes too large to be read whole, of which only the parts that are needed are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam.geometry import Region
from napari_sam.image import Limits, stretch

LARGE = 1 << 26
"""Pixels from which a plane counts as large: 8192 x 8192."""

_BLOCKS, _BLOCK = 3, 256  # to each side, and pixels of each, that stand for the whole
_STRIP = 1 << 24  # pixels that are read at a time where all are


class LazyPlane:
    """A plane `(H, W)` of an array on disk, which is read where it is indexed.

    What takes it for an array reads all of it.

    Parameters
    ----------
    read
        Returns the pixels of a region, as a plain array.
    shape
        (H, W).
    dtype
        Of the pixels: whole numbers, all of which are finite.
    """

    ndim = 2

    def __init__(
        self, read: Callable[[Region], NDArray[Any]], shape: tuple[int, int], dtype: Any
    ) -> None:
        self._read = read
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self.size = shape[0] * shape[1]

    def __getitem__(self, region: Region) -> NDArray[Any]:
        rows, columns = (
            slice(*one.indices(n)[:2]) for one, n in zip(region, self.shape, strict=True)
        )
        return self._read((rows, columns))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:, :], dtype)

    def is_blank(self) -> bool:
        """Whether all pixels are alike."""
        low = high = None
        for block in chain(samples(self), self._strips()):
            low = block.min() if low is None else min(low, block.min())
            high = block.max() if high is None else max(high, block.max())
            if low != high:
                return False
        return True

    def _strips(self) -> Iterator[NDArray[Any]]:
        rows = max(1, _STRIP // self.shape[1])
        for start in range(0, self.shape[0], rows):
            yield self[start : start + rows, :]


class StretchedPlane:
    """Grey values `(H, W, 1)` of a plane, made of what is read where they are indexed.

    Parameters
    ----------
    plane
        The plane.
    limits
        Values that become 0 and 255.
    """

    nbytes = 0

    def __init__(self, plane: LazyPlane, limits: Limits) -> None:
        self._plane, self._limits = plane, limits
        self.shape = *plane.shape, 1

    def __getitem__(self, region: Region) -> NDArray[np.uint8]:
        return stretch(self._plane[region], self._limits)[..., None]


def samples(plane: Any) -> Iterator[NDArray[Any]]:
    """Yield a few blocks of a large plane, evenly spread, that stand for the whole."""
    height, width = plane.shape[:2]
    for i in range(_BLOCKS):
        for j in range(_BLOCKS):
            row = (height - _BLOCK) * i // (_BLOCKS - 1)
            column = (width - _BLOCK) * j // (_BLOCKS - 1)
            yield plane[max(row, 0) : row + _BLOCK, max(column, 0) : column + _BLOCK]
