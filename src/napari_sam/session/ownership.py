"""Ownership of label pixels: those written by predictions, and those erased by users."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam.geometry import Region
from napari_sam.masks import merge_mask
from napari_sam.patches import Patch, cut, join, minus, union
from napari_sam.planes import Plane
from napari_sam.session.mask_rules import Overlap
from napari_sam.session.pixels import PixelChange
from napari_sam.session.prompt_book import ObjectPlane


@dataclass(frozen=True, slots=True, eq=False)
class Marks:
    """The ownership of the pixels of an object on a plane.

    Parameters
    ----------
    written
        Pixels that predictions wrote. Other pixels with the object's number were painted, or
        existed before the session.
    erased
        Pixels that a user erased from the object: no prediction writes them again.
    """

    written: Patch = field(default_factory=Patch)
    erased: Patch = field(default_factory=Patch)

    @property
    def is_empty(self) -> bool:
        """Whether there are neither written nor erased pixels."""
        return not (self.written.pixels.size or self.erased.pixels.size)


_NONE = Marks()
_REACH = 2  # pixels from each side that count as a narrow gap


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """The changes by a mask.

    Parameters
    ----------
    pixels
        The changes of label pixels; empty if there are none.
    marks
        The marks afterwards, by (object, plane).
    elsewhere
        Pixels that a prediction had written and that were changed outside of the session since.
    """

    pixels: tuple[PixelChange, ...]
    marks: dict[ObjectPlane, Marks]
    elsewhere: tuple[PixelChange, ...] = ()


class Ownership:
    """The marks of every object on every plane."""

    def __init__(self) -> None:
        self._marks: dict[Plane, dict[int, Marks]] = {}
        self._views: Counter[tuple[bool, ...]] = Counter()  # planes by the axes that they span

    def of(self, key: ObjectPlane) -> Marks:
        """Return the marks of an object on a plane."""
        return self._marks.get(key[1], {}).get(key[0], _NONE)

    def put(self, key: ObjectPlane, marks: Marks) -> None:
        """Set the marks of an object on a plane."""
        here = self._marks.get(key[1])
        if here is None:
            here = self._marks[key[1]] = {}
            self._views[_view(key[1])] += 1
        if marks.is_empty:
            here.pop(key[0], None)
            if not here:
                del self._marks[key[1]]
                self._views -= Counter([_view(key[1])])
        else:
            here[key[0]] = marks

    def items(self) -> Iterator[tuple[ObjectPlane, Marks]]:
        """Yield all marks, with object and plane."""
        for plane, here in self._marks.items():
            for object_id, marks in here.items():
                yield (object_id, plane), marks

    def planes_of(self, object_id: int) -> list[Plane]:
        """Return the planes on which an object has marks."""
        return [plane for plane, here in self._marks.items() if object_id in here]

    def erased_on(self, plane: Plane) -> list[Patch]:
        """Return the pixels erased from any object on a plane, or on one that crosses it."""
        here = self._marks.get(plane, {}).values()
        crossing = (m for _, m in self._crossing(plane))
        return [
            *(m.erased for m in here if m.erased.pixels.size),
            *(m for m in crossing if m.pixels.size),
        ]

    def _crossing(self, plane: Plane) -> Iterator[tuple[int, Patch]]:
        """Yield the pixels of a plane that were erased on planes that cross it, by object."""
        if len(self._views) <= 1 and _view(plane) in self._views:
            return
        for other, here in self._marks.items():
            if _view(other) != _view(plane):
                for object_id, marks in here.items():
                    if marks.erased.pixels.size:
                        yield object_id, _meeting(marks.erased, other, plane)

    def clear(self) -> None:
        """Drop all marks, since the labels were replaced."""
        self._marks.clear()
        self._views.clear()

    @property
    def _is_plain(self) -> bool:
        """Whether all planes span the same axes, so that no two share a pixel."""
        return len(self._views) <= 1

    def decide(
        self,
        key: ObjectPlane,
        patch: Patch,
        read: Callable[[Region], NDArray[Any]],
        overlap: Overlap = "keep",
        locked: AbstractSet[int] = frozenset(),
    ) -> Decision:
        """Return the changes of labels by a new mask of an object.

        Pixels that the previous mask wrote and the new one lacks are cleared. Painted pixels stay,
        pixels of other objects too unless `overlap` allows otherwise, and pixels that a user
        erased are not written.

        Parameters
        ----------
        key
            The object and the plane.
        patch
            The new mask; an empty one clears the previous mask.
        read
            Returns the labels `(h, w)` of a region of the plane; called at most once.
        overlap
            How pixels of other labels are treated.
        locked
            Labels that keep their pixels in any case.
        """
        object_id, plane = key
        marks = self.of(key)
        region = union([patch, marks.written])
        if region is None:
            return Decision((), {})
        if overlap == "fill gaps":
            region, labels = _read_around(region, read)
            patch = join(patch, _gaps(patch.within(region), labels, object_id, region))
        else:
            labels = read(region)
        written = marks.written.within(region)
        mask = patch.within(region) & ~marks.erased.within(region)
        for number, erased in self._crossing(plane):
            if number == object_id:
                mask &= ~erased.within(region)
        if overlap == "overwrite" and locked:
            mask &= ~np.isin(labels, [*locked])
        merge = merge_mask(labels, written, mask, object_id, overlap == "overwrite")
        origin = region[0].start, region[1].start
        written_now = cut(merge.written, origin)
        if written_now.origin == patch.origin and np.array_equal(written_now.pixels, patch.pixels):
            written_now = patch  # the usual case: the mask is kept in memory once
        after = {key: Marks(written_now, marks.erased)}
        changed = merge.erase | merge.paint
        pixels: tuple[PixelChange, ...] = ()
        if changed.any():
            values = np.where(merge.paint[changed], object_id, 0).astype(labels.dtype)
            pixels = (PixelChange.of(plane, region, changed, labels[changed], values),)
            after |= {k: m for k, m in self.taken(pixels).items() if k != key}
        missing = written & (labels != object_id)
        elsewhere: tuple[PixelChange, ...] = ()
        if missing.any() and self._is_plain:
            was = np.full(np.count_nonzero(missing), object_id, labels.dtype)
            elsewhere = (PixelChange.of(plane, region, missing, was, labels[missing]),)
        return Decision(pixels, after, elsewhere)

    def taken(self, changes: Iterable[PixelChange]) -> dict[ObjectPlane, Marks]:
        """Return the marks of objects after they lost pixels, which don't count as written then."""
        after: dict[ObjectPlane, Marks] = {}
        for change, object_id, gone in _parts(changes, "before"):
            key = object_id, change.plane
            marks = after.get(key) or self.of(key)
            if marks.written.pixels.size:
                after[key] = replace(marks, written=minus(marks.written, gone))
        return after

    def given(self, change: PixelChange) -> dict[ObjectPlane, Marks]:
        """Return the marks after objects gained or lost pixels by a prediction."""
        after = self.taken([change])
        for _, object_id, gained in _parts([change], "after"):
            key = object_id, change.plane
            marks = after.get(key) or self.of(key)
            after[key] = replace(marks, written=join(marks.written, gained))
        return after

    def by_hand(self, changes: Sequence[PixelChange]) -> dict[ObjectPlane, Marks]:
        """Return the marks after a user painted: removed pixels count as erased."""
        after: dict[ObjectPlane, Marks] = {}
        for change, object_id, gone in _parts(changes, "before"):
            key = object_id, change.plane
            marks = after.get(key) or self.of(key)
            after[key] = Marks(minus(marks.written, gone), join(marks.erased, gone))
        for change, object_id, painted in _parts(changes, "after"):
            key = object_id, change.plane
            marks = after.get(key) or self.of(key)
            if marks.erased.pixels.size:
                after[key] = replace(marks, erased=minus(marks.erased, painted))
        return after


