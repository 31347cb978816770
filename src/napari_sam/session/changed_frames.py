"""On which frames of a movie something has changed since its objects were linked."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from napari_sam.planes import plane_axes
from napari_sam.session.journal import Entry
from napari_sam.session.linked import LinkRequest
from napari_sam.session.object_index import Extents
from napari_sam.session.pixels import PixelChange


@dataclass(frozen=True, slots=True)
class Looked:
    """Objects were linked, and every one had its number already: the journal doesn't tell.

    Parameters
    ----------
    request
        What was linked.
    within
        The reach that they were linked with.
    position
        Where the journal was, as of :attr:`~napari_sam.session.journal.Journal.position`.
    """

    request: LinkRequest
    within: float
    position: tuple[int, int]

    def since(self, entries: Sequence[Entry], request: LinkRequest) -> Sequence[Entry] | None:
        """Return what came later; None if it was another linking, or was before a later one.

        It is not known either if something from before has been taken back.
        """
        count, last = self.position
        if len(entries) < count or (count and entries[count - 1].number != last):
            return None
        later = entries[count:]
        if any(entry.kind == "linked" for entry in later):
            return None
        return later if self.request.words() == request.words() else None


@dataclass(frozen=True, slots=True)
class Since:
    """What was done since objects were linked.

    Parameters
    ----------
    entries
        What is in force and happened later.
    within
        The reach that they were linked with.
    """

    entries: tuple[Entry, ...]
    within: float

    @classmethod
    def of(
        cls, entries: Sequence[Entry], request: LinkRequest, looked: Looked | None = None
    ) -> Since | None:
        """Return what was done since; None if objects were never linked, or in another way."""
        if looked is not None and (later := looked.since(entries, request)) is not None:
            return cls._of(later, looked.within)
        last = next((entry for entry in reversed(entries) if entry.kind == "linked"), None)
        if last is None or (within := last.details.get("within")) is None:
            return None
        if any(last.details.get(name) != value for name, value in request.words().items()):
            return None
        # A mask may have come while the linking was taken back: it is before it, and is later.
        first = last.first_number
        return cls._of([entry for entry in entries if entry.first_number > first], within)

    @classmethod
    def _of(cls, later: Sequence[Entry], within: float) -> Since | None:
        return None if any(entry.ends_undo for entry in later) else cls(tuple(later), within)


def frames_changed(since: Since, axis: int, places: Extents, locked: Collection[int]) -> set[int]:
    """Return the frames on which objects, or what links them, may be others than they were.

    An object that only gets another number, or goes as a whole, changes no link of others: the best
    links of all are the best of the rest, too.

    Parameters
    ----------
    since
        What was done.
    axis
        Of time.
    places
        Where objects are now.
    locked
        Objects that are left out now.
    """
    frames: set[int] = set()
    were_locked: dict[int, bool] = {}
    for entry in since.entries:
        for change in entry.facts:
            were_locked.setdefault(change.key, change.before.locked)
            if bool(change.before.parent) != bool(change.after.parent):
                frames.update(_frames_on(places, change.key, axis)[:1])
        if "into" in entry.details and were_locked.get(entry.details["object"]):
            were_locked[entry.details["into"]] = True
        frames |= _changed_by(entry, axis, places)
    for object_id, was_locked in were_locked.items():
        if was_locked and object_id not in locked:
            frames.update(_frames_on(places, object_id, axis))
    return frames


def _changed_by(entry: Entry, axis: int, places: Extents) -> set[int]:
    if entry.kind == "renumbered":
        return set()
    if entry.kind == "divided":
        return {entry.details["frame"]} if entry.details["confirmed"] else set()
    on = set[int]().union(*(_frames_of(change, axis) for change in entry.pixels))
    if entry.kind == "deleted" and entry.details["everywhere"]:
        if not any(change.before.parent for change in entry.facts):
            return set()
        return {min(on), max(on)} if on and "object" in entry.details else on
    if entry.kind == "merged" and on:
        return _changed_by_merging(entry, on, axis, places)
    return on


def _changed_by_merging(entry: Entry, on: set[int], axis: int, places: Extents) -> set[int]:
    """Return where two objects have become one, and where one goes on in the other."""
    into = entry.details["into"]
    if into not in places:
        return on
    now = _areas(((p[axis] or 0, extent.area) for p, extent in places[into].items()))
    moved = _areas(
        (frame, change.area) for change in entry.pixels for frame in _frames_of(change, axis)
    )
    both = {frame for frame in on if moved[frame] != now.get(frame)}
    ends = {t for pair in pairwise(sorted(now)) if len(on.intersection(pair)) == 1 for t in pair}
    return {min(on)} | both | ends


def _areas(parts: Iterable[tuple[int, int]]) -> dict[int, int]:
    areas: dict[int, int] = {}
    for frame, area in parts:
        areas[frame] = areas.get(frame, 0) + area
    return areas


def _frames_on(places: Extents, object_id: int, axis: int) -> list[int]:
    return sorted({plane[axis] or 0 for plane in places.get(object_id, ())})


def _frames_of(change: PixelChange, axis: int) -> Sequence[int]:
    """Return the frames that a change may have pixels on: its plane may cross them."""
    at = change.plane[axis]
    if at is not None:
        return (at,)
    row, column, height, width = change.region
    first, count = (row, height) if axis == plane_axes(change.plane)[0] else (column, width)
    return range(first, first + count)
