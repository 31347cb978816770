"""The time that users spent on each object, and whether they edited it by hand."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np

from napari_sam.session.journal import Entry
from napari_sam.session.summary import LONGEST_STEP

# entries that take no time of a user on an object
_BY_MACHINES = (
    *("found", "carried", "imported", "elsewhere", "labels", "classes", "linked"),
    *("completed", "model"),
)


@dataclass(frozen=True, slots=True)
class _Work:
    """The effect of an entry, as needed to revert it.

    Parameters
    ----------
    objects
        The objects of the entry.
    seconds
        Time that was added to each of them.
    last
        Time of the previous entry.
    moved
        What moved to another object: (from, to, seconds, edits by hand); None for most entries.
    """

    objects: tuple[int, ...]
    seconds: float
    last: float
    moved: tuple[int, int, float, int] | None = None


class WorkLog:
    """Adds up the times of entries in their order, and reverts them."""

    def __init__(self) -> None:
        self._seconds: defaultdict[int, float] = defaultdict(float)
        self._by_hand: Counter[int] = Counter()
        self._work: dict[int, _Work] = {}  # by number of the entry
        self._last = float("inf")

    def seconds(self, object_id: int) -> float:
        """Return the time spent on an object, in seconds.

        This is the sum of the times from the previous entry to each entry of the object, divided
        among the objects of the entry. Times of more than a minute count as pauses.
        """
        return max(0.0, self._seconds.get(object_id, 0.0))

    def is_corrected(self, object_id: int) -> bool:
        """Whether a user painted, erased, split or merged an object."""
        return self._by_hand.get(object_id, 0) > 0

    def add(self, entry: Entry) -> None:
        """Add an entry."""
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
        """Revert an entry."""
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
    """Return the objects that an entry concerns."""
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
    """Return the objects that a user edited by hand with an entry."""
    if entry.kind == "painted":
        return objects
    if entry.kind in ("merged", "split"):
        return tuple({entry.details["object"], entry.details["into"]})
    return ()
