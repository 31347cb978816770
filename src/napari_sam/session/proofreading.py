"""The proofreading queue: found objects that are not accepted yet, the most doubtful first."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from psygnal import Signal

from napari_sam.engine import Executor, Outcome, Report
from napari_sam.geometry import Region
from napari_sam.planes import Plane, PlaneSource
from napari_sam.session.canvas import LabelCanvas
from napari_sam.session.doubt import Appearance, Expectation, appearances
from napari_sam.session.embeddings import Embeddings
from napari_sam.session.journal import BY_MACHINE, Entry
from napari_sam.session.object_table import ObjectRow
from napari_sam.session.ranking import QueueItem as QueueItem
from napari_sam.session.ranking import Ranking
from napari_sam.session.read_ahead import ReadAhead
from napari_sam.session.rejudging import Rejudging, finders
from napari_sam.session.state import State
from napari_sam.session.summary import LONGEST_STEP

_SORTED_EVERY = 0.5  # seconds, while objects are being judged again


@dataclass(frozen=True, slots=True)
class QueueProgress:
    """The progress of proofreading.

    Parameters
    ----------
    done, total
        Number of objects that are accepted or deleted, and of all objects of the queue.
    seconds
        Mean time per object since the queue was opened, without pauses; None before the first.
    """

    done: int
    total: int
    seconds: float | None


class Proofread(Protocol):
    """The part of a session that the queue uses."""

    @property
    def source(self) -> PlaneSource:
        """The image."""
        ...

    embeddings: Embeddings
    object_id: int

    @property
    def object_ids(self) -> Sequence[int]:
        """The numbers of all objects, ascending."""
        ...

    @property
    def is_counting(self) -> bool:
        """Whether labels are still being read, so that objects may be missing."""
        ...

    def accept(self, object_ids: Iterable[int], accepted: bool = True) -> None:
        """Mark objects as accepted."""
        ...

    def delete_objects(self, object_ids: Iterable[int]) -> None:
        """Delete objects on all planes, as one step."""
        ...

    def object_row(self, object_id: int) -> ObjectRow | None:
        """Return the row of an object; None if there is no such object."""
        ...


class Queue:
    """The proofreading queue: objects made by a model, the most doubtful first.

    A session has one queue, :attr:`~napari_sam.session.Session.queue`. The object offered is the
    session's current object; if the user picks another object of the queue, that one is offered.
    Acceptance is stored with the session and can be undone, so that proofreading can be stopped at
    any time: the queue always consists of what is not accepted yet.

    Objects that were found by another model than the present one are judged again by the present
    model, in the background and only on planes that are embedded. The object offered then stays,
    and those after it are sorted again. The new estimates are not stored.

    Parameters
    ----------
    state
        The state of the session.
    session
        The session.
    read_ahead
        Knows which plane is on screen.
    executor
        Reads labels and judges masks.
    region_of
        Returns a rectangle around an object's pixels on a plane, or None if it isn't known.
    failed
        Called with the exception if labels can't be read, or the model fails.
    clock
        Returns the time in seconds.

    Attributes
    ----------
    changed
        Signal: the queue changed.
    fixing_changed
        Signal: :attr:`is_fixing` may have changed, and with it what a click does.
    """

    changed = Signal()
    fixing_changed = Signal()

    def __init__(
        self,
        state: State,
        session: Proofread,
        read_ahead: ReadAhead,
        executor: Executor,
        region_of: Callable[[int, Plane], Region | None],
        failed: Callable[[Exception], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._state = state
        self._session = session
        self._executor = executor
        self._failed = failed
        self._clock = clock
        self._scope: tuple[Plane, ...] | None = None
        self._is_open = False
        self._is_ranking = False
        self._is_beginning = False
        self._is_fixing = False
        self._ranking = Ranking({}, {})
        self._ranked: dict[int, QueueItem] = {}
        self._order: tuple[int, ...] = ()
        self._places: dict[int, int] = {}
        self._left: set[int] = set()
        self._deleting: set[int] = set()
        self._listed: tuple[QueueItem, ...] | None = None
        self._last = 0  # object that was offered last
        self._sorted = -_SORTED_EVERY
        self._watch = Stopwatch(clock)
        self._rejudging = Rejudging(
            *(state, session.embeddings, read_ahead, executor, region_of),
            *(lambda i: i in self._left, self._judged_anew, failed),
        )

    # State

    @property
    def is_open(self) -> bool:
        """Whether the queue is open, between :meth:`begin` and :meth:`end`."""
        return self._is_open

    @property
    def is_ranking(self) -> bool:
        """Whether labels are still being read to sort the queue."""
        return self._is_ranking

    @property
    def waiting(self) -> int:
        """Number of objects made by a model that are neither accepted nor corrected.

        Objects without pixels are included until the labels have been counted.
        """
        proposed = self._state.proposed
        if not proposed:
            return 0
        shown = self._session.object_ids
        if not self._session.is_counting:
            proposed = proposed.intersection(shown)
        return len(proposed) - sum(i in proposed for i in self._state.book.object_ids)

    @property
    def items(self) -> tuple[QueueItem, ...]:
        """The objects that are left, the most doubtful first."""
        if self._listed is None:
            self._listed = tuple(self._ranked[i] for i in self._order if i in self._left)
        return self._listed

    @property
    def current(self) -> QueueItem | None:
        """The object that is offered; None if none is left, or another object is current."""
        current = self._session.object_id
        return self._ranked[current] if self._is_open and current in self._left else None

    @property
    def is_fixing(self) -> bool:
        """Whether the object offered is being corrected (:meth:`fix`)."""
        return self._is_fixing and self.current is not None

    @property
    def rest(self) -> int:
        """Number of objects that :meth:`accept_rest` would accept."""
        return len(self._from_here())

    @property
    def sure(self) -> int:
        """Number of objects that are likely enough to be right to be accepted without review."""
        return sum(item.is_sure for item in self.items)

    @property
    def hopeless(self) -> int:
        """Number of objects that are so unlikely to be worth correcting as to be deleted."""
        return sum(item.is_hopeless for item in self.items)

    @property
    def progress(self) -> QueueProgress:
        """The progress of proofreading."""
        total = len(self._ranked)
        return QueueProgress(total - len(self._left), total, self._watch.seconds)

    # Commands

    def begin(self, planes: Iterable[object] | None = None) -> None:
        """Open the queue and offer the most doubtful object.

        The labels are read in the background, while :attr:`is_ranking`.

        Parameters
        ----------
        planes
            Indices of the planes, as for :meth:`napari_sam.session.Session.add_point`; by default
            all planes with labels.

        Raises
        ------
        ValueError
            If a plane doesn't exist, or there are no labels.
        """
        if self._state.canvas is None:
            raise ValueError("expected labels to look through, got none; give the session a canvas")
        at = None if planes is None else tuple(map(self._session.source.plane_of, planes))
        self._scope, self._is_open = at, True
        self._set_fixing(False)
        self._is_beginning = True
        self._deleting.clear()
        self._watch.start()
        self._rank()

    def accept(self) -> None:
        """Accept the object offered, and offer the next one.

        Raises
        ------
        ValueError
            If no object is offered.
        """
        item = self._offered()
        self._watch.count(1)
        self._session.accept([item.object_id])
        self.next()

    def fix(self) -> None:
        """Start to correct the object offered, which stays current until the next is offered.

        Raises
        ------
        ValueError
            If no object is offered.
        """
        self._offered()
        self._set_fixing(True)
        self.changed.emit()

    def delete(self) -> None:
        """Delete the object offered on all planes, and offer the next one.

        Raises
        ------
        ValueError
            If no object is offered.
        """
        item = self._offered()
        self._delete_all([item.object_id])

    def accept_rest(self) -> None:
        """Accept the object offered and all that are at least as likely to be right, as one step.

        Raises
        ------
        ValueError
            If no object is offered.
        """
        self._offered()
        self._accept_all(self._from_here())

    def accept_sure(self) -> None:
        """Accept the objects that :attr:`sure` counts, as one step."""
        self._accept_all([item.object_id for item in self.items if item.is_sure])

    def delete_hopeless(self) -> None:
        """Delete the objects that :attr:`hopeless` counts, as one step."""
        self._delete_all([item.object_id for item in self.items if item.is_hopeless])

    def next(self) -> None:
        """Offer the next object.

        The one before is accepted if it was corrected; otherwise it stays in the queue.
        """
        self._step(1)

    def previous(self) -> None:
        """Offer the previous object."""
        self._step(-1)

    def end(self) -> None:
        """Close the queue; :meth:`begin` opens it again with the objects that are left."""
        if self._is_open:
            self._is_open = False
            self._set_fixing(False)
            self._executor.cancel(self._ranking_key)
            self._forget()
            self.changed.emit()

    def _set_fixing(self, on: bool) -> None:
        if on != self._is_fixing:
            self._is_fixing = on
            self.fixing_changed.emit()

    # What follows from changes of the session

    def follow_current(self) -> None:
        """Update after another object became current."""
        if not self._is_open:
            return
        self._set_fixing(False)
        self._refresh([self._last])  # what was corrected is accepted by being left
        if self.current is not None:
            self._last = self._session.object_id
        self.changed.emit()

    def follow(self, object_ids: Iterable[int] | None) -> None:
        """Update after objects have changed; None means that any may have."""
        if not self._is_open:
            return
        ids = self._state.all_facts if object_ids is None else object_ids
        new = [i for i in ids if i not in self._ranked and self._is_offered(i)]
        if new and not self._is_ranking:
            self._rank()
        self._refresh([*self._ranked] if object_ids is None else object_ids)
        self._rejudging.go_on()  # with the masks that have changed

    def follow_model(self) -> None:
        """Update after the model was replaced: the new one judges what others found."""
        judged = self._rejudging.judged_ids
        self._rejudging.clear()
        if self._is_open and not self._is_ranking:
            if judged:
                self._judge(judged, self.current)
                self._sort_behind()
            self._ask(self._order)

    def follow_view(self) -> None:
        """Update after another plane was shown: its objects may be judged again."""
        self._rejudging.go_on()

    def stop_judging(self) -> None:
        """Stop embedding planes to judge objects again, until something else changes."""
        self._rejudging.stop_encoding()

    def follow_labels(self) -> None:
        """Update after the labels were replaced: objects that they lack are not offered."""
        if not self._is_open:
            return
        self._executor.cancel(self._ranking_key)
        self._forget()
        self._rank()
        self.changed.emit()

    # Helpers

    @property
    def _ranking_key(self) -> tuple[object, ...]:
        return "rank objects", self

    def _is_offered(self, object_id: int) -> bool:
        return self._state.facts(object_id).origin in BY_MACHINE

    def _is_left(self, object_id: int) -> bool:
        """Whether an object still has to be reviewed."""
        facts = self._state.facts(object_id)
        if facts.origin not in BY_MACHINE or facts.accepted or object_id in self._deleting:
            return False
        row = self._session.object_row(object_id)
        return row is None or row.state == "proposed"

    def _offered(self) -> QueueItem:
        item = self.current
        if item is None:
            raise ValueError(
                "expected an object of the queue to be current, got "
                f"{self._session.object_id if self._is_open else 'a queue that is not open'}; "
                f"{'go to the next' if self._is_open else 'begin'} first"
            )
        return item

    def _from_here(self) -> list[int]:
        item = self.current
        if item is None:
            return []
        behind = self._order[self._places[item.object_id] :]
        left = [i for i in behind if i in self._left]
        return [i for i in left if self._ranked[i].quality >= item.quality]

    def _accept_all(self, object_ids: Sequence[int]) -> None:
        if object_ids:
            self._watch.count(len(object_ids))
            self._session.accept(object_ids)
        if self.current is None:
            self.next()

    def _delete_all(self, object_ids: Sequence[int]) -> None:
        if object_ids:
            self._watch.count(len(object_ids))
            self._deleting.update(object_ids)  # large labels are searched for them first
            self._session.delete_objects(object_ids)
            self._refresh(object_ids)
        if self.current is None:
            self.next()

    def _step(self, step: int) -> None:
        """Make the next object of the queue current, in either direction, cyclically."""
        self._refresh([self._session.object_id])
        count = len(self._order)
        start = self._places.get(self._last, 0 if step < 0 else -1)
        for k in range(1, count + 1):
            i = self._order[(start + step * k) % count]
            if i in self._left and i != self._session.object_id:
                self._last = i
                self._session.object_id = i
                return
        self.changed.emit()

    def _refresh(self, object_ids: Iterable[int]) -> None:
        """Update which of some objects are left."""
        changed, again = False, []
        for i in object_ids:
            if i not in self._ranked:
                continue
            if not self._is_offered(i):
                self._deleting.discard(i)  # it is gone
            left = self._is_left(i)
            if left != (i in self._left):
                (self._left.add if left else self._left.discard)(i)
                changed = True
                if left:
                    again.append(i)
        if changed:
            self._listed = None
            self.changed.emit()
            self._ask(again)

    def _forget(self) -> None:
        self._rejudging.clear()
        self._ranking = Ranking({}, {})
        self._ranked, self._order, self._places = {}, (), {}
        self._left, self._listed = set(), None
        self._is_ranking = False

    def _rank(self) -> None:
        canvas, source = self._state.canvas, self._session.source
        if canvas is None:
            return
        planes = tuple(canvas.planes()) if self._scope is None else self._scope
        known = self._state.all_facts.items()
        found = {i: Expectation.of(one) for i, one in known if self._is_offered(i)}
        self._is_ranking = True
        self._executor.chore(
            self._ranking_key,
            partial(
                _ranked,
                canvas,
                [(plane, _whole(source, plane)) for plane in planes],
                found,
                self._state.journal.entries,
            ),
            self._ranked_anew,
        )
        self.changed.emit()

    def _ranked_anew(self, outcome: Outcome) -> None:
        if not self._is_open:
            return
        self._is_ranking = False
        if outcome.error is not None:
            if not outcome.cancelled:
                self._failed(outcome.error)
            self.changed.emit()
            return
        offered = None if self._is_beginning else self.current
        self._ranking, self._ranked = outcome.value
        self._judge((*self._rejudging.judged_ids, self._session.object_id), offered)
        self._put_in_order(self._by_quality(self._ranked))
        self._left, self._listed = {i for i in self._order if self._is_left(i)}, None
        if self.current is None or self._is_beginning:
            self._is_beginning = False
            first = next((i for i in self._order if i in self._left), None)
            if first is not None:
                self._last = self._session.object_id = first
        self.changed.emit()
        self._ask(self._order)

    def _judge(self, object_ids: Iterable[int], offered: QueueItem | None) -> None:
        """Estimate the quality of objects again; the one offered stays on its plane."""
        for i in object_ids:
            if i not in self._ranked:
                continue
            found = Expectation.of(self._state.facts(i))
            item = self._ranking.item(i, found, self._rejudging.expectations(i))
            seen = self._ranking.seen(i)
            if offered is not None and offered.object_id == i and offered.plane in seen:
                item = replace(item, plane=offered.plane, box=seen[offered.plane].box)
            self._ranked[i] = item

    def _by_quality(self, object_ids: Iterable[int]) -> list[int]:
        return sorted(object_ids, key=lambda i: self._ranked[i].quality)

    def _put_in_order(self, order: Iterable[int]) -> None:
        self._order, self._listed = tuple(order), None
        self._places = {i: place for place, i in enumerate(self._order)}

    # Judging again

    def _ask(self, object_ids: Iterable[int]) -> None:
        """Request new judgements of objects that another model found."""
        model = self._rejudging.model
        for i in object_ids:
            if i in self._left and self._ranking.is_of_another(i, model):
                seen, worst = self._ranking.seen(i), self._ranked[i].plane
                for plane in dict.fromkeys((worst, *seen)):
                    self._rejudging.ask(i, plane, seen[plane].box)
        self._rejudging.go_on()

    def _judged_anew(self, object_ids: Iterable[int]) -> None:
        self._judge(object_ids, self.current)
        now = self._clock()
        if not self._rejudging.is_busy or now - self._sorted >= _SORTED_EVERY:
            self._sorted = now
            self._sort_behind()

    def _sort_behind(self) -> None:
        """Sort the objects after the last one offered; those before it stay in their order."""
        behind = self._places.get(self._last, -1) + 1
        self._put_in_order((*self._order[:behind], *self._by_quality(self._order[behind:])))
        self.changed.emit()


class Stopwatch:
    """Measures the time spent per object, without pauses.

    Parameters
    ----------
    clock
        Returns the time in seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.start()

    def start(self) -> None:
        """Reset and start."""
        self._since, self._spent, self._count = self._clock(), 0.0, 0

    def count(self, objects: int) -> None:
        """Count objects as finished now."""
        now = self._clock()
        if now - self._since <= LONGEST_STEP:
            self._spent += now - self._since
        self._since, self._count = now, self._count + objects

    @property
    def seconds(self) -> float | None:
        """Mean time per object; None before the first."""
        return self._spent / self._count if self._count else None


def _whole(source: PlaneSource, plane: Plane) -> Region:
    height, width = source.plane_shape(plane)
    return slice(0, height), slice(0, width)


def _ranked(
    canvas: LabelCanvas,
    planes: Sequence[tuple[Plane, Region]],
    found: Mapping[int, Expectation | None],
    entries: Sequence[Entry],
    report: Report,
) -> tuple[Ranking, dict[int, QueueItem]]:
    """Read the labels of planes and rank their objects by their expected quality."""
    seen: dict[tuple[Plane, int], Appearance] = {}
    for done, (plane, region) in enumerate(planes):
        report(done / len(planes))
        for i, one in appearances(canvas.read(plane, region)).items():
            if i in found:
                seen[plane, i] = one
    ranking = Ranking(seen, finders(entries))
    return ranking, {i: ranking.item(i, found[i], {}) for i in ranking.object_ids}
