"""The proofreading queue: objects that nobody has accepted yet, the most doubtful first."""

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

_SORTED_EVERY = 0.5  # seconds, while objects are being judged anew


@dataclass(frozen=True, slots=True)
class QueueProgress:
    """How far a field is.

    Parameters
    ----------
    done, total
        How many objects are accepted or deleted, of how many.
    seconds
        Time spent on one, on average since the queue was opened; pauses don't count. None before
        the first.
    """

    done: int
    total: int
    seconds: float | None


class Proofread(Protocol):
    """What the queue asks of a session and does to it."""

    @property
    def source(self) -> PlaneSource:
        """The image."""
        ...

    embeddings: Embeddings
    object_id: int

    @property
    def object_ids(self) -> Sequence[int]:
        """All objects that are known."""
        ...

    @property
    def is_counting(self) -> bool:
        """Whether labels are being counted, so that some may be missing."""
        ...

    def accept(self, object_ids: Iterable[int], accepted: bool = True) -> None:
        """Say that objects are right."""
        ...

    def delete_objects(self, object_ids: Iterable[int]) -> None:
        """Delete objects on all planes, as one step."""
        ...

    def object_row(self, object_id: int) -> ObjectRow | None:
        """Return what is known of an object."""
        ...


class Queue:
    """Offers objects that a machine made, the worst first, until somebody accepted each.

    What is accepted is kept with the session and undone like everything else, so a queue may be
    left at any time: what is left to do is simply what is not accepted yet. The object offered is
    the session's current one; another one of the queue that is picked is offered instead.

    What another model found than the one that answers now is judged anew by that one, in the
    background, as far as planes are encoded; the object offered stays, and what comes behind it is
    ordered anew. That is kept nowhere: what was expected when an object was found stays as it is.

    Parameters
    ----------
    state
        What there is.
    session
        What objects are accepted in.
    read_ahead
        Tells which plane is on screen.
    executor
        Where labels are looked at, and masks judged anew.
    region_of
        Returns a rectangle around an object's pixels on a plane, where that is known.
    failed
        Called with the error when labels can't be read, or the model fails.
    clock
        Seconds.

    Attributes
    ----------
    changed
        Something that the queue says is another.
    """

    changed = Signal()

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

    # What it says

    @property
    def is_open(self) -> bool:
        """Whether objects are offered."""
        return self._is_open

    @property
    def is_ranking(self) -> bool:
        """Whether labels are still being looked at."""
        return self._is_ranking

    @property
    def waiting(self) -> int:
        """How many objects a machine made that nobody has accepted or corrected.

        Those that labels don't have any more don't count, as soon as labels are counted.
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
        """What is left to look at, the most doubtful first."""
        if self._listed is None:
            self._listed = tuple(self._ranked[i] for i in self._order if i in self._left)
        return self._listed

    @property
    def current(self) -> QueueItem | None:
        """The object that is offered; None while another one is current, or nothing is left."""
        current = self._session.object_id
        return self._ranked[current] if self._is_open and current in self._left else None

    @property
    def is_fixing(self) -> bool:
        """Whether the object offered is being corrected."""
        return self._is_fixing and self.current is not None

    @property
    def rest(self) -> int:
        """How many objects :meth:`accept_rest` would accept."""
        return len(self._from_here())

    @property
    def sure(self) -> int:
        """How many objects are likely enough to be right to be accepted unseen."""
        return sum(item.is_sure for item in self.items)

    @property
    def hopeless(self) -> int:
        """How many objects are so unlikely to be worth correcting that they may be deleted."""
        return sum(item.is_hopeless for item in self.items)

    @property
    def progress(self) -> QueueProgress:
        """How far the field is."""
        total = len(self._ranked)
        return QueueProgress(total - len(self._left), total, self._watch.seconds)

    # What is done

    def begin(self, planes: Iterable[object] | None = None) -> None:
        """Offer what is not accepted yet, the worst first.

        Labels are looked at in the background; :attr:`is_ranking` says so.

        Parameters
        ----------
        planes
            Indices of planes, as for :meth:`napari_sam.session.Session.add_point`; by default
            all that have labels.

        Raises
        ------
        ValueError
            If a plane doesn't exist, or there are no labels.
        """
        if self._state.canvas is None:
            raise ValueError("expected labels to look through, got none; give the session a canvas")
        at = None if planes is None else tuple(map(self._session.source.plane_of, planes))
        self._scope, self._is_open, self._is_fixing = at, True, False
        self._is_beginning = True
        self._deleting.clear()
        self._watch.start()
        self._rank()

    def accept(self) -> None:
        """Accept the object offered, and offer the next."""
        item = self._offered()
        self._watch.count(1)
        self._session.accept([item.object_id])
        self.next()

    def fix(self) -> None:
        """Correct the object offered: it stays current until it is accepted or passed over."""
        self._offered()
        self._is_fixing = True
        self.changed.emit()

    def delete(self) -> None:
        """Delete the object offered on all its planes, and offer the next."""
        item = self._offered()
        self._delete_all([item.object_id])

    def accept_rest(self) -> None:
        """Accept the object offered and all that are likelier to be right, as one step."""
        self._offered()
        self._accept_all(self._from_here())

    def accept_sure(self) -> None:
        """Accept all objects that are likely enough to be right unseen, as one step."""
        self._accept_all([item.object_id for item in self.items if item.is_sure])

    def delete_hopeless(self) -> None:
        """Delete all objects that are unlikely to be worth correcting, as one step."""
        self._delete_all([item.object_id for item in self.items if item.is_hopeless])

    def next(self) -> None:
        """Offer the next object; one that was corrected is accepted, another is left for later."""
        self._step(1)

    def previous(self) -> None:
        """Offer the object before."""
        self._step(-1)

    def end(self) -> None:
        """Offer nothing more; what is left to do can be taken up by :meth:`begin`."""
        if self._is_open:
            self._is_open = self._is_fixing = False
            self._executor.cancel(self._ranking_key)
            self._forget()
            self.changed.emit()

    # What follows from changes of the session

    def follow_current(self) -> None:
        """Take note that another object is current."""
        if not self._is_open:
            return
        self._is_fixing = False
        self._refresh([self._last])  # what was corrected is accepted by being left
        if self.current is not None:
            self._last = self._session.object_id
        self.changed.emit()

    def follow(self, object_ids: Iterable[int] | None) -> None:
        """Take note that objects have changed; None means that any may have."""
        if not self._is_open:
            return
        ids = self._state.all_facts if object_ids is None else object_ids
        new = [i for i in ids if i not in self._ranked and self._is_offered(i)]
        if new and not self._is_ranking:
            self._rank()
        self._refresh([*self._ranked] if object_ids is None else object_ids)
        self._rejudging.go_on()  # with masks that are others since

    def follow_model(self) -> None:
        """Take note that another model answers: it judges what others found."""
        judged = self._rejudging.judged_ids
        self._rejudging.clear()
        if self._is_open and not self._is_ranking:
            if judged:
                self._judge(judged, self.current)
                self._sort_behind()
            self._ask(self._order)

    def follow_view(self) -> None:
        """Take note that another plane is on screen: what lies there may be judged anew."""
        self._rejudging.go_on()

    def stop_judging(self) -> None:
        """Have nothing more encoded to judge objects anew until something else changes."""
        self._rejudging.stop_reading()

    def follow_labels(self) -> None:
        """Take note that the labels are others: what they don't have isn't offered any more."""
        if not self._is_open:
            return
        self._executor.cancel(self._ranking_key)
        self._forget()
        self._rank()
        self.changed.emit()

    # How

    @property
    def _ranking_key(self) -> tuple[object, ...]:
        return "rank objects", self

    def _is_offered(self, object_id: int) -> bool:
        return self._state.facts(object_id).origin in BY_MACHINE

    def _is_left(self, object_id: int) -> bool:
        """Whether an object still has to be looked at."""
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
            self._deleting.update(object_ids)  # in large labels they are looked for first
            self._session.delete_objects(object_ids)
            self._refresh(object_ids)
        if self.current is None:
            self.next()

    def _step(self, step: int) -> None:
        """Make the next object of the queue current, in either direction and round the end."""
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
        """Look again which of some objects are left."""
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
                _look,
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
        """Take in what is expected of objects; the one offered stays where it is looked at."""
        for i in object_ids:
            if i not in self._ranked:
                continue
            found = Expectation.of(self._state.facts(i))
            item = self._ranking.item(i, found, self._rejudging.said(i))
            seen = self._ranking.seen(i)
            if offered is not None and offered.object_id == i and offered.plane in seen:
                item = replace(item, plane=offered.plane, box=seen[offered.plane].box)
            self._ranked[i] = item

    def _by_quality(self, object_ids: Iterable[int]) -> list[int]:
        return sorted(object_ids, key=lambda i: self._ranked[i].quality)

    def _put_in_order(self, order: Iterable[int]) -> None:
        self._order, self._listed = tuple(order), None
        self._places = {i: place for place, i in enumerate(self._order)}

    # Judging anew

    def _ask(self, object_ids: Iterable[int]) -> None:
        """Have objects judged that another model found than the one that answers."""
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
        """Order what is still to be offered; what was offered stays where it was."""
        behind = self._places.get(self._last, -1) + 1
        self._put_in_order((*self._order[:behind], *self._by_quality(self._order[behind:])))
        self.changed.emit()


class Stopwatch:
    """Time spent on objects, without pauses.

    Parameters
    ----------
    clock
        Seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.start()

    def start(self) -> None:
        """Begin anew."""
        self._since, self._spent, self._count = self._clock(), 0.0, 0

    def count(self, objects: int) -> None:
        """Count objects that are finished now."""
        now = self._clock()
        if now - self._since <= LONGEST_STEP:
            self._spent += now - self._since
        self._since, self._count = now, self._count + objects

    @property
    def seconds(self) -> float | None:
        """Time spent on one, on average; None before the first."""
        return self._spent / self._count if self._count else None


def _whole(source: PlaneSource, plane: Plane) -> Region:
    height, width = source.plane_shape(plane)
    return slice(0, height), slice(0, width)


def _look(
    canvas: LabelCanvas,
    planes: Sequence[tuple[Plane, Region]],
    found: Mapping[int, Expectation | None],
    entries: Sequence[Entry],
    report: Report,
) -> tuple[Ranking, dict[int, QueueItem]]:
    """Look at objects on planes, and judge them by what was expected of them. Reads all planes."""
    seen: dict[tuple[Plane, int], Appearance] = {}
    for done, (plane, region) in enumerate(planes):
        report(done / len(planes))
        for i, one in appearances(canvas.read(plane, region)).items():
            if i in found:
                seen[plane, i] = one
    ranking = Ranking(seen, finders(entries))
    return ranking, {i: ranking.item(i, found[i], {}) for i in ranking.object_ids}
