"""Labels of a movie given one number for each track, as one step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam.engine import Executor, Report
from napari_sam.io.exports.objects import Recoding
from napari_sam.planes import Plane, PlaneSource
from napari_sam.session.beside import Beside
from napari_sam.session.canvas import LabelCanvas
from napari_sam.session.groups import ObjectPlane
from napari_sam.session.journal import UNKNOWN, Change, ObjectFacts, PlaneFacts
from napari_sam.session.moving import facts_changes, permuted
from napari_sam.session.pixels import PixelChange
from napari_sam.session.state import State, Touched
from napari_sam.tracking import LinkSettings, Tracks, link


@dataclass(frozen=True, slots=True)
class LinkRequest:
    """What is linked.

    Parameters
    ----------
    axis
        Of time.
    spacing
        As of :func:`~napari_sam.tracking.link`.
    settings
        What may be linked; divisions are left to the user.
    """

    axis: int
    spacing: tuple[float, ...] | None = None
    settings: LinkSettings = field(default_factory=LinkSettings)

    def words(self) -> dict[str, Any]:
        """Return what it takes to do the same again."""
        how = self.settings
        spacing = None if self.spacing is None else list(self.spacing)
        return {"axis": self.axis, "spacing": spacing, "reach": how.reach, "max_gap": how.max_gap}

    @classmethod
    def of_words(cls, told: Mapping[str, Any]) -> LinkRequest:
        """Read what :meth:`words` spelled."""
        spacing = told["spacing"]
        settings = LinkSettings(told["reach"], told["max_gap"], divisions=False)
        return cls(told["axis"], None if spacing is None else tuple(spacing), settings)


class Relinking(Beside):
    """Links the objects of labels over time.

    Labels are read and linked beside all other work; then it is looked, on the owner's thread,
    whether they are still the same.

    Parameters
    ----------
    state
        What is changed.
    executor
        Where labels are linked.
    source
        Returns the image.
    highest
        Returns the highest number that an object has, as far as is known.
    written
        Called with what was touched, and the highest number.
    told
        Called with a sentence about how it ended.
    failed
        Called with the error when it can't be done.
    """

    def __init__(
        self,
        state: State,
        executor: Executor,
        source: Callable[[], PlaneSource],
        highest: Callable[[], int],
        written: Callable[[Touched | None, int], None],
        told: Callable[[str], None],
        failed: Callable[[Exception], None],
    ) -> None:
        super().__init__(state, executor, failed)
        self._source, self._highest = source, highest
        self._written, self._told = written, told

    def begin(self, request: LinkRequest) -> None:
        """Begin; see :meth:`napari_sam.session.Session.link_objects`."""
        if self._state.canvas is None:
            raise ValueError("expected labels whose objects are linked, got none")

        def task(canvas: LabelCanvas) -> Callable[[Report], Linked]:
            locked, born = frozenset(self._state.locked), born_objects(self._state)
            above = self._highest()
            return partial(linked, canvas, self._source(), request, locked, born, highest=above)

        self.decide(
            ("link objects", self),
            task,
            lambda found: self._write(request, found),
            "expected labels that stay as they are while they are linked, got changes; pause, and "
            "link them again",
        )

    def _write(self, request: LinkRequest, found: Linked) -> None:
        if not found.pixels:
            self._told("Every object has one number on all frames already")
            return
        touched = commit_linked(self._state, request, found)
        self._written(touched, found.highest)
        if touched is not None:
            self._told(f"{found.count} objects linked over time; Ctrl+Z takes it back")


@dataclass(frozen=True, slots=True)
class Linked:
    """What linking changes.

    Parameters
    ----------
    numbers
        The new number of a label on a frame, where it is another one.
    origins
        The label that most of an object has been, for objects with a number of their own.
    gone
        Labels that no object has any more.
    on
        The frames that each label was on, in order.
    pixels
        What changes.
    above
        The highest number before.
    highest
        The highest number.
    count
        Number of objects.
    """

    numbers: Mapping[tuple[int, int], int]
    origins: Mapping[int, int]
    gone: tuple[int, ...]
    on: Mapping[int, Sequence[int]]
    pixels: tuple[PixelChange, ...]
    above: int
    highest: int
    count: int

    def number(self, label: int, frame: int) -> int:
        """Return what a label on a frame is called from then on."""
        return self.numbers.get((frame, label), label)


def linked(
    canvas: LabelCanvas,
    source: PlaneSource,
    request: LinkRequest,
    locked: Iterable[int],
    born: Iterable[int],
    report: Report,
    highest: int,
) -> Linked:
    """Link the objects of all frames, and decide which numbers they get.

    Locked ones stay. Those that were born of others, as a user said, are linked with nothing before
    their first frame.
    """
    frames = _Frames(canvas, source, request.axis, sorted(locked))
    above = max(highest, canvas.highest())
    tracks = link(frames, request.settings, request.spacing, lambda done: report(0.8 * done))
    tracks = _parted(tracks, born)
    numbers, origins = _named(tracks, above)
    pixels: list[PixelChange] = []
    by_frame: dict[int, dict[int, int]] = {}
    for (frame, label), number in numbers.items():
        by_frame.setdefault(frame, {})[label] = number
    for i, (frame, here) in enumerate(sorted(by_frame.items())):
        report(0.8 + 0.2 * i / len(by_frame))
        for plane in frames.planes[frame]:
            pixels += _recoded(canvas, plane, source.plane_shape(plane), here)
    on: dict[int, list[int]] = {}
    for t, frame_numbers in enumerate(tracks.numbers):
        for label in frame_numbers:
            on.setdefault(label, []).append(t)
    after = {numbers.get((t, i), i) for t, frame in enumerate(tracks.numbers) for i in frame}
    gone, top = tuple(sorted(on.keys() - after)), max(above, *origins) if origins else above
    return Linked(numbers, origins, gone, on, tuple(pixels), above, top, len(after))


def born_objects(state: State) -> frozenset[int]:
    """Return the objects of which a user said that they descend from another."""
    return frozenset(i for i, facts in state.all_facts.items() if facts.parent)


def _parted(tracks: Tracks, born: Iterable[int]) -> Tracks:
    """Begin a track of its own where an object was born."""
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


def commit_linked(state: State, request: LinkRequest, found: Linked) -> Touched | None:
    """Write what linking changes, with all that belongs to the objects."""
    axis, canvas = request.axis, state.canvas
    if canvas is not None:
        for change in found.pixels:
            canvas.prepare(change.plane, found.highest)
    keys = {*state.book.keys, *(key for key, _ in state.ownership.items())}
    moves = {
        (label, plane): found.numbers[plane[axis] or 0, label]
        for label, plane in keys
        if (plane[axis] or 0, label) in found.numbers
    }
    facts = {i: (state.facts(i), after) for i, after in _facts_after(state, found).items()}
    return state.commit(
        "linked",
        f"linked {found.count} objects over time",
        pixels=found.pixels,
        facts=facts_changes(facts),
        planes=tuple(_known_changes(state, axis, found)),
        details={**request.words(), "above": found.above},
        **permuted(state, moves),
    )


def _facts_after(state: State, found: Linked) -> dict[int, ObjectFacts]:
    """Return what is known of objects: parents are called by their tracks.

    What begins no track where it was said to begin descends from none.
    """
    begins: dict[int, int] = {}
    for label, frames in found.on.items():
        for frame in frames:
            number = found.number(label, frame)
            begins[number] = min(begins.get(number, frame), frame)
    after = {new: replace(state.facts(old), parent=None) for new, old in found.origins.items()}
    after |= dict.fromkeys(found.gone, ObjectFacts())
    children = {i: facts for i, facts in state.all_facts.items() if facts.parent is not None}
    for child, facts in children.items():
        after.setdefault(child, replace(facts, parent=None))
    for child, facts in children.items():
        first = found.on.get(child, (len(found.on),))[0]
        number, parent = found.number(child, first), facts.parent
        if parent:
            frames = found.on.get(parent, ())
            last = max((t for t in frames if t < first), default=None)
            parent = parent if last is None else found.number(parent, last)
        if number != parent and begins.get(number, first) == first:
            after[number] = replace(after.get(number, state.facts(number)), parent=parent)
    return after


def _known_changes(
    state: State, axis: int, found: Linked
) -> Iterator[Change[ObjectPlane, PlaneFacts]]:
    """Yield what becomes of what is known of objects on single planes: it goes with them."""
    after: dict[ObjectPlane, PlaneFacts] = {}
    for (label, plane), facts in state.known.items():
        number = found.number(label, plane[axis] or 0)
        if number != label:
            after[number, plane] = facts
        if number != label or label in found.gone:
            after.setdefault((label, plane), UNKNOWN)
    for key, facts in after.items():
        if (before := state.known.of(key)) != facts:
            yield Change(key, before, facts)


def _named(tracks: Tracks, above: int) -> tuple[dict[tuple[int, int], int], dict[int, int]]:
    """Give each track the label that most of it has, or else a number that nothing has."""
    areas: dict[int, dict[int, float]] = {}
    first: dict[tuple[int, int], int] = {}
    for (frame, label), seen in tracks.objects.items():
        track = tracks.numbers[frame][label]
        here = areas.setdefault(track, {})
        here[label] = here.get(label, 0.0) + seen.area
        first.setdefault((track, label), frame)
    names: dict[int, int] = {}
    claims = [
        (-area, first[track, label], track, label)  # of equal ones the earlier
        for track, of in areas.items()
        for label, area in of.items()
    ]
    taken: set[int] = set()
    for _, _, track, label in sorted(claims):
        if track not in names and label not in taken:
            names[track] = label
            taken.add(label)
    origins: dict[int, int] = {}
    for track, of in areas.items():
        if track not in names:
            above += 1
            names[track] = above
            origins[above] = max(of, key=lambda label: of[label])
    numbers = {
        (frame, label): names[track]
        for frame, here in enumerate(tracks.numbers)
        for label, track in here.items()
        if names[track] != label
    }
    return numbers, origins


def _recoded(
    canvas: LabelCanvas, plane: Plane, shape: tuple[int, int], numbers: Mapping[int, int]
) -> list[PixelChange]:
    labels = canvas.read(plane, (slice(0, shape[0]), slice(0, shape[1])))
    where = np.isin(labels, [*numbers])
    if not where.any():
        return []
    rows, columns = (np.flatnonzero(where.any(axis)) for axis in (1, 0))
    region = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
    where = where[region]
    before = labels[region][where]
    after = Recoding(numbers)(before)
    fits = int(after.max()) <= np.iinfo(before.dtype).max
    return [
        PixelChange.of(plane, region, where, before, after.astype(before.dtype) if fits else after)
    ]


class _Frames:
    """Labels as an array `(T, ..., H, W)` that is read a frame at a time."""

    def __init__(
        self, canvas: LabelCanvas, source: PlaneSource, axis: int, without: Sequence[int]
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
