"""Runs that follow objects through planes in the background, also after corrections."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_sam.engine import SOON, Executor, Outcome
from napari_sam.patches import Patch
from napari_sam.planes import Plane
from napari_sam.session.carrying import carry, folded
from napari_sam.session.embeddings import Embeddings
from napari_sam.session.follow_anchors import Anchoring, around
from napari_sam.session.follow_planes import HeldPlanes, Step, Walk, facts_of
from napari_sam.session.follow_words import ending_text
from napari_sam.session.groups import ObjectPlane
from napari_sam.session.journal import PlaneFacts
from napari_sam.session.known_planes import Line
from napari_sam.session.mask_rules import MaskRules
from napari_sam.session.prompt_words import ids_text
from napari_sam.session.spans import FollowProgress
from napari_sam.session.state import State, Touched

if TYPE_CHECKING:
    from napari_sam.propagate import FollowedPlane, Upcoming

# Masks are written for at most this time in a row, and in parts of at most so many, so that the
# owner's thread is never blocked for long.
_SECONDS, _AT_ONCE = 0.002, 2


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Masks that are written on a plane at once.

    Parameters
    ----------
    index
        Index of the plane.
    masks
        The masks, by object; an empty one removes the mask that was followed before.
    facts
        The properties of the objects that have a mask.
    makes_room
        Whether objects only lose pixels that are not in their masks, before others gain pixels.
    """

    index: int
    masks: Mapping[int, Patch]
    facts: Mapping[int, PlaneFacts]
    makes_room: bool = False


@dataclass(slots=True, eq=False)
class Run:
    """A run that follows objects, and its progress.

    Parameters
    ----------
    object_ids
        The objects.
    walk
        Follows them through the planes.
    cause
        First number of the step, a correction, that the run belongs to; None if a user requested
        the run.
    """

    object_ids: tuple[int, ...]
    walk: Walk
    cause: int | None = None
    upcoming: Upcoming | None = None
    is_started: bool = False
    is_over: bool = False
    parts: deque[Part] = field(default_factory=deque)
    entries: list[int] = field(default_factory=list)
    known: dict[int, set[int]] = field(default_factory=dict)  # object to planes that stay
    there: set[int] = field(default_factory=set)  # those of these planes that have an object
    left: set[ObjectPlane] = field(default_factory=set)  # followed before, not predicted again yet
    dropped: set[int] = field(default_factory=set)  # objects that changed meanwhile
    failed: dict[int, str] = field(default_factory=dict)
    written: dict[int, set[int]] = field(default_factory=dict)  # object to planes
    done: set[int] = field(default_factory=set)
    recorded: int = 0  # number of visited planes whose model input is recorded in an entry
    is_recorded_whole: bool = False
    prepared: int | None = None  # the plane that the labels are prepared for
    made: int = 0  # parts that were written
    most: int | None = None  # parts to be written for now; None for all
    model: str = ""  # of the original run, if this one replays it
    started: float = field(default_factory=time.monotonic)
    then: list[Callable[[], None]] = field(default_factory=list)

    def on_end(self, call: Callable[[], None]) -> None:
        """Call a function when the run ends."""
        self.then.append(call)

    @property
    def is_full(self) -> bool:
        """Whether no more parts are to be written for now."""
        return self.most is not None and self.made >= self.most

    @property
    def progress(self) -> FollowProgress:
        """The progress of the run."""
        walk, fraction = self.walk, min(1.0, self.walk.fraction)
        if self.is_over:
            fraction = 1.0
        plane = None if self.upcoming is None else walk.line.at(self.upcoming.index)
        count = walk.last - walk.first + 1
        spent = time.monotonic() - self.started
        left = spent * (1 - fraction) / fraction if fraction > 0 else None
        done, ids = min(count, len(self.done)), tuple(sorted(self.object_ids))
        is_correction = self.cause is not None
        return FollowProgress(
            ids, walk.line.axis, plane, done, count, fraction, left, is_correction
        )


