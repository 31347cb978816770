"""What is known of objects on single planes: masks carried there, and what people said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_sam.planes import Plane
from napari_sam.session.groups import ObjectPlane
from napari_sam.session.journal import UNKNOWN, Change, Entry, PlaneFacts
from napari_sam.session.pixels import PixelChange

# What gives planes of an object to another one, with what is known there.
_MOVES = ("renumbered", "divided")


@dataclass(frozen=True, slots=True)
class Line:
    """Planes along one axis.

    Parameters
    ----------
    plane
        One of them.
    axis
        The axis.
    """

    plane: Plane
    axis: int

    @classmethod
    def through(cls, plane: Plane, axis: int) -> Line:
        """Return the line along an axis that a plane lies on; equal for all of them."""
        return cls((*plane[:axis], 0, *plane[axis + 1 :]), axis)

    def at(self, index: int) -> Plane:
        """Return the plane of an index along the axis."""
        return (*self.plane[: self.axis], index, *self.plane[self.axis + 1 :])

    def index(self, plane: Plane) -> int | None:
        """Return the index of a plane along the axis; None for one that isn't on the line."""
        index = plane[self.axis]
        return index if index is not None and self.at(index) == plane else None


class KnownPlanes:
    """Facts by object and plane."""

    def __init__(self) -> None:
        self._of: dict[int, dict[Plane, PlaneFacts]] = {}

    def of(self, key: ObjectPlane) -> PlaneFacts:
        """Return what is known of an object on a plane."""
        return self._of.get(key[0], {}).get(key[1], UNKNOWN)

    def planes(self, object_id: int) -> Mapping[Plane, PlaneFacts]:
        """Return the planes of which something is known about an object."""
        return self._of.get(object_id, {})

    @property
    def objects(self) -> tuple[int, ...]:
        """The objects of which something is known on any plane."""
        return tuple(self._of)

    def items(self) -> Iterable[tuple[ObjectPlane, PlaneFacts]]:
        """Yield everything that is known."""
        for object_id, here in self._of.items():
            for plane, facts in here.items():
                yield (object_id, plane), facts

    def put(self, key: ObjectPlane, facts: PlaneFacts) -> None:
        """Know something else of an object on a plane."""
        object_id, plane = key
        if facts != UNKNOWN:
            self._of.setdefault(object_id, {})[plane] = facts
        elif (here := self._of.get(object_id)) is not None:
            here.pop(plane, None)
            if not here:
                del self._of[object_id]

    def lines(self, object_id: int) -> set[Line]:
        """Return the lines along which an object was carried."""
        return {
            Line.through(plane, facts.axis)
            for plane, facts in self.planes(object_id).items()
            if facts.axis is not None
        }

    def after(
        self, kind: str, values: Mapping[str, Any]
    ) -> tuple[Change[ObjectPlane, PlaneFacts], ...]:
        """Return what becomes of facts when people, or other programs, change objects.

        A mask that was carried and is changed is theirs from then on; an object that was followed
        and is deleted on a plane is not there.

        Parameters
        ----------
        kind, values
            As of :class:`~napari_sam.session.journal.Entry`.
        """
        if not self._of or kind in ("carried", "reviewed", "mask", "found", "imported"):
            return ()
        if kind == "labels":
            return tuple(Change(key, facts, UNKNOWN) for key, facts in self.items())
        details = values.get("details", {})
        after: dict[ObjectPlane, PlaneFacts] = {}
        for object_id, plane in _touched(kind, values):
            if object_id not in self._of:
                continue
            here = UNKNOWN
            if kind == "deleted" and not details["everywhere"]:
                here = PlaneFacts(said="not here")
            elif kind == "divided" and object_id == details["object"]:
                here = PlaneFacts(said="not here")  # its daughters are
            elif kind in _MOVES and object_id == details["object"]:
                after[details["into"], plane] = self.of((object_id, plane))
            elif kind in _MOVES:
                continue
            after[object_id, plane] = here
        moves = kind in ("renumbered", "merged")
        if moves or (kind == "deleted" and details["everywhere"]):
            after |= self._rest(details, kind)
        changes = (Change(key, self.of(key), facts) for key, facts in after.items())
        return tuple(change for change in changes if change.before != change.after)

    def _rest(self, details: Mapping[str, Any], kind: str) -> dict[ObjectPlane, PlaneFacts]:
        """Return what becomes of planes where an object has nothing but facts."""
        after: dict[ObjectPlane, PlaneFacts] = {}
        for object_id in details.get("objects") or [details["object"]]:
            for plane, facts in self.planes(object_id).items():
                after[object_id, plane] = UNKNOWN
                if kind == "renumbered":
                    after[details["into"], plane] = facts
        return after


def touched_by(entry: Entry) -> set[ObjectPlane]:
    """Return of which objects on which planes an entry changes prompts or pixels."""
    keys = {change.key for change in entry.prompts}
    return keys if entry.kind == "prompts" else keys | _numbers_on(entry.pixels)


def _touched(kind: str, values: Mapping[str, Any]) -> set[ObjectPlane]:
    keys = {change.key for change in values.get("prompts", ())}
    return keys if kind == "prompts" else keys | _numbers_on(values.get("pixels", ()))


def _numbers_on(pixels: Iterable[PixelChange]) -> set[ObjectPlane]:
    """Return the objects that lose or get pixels, and where."""
    keys: set[ObjectPlane] = set()
    for change in pixels:
        for packed in (change.old, change.new):
            values = packed.unpack()
            numbers = values[:1] if packed.is_constant else np.unique(values)
            keys |= {(int(number), change.plane) for number in numbers if number > 0}
    return keys
