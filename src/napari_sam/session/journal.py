"""Everything that happened in a session, in order: to take back, to make again, and to keep."""

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
"""What happened.

``mask``: prompts got their answer; it is no step of its own, and goes with its prompts.
``found``: of one large plane objects are written part by part; what comes after something else was
done is no step of its own, and goes with the first part.
``carried``: objects were followed from planes where they are known; what is carried anew since a
plane was corrected is no step of its own, and goes with that. ``reviewed``: a person said of an
object on a plane that its mask is right, or that it ends or goes on there.
``imported``: objects came from a file. ``adopted``: labels that were there became objects.
``divided``: a person said that an object has become two, or that it has not.
``linked``: objects of all frames got one number for each track.
``grown``: outlines were moved by some pixels.
``classified``: objects got a class. ``classes``: there are other classes.
``completed``: a person said that every object of a region is labelled, or that they aren't.
``model``: another model answers from here on.
``elsewhere``: somebody else changed the labels. ``labels``: they are others from here on, so that
nothing before it can be taken back.
"""

Origin = Literal["", "found", "painted", "adopted", "carried", "imported"]
"""Where an object's pixels came from first; empty where that was prompts, or isn't known."""

Said = Literal["", "here", "not here", "right"]
"""What a person said of an object on a plane."""

BY_MACHINE: frozenset[Origin] = frozenset({"found", "adopted", "carried", "imported"})
"""Origins of objects that a person has yet to look at."""


