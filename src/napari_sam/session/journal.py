"""The journal of a session: all changes in order, for undo, redo and saving."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from psygnal import Signal

from napari_sam.planes import Plane
from napari_sam.propagate.judge import Causes
from napari_sam.session.answers import Answer
from napari_sam.session.complete_regions import Regions
from napari_sam.session.object_classes import ObjectClass
from napari_sam.session.ownership import Marks
from napari_sam.session.pixels import PixelChange
from napari_sam.session.prompt_book import Group, ObjectPlane

K = TypeVar("K")
V = TypeVar("V")

Kind = Literal[
    "prompts",
    "mask",
    "painted",
    "found",
    "deleted",
    "merged",
    "renumbered",
    "locked",
    "split",
    "adopted",
    "grown",
    "accepted",
    "classified",
    "classes",
    "imported",
    "carried",
    "reviewed",
    "divided",
    "linked",
    "completed",
    "model",
    "elsewhere",
    "labels",
]
"""The kinds of entries. Most are self-explanatory; an entry is a step of undo if not noted.

``mask``: the predicted mask of prompts; it is not a step, but belongs to its prompts.
``found``: objects were found by a run. In one large plane they are written part by part; parts
that come after another entry are not steps, but belong to the first part.
``carried``: objects were followed from planes where they are known. Masks that are predicted again
after a correction are not a step, but belong to the correction.
``reviewed``: a user accepted the mask of an object on a plane, or marked where the object ends or
continues.
``imported``: objects came from a file. ``adopted``: existing labels became objects.
``divided``: a user confirmed or rejected a division.
``linked``: objects of all frames got one number for each track.
``grown``: objects grew or shrank by some pixels.
``classified``: objects got a class. ``classes``: the classes were changed.
``completed``: a user marked a region as complete, or not complete.
``model``: the model was replaced.
``elsewhere``: the labels were changed outside of the session. ``labels``: the labels were
replaced, so that earlier entries can't be undone.
"""

Origin = Literal["", "found", "painted", "adopted", "carried", "imported"]
"""How an object was first made; empty if by prompts, or if it isn't known."""

Verdict = Literal["", "here", "not here", "right"]
"""A user's verdict on an object on a plane, see :class:`PlaneFacts`."""

BY_MACHINE: frozenset[Origin] = frozenset({"found", "adopted", "carried", "imported"})
"""Origins of objects that a user has yet to review."""


@dataclass(frozen=True, slots=True, eq=False)
class Change(Generic[K, V]):
    """The value of something before and after a change."""

    key: K
    before: V
    after: V


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """The properties of an object, besides its prompts and pixels.

    Parameters
    ----------
    locked
        Whether it is protected from changes.
    origin
        How it was first made, if not by prompts.
    class_name
        Name of its class; empty for none.
    accepted
        Whether a user accepted (True) or rejected (False) it; None if neither.
    score
        The IoU (0-1) that the model predicted when a run found it, the lowest of its planes; None
        if it was not found by a run.
    stability
        The IoU of its masks at a slightly higher and a slightly lower threshold, as for `score`.
    parent
        The object from which it descends by a division, as a user or a file states; 0 if it is
        recorded to have no parent, None if nothing is recorded.
    """

    locked: bool = False
    origin: Origin = ""
    class_name: str = ""
    accepted: bool | None = None
    score: float | None = None
    stability: float | None = None
    parent: int | None = None


@dataclass(frozen=True, slots=True)
class PlaneFacts:
    """The properties of an object on a plane, besides its prompts and pixels.

    Parameters
    ----------
    quality
        Estimated quality (0-1) of its followed mask; None if it was not followed to this plane.
    score
        The IoU (0-1) that the model predicts for that mask.
    axis
        The axis along which it was followed.
    causes
        The measurements from which the quality was estimated.
    verdict
        A user's verdict: the object is ``"here"``, whatever the judge estimates, or ``"not
        here"``, or its mask is ``"right"``. Empty if there is none.
    """

    quality: float | None = None
    score: float | None = None
    axis: int | None = None
    causes: Causes | None = None
    verdict: Verdict = ""

    @property
    def is_carried(self) -> bool:
        """Whether the mask was followed from other planes, and not accepted by a user."""
        return self.quality is not None and self.verdict != "right"


