"""Replaying a journal entry by entry: the same prompts, decoded again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from napari_sam.engine import Report, SynchronousExecutor
from napari_sam.planes import Plane, PlaneSource
from napari_sam.session.answers import Answer, DecodeHistory
from napari_sam.session.descent import Descent
from napari_sam.session.follow_anchors import Anchoring
from napari_sam.session.following_again import LabelPlaces
from napari_sam.session.journal import Entry
from napari_sam.session.linked import LinkRequest
from napari_sam.session.mask_rules import MaskRules
from napari_sam.session.pixels import PixelChange, part_of
from napari_sam.session.prompt_book import Group, ObjectPlane
from napari_sam.session.reviewing import Reviewing
from napari_sam.session.state import State

Decode = Callable[
    [ObjectPlane, Group, Entry, DecodeHistory | None], tuple[Answer, DecodeHistory | None]
]
"""Returns the answer to prompts and its decode history, from (key, prompts, the entry with the
recorded answer, the history of the object's previous answer)."""

Find = Callable[[State, Entry], None]
"""Replays a run that found objects."""

Follow = Callable[[State, Entry], None]
"""Replays a run that followed objects, or its next part."""


def replay_entries(
    entries: Sequence[Entry],
    state: State,
    source: PlaneSource,
    decode: Decode,
    find: Find,
    follow: Follow,
    report: Report = lambda fraction: None,
) -> None:
    """Replay entries, in order.

    Prompts are decoded again at their ``mask`` entries, commands on objects are executed again,
    and painted pixels and changes from outside are written again.

    Parameters
    ----------
    entries
        The entries in force.
    state
        A new state, whose canvas has the labels from before the first entry.
    source
        The image.
    decode, find, follow
        Run the model.
    report
        Called with the fraction (0-1) that is done; it may raise to cancel.

    Raises
    ------
    OSError
        If labels can't be written.
    """
    errors: list[Exception] = []
    state.refused.connect(errors.append)
    objects = Descent(
        state, SynchronousExecutor(), lambda: source, lambda touched: None, errors.append
    )
    reviewing = Reviewing(state, Anchoring(state, LabelPlaces(state, source)))
    for i, entry in enumerate(entries):
        report(i / len(entries))
        _again(entry, state, objects, reviewing, decode, find, follow)
        if errors:
            raise errors[0]


def _again(
    entry: Entry,
    state: State,
    objects: Descent,
    reviewing: Reviewing,
    decode: Decode,
    find: Find,
    follow: Follow,
) -> None:
    details = entry.details
    state.object_id = entry.objects[0]
    if entry.kind == "prompts":
        book = state.book.with_groups({c.key: c.after for c in entry.prompts})
        state.edit(book, [c.key for c in entry.prompts], entry.text, entry.facts)
    elif entry.kind == "mask":
        for change in entry.answers:
            group, history = state.group(change.key), state.results.history(change.key)
            answer, history = decode(change.key, group, entry, history)
            answer = replace(answer, prompts=group)
            state.take_answer(change.key, answer, history, MaskRules.of_words(details))
    elif entry.kind in ("painted", "elsewhere"):
        changes = _as_they_are(state, entry.pixels)
        state.write(changes)
        if entry.kind == "painted":
            state.paint(changes, entry.text)
        else:
            state.note_elsewhere(changes)
    elif entry.kind == "found":
        find(state, entry)
    elif entry.kind == "carried":
        follow(state, entry)
    elif entry.kind == "reviewed":
        reviewing.again(entry)
    elif entry.kind == "deleted":
        planes: list[Plane | None] = [None]
        if not details["everywhere"]:
            keys = (*(c.key for c in entry.prompts), *(c.key for c in entry.marks))
            planes = list(dict.fromkeys(plane for _, plane in keys))
            planes = planes or [change.plane for change in entry.pixels]
        for plane in planes:
            objects.delete(details.get("objects") or [details["object"]], plane)
    elif entry.kind == "merged":
        objects.merge(details["into"], details["object"])
    elif entry.kind == "split":
        with suppress(ValueError):  # of an object that another model made
            objects.split(
                details["object"],
                tuple(details["plane"]),
                [(row, column) for row, column in details["path"]],
                details["into"],
            )
    elif entry.kind == "grown":
        objects.grow(details["objects"], tuple(details["plane"]), details["pixels"])
    elif entry.kind == "renumbered":
        objects.renumber(details["object"], details["into"])
    elif entry.kind == "divided" and details["confirmed"]:
        with suppress(ValueError):  # of objects that another model made
            daughters = details["daughters"]
            into = details.get("into", details["object"])
            objects.divide(details["object"], daughters, details["axis"], details["frame"], into)
    elif entry.kind == "linked":
        objects.link(LinkRequest.of_words(details), details["above"])
    elif entry.kind == "divided":
        state.commit(entry.kind, entry.text, facts=entry.facts, details=entry.details)
    elif entry.kind in ("locked", "adopted", "accepted", "classified", "classes"):
        state.commit(entry.kind, entry.text, facts=entry.facts, classes=entry.classes)
    elif entry.kind == "completed":
        state.commit(entry.kind, entry.text, complete=entry.complete)
    elif entry.kind == "model":
        state.commit(entry.kind, entry.text, model=entry.model)
    elif entry.kind == "imported":
        pixels = tuple(_as_they_are(state, entry.pixels))
        state.commit(
            entry.kind, entry.text, pixels=pixels, facts=entry.facts, classes=entry.classes
        )
    else:
        state.begin_anew(entry.text)
    state.object_id = entry.objects[1]


def _as_they_are(state: State, changes: Sequence[PixelChange]) -> list[PixelChange]:
    """Return the changes that give the present labels the same new values."""
    found = []
    for change in changes:
        where, after = change.where, change.after
        now: Any = state.read(change.plane)(change.slices)[where]
        if (now != after).any():
            found.append(part_of(change, where, np.asarray(now != after), now, after))
    return found
