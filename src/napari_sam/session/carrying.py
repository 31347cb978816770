"""Writing followed masks on a plane, as parts of the run that followed the objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from napari_sam.patches import Patch, cut, minus, union
from napari_sam.planes import Plane
from napari_sam.session.groups import ObjectPlane
from napari_sam.session.journal import Change, Entry, PlaneFacts
from napari_sam.session.ownership import Decision, Marks
from napari_sam.session.pixels import PixelChange
from napari_sam.session.state import State


def carry(
    state: State,
    plane: Plane,
    masks: Mapping[int, Patch],
    facts: Mapping[int, PlaneFacts],
    text: str,
    details: Mapping[str, Any],
    makes_room: bool = False,
) -> Entry | None:
    """Write followed masks on the free pixels of a plane, and record an entry.

    Parameters
    ----------
    state
        The state of the session.
    plane
        The plane, for which the labels are prepared.
    masks
        The masks, by object. An empty one removes the mask that was followed before.
    facts
        The new properties of each object on the plane.
    text, details
        Of the entry.
    makes_room
        Whether objects only lose pixels that are not in their masks.

    Returns
    -------
    entry
        The entry; None if nothing has changed.

    Raises
    ------
    OSError, ValueError, MemoryError
        If the labels can't be written; nothing has changed then.
    """
    pixels: list[PixelChange] = []
    marks: dict[ObjectPlane, Marks] = {}

    def write(patches: Mapping[int, Patch]) -> None:
        """Write masks that don't touch each other at once."""
        decided: list[PixelChange] = []
        for object_id, patch in patches.items():
            decision = _decide(state, (object_id, plane), patch)
            decided.extend(decision.pixels)
            marks.update(decision.marks)
        state.write(decided)
        pixels.extend(decided)

    moved = [(i, plane) for i in masks] if makes_room or len(masks) > 1 else []
    moved = [key for key in moved if state.ownership.of(key).written.pixels.size]
    for key in moved:  # changes from outside are recorded before anything is written
        _decide(state, key, state.ownership.of(key).written)
    before = {key: state.ownership.of(key) for key in moved}
    try:
        if moved:  # so that others may take pixels that an object loses
            write({key[0]: _common(one.written, masks[key[0]]) for key, one in before.items()})
            for key in moved:
                state.ownership.put(key, marks[key])
        if not makes_room:
            write(_apart(masks))
    except (OSError, ValueError, MemoryError):
        state.write(pixels, backwards=True)
        raise
    finally:
        for key, one in before.items():
            state.ownership.put(key, one)
    known = tuple(
        Change((i, plane), state.known.of((i, plane)), after)
        for i, after in facts.items()
        if state.known.of((i, plane)) != after
    )
    changes = tuple(
        Change(key, state.ownership.of(key), after)
        for key, after in marks.items()
        if not (state.ownership.of(key).is_empty and after.is_empty)
    )
    if not pixels and not known:
        return None
    entry = state.journal.new(
        "carried",
        text,
        pixels=tuple(pixels),
        marks=changes,
        planes=known,
        objects=(state.object_id, state.object_id),
        details=dict(details),
    )
    state.take(entry)
    state.journal.record(entry)
    return entry


def folded(entries: Sequence[Entry], number: int, text: str, details: Mapping[str, Any]) -> Entry:
    """Return consecutive entries as one.

    Parameters
    ----------
    entries
        The entries, in order.
    number, text, details
        Of the new entry.
    """
    marks: dict[ObjectPlane, Change[ObjectPlane, Marks]] = {}
    planes: dict[ObjectPlane, Change[ObjectPlane, PlaneFacts]] = {}
    for entry in entries:
        for mark in entry.marks:
            first = marks.get(mark.key, mark)
            marks[mark.key] = Change(mark.key, first.before, mark.after)
        for plane in entry.planes:
            known = planes.get(plane.key, plane)
            planes[plane.key] = Change(plane.key, known.before, plane.after)
    return replace(
        entries[0],
        number=number,
        text=text,
        marks=tuple(marks.values()),
        planes=tuple(planes.values()),
        pixels=tuple(change for entry in entries for change in entry.pixels),
        objects=(entries[0].objects[0], entries[-1].objects[1]),
        details=dict(details),
    )


def _decide(state: State, key: ObjectPlane, patch: Patch) -> Decision:
    """Return what a mask changes; changes from outside are recorded first."""
    if union([patch, state.ownership.of(key).written]) is None:
        return Decision((), {})
    read = state.read(key[1])
    decision = state.ownership.decide(key, patch, read, locked=state.locked)
    if decision.elsewhere:
        state.note_elsewhere(decision.elsewhere)
        decision = state.ownership.decide(key, patch, read, locked=state.locked)
    return decision


def _apart(masks: Mapping[int, Patch]) -> dict[int, Patch]:
    """Return masks without the pixels of those before each, since post-processing may widen them.

    An object with an empty mask loses its pixels.
    """
    apart: dict[int, Patch] = {}
    for object_id, patch in masks.items():
        for other in apart.values():
            if other.pixels.size and _meet(patch, other):
                patch = minus(patch, other)
        apart[object_id] = patch
    return apart


def _meet(one: Patch, other: Patch) -> bool:
    """Whether the rectangles of two masks share a pixel."""
    return all(
        a.start < b.stop and b.start < a.stop for a, b in zip(one.region, other.region, strict=True)
    )


def _common(one: Patch, other: Patch) -> Patch:
    """Return the pixels that two masks share."""
    return cut(one.pixels & other.within(one.region), one.origin)
