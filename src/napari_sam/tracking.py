"""Objects that were found in every frame of a movie, linked to tracks with their divisions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from napari_sam.io.image_file import LazyArray

_Key = tuple[int, int]  # a frame, and a label there
_Pair = tuple[_Key, _Key, float]  # two objects, and what speaks for their link


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """What may be linked.

    Parameters
    ----------
    reach
        Farthest that an object's centroid moves from frame to frame, in pixels; by default the
        median diameter of the objects.
    max_gap
        Most frames in a row on which an object may be missing.
    divisions
        Whether an object may become two.

    Raises
    ------
    ValueError
        If the reach isn't positive or the gap is negative.
    """

    reach: float | None = None
    max_gap: int = 2
    divisions: bool = True

    def __post_init__(self) -> None:
        if self.reach is not None and not 0 < self.reach < np.inf:
            raise ValueError(f"expected a reach of more than 0 pixels, got {self.reach}")
        if self.max_gap < 0:
            raise ValueError(f"expected a gap of 0 frames or more, got {self.max_gap}")


@dataclass(frozen=True, slots=True)
class Tracks:
    """Which object of each frame belongs to which track.

    Parameters
    ----------
    numbers
        The track of each label, for each frame; tracks are numbered from 1.
    parents
        The track that a track descends from, where it does: what is suggested as a division.
    """

    numbers: tuple[Mapping[int, int], ...]
    parents: Mapping[int, int] = field(default_factory=dict)

    def relabelled(self, labels: LazyArray) -> NDArray[np.int32]:
        """Return labels `(T, ..., H, W)` with one number for each track."""
        result = np.zeros(tuple(labels.shape), np.int32)
        for frame, numbers in enumerate(self.numbers):
            plane = np.asarray(labels[frame])
            for label, number in numbers.items():
                result[frame][plane == label] = number
        return result


@dataclass(frozen=True, slots=True)
class _Object:
    centre: NDArray[np.float64]
    area: float


# What a link may cost: an object that keeps place and area costs 0; one that moved as far as it
# may, without overlap, costs 2, and doubling the area costs 0.35.
_MOST = 2.5
_GAP_COST = 0.25  # for each missing frame
_MOST_OF_A_DIVISION = 0.9


def link(labels: LazyArray, settings: LinkSettings | None = None) -> Tracks:
    """Link the objects of all frames so that the sum of the links' costs is least.

    First frame to frame; then tracks that end are joined with those that begin a few frames
    later, and tracks that begin beside another are made its daughter if the two have the area
    and the place of the parent. A cost is the distance of the centroids in reaches, plus
    1 − IoU, plus half the logarithm of the areas' ratio.

    Parameters
    ----------
    labels
        `(T, H, W)` or `(T, Z, H, W)`, numbered in each frame by itself; 0 is background. A frame
        is read at a time.
    settings
        What may be linked.

    Raises
    ------
    ValueError
        If the labels have another number of axes, or are no whole numbers.

    References
    ----------
    Jaqaman et al., *Nature Methods* 5 (2008), doi:10.1038/nmeth.1237, in two steps as there.
    """
    if len(labels.shape) not in (3, 4) or np.dtype(labels.dtype).kind not in "iu":
        raise ValueError(
            f"expected integer labels (T, H, W) or (T, Z, H, W), got {labels.dtype} of shape "
            f"{tuple(labels.shape)}"
        )
    settings = settings or LinkSettings()
    objects, overlaps = _measured(labels, settings.max_gap + 1)
    reach = settings.reach or _diameter(objects, len(labels.shape) - 1)
    frames: list[list[_Key]] = [[] for _ in range(labels.shape[0])]
    for key in objects:
        frames[key[0]].append(key)
    following: dict[_Key, _Key] = {}
    for before, after in pairwise(frames):
        following |= _assigned(_candidates(before, after, objects, overlaps, reach))
    parents = _closed(frames, following, objects, overlaps, reach, settings)
    return _numbered(frames, following, parents)


def _measured(
    labels: LazyArray, steps: int
) -> tuple[dict[_Key, _Object], dict[tuple[_Key, _Key], int]]:
    """Return centroids and areas, and shared pixels of objects at most `steps` frames apart."""
    objects: dict[_Key, _Object] = {}
    overlaps: dict[tuple[_Key, _Key], int] = {}
    last: list[tuple[int, NDArray[Any], NDArray[Any]]] = []
    for t in range(labels.shape[0]):
        frame = np.maximum(np.asarray(labels[t]), 0)
        present, at = np.unique(frame, return_inverse=True)
        at = at.reshape(frame.shape)
        areas = np.bincount(at.ravel(), minlength=len(present))
        grid = np.indices(frame.shape, sparse=True)
        sums = [
            np.bincount(at.ravel(), np.broadcast_to(axis, frame.shape).ravel(), len(present))
            for axis in grid
        ]
        for i, label in enumerate(present.tolist()):
            if label:
                centre = np.array([one[i] for one in sums]) / areas[i]
                objects[t, label] = _Object(centre, float(areas[i]))
        for earlier, names, places in last:
            shape = (len(names), len(present))
            ones = np.ones(at.size, np.int64)
            shared = sparse.coo_array((ones, (places.ravel(), at.ravel())), shape)
            shared.sum_duplicates()
            for i, j, n in zip(shared.row, shared.col, shared.data, strict=True):
                if names[i] and present[j]:
                    overlaps[(earlier, int(names[i])), (t, int(present[j]))] = int(n)
        last = [*last, (t, present, at)][-steps:]
    return objects, overlaps


def _diameter(objects: Mapping[_Key, _Object], dimensions: int) -> float:
    if not objects:
        return 1.0
    area = float(np.median([one.area for one in objects.values()]))
    return 2 * (area / np.pi) ** 0.5 if dimensions == 2 else 2 * (0.75 * area / np.pi) ** (1 / 3)


def _candidates(
    before: list[_Key],
    after: list[_Key],
    objects: Mapping[_Key, _Object],
    overlaps: Mapping[tuple[_Key, _Key], int],
    reach: float,
) -> Iterator[_Pair]:
    """Yield pairs that may be links of neighbouring frames, or across a gap."""
    from scipy.spatial import cKDTree

    if not (before and after):
        return
    tree = cKDTree([objects[key].centre for key in after])
    for a in before:
        one = objects[a]
        for i in tree.query_ball_point(one.centre, reach):
            b = after[i]
            other = objects[b]
            shared = overlaps.get((a, b), 0)
            iou = shared / (one.area + other.area - shared)
            cost = float(np.linalg.norm(one.centre - other.centre)) / reach + 1 - iou
            cost += 0.5 * abs(np.log(one.area / other.area)) + _GAP_COST * (b[0] - a[0] - 1)
            if cost < _MOST:
                yield a, b, _MOST - cost


def _assigned(pairs: Iterable[tuple[Any, _Key, float]]) -> dict[Any, _Key]:
    """Return links, each object in at most one on either side, whose gains are most together.

    Objects that compete with each other, over others too, are solved by themselves: a table of
    all ends and beginnings of a long movie would not fit into memory.
    """
    from scipy.optimize import linear_sum_assignment

    pairs = list(pairs)
    if not pairs:
        return {}
    rows = {a: i for i, a in enumerate(dict.fromkeys(a for a, _, _ in pairs))}
    columns = {b: i for i, b in enumerate(dict.fromkeys(b for _, b, _ in pairs), len(rows))}
    count = len(rows) + len(columns)
    edges = [rows[a] for a, _, _ in pairs], [columns[b] for _, b, _ in pairs]
    graph = sparse.coo_array((np.ones(len(pairs)), edges), (count, count))
    _, groups = csgraph.connected_components(graph, directed=False)
    together: dict[int, list[tuple[Any, _Key, float]]] = {}
    for pair in pairs:
        together.setdefault(int(groups[rows[pair[0]]]), []).append(pair)
    links: dict[Any, _Key] = {}
    for group in together.values():
        ones = list(dict.fromkeys(a for a, _, _ in group))
        others = list(dict.fromkeys(b for _, b, _ in group))
        gains = np.zeros((len(ones), len(others)))
        for a, b, gain in group:
            gains[ones.index(a), others.index(b)] = gain
        chosen = zip(*linear_sum_assignment(gains, maximize=True), strict=True)
        links |= {ones[i]: others[j] for i, j in chosen if gains[i, j] > 0}
    return links


def _closed(
    frames: list[list[_Key]],
    following: dict[_Key, _Key],
    objects: Mapping[_Key, _Object],
    overlaps: Mapping[tuple[_Key, _Key], int],
    reach: float,
    settings: LinkSettings,
) -> dict[_Key, _Key]:
    """Join tracks across gaps, in place; return the parent of each first object of a daughter."""
    reached = set(following.values())
    starts = [[key for key in keys if key not in reached] for keys in frames]
    ends = [[key for key in keys if key not in following] for keys in frames]
    pairs: list[Any] = []
    for t, ending in enumerate(ends):
        for beginning in starts[t + 2 : t + 2 + settings.max_gap]:
            pairs += _candidates(ending, beginning, objects, overlaps, reach)
    if settings.divisions:
        for before, beginning in zip(frames, starts[1:], strict=False):
            for parent in before:
                if parent in following:
                    pairs += _divisions(parent, following[parent], beginning, objects, reach)
    parents: dict[_Key, _Key] = {}
    for source, start in _assigned(pairs).items():
        if len(source) == 2:
            following[source] = start
        else:  # a division: (frame, label, marker)
            parent = source[:2]
            parents |= {start: parent, following.pop(parent): parent}
    return parents


def _divisions(
    parent: _Key,
    sister: _Key,
    beginning: list[_Key],
    objects: Mapping[_Key, _Object],
    reach: float,
) -> Iterator[tuple[tuple[int, int, str], _Key, float]]:
    one, first = objects[parent], objects[sister]
    for start in beginning:
        second = objects[start]
        if np.linalg.norm(one.centre - second.centre) > reach:
            continue
        area = first.area + second.area
        middle = (first.centre * first.area + second.centre * second.area) / area
        cost = float(np.linalg.norm(one.centre - middle)) / reach + abs(np.log(area / one.area))
        cost += 0.5 * abs(np.log(first.area / second.area))
        if cost < _MOST_OF_A_DIVISION:
            # as much as the best links at most, so that a gap and a division are weighed alike
            yield (*parent, "divides"), start, _MOST * (1 - cost / _MOST_OF_A_DIVISION)


def _numbered(
    frames: list[list[_Key]], following: Mapping[_Key, _Key], parents: Mapping[_Key, _Key]
) -> Tracks:
    track_of: dict[_Key, int] = {}
    reached = {after: before for before, after in following.items()}
    count = 0
    for key in (key for keys in frames for key in keys):
        if key in reached:
            track_of[key] = track_of[reached[key]]
        else:
            count += 1
            track_of[key] = count
    numbers = tuple({key[1]: track_of[key] for key in keys} for keys in frames)
    return Tracks(numbers, {track_of[child]: track_of[of] for child, of in parents.items()})
