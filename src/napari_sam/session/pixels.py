"""Changes of label pixels with their previous values, compressed to keep all of a session."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam.geometry import Region
from napari_sam.planes import Plane
from napari_sam.session.canvas import Write

_AT_ONCE = 1 << 24  # pixels of a rectangle that is read at once to apply many changes in it
_LEVEL = 1  # of zlib: masks and runs of equal numbers compress well at any level


@dataclass(frozen=True, slots=True)
class Packed:
    """Numbers `(n,)` as bytes: a single one if all are equal, otherwise compressed.

    Parameters
    ----------
    dtype
        The type as NumPy writes it, such as ``"<i4"``.
    count
        How many numbers there are.
    data
        The bytes of one number if `is_constant`, otherwise of all, compressed.
    is_constant
        Whether all numbers are equal.
    """

    dtype: str
    count: int
    data: bytes
    is_constant: bool

    @classmethod
    def of(cls, values: NDArray[Any]) -> Packed:
        """Pack numbers."""
        values = np.ascontiguousarray(values)
        if len(values) and (values == values[0]).all():
            return cls(values.dtype.str, len(values), values[:1].tobytes(), True)
        data = zlib.compress(values.tobytes(), _LEVEL)
        return cls(values.dtype.str, len(values), data, False)

    def unpack(self) -> NDArray[Any]:
        """Return the numbers."""
        values = self.shortest()
        return np.full(self.count, values[0]) if self.is_constant else values

    def shortest(self) -> NDArray[Any]:
        """Return the numbers `(n,)`; if all are equal, one of them as `(1,)`."""
        dtype = np.dtype(self.dtype)
        if self.is_constant:
            return np.frombuffer(self.data, dtype)
        return np.frombuffer(_expand(self.data, self.count * dtype.itemsize), dtype)


@dataclass(frozen=True, slots=True)
class PixelChange:
    """Changed label pixels of one plane, with their previous and new values.

    :func:`pixel_changes` and :meth:`of` create one from arrays.

    Parameters
    ----------
    plane
        The plane: for every axis its index, or None for the two that it spans.
    region
        (first row, first column, number of rows, number of columns) of the smallest rectangle
        around the pixels.
    mask
        Which pixels of the rectangle changed, as compressed bits in C order.
    old, new
        The previous and the new values, compressed.
    """

    plane: Plane
    region: tuple[int, int, int, int]
    mask: bytes
    old: Packed
    new: Packed

    @classmethod
    def of(
        cls,
        plane: Plane,
        region: Region,
        where: NDArray[np.bool_],
        before: NDArray[Any],
        after: NDArray[Any],
    ) -> PixelChange:
        """Return a change from arrays.

        Parameters
        ----------
        plane
            The plane: for every axis its index, or None for the two that it spans.
        region
            (rows, columns) of a rectangle, as slices with a start and a stop.
        where
            `(h, w)` bool; which pixels of the rectangle change: at least one.
        before, after
            `(n,)` the previous and the new values, in C order of `where`.
        """
        rows, columns = np.flatnonzero(where.any(1)), np.flatnonzero(where.any(0))
        r0, r1, c0, c1 = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
        bits = zlib.compress(np.packbits(where[r0:r1, c0:c1]).tobytes(), _LEVEL)
        rectangle = region[0].start + r0, region[1].start + c0, r1 - r0, c1 - c0
        return cls(plane, rectangle, bits, Packed.of(before), Packed.of(after))

    @property
    def slices(self) -> Region:
        """The rectangle as slices (rows, columns) of the plane."""
        r, c, h, w = self.region
        return slice(r, r + h), slice(c, c + w)

    @property
    def where(self) -> NDArray[np.bool_]:
        """`(h, w)` bool; which pixels of the rectangle changed."""
        _, _, h, w = self.region
        bits = np.frombuffer(_expand(self.mask, -(-h * w // 8)), np.uint8)
        return np.unpackbits(bits, count=h * w).reshape(h, w).astype(bool)

    @property
    def before(self) -> NDArray[Any]:
        """The previous values `(n,)` of the pixels, in C order of :attr:`where`."""
        return self.old.unpack()

    @property
    def after(self) -> NDArray[Any]:
        """The new values `(n,)` of the pixels, in C order of :attr:`where`."""
        return self.new.unpack()

    @property
    def area(self) -> int:
        """Number of changed pixels."""
        return self.old.count

    def forwards(self) -> Write:
        """Return the write that applies the change."""
        return Write(self.plane, self.slices, self.where, self.after)

    def backwards(self) -> Write:
        """Return the write that reverts the change."""
        return Write(self.plane, self.slices, self.where, self.before)

    def meets(self, plane: Plane) -> bool:
        """Whether a plane can share pixels with this one: it is the same plane, or crosses it."""
        return all(i is None or j is None or i == j for i, j in zip(self.plane, plane, strict=True))

    def touches(self, other: PixelChange) -> bool:
        """Whether the rectangles of two changes share a pixel."""
        if self.plane == other.plane:
            (r, c, h, w), (r2, c2, h2, w2) = self.region, other.region
            return r < r2 + h2 and r2 < r + h and c < c2 + w2 and c2 < c + w
        spans = zip(self._spans(), other._spans(), strict=True)
        return all(a.start < b.stop and b.start < a.stop for a, b in spans)

    def _spans(self) -> list[range]:
        """Return the range of its positions on every axis."""
        spanned = iter(range(s.start, s.stop) for s in self.slices)
        return [next(spanned) if i is None else range(i, i + 1) for i in self.plane]


@dataclass(frozen=True, slots=True, eq=False)
class Composed:
    """The combined effect of many changes.

    Parameters
    ----------
    different
        Pixels whose labels are not those before the first change.
    fits
        Whether there are none, and each change starts with the values that the one before left.
    writes
        The writes that apply all changes: one for each plane if possible.
    """

    different: list[PixelChange]
    fits: bool
    writes: list[Write]


def composed(
    steps: Sequence[tuple[PixelChange, bool]],
    read: Callable[[Plane], Callable[[Region], NDArray[Any]]],
) -> Composed:
    """Combine changes, so that each plane is read and written only once.

    Parameters
    ----------
    steps
        Changes in the order in which they are applied, each with whether it is reverted.
    read
        Returns a function that reads regions of the labels of a plane.
    """
    by_plane: dict[Plane, list[tuple[PixelChange, bool]]] = {}
    for step in steps:
        by_plane.setdefault(step[0].plane, []).append(step)
    if len({tuple(i is None for i in plane) for plane in by_plane}) > 1:
        # planes that cross each other share pixels: nothing is compared, and the order counts
        writes = [c.backwards() if back else c.forwards() for c, back in steps]
        return Composed([], True, writes)
    parts = [_compose(some, read(plane)) for plane, some in by_plane.items()]
    return Composed(
        [change for part in parts for change in part.different],
        all(part.fits for part in parts),
        [write for part in parts for write in part.writes],
    )


def _compose(
    steps: Sequence[tuple[PixelChange, bool]], read: Callable[[Region], NDArray[Any]]
) -> Composed:
    """Combine changes of one plane."""
    top = min(change.region[0] for change, _ in steps)
    left = min(change.region[1] for change, _ in steps)
    bottom = max(change.region[0] + change.region[2] for change, _ in steps)
    right = max(change.region[1] + change.region[3] for change, _ in steps)
    box = top, left, bottom, right
    if len(steps) == 1 or (bottom - top) * (right - left) > _AT_ONCE:
        different = [*_different(steps, read, box)]
        writes = [c.backwards() if back else c.forwards() for c, back in steps]
        return Composed(different, not different, writes)
    region = slice(top, bottom), slice(left, right)
    shown = read(region)
    labels, fits = shown.copy(), True
    for change, is_back in steps:
        r, c, h, w = change.region
        place, where = labels[r - top : r - top + h, c - left : c - left + w], change.where
        before, after = (change.new, change.old) if is_back else (change.old, change.new)
        fits = fits and _shows(place, where, before)
        _put(place, where, after)
    different = [] if fits else [*_different(steps, read, box)]
    changes = labels != shown
    write = Write(steps[0][0].plane, region, changes, labels[changes])
    return Composed(different, fits, [write])


def _shows(labels: NDArray[Any], where: NDArray[np.bool_], values: Packed) -> bool:
    """Whether pixels of labels `(h, w)` have some values."""
    if values.is_constant:
        return not ((labels != values.shortest()) & where).any()
    return bool((labels[where] == values.unpack()).all())


def _put(labels: NDArray[Any], where: NDArray[np.bool_], values: Packed) -> None:
    """Set pixels of labels `(h, w)`."""
    if values.is_constant:
        np.copyto(labels, values.shortest(), "unsafe", where)
    else:
        labels[where] = values.unpack()


def _different(
    steps: Sequence[tuple[PixelChange, bool]],
    read: Callable[[Region], NDArray[Any]],
    box: tuple[int, int, int, int],
) -> Iterator[PixelChange]:
    """Yield the pixels of one plane whose labels are not those before the first change."""
    top, left, bottom, right = box
    seen = np.zeros((bottom - top, right - left), bool)
    for change, is_back in steps:
        where = change.where
        now, expected = read(change.slices)[where], change.after if is_back else change.before
        r, c, h, w = change.region
        covered = seen[r - top : r - top + h, c - left : c - left + w]
        wrong = (now != expected) & ~covered[where]
        if wrong.any():
            yield part_of(change, where, wrong, expected, now)
        covered |= where


def pixel_changes(
    plane: Plane,
    pixels: tuple[NDArray[np.integer], NDArray[np.integer]],
    before: NDArray[Any],
    after: NDArray[Any],
) -> list[PixelChange]:
    """Return the change of pixels that are listed in any order.

    Parameters
    ----------
    plane
        The plane: for every axis its index, or None for the two that it spans.
    pixels
        (rows, columns), each `(n,)`. If a pixel is listed twice, its first `before` and its last
        `after` count.
    before, after
        `(n,)` the previous and the new values.

    Returns
    -------
    changes
        A list with one change, or an empty list if no value changes.
    """
    rows, columns = (np.asarray(x, np.intp) for x in pixels)
    if not len(rows):
        return []
    r0, c0 = int(rows.min()), int(columns.min())
    shape = int(rows.max()) - r0 + 1, int(columns.max()) - c0 + 1
    old, new = np.zeros(shape, before.dtype), np.zeros(shape, after.dtype)
    where = np.zeros(shape, bool)
    at = rows - r0, columns - c0
    where[at] = True
    old[at[0][::-1], at[1][::-1]] = before[::-1]
    new[at] = after
    where &= old != new
    if not where.any():
        return []
    region = slice(r0, r0 + shape[0]), slice(c0, c0 + shape[1])
    return [PixelChange.of(plane, region, where, old[where], new[where])]


def part_of(
    change: PixelChange,
    where: NDArray[np.bool_],
    kept: NDArray[np.bool_],
    before: NDArray[Any],
    after: NDArray[Any],
) -> PixelChange:
    """Return a change of some pixels of a change; `kept`, `before` and `after` are `(n,)`."""
    mask = where.copy()
    mask[where] = kept
    return PixelChange.of(change.plane, change.slices, mask, before[kept], after[kept])


def within(change: PixelChange, shape: tuple[int, int]) -> PixelChange | None:
    """Return the part of a change within a plane of shape `(H, W)`; None if it lies outside."""
    row, column, height, width = change.region
    if row + height <= shape[0] and column + width <= shape[1]:
        return change
    where = change.where
    kept = np.zeros_like(where)
    kept[: max(0, shape[0] - row), : max(0, shape[1] - column)] = True
    kept = kept[where]
    return part_of(change, where, kept, change.before, change.after) if kept.any() else None


def total_area(changes: Sequence[PixelChange]) -> int:
    """Return the number of changed pixels."""
    return sum(change.area for change in changes)


def without(
    changes: Sequence[PixelChange], locked: AbstractSet[int]
) -> tuple[list[PixelChange], list[PixelChange]]:
    """Split changes into those that leave locked objects alone, and those that don't."""
    free: list[PixelChange] = []
    held: list[PixelChange] = []
    for change in changes:
        where, before, after = change.where, change.before, change.after
        hold = np.isin(before, [*locked]) | np.isin(after, [*locked])
        for part, into in ((~hold, free), (hold, held)):
            if part.any():
                into.append(part_of(change, where, part, before, after))
    return free, held


def numbers_of(changes: Iterable[PixelChange], before: bool = True) -> set[int]:
    """Return the objects that gain pixels and, with `before`, those that lose some."""
    numbers: set[int] = set()
    for change in changes:
        numbers |= {int(i) for i in np.unique(change.after)}
        if before:
            numbers |= {int(i) for i in np.unique(change.before)}
    return {number for number in numbers if number > 0}


def _expand(data: bytes, size: int) -> bytes:
    """Decompress to a known size; more or fewer bytes raise an error before they are made."""
    machine = zlib.decompressobj()
    out = machine.decompress(data, size) if size else b""
    if len(out) != size or machine.decompress(machine.unconsumed_tail, 1):
        raise ValueError(f"expected {size} bytes of pixels, got others; the change is damaged")
    return out
