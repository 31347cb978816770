"""What people did to each object: how long it took them, and whether they changed it by hand."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np

from napari_sam.session.journal import Entry
from napari_sam.session.summary import LONGEST_STEP

# nobody's time on an object
_BY_MACHINES = (
    *("found", "carried", "imported", "elsewhere", "labels", "classes", "linked"),
    *("completed", "model"),
)


@dataclass(frozen=True, slots=True)
class _Work:
    """What an entry was: enough to take it back.

    Parameters
    ----------
    objects
        Those that it was about.
    seconds
        That each of them took.
    last
        Time of the entry before.
    moved
        What another object took over: (from, to, seconds, changes by hand); None for most.
    """

    objects: tuple[int, ...]
    seconds: float
    last: float
    moved: tuple[int, int, float, int] | None = None


class WorkLog:
    """Adds up entries in the order in which they are made, and takes them back."""

    def __init__(self) -> None:
        self._seconds: defaultdict[int, float] = defaultdict(float)
        self._by_hand: Counter[int] = Counter()
        self._work: dict[int, _Work] = {}  # by number of the entry
        self._last = float("inf")

    def seconds(self, object_id: int) -> float:
        """Return how long an object took, in seconds.

        From the entry before to each of its own; what many share, each has a part of. A step of
        more than a minute is a pause.
        """
        return max(0.0, self._seconds.get(object_id, 0.0))

    def is_corrected(self, object_id: int) -> bool:
        """Whether a person painted into an object, cut it, or joined it with another."""
        return self._by_hand.get(object_id, 0) > 0

    def add(self, entry: Entry) -> None:
        """Take in an entry."""
        objects = () if entry.kind in _BY_MACHINES else tuple(sorted(objects_of(entry)))
        gap = entry.time - self._last
        share = gap / len(objects) if objects and 0 < gap <= LONGEST_STEP else 0.0
        moved = None
        if entry.kind in ("merged", "renumbered"):
            gone, into = entry.details["object"], entry.details["into"]
            moved = gone, into, self._seconds[gone], self._by_hand[gone]
            self._move(moved, 1)
        self._work[entry.number] = _Work(objects, share, self._last, moved)
        self._count(entry, objects, share, 1)
        self._last = entry.time

    def remove(self, entry: Entry) -> None:
        """Take an entry back."""
        work = self._work.pop(entry.number, None)
        if work is None:
            return
        self._count(entry, work.objects, -work.seconds, -1)
        if work.moved is not None:
            self._move(work.moved, -1)
        self._last = work.last

    def _count(self, entry: Entry, objects: tuple[int, ...], share: float, sign: int) -> None:
        for object_id in objects:
            self._seconds[object_id] += share
        for object_id in _corrected(entry, objects):
            self._by_hand[object_id] += sign

    def _move(self, moved: tuple[int, int, float, int], sign: int) -> None:
        gone, into, seconds, changes = moved
        self._seconds[into] += sign * seconds
        self._seconds[gone] -= sign * seconds
        self._by_hand[into] += sign * changes
        self._by_hand[gone] -= sign * changes


def objects_of(entry: Entry) -> set[int]:
    """Return the objects that an entry is about."""
    objects = {object_id for object_id, _ in entry.keys}
    if entry.kind == "painted":
        objects |= {object_id for object_id, _ in (change.key for change in entry.marks)}
        for change in entry.pixels:
            objects |= {int(i) for i in np.unique(change.after)}
    else:
        objects |= {change.key for change in entry.facts}
        objects |= {entry.details[name] for name in ("object", "into") if name in entry.details}
    return {object_id for object_id in objects if object_id > 0}


def _corrected(entry: Entry, objects: tuple[int, ...]) -> tuple[int, ...]:
    """Return the objects that a person changed by hand with an entry."""
    if entry.kind == "painted":
        return objects
    if entry.kind in ("merged", "split"):
        return tuple({entry.details["object"], entry.details["into"]})
    return ()
