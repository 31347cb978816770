"""The area and the rectangle of each label, updated with each change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam.engine import Report
from napari_sam.geometry import Region
from napari_sam.planes import Plane, plane_axes
from napari_sam.session.pixels import PixelChange

_BAND = 1 << 24  # pixels of labels that are counted at once
_LARGE = 1 << 21  # pixels of a rectangle above which its plane is counted again, in the background


@dataclass(frozen=True, slots=True)
class Extent:
    """The area of an object on a plane, and a rectangle around it.

    Parameters
    ----------
    area
        Number of its pixels.
    box
        (first row, first column, last row, last column) of a rectangle around them; after pixels
        were removed it may be larger than necessary.
    """

    area: int
    box: tuple[int, int, int, int]


Counted = Mapping[int, Extent]
"""The objects of a plane, by number."""

Extents = Mapping[int, Mapping[Plane, Extent]]
"""The extents of objects, by object, then by plane."""


class ObjectIndex:
    """Areas and rectangles of all labels, by object and plane.

    All planes span the same two axes as the first. A change of a plane that crosses these is split
    into changes of these planes.
    """

    def __init__(self) -> None:
        self._spanned: tuple[int, int] | None = None
        self._of: dict[int, dict[Plane, Extent]] = {}
        self._on: dict[Plane, set[int]] = {}  # planes that were counted, and the objects there

    @property
    def objects(self) -> Extents:
        """The extents by object, then by plane."""
        return self._of

    def of(self, object_id: int) -> Mapping[Plane, Extent]:
        """Return the extents of an object, by plane; empty if it has no pixels."""
        return self._of.get(object_id, {})

    def is_counted(self, plane: Plane) -> bool:
        """Whether the objects of a plane are counted."""
        return plane in self._on

    def begin(self, planes: Iterable[Plane]) -> None:
        """Drop all extents, since the labels were replaced; `planes` will be counted."""
        self._of.clear()
        self._on.clear()
        self._spanned = next((plane_axes(plane) for plane in planes), None)

    def put(self, plane: Plane, counted: Counted) -> set[int]:
        """Set the extents of a plane; return the objects whose extents changed."""
        before = self._on.get(plane, set())
        changed = {
            number
            for number in before | counted.keys()
            if self._of.get(number, {}).get(plane) != counted.get(number)
        }
        self._on.setdefault(plane, set())
        for number in changed:
            self._put(number, plane, counted.get(number))
        return changed

    def apply(self, change: PixelChange, backwards: bool = False) -> tuple[set[int], set[Plane]]:
        """Apply a change of labels.

        Returns
        -------
        objects
            The objects whose extents changed.
        uncounted
            Planes that have to be counted in the background: those that are not counted yet, and
            those with large changes.
        """
        old, new = (change.new, change.old) if backwards else (change.old, change.new)
        axes = self._spanned
        plane = change.plane
        same = axes is None or plane in self._on or plane_axes(plane) == axes
        height, width = change.region[2:]
        if same and (change.plane not in self._on or height * width > _LARGE):
            return set(), {change.plane}
        if same and old.is_constant and new.is_constant:  # nearly every mask
            return self._swap(change, int(old.shortest()[0]), int(new.shortest()[0])), set()
        if same:
            where = change.where
            parts: Any = [(change.plane, (_counted(change, where, p.unpack()) for p in (old, new)))]
        else:
            assert axes is not None
            parts = _across(change, axes, old.unpack(), new.unpack())
        objects: set[int] = set()
        uncounted: set[Plane] = set()
        for plane, (taken, given) in parts:
            if plane not in self._on:
                uncounted.add(plane)
                continue
            for number, extent in taken.items():
                self._take(number, plane, extent.area)
                objects.add(number)
            for number, extent in given.items():
                self._give(number, plane, extent)
                objects.add(number)
        return objects, uncounted

    def _swap(self, change: PixelChange, old: int, new: int) -> set[int]:
        """Move pixels from one number to another; return those of the two that are objects."""
        if old > 0:
            self._take(old, change.plane, change.area)
        if new > 0:
            r, c, h, w = change.region
            self._give(new, change.plane, Extent(change.area, (r, c, r + h - 1, c + w - 1)))
        return {number for number in (old, new) if number > 0}

    def planes_of(self, change: PixelChange) -> set[Plane]:
        """Return the planes on which a change has pixels."""
        axes = self._spanned
        if axes is None or plane_axes(change.plane) == axes:
            return {change.plane}
        return {
            plane for plane, _ in _across(change, axes, change.old.unpack(), change.new.unpack())
        }

    def _take(self, number: int, plane: Plane, area: int) -> None:
        before = self._of.get(number, {}).get(plane)
        if before is not None:
            left = before.area - area
            self._put(number, plane, Extent(left, before.box) if left > 0 else None)

    def _give(self, number: int, plane: Plane, more: Extent) -> None:
        before = self._of.get(number, {}).get(plane)
        self._put(number, plane, more if before is None else joined(before, more))

    def _put(self, number: int, plane: Plane, extent: Extent | None) -> None:
        if extent is not None:
            self._of.setdefault(number, {})[plane] = extent
            self._on[plane].add(number)
            return
        here = self._of.get(number, {})
        here.pop(plane, None)
        if not here:
            self._of.pop(number, None)
        self._on[plane].discard(number)


def joined(one: Extent, other: Extent) -> Extent:
    """Return the extent of two parts that share no pixel."""
    (r0, c0, r1, c1), (r2, c2, r3, c3) = one.box, other.box
    return Extent(one.area + other.area, (min(r0, r2), min(c0, c2), max(r1, r3), max(c1, c3)))


def count_plane(
    read: Callable[[Region], NDArray[Any]], shape: tuple[int, int], report: Report
) -> dict[int, Extent]:
    """Count the objects of a plane, reading it band by band.

    Parameters
    ----------
    read
        Returns the labels of a region.
    shape
        (H, W) of the plane.
    report
        Called before each band with the fraction (0-1) that is done.
    """
    height, width = shape
    rows = max(1, _BAND // max(1, width))
    found: dict[int, Extent] = {}
    for row in range(0, height, rows):
        report(row / height)
        labels = read((slice(row, min(height, row + rows)), slice(0, width)))
        for number, extent in extents(labels, (row, 0)).items():
            found[number] = joined(found[number], extent) if number in found else extent
    return found


def extents(labels: NDArray[Any], origin: tuple[int, int] = (0, 0)) -> dict[int, Extent]:
    """Return areas and rectangles of labels `(h, w)`, whose first pixel is at `origin`.

    Values of 0 and below are background.
    """
    from scipy import ndimage

    if not labels.size or (highest := int(labels.max())) <= 0:
        return {}
    numbers: NDArray[Any] | None = None
    if highest > labels.size or int(labels.min()) < 0 or labels.dtype == np.uint64:
        numbers, places = np.unique(labels, return_inverse=True)
        present = numbers > 0
        places = np.where(present, np.cumsum(present), 0)[places].reshape(labels.shape)
        numbers, labels = numbers[present], places
    areas = np.bincount(labels.ravel()).tolist()
    found: dict[int, Extent] = {}
    for place, region in enumerate(ndimage.find_objects(labels), 1):
        if region is not None:
            number = place if numbers is None else int(numbers[place - 1])
            found[number] = Extent(areas[place], _box(region, origin))
    return found


def _box(region: Region, origin: tuple[int, int]) -> tuple[int, int, int, int]:
    (rows, columns), (r, c) = region, origin
    return rows.start + r, columns.start + c, rows.stop + r - 1, columns.stop + c - 1


def _counted(
    change: PixelChange, where: NDArray[np.bool_], values: NDArray[Any]
) -> dict[int, Extent]:
    labels = np.zeros(where.shape, values.dtype)
    labels[where] = values
    return extents(labels, change.region[:2])


def _across(
    change: PixelChange, axes: tuple[int, int], old: NDArray[Any], new: NDArray[Any]
) -> Iterator[tuple[Plane, tuple[Counted, Counted]]]:
    """Yield the parts of a change on the planes along other axes that it crosses."""
    rows, columns = np.nonzero(change.where)
    own = iter((rows + change.region[0], columns + change.region[1]))
    at = [next(own) if i is None else np.full(len(rows), i) for i in change.plane]
    fixed = [axis for axis in range(len(at)) if axis not in axes]
    planes, which = np.unique(np.stack([at[axis] for axis in fixed]), axis=1, return_inverse=True)
    r, c = at[axes[0]], at[axes[1]]
    for place, indices in enumerate(planes.T.tolist()):
        here = which.ravel() == place
        known = dict(zip(fixed, indices, strict=True))
        plane = tuple(known.get(axis) for axis in range(len(at)))
        yield plane, (_points(r[here], c[here], old[here]), _points(r[here], c[here], new[here]))


def _points(
    rows: NDArray[np.int64], columns: NDArray[np.int64], values: NDArray[Any]
) -> dict[int, Extent]:
    r, c = int(rows.min()), int(columns.min())
    labels = np.zeros((int(rows.max()) - r + 1, int(columns.max()) - c + 1), values.dtype)
    labels[rows - r, columns - c] = values
    return extents(labels, (r, c))
