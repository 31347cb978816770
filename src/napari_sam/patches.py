"""Masks cut to their bounding boxes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_sam.geometry import Region, region_of

if TYPE_CHECKING:
    from napari_sam.prompts import Box


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """A mask of a plane, stored only where it is.

    Parameters
    ----------
    origin
        (row, column) of the first pixel.
    pixels
        `(h, w)`; `(0, 0)` for an empty mask.
    """

    origin: tuple[int, int] = (0, 0)
    pixels: NDArray[np.bool_] = field(default_factory=lambda: np.zeros((0, 0), bool))

    @property
    def region(self) -> Region:
        """The rectangle it covers, as slices of the plane."""
        (r, c), (h, w) = self.origin, self.pixels.shape
        return slice(r, r + h), slice(c, c + w)

    @property
    def area(self) -> int:
        """Number of its pixels."""
        return int(np.count_nonzero(self.pixels))

    @property
    def is_empty(self) -> bool:
        """Whether it has no pixel."""
        return not self.pixels.any()

    @property
    def box(self) -> Box:
        """Centres of its rectangle's outermost pixels: (row 0, column 0, row 1, column 1)."""
        (r, c), (h, w) = self.origin, self.pixels.shape
        return float(r), float(c), r + h - 1.0, c + w - 1.0

    def equals(self, other: Patch) -> bool:
        """Whether another mask has the same pixels; both are cut to their bounding boxes."""
        if self is other:
            return True
        same = self.origin == other.origin or self.is_empty
        return same and np.array_equal(self.pixels, other.pixels)

    def share_within(self, box: Box) -> float:
        """Return the share of its pixels whose centres lie in a box; 0 of an empty mask."""
        r0, c0 = np.ceil(np.subtract(box[:2], self.origin)).astype(int).clip(0)
        r1, c1 = np.floor(np.subtract(box[2:], self.origin)).astype(int).clip(-1) + 1
        area = self.area
        return int(np.count_nonzero(self.pixels[r0:r1, c0:c1])) / area if area else 0.0

    def within(self, region: Region) -> NDArray[np.bool_]:
        """Return the part inside a region of the plane, of that region's shape."""
        shape = tuple(s.stop - s.start for s in region)
        out = np.zeros(shape, bool)
        low = [max(a.start, b.start) for a, b in zip(region, self.region, strict=True)]
        high = [min(a.stop, b.stop) for a, b in zip(region, self.region, strict=True)]
        if all(a < b for a, b in zip(low, high, strict=True)):
            into, of = (
                tuple(slice(a - s.start, b - s.start) for a, b, s in zip(low, high, r, strict=True))
                for r in (region, self.region)
            )
            out[into] = self.pixels[of]
        return out


def cut(mask: NDArray[np.bool_], origin: tuple[int, int] = (0, 0)) -> Patch:
    """Cut a mask, whose first pixel is at `origin` of the plane, to its bounding box."""
    region = region_of(mask)
    if region is None:
        return Patch(origin)
    rows, columns = region
    return Patch((origin[0] + rows.start, origin[1] + columns.start), mask[region].copy())


def union(patches: Iterable[Patch]) -> Region | None:
    """Return the smallest region around masks; None where all are empty."""
    regions = [patch.region for patch in patches if patch.pixels.size]
    if not regions:
        return None
    return (
        slice(min(r.start for r, _ in regions), max(r.stop for r, _ in regions)),
        slice(min(c.start for _, c in regions), max(c.stop for _, c in regions)),
    )


def join(one: Patch, other: Patch) -> Patch:
    """Return the pixels of either of two masks."""
    region = union([one, other])
    if region is None:
        return Patch()
    return cut(one.within(region) | other.within(region), (region[0].start, region[1].start))


def minus(one: Patch, other: Patch) -> Patch:
    """Return the pixels of one mask that another lacks."""
    sides = zip(one.region, other.region, strict=True)
    if any(a.stop <= b.start or b.stop <= a.start for a, b in sides):
        return one
    return cut(one.pixels & ~other.within(one.region), one.origin)


def fill_polygon(polygon: ArrayLike, shape: tuple[int, int] | None = None) -> Patch:
    """Return the pixels whose centres lie in a polygon; where it crosses itself, by even-odd.

    Parameters
    ----------
    polygon
        `(N, 2)` corners as (row, column); the last is joined with the first.
    shape
        (H, W) of the plane: what lies beyond it is cut off. By default rows and columns below 0
        are.
    """
    from skimage.draw import polygon2mask  # a window that opens doesn't wait for it

    corners = np.asarray(polygon, np.float64)
    low = np.maximum(np.floor(corners.min(0)), 0).astype(int)
    high = np.ceil(corners.max(0)).astype(int) + 1
    if shape is not None:
        high = np.minimum(high, shape)
    if not (high > low).all():
        return Patch()
    mask = polygon2mask(tuple(high - low), corners - low)
    return cut(mask, (int(low[0]), int(low[1])))