def _parts(changes: Iterable[PixelChange], which: str) -> Iterator[tuple[PixelChange, int, Patch]]:
    """Yield the pixels that every object loses (`before`) or gains (`after`) by changes.

    Objects have numbers from 1; labels of a signed type may also have negative values.
    """
    for change in changes:
        values, where = getattr(change, which), change.where
        for number in np.unique(values):
            if number > 0:
                mask = np.zeros_like(where)
                mask[where] = values == number
                yield change, int(number), cut(mask, change.region[:2])


def _read_around(
    region: Region, read: Callable[[Region], NDArray[Any]]
) -> tuple[Region, NDArray[Any]]:
    """Read a region with a margin for gaps around it, within the plane."""
    rows, columns = (slice(max(0, s.start - 2 * _REACH), s.stop + 2 * _REACH) for s in region)
    labels = read((rows, columns))
    height, width = labels.shape
    return (
        slice(rows.start, rows.start + height),
        slice(columns.start, columns.start + width),
    ), labels


def _gaps(mask: NDArray[np.bool_], labels: NDArray[Any], object_id: int, region: Region) -> Patch:
    """Return the free pixels in narrow gaps between a mask and other labels.

    They are at most :data:`_REACH` pixels away from both, including diagonally, so that a gap is
    narrower than twice that.
    """
    from scipy import ndimage

    others = (labels != 0) & (labels != object_id)
    if not others.any() or not mask.any():
        return Patch()
    reach = np.ones((2 * _REACH + 1, 2 * _REACH + 1), bool)
    gaps = ndimage.binary_dilation(mask & ~others, reach) & ndimage.binary_dilation(others, reach)
    gaps &= (labels == 0) & ~mask
    return cut(gaps, (region[0].start, region[1].start))


def _view(plane: Plane) -> tuple[bool, ...]:
    """Return which axes a plane spans."""
    return tuple(i is None for i in plane)


def _meeting(patch: Patch, plane: Plane, other: Plane) -> Patch:
    """Return the pixels that a mask of a plane shares with another plane that crosses it."""
    rows, columns = np.nonzero(patch.pixels)
    places = iter((rows + patch.origin[0], columns + patch.origin[1]))
    at = [next(places) if i is None else np.full(len(rows), i) for i in plane]
    shared = np.ones(len(rows), bool)
    for place, i in zip(at, other, strict=True):
        if i is not None:
            shared &= place == i
    r, c = (place[shared] for place, i in zip(at, other, strict=True) if i is None)
    if not len(r):
        return Patch()
    mask = np.zeros((int(r.max()) - int(r.min()) + 1, int(c.max()) - int(c.min()) + 1), bool)
    mask[r - r.min(), c - c.min()] = True
    return Patch((int(r.min()), int(c.min())), mask)
