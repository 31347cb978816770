"""Every object of a session as a row of a table, kept up to date change by change."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from napari_sam.engine import Executor, Outcome, Report
from napari_sam.geometry import Region
from napari_sam.planes import Plane, PlaneSource
from napari_sam.prompts import Box
from napari_sam.session.canvas import LabelCanvas
from napari_sam.session.journal import Entry, JournalChange, Origin
from napari_sam.session.object_index import Extent, ObjectIndex, count_plane
from napari_sam.session.prompt_book import Group, ObjectPlane
from napari_sam.session.state import State
from napari_sam.session.work_log import WorkLog

ObjectState = Literal["proposed", "accepted", "locked"]
"""The state of an object: proposed by a model or still being edited; accepted; or locked."""

_FEW = 64  # new rows that are inserted into the order one by one
_MANY = 1000  # changed rows that are announced as "all"


@dataclass(frozen=True, slots=True)
class ObjectRow:
    """An object as a row of a table.

    Parameters
    ----------
    id
        Number of the object, which is also the value of its label.
    class_name
        Name of its class; empty for none.
    state
        ``"locked"``; ``"accepted"`` if a user accepted it, or clicked, painted or corrected it and
        then went on to another object; otherwise ``"proposed"``.
    origin
        How the object was first made, such as ``"found"`` or ``"painted"``; empty if by prompts,
        or if it isn't known.
    planes
        The planes on which it has pixels or prompts, ascending.
    area
        Number of its pixels on all planes.
    score
        The IoU (0-1) that the model predicts, the lowest of all planes; None if no model
        predicted it.
    prompts
        Number of its prompts on all planes.
    seconds
        Time spent on it: the sum of the times from the previous journal entry to each entry of
        the object, without pauses of more than a minute.
    """

    id: int
    class_name: str
    state: ObjectState
    origin: Origin
    planes: tuple[Plane, ...]
    area: int
    score: float | None
    prompts: int
    seconds: float


class ObjectTable:
    """Rows of all objects. Labels are counted at the first access, and kept up to date then.

    Parameters
    ----------
    state
        The state of the session.
    executor
        Runs the counting.
    source
        Returns the image.
    changed
        Called with the objects whose rows changed or were removed; with None if these are many.
    """

    def __init__(
        self,
        state: State,
        executor: Executor,
        source: Callable[[], PlaneSource],
        changed: Callable[[tuple[int, ...] | None], None],
    ) -> None:
        self._state = state
        self._executor = executor
        self._source = source
        self._changed = changed
        self._is_followed = False
        self._is_closed = False
        self._current = state.object_id
        self._index = ObjectIndex()
        self._log = WorkLog()
        self._prompted: dict[int, dict[Plane, int]] = {}  # numbers of prompts
        self._uncounted: dict[Plane, None] = {}
        self._counting: tuple[Plane, ...] = ()
        self._rows: dict[int, ObjectRow] = {}
        self._finished: dict[int, int] = {}  # of the rows: their numbers of prompts
        self._order: list[int] = []  # of the rows: ascending
        self._listed: tuple[ObjectRow, ...] | None = None
        self._stale: set[int] = set()  # rows to be built again
        self._placed: set[int] = set()  # objects that are in the order
        self._unplaced: set[int] = set()  # objects that may have been added or removed
        self._unannounced: set[int] = set()  # changed rows that were not passed to `changed` yet
        state.applied.connect(self._follow)
        state.relabelled.connect(self._begin_anew)
        state.journal.changed.connect(self._settle)

    def close(self) -> None:
        """Stop counting."""
        self._is_closed = True
        self._executor.cancel(self._counting_key)

    # Rows

    @property
    def ids(self) -> Sequence[int]:
        """The numbers of all objects, ascending; no rows are built for this."""
        self.start()
        self._place()
        return tuple(self._order)

    @property
    def rows(self) -> tuple[ObjectRow, ...]:
        """All rows, by number; while labels are being counted, those known so far."""
        self._freshen()
        if self._listed is None:
            self._listed = tuple(map(self._rows.__getitem__, self._order))
        return self._listed

    @property
    def finished(self) -> Mapping[int, int]:
        """The number of prompts of each finished object.

        An object is finished if it has pixels and is accepted, or was before it was locked. While
        labels are being counted, only the objects known so far are included.
        """
        self._freshen()
        return self._finished

    def _freshen(self) -> None:
        """Build the rows again that have changed."""
        self.start()
        self._place()
        if self._stale:
            for object_id in self._stale:
                self._make(object_id)
            self._stale.clear()
            self._listed = None

    def row(self, object_id: int) -> ObjectRow | None:
        """Return the row of an object; None if there is no such object."""
        self.start()
        if object_id in self._stale:
            self._make(object_id)
            self._stale.discard(object_id)
            self._listed = None
        return self._rows.get(object_id)

    @property
    def highest(self) -> int:
        """The highest number of an object; reads all labels if they are not counted yet."""
        known = max((*self.ids[-1:], *self._state.all_facts), default=0)
        canvas = self._state.canvas
        return max(known, canvas.highest()) if self._counting and canvas is not None else known

    @property
    def is_counting(self) -> bool:
        """Whether labels are being counted, so that rows may be missing."""
        return bool(self._counting)

    def extents(self, object_id: int) -> Mapping[Plane, Extent]:
        """Return the area of an object and the rectangle around it, by plane."""
        self.start()
        return self._index.of(object_id)

    def region(self, object_id: int, plane: Plane) -> Region | None:
        """Return a rectangle around an object's pixels on a plane; None if it isn't known."""
        if not (self._is_settled and self._index.is_counted(plane)):
            return None
        extent = self._index.of(object_id).get(plane)
        r0, c0, r1, c1 = (0, 0, -1, -1) if extent is None else extent.box
        return slice(r0, r1 + 1), slice(c0, c1 + 1)

    def planes(self, object_id: int) -> Sequence[Plane] | None:
        """Return the planes on which an object has pixels; None if they aren't known."""
        return tuple(self._index.of(object_id)) if self._is_settled else None

    def all_extents(self) -> dict[int, dict[Plane, Extent]] | None:
        """Return a copy of the extents of all objects; None while labels are being counted."""
        self.start()
        if not self._is_settled:
            return None
        return {object_id: dict(of) for object_id, of in self._index.objects.items()}

    @property
    def _is_settled(self) -> bool:
        """Whether all labels are counted; this doesn't start counting."""
        return self._is_followed and not self._counting and not self._uncounted

    def place(self, object_id: int, near: Plane | None = None) -> tuple[Plane, Box] | None:
        """Return a plane with pixels of an object, and the rectangle around them."""
        extents: dict[Plane, Extent] = dict(self.extents(object_id))
        if not extents:
            for plane in self._prompted.get(object_id, {}):
                answer = self._state.results.answer((object_id, plane))
                if answer is not None and answer.patch.area:
                    rows, columns = answer.patch.region
                    box = rows.start, columns.start, rows.stop - 1, columns.stop - 1
                    extents[plane] = Extent(answer.patch.area, box)
        if not extents:
            return None
        largest = max(extents, key=lambda plane: extents[plane].area)
        plane = largest if near is None or near not in extents else near
        return plane, extents[plane].box

    def _make(self, object_id: int) -> None:
        """Build a row again, or remove it if its object is gone."""
        row = self._row(object_id)
        self._finished.pop(object_id, None)
        if row is None:
            self._rows.pop(object_id, None)
        else:
            self._rows[object_id] = row
            if row.area and self._is_accepted(object_id):
                self._finished[object_id] = row.prompts

    def _place(self) -> None:
        """Bring the order of all objects up to date."""
        unplaced, self._unplaced = self._unplaced, set()
        new = []
        for object_id in unplaced:
            exists = object_id in self._index.objects or object_id in self._prompted
            if exists and object_id not in self._placed:
                new.append(object_id)
            elif not exists and object_id in self._placed:
                self._placed.discard(object_id)
                del self._order[bisect_left(self._order, object_id)]
        self._placed.update(new)
        if len(new) > _FEW:
            self._order = sorted(self._placed)
        else:
            for object_id in new:
                insort(self._order, object_id)

    def _row(self, object_id: int) -> ObjectRow | None:
        extents, prompted = self._index.of(object_id), self._prompted.get(object_id, {})
        if not extents and not prompted:
            return None
        facts = self._state.facts(object_id)
        planes, score = tuple(extents), facts.score
        if len(planes) == 1:
            area = extents[planes[0]].area
        else:
            area = sum([extent.area for extent in extents.values()])
        if prompted:
            found = [self._state.results.answer((object_id, plane)) for plane in prompted]
            answers = [answer for answer in found if answer is not None]
            score = min((one.scores[one.chosen] for one in answers if one.scores), default=score)
            planes = tuple({**dict.fromkeys(planes), **dict.fromkeys(prompted)})
            if self._state.canvas is None:
                area = sum(answer.patch.area for answer in answers)
        return ObjectRow(
            object_id,
            facts.class_name,
            self._state_of(object_id),
            facts.origin,
            planes if len(planes) == 1 else tuple(sorted(planes, key=_in_order)),
            area,
            score,
            sum(prompted.values()),
            self._log.seconds(object_id),
        )

    def _state_of(self, object_id: int) -> ObjectState:
        if self._state.facts(object_id).locked:
            return "locked"
        return "accepted" if self._is_accepted(object_id) else "proposed"

    def _is_accepted(self, object_id: int) -> bool:
        """Whether a user accepted an object, or made or corrected it and went on to another."""
        facts = self._state.facts(object_id)
        if facts.accepted is not None:
            return facts.accepted
        is_done = object_id != self._state.object_id
        is_prompted = bool(self._prompted.get(object_id))
        by_hand = is_prompted or facts.origin == "painted" or self._log.is_corrected(object_id)
        return is_done and by_hand

    # Following what happens

    def start(self) -> None:
        """Read the prompts, the journal and the labels at the first access."""
        if self._is_followed:
            return
        self._is_followed = True
        self._log = WorkLog()
        self._mark(self._prompted)
        self._prompted = {}
        for plane, groups in self._state.book.planes.items():
            for object_id, group in groups.items():
                self._note_prompts((object_id, plane), group)
        for entry in self._state.journal.entries:
            self._log.add(entry)
        self._count_all()

    def _begin_anew(self) -> None:
        """Count again after the labels were replaced."""
        if self._is_followed:
            self._is_followed = False
            self.start()
        self._unannounced.clear()
        self._changed(None)

    def _follow(self, entry: Entry, backwards: bool) -> None:
        """Apply what an entry changes, or what undoing it does."""
        self._mark(object_id for object_id, _ in entry.keys)
        self._mark(change.key for change in entry.facts)
        if not self._is_followed:
            return
        for pixels in reversed(entry.pixels) if backwards else entry.pixels:
            if entry.kind == "elsewhere":  # labels showed it before: it may be counted already
                uncounted = self._index.planes_of(pixels)
            else:
                objects, uncounted = self._index.apply(pixels, backwards)
                self._mark(objects)
            self._uncounted |= dict.fromkeys(uncounted)
            if self._counting:  # it may have been read before
                again = self._index.planes_of(pixels).intersection(self._counting)
                self._uncounted |= dict.fromkeys(again)
        for change in entry.prompts:
            self._note_prompts(change.key, change.before if backwards else change.after)
        (self._log.remove if backwards else self._log.add)(entry)

    def _note_prompts(self, key: ObjectPlane, group: Group) -> None:
        object_id, plane = key
        if not group.is_empty:
            self._prompted.setdefault(object_id, {})[plane] = len(group.members)
        elif (here := self._prompted.get(object_id)) is not None:
            here.pop(plane, None)
            if not here:
                del self._prompted[object_id]

    def note(self, object_ids: Iterable[int]) -> None:
        """Mark rows as changed by something other than a journal entry."""
        self._mark(object_ids)
        self._announce()

    def note_current(self, object_id: int) -> None:
        """Handle another current object: the previous one may count as accepted now."""
        before, self._current = self._current, object_id
        self.note((before, object_id))

    def _mark(self, object_ids: Iterable[int]) -> None:
        object_ids = set(object_ids)
        self._stale |= object_ids
        self._unplaced |= object_ids
        self._unannounced |= object_ids

    def _settle(self, change: JournalChange) -> None:
        """Announce the changed rows after a change of the journal is complete."""
        if self._is_followed:  # reverted pixels may have been counted before they were reverted
            for pixels in (pixels for entry in change.put_back for pixels in entry.pixels):
                self._uncounted |= dict.fromkeys(self._index.planes_of(pixels))
        self._count()
        self._announce()

    def _announce(self) -> None:
        changed, self._unannounced = self._unannounced, set()
        if len(changed) > _MANY:
            self._changed(None)
        elif changed:
            self._changed(tuple(sorted(changed)))

    # Counting

    @property
    def _counting_key(self) -> tuple[object, ...]:
        return "count objects", self

    def _count_all(self) -> None:
        """Count the labels of all planes."""
        canvas = self._state.canvas
        self._mark(self._placed)
        self._mark(self._prompted)
        self._uncounted = {} if canvas is None else dict.fromkeys(canvas.planes())
        self._index.begin(self._uncounted)
        if self._counting:
            self._counting = ()
            self._executor.cancel(self._counting_key)
        self._count()

    def _count(self) -> None:
        """Count the planes that are not counted yet, in the background."""
        canvas = self._state.canvas
        if canvas is None or self._counting or self._is_closed or not self._uncounted:
            return
        planes, self._uncounted = tuple(self._uncounted), {}
        shape_of = self._source().plane_shape
        work = {plane: shape_of(plane) for plane in planes}
        self._counting = planes
        self._executor.chore(
            self._counting_key,
            partial(count_planes, canvas, work),
            partial(self._counted, canvas, planes),
            awaited=False,
        )

    def _counted(self, canvas: LabelCanvas, planes: tuple[Plane, ...], outcome: Outcome) -> None:
        if planes is not self._counting:
            return  # others are counted by now
        self._counting = ()
        if self._is_closed or canvas is not self._state.canvas:
            return
        if outcome.error is not None:
            self._uncounted |= dict.fromkeys(planes)  # until the next change
            if not outcome.cancelled:
                self._state.refused.emit(outcome.error)
            return
        for plane, counted in outcome.value.items():
            if plane not in self._uncounted:  # nothing has changed there since
                self._mark(self._index.put(plane, counted))
        self._count()
        self._announce()


def count_planes(
    canvas: LabelCanvas, shapes: Mapping[Plane, tuple[int, int]], report: Report
) -> dict[Plane, dict[int, Extent]]:
    """Return the extents of all objects on planes, each of a shape (H, W), from the labels."""
    found: dict[Plane, dict[int, Extent]] = {}
    for plane, shape in shapes.items():
        done = len(found)

        def report_part(fraction: float, done: int = done) -> None:
            report((done + fraction) / len(shapes))

        found[plane] = count_plane(partial(canvas.read, plane), shape, report_part)
    return found


def _in_order(plane: Sequence[int | None]) -> tuple[int, ...]:
    return tuple(-1 if i is None else i for i in plane)
