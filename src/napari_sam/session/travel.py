"""Taking steps of a journal back, and making them again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam.patches import Patch, join, minus
from napari_sam.planes import Plane
from napari_sam.session.journal import Entry, JournalChange
from napari_sam.session.mask_rules import MaskRules
from napari_sam.session.ownership import Marks
from napari_sam.session.pixels import PixelChange, part_of, total_area
from napari_sam.session.prompt_book import ObjectPlane
from napari_sam.session.state import State, Touched


class Travel:
    """Undo and redo of a state.

    Parameters
    ----------
    state
        What travels.
    """

    def __init__(self, state: State) -> None:
        self._state = state

    def undo(self) -> Touched | None:
        """Take back the last step, with its masks.

        Masks of other prompts that came later and lie over it are written anew. Where the labels
        are not what the journal says, that is recorded, and nothing is taken back yet.

        Returns
        -------
        touched
            None if nothing was taken back.
        """
        step = self._state.journal.last_step
        if step is None:
            if self._state.journal.barrier is not None:
                self._state.noticed.emit(f"Undo ends here: {self._state.journal.barrier.text}")
            return None
        mine, others = _tied(self._state.journal.since_last_step())
        everything = sorted((*mine, *others), key=lambda entry: entry.number)
        try:
            if missing := self._mismatches(everything):
                return self._tell_elsewhere(missing)
            self._state.write([c for e in everything for c in e.pixels], backwards=True)
        except OSError as error:
            self._state.refused.emit(error)
            return None
        touched = Touched()
        for entry in reversed(everything):
            self._state.take_back(entry)
            touched.add(entry)
        self._state.object_id = step.objects[0]
        self._state.journal.set_aside(mine, others)
        numbers = [tuple(entry.number for entry in part) for part in (mine, others)]
        self._state.journal.changed.emit(JournalChange((), *numbers))
        # Of an object that is locked again the mask waits, as it did before.
        self._go_again([*others, *mine[1:]] if step.kind == "locked" else others, {}, touched)
        return touched

    def drop(self, numbers: Sequence[int]) -> Touched | None:
        """Take the last entries back for good; None where others came after them."""
        journal = self._state.journal
        entries = [entry for entry in map(journal.entry, numbers) if entry is not None]
        if not entries:
            return Touched()
        if len(entries) < len(numbers) or not journal.ends_with(numbers):
            self._state.noticed.emit(
                "What was followed stays, since something else was done meanwhile; undo takes it "
                "back"
            )
            return None
        try:
            if missing := self._mismatches(entries):
                return self._tell_elsewhere(missing)
            self._state.write([c for e in entries for c in e.pixels], backwards=True)
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
        """Make the step again that was taken back last; None if there is none."""
        if not self._state.journal.next_redo:
            return None
        step, *masks = self._state.journal.next_redo
        try:
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
        except (OSError, ValueError, MemoryError) as error:
            self._state.refused.emit(error)
            return None
        dropped = tuple(e.number for e in self._state.journal.revive())
        self._state.take(entry)
        self._state.journal.put(entry)
        touched = Touched()
        touched.add(entry)
        self._state.object_id = step.objects[1]
        self._state.journal.changed.emit(JournalChange((entry,), (), dropped))
        touched.masks |= dict.fromkeys(self._go_again(masks, {step.number: entry.number}, touched))
        return touched

    def _go_again(
        self, parts: Sequence[Entry], numbers: dict[int, int], touched: Touched
    ) -> list[ObjectPlane]:
        """Make what goes with steps again, in order: masks whose prompts hold, what was carried.

        Each is an entry of its own. What others have changed under a mask is recorded before it,
        as with any.

        Parameters
        ----------
        parts
            Entries that are no steps.
        numbers
            What entries that others name are called now.
        touched
            Gets what changes by what was carried.

        Returns
        -------
        keys
            Whose masks were written.
        """
        latest = {c.key: e.number for e in parts for c in e.answers if c.after is not None}
        keys: list[ObjectPlane] = []
        for part in parts:
            if part.kind == "carried":
                if not self._carry_again(part, numbers, touched):
                    break
                continue
            for key, answer in ((c.key, c.after) for c in part.answers):
                holds = answer is not None and answer.prompts == self._state.group(key)
                if answer is None or not holds or latest[key] != part.number:
                    continue
                if self._state.take_answer(key, answer, None, MaskRules.of_words(part.details)):
                    keys.append(key)
        return keys

    def _carry_again(self, part: Entry, numbers: dict[int, int], touched: Touched) -> bool:
        """Write what was carried again, as a part of the same step; return whether it could be."""
        named = {name: part.details[name] for name in ("of", "begin") if name in part.details}
        now = {name: numbers.get(number, number) for name, number in named.items()}
        try:
            entry = self._again(replace(part, details={**part.details, **now}))
            if entry is None:
                return False
            self._state.write(entry.pixels)
        except (OSError, ValueError, MemoryError) as error:
            self._state.refused.emit(error)
            return False
        numbers[part.number] = entry.number
        self._state.take(entry)
        self._state.journal.record(entry)
        touched.add(entry)
        return True

    def _again(self, step: Entry) -> Entry | None:
        """Return a step that was taken back as it would be made now; None if it can't be."""
        if step.kind == "prompts":
            groups = {c.key: (self._state.group(c.key), c.after) for c in step.prompts}
            entry = self._state.prompts_entry(groups, step.text)
            return replace(entry, objects=step.objects, details=step.details, facts=step.facts)
        pixels, foreign = self._rebased(step.pixels)
        if foreign:
            self._tell_elsewhere(foreign)
            return None
        number = self._state.journal.new(step.kind, step.text).number
        recorded, known = self._state.recorded, self._state.known.of
        return replace(
            step,
            number=number,
            pixels=pixels,
            marks=self._state.marks_changes(self._rebased_marks(step, pixels)),
            answers=tuple(replace(c, before=recorded(c.key)) for c in step.answers),
            planes=tuple(replace(c, before=known(c.key)) for c in step.planes),
        )

    def _rebased_marks(
        self, step: Entry, pixels: tuple[PixelChange, ...]
    ) -> dict[ObjectPlane, Marks]:
        """Return what holds of pixels after a step is made again.

        Masks may have been written anew since it was taken back: what it changed is changed, and
        the rest stays as it is now.
        """
        ownership = self._state.ownership
        marks = ownership.taken(pixels)
        told = {change.key for change in step.marks}
        if marks.keys() <= told and all(ownership.of(c.key) is c.before for c in step.marks):
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
        """Return changes from what the labels show now, and what there nobody here has written."""
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
            told, is_told = self._told(change)
            known = (now == before) | (now == after) | (is_told & (now == told))
            if not known.all():
                was = np.where(is_told, told, before)
                foreign.append(part_of(change, where, ~known, was, now))
            if (now != after).any():
                rebased.append(part_of(change, where, now != after, now, after))
        return tuple(rebased), foreign

    def _told(self, change: PixelChange) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Return what the journal says of a change's pixels `(n,)`, and of which it says it."""
        row, column, height, width = change.region
        told = np.zeros((height, width), change.before.dtype)
        is_told = np.zeros((height, width), bool)
        where = change.where
        for entry in reversed(self._state.journal.entries):
            for other in reversed(entry.pixels):
                if not (other.meets(change.plane) and other.touches(change)):
                    continue
                if other.plane != change.plane:  # it crosses: what it left is not told
                    return told[where], is_told[where]
                at = np.nonzero(other.where)
                r, c = at[0] + other.region[0] - row, at[1] + other.region[1] - column
                inside = (r >= 0) & (r < height) & (c >= 0) & (c < width)
                new = inside.copy()
                new[inside] = ~is_told[r[inside], c[inside]]
                told[r[new], c[new]] = other.after[new]
                is_told[r[new], c[new]] = True
            if is_told[where].all():
                break
        return told[where], is_told[where]

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

    def _mismatches(self, entries: Sequence[Entry]) -> list[PixelChange]:
        """Return where labels don't show what entries, in order, have made of them."""
        by_plane: dict[Plane, list[PixelChange]] = {}
        for entry in entries:
            for change in entry.pixels:
                by_plane.setdefault(change.plane, []).append(change)
        found: list[PixelChange] = []
        if len({tuple(i is None for i in plane) for plane in by_plane}) > 1:
            return found  # planes that cross each other share pixels
        for changes in by_plane.values():
            rows = min(c.region[0] for c in changes), max(c.slices[0].stop for c in changes)
            columns = min(c.region[1] for c in changes), max(c.slices[1].stop for c in changes)
            seen = np.zeros((rows[1] - rows[0], columns[1] - columns[0]), bool)
            for change in reversed(changes):
                now, where, _, after = self._now(change)
                r, c, h, w = change.region
                covered = seen[r - rows[0] : r - rows[0] + h, c - columns[0] : c - columns[0] + w]
                wrong = (now != after) & ~covered[where]
                if wrong.any():
                    found.append(part_of(change, where, wrong, after, now))
                covered |= where
        return found

    def _tell_elsewhere(self, changes: Sequence[PixelChange]) -> Touched | None:
        touched = self._state.note_elsewhere(changes)
        self._state.noticed.emit(
            f"{total_area(changes)} pixels of the labels were changed elsewhere and are left as "
            "they are; undo once more takes that back, too"
        )
        return touched


