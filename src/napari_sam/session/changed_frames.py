"""The frames of a movie that have changed since its objects were linked."""

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
class LinkCheck:
    """A linking that changed no number, so that the journal has no entry of it.

    Parameters
    ----------
    request
        What was linked.
    within
        The reach that was used.
    position
        The :attr:`~napari_sam.session.journal.Journal.position` of the journal then.
    """

    request: LinkRequest
    within: float
    position: tuple[int, int]

    def since(self, entries: Sequence[Entry], request: LinkRequest) -> Sequence[Entry] | None:
        """Return the later entries.

        None if another request was linked, objects were linked again since, or earlier entries
        were undone.
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
    """The changes since objects were linked.

    Parameters
    ----------
    entries
        The later entries in force.
    within
        The reach with which objects were linked.
    """

    entries: tuple[Entry, ...]
    within: float

    @classmethod
    def of(
        cls, entries: Sequence[Entry], request: LinkRequest, check: LinkCheck | None = None
    ) -> Since | None:
        """Return the changes since the last linking; None if there was none with this request."""
        if check is not None and (later := check.since(entries, request)) is not None:
            return cls._of(later, check.within)
        last = next((entry for entry in reversed(entries) if entry.kind == "linked"), None)
        if last is None or (within := last.details.get("within")) is None:
            return None
        if any(last.details.get(name) != value for name, value in request.words().items()):
            return None
        # A mask may have come while the linking was undone: it is later, though listed before.
        first = last.first_number
        return cls._of([entry for entry in entries if entry.first_number > first], within)

    @classmethod
    def _of(cls, later: Sequence[Entry], within: float) -> Since | None:
        return None if any(entry.ends_undo for entry in later) else cls(tuple(later), within)


def frames_changed(since: Since, axis: int, places: Extents, locked: Collection[int]) -> set[int]:
    """Return the frames on which objects, or their links, may have changed.

    An object that is renumbered or deleted as a whole changes no links of others: the best links
    of all objects remain the best without it.

    Parameters
    ----------
    since
        The changes.
    axis
        The time axis.
    places
        The present extents of objects.
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
    """Return the frames that both merged objects were on, and those where one follows the other."""
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
    """Return the frames on which a change may have pixels; its plane may cross several."""
    at = change.plane[axis]
    if at is not None:
        return (at,)
    row, column, height, width = change.region
    first, count = (row, height) if axis == plane_axes(change.plane)[0] else (column, width)
    return range(first, first + count)
