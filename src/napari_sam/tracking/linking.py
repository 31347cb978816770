"""Objects that were found in every frame of a movie, linked to tracks with their divisions."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from napari_sam.io.image_file import LazyArray
from napari_sam.tracking.assignment import assigned
from napari_sam.tracking.divisions import Division, daughters
from napari_sam.tracking.seen import Key, Observed, Report, Seen, observe

_Pair = tuple[Key, Key, float]  # two objects, and what speaks for their link


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """Settings of :func:`link`.

    Parameters
    ----------
    reach
        Largest distance that an object's centroid moves from frame to frame, in units of the
        spacing; by default the median diameter of the objects.
    max_gap
        Largest number of successive frames on which an object may be missing.
    divisions
        Whether objects may divide.

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
            raise ValueError(f"expected a reach of more than 0, got {self.reach}")
        if self.max_gap < 0:
            raise ValueError(f"expected a gap of 0 frames or more, got {self.max_gap}")


@dataclass(frozen=True, slots=True)
class Tracks:
    """The tracks of the objects of all frames.

    Parameters
    ----------
    numbers
        The track of each label, for each frame; tracks are numbered from 1.
    divisions
        Suggested divisions, ordered by frame.
    objects
        Measurements of each object, by frame and label.
    reach
        Largest distance that objects were assumed to move from frame to frame.
    """

    numbers: tuple[Mapping[int, int], ...]
    divisions: tuple[Division, ...] = ()
    objects: Mapping[Key, Seen] = field(default_factory=dict)
    reach: float = 1.0

    @property
    def parents(self) -> Mapping[int, int]:
        """The parent track of each track that has one."""
        return {child: one.parent for one in self.divisions for child in one.daughters}

    def relabelled(self, labels: LazyArray, report: Report | None = None) -> NDArray[np.int32]:
        """Return labels with one number for each track.

        Parameters
        ----------
        labels
            `(T, H, W)` or `(T, Z, H, W)`: those that were linked.
        report
            Called with the finished fraction; it may raise to cancel.

        Returns
        -------
        relabelled
            Of the same shape, int32.
        """
        result = np.zeros(tuple(labels.shape), np.int32)
        for frame, numbers in enumerate(self.numbers):
            if report is not None:
                report(frame / len(self.numbers))
            present, at = np.unique(np.asarray(labels[frame]), return_inverse=True)
            new = np.array([numbers.get(label, 0) for label in present.tolist()], np.int32)
            result[frame] = new[at.reshape(result[frame].shape)]
        return result


# What a link may cost: an object that keeps place and area costs 0; one that moved as far as it
# may, without overlap, costs 2, and doubling the area costs 0.35.
_MOST = 2.5
_GAP_COST = 0.25  # for each missing frame


def link(
    labels: LazyArray,
    settings: LinkSettings | None = None,
    spacing: Sequence[float] | None = None,
    report: Report | None = None,
    entered: Collection[Key] = (),
    left: Collection[Key] = (),
) -> Tracks:
    """Link the objects of all frames so that the sum of the links' costs is least.

    Objects of neighbouring frames are linked first. Then tracks that end are joined with those
    that begin a few frames later, and a track that begins beside another becomes its daughter if
    the two together have the area and the place of the parent. The cost of a link is the distance
    of the centroids as a multiple of the reach, plus 1 − IoU, plus half the logarithm of the ratio
    of the areas.

    Parameters
    ----------
    labels
        `(T, H, W)` or `(T, Z, H, W)`; numbers are independent between frames, and 0 is
        background. Frames are read one at a time.
    settings
        Largest distance and gap, and whether objects may divide.
    spacing
        Distance of neighbouring pixels along (Z,) Y and X, in any unit, such as µm; 1 by default.
        Distances are measured in it, so that planes far apart count as far apart.
    report
        Called with the finished fraction; it may raise to cancel.
    entered, left
        Objects, by frame and label, that continue a track from before the first frame, or are
        continued after the last, if the labels are a part of a movie: nothing is linked to them
        on that side.

    Returns
    -------
    tracks
        The track of each object of each frame, and which tracks divide.

    Raises
    ------
    ValueError
        If the labels have another number of axes, or are not whole numbers, or the spacing doesn't
        fit them.

    References
    ----------
    Jaqaman et al., *Nature Methods* 5 (2008), doi:10.1038/nmeth.1237, in two steps as there.
    """
    settings = settings or LinkSettings()
    seen = observe(labels, spacing, settings.max_gap + 1, report)
    reach = settings.reach or seen.diameter()
    frames = [[(t, label) for label in present] for t, present in enumerate(seen.frames)]
    following: dict[Key, Key] = {}
    sources = [[key for key in keys if key not in left] for keys in frames]
    targets = [[key for key in keys if key not in entered] for keys in frames]
    for before, after in zip(sources, targets[1:], strict=False):
        following |= assigned(_candidates(before, after, seen, reach))
    divided = _close(sources, targets, following, seen, reach, settings)
    return replace(_numbered(frames, following, divided, seen), reach=reach)