class FollowRuns:
    """Follows objects, the latest request first; every run writes plane by plane.

    A step predicts the masks of one plane, in the lane of the encoder. They are written in the
    owner's thread, for a few milliseconds in a row, as parts of one step of the journal. When the
    run ends the parts become one entry, unless other entries came between them.

    Parameters
    ----------
    state
        The state of the session.
    executor
        Runs the steps.
    embeddings
        The embeddings of the planes.
    anchoring
        Finds the planes on which objects are known.
    written
        Called with the changes when masks were written.

    Attributes
    ----------
    changed
        Signal: a run started, progressed or ended.
    spans_changed
        Signal: following of objects started or ended; with a tuple of the objects.
    finished
        Signal: a run ended; with a message for the user.
    failed
        Signal: a run failed; with the exception.
    """

    changed = Signal()
    spans_changed = Signal(object)
    finished = Signal(str)
    failed = Signal(object)

    def __init__(
        self,
        state: State,
        executor: Executor,
        embeddings: Embeddings,
        anchoring: Anchoring,
        written: Callable[[Touched], None],
    ) -> None:
        self._state = state
        self._executor = executor
        self._embeddings = embeddings
        self._anchoring = anchoring
        self._written = written
        self._runs: list[Run] = []
        self._busy: object | None = None  # token of the executor's job for a run
        self._is_advancing = False
        self._is_paused = False
        embeddings.arrived.connect(self._embedded)
        embeddings.failed.connect(self._not_embedded)

    @property
    def runs(self) -> Sequence[Run]:
        """The runs that have not ended; the last one goes first."""
        return tuple(self._runs)

    @property
    def progress(self) -> FollowProgress | None:
        """The progress of the current run; None if there is none."""
        return self._runs[-1].progress if self._runs else None

    def new_run(
        self,
        object_ids: Sequence[int],
        line: Line,
        first: int | None = None,
        last: int | None = None,
        cause: int | None = None,
    ) -> Run:
        """Return a new run, which :meth:`begin` starts.

        Raises
        ------
        ValueError
            If there is no model, or there are no labels that can hold the objects.
        """
        segmenter, source, canvas = (
            self._embeddings.segmenter,
            self._embeddings.source,
            self._state.canvas,
        )
        if segmenter is None:
            raise ValueError("expected a model, got none yet; wait until it is loaded")
        if canvas is None:
            raise ValueError("expected labels to write into, got none; give the session a canvas")
        canvas.prepare(line.at(0), max(object_ids))
        count = source.shape[line.axis]
        walk = Walk(
            HeldPlanes(segmenter, count),
            line,
            canvas,
            self._anchoring.is_carried,
            tuple(object_ids),
            0 if first is None else first,
            count - 1 if last is None else last,
            source.plane_shape(line.at(0)),
            self._state.rules.post_processing,
        )
        return Run(tuple(object_ids), walk, cause)

    def begin(self, run: Run) -> None:
        """Start a run, before those that are in progress."""
        self._runs.append(run)
        self._emit_changed(run)
        self.go_on()

    def cancel(self, run: Run) -> None:
        """Stop a run; the masks that it has written stay."""
        if run in self._runs:
            self._runs.remove(run)
            self._executor.cancel(_name(run))
            self._fold(run)
            self._release()
            self._emit_changed(run)
            self.go_on()

    def cancel_unwritten(self) -> bool:
        """Cancel the runs that belong to the last step, which is to be undone.

        Returns
        -------
        was_all
            Whether a user's run was cancelled that has written nothing, so that there is no step
            to undo.
        """
        last = self._state.journal.last_step
        for run in [*self._runs][::-1]:
            if run.cause is None and not run.entries:
                self.cancel(run)
                return True
            if last is not None and last.first_number in (run.cause, *run.entries[:1]):
                self.cancel(run)
        return False

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Start and write nothing within a block."""
        self._is_paused = True
        try:
            yield
        finally:
            self._is_paused = False

    def close(self) -> None:
        """Stop permanently."""
        self._is_paused = True
        for run in list(self._runs):
            self.cancel(run)

    def stop(self, reason: Exception) -> None:
        """Stop all runs, and emit the reason."""
        if self._runs:
            for run in list(self._runs):
                self.cancel(run)
            self.failed.emit(reason)

    @property
    def is_blocked(self) -> bool:
        """Whether no run can start: there is no model, or there are no labels."""
        return self._embeddings.segmenter is None or self._state.canvas is None

    def drop(self, object_id: int, line: Line) -> bool:
        """Stop following an object in the present runs, because it has changed.

        Returns
        -------
        was_there
            Whether one of the runs was following it.
        """
        was_there = False
        for run in list(self._runs):
            if object_id in run.object_ids and run.walk.line == line:
                was_there = was_there or object_id not in run.dropped
                run.dropped.add(object_id)
                if run.dropped.issuperset(run.object_ids):
                    self.cancel(run)
        return was_there

    # Progress

    def go_on(self) -> None:
        """Advance the runs until they have to wait for something."""
        if self._is_advancing or self._is_paused:
            return
        self._is_advancing = True
        try:
            while self._runs and self._busy is None and self._advance(self._runs[-1]):
                pass
        finally:
            self._is_advancing = False

    def _advance(self, run: Run) -> bool:
        """Do one thing for a run; return whether the next can be done without waiting."""
        walk = run.walk
        if walk.canvas is not self._state.canvas:
            self._fail(
                run,
                ValueError(
                    "expected the labels to stay while objects are followed, got others; what was "
                    "written is in those of before, follow again"
                ),
            )
            return True
        if not run.is_started:
            return self._start(run)
        if run.parts or run.is_full:
            return self._write(run)
        if run.is_over:
            self._end(run)
            return True
        assert run.upcoming is not None, "a run that goes on has a next plane"
        index = run.upcoming.index
        plane = walk.line.at(index)
        if index not in run.failed:
            embedding = self._embeddings.get(plane)
            if embedding is None:
                self._embeddings.held = plane
                self._embeddings.request(plane, SOON)
                return self._embeddings.get(plane) is not None or index in run.failed
            is_blank = self._embeddings.is_blank(embedding)
            walk.planes.hold(index, embedding, is_blank, self._embeddings.input_of(embedding))
        self._embeddings.held = None
        self._do(run, partial(walk.go, run.upcoming))
        return self._busy is None

    def _start(self, run: Run) -> bool:
        walk, line = run.walk, run.walk.line
        ids = [i for i in run.object_ids if i not in run.dropped]
        waits = not self._anchoring.is_counted(ids)
        if waits or not all(self._anchoring.is_answered(i, line) for i in ids):
            return False
        known = {i: self._anchoring.known(i, line) for i in ids}
        if run.cause is not None:
            known = {i: around(where, walk.first, walk.last) for i, where in known.items()}
        nowhere = [
            i for i, where in known.items() if not any(r is not None for r in where.values())
        ]
        if nowhere:
            self._fail(
                run,
                ValueError(
                    f"expected objects that are known on these planes, got {ids_text(nowhere)}, "
                    "which has no pixels there; click it first"
                ),
            )
            return True
        run.known = {i: set(where) for i, where in known.items()}
        run.there = {z for where in known.values() for z, r in where.items() if r is not None}
        planes_of = self._state.known.planes
        walk.open_ends = frozenset(
            (i, z)
            for i in ids
            for plane, facts in planes_of(i).items()
            if facts.verdict == "here" and (z := line.index(plane)) is not None
        )
        run.left = {
            (i, plane)
            for i in ids
            for plane in planes_of(i)
            if self._anchoring.is_carried(i, plane, line.axis)
            and (z := line.index(plane)) is not None
            and walk.first <= z <= walk.last
        }
        run.is_started, run.started = True, time.monotonic()
        self._do(run, partial(walk.start, known))
        return self._busy is None

    def _do(self, run: Run, work: Callable[..., Step]) -> None:
        self._busy = token = object()
        self.changed.emit()
        self._executor.embed(_name(run), work, partial(self._came, run, token), SOON)

    def _came(self, run: Run, token: object, outcome: Outcome) -> None:
        if self._busy is token:
            self._busy = None
        if run in self._runs:
            if outcome.cancelled:
                self.cancel(run)
            elif outcome.error is not None:
                self._fail(run, outcome.error)
            else:
                self._take(run, outcome.value)
        self.go_on()

    def _take(self, run: Run, step: Step) -> None:
        """Take the result of a step."""
        run.upcoming, run.is_over = step.upcoming, step.upcoming is None
        for plane in step.planes:
            if plane.failed:
                run.failed.setdefault(plane.index, plane.failed)
            else:
                self._queue(run, plane)
        if run.is_over:
            line = run.walk.line
            left = sorted((line.index(at) or 0, object_id) for object_id, at in run.left)
            for index, object_id in left:
                if index not in run.failed:
                    run.parts.append(Part(index, {object_id: Patch()}, {}))

    def _queue(self, run: Run, plane: FollowedPlane) -> None:
        """Queue the new masks of a plane for writing, and the removal of earlier ones."""
        walk, index = run.walk, plane.index
        run.done.add(index)
        at = walk.line.at(index)
        masks: dict[int, Patch] = {}
        facts: dict[int, PlaneFacts] = {}
        for object_id in run.object_ids:
            if index in run.known.get(object_id, ()):
                continue
            one = plane.objects.get(object_id)
            if one is not None and not one.patch.is_empty:
                masks[object_id] = one.patch
                before = self._state.known.of((object_id, at))
                facts[object_id] = facts_of(one, walk.line.axis, before)
            elif (object_id, at) in run.left:
                masks[object_id] = Patch()
            run.left.discard((object_id, at))
        if masks:
            run.parts.append(Part(index, masks, facts))

    # Writing

    def _write(self, run: Run) -> bool:
        """Write masks for a while; return whether all are written."""
        end = time.monotonic() + _SECONDS
        while run.parts and not run.is_full:
            part = run.parts.popleft()
            if len(part.masks) > _AT_ONCE:
                run.parts.extendleft(reversed(self._in_pieces(run, part)))
                continue
            run.made += 1
            self._write_part(run, part)
            if run not in self._runs:
                return True
            if run.parts and time.monotonic() > end:
                self._busy = token = object()
                self._executor.decode(("carried", self), _nothing, partial(self._later, token))
                return self._busy is None
        return not run.is_full

    def _later(self, token: object, outcome: Outcome) -> None:
        if self._busy is token:
            self._busy = None
        self.go_on()

    def _in_pieces(self, run: Run, part: Part) -> list[Part]:
        """Split a part: first all objects lose pixels, and then they gain others."""
        plane, ownership = run.walk.line.at(part.index), self._state.ownership
        there = [i for i in part.masks if ownership.of((i, plane)).written.pixels.size]
        pieces = []
        for ids, makes_room in ((there, True), ([*part.masks], False)):
            for first in range(0, len(ids), _AT_ONCE):
                some = ids[first : first + _AT_ONCE]
                masks = {i: part.masks[i] for i in some}
                facts = {} if makes_room else {i: part.facts[i] for i in some if i in part.facts}
                pieces.append(Part(part.index, masks, facts, makes_room))
        return pieces

    def _write_part(self, run: Run, part: Part) -> None:
        index, masks, facts = part.index, part.masks, part.facts
        plane = run.walk.line.at(index)
        state = self._state
        here = {
            i: mask
            for i, mask in masks.items()
            if i not in run.dropped
            and not state.facts(i).locked
            and state.group((i, plane)).is_empty
        }
        known = {
            i: facts.get(i, PlaneFacts(verdict=state.known.of((i, plane)).verdict)) for i in here
        }
        if not here:
            return
        try:
            details = _part_details(run)
            if run.prepared != index:
                run.walk.canvas.prepare(plane, max(run.object_ids))
                run.prepared = index
            entry = carry(state, plane, here, known, _text(run), details, part.makes_room)
        except (OSError, ValueError, MemoryError) as error:
            self._fail(run, error)
            return
        for i, mask in here.items():
            if not (mask.is_empty or part.makes_room):
                run.written.setdefault(i, set()).add(index)
        if entry is not None:
            run.entries.append(entry.number)
            touched = Touched()
            touched.add(entry)
            self._written(touched)

    # Ending

    def _fold(self, run: Run) -> bool:
        """Make one entry of a run's parts; return False if other entries are between them."""
        journal = self._state.journal
        if journal.next_redo:  # undone entries are between them
            return False
        entries = [e for e in map(journal.entry, run.entries) if e is not None]
        if not entries or len(entries) < len(run.entries) or not journal.ends_with(run.entries):
            return False
        number = journal.new("carried", "").number
        journal.fold(run.entries, folded(entries, number, _text(run), _details(run)))
        run.entries = [number]
        return True

    def _end(self, run: Run) -> None:
        self._runs.remove(run)
        is_recorded = self._fold(run) or run.is_recorded_whole
        if not is_recorded and (run.entries or run.cause is not None):
            self._state.commit("carried", _text(run), details=_part_details(run))  # its end
        self._release()
        for call in run.then:
            call()
        if run.cause is None or run.failed:
            self.finished.emit(_ending(run, self._state))
        self._emit_changed(run)

    def _fail(self, run: Run, error: Exception) -> None:
        self._runs.remove(run)
        self._fold(run)
        self._release()
        self.failed.emit(error)
        self._emit_changed(run)

    def _emit_changed(self, run: Run) -> None:
        self.spans_changed.emit(tuple(sorted(run.object_ids)))
        self.changed.emit()

    def _release(self) -> None:
        if not self._runs:
            self._embeddings.held = None

    # Planes

    def _embedded(self, plane: Plane) -> None:
        self.go_on()

    def _not_embedded(self, plane: Plane, error: Exception) -> None:
        for run in self._runs:
            if run.upcoming is not None and run.walk.line.at(run.upcoming.index) == plane:
                run.failed[run.upcoming.index] = str(error)
                run.walk.planes.fail(run.upcoming.index, error)
        self.go_on()