UNKNOWN = PlaneFacts()
"""No property is known."""


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """An entry of the journal: one change of the session.

    Parameters
    ----------
    number
        Ascending, and unique in a session.
    kind
        The kind of change.
    text
        A short description, as shown for undo and redo.
    time
        Seconds since 1970.
    prompts, answers, marks, facts
        The changes of prompts, masks, ownership of pixels and properties of objects, by (object,
        plane) or by object.
    pixels
        The changes of label pixels, in order, since two may change the same pixel.
    objects
        The current object before and after.
    details
        Other values as JSON, such as the settings of a run or a mask.
    classes
        The change of the classes; None if there is none.
    planes
        The changes of properties of objects on single planes.
    complete
        The changes of complete regions, by plane.
    model
        The change of the model, by key; None if there is none.
    """

    number: int
    kind: Kind
    text: str
    time: float
    prompts: tuple[Change[ObjectPlane, Group], ...] = ()
    answers: tuple[Change[ObjectPlane, Answer | None], ...] = ()
    marks: tuple[Change[ObjectPlane, Marks], ...] = ()
    facts: tuple[Change[int, ObjectFacts], ...] = ()
    pixels: tuple[PixelChange, ...] = ()
    objects: tuple[int, int] = (1, 1)
    details: Mapping[str, Any] = field(default_factory=dict)
    classes: Change[str, tuple[ObjectClass, ...]] | None = None
    planes: tuple[Change[ObjectPlane, PlaneFacts], ...] = ()
    complete: tuple[Change[Plane, Regions], ...] = ()
    model: Change[str, str] | None = None

    @property
    def first_number(self) -> int:
        """The number of the original entry: an entry gets a new number whenever it is redone.

        Entries that belong to another one refer to it by this number.
        """
        number = self.details.get("again", self.number)
        return number if isinstance(number, int) else self.number

    @property
    def came(self) -> int:
        """The number that gives its place in the order of changes to the same pixels.

        An entry that is redone exactly gets its former place, before entries that came later.
        """
        number = self.details.get("came", self.number)
        return number if isinstance(number, int) else self.number

    def again_details(self, is_new: bool = False) -> dict[str, Any]:
        """Return the details that an entry gets which redoes this one.

        Parameters
        ----------
        is_new
            Whether it comes after all present entries, and not to its former place.
        """
        return {"again": self.first_number} | ({} if is_new else {"came": self.came})

    @property
    def is_step(self) -> bool:
        """Whether it is a step of undo."""
        return self.kind != "mask" and self.part_of is None

    @property
    def part_of(self) -> int | None:
        """First number of the step to which it belongs; None for a step, and for masks."""
        return self.details.get("of") if self.kind in ("carried", "found") else None

    @property
    def ends_undo(self) -> bool:
        """Whether entries before it can't be undone."""
        return self.kind == "labels"

    @property
    def keys(self) -> set[ObjectPlane]:
        """The objects and planes whose prompts or answers it changes."""
        return {c.key for c in self.prompts} | {c.key for c in self.answers}


@dataclass(frozen=True, slots=True, eq=False)
class JournalChange:
    """A change of the journal, which is stored as a whole.

    Parameters
    ----------
    added
        Entries added at the end.
    undone
        Numbers of entries that were undone together, and can be redone.
    dropped
        Numbers of entries that were removed permanently.
    put_back
        Entries that never took effect: their pixels were reverted at once.
    """

    added: tuple[Entry, ...] = ()
    undone: tuple[int, ...] = ()
    dropped: tuple[int, ...] = ()
    put_back: tuple[Entry, ...] = ()