def _candidates(
    before: Sequence[Key], after: Sequence[Key], seen: Observed, reach: float
) -> Iterator[_Pair]:
    """Yield pairs that may be links of neighbouring frames, or across a gap."""
    from scipy.spatial import cKDTree

    if not (before and after):
        return
    tree = cKDTree([seen.objects[key].centroid for key in after])
    for a in before:
        one = seen.objects[a]
        for i in tree.query_ball_point(one.centroid, reach):
            b = after[i]
            other = seen.objects[b]
            shared = seen.shared.get((a, b), 0)
            iou = shared / (one.area + other.area - shared)
            cost = one.distance(other) / reach + 1 - iou
            cost += 0.5 * abs(np.log(one.area / other.area)) + _GAP_COST * (b[0] - a[0] - 1)
            if cost < _MOST:
                yield a, b, _MOST - cost


@dataclass(frozen=True, slots=True)
class _Divides:
    """An object that gets a second daughter beside the one that it is linked to."""

    mother: Key


def _close(
    sources: Sequence[Sequence[Key]],
    targets: Sequence[Sequence[Key]],
    following: dict[Key, Key],
    seen: Observed,
    reach: float,
    settings: LinkSettings,
) -> dict[Key, tuple[Key, Key, float]]:
    """Join tracks across gaps, and part them where they divide, in place.

    Returns the two daughters of each object that divides, and how plausible it is. Gaps and
    divisions compete for tracks that begin; what begins behind a gap of all objects, such as a
    blank frame, may be a daughter once the gap is closed.
    """
    reached = set(following.values())
    starts = [[key for key in keys if key not in reached] for keys in targets]
    ends = [[key for key in keys if key not in following] for keys in sources]
    pairs: list[tuple[Key | _Divides, Key, float]] = []
    for t, ending in enumerate(ends):
        for beginning in starts[t + 2 : t + 2 + settings.max_gap]:
            pairs += _candidates(ending, beginning, seen, reach)
    plausible: dict[tuple[Key, Key], float] = {}

    def divisions(mothers: Sequence[Key]) -> Iterator[tuple[_Divides, Key, float]]:
        for mother in mothers:
            sister = following[mother]
            beginning = starts[sister[0]]
            for start, gain in daughters(mother, sister, beginning, seen.objects, reach):
                plausible[mother, start] = gain
                # as much as the best links at most: a gap and a division are weighed alike
                yield _Divides(mother), start, _MOST * gain

    if settings.divisions:
        pairs += divisions([*following])
    divided: dict[Key, tuple[Key, Key, float]] = {}
    across: list[Key] = []
    for source, start in assigned(pairs).items():
        starts[start[0]].remove(start)
        if isinstance(source, _Divides):
            mother = source.mother
            divided[mother] = following.pop(mother), start, plausible[mother, start]
        else:
            following[source] = start
            across.append(source)
    if settings.divisions:
        for source, start in assigned(divisions(across)).items():
            mother = source.mother
            divided[mother] = following.pop(mother), start, plausible[mother, start]
    return divided


def _numbered(
    frames: Sequence[Sequence[Key]],
    following: Mapping[Key, Key],
    divided: Mapping[Key, tuple[Key, Key, float]],
    seen: Observed,
) -> Tracks:
    track_of: dict[Key, int] = {}
    reached = {after: before for before, after in following.items()}
    count = 0
    for key in (key for keys in frames for key in keys):
        if key in reached:
            track_of[key] = track_of[reached[key]]
        else:
            count += 1
            track_of[key] = count
    numbers = tuple({key[1]: track_of[key] for key in keys} for keys in frames)
    divisions = [
        Division(track_of[mother], (track_of[first], track_of[second]), first[0], plausibility)
        for mother, (first, second, plausibility) in divided.items()
    ]
    divisions.sort(key=lambda one: (one.frame, one.parent))
    return Tracks(numbers, tuple(divisions), seen.objects)