def _name(run: Run) -> tuple[object, ...]:
    return "follow", run


def _nothing() -> None:
    pass


def _text(run: Run) -> str:
    ids = sorted(run.written) or sorted(run.object_ids)
    count = len({z for planes in run.written.values() for z in planes})
    return f"followed {ids_text(ids)}" + (f" through {count} planes" if count > 1 else "")


def _details(run: Run, given: Iterable[int] | None = None) -> dict[str, Any]:
    """Return the details needed to replay a run."""
    walk = run.walk
    visited = walk.planes.given if given is None else given
    details: dict[str, Any] = {
        "objects": list(run.object_ids),
        "axis": walk.line.axis,
        "plane": list(walk.line.plane),
        "first": walk.first,
        "last": walk.last,
        "model": walk.planes.segmenter.model_key,
        "given": _given(run, visited),
        "made": run.made,
        **MaskRules(post_processing=walk.post_processing).words(),
    }
    if run.is_over and not run.parts:
        details["whole"] = True
    if run.dropped:
        details["dropped"] = sorted(run.dropped)
    return details if run.cause is None else {"of": run.cause, **details}


def _part_details(run: Run) -> dict[str, Any]:
    """Return the details of a part of a run: of the first all, of others those that are new."""
    given = run.walk.planes.given
    visited, run.recorded = list(given)[run.recorded :], len(given)
    run.is_recorded_whole = run.is_over and not run.parts
    if not run.entries:
        return _details(run, visited)
    return {
        "of": run.entries[0] if run.cause is None else run.cause,
        "begin": run.entries[0],
        "given": _given(run, visited),
        "made": run.made,
        **({"whole": True} if run.is_recorded_whole else {}),
        **({"dropped": sorted(run.dropped)} if run.dropped else {}),
    }


def _given(run: Run, visited: Iterable[int]) -> list[Any]:
    given = run.walk.planes.given
    return [[z, one.words()] for z in visited if (one := given[z]) is not None]


def _ending(run: Run, state: State) -> str:
    ids, planes = run.object_ids, {z for written in run.written.values() for z in written}
    locked = [i for i in ids if state.facts(i).locked]  # after the run started
    lost = [i for i in ids if not (i in run.written or i in run.dropped or i in locked)]
    return ending_text(ids, planes, run.there, lost, locked, run.failed)


def ids_of(object_ids: int | Iterable[int]) -> list[int]:
    """Return numbers of objects, each once."""
    given = [object_ids] if isinstance(object_ids, int) else object_ids
    return list(dict.fromkeys(int(i) for i in given))
