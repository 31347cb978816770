"""Positions of objects on each frame of a movie, and suggested divisions, kept up to date."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from napari_sam.engine import Executor, Outcome, Report
from napari_sam.planes import Plane, PlaneSource
from napari_sam.session.canvas import LabelCanvas
from napari_sam.session.journal import Entry, JournalChange
from napari_sam.session.state import State
from napari_sam.tracking import Division, Observed, Seen, divisions_of

_Sums = dict[int, tuple[int, float, float]]  # pixels, and sums of rows and columns, by label


@dataclass(frozen=True, slots=True, eq=False)
class TrackPoints:
    """The position of each object on each of its frames, sorted by object, then by frame.

    Parameters
    ----------
    axis
        The time axis.
    objects, frames
        `(N,)` the number of the object and the index of the frame.
    places
        `(N, 2)` or `(N, 3)` the centroid of its pixels: (plane,) row and column.
    """

    axis: int
    objects: NDArray[np.int64]
    frames: NDArray[np.int64]
    places: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Watch:
    axis: int
    spacing: tuple[float, ...]
    depth: int | None  # the axis of planes of a volume


@dataclass(frozen=True, slots=True)
class _Counted:
    planes: Mapping[Plane, _Sums]
    points: TrackPoints
    divisions: tuple[Division, ...]


class OverTime:
    """Reads labels frame by frame in the background, and again where they change.

    Parameters
    ----------
    state
        The state with the labels.
    executor
        Reads the labels.
    source
        Returns the image.

    Attributes
    ----------
    changed
        Signal: points or divisions changed.
    failed
        Signal: the labels could not be read; with the exception.
    """

    changed = Signal()
    failed = Signal(object)

    def __init__(self, state: State, executor: Executor, source: Callable[[], PlaneSource]) -> None:
        self._state, self._executor, self._source = state, executor, source
        self._watch: _Watch | None = None
        self._sums: dict[Plane, _Sums] = {}
        self._stale: dict[Plane, None] = {}
        self._counting: tuple[Plane, ...] = ()
        self.points: TrackPoints | None = None
        self.divisions: tuple[Division, ...] = ()

    @property
    def is_on(self) -> bool:
        """Whether tracks are computed and kept up to date."""
        return self._watch is not None

    def begin(self, axis: int, spacing: Sequence[float] | None) -> None:
        """Read all frames; see :meth:`napari_sam.session.Session.watch_tracks`."""
        source = self._source()
        axes = [a for a in range(len(source.shape)) if a not in source.spanned]
        others = [a for a in axes if a not in (axis, source.channel_axis)]
        if len(others) > 1:
            raise ValueError(
                f"expected a movie of planes or volumes, got the axes {axes} beside those of a "
                "plane; choose the other axis of time, or part the image"
            )
        depth = others[0] if others else None
        space = 2 + len(others)
        sizes = (1.0,) * space if spacing is None else tuple(map(float, spacing))
        if len(sizes) != space or not all(0 < size < np.inf for size in sizes):
            raise ValueError(f"expected {space} positive pixel sizes, got {sizes}")
        watch = _Watch(axis, sizes, depth)
        if watch == self._watch:
            return
        self.end()
        self._watch = watch
        self._state.applied.connect(self._follow)
        self._state.relabelled.connect(self._mark_all)
        self._state.journal.changed.connect(self._settle)
        self._mark_all()
        self._count()

    def end(self) -> None:
        """Stop reading, and drop what was found."""
        if self._watch is None:
            return
        self._watch = None
        self._state.applied.disconnect(self._follow)
        self._state.relabelled.disconnect(self._mark_all)
        self._state.journal.changed.disconnect(self._settle)
        self._executor.cancel(self._key)
        self._sums, self._stale, self._counting = {}, {}, ()
        self.points, self.divisions = None, ()

    @property
    def _key(self) -> tuple[object, ...]:
        return "over time", self

    def _mark_all(self) -> None:
        """Mark all planes to be read."""
        canvas = self._state.canvas
        self._sums = {}
        self._stale = {} if canvas is None else dict.fromkeys(canvas.planes())

    def _follow(self, entry: Entry, backwards: bool) -> None:
        self._stale |= dict.fromkeys(change.plane for change in entry.pixels)

    def _settle(self, change: JournalChange) -> None:
        for entry in change.put_back:  # it may have been counted before that
            self._follow(entry, True)
        self._count()

    def _count(self) -> None:
        canvas, watch = self._state.canvas, self._watch
        if canvas is None or watch is None or self._counting or not self._stale:
            return
        self._counting, self._stale = tuple(self._stale), {}
        shape_of = self._source().plane_shape
        work = {plane: shape_of(plane) for plane in self._counting}
        self._executor.chore(
            self._key,
            partial(_counted, canvas, work, dict(self._sums), watch),
            partial(self._take, canvas, watch),
            awaited=False,
        )

    def _take(self, canvas: LabelCanvas, watch: _Watch, outcome: Outcome) -> None:
        if watch is not self._watch:  # others are counted by now
            return
        planes, self._counting = self._counting, ()
        if outcome.error is not None:
            self._stale |= dict.fromkeys(planes)  # until the next change
            if not outcome.cancelled:
                self.failed.emit(outcome.error)
            return
        if canvas is not self._state.canvas:
            self._mark_all()
        else:
            found: _Counted = outcome.value
            self._sums = dict(found.planes)
            self.points, self.divisions = found.points, found.divisions
            self.changed.emit()
        self._count()


def _counted(
    canvas: LabelCanvas,
    shapes: Mapping[Plane, tuple[int, int]],
    known: dict[Plane, _Sums],
    watch: _Watch,
    report: Report,
) -> _Counted:
    for i, (plane, (height, width)) in enumerate(shapes.items()):
        report(i / len(shapes))
        known[plane] = _sums(canvas.read(plane, (slice(0, height), slice(0, width))))
    points, seen = _put_together(known, watch)
    return _Counted(known, points, divisions_of(seen))


def _sums(labels: NDArray[Any]) -> _Sums:
    rows, columns = np.nonzero(labels > 0)
    numbers, at = np.unique(labels[rows, columns], return_inverse=True)
    n = len(numbers)
    counts = np.bincount(at, minlength=n).tolist()
    sums = (np.bincount(at, axis, n).tolist() for axis in (rows, columns))
    return dict(zip(numbers.tolist(), zip(counts, *sums, strict=True), strict=True))


def _put_together(planes: Mapping[Plane, _Sums], watch: _Watch) -> tuple[TrackPoints, Observed]:
    totals: dict[tuple[int, int], NDArray[np.float64]] = {}  # by object and frame
    for plane, sums in planes.items():
        frame = plane[watch.axis] or 0
        z = 0 if watch.depth is None else plane[watch.depth] or 0
        for label, (count, rows, columns) in sums.items():
            one = np.array([count, count * z, rows, columns])
            totals[label, frame] = totals.get((label, frame), 0) + one
    keys = sorted(totals)
    table = np.array([totals[key] for key in keys]).reshape(-1, 4)
    places = table[:, 1:] / table[:, :1]
    places = places if watch.depth is not None else places[:, 1:]
    ids = np.array(keys, np.int64).reshape(-1, 2)
    points = TrackPoints(watch.axis, ids[:, 0], ids[:, 1], places)
    count = max((frame for _, frame in keys), default=-1) + 1
    frames: list[list[int]] = [[] for _ in range(count)]
    for label, frame in keys:
        frames[frame].append(label)
    sizes = np.array(watch.spacing)
    volume = float(np.prod(sizes))
    objects = {
        (frame, label): Seen(tuple(map(float, place * sizes)), float(row[0] * volume))
        for (label, frame), place, row in zip(keys, places, table, strict=True)
    }
    return points, Observed(tuple(map(tuple, frames)), objects, {}, len(sizes))
