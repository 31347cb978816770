"""Masks that were carried to a plane, written as a part of what they follow from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from napari_sam.patches import Patch, cut
from napari_sam.planes import Plane
from napari_sam.session.groups import ObjectPlane
from napari_sam.session.journal import Change, Entry, PlaneFacts
from napari_sam.session.ownership import Marks
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
    """Write masks of objects on a plane where free pixels are, and record it.

    Parameters
    ----------
    state
        What is changed.
    plane
        The plane.
    masks
        By object; they don't overlap. An empty one takes away what was carried before.
    facts
        What is known of each there from then on.
    text, details
        Of the entry.
    makes_room
        Whether objects only leave pixels that their masks lack.

    Returns
    -------
    entry
        None if nothing has changed.

    Raises
    ------
    OSError, ValueError, MemoryError
        If labels don't take it; nothing has changed then.
    """
    pixels: list[PixelChange] = []
    marks: dict[ObjectPlane, Marks] = {}

    def write(object_id: int, patch: Patch) -> None:
        key = object_id, plane
        decision = state.decide(key, patch)
        state.write(decision.pixels)
        pixels.extend(decision.pixels)
        for one, after in decision.marks.items():
            marks[one] = after

    moved = [(i, plane) for i in masks] if makes_room or len(masks) > 1 else []
    moved = [key for key in moved if state.ownership.of(key).written.pixels.size]
    for key in moved:  # what others have changed there is recorded before anything is written
        state.decide(key, state.ownership.of(key).written)
    before = {key: state.ownership.of(key) for key in moved}
    try:
        for key, known_here in before.items():  # others may go where an object was
            write(key[0], _common(known_here.written, masks[key[0]]))
            state.ownership.put(key, marks[key])
        for object_id, patch in () if makes_room else masks.items():
            write(object_id, patch)
    except (OSError, ValueError, MemoryError):
        state.write(pixels, backwards=True)
        raise
    finally:
        for key, known_here in before.items():
            state.ownership.put(key, known_here)
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
    """Return entries that follow each other as one.

    Parameters
    ----------
    entries
        In order, with nothing between them.
    number, text, details
        Of the one.
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


def _common(one: Patch, other: Patch) -> Patch:
    """Return the pixels that two masks share."""
    return cut(one.pixels & other.within(one.region), one.origin)
