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
"""How far an object is: made by a machine or still worked on, held right, or kept from change."""

_FEW = 64  # rows that come in one by one
_MANY = 1000  # rows that are not told one by one


@dataclass(frozen=True, slots=True)
class ObjectRow:
    """What a table tells of an object.

    Parameters
    ----------
    id
        Its number, also its label.
    class_name
        Name of its class; empty for none.
    state
        ``"locked"``; ``"accepted"`` if a user said so, or if it was clicked, painted or corrected
        and another is current since; otherwise ``"proposed"``.
    origin
        Where its pixels came from first; empty where that was prompts, or isn't known.
    planes
        Those where it has pixels or prompts, ascending.
    area
        Number of its pixels on all planes.
    score
        IoU that the model expects, the lowest of its planes, 0-1; None where none was asked.
    prompts
        Number of its prompts on all planes.
    seconds
        That were spent on it: from the entry before to each of its own, but for pauses of more
        than a minute.
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
    """Rows of all objects. Labels are counted when somebody first asks, and followed since.

    Parameters
    ----------
    state
        What there is.
    executor
        Where labels are counted.
    source
        Returns the image.
    changed
        Called with the objects whose rows are others or are gone; with None where these are
        many.
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
        self._stale: set[int] = set()  # rows to be made anew
        self._placed: set[int] = set()  # those that are in the order
        self._unplaced: set[int] = set()  # those that may have come or gone
        self._untold: set[int] = set()
        state.applied.connect(self._follow)
        state.relabelled.connect(self._begin_anew)
        state.journal.changed.connect(self._settle)

    def close(self) -> None:
        """Count nothing more."""
        self._is_closed = True
        self._executor.cancel(self._counting_key)

    # Rows

    @property
    def ids(self) -> Sequence[int]:
        """The numbers of all objects, ascending; rows are not made for it."""
        self.start()
        self._place()
        return tuple(self._order)

    @property
    def rows(self) -> tuple[ObjectRow, ...]:
        """All rows, by number. While labels are still being counted, those that are known."""
        self._freshen()
        if self._listed is None:
            self._listed = tuple(map(self._rows.__getitem__, self._order))
        return self._listed

    @property
    def finished(self) -> Mapping[int, int]:
        """The objects with pixels that are accepted, or were before they were locked.

        How many prompts each has, by number. While labels are still being counted, those that are
        known.
        """
        self._freshen()
        return self._finished

    def _freshen(self) -> None:
        """Make the rows anew that have changed."""
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
        """The highest number that an object has; it may read all labels, if nobody has yet."""
        known = max((*self.ids[-1:], *self._state.all_facts), default=0)
        canvas = self._state.canvas
        return max(known, canvas.highest()) if self._counting and canvas is not None else known

    @property
    def is_counting(self) -> bool:
        """Whether labels are being counted, so that rows may be missing."""
        return bool(self._counting)

    def extents(self, object_id: int) -> Mapping[Plane, Extent]:
        """Return where an object has pixels, by plane."""
        self.start()
        return self._index.of(object_id)

    def region(self, object_id: int, plane: Plane) -> Region | None:
        """Return a rectangle around an object's pixels on a plane; None where that isn't known."""
        if not (self._is_settled and self._index.is_counted(plane)):
            return None
        extent = self._index.of(object_id).get(plane)
        r0, c0, r1, c1 = (0, 0, -1, -1) if extent is None else extent.box
        return slice(r0, r1 + 1), slice(c0, c1 + 1)

    def planes(self, object_id: int) -> Sequence[Plane] | None:
        """Return the planes where an object has pixels; None where that isn't known."""
        return tuple(self._index.of(object_id)) if self._is_settled else None

    def all_extents(self) -> dict[int, dict[Plane, Extent]] | None:
        """Return where all objects have pixels, as it is now; None while they are counted."""
        self.start()
        if not self._is_settled:
            return None
        return {object_id: dict(of) for object_id, of in self._index.objects.items()}

    @property
    def _is_settled(self) -> bool:
        """Whether all labels are counted; nothing is begun for it."""
        return self._is_followed and not self._counting and not self._uncounted

    def place(self, object_id: int, near: Plane | None = None) -> tuple[Plane, Box] | None:
        """Return where an object can be seen: a plane, and a rectangle around its pixels there."""
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
        """Make a row anew, or have it go with its object."""
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
        """Whether a user said that an object is right, or made it and went on to another."""
        facts = self._state.facts(object_id)
        if facts.accepted is not None:
            return facts.accepted
        is_done = object_id != self._state.object_id
        is_prompted = bool(self._prompted.get(object_id))
        by_hand = is_prompted or facts.origin == "painted" or self._log.is_corrected(object_id)
        return is_done and by_hand

    # Following what happens

    def start(self) -> None:
        """Look at everything that there is, when it is first asked for."""
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
        self._look_anew()

    def _begin_anew(self) -> None:
        """Take note that labels are others than they were."""
        if self._is_followed:
            self._is_followed = False
            self.start()
        self._untold.clear()
        self._changed(None)

    def _follow(self, entry: Entry, backwards: bool) -> None:
        """Take in what an entry changes, or what taking it back does."""
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
        """Take note that rows are others, other than by an entry."""
        self._mark(object_ids)
        self._tell()

    def note_current(self, object_id: int) -> None:
        """Take note that another object is current: the one before may be done."""
        before, self._current = self._current, object_id
        self.note((before, object_id))

    def _mark(self, object_ids: Iterable[int]) -> None:
        object_ids = set(object_ids)
        self._stale |= object_ids
        self._unplaced |= object_ids
        self._untold |= object_ids

    def _settle(self, change: JournalChange) -> None:
        """Tell what has changed, when all of it has."""
        if self._is_followed:  # what was put back may have been counted before that
            for pixels in (pixels for entry in change.put_back for pixels in entry.pixels):
                self._uncounted |= dict.fromkeys(self._index.planes_of(pixels))
        self._count()
        self._tell()

    def _tell(self) -> None:
        told, self._untold = self._untold, set()
        if len(told) > _MANY:
            self._changed(None)
        elif told:
            self._changed(tuple(sorted(told)))

    # Counting

    @property
    def _counting_key(self) -> tuple[object, ...]:
        return "count objects", self

    def _look_anew(self) -> None:
        """Count all labels."""
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
        """Count the planes that have to be, beside all other work."""
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
        self._tell()


def count_planes(
    canvas: LabelCanvas, shapes: Mapping[Plane, tuple[int, int]], report: Report
) -> dict[Plane, dict[int, Extent]]:
    """Count the objects of planes, each of a shape (H, W); labels are read and nothing is kept."""
    found: dict[Plane, dict[int, Extent]] = {}
    for plane, shape in shapes.items():
        done = len(found)

        def told(fraction: float, done: int = done) -> None:
            report((done + fraction) / len(shapes))

        found[plane] = count_plane(partial(canvas.read, plane), shape, told)
    return found


def _in_order(plane: Sequence[int | None]) -> tuple[int, ...]:
    return tuple(-1 if i is None else i for i in plane)
