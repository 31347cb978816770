"""Turning existing labels into objects, so that clicks correct their masks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam.engine import Executor, Outcome, Report
from napari_sam.geometry import Region
from napari_sam.patches import Patch, cut
from napari_sam.planes import Plane, PlaneSource
from napari_sam.session.groups import Group, MaskPrompt, ObjectPlane
from napari_sam.session.journal import Change, ObjectFacts
from napari_sam.session.prompt_book import PromptBook
from napari_sam.session.prompt_words import ids_text
from napari_sam.session.state import State, Touched

_AROUND = 64  # pixels around prompts in which the object's pixels are searched first
_BAND = 1 << 22  # pixels of labels that are read at once

Read = Callable[[Region], NDArray[Any]]


def with_adopted(
    state: State, book: PromptBook, keys: Iterable[ObjectPlane], source: PlaneSource
) -> PromptBook:
    """Let the first prompt on an existing object start from its mask.

    An object without prompts on a plane that was found, adopted or present before the session
    gets its mask in the labels as a mask prompt before its other prompts. An object that a user
    painted doesn't.

    Parameters
    ----------
    state
        The state before these prompts.
    book
        The prompts.
    keys
        The objects and planes whose prompts differ from those of the state.
    source
        The image.
    """
    groups: dict[ObjectPlane, Group] = {}
    number = book.next_id
    for key in keys:
        group = book.group(key)
        if group.is_empty or group.mask is not None or not state.group(key).is_empty:
            continue
        patch = _own_pixels(state, key, group, source)
        if not patch.is_empty:
            groups[key] = replace(group, mask=MaskPrompt(number, *key, patch, is_first=True))
            number += 1
    return book.with_groups(groups)


def _own_pixels(state: State, key: ObjectPlane, group: Group, source: PlaneSource) -> Patch:
    """Return the pixels of an object connected with its prompts; empty if a user painted it."""
    if state.canvas is None or state.facts(key[0]).origin == "painted":
        return Patch()
    shape, written = source.plane_shape(key[1]), state.ownership.of(key).written
    region = _around(group, shape)
    if written.pixels.size:
        (rows, columns), (r, c) = region, written.region
        region = (
            slice(min(rows.start, r.start), max(rows.stop, r.stop)),
            slice(min(columns.start, c.start), max(columns.stop, c.stop)),
        )
    try:
        return grow(state.read(key[1]), shape, key[0], region)
    except OSError as error:  # the prompt is kept, and its mask until it can be written
        state.refused.emit(error)
        return Patch()


def _around(group: Group, shape: tuple[int, int]) -> Region:
    """Return the part of a plane around prompts, each of which is on it or at its border."""
    places = group.prompts.places
    if group.lasso is not None:
        places = np.concatenate([places, np.reshape(group.lasso.patch.box, (-1, 2))])
    low, high = places.min(0).tolist(), places.max(0).tolist()
    rows, columns = (
        slice(
            min(max(int(a) - _AROUND, 0), length - 1),
            max(min(int(b) + _AROUND + 1, length), 1),
        )
        for a, b, length in zip(low, high, shape, strict=True)
    )
    return rows, columns


def grow(read: Read, shape: tuple[int, int], number: int, region: Region) -> Patch:
    """Return the pixels of a label in a region, and those connected with them outside of it.

    Parameters
    ----------
    read
        Returns the labels of a region of the plane.
    shape
        (H, W) of the plane.
    number
        The label.
    region
        The region to start with; it is doubled while the label reaches its border.
    """
    while True:
        mask = read(region) == number
        if not mask.any():
            return Patch()
        touched = (mask[0].any(), mask[-1].any(), mask[:, 0].any(), mask[:, -1].any())
        (top, bottom), (left, right) = ((s.start, s.stop) for s in region)
        ends = top > 0, bottom < shape[0], left > 0, right < shape[1]
        up, down, west, east = (a and b for a, b in zip(touched, ends, strict=True))
        if not (up or down or west or east):
            return cut(mask, (top, left))
        height, width = bottom - top, right - left
        region = (
            slice(max(0, top - up * height), min(shape[0], bottom + down * height)),
            slice(max(0, left - west * width), min(shape[1], right + east * width)),
        )


class Adoption:
    """Turns labels of the canvas into objects; each command is one step of the journal.

    Parameters
    ----------
    state, executor, source, follow, failed
        As for :class:`~napari_sam.session.objects.Objects`.
    """

    def __init__(
        self,
        state: State,
        executor: Executor,
        source: Callable[[], PlaneSource],
        follow: Callable[[Touched | None], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._state = state
        self._executor = executor
        self._source = source
        self._follow = follow
        self._failed = failed

    def adopt(self, key: ObjectPlane, known: Region | None = None) -> None:
        """Adopt a label on a plane; see :meth:`napari_sam.session.Session.adopt`.

        Parameters
        ----------
        key
            The label and the plane.
        known
            A rectangle around its pixels, if it is known.
        """
        state = self._state
        state.check_unlocked([key[0]])
        if state.canvas is None:
            raise ValueError("expected labels to adopt from, got a session without; choose some")
        shape = self._source().plane_shape(key[1])
        patch = _search(state.read(key[1]), shape, key[0], known)
        if patch.is_empty:
            raise ValueError(
                f"expected a label with pixels on plane {key[1]}, got {key[0]}; pick one that is "
                "shown there"
            )
        is_first, facts = state.group(key).is_empty, state.facts(key[0])
        book = state.book.with_mask(key, patch, is_first)
        changes: tuple[Change[int, ObjectFacts], ...] = ()
        if not facts.origin and key[0] not in state.book.object_ids:
            changes = (Change(key[0], facts, replace(facts, origin="adopted")),)
        text = f"adopted object {key[0]}"
        self._follow(state.edit(book, [key], text, changes, key[0]))

    def adopt_labels(self, planes: Sequence[Plane]) -> None:
        """Adopt whole planes; see :meth:`napari_sam.session.Session.adopt_labels`."""
        canvas = self._state.canvas
        if canvas is None:
            raise ValueError("expected labels to adopt from, got a session without; choose some")
        shapes = {plane: self._source().plane_shape(plane) for plane in planes}
        search = partial(_numbers, canvas.read, shapes)
        if sum(h * w for h, w in shapes.values()) <= _BAND:
            self._take(search(lambda fraction: None))
            return

        def found(outcome: Outcome) -> None:
            if outcome.error is not None:
                if not outcome.cancelled:
                    self._failed(outcome.error)
            elif canvas is self._state.canvas:
                self._take(outcome.value)

        self._executor.chore(("labels to adopt", self), search, found)

    def _take(self, numbers: Iterable[int]) -> None:
        prompted = {*self._state.book.object_ids}
        changes = []
        for number in numbers:
            facts = self._state.facts(number)
            if number not in prompted and not facts.origin:
                changes.append(Change(number, facts, replace(facts, origin="adopted")))
        if changes:
            text = f"adopted {ids_text([change.key for change in changes])}"
            self._follow(self._state.commit("adopted", text, facts=tuple(changes)))


def _search(read: Read, shape: tuple[int, int], number: int, known: Region | None) -> Patch:
    """Return all pixels of a label on a plane, band by band."""
    rows, columns = known or (slice(0, shape[0]), slice(0, shape[1]))
    band = max(1, _BAND // max(1, columns.stop - columns.start))
    mask = np.zeros((rows.stop - rows.start, columns.stop - columns.start), bool)
    for row in range(rows.start, rows.stop, band):
        part = slice(row, min(row + band, rows.stop))
        mask[part.start - rows.start : part.stop - rows.start] = read((part, columns)) == number
    return cut(mask, (rows.start, columns.start))


def _numbers(
    read: Callable[[Plane, Region], NDArray[Any]],
    shapes: Mapping[Plane, tuple[int, int]],
    report: Report,
) -> list[int]:
    """Return all labels of some planes, ascending."""
    found: set[int] = set()
    for i, (plane, (height, width)) in enumerate(shapes.items()):
        band = max(1, _BAND // max(1, width))
        for row in range(0, height, band):
            report((i + row / height) / len(shapes))
            labels = read(plane, (slice(row, min(row + band, height)), slice(0, width)))
            found |= {int(number) for number in np.unique(labels) if number > 0}
    return sorted(found)
