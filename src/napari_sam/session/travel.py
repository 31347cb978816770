"""Undo and redo of the steps of a journal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam.patches import Patch, join, minus
from napari_sam.planes import Plane
from napari_sam.session.journal import Change, Entry, JournalChange
from napari_sam.session.mask_rules import MaskRules
from napari_sam.session.ownership import Marks
from napari_sam.session.pixels import Composed, PixelChange, composed, part_of, total_area
from napari_sam.session.prompt_book import ObjectPlane
from napari_sam.session.state import State, Touched


class Travel:
    """Undo and redo of a state.

    Parameters
    ----------
    state
        The state of the session.
    """

    def __init__(self, state: State) -> None:
        self._state = state

    def undo(self) -> Touched | None:
        """Undo the last step, with its masks.

        Masks of other prompts that came later and overlap it are written again. If the labels
        differ from the journal, that is recorded as a step, and nothing else is undone.

        Returns
        -------
        touched
            What has changed; None if nothing was undone.
        """
        step = self._state.journal.last_step
        if step is None:
            if self._state.journal.barrier is not None:
                self._state.noticed.emit(f"Undo ends here: {self._state.journal.barrier.text}")
            return None
        mine, others = _tied([step], self._state.journal.since_last_step()[1:])
        everything = sorted((step, *mine, *others), key=lambda entry: entry.number)
        try:
            before = self._composed(everything)
            if before.different:
                return self._note_elsewhere(before.different)
            self._state.write_all(before.writes)
        except OSError as error:
            self._state.refused.emit(error)
            return None
        touched = Touched()
        for entry in reversed(everything):
            self._state.take_back(entry)
            touched.add(entry)
        self._state.object_id = step.objects[0]
        self._state.journal.set_aside(everything)
        self._state.journal.changed.emit(JournalChange((), tuple(e.number for e in everything)))
        # The mask of an object that is locked again waits, as it did before.
        self._go_again([*others, *mine] if step.kind == "locked" else others, touched)
        return touched

    def drop(self, numbers: Sequence[int]) -> Touched | None:
        """Remove the last entries permanently; None if other entries came after them."""
        journal = self._state.journal
        entries = [entry for entry in map(journal.entry, numbers) if entry is not None]
        if not entries:
            return Touched()
        if len(entries) < len(numbers) or not journal.ends_with(numbers):
            self._state.noticed.emit(
                "What was done so far stays, since something else was done meanwhile; undo takes "
                "it back"
            )
            return None
        try:
            before = self._composed(entries)
            if before.different:
                return self._note_elsewhere(before.different)
            self._state.write_all(before.writes)
        except OSError as error:
            self._state.refused.emit(error)
            return None
        touched = Touched()
        for entry in reversed(entries):
            self._state.take_back(entry)
            touched.add(entry)
        journal.drop(numbers)
        journal.changed.emit(JournalChange((), (), tuple(numbers)))
        return touched

    def redo(self) -> Touched | None:
        """Redo the step that was undone last; None if there is none.

        The step and the entries that belong to it become what they were, pixel by pixel. Masks
        that were written since the undo and overlap it are removed first, and written again
        after it if their prompts still exist.
        """
        group = self._state.journal.next_redo
        if not group:
            return None
        try:
            late = self._late(group)
            again = self._composed(late, group)
            if not (again.fits and self._fits(group, late)):
                return self._redo_over_others(group)
            self._state.write_all(again.writes)
        except (OSError, ValueError, MemoryError) as error:
            self._state.refused.emit(error)
            return None
        touched, journal = Touched(), self._state.journal
        for entry in reversed(late):
            self._state.take_back(entry)
            touched.add(entry)
        gone = [*journal.revive(), *late]
        journal.drop(entry.number for entry in late)
        made = []
        for entry in group:
            made.append(_renumbered(entry, journal.new(entry.kind, entry.text).number))
            self._state.take(made[-1])
            journal.put(made[-1])
            touched.add(made[-1])
        self._state.object_id = group[0].objects[1]
        journal.changed.emit(JournalChange(tuple(made), (), tuple(e.number for e in gone)))
        there = {entry.first_number for entry in group}
        self._go_again([entry for entry in late if entry.first_number not in there], touched)
        return touched

    def _late(self, group: Sequence[Entry]) -> list[Entry]:
        """Return the entries since a group was undone that are in its way, in order."""
        last = group[-1].number
        since = [e for e in self._state.journal.since(last) if e.came > last and not e.is_step]
        late = [entry for part in _tied(group, since) for entry in part]
        return sorted(late, key=lambda entry: entry.number)

    def _fits(self, group: Sequence[Entry], late: Sequence[Entry]) -> bool:
        """Whether all values are those that entries had before them.

        Parameters
        ----------
        group
            The entries, in order.
        late
            The entries that are undone first, in order.
        """
        state = self._state
        before = {
            (about, change.key): change.before
            for entry in reversed(late)
            for about, change in _changes(entry)
        }
        for entry in group:
            for about, change in _changes(entry):
                now = before.get((about, change.key), _NOT_CHANGED)
                if now is _NOT_CHANGED:
                    now = _VALUES[about](state, change.key)
                if not _same(now, change.before):
                    return False
                before[about, change.key] = change.after
        return True

    def _redo_over_others(self, group: Sequence[Entry]) -> Touched | None:
        """Redo a step on labels that have changed: as it would be done now."""
        step, *parts = group
        entry = self._again(step)
        if entry is None:
            return None
        if self._state.journal.next_redo[:1] != (step,):
            self._state.noticed.emit(
                "The labels were changed elsewhere meanwhile: that is a step of its own, and "
                "nothing is made again over it"
            )
            return Touched()
        self._state.write(entry.pixels)
        dropped = tuple(e.number for e in self._state.journal.revive())
        self._state.take(entry)
        self._state.journal.put(entry)
        touched = Touched()
        touched.add(entry)
        self._state.object_id = step.objects[1]
        self._state.journal.changed.emit(JournalChange((entry,), (), dropped))
        self._go_again(parts, touched, is_new=False)
        return touched

    def _go_again(self, parts: Sequence[Entry], touched: Touched, is_new: bool = True) -> None:
        """Redo entries that are not steps, in order: masks of existing prompts, parts of a run.

        Each becomes a separate entry. Pixels under a mask that were changed outside of the session
        are recorded before it, as with any mask.

        Parameters
        ----------
        parts
            The entries.
        touched
            Their changes are added to it.
        is_new
            Whether they come after all present entries, and not to their former place.
        """
        latest = {c.key: e.number for e in parts for c in e.answers if c.after is not None}
        for part in parts:
            if part.part_of is not None:
                if not self._carry_again(part, touched, is_new):
                    break
                continue
            for key, answer in ((c.key, c.after) for c in part.answers):
                if answer is None or latest[key] != part.number or self._state.is_written(key):
                    continue
                if answer.prompts != self._state.group(key):
                    continue
                rules = MaskRules.of_words(part.details)
                if self._state.take_answer(key, answer, None, rules, part.again_details(is_new)):
                    touched.masks[key] = None

    def _carry_again(self, part: Entry, touched: Touched, is_new: bool) -> bool:
        """Write a part of a run again, as a part of the same step; return whether that worked."""
        try:
            entry = self._again(part, is_new)
            if entry is None:
                return False
            self._state.write(entry.pixels)
        except (OSError, ValueError, MemoryError) as error:
            self._state.refused.emit(error)
            return False
        self._state.take(entry)
        self._state.journal.record(entry)
        touched.add(entry)
        return True

    def _again(self, step: Entry, is_new: bool = False) -> Entry | None:
        """Return an undone step as it would be done now; None if that isn't possible."""
        if step.kind == "prompts":
            groups = {c.key: (self._state.group(c.key), c.after) for c in step.prompts}
            entry = self._state.prompts_entry(groups, step.text)
            entry = replace(entry, objects=step.objects, facts=step.facts)
            return replace(entry, details={**step.details, **step.again_details()})
        pixels, foreign = self._rebased(step.pixels)
        if foreign and not is_new:  # a new one was in the labels until now: that was checked
            self._note_elsewhere(foreign)
            return None
        number = self._state.journal.new(step.kind, step.text).number
        recorded, known = self._state.recorded, self._state.known.of
        return replace(
            _renumbered(step, number, is_new),
            pixels=pixels,
            marks=self._state.marks_changes(self._rebased_marks(step, pixels)),
            answers=tuple(replace(c, before=recorded(c.key)) for c in step.answers),
            planes=tuple(replace(c, before=known(c.key)) for c in step.planes),
        )

    def _rebased_marks(
        self, step: Entry, pixels: tuple[PixelChange, ...]
    ) -> dict[ObjectPlane, Marks]:
        """Return the ownership of pixels after a step is redone.

        Masks may have been written again since it was undone: the pixels of the step change
        their owner, and the others keep the present one.
        """
        ownership = self._state.ownership
        marks = ownership.taken(pixels)
        recorded = {change.key for change in step.marks}
        if marks.keys() <= recorded and all(ownership.of(c.key) is c.before for c in step.marks):
            return {change.key: change.after for change in step.marks}
        if step.kind in ("painted", "elsewhere"):
            return ownership.by_hand(pixels)
        for change in step.marks:
            now, before, after = ownership.of(change.key), change.before, change.after
            now = marks.get(change.key, now)
            marks[change.key] = Marks(
                _moved(now.written, before.written, after.written),
                _moved(now.erased, before.erased, after.erased),
            )
        return marks

    def _rebased(
        self, pixels: tuple[PixelChange, ...]
    ) -> tuple[tuple[PixelChange, ...], list[PixelChange]]:
        """Return changes from the present labels, and pixels that the session didn't write."""
        rebased: list[PixelChange] = []
        foreign: list[PixelChange] = []
        earlier: dict[Plane, list[PixelChange]] = {}
        for change in pixels:
            now, where, before, after = self._now(change)
            now = _after(earlier.setdefault(change.plane, []), change, now)
            earlier[change.plane].append(change)
            if np.array_equal(now, before):
                rebased.append(change)
                continue
            recorded, is_recorded = self._recorded(change)
            known = (now == before) | (now == after) | (is_recorded & (now == recorded))
            if not known.all():
                was = np.where(is_recorded, recorded, before)
                foreign.append(part_of(change, where, ~known, was, now))
            if (now != after).any():
                rebased.append(part_of(change, where, now != after, now, after))
        return tuple(rebased), foreign

    def _recorded(self, change: PixelChange) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Return the journal's latest values of a change's pixels `(n,)`, and which are known."""
        row, column, height, width = change.region
        recorded = np.zeros((height, width), change.before.dtype)
        is_recorded = np.zeros((height, width), bool)
        where = change.where
        for entry in reversed(self._state.journal.entries):
            for other in reversed(entry.pixels):
                if not (other.meets(change.plane) and other.touches(change)):
                    continue
                if other.plane != change.plane:  # it crosses this plane: its pixels are unknown
                    return recorded[where], is_recorded[where]
                at = np.nonzero(other.where)
                r, c = at[0] + other.region[0] - row, at[1] + other.region[1] - column
                inside = (r >= 0) & (r < height) & (c >= 0) & (c < width)
                new = inside.copy()
                new[inside] = ~is_recorded[r[inside], c[inside]]
                recorded[r[new], c[new]] = other.after[new]
                is_recorded[r[new], c[new]] = True
            if is_recorded[where].all():
                break
        return recorded[where], is_recorded[where]

    def _now(
        self, change: PixelChange
    ) -> tuple[NDArray[Any], NDArray[np.bool_], NDArray[Any], NDArray[Any]]:
        where = change.where
        return (
            self._state.read(change.plane)(change.slices)[where],
            where,
            change.before,
            change.after,
        )

    def _composed(self, undone: Sequence[Entry], made: Sequence[Entry] = ()) -> Composed:
        """Combine the undo of entries, the last first, and the redo of others after that."""
        back = [change for entry in undone for change in entry.pixels]
        forth = [change for entry in made for change in entry.pixels]
        steps = [*((change, True) for change in reversed(back)), *((c, False) for c in forth)]
        return composed(steps, self._state.read)

    def _note_elsewhere(self, changes: Sequence[PixelChange]) -> Touched | None:
        touched = self._state.note_elsewhere(changes)
        self._state.noticed.emit(
            f"{total_area(changes)} pixels of the labels were changed elsewhere and are left as "
            "they are; undo once more takes that back, too"
        )
        return touched


def _after(earlier: Sequence[PixelChange], change: PixelChange, now: NDArray[Any]) -> NDArray[Any]:
    """Return the pixels of a change after earlier changes of the same step."""
    row, column, height, width = change.region
    for other in earlier:
        if other.touches(change):
            shown = np.zeros((height, width), now.dtype)
            shown[change.where] = now
            r, c = np.nonzero(other.where)
            r, c = r + other.region[0] - row, c + other.region[1] - column
            inside = (r >= 0) & (r < height) & (c >= 0) & (c < width)
            shown[r[inside], c[inside]] = other.after[inside]
            now = shown[change.where]
    return now


def _moved(now: Patch, before: Patch, after: Patch) -> Patch:
    """Return a mask with the pixels removed and added that differ from `before` to `after`."""
    if now is before:
        return after
    return join(minus(now, minus(before, after)), minus(after, before))


_NOT_CHANGED = object()
_VALUES: Mapping[str, Callable[[State, Any], object]] = {
    "prompts": lambda state, key: state.group(key),
    "marks": lambda state, key: state.ownership.of(key),
    "facts": lambda state, key: state.facts(key),
    "planes": lambda state, key: state.known.of(key),
    "complete": lambda state, key: state.complete.get(key, ()),
}


def _changes(entry: Entry) -> Iterator[tuple[str, Change[Any, Any]]]:
    """Yield the changes of an entry besides pixels and answers, with their kind."""
    for about in _VALUES:
        for change in getattr(entry, about):
            yield about, change


def _same(one: object, other: object) -> bool:
    """Whether two values are equal; marks are if they have the same pixels."""
    if one is other:
        return True
    if isinstance(one, Marks) and isinstance(other, Marks):
        if one.is_empty and other.is_empty:
            return True
        pairs = (one.written, other.written), (one.erased, other.erased)
        return all(
            a is b or not (minus(a, b).pixels.size or minus(b, a).pixels.size) for a, b in pairs
        )
    return one == other


def _renumbered(entry: Entry, number: int, is_new: bool = False) -> Entry:
    """Return a redone entry, with another number; see :meth:`Entry.again_details`."""
    details = {name: value for name, value in entry.details.items() if name != "came"}
    return replace(entry, number=number, details={**details, **entry.again_details(is_new)})


def _tied(group: Sequence[Entry], since: Sequence[Entry]) -> tuple[list[Entry], list[Entry]]:
    """Return the entries that have to be undone before a step can be undone or redone.

    Parameters
    ----------
    group
        The step, and entries that belong to it.
    since
        The later entries that are not steps, in order.

    Returns
    -------
    mine, others
        The masks and followed masks that belong to the step, and entries that overlap any of them.
    """
    step = group[0]
    mine: list[Entry] = []
    others: list[Entry] = []
    freed = {change.key for change in step.facts} if step.kind == "locked" else set()
    own, keys = step.keys, set[ObjectPlane]()
    pixels: dict[Plane, list[PixelChange]] = {}
    for entry in group:
        keys |= _marked(entry)
        _note(pixels, entry)
    for entry in since:
        is_freed = any(object_id in freed for object_id, _ in entry.keys)
        if is_freed or entry.part_of == step.first_number or entry.keys & own:
            mine.append(entry)
        elif _marked(entry) & keys or _touches(pixels, entry):
            others.append(entry)
        else:
            continue
        keys |= _marked(entry)
        _note(pixels, entry)
    return mine, others


def _marked(entry: Entry) -> set[ObjectPlane]:
    """Return the objects and planes whose values an entry changes besides pixels."""
    marks = {change.key for change in entry.marks}
    return entry.keys | marks | {change.key for change in entry.planes}


def _note(pixels: dict[Plane, list[PixelChange]], entry: Entry) -> None:
    for change in entry.pixels:
        pixels.setdefault(change.plane, []).append(change)


def _touches(pixels: Mapping[Plane, Sequence[PixelChange]], entry: Entry) -> bool:
    return any(
        change.touches(other)
        for change in entry.pixels
        for plane, others in pixels.items()
        if change.meets(plane)
        for other in others
    )
