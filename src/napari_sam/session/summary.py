"""What was done in a session, in numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from napari_sam.session.journal import Entry
from napari_sam.session.prompt_book import Group, ObjectPlane

LONGEST_STEP = 60.0
"""Seconds between two entries from which on they count as a pause."""


@dataclass(frozen=True, slots=True)
class Summary:
    """Numbers of a session.

    Parameters
    ----------
    prompts
        Of each object that has any, on all planes: (clicks, boxes).
    found
        Objects that were found automatically.
    painted
        Objects that were painted by hand from the start.
    retouched
        Objects that were painted into, erased from, or joined with another by hand, afterwards.
    rejected
        How many of those that were found automatically were deleted.
    planes
        How many planes have prompts, or objects that were found or painted.
    active_seconds
        From entry to entry; pauses of more than a minute don't count.
    models
        Keys of the models that answered, in the order of their first answer.
    """

    prompts: dict[int, tuple[int, int]] = field(default_factory=dict)
    found: frozenset[int] = frozenset()
    painted: frozenset[int] = frozenset()
    retouched: frozenset[int] = frozenset()
    rejected: int = 0
    planes: int = 0
    active_seconds: float = 0.0
    models: tuple[str, ...] = ()

    @property
    def objects(self) -> frozenset[int]:
        """Every object that has prompts, was found, or was painted."""
        return self.found | self.painted | self.prompts.keys()

    @property
    def corrected(self) -> frozenset[int]:
        """Those found automatically that got prompts, or were changed by hand."""
        return self.found & (self.retouched | self.prompts.keys())

    @property
    def clicks(self) -> int:
        """How many clicks there are."""
        return sum(clicks for clicks, _ in self.prompts.values())

    @property
    def boxes(self) -> int:
        """How many boxes there are."""
        return sum(boxes for _, boxes in self.prompts.values())


def summarize(entries: Sequence[Entry]) -> Summary:
    """Count what was done.

    Parameters
    ----------
    entries
        Those in force, in order.
    """
    groups: dict[ObjectPlane, Group] = {}
    origins: dict[int, str] = {}
    retouched: set[int] = set()
    planes: set[Any] = set()
    models: dict[str, None] = {}
    rejected = 0
    for entry in entries:
        groups |= {change.key: change.after for change in entry.prompts}
        for facts in entry.facts:
            if entry.kind == "deleted" and facts.before.origin == "found":
                rejected += 1
            origins[facts.key] = facts.after.origin
        _retouch(entry, origins, retouched)
        if entry.kind in ("found", "painted"):
            planes |= {change.plane for change in entry.pixels}
        models |= {c.after.model: None for c in entry.answers if c.after and c.after.model}
        if entry.kind == "found" and isinstance(key := entry.details.get("model"), str):
            models[key] = None
    groups = {key: group for key, group in groups.items() if not group.is_empty}
    prompts = _counted(groups)
    of = {word: {i for i, one in origins.items() if one == word} for word in ("found", "painted")}
    return Summary(
        prompts,
        frozenset(of["found"]),
        frozenset(of["painted"]),
        frozenset(retouched & (of["found"] | of["painted"] | prompts.keys())),
        rejected,
        len(planes | {plane for _, plane in groups}),
        _active(entry.time for entry in entries),
        tuple(models),
    )


def _retouch(entry: Entry, origins: dict[int, str], retouched: set[int]) -> None:
    """Take note of the objects that an entry changes by hand, other than making them."""
    made = {facts.key for facts in entry.facts}
    if entry.kind == "painted":
        for change in entry.pixels:
            numbers = {*np.unique(change.before).tolist(), *np.unique(change.after).tolist()}
            retouched |= numbers - made - {0}
    elif entry.kind == "merged":
        retouched.discard(entry.details["object"])
        retouched.add(entry.details["into"])
    elif entry.kind == "renumbered" and entry.details["object"] in retouched:
        retouched.remove(entry.details["object"])
        retouched.add(entry.details["into"])
    elif entry.kind == "deleted" and entry.details["everywhere"]:
        retouched.discard(entry.details["object"])


def _counted(groups: dict[ObjectPlane, Group]) -> dict[int, tuple[int, int]]:
    counted: dict[int, tuple[int, int]] = {}
    for (object_id, _), group in groups.items():
        clicks, boxes = counted.get(object_id, (0, 0))
        counted[object_id] = clicks + len(group.clicks), boxes + (group.box is not None)
    return counted


def _active(times: Iterable[float]) -> float:
    steps = np.diff(sorted(times))
    return float(steps[steps <= LONGEST_STEP].sum())
