"""Linking all frames of a movie: tracks, and the number that each of them gets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam.engine import Report
from napari_sam.geometry import Region
from napari_sam.io.exports.objects import Recoding
from napari_sam.planes import Plane, PlaneSource
from napari_sam.session.canvas import LabelCanvas
from napari_sam.session.pixels import PixelChange
from napari_sam.session.state import State
from napari_sam.tracking import LinkSettings, Tracks, link


@dataclass(frozen=True, slots=True)
class LinkRequest:
    """A request to link objects over time.

    Parameters
    ----------
    axis
        The time axis.
    spacing
        As for :func:`~napari_sam.tracking.link`.
    settings
        What may be linked; divisions are left to the user.
    frames
        The frames that have changed since all were linked: objects are linked around these, and
        keep their numbers elsewhere. None for all frames.
    within
        The reach with which all frames were linked; None with all frames.

    Raises
    ------
    ValueError
        If frames are negative, or given without a reach.
    """

    axis: int
    spacing: tuple[float, ...] | None = None
    settings: LinkSettings = field(default_factory=LinkSettings)
    frames: tuple[int, ...] | None = None
    within: float | None = None

    def __post_init__(self) -> None:
        if self.frames is None:
            return
        if self.within is None or not 0 < self.within < np.inf:
            raise ValueError(f"expected a reach of more than 0 with frames, got {self.within}")
        if not all(type(frame) is int and frame >= 0 for frame in self.frames):
            raise ValueError(f"expected frames of 0 or more, got {str(self.frames)[:100]}")

    def words(self) -> dict[str, Any]:
        """Return the values needed to repeat it, as JSON."""
        how = self.settings
        spacing = None if self.spacing is None else list(self.spacing)
        words = {"axis": self.axis, "spacing": spacing, "reach": how.reach, "max_gap": how.max_gap}
        return words if self.frames is None else {**words, "frames": list(self.frames)}

    @classmethod
    def of_words(cls, words: Mapping[str, Any]) -> LinkRequest:
        """Return the request that :meth:`words` returned; `words` also has the reach."""
        spacing, frames = words["spacing"], words.get("frames")
        settings = LinkSettings(words["reach"], words["max_gap"], divisions=False)
        sizes = None if spacing is None else tuple(spacing)
        if frames is None:
            return cls(words["axis"], sizes, settings)
        return cls(words["axis"], sizes, settings, tuple(frames), words["within"])


@dataclass(frozen=True, slots=True)
class LinkConstraints:
    """Locked objects and confirmed divisions, which linking respects.

    Parameters
    ----------
    locked
        Objects that keep their number.
    parents
        The parent of each daughter, which is not linked with objects before its first frame.
    """

    locked: frozenset[int]
    parents: Mapping[int, int]

    @classmethod
    def of(cls, state: State) -> LinkConstraints:
        """Return the constraints of a session."""
        parents = {i: facts.parent for i, facts in state.all_facts.items() if facts.parent}
        return cls(frozenset(state.locked), parents)


@dataclass(frozen=True, slots=True)
class Linked:
    """The result of linking.

    Parameters
    ----------
    numbers
        The new number by (frame, label), where it differs.
    origins
        For each object with a number that is new, the label that most of it had.
    gone
        Labels that no object has any more.
    on
        The frames that each label was on, in order; if not all frames were linked, only of the
        labels around those, and of their daughters.
    pixels
        The changes of label pixels.
    above
        The highest number before.
    highest
        The highest number afterwards.
    count
        Number of objects that were linked.
    request
        The request.
    within
        The largest distance from frame to frame that was allowed.
    """

    numbers: Mapping[tuple[int, int], int]
    origins: Mapping[int, int]
    gone: tuple[int, ...]
    on: Mapping[int, Sequence[int]]
    pixels: tuple[PixelChange, ...]
    above: int
    highest: int
    count: int
    request: LinkRequest
    within: float

    def number(self, label: int, frame: int) -> int:
        """Return the number of a label on a frame after linking."""
        return self.numbers.get((frame, label), label)


def linked_anew(
    canvas: LabelCanvas,
    source: PlaneSource,
    request: LinkRequest,
    constraints: LinkConstraints,
    report: Report,
    highest: int,
) -> Linked:
    """Link the objects of all frames, and decide which numbers they get.

    Locked objects keep their numbers. Daughters of confirmed divisions are not linked with objects
    before their first frame. New numbers are above the highest.
    """
    frames = MovieFrames(canvas, source, request.axis, sorted(constraints.locked))
    above = max(highest, canvas.highest())
    tracks = link(frames, request.settings, request.spacing, lambda done: report(0.8 * done))
    tracks = _parted(tracks, constraints.parents)
    areas = {
        (frame, label): (tracks.numbers[frame][label], seen.area)
        for (frame, label), seen in tracks.objects.items()
    }
    numbers, origins = named(areas, above)
    pixels: list[PixelChange] = []
    by_frame: dict[int, dict[int, int]] = {}
    for (frame, label), number in numbers.items():
        by_frame.setdefault(frame, {})[label] = number
    for i, (frame, here) in enumerate(sorted(by_frame.items())):
        report(0.8 + 0.2 * i / len(by_frame))
        for plane in frames.planes[frame]:
            height, width = source.plane_shape(plane)
            pixels += recoded(canvas, plane, (slice(0, height), slice(0, width)), here)
    on: dict[int, list[int]] = {}
    for t, frame_numbers in enumerate(tracks.numbers):
        for label in frame_numbers:
            on.setdefault(label, []).append(t)
    after = {numbers.get((t, i), i) for t, frame in enumerate(tracks.numbers) for i in frame}
    gone, top = tuple(sorted(on.keys() - after)), max(above, *origins) if origins else above
    return Linked(
        *(numbers, origins, gone, on, tuple(pixels), above, top, len(after)),
        *(request, tracks.reach),
    )


def _parted(tracks: Tracks, born: Iterable[int]) -> Tracks:
    """Start a new track at the first frame of each daughter of a division."""
    numbers = [dict(frame) for frame in tracks.numbers]
    new = max((number for frame in numbers for number in frame.values()), default=0)
    first: dict[int, int] = {}
    for t, frame in enumerate(numbers):
        for label in frame:
            first.setdefault(label, t)
    for t, label in sorted((first[label], label) for label in born if label in first):
        track = numbers[t][label]
        if any(track in frame.values() for frame in numbers[:t]):
            new += 1
            for frame in numbers[t:]:
                frame.update({i: new for i, number in frame.items() if number == track})
    return replace(tracks, numbers=tuple(numbers))


def named(
    areas: Mapping[tuple[int, int], tuple[int, float]], above: int
) -> tuple[dict[tuple[int, int], int], dict[int, int]]:
    """Give each track the label that most of it has, or else a new number.

    Parameters
    ----------
    areas
        The track and the area of each label on each frame, by (frame, label), in order.
    above
        The highest number of any object.

    Returns
    -------
    numbers
        The new number by (frame, label), where it differs.
    origins
        For each track with a new number, the label that most of it had.
    """
    by_track: dict[int, dict[int, float]] = {}
    first: dict[tuple[int, int], int] = {}
    for (frame, label), (track, area) in areas.items():
        here = by_track.setdefault(track, {})
        here[label] = here.get(label, 0.0) + area
        first.setdefault((track, label), frame)
    names: dict[int, int] = {}
    claims = [
        (-area, first[track, label], track, label)  # the earlier of equal areas
        for track, of in by_track.items()
        for label, area in of.items()
    ]
    taken: set[int] = set()
    for _, _, track, label in sorted(claims):
        if track not in names and label not in taken:
            names[track] = label
            taken.add(label)
    origins: dict[int, int] = {}
    for track, of in by_track.items():
        if track not in names:
            above += 1
            names[track] = above
            origins[above] = max(of, key=lambda label: of[label])
    numbers = {
        (frame, label): names[track]
        for (frame, label), (track, _) in areas.items()
        if names[track] != label
    }
    return numbers, origins


def recoded(
    canvas: LabelCanvas, plane: Plane, around: Region, numbers: Mapping[int, int]
) -> list[PixelChange]:
    """Return the changes that renumber labels of a plane within a rectangle around them."""
    labels = canvas.read(plane, around)
    where = np.isin(labels, [*numbers])
    if not where.any():
        return []
    rows, columns = (np.flatnonzero(where.any(axis)) for axis in (1, 0))
    part = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
    where = where[part]
    before = labels[part][where]
    after = Recoding(numbers)(before)
    fits = int(after.max()) <= np.iinfo(before.dtype).max
    after = after.astype(before.dtype) if fits else after
    row, column = (a.start + b.start for a, b in zip(around, part, strict=True))
    region = slice(row, row + where.shape[0]), slice(column, column + where.shape[1])
    return [PixelChange.of(plane, region, where, before, after)]


class MovieFrames:
    """Labels as an array `(T, ..., H, W)` whose frames are read when they are indexed.

    Parameters
    ----------
    canvas, source
        The labels, and the image.
    axis
        The time axis.
    without
        Objects that are left out.
    span
        The first frame, and one after the last; by default all.

    Raises
    ------
    ValueError
        If frames aren't planes or volumes of one channel.
    """

    def __init__(
        self,
        canvas: LabelCanvas,
        source: PlaneSource,
        axis: int,
        without: Sequence[int],
        span: tuple[int, int] | None = None,
    ) -> None:
        self._canvas, self._without = canvas, without
        self.planes: list[list[Plane]] = [[] for _ in range(source.shape[axis])]
        for plane in canvas.planes():
            self.planes[plane[axis] or 0].append(plane)
        depth = {len(planes) for planes in self.planes}
        others = [a for a, n in enumerate(source.shape) if a != axis and a not in source.spanned]
        others = [a for a in others if a != source.channel_axis]
        if len(others) > 1 or len(depth) != 1 or not canvas.planes():
            raise ValueError(
                "expected labels of a movie of planes or volumes, got others; link those of one "
                "channel"
            )
        self.planes = self.planes[slice(*(span or (None,)))]
        self._shape = source.plane_shape(self.planes[0][0])
        self._is_flat = not others
        inner = self._shape if self._is_flat else (depth.pop(), *self._shape)
        self.shape = (len(self.planes), *inner)
        self.dtype: Any = np.dtype(np.int64)

    def __getitem__(self, frame: int) -> NDArray[np.int64]:
        height, width = self._shape
        region = slice(0, height), slice(0, width)
        planes = [self._canvas.read(plane, region) for plane in self.planes[frame]]
        labels = np.asarray(planes[0] if self._is_flat else np.stack(planes), np.int64)
        return np.where(np.isin(labels, self._without), 0, labels) if self._without else labels
