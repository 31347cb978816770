"""Following objects again after a correction of a plane from which they were followed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

from napari_sam.planes import Plane
from napari_sam.session.follow_anchors import Anchoring
from napari_sam.session.follow_runs import FollowRuns
from napari_sam.session.groups import ObjectPlane
from napari_sam.session.journal import Entry, JournalChange
from napari_sam.session.known_planes import Line, touched_by
from napari_sam.session.state import State

_OF_MACHINES = ("carried", "found", "imported", "labels", "mask")
_OF_NUMBERS = ("linked", "renumbered")  # these change numbers of objects, not their masks


@dataclass(frozen=True, slots=True)
class _Spot:
    """A plane on which an object has changed, as an index along a line."""

    object_id: int
    line: Line
    index: int


class Corrections:
    """Watches the journal, and follows objects again from the planes that a user changes.

    Only the spans on both sides of such a plane are predicted again, as a part of the step that
    changed it. Undo and redo start nothing.

    Parameters
    ----------
    state
        The state of the session.
    runs
        Follows objects.
    anchoring
        Finds the planes on which objects are known.
    count
        Returns the number of planes along an axis.
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
        self._stale: dict[_Spot, Entry] = {}  # with the entry that changed it
        self._pending: dict[_Spot, None] = {}
        self._undone: dict[int, set[_Spot]] = {}  # stale planes of undone entries, by first number
        self._moves: dict[int, tuple[int, int]] = {}  # object and its new number, by entry
        self._is_travelling = False
        # (first, last) of users' runs, by their entry's number
        self._ranges: dict[tuple[int, Line], dict[int, tuple[int, int]]] = {}
        self._range_keys: dict[int, list[tuple[int, Line]]] = {}
        state.journal.changed.connect(self._follow)

    @property
    def has_pending(self) -> bool:
        """Whether objects are to be followed again and no run was started for that yet."""
        return bool(self._pending)

    @contextmanager
    def travelling(self) -> Iterator[None]:
        """Start nothing within a block of undo or redo."""
        self._is_travelling = True
        try:
            yield
        finally:
            self._is_travelling = False

    def stale(self, object_id: int, line: Line) -> set[int]:
        """Return the planes of a line that changed since masks were followed from them."""
        spots = (spot for spot in self._stale if (spot.object_id, spot.line) == (object_id, line))
        return {spot.index for spot in spots}

    def is_pending(self, object_id: int, line: Line) -> bool:
        """Whether an object is to be followed again as soon as its prompts have their masks."""
        return any((spot.object_id, spot.line) == (object_id, line) for spot in self._pending)

    def forget(self, object_id: int, line: Line, first: int, last: int) -> None:
        """Mark the masks that depend on some planes of a line as predicted again."""
        for spot in [*self._stale]:
            mine = (spot.object_id, spot.line) == (object_id, line)
            if mine and first <= spot.index <= last:
                del self._stale[spot]
                self._pending.pop(spot, None)

    def restore(self, entries: Sequence[Entry]) -> None:
        """Find the stale planes of a saved session.

        Parameters
        ----------
        entries
            The entries in force, in order.
        """
        runs = {
            entry.first_number: entry.details
            for entry in entries
            if entry.kind == "carried" and "axis" in entry.details
        }
        begun: set[tuple[int, Line]] = set()
        for entry in entries:
            self._note_run(entry)
            if entry.kind == "renumbered":
                old, new = self._note_move(entry)
                begun = {(new if i == old else i, line) for i, line in begun}
            elif entry.kind == "carried":
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
                for spot in self._spots(entry, begun):
                    if (spot.object_id, spot.line) in begun:
                        self._stale[spot] = entry

    def advance(self) -> None:
        """Start runs for the corrections whose prompts have their masks."""
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
        """Follow an object again between the known planes around the changed ones."""
        state = self._state
        if self._runs.is_blocked or state.facts(object_id).locked:
            return
        indices = sorted({*indices, *self.stale(object_id, line)})
        causes = (self._stale.get(_Spot(object_id, line, index)) for index in indices)
        cause = max(filter(None, causes), key=lambda entry: entry.number, default=None)
        if cause is None:
            return
        known = self._anchoring.known(object_id, line)
        if not any(region is not None for region in known.values()):
            return  # nothing to follow from: the followed masks stay, and count as stale
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
        """Return the first and the last plane of the user's latest run."""
        runs = self._ranges.get((object_id, line), {})
        return next(reversed(runs.values()), (0, self._count(line.axis) - 1))

    def _note_run(self, entry: Entry) -> None:
        """Store the first and the last plane of a user's run."""
        details = entry.details
        if entry.kind == "carried" and entry.is_step and "axis" in details:
            line = Line.through(tuple(details["plane"]), details["axis"])
            keys = self._range_keys[entry.number] = [(i, line) for i in details["objects"]]
            for key in keys:
                self._ranges.setdefault(key, {})[entry.number] = details["first"], details["last"]

    def _follow(self, change: JournalChange) -> None:
        for entry in change.added:
            self._note_run(entry)
            if entry.kind not in _OF_MACHINES and not entry.details.get("settled"):
                for spot in self._spots(entry):
                    if entry.kind in _OF_NUMBERS:
                        self._runs.drop(spot.object_id, spot.line)
                    else:
                        self._note(spot, entry)
            if entry.kind == "renumbered":
                self._note_move(entry)
            for spot in self._undone.pop(entry.first_number, ()) if self._is_travelling else ():
                self._stale[spot] = entry
        for number in sorted(self._moves.keys() & {*change.undone}, reverse=True):
            self._move(*reversed(self._moves.pop(number)))
        gone = {*change.undone, *change.dropped}
        for number in gone & self._range_keys.keys():
            for key in self._range_keys.pop(number):
                del self._ranges[key][number]
        if gone:
            for spot in [spot for spot, entry in self._stale.items() if entry.number in gone]:
                entry = self._stale.pop(spot)
                self._pending.pop(spot, None)
                if entry.number in change.undone:
                    self._undone.setdefault(entry.first_number, set()).add(spot)

    def _note_move(self, entry: Entry) -> tuple[int, int]:
        """Let what is known of an object go with it to its new number; return both numbers."""
        move = entry.details["object"], entry.details["into"]
        self._moves[entry.number] = move
        self._move(*move)
        return move

    def _move(self, object_id: int, into: int) -> None:
        for spot in [spot for spot in self._stale if spot.object_id == object_id]:
            moved = replace(spot, object_id=into)
            self._stale[moved] = self._stale.pop(spot)
            if spot in self._pending:
                del self._pending[spot]
                self._pending[moved] = None
        for key in [key for key in self._ranges if key[0] == object_id]:
            self._ranges[into, key[1]] = self._ranges.pop(key)
        for keys in self._range_keys.values():
            keys[:] = [(into if i == object_id else i, line) for i, line in keys]

    def _note(self, spot: _Spot, entry: Entry) -> None:
        was_running = self._runs.drop(spot.object_id, spot.line)
        if self._is_travelling and not was_running:
            return
        self._stale[spot] = entry
        if not self._is_travelling:
            self._pending[spot] = None

    def _spots(self, entry: Entry, followed: Collection[tuple[int, Line]] = ()) -> Iterator[_Spot]:
        """Yield the places at which an entry changes objects that were followed.

        Parameters
        ----------
        entry
            The entry.
        followed
            Objects and lines besides those that the state knows, such as of earlier numbers.
        """
        keys = {*touched_by(entry), *(change.key for change in entry.planes)}
        axes = _axes_before(entry)
        lines_of = [(i, run.walk.line) for run in self._runs.runs for i in run.object_ids]
        lines_of += followed
        for object_id, plane in sorted(keys, key=str):
            lines = self._state.known.lines(object_id)
            lines |= {line for number, line in lines_of if number == object_id}
            if (axis := axes.get((object_id, plane))) is not None:
                lines.add(Line.through(plane, axis))
            for line in sorted(lines, key=str):
                if (index := line.index(plane)) is not None:
                    yield _Spot(object_id, line, index)


def _axes_before(entry: Entry) -> Mapping[ObjectPlane, int | None]:
    return {change.key: change.before.axis for change in entry.planes}


def plane_order(plane: Plane) -> tuple[int, ...]:
    """Return the key by which planes are sorted."""
    return tuple(-1 if i is None else i for i in plane)
