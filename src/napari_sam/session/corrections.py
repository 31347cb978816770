"""What is made anew when a plane is corrected from which others follow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from napari_sam.planes import Plane
from napari_sam.session.follow_anchors import Anchoring
from napari_sam.session.follow_runs import FollowRuns
from napari_sam.session.groups import ObjectPlane
from napari_sam.session.journal import Entry, JournalChange
from napari_sam.session.known_planes import Line, touched_by
from napari_sam.session.state import State

_OF_MACHINES = ("carried", "found", "imported", "labels", "mask")
_OF_NUMBERS = ("linked", "renumbered")  # which change what objects are called, not their masks


@dataclass(frozen=True, slots=True)
class _Spot:
    """A plane of a line on which an object has changed."""

    object_id: int
    line: Line
    index: int


class Corrections:
    """Watches the journal, and follows objects anew from the planes that people change.

    Only the spans on either side of such a plane are made anew, as a part of the step that
    changed it. What is taken back or made again starts nothing.

    Parameters
    ----------
    state
        What is watched.
    runs
        What follows objects.
    anchoring
        Tells where objects are known.
    count
        Returns how many planes there are along an axis.
    """

    def __init__(
        self,
        state: State,
        runs: FollowRuns,
        anchoring: Anchoring,
        count: Callable[[int], int],
    ) -> None:
        self._state = state
        self._runs = runs
        self._anchoring = anchoring
        self._count = count
        self._stale: dict[_Spot, int] = {}  # and the step that changed it
        self._pending: dict[_Spot, None] = {}
        self._is_travelling = False
        # (first, last) of runs that were asked for, by their entry's number
        self._asked: dict[tuple[int, Line], dict[int, tuple[int, int]]] = {}
        self._asked_by: dict[int, list[tuple[int, Line]]] = {}
        state.journal.changed.connect(self._follow)

    @property
    def has_pending(self) -> bool:
        """Whether anything is to be made anew that was not begun yet."""
        return bool(self._pending)

    @contextmanager
    def travelling(self) -> Iterator[None]:
        """Begin nothing while steps are taken back or made again."""
        self._is_travelling = True
        try:
            yield
        finally:
            self._is_travelling = False

    def stale(self, object_id: int, line: Line) -> set[int]:
        """Return the planes of a line that have changed since others were made from them."""
        spots = (spot for spot in self._stale if (spot.object_id, spot.line) == (object_id, line))
        return {spot.index for spot in spots}

    def is_pending(self, object_id: int, line: Line) -> bool:
        """Whether an object is to be followed anew as soon as its prompts have their masks."""
        return any((spot.object_id, spot.line) == (object_id, line) for spot in self._pending)

    def forget(self, object_id: int, line: Line, first: int, last: int) -> None:
        """Take note that all that follows from some planes of a line is made anew."""
        for spot in [*self._stale]:
            mine = (spot.object_id, spot.line) == (object_id, line)
            if mine and first <= spot.index <= last:
                del self._stale[spot]
                self._pending.pop(spot, None)

    def restore(self, entries: Sequence[Entry]) -> None:
        """Find out what was changed without all that follows from it being made anew.

        Parameters
        ----------
        entries
            Those in force, in order.
        """
        runs = {
            entry.first_number: entry.details
            for entry in entries
            if entry.kind == "carried" and "axis" in entry.details
        }
        begun: set[tuple[int, Line]] = set()
        for entry in entries:
            self._note_run(entry)
            if entry.kind == "carried":
                details = runs.get(entry.details.get("begin", entry.first_number))
                if details is None:
                    continue
                line = Line.through(tuple(details["plane"]), details["axis"])
                begun |= {(i, line) for i in details["objects"]}
                if entry.details.get("whole"):
                    for i in {*details["objects"]}.difference(entry.details.get("dropped", ())):
                        self.forget(i, line, details["first"], details["last"])
            elif entry.kind not in (*_OF_MACHINES, *_OF_NUMBERS) and not entry.details.get(
                "settled"
            ):
                for spot in self._spots(entry):
                    if (spot.object_id, spot.line) in begun:
                        self._stale[spot] = entry.number

    def advance(self) -> None:
        """Begin what can be made anew: where prompts have their masks."""
        if not self._pending:
            return
        grouped: dict[tuple[int, Line], list[int]] = {}
        for spot in self._pending:
            grouped.setdefault((spot.object_id, spot.line), []).append(spot.index)
        for (object_id, line), indices in grouped.items():
            if not self._anchoring.is_counted([object_id]):
                continue
            if self._anchoring.is_answered(object_id, line):
                for index in indices:
                    self._pending.pop(_Spot(object_id, line, index), None)
                self._begin(object_id, line, indices)

    def _begin(self, object_id: int, line: Line, indices: list[int]) -> None:
        """Follow an object anew between the planes next to some where it is known."""
        state = self._state
        if self._runs.is_blocked or state.facts(object_id).locked:
            return
        indices = sorted({*indices, *self.stale(object_id, line)})
        causes = [self._stale.get(_Spot(object_id, line, index), 0) for index in indices]
        cause = state.journal.entry(max(causes))
        if cause is None:
            return
        known = self._anchoring.known(object_id, line)
        if not any(region is not None for region in known.values()):
            return  # nothing to follow from: what was carried stays, and is told to be stale
        low, high = self._bounds(object_id, line)
        before = [z for z in known if z < indices[0]]
        after = [z for z in known if z > indices[-1]]
        first = max(before, default=min(low, indices[0]))
        last = min(after, default=max(high, indices[-1]))
        try:
            run = self._runs.new_run([object_id], line, first, last, cause.first_number)
        except (ValueError, MemoryError) as error:
            self._runs.failed.emit(error)
            return
        run.on_end(partial(self.forget, object_id, line, first, last))
        self._runs.begin(run)

    def _bounds(self, object_id: int, line: Line) -> tuple[int, int]:
        """Return the outermost planes of the latest run that was asked for."""
        runs = self._asked.get((object_id, line), {})
        return next(reversed(runs.values()), (0, self._count(line.axis) - 1))

    def _note_run(self, entry: Entry) -> None:
        """Keep the outermost planes of a run that was asked for."""
        details = entry.details
        if entry.kind == "carried" and entry.is_step and "axis" in details:
            line = Line.through(tuple(details["plane"]), details["axis"])
            keys = self._asked_by[entry.number] = [(i, line) for i in details["objects"]]
            for key in keys:
                self._asked.setdefault(key, {})[entry.number] = details["first"], details["last"]

    def _follow(self, change: JournalChange) -> None:
        for entry in change.added:
            self._note_run(entry)
            if entry.kind not in _OF_MACHINES and not entry.details.get("settled"):
                for spot in self._spots(entry):
                    if entry.kind in _OF_NUMBERS:
                        self._runs.drop(spot.object_id, spot.line)
                    else:
                        self._note(spot, entry.number)
        gone = {*change.undone, *change.dropped}
        for number in gone & self._asked_by.keys():
            for key in self._asked_by.pop(number):
                del self._asked[key][number]
        if gone:
            for spot in [spot for spot, number in self._stale.items() if number in gone]:
                del self._stale[spot]
                self._pending.pop(spot, None)

    def _note(self, spot: _Spot, number: int) -> None:
        was_running = self._runs.drop(spot.object_id, spot.line)
        if self._is_travelling and not was_running:
            return
        self._stale[spot] = number
        if not self._is_travelling:
            self._pending[spot] = None

    def _spots(self, entry: Entry) -> Iterator[_Spot]:
        """Yield where an entry changes objects that are followed."""
        keys = {*touched_by(entry), *(change.key for change in entry.planes)}
        axes = _axes_before(entry)
        running = [(i, run.walk.line) for run in self._runs.runs for i in run.object_ids]
        for object_id, plane in sorted(keys, key=str):
            lines = self._state.known.lines(object_id)
            lines |= {line for number, line in running if number == object_id}
            if (axis := axes.get((object_id, plane))) is not None:
                lines.add(Line.through(plane, axis))
            for line in sorted(lines, key=str):
                if (index := line.index(plane)) is not None:
                    yield _Spot(object_id, line, index)


def _axes_before(entry: Entry) -> Mapping[ObjectPlane, int | None]:
    return {change.key: change.before.axis for change in entry.planes}


def plane_order(plane: Plane) -> tuple[int, ...]:
    """Return what planes are sorted by."""
    return tuple(-1 if i is None else i for i in plane)
