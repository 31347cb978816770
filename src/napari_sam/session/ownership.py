"""Who made which pixels of the labels: what predictions wrote, and what people took away."""

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
    """What is known about the pixels of an object on a plane.

    Parameters
    ----------
    written
        Pixels of the labels that predictions wrote. Others that have the object's number were
        painted, or were there before.
    erased
        Pixels that a person took away from the object: no prediction gives them back.
    """

    written: Patch = field(default_factory=Patch)
    erased: Patch = field(default_factory=Patch)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known."""
        return not (self.written.pixels.size or self.erased.pixels.size)


_NONE = Marks()
_REACH = 2  # pixels from either side that count as a narrow gap


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """What a mask changes.

    Parameters
    ----------
    pixels
        Of the labels; empty where nothing changes.
    marks
        What holds afterwards, by object and plane.
    elsewhere
        Pixels that a prediction had written and that somebody else has changed since.
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
        """Return what is known of an object on a plane."""
        return self._marks.get(key[1], {}).get(key[0], _NONE)

    def put(self, key: ObjectPlane, marks: Marks) -> None:
        """Keep what is known of an object on a plane."""
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
        """Yield everything that is known."""
        for plane, here in self._marks.items():
            for object_id, marks in here.items():
                yield (object_id, plane), marks

    def planes_of(self, object_id: int) -> list[Plane]:
        """Return the planes of which something is known about an object."""
        return [plane for plane, here in self._marks.items() if object_id in here]

    def erased_on(self, plane: Plane) -> list[Patch]:
        """Return what people took away from any object on a plane, or on one that crosses it."""
        here = self._marks.get(plane, {}).values()
        crossing = (m for _, m in self._crossing(plane))
        return [
            *(m.erased for m in here if m.erased.pixels.size),
            *(m for m in crossing if m.pixels.size),
        ]

    def _crossing(self, plane: Plane) -> Iterator[tuple[int, Patch]]:
        """Yield what was taken from objects on planes that cross a plane: where they meet."""
        if len(self._views) <= 1 and _view(plane) in self._views:
            return
        for other, here in self._marks.items():
            if _view(other) != _view(plane):
                for object_id, marks in here.items():
                    if marks.erased.pixels.size:
                        yield object_id, _meeting(marks.erased, other, plane)

    def clear(self) -> None:
        """Forget everything: the labels are others."""
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
        """Decide what a new mask of an object changes in labels.

        Pixels that the last mask wrote and the new one lacks are erased. Painted pixels and other
        objects stay, occupied pixels too unless `overlap` says otherwise, and what a person has
        taken away is not given back.

        Parameters
        ----------
        key
            Whose mask.
        patch
            The new mask; empty takes back what was written.
        read
            Returns the labels `(h, w)` of a region of the plane; called once at most.
        overlap
            What happens where other labels are.
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
            written_now = patch  # nearly always: kept once
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
        """Return what holds of the objects that lose pixels: these are not written any more."""
        after: dict[ObjectPlane, Marks] = {}
        for change, object_id, gone in _parts(changes, "before"):
            key = object_id, change.plane
            marks = after.get(key) or self.of(key)
            if marks.written.pixels.size:
                after[key] = replace(marks, written=minus(marks.written, gone))
        return after

    def given(self, change: PixelChange) -> dict[ObjectPlane, Marks]:
        """Return what holds after objects got pixels, or lost them, as from a prediction."""
        after = self.taken([change])
        for _, object_id, gained in _parts([change], "after"):
            key = object_id, change.plane
            marks = after.get(key) or self.of(key)
            after[key] = replace(marks, written=join(marks.written, gained))
        return after

    def by_hand(self, changes: Sequence[PixelChange]) -> dict[ObjectPlane, Marks]:
        """Return what holds after somebody painted: what they took away stays away."""
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
    """Yield the pixels of every object that changes take away (`before`) or give (`after`).

    Objects have numbers from 1; labels may show others, too, where their type is signed.
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
    """Read a region with what may belong to gaps around it, as far as the plane goes."""
    rows, columns = (slice(max(0, s.start - 2 * _REACH), s.stop + 2 * _REACH) for s in region)
    labels = read((rows, columns))
    height, width = labels.shape
    return (
        slice(rows.start, rows.start + height),
        slice(columns.start, columns.start + width),
    ), labels


def _gaps(mask: NDArray[np.bool_], labels: NDArray[Any], object_id: int, region: Region) -> Patch:
    """Return the free pixels in narrow gaps between a mask and other labels.

    They are up to :data:`_REACH` pixels away from both, diagonals included, so that a gap is at
    most one pixel less than twice that wide.
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
    """Return the pixels of a mask of a plane that another plane, which crosses it, has too."""
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