def _after(earlier: Sequence[PixelChange], change: PixelChange, now: NDArray[Any]) -> NDArray[Any]:
    """Return what the pixels of a change are once earlier changes of the same step are made."""
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
    """Return a mask with what another lost and got from `before` to `after`."""
    if now is before:
        return after
    return join(minus(now, minus(before, after)), minus(after, before))


def _tied(since: Sequence[Entry]) -> tuple[list[Entry], list[Entry]]:
    """Part what goes with a step when it is taken back: its own masks, and others over it.

    Parameters
    ----------
    since
        The step and all masks after it, in order.
    """
    step, *masks = since
    mine, others = [step], []
    freed = {change.key for change in step.facts} if step.kind == "locked" else set()
    own, keys = step.keys, _marked(step)
    pixels: dict[Plane, list[PixelChange]] = {}
    _note(pixels, step)
    for mask in masks:
        is_freed = any(object_id in freed for object_id, _ in mask.keys)
        if is_freed or mask.part_of == step.number or mask.keys & own:
            mine.append(mask)
        elif _marked(mask) & keys or _touches(pixels, mask):
            others.append(mask)
        else:
            continue
        keys = keys | _marked(mask)
        _note(pixels, mask)
    return mine, others


def _marked(entry: Entry) -> set[ObjectPlane]:
    """Return of what an entry changes anything: to take it back sets that to what was before."""
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