class Journal:
    """The entries in force, and those that were undone.

    Attributes
    ----------
    changed
        Signal: the journal changed; with a :class:`JournalChange`.
    """

    changed = Signal(object)

    def __init__(self) -> None:
        self._entries: dict[int, Entry] = {}
        self._undone: list[tuple[Entry, ...]] = []
        self._steps: list[int] = []  # numbers of the entries that are steps
        self._deleted: dict[int, None] = {}  # numbers of the entries that deleted objects
        self._next = 1
        self._changes = 0

    def restore(
        self, entries: Sequence[Entry], undone: Sequence[Sequence[Entry]], last: int
    ) -> None:
        """Set the entries of a saved session, whose last number was `last`; emits no signal."""
        self._entries = {entry.number: entry for entry in entries}
        self._steps = [entry.number for entry in entries if entry.is_step]
        self._deleted = dict.fromkeys(e.number for e in entries if e.kind == "deleted")
        self._undone = [tuple(group) for group in undone]
        self._next = last + 1

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def entries(self) -> Sequence[Entry]:
        """The entries in force, in order."""
        return tuple(self._entries.values())

    @property
    def position(self) -> tuple[int, int]:
        """The number of changes so far, including undo and redo, and the last entry's number."""
        return self._changes, next(reversed(self._entries), 0)

    @property
    def deleted(self) -> Sequence[Entry]:
        """The entries in force that deleted objects, in order."""
        return tuple(self._entries[number] for number in self._deleted)

    @property
    def undone(self) -> Sequence[tuple[Entry, ...]]:
        """The undone entries, a tuple for each step; the step undone last is at the end."""
        return tuple(self._undone)

    @property
    def last_step(self) -> Entry | None:
        """The step that would be undone; None if there is none."""
        if not self._steps:
            return None
        last = self._entries[self._steps[-1]]
        return None if last.ends_undo else last

    @property
    def barrier(self) -> Entry | None:
        """The entry beyond which undo can't go, if it is the last step; otherwise None."""
        last = self._entries[self._steps[-1]] if self._steps else None
        return last if last is not None and last.ends_undo else None

    @property
    def next_redo(self) -> tuple[Entry, ...]:
        """The entries that would be redone, the step first; empty if there are none."""
        return self._undone[-1] if self._undone else ()

    def new(self, kind: Kind, text: str, **values: Any) -> Entry:
        """Return an entry with the next number and the present time, without recording it."""
        return Entry(self._next, kind, text, time.time(), **values)

    def record(self, entry: Entry) -> None:
        """Add an entry at the end; after a new step, undone steps can't be redone."""
        dropped: tuple[int, ...] = ()
        if entry.is_step and self._undone:
            dropped = tuple(e.number for group in self._undone for e in group)
            self._undone.clear()
        self._add(entry)
        self.changed.emit(JournalChange((entry,), (), dropped))

    def note_put_back(self, entry: Entry) -> None:
        """Announce an entry that took no effect: its pixels were reverted at once."""
        self._next = max(self._next, entry.number + 1)
        self.changed.emit(JournalChange(put_back=(entry,)))

    def since_last_step(self) -> list[Entry]:
        """Return the last step and every mask that came after it, in order."""
        found: list[Entry] = []
        if self._steps:
            for entry in reversed(self._entries.values()):
                found.append(entry)
                if entry.number == self._steps[-1]:
                    break
        return found[::-1]

    def since(self, number: int) -> list[Entry]:
        """Return the entries in force with a higher number, in order."""
        found: list[Entry] = []
        for entry in reversed(self._entries.values()):
            if entry.number <= number:
                break
            found.append(entry)
        return found[::-1]

    def set_aside(self, group: Sequence[Entry]) -> None:
        """Move a step and the entries that belong to it to the undone ones."""
        self._changes += 1
        for entry in group:
            del self._entries[entry.number]
            self._deleted.pop(entry.number, None)
        self._steps.pop()
        self._undone.append(tuple(group))

    def revive(self) -> tuple[Entry, ...]:
        """Remove the step that was undone last, and return it; :meth:`put` adds it again."""
        return self._undone.pop()

    def put(self, entry: Entry) -> None:
        """Add an entry at the end; the caller emits :attr:`changed`."""
        self._add(entry)

    def ends_with(self, numbers: Sequence[int]) -> bool:
        """Whether entries of these numbers, in this order, are the last ones."""
        last = reversed(self._entries)
        return all(number == next(last, None) for number in reversed(numbers))

    def entry(self, number: int) -> Entry | None:
        """Return the entry in force with a number; None if there is none."""
        return self._entries.get(number)

    def fold(self, numbers: Sequence[int], entry: Entry) -> None:
        """Replace the last entries by one that contains all their changes."""
        self.drop(numbers)
        self._add(entry)
        self.changed.emit(JournalChange((entry,), (), tuple(numbers)))

    def drop(self, numbers: Iterable[int]) -> None:
        """Remove entries permanently; the caller emits :attr:`changed`."""
        self._changes += 1
        for number in numbers:
            gone = self._entries.pop(number)
            if gone.is_step:
                self._steps.remove(number)

    def _add(self, entry: Entry) -> None:
        self._changes += 1
        self._entries[entry.number] = entry
        if entry.is_step:
            self._steps.append(entry.number)
        if entry.kind == "deleted":
            self._deleted[entry.number] = None
        self._next = max(self._next, entry.number + 1)
