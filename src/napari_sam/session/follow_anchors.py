"""Anchors: the planes of a line on which an object is known, and its masks there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from napari_sam.geometry import Region
from napari_sam.patches import cut
from napari_sam.planes import Plane
from napari_sam.session.canvas import LabelCanvas
from napari_sam.session.groups import Group
from napari_sam.session.known_planes import Line
from napari_sam.session.state import State

if TYPE_CHECKING:
    from napari_sam.propagate import Anchor

Where = Mapping[int, Region | None]
"""By index of the plane: a rectangle around the object's pixels; None if it is not there."""


class Places(Protocol):
    """Where objects have pixels; None if that isn't known yet."""

    def region(self, object_id: int, plane: Plane) -> Region | None:
        """Return a rectangle around an object's pixels on a plane, empty if it has none."""
        ...

    def planes(self, object_id: int) -> Sequence[Plane] | None:
        """Return the planes on which an object has pixels."""
        ...


@dataclass(frozen=True, slots=True)
class Anchoring:
    """Finds the planes on which objects are known.

    Parameters
    ----------
    state
        The state of the session.
    places
        Where objects have pixels.
    """

    state: State
    places: Places

    def is_counted(self, object_ids: Sequence[int]) -> bool:
        """Whether it is known where these objects have pixels."""
        return all(self.places.planes(i) is not None for i in object_ids)

    def is_answered(self, object_id: int, line: Line) -> bool:
        """Whether all prompts of an object on a line have their masks."""
        return all(
            self.state.is_written(key)
            for key in self.state.book.keys
            if key[0] == object_id and line.index(key[1]) is not None
        )

    def known(self, object_id: int, line: Line) -> dict[int, Region | None]:
        """Return the planes of a line on which an object is known, in order: see :data:`Where`.

        These are the planes on which it has prompts, or pixels that were not followed along the
        line, or from which a user removed it.
        """
        state = self.state
        prompted = [plane for number, plane in state.book.keys if number == object_id]
        planes = {
            *(self.places.planes(object_id) or ()),
            *state.ownership.planes_of(object_id),
            *state.known.planes(object_id),
            *prompted,
        }
        found: dict[int, Region | None] = {}
        for plane in planes:
            index = line.index(plane)
            if index is None or self.is_carried(object_id, plane, line.axis):
                continue
            region = self.places.region(object_id, plane)
            has_pixels = region is not None and region[0].stop > region[0].start
            if state.known.of((object_id, plane)).verdict == "not here":
                found[index] = None
            elif has_pixels:
                found[index] = region
            elif self._is_away(object_id, plane):
                found[index] = None
        return dict(sorted(found.items()))

    def is_carried(self, object_id: int, plane: Plane, axis: int) -> bool:
        """Whether an object's mask on a plane was followed along an axis, and is not accepted."""
        facts = self.state.known.of((object_id, plane))
        is_right = self.state.facts(object_id).accepted is True
        return facts.is_carried and facts.axis == axis and not is_right

    def _is_away(self, object_id: int, plane: Plane) -> bool:
        """Whether a user erased an object without pixels, or gave it negative clicks only."""
        if self.state.ownership.of((object_id, plane)).erased.pixels.size:
            return True
        return _is_negative(self.state.group((object_id, plane)))


def _is_negative(group: Group) -> bool:
    prompts = group.prompts
    negative = len(prompts.points) > 0 and not prompts.point_labels.any()
    return negative and prompts.box is None and prompts.mask is None


def around(known: Where, first: int, last: int) -> dict[int, Region | None]:
    """Return the known planes from `first` to `last`, and the nearest on each side."""
    before = max((z for z in known if z < first), default=first)
    after = min((z for z in known if z > last), default=last)
    return {z: where for z, where in known.items() if before <= z <= after}


def read_anchors(
    canvas: LabelCanvas, line: Line, known: Mapping[int, Where]
) -> dict[int, dict[int, Anchor]]:
    """Read the masks of objects on known planes from the labels."""
    from napari_sam.propagate import NotHere

    anchors: dict[int, dict[int, Anchor]] = {}
    for object_id, where in known.items():
        here = anchors.setdefault(object_id, {})
        for z, region in where.items():
            if region is None:
                here[z] = NotHere()
                continue
            labels = canvas.read(line.at(z), region)
            patch = cut(labels == object_id, (region[0].start, region[1].start))
            if not patch.is_empty:
                here[z] = patch
    return anchors
