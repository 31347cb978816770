"""The state of a session, which is only changed by entries of its journal.

An entry changes pixels first, which may fail, then values, and is recorded last. Undo and redo do
the same, so that the labels always agree with the journal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from numpy.typing import NDArray
from psygnal import Signal

from napari_sam.geometry import Region
from napari_sam.patches import Patch, cut, join, union
from napari_sam.planes import Plane
from napari_sam.prompts import Granularity
from napari_sam.session.answers import Answer, DecodeHistory
from napari_sam.session.canvas import LabelCanvas, Write
from napari_sam.session.complete_regions import Regions
from napari_sam.session.groups import NOTHING, Group, MaskPrompt, ObjectPlane
from napari_sam.session.journal import (
    BY_MACHINE,
    UNKNOWN,
    Change,
    Entry,
    Journal,
    Kind,
    ObjectFacts,
)
from napari_sam.session.known_planes import KnownPlanes
from napari_sam.session.mask_rules import MaskRules, Overlap
from napari_sam.session.object_classes import ObjectClass
from napari_sam.session.ownership import Decision, Marks, Ownership
from napari_sam.session.pixels import PixelChange, numbers_of, total_area, without
from napari_sam.session.prompt_book import PromptBook
from napari_sam.session.prompt_words import ids_text
from napari_sam.session.results import Results
from napari_sam.session.saved import SavedSession


@dataclass(slots=True)
class Touched:
    """What an entry, or its undo, has changed."""

    prompts: dict[ObjectPlane, None] = field(default_factory=dict)
    masks: dict[ObjectPlane, None] = field(default_factory=dict)
    facts: bool = False
    classes: bool = False
    planes: dict[ObjectPlane, None] = field(default_factory=dict)
    complete: bool = False
    model: bool = False

    def add(self, entry: Entry) -> None:
        """Add what an entry changes."""
        self.prompts |= dict.fromkeys(c.key for c in entry.prompts)
        self.masks |= dict.fromkeys(c.key for c in entry.answers)
        self.facts |= bool(entry.facts)
        self.classes |= entry.classes is not None
        self.planes |= dict.fromkeys(c.key for c in entry.planes)
        self.complete |= bool(entry.complete)
        self.model |= entry.model is not None


@dataclass(frozen=True, slots=True)
class _HeldBack:
    """A mask that could not be written, and the answer before it."""

    answer: Answer
    before: Answer | None


class State:
    """Prompts, masks, objects and labels of a session, and the journal of their changes.

    Attributes
    ----------
    journal
        The journal.
    results
        Masks by object and plane, with their decode histories, and drafts.
    ownership
        Which pixels of the labels were written by the session, or erased by a user.
    known
        Properties of objects on single planes.
    refused
        Signal: the labels could not be read or written; with the exception. Nothing has changed.
    noticed
        Signal: a message for the user.
    applied
        Signal: an entry was applied or, with True, reverted. The labels have changed already;
        other entries may follow before the journal emits its signal.
    relabelled
        Signal: the labels were replaced, or changed without an entry.
    """

    refused = Signal(object)
    noticed = Signal(str)
    applied = Signal(object, bool)
    relabelled = Signal()

    def __init__(self, canvas: LabelCanvas | None = None) -> None:
        self.journal = Journal()
        self.results = Results()
        self.ownership = Ownership()
        self.known = KnownPlanes()
        self.object_id = 1
        self.rules = MaskRules()
        self.granularity: Granularity | Literal[""] = ""
        self._book = PromptBook()
        self._facts: dict[int, ObjectFacts] = {}
        self._locked: set[int] = set()  # kept apart, since every mask needs them
        self._proposed: set[int] = set()  # kept apart, since every update of the dock needs them
        self.classes: tuple[ObjectClass, ...] = ()
        self.complete: dict[Plane, Regions] = {}
        self.model = ""  # key of the current model, as the journal records it
        self._canvas = canvas
        self._held_back: dict[ObjectPlane, _HeldBack] = {}  # masks that labels refused

    # Values

    @property
    def book(self) -> PromptBook:
        """All prompts."""
        return self._book

    def group(self, key: ObjectPlane) -> Group:
        """Return the prompts of an object on a plane."""
        return self._book.group(key)

    @property
    def canvas(self) -> LabelCanvas | None:
        """The labels; None if masks are only kept by the session."""
        return self._canvas

    def facts(self, object_id: int) -> ObjectFacts:
        """Return the properties of an object."""
        return self._facts.get(object_id, ObjectFacts())

    @property
    def all_facts(self) -> Mapping[int, ObjectFacts]:
        """The properties of all objects whose properties are not the default."""
        return self._facts

    @property
    def locked(self) -> AbstractSet[int]:
        """The locked objects."""
        return self._locked

    @property
    def proposed(self) -> set[int]:
        """The objects made by a model and not accepted; this set is not to be changed."""
        return self._proposed

    def is_answered(self, key: ObjectPlane) -> bool:
        """Whether the mask of an object on a plane was predicted from its present prompts."""
        group, answer = self._book.group(key), self.results.answer(key)
        return group.is_empty or (answer is not None and answer.prompts == group)

    def is_written(self, key: ObjectPlane) -> bool:
        """Whether :meth:`is_answered`, and the mask was written into the labels."""
        return key not in self._held_back and self.is_answered(key)

    def check_unlocked(self, object_ids: Iterable[int]) -> None:
        """Raise a ValueError if one of some objects is locked."""
        for object_id in object_ids:
            if self.facts(object_id).locked:
                raise ValueError(
                    f"expected an object that may be changed, got object {object_id}, which is "
                    "locked; unlock it first"
                )

    # Changes

    def edit(
        self,
        book: PromptBook,
        keys: Iterable[ObjectPlane],
        text: str,
        facts: tuple[Change[int, ObjectFacts], ...] = (),
        object_id: int | None = None,
    ) -> Touched | None:
        """Replace the prompts; the mask of an object without any is removed.

        Parameters
        ----------
        book
            The new prompts.
        keys
            The objects and planes whose prompts differ.
        text
            A short description.
        facts
            Changes of properties of objects.
        object_id
            The current object afterwards; the same by default.

        Returns
        -------
        touched
            What has changed; None if the labels could not be written.
        """
        groups = {key: (self._book.group(key), book.group(key)) for key in keys}
        try:
            entry = self.prompts_entry(groups, text)
        except OSError as error:
            self.refused.emit(error)
            return None
        objects = self.object_id, self.object_id if object_id is None else object_id
        touched = self._commit(replace(entry, facts=facts, objects=objects))
        if touched is not None:  # identifiers stay unique, also after an undo
            self._book = self._book.reserving(book.next_id)
        return touched

    def take_answer(
        self,
        key: ObjectPlane,
        answer: Answer,
        history: DecodeHistory | None = None,
        rules: MaskRules | None = None,
        again: Mapping[str, Any] | None = None,
    ) -> bool:
        """Store the answer to an object's prompts, and write its mask.

        Parameters
        ----------
        key
            The object and the plane.
        answer, history
            The answer, and its decode history.
        rules
            How the mask is written; by default by the present settings.
        again
            Details of its entry if it was written before.

        Returns
        -------
        written
            False if the labels could not be written, or the object was locked meanwhile: the mask
            is written when the labels are replaced, or the object is unlocked.
        """
        if self.facts(key[0]).locked:  # after the prompt
            self.hold_back(key, answer, history)
            return False
        try:
            entry = self.mask_entry(key, answer, self.rules if rules is None else rules)
            if again is not None:
                entry = replace(entry, details={**entry.details, **again})
            self.write(entry.pixels)
        except (OSError, ValueError, MemoryError) as error:
            self.hold_back(key, answer, history)
            self.refused.emit(error)
            return False
        self.take(entry)
        (written,) = entry.answers
        if history is not None and written.after is not None:
            self.results.put(key, written.after, history)
        self.journal.record(entry)
        return True

    def hold_back(
        self, key: ObjectPlane, answer: Answer, history: DecodeHistory | None = None
    ) -> None:
        """Keep a mask until it can be written, or its prompts change."""
        before = self._held_back.get(key, _HeldBack(answer, self.results.answer(key))).before
        self._held_back[key] = _HeldBack(answer, before)
        self.results.put(key, answer, history)

    def take_held_back(self) -> list[ObjectPlane]:
        """Write the masks that were held back; return their objects and planes."""
        taken = []
        for key, held in dict(self._held_back).items():
            how = held.answer.post_processing  # as set at the time of the prompt
            rules = replace(self.rules, post_processing=how)
            if self.take_answer(key, held.answer, None, rules):
                taken.append(key)
        return taken

    def recorded(self, key: ObjectPlane) -> Answer | None:
        """Return the latest answer that the journal contains."""
        held = self._held_back.get(key)
        return self.results.answer(key) if held is None else held.before

    def _let_go(self, key: ObjectPlane) -> None:
        """Drop a mask that was held back, if it doesn't belong to the present prompts."""
        held = self._held_back.get(key)
        if held is None or held.answer.prompts == self.group(key):
            return
        del self._held_back[key]
        if held.before is None:
            self.results.drop(key)
        else:
            self.results.put(key, held.before, None)

    def paint(self, changes: Sequence[PixelChange], text: str) -> Touched | None:
        """Record what a user has painted into the labels; restore pixels of locked objects."""
        put_back: list[PixelChange] = []
        if locked := self.locked:
            changes, put_back = without(changes, locked)
            if put_back:
                try:
                    self.write(put_back, backwards=True)
                except OSError as error:
                    self.refused.emit(error)
                numbers = ", ".join(str(i) for i in sorted(locked & numbers_of(put_back)))
                self.noticed.emit(f"Object {numbers} is locked: its pixels were put back")
        touched = self._record_painted("painted", changes, text)
        self.note_put_back(put_back, text)  # last, when the journal agrees with the labels
        return touched

    def note_put_back(self, changes: Sequence[PixelChange], text: str) -> None:
        """Record pixels that were changed and restored: another thread may have read them."""
        if changes and self._canvas is not None and not self._canvas.is_kept:
            self.journal.note_put_back(self.journal.new("painted", text, pixels=tuple(changes)))

    def note_elsewhere(self, changes: Sequence[PixelChange]) -> Touched | None:
        """Record changes of the labels from outside of the session."""
        count = total_area(changes)
        text = f"{count} pixel{'s' if count > 1 else ''} changed elsewhere"
        return self._record_painted("elsewhere", changes, text)

    def use_canvas(self, canvas: LabelCanvas | None, reason: str) -> None:
        """Use other labels from now on; earlier steps can't be undone then.

        Parameters
        ----------
        canvas
            The labels.
        reason
            Shown when undo reaches this point.
        """
        self._canvas = canvas
        self.begin_anew(reason)

    def begin_anew(self, reason: str) -> None:
        """Record that the labels were replaced."""
        if any(entry.pixels for entry in self.journal.entries):
            marks = tuple(Change(key, before, Marks()) for key, before in self.ownership.items())
            self.ownership.clear()
            entry = self._entry("labels", reason, marks=marks)
            for change in entry.planes:
                self.known.put(change.key, change.after)
            self.journal.record(entry)
        self.ownership.clear()
        self.relabelled.emit()

    def commit(self, kind: Kind, text: str, **values: Any) -> Touched | None:
        """Make a change and record it.

        Parameters
        ----------
        kind, text, values
            As for :class:`~napari_sam.session.journal.Entry`.

        Returns
        -------
        touched
            What has changed; None if the labels could not be written.
        """
        return self._commit(self._entry(kind, text, **values))

    def restore(self, saved: SavedSession) -> Touched:
        """Set the state of a saved session; the labels have its pixels already."""
        groups = {c.key: c.after for entry in saved.entries for c in entry.prompts}
        answers = {c.key: c.after for entry in saved.entries for c in entry.answers}
        marks = {c.key: c.after for entry in saved.entries for c in entry.marks}
        facts = {c.key: c.after for entry in saved.entries for c in entry.facts}
        planes = {c.key: c.after for entry in saved.entries for c in entry.planes}
        classes = [entry.classes.after for entry in saved.entries if entry.classes is not None]
        complete = {c.key: c.after for entry in saved.entries for c in entry.complete}
        everything = Entry(
            *(0, "prompts", "", 0.0),
            prompts=tuple(Change(key, NOTHING, group) for key, group in groups.items()),
            answers=tuple(Change(key, None, answer) for key, answer in answers.items()),
            marks=tuple(Change(key, Marks(), mark) for key, mark in marks.items()),
            facts=tuple(Change(i, ObjectFacts(), known) for i, known in facts.items()),
            classes=Change("classes", (), classes[-1]) if classes else None,
            planes=tuple(Change(key, UNKNOWN, known) for key, known in planes.items()),
            complete=tuple(Change(plane, (), regions) for plane, regions in complete.items()),
        )
        self.take(everything)
        self._book = self._book.reserving(saved.next_prompt)
        self.object_id, self.rules = saved.object_id, saved.rules
        self.granularity = saved.granularity
        self.journal.restore(saved.entries, saved.undone, saved.last_number)
        self.relabelled.emit()
        touched = Touched()
        touched.add(everything)
        return touched

    # Entries

    def _entry(self, kind: Kind, text: str, **values: Any) -> Entry:
        values.setdefault("objects", (self.object_id, self.object_id))
        values.setdefault("planes", self.known.after(kind, values))
        return self.journal.new(kind, text, **values)

    def prompts_entry(self, groups: Mapping[ObjectPlane, tuple[Group, Group]], text: str) -> Entry:
        """Return the entry of a change of prompts: (before, after) by object and plane."""
        pixels: list[PixelChange] = []
        marks: dict[ObjectPlane, Marks] = {}
        answers: list[Change[ObjectPlane, Answer | None]] = []
        for key, (before, group) in groups.items():
            if group.mask is not None and group.mask != before.mask:
                marks[key] = self._adopted(key, group.mask)
            if not group.is_empty:
                continue
            pixels += self.decide(key, Patch()).pixels  # other objects lose no pixels
            marks[key] = Marks()
            if (answer := self.recorded(key)) is not None:
                answers.append(Change(key, answer, None))
        prompts = tuple(Change(key, *pair) for key, pair in groups.items())
        return self._entry(
            "prompts",
            text,
            prompts=prompts,
            answers=tuple(answers),
            marks=self.marks_changes(marks),
            pixels=tuple(pixels),
        )

    def mask_entry(self, key: ObjectPlane, answer: Answer, rules: MaskRules) -> Entry:
        """Return the entry of an answer to an object's prompts; see :meth:`take_answer`."""
        answer = answer.processed(rules.post_processing)
        is_given = answer.prompts.exact_mask is not None  # then gaps are not filled
        overlap = "keep" if is_given and rules.overlap == "fill gaps" else rules.overlap
        decision = self.decide(key, answer.patch, overlap)
        return self._entry(
            "mask",
            f"the mask of object {key[0]}",
            answers=(Change(key, self.recorded(key), answer),),
            marks=self.marks_changes(decision.marks),
            pixels=decision.pixels,
            details=rules.words(),
        )

    def _adopted(self, key: ObjectPlane, mask: MaskPrompt) -> Marks:
        """Return the marks after a mask prompt for an object that has pixels already.

        These pixels count as written by the session, so that later masks may change them. Of an
        object found by a run, only the pixels that the run wrote do: the others were painted.
        """
        known = self.ownership.of(key)
        if self._canvas is None or (mask.is_first and known.written.pixels.size):
            return known
        region = mask.patch.region
        shown = mask.patch.pixels & (self.read(key[1])(region) == key[0])
        written = cut(shown, mask.patch.origin)
        return replace(known, written=join(known.written, written))

    def decide(self, key: ObjectPlane, patch: Patch, overlap: Overlap = "keep") -> Decision:
        """Return what a mask changes; changes from outside are recorded first."""
        if self._canvas is None or union([patch, self.ownership.of(key).written]) is None:
            return Decision((), {})
        self._canvas.prepare(key[1], key[0] if patch.pixels.size else 0)
        read = self.read(key[1])
        decision = self.ownership.decide(key, patch, read, overlap, self.locked)
        if decision.elsewhere:
            self.note_elsewhere(decision.elsewhere)
            decision = self.ownership.decide(key, patch, read, overlap, self.locked)
        return decision

    def _record_painted(
        self, kind: Kind, changes: Sequence[PixelChange], text: str
    ) -> Touched | None:
        """Record changes that the labels have already."""
        if not changes:
            return None
        new = {i for i in numbers_of(changes, before=False) if i not in self._facts}
        new -= {*self._book.object_ids} if new else set()
        origin = ObjectFacts(origin="painted")
        facts = () if kind != "painted" else tuple(Change(i, self.facts(i), origin) for i in new)
        on = numbers_of(changes, before=False) or numbers_of(changes)
        entry = self._entry(
            kind,
            f"{text} on {ids_text(on)}" if on else text,
            marks=self.marks_changes(self.ownership.by_hand(changes)),
            facts=facts,
            pixels=tuple(changes),
        )
        self.take(entry)
        self.journal.record(entry)
        touched = Touched()
        touched.add(entry)
        return touched

    def marks_changes(
        self, marks: Mapping[ObjectPlane, Marks]
    ) -> tuple[Change[ObjectPlane, Marks], ...]:
        """Return the changes from the present marks."""
        return tuple(Change(key, self.ownership.of(key), after) for key, after in marks.items())

    # Applying entries

    def _commit(self, entry: Entry) -> Touched | None:
        try:
            self.write(entry.pixels)
        except OSError as error:
            self.refused.emit(error)
            return None
        self.take(entry)
        self.object_id = entry.objects[1]
        self.journal.record(entry)
        touched = Touched()
        touched.add(entry)
        return touched

    def take(self, entry: Entry) -> None:
        """Set the values after an entry."""
        self._apply(entry, {c.key: c.after for c in entry.prompts}, lambda change: change.after)
        self.applied.emit(entry, False)

    def take_back(self, entry: Entry) -> None:
        """Set the values before an entry."""
        self._apply(entry, {c.key: c.before for c in entry.prompts}, lambda change: change.before)
        self.applied.emit(entry, True)

    def _apply(
        self,
        entry: Entry,
        groups: Mapping[ObjectPlane, Group],
        value: Callable[[Change[Any, Any]], Any],
    ) -> None:
        if groups:
            self._book = self._book.with_groups(groups)
            for key in groups if self._held_back else ():
                self._let_go(key)
        for answers in entry.answers:
            if (answer := value(answers)) is None:
                self.results.drop(answers.key)
            else:
                self.results.put(answers.key, answer, None)
            self._held_back.pop(answers.key, None)
        for marks in entry.marks:
            self.ownership.put(marks.key, value(marks))
        for facts in entry.facts:
            (self._locked.add if value(facts).locked else self._locked.discard)(facts.key)
            is_proposed = value(facts).origin in BY_MACHINE and not value(facts).accepted
            (self._proposed.add if is_proposed else self._proposed.discard)(facts.key)
            if value(facts) == ObjectFacts():
                self._facts.pop(facts.key, None)
            else:
                self._facts[facts.key] = value(facts)
        for planes in entry.planes:
            self.known.put(planes.key, value(planes))
        if entry.classes is not None:
            self.classes = value(entry.classes)
        for regions in entry.complete:
            self.complete[regions.key] = value(regions)
            if not self.complete[regions.key]:
                del self.complete[regions.key]
        if entry.model is not None:
            self.model = value(entry.model)

    def read(self, plane: Plane) -> Callable[[Region], NDArray[Any]]:
        """Return a function that reads regions of the labels of a plane."""
        canvas = self._canvas
        assert canvas is not None, "pixels without labels"
        return lambda region: canvas.read(plane, region)

    def write(self, changes: Sequence[PixelChange], backwards: bool = False) -> None:
        """Change pixels: either all or, if an OSError is raised, none."""
        if backwards:
            self.write_all([change.backwards() for change in reversed(changes)])
            return
        try:
            self.write_all([change.forwards() for change in changes])
        except OSError:
            self.note_put_back(changes, "refused by the labels")
            raise

    def write_all(self, writes: Sequence[Write]) -> None:
        """Write pixels in order: either all or, if an OSError is raised, none."""
        if writes:
            assert self._canvas is not None, "pixels without labels"
            self._canvas.write(writes)
