"""Moving prompts, masks and properties when objects are deleted, merged or renumbered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from napari_sam.patches import Patch, join
from napari_sam.session.answers import Answer
from napari_sam.session.groups import NOTHING, SINGLE, Click, Group, ObjectPlane
from napari_sam.session.journal import Change, ObjectFacts
from napari_sam.session.ownership import Marks
from napari_sam.session.state import State


def facts_changes(
    facts: Mapping[int, tuple[ObjectFacts, ObjectFacts]],
) -> tuple[Change[int, ObjectFacts], ...]:
    """Return the changes among (before, after) properties by object."""
    return tuple(Change(i, *pair) for i, pair in facts.items() if pair[0] != pair[1])


def facts_of_children(
    state: State, gone: Sequence[int], into: int | None
) -> dict[int, tuple[ObjectFacts, ObjectFacts]]:
    """Return the properties of the daughters of objects that are deleted or merged."""
    return {
        i: (known, replace(known, parent=None if i == into else into))
        for i, known in state.all_facts.items()
        if known.parent in gone
    }


def permuted(state: State, moves: Mapping[ObjectPlane, int]) -> dict[str, Any]:
    """Return the changes of prompts, answers and marks of objects that exchange numbers.

    Parameters
    ----------
    state
        The state before.
    moves
        The new number by (object, plane); different for all objects of a plane.
    """
    empty: _At = (NOTHING, None, Marks())
    after: dict[ObjectPlane, _At] = dict.fromkeys(moves, empty)
    for key, into in moves.items():
        there = into, key[1]
        group, answer, marks = _at(state, key)
        kept, kept_answer, kept_marks = after.get(there) or _at(state, there)
        joined = _joined(kept, group, into)
        parts = [one for one in (kept_answer, answer) if one is not None]
        both = Marks(join(kept_marks.written, marks.written), join(kept_marks.erased, marks.erased))
        after[there] = joined, _joined_answer(parts, joined) if parts else None, both
    before = {key: _at(state, key) for key in after}
    return {
        "prompts": tuple(
            Change(k, before[k][0], a[0]) for k, a in after.items() if before[k][0] != a[0]
        ),
        "answers": tuple(
            Change(k, before[k][1], a[1]) for k, a in after.items() if before[k][1] is not a[1]
        ),
        "marks": tuple(
            Change(k, before[k][2], a[2])
            for k, a in after.items()
            if not (before[k][2].is_empty and a[2].is_empty)
        ),
    }


def moves_of(state: State, moves: Mapping[ObjectPlane, int | None]) -> dict[str, Any]:
    """Return the changes of prompts, answers and marks that move to another object, or go.

    Parameters
    ----------
    state
        The state before.
    moves
        The other object by (object, plane); None where the object is deleted.
    """
    prompts: list[Change[ObjectPlane, Group]] = []
    answers: list[Change[ObjectPlane, Answer | None]] = []
    marks: list[Change[ObjectPlane, Marks]] = []
    for key, into in moves.items():
        group, answer, known = _at(state, key)
        prompts.append(Change(key, group, NOTHING))
        answers.append(Change(key, answer, None))
        marks.append(Change(key, known, Marks()))
        if into is None:
            continue
        there = into, key[1]
        other, other_answer, other_known = _at(state, there)
        joined = _joined(other, group, into)
        prompts.append(Change(there, other, joined))
        answered = all(map(state.is_written, (key, there)))
        parts = [one for one in (other_answer, answer) if one is not None]
        after = _joined_answer(parts, joined) if answered and parts else other_answer
        answers.append(Change(there, other_answer, after))
        both = Marks(
            join(other_known.written, known.written), join(other_known.erased, known.erased)
        )
        marks.append(Change(there, other_known, both))
    return {
        "prompts": tuple(c for c in prompts if c.before != c.after),
        "answers": tuple(c for c in answers if c.before is not c.after),
        "marks": tuple(c for c in marks if not (c.before.is_empty and c.after.is_empty)),
    }


_At = tuple[Group, Answer | None, Marks]


def _at(state: State, key: ObjectPlane) -> _At:
    return state.book.group(key), state.recorded(key), state.ownership.of(key)


def _joined(kept: Group, gone: Group, object_id: int) -> Group:
    """Return the prompts of two objects as those of one; the first of two boxes is kept."""
    clicks: list[Click] = [replace(c, object_id=object_id) for c in (*kept.clicks, *gone.clicks)]
    chosen = gone if kept.is_empty else kept
    strokes = [replace(s, object_id=object_id) for s in (*kept.strokes, *gone.strokes)]
    single = {name: getattr(kept, name) or getattr(gone, name) for name in SINGLE}
    if kept.mask is not None and gone.mask is not None:
        single["mask"] = replace(kept.mask, patch=join(kept.mask.patch, gone.mask.patch))
    return Group(
        clicks=tuple(sorted(clicks, key=lambda click: click.id)),
        candidate=chosen.candidate,
        granularity=chosen.granularity,
        strokes=tuple(sorted(strokes, key=lambda stroke: stroke.id)),
        **{name: one and replace(one, object_id=object_id) for name, one in single.items()},
    )


def _joined_answer(parts: Sequence[Answer], group: Group) -> Answer:
    patch = Patch()
    for part in parts:
        patch = join(patch, part.patch)
    return replace(parts[0], patch=patch, prompts=group)
