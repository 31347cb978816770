"""Properties of objects on single planes: quality of followed masks, and users' verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_sam.planes import Plane
from napari_sam.session.groups import ObjectPlane
from napari_sam.session.journal import UNKNOWN, Change, Entry, PlaneFacts
from napari_sam.session.pixels import PixelChange

# Kinds of entries that give planes of an object to another one, with their properties.
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
        """Return the line along an axis through a plane; equal for all planes of the line."""
        return cls((*plane[:axis], 0, *plane[axis + 1 :]), axis)

    def at(self, index: int) -> Plane:
        """Return the plane at an index along the axis."""
        return (*self.plane[: self.axis], index, *self.plane[self.axis + 1 :])

    def index(self, plane: Plane) -> int | None:
        """Return the index of a plane along the axis; None for one that isn't on the line."""
        index = plane[self.axis]
        return index if index is not None and self.at(index) == plane else None


class KnownPlanes:
    """The properties of objects on planes, by object and plane."""

    def __init__(self) -> None:
        self._of: dict[int, dict[Plane, PlaneFacts]] = {}

    def of(self, key: ObjectPlane) -> PlaneFacts:
        """Return the properties of an object on a plane."""
        return self._of.get(key[0], {}).get(key[1], UNKNOWN)

    def planes(self, object_id: int) -> Mapping[Plane, PlaneFacts]:
        """Return the known properties of an object, by plane."""
        return self._of.get(object_id, {})

    @property
    def objects(self) -> tuple[int, ...]:
        """The objects with known properties on any plane."""
        return tuple(self._of)

    def items(self) -> Iterable[tuple[ObjectPlane, PlaneFacts]]:
        """Yield all known properties, with object and plane."""
        for object_id, here in self._of.items():
            for plane, facts in here.items():
                yield (object_id, plane), facts

    def put(self, key: ObjectPlane, facts: PlaneFacts) -> None:
        """Set the properties of an object on a plane."""
        object_id, plane = key
        if facts != UNKNOWN:
            self._of.setdefault(object_id, {})[plane] = facts
        elif (here := self._of.get(object_id)) is not None:
            here.pop(plane, None)
            if not here:
                del self._of[object_id]

    def lines(self, object_id: int) -> set[Line]:
        """Return the lines along which an object was followed."""
        return {
            Line.through(plane, facts.axis)
            for plane, facts in self.planes(object_id).items()
            if facts.axis is not None
        }

    def after(
        self, kind: str, values: Mapping[str, Any]
    ) -> tuple[Change[ObjectPlane, PlaneFacts], ...]:
        """Return how properties change with an entry that a user or another program made.

        A followed mask that was edited counts as the user's; an object that was followed and then
        deleted on a plane gets the verdict "not here".

        Parameters
        ----------
        kind, values
            As for :class:`~napari_sam.session.journal.Entry`.
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
                here = PlaneFacts(verdict="not here")
            elif kind == "divided" and object_id == details["object"]:
                here = PlaneFacts(verdict="not here")  # its daughters are
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
        """Return the changes on planes where an object has properties but no pixels."""
        after: dict[ObjectPlane, PlaneFacts] = {}
        for object_id in details.get("objects") or [details["object"]]:
            for plane, facts in self.planes(object_id).items():
                after[object_id, plane] = UNKNOWN
                if kind == "renumbered":
                    after[details["into"], plane] = facts
        return after


def touched_by(entry: Entry) -> set[ObjectPlane]:
    """Return the objects and planes whose prompts or pixels an entry changes."""
    keys = {change.key for change in entry.prompts}
    return keys if entry.kind == "prompts" else keys | _numbers_on(entry.pixels)


def _touched(kind: str, values: Mapping[str, Any]) -> set[ObjectPlane]:
    keys = {change.key for change in values.get("prompts", ())}
    return keys if kind == "prompts" else keys | _numbers_on(values.get("pixels", ()))


def _numbers_on(pixels: Iterable[PixelChange]) -> set[ObjectPlane]:
    """Return the objects that lose or gain pixels, and on which planes."""
    keys: set[ObjectPlane] = set()
    for change in pixels:
        for packed in (change.old, change.new):
            values = packed.unpack()
            numbers = values[:1] if packed.is_constant else np.unique(values)
            keys |= {(int(number), change.plane) for number in numbers if number > 0}
    return keys