@dataclass(frozen=True, slots=True, eq=False)
class Change(Generic[K, V]):
    """What something was, and what it became."""

    key: K
    before: V
    after: V


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """What is known of an object beside its prompts and pixels.

    Parameters
    ----------
    locked
        Whether nothing may change it.
    origin
        Where its pixels came from first, if not from prompts.
    class_name
        Name of its class; empty for none.
    accepted
        Whether a user said that it is right; None if nothing was said.
    score
        IoU that a model expected when it was found, 0-1, the lowest of its planes; None where no
        run found it.
    stability
        Agreement of its masks cut a little above and below the threshold then, as of `score`.
    parent
        The object that a user said it descends from, where objects divide over time; 0 says that
        it descends from none, None that nothing was said.
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
    """What is known of an object on a plane beside its prompts and pixels.

    Parameters
    ----------
    quality
        How far a mask that was carried here can be trusted, 0-1; None where nothing was carried.
    score
        IoU that the model expects of that mask, 0-1.
    axis
        The axis along which it was carried.
    causes
        What the quality comes from.
    said
        What a person said: the object is ``"here"``, whatever a judge says, or ``"not here"``, or
        its mask is ``"right"``. Empty if nothing was said.
    """

    quality: float | None = None
    score: float | None = None
    axis: int | None = None
    causes: Causes | None = None
    said: Said = ""

    @property
    def is_carried(self) -> bool:
        """Whether the mask came from other planes, and nobody said that it is right."""
        return self.quality is not None and self.said != "right"


UNKNOWN = PlaneFacts()
"""Nothing is known."""


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One thing that happened.

    Parameters
    ----------
    number
        Ascending; never given twice in a session.
    kind
        What happened.
    text
        What it was, as :meth:`napari_sam.session.Session.undo` would say.
    time
        Seconds since 1970.
    prompts, answers, marks, facts
        What changed, by object and plane or by object.
    pixels
        Of the labels; in their order, where two change the same pixel.
    objects
        The current object when it happened, and afterwards.
    details
        Further values that JSON holds: the settings that a run or a mask had.
    classes
        What classes there were, and what they became; None where they stayed.
    planes
        What is known of objects on single planes.
    complete
        Where every object is labelled, by plane.
    model
        Keys of the models that answered before and from here on; None where it stayed.
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
        """The number that it had when it happened: it gets another whenever it is made again.

        Entries that are parts of others, or were begun by them, name them by it.
        """
        number = self.details.get("again", self.number)
        return number if isinstance(number, int) else self.number

    @property
    def came(self) -> int:
        """The number that it had when it came after all that was there then.

        What is made again exactly as it was comes to lie where it lay, under what had come later.
        """
        number = self.details.get("came", self.number)
        return number if isinstance(number, int) else self.number

    def told_again(self, is_new: bool = False) -> dict[str, Any]:
        """Return what the details of an entry tell that makes this one again.

        Parameters
        ----------
        is_new
            Whether it comes after all that is there, and not to where it lay.
        """
        return {"again": self.first_number} | ({} if is_new else {"came": self.came})

    @property
    def is_step(self) -> bool:
        """Whether it is taken back by itself."""
        return self.kind != "mask" and self.part_of is None

    @property
    def part_of(self) -> int | None:
        """First number of the step that it goes with; None for a step, and for masks."""
        return self.details.get("of") if self.kind in ("carried", "found") else None

    @property
    def ends_undo(self) -> bool:
        """Whether nothing before it can be taken back."""
        return self.kind == "labels"

    @property
    def keys(self) -> set[ObjectPlane]:
        """The objects and planes whose prompts or answers it changes."""
        return {c.key for c in self.prompts} | {c.key for c in self.answers}


@dataclass(frozen=True, slots=True, eq=False)
class JournalChange:
    """What became of the journal: to be stored as one.

    Parameters
    ----------
    added
        Entries at its end.
    undone
        Numbers of entries that were set aside together, and can be made again.
    dropped
        Numbers of entries that are gone.
    put_back
        Entries that never held: their pixels were put back as soon as they were told.
    """

    added: tuple[Entry, ...] = ()
    undone: tuple[int, ...] = ()
    dropped: tuple[int, ...] = ()
    put_back: tuple[Entry, ...] = ()


class Journal:
    """The entries in force, and those that were taken back.

    Attributes
    ----------
    changed
        A :class:`JournalChange`.
    """

    changed = Signal(object)

    def __init__(self) -> None:
        self._entries: dict[int, Entry] = {}
        self._undone: list[tuple[Entry, ...]] = []
        self._steps: list[int] = []  # numbers of the entries that are steps
        self._deleted: dict[int, None] = {}  # of those that deleted objects
        self._next = 1
        self._changes = 0

    def restore(
        self, entries: Sequence[Entry], undone: Sequence[Sequence[Entry]], last: int
    ) -> None:
        """Begin with what an earlier session had, whose last number was `last`; nobody is told."""
        self._entries = {entry.number: entry for entry in entries}
        self._steps = [entry.number for entry in entries if entry.is_step]
        self._deleted = dict.fromkeys(e.number for e in entries if e.kind == "deleted")
        self._undone = [tuple(group) for group in undone]
        self._next = last + 1

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def entries(self) -> Sequence[Entry]:
        """What is in force, in order."""
        return tuple(self._entries.values())

    @property
    def position(self) -> tuple[int, int]:
        """How often anything changed, also back to what it was, and the last entry's number."""
        return self._changes, next(reversed(self._entries), 0)

    @property
    def deleted(self) -> Sequence[Entry]:
        """Those in force that deleted objects, in order; others are not looked through."""
        return tuple(self._entries[number] for number in self._deleted)

    @property
    def undone(self) -> Sequence[tuple[Entry, ...]]:
        """What was taken back, the last at the end; entries that go together in one tuple."""
        return tuple(self._undone)

    @property
    def last_step(self) -> Entry | None:
        """What would be taken back; None if nothing can be."""
        if not self._steps:
            return None
        last = self._entries[self._steps[-1]]
        return None if last.ends_undo else last

    @property
    def barrier(self) -> Entry | None:
        """What undo has come up against; None if it has not."""
        last = self._entries[self._steps[-1]] if self._steps else None
        return last if last is not None and last.ends_undo else None

    @property
    def next_redo(self) -> tuple[Entry, ...]:
        """What would be made again, the step first; empty if nothing."""
        return self._undone[-1] if self._undone else ()

    def new(self, kind: Kind, text: str, **values: Any) -> Entry:
        """Return an entry with the next number, now; it is not recorded yet."""
        return Entry(self._next, kind, text, time.time(), **values)

    def record(self, entry: Entry) -> None:
        """Put an entry at the end; what was taken back can't be made again after a new step."""
        dropped: tuple[int, ...] = ()
        if entry.is_step and self._undone:
            dropped = tuple(e.number for group in self._undone for e in group)
            self._undone.clear()
        self._add(entry)
        self.changed.emit(JournalChange((entry,), (), dropped))

    def note_put_back(self, entry: Entry) -> None:
        """Have an entry stored that doesn't hold: labels showed it, and were put back."""
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
        """Return what is in force and has a higher number, in order."""
        found: list[Entry] = []
        for entry in reversed(self._entries.values()):
            if entry.number <= number:
                break
            found.append(entry)
        return found[::-1]

    def set_aside(self, group: Sequence[Entry]) -> None:
        """Take a step, and what goes with it, out, to be made again."""
        self._changes += 1
        for entry in group:
            del self._entries[entry.number]
            self._deleted.pop(entry.number, None)
        self._steps.pop()
        self._undone.append(tuple(group))

    def revive(self) -> tuple[Entry, ...]:
        """Take out what was taken back last; what is made of it is recorded by :meth:`put`."""
        return self._undone.pop()

    def put(self, entry: Entry) -> None:
        """Put an entry at the end; whoever does it emits :attr:`changed`."""
        self._add(entry)

    def ends_with(self, numbers: Sequence[int]) -> bool:
        """Whether entries of some numbers, in their order, are the last ones."""
        last = reversed(self._entries)
        return all(number == next(last, None) for number in reversed(numbers))

    def entry(self, number: int) -> Entry | None:
        """Return the entry in force that has a number; None if there is none."""
        return self._entries.get(number)

    def fold(self, numbers: Sequence[int], entry: Entry) -> None:
        """Put an entry in the place of the last ones, which say the same step by step."""
        self.drop(numbers)
        self._add(entry)
        self.changed.emit(JournalChange((entry,), (), tuple(numbers)))

    def drop(self, numbers: Iterable[int]) -> None:
        """Take entries out for good; whoever does it emits :attr:`changed`."""
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
