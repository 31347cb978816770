"""Labels as polygons along the edges of their pixels, and polygons as pixels; exact both ways.

Corners are (row, column) with the first pixel's outer corner at (0, 0), half a pixel from its
centre: what QuPath, ImageJ and COCO call x and y.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Ring = NDArray[Any]
"""Corners `(n, 2)` of a closed line; the first is not repeated at the end."""


@dataclass(frozen=True, slots=True, eq=False)
class Polygon:
    """An area of pixels that share edges.

    Parameters
    ----------
    shell
        The outer line, clockwise as the image is seen.
    holes
        Lines around what lies inside and is no part of it, anticlockwise.
    """

    shell: Ring
    holes: tuple[Ring, ...] = ()

    @property
    def rings(self) -> tuple[Ring, ...]:
        """The outer line and those around holes."""
        return (self.shell, *self.holes)


def outlines(labels: NDArray[np.integer[Any]]) -> dict[int, tuple[Polygon, ...]]:
    """Trace every object of a plane.

    Pixels that touch at a corner alone are parts of different polygons, so that every polygon is
    valid as OGC's Simple Features define it: no line meets itself.

    Parameters
    ----------
    labels
        `(H, W)`; 0 and less is background.

    Returns
    -------
    polygons
        By label, in ascending order.
    """
    segments = _segments(np.pad(labels, 1))
    if not len(segments.owner):
        return {}
    rings: dict[int, list[Ring]] = {}
    areas: dict[int, list[float]] = {}
    for owner, corners, area in _rings(segments):
        rings.setdefault(owner, []).append(corners)
        areas.setdefault(owner, []).append(area)
    numbers = segments.numbers.tolist()
    return {numbers[owner]: _polygons(rings[owner], areas[owner]) for owner in sorted(rings)}


def fill(
    rings: Iterable[Ring], shape: tuple[int, int]
) -> tuple[tuple[int, int], NDArray[np.bool_]]:
    """Return the pixels whose centres lie within lines: within an odd number of them.

    Parameters
    ----------
    rings
        Corners, whole numbers or not; they may lie outside of the plane.
    shape
        (H, W) of the plane.

    Returns
    -------
    origin
        Row and column of the first pixel of `mask`.
    mask
        `(h, w)`; what lies in the plane.

    Raises
    ------
    ValueError
        If a corner is no finite number.
    """
    lines = [np.asarray(ring, float).reshape(-1, 2) for ring in rings]
    corners = np.concatenate(lines) if lines else np.zeros((0, 2))
    if not np.isfinite(corners).all():
        raise ValueError("expected corners that are finite numbers, got others")
    if not len(corners):
        return (0, 0), np.zeros((0, 0), bool)
    ends = np.array(shape)
    low = np.clip(np.ceil(corners.min(0) - 0.5), 0, ends).astype(int)
    high = np.clip(np.ceil(corners.max(0) - 0.5), 0, ends).astype(int)
    height, width = np.maximum(high - low, 0)
    origin = int(low[0]), int(low[1])
    if not height or not width:
        return origin, np.zeros((0, 0), bool)
    starts = corners - low
    following = np.concatenate([np.roll(line, -1, 0) for line in lines]) - low
    first = np.clip(np.ceil(np.minimum(starts[:, 0], following[:, 0]) - 0.5), 0, height)
    last = np.clip(np.ceil(np.maximum(starts[:, 0], following[:, 0]) - 0.5), 0, height)
    counts = (last - first).astype(int)
    edge = np.repeat(np.arange(len(counts)), counts)
    rows = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts)
    rows = rows + first[edge].astype(int)
    (r0, c0), (r1, c1) = starts[edge].T, following[edge].T
    crossings = c0 + (rows + 0.5 - r0) * (c1 - c0) / (r1 - r0)
    columns = np.clip(np.ceil(crossings - 0.5), 0, width).astype(int)
    toggles = np.zeros((height, width + 1), np.int32)
    np.add.at(toggles, (rows, columns), 1)
    return origin, (np.cumsum(toggles, 1)[:, :width] % 2).astype(bool)


class _Segments(NamedTuple):
    """Straight parts of the outlines, with their object at the right-hand side.

    The first ones, ``along_rows`` many, lie along rows, the others along columns. An owner is a
    position in ``numbers``.
    """

    start: NDArray[np.int64]
    end: NDArray[np.int64]
    owner: NDArray[np.int64]
    onward: NDArray[np.bool_]  # towards higher columns or rows
    along_rows: int
    numbers: NDArray[Any]


def _segments(padded: NDArray[Any]) -> _Segments:
    parts = []
    for is_column, pixels in ((False, padded), (True, np.ascontiguousarray(padded.T))):
        before, after = pixels[:-1], pixels[1:]
        at, along = np.nonzero(before != after)
        for numbers, is_after in ((after[at, along], True), (before[at, along], False)):
            kept = numbers > 0
            lines, places, owners = at[kept], along[kept], numbers[kept]
            breaks = np.ones(len(lines), bool)
            breaks[1:] = (
                (np.diff(lines) != 0) | (np.diff(places) != 1) | (owners[1:] != owners[:-1])
            )
            first = np.flatnonzero(breaks)
            last = np.append(first[1:], len(lines))[: len(first)] - 1
            low = np.stack([lines[first], places[first] - 1], 1)
            high = np.stack([lines[first], places[last]], 1)
            onward = is_after != is_column
            start, end = (low, high) if onward else (high, low)
            if is_column:
                start, end = start[:, ::-1], end[:, ::-1]
            parts.append((start, end, owners[first], np.full(len(first), onward)))
    starts, ends, owners_, onwards = (np.concatenate(part) for part in zip(*parts, strict=True))
    numbers, owner = np.unique(owners_, return_inverse=True)
    count = len(parts[0][0]) + len(parts[1][0])
    return _Segments(starts, ends, owner.reshape(-1), onwards, count, numbers)


def _rings(segments: _Segments) -> Iterator[tuple[int, Ring, float]]:
    """Yield closed lines: whose they are, their corners and the area within."""
    following, crossed = _following(segments)
    owners = segments.owner.tolist()
    done = bytearray(len(owners))
    path: list[int] = []
    firsts: list[int] = []
    for first in range(segments.along_rows):
        if done[first]:
            continue
        firsts.append(len(path))
        at = first
        while not done[at]:
            done[at] = 1
            path.append(at)
            at = following[at]
    corners = segments.start[path]
    ends = [*firsts[1:], len(path)]
    areas = np.add.reduceat(_products(corners, segments.end[path]), firsts)
    for first, end, area in zip(firsts, ends, areas.tolist(), strict=True):
        owner, ring = owners[path[first]], corners[first:end]
        if owner in crossed:
            yield from ((owner, part, _area(part)) for part in _parted(ring))
        else:
            yield owner, ring, area


def _following(segments: _Segments) -> tuple[list[int], set[int]]:
    """Return each segment's successor, and the objects that have corners where four meet.

    There a line turns right, round the pixel it came along.
    """
    width = int(segments.end[:, 1].max()) + 1
    height = int(segments.end[:, 0].max()) + 1
    corner = segments.owner * (width * height)
    start_at = corner + segments.start[:, 0] * width + segments.start[:, 1]
    end_at = corner + segments.end[:, 0] * width + segments.end[:, 1]
    count = segments.along_rows
    following = np.empty(len(start_at), np.int64)
    crossed: set[int] = set()
    for along_rows in (True, False):
        coming = slice(0, count) if along_rows else slice(count, None)
        going = slice(count, None) if along_rows else slice(0, count)
        keys = start_at[going] * 2 + segments.onward[going]
        order = np.argsort(keys)
        keys = keys[order]
        # to the right: from east to south, west to north, south to west, north to east
        right = segments.onward[coming] if along_rows else ~segments.onward[coming]
        wanted = end_at[coming] * 2 + right
        at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        other = np.searchsorted(keys, wanted ^ 1)
        at = np.where(keys[at] == wanted, at, np.minimum(other, len(keys) - 1))
        following[coming] = order[at] + (count if along_rows else 0)
        doubled = keys[1:][keys[1:] // 2 == keys[:-1] // 2] // 2
        crossed |= set((doubled // (width * height)).tolist())
    return following.tolist(), crossed


def _parted(corners: Ring) -> Iterable[Ring]:
    """Part a line where it comes back to a corner, so that no part meets itself."""
    path: list[tuple[int, int]] = []
    seen: dict[tuple[int, int], int] = {}
    for corner in map(tuple, corners.tolist()):
        if corner in seen:
            at = seen[corner]
            yield np.array(path[at:])
            for gone in path[at + 1 :]:
                del seen[gone]
            del path[at + 1 :]
        else:
            seen[corner] = len(path)
            path.append(corner)
    yield np.array(path)


def _area(ring: Ring) -> float:
    """Return the area within a line; negative if it runs anticlockwise."""
    return float(_products(ring, np.roll(ring, -1, 0)).sum())


def _products(corners: Ring, following: Ring) -> NDArray[np.float64]:
    """Return what each corner adds to the area within its line."""
    (r, c), (r2, c2) = corners.T, following.T
    return np.asarray((c * r2 - c2 * r) / 2, float)


def _pixel_beside(ring: Ring) -> tuple[float, float]:
    """Return the centre of a pixel of the object, at the right-hand side of a line."""
    (r, c), (r2, c2) = ring[0].tolist(), ring[1].tolist()
    if r == r2:
        return (r + 0.5, c + 0.5) if c2 > c else (r - 0.5, c - 0.5)
    return (r + 0.5, c - 0.5) if r2 > r else (r - 0.5, c + 0.5)


def _polygons(rings: Sequence[Ring], areas: Sequence[float]) -> tuple[Polygon, ...]:
    if len(rings) == 1:
        return (Polygon(rings[0]),)
    shells = [ring for ring, area in zip(rings, areas, strict=True) if area > 0]
    sizes = [area for area in areas if area > 0]
    holes: list[list[Ring]] = [[] for _ in shells]
    for ring, area in zip(rings, areas, strict=True):
        if area < 0:
            pixel = _pixel_beside(ring)
            around = [i for i, shell in enumerate(shells) if len(shells) < 2 or _in(shell, pixel)]
            holes[min(around, key=sizes.__getitem__)].append(ring)
    return tuple(Polygon(shell, tuple(inner)) for shell, inner in zip(shells, holes, strict=True))


def _in(ring: Ring, point: tuple[float, float]) -> bool:
    """Whether a point lies within a line whose edges run along rows and columns."""
    (r, c), (r2, _) = ring.T, np.roll(ring, -1, 0).T
    crossed = (np.minimum(r, r2) < point[0]) & (np.maximum(r, r2) > point[0]) & (c > point[1])
    return bool(np.count_nonzero(crossed) % 2)
