"""Where objects are known along a line of planes, and what is known there."""

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
"""Index of a plane to a rectangle around the object's pixels there; None where it is not."""


class Places(Protocol):
    """Tells where objects are; None where that isn't known yet."""

    def region(self, object_id: int, plane: Plane) -> Region | None:
        """Return a rectangle around an object's pixels on a plane, empty if it has none."""
        ...

    def planes(self, object_id: int) -> Sequence[Plane] | None:
        """Return the planes where an object has pixels."""
        ...


@dataclass(frozen=True, slots=True)
class Anchoring:
    """Tells where objects are known.

    Parameters
    ----------
    state
        What there is.
    places
        Where labels show objects.
    """

    state: State
    places: Places

    def is_counted(self, object_ids: Sequence[int]) -> bool:
        """Whether it is known where the labels show objects."""
        return all(self.places.planes(i) is not None for i in object_ids)

    def is_answered(self, object_id: int, line: Line) -> bool:
        """Whether the prompts of an object have their masks everywhere on a line."""
        return all(
            self.state.is_written(key)
            for key in self.state.book.keys
            if key[0] == object_id and line.index(key[1]) is not None
        )

    def known(self, object_id: int, line: Line) -> dict[int, Region | None]:
        """Return where an object is known on a line, in order: see :data:`Where`.

        That is where it has prompts, or pixels that were not carried along the line, or where
        somebody took it away or said that it is not there.
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
            if state.known.of((object_id, plane)).said == "not here":
                found[index] = None
            elif has_pixels:
                found[index] = region
            elif self._is_away(object_id, plane):
                found[index] = None
        return dict(sorted(found.items()))

    def is_carried(self, object_id: int, plane: Plane, axis: int) -> bool:
        """Whether an object's mask on a plane follows from other planes along an axis."""
        facts = self.state.known.of((object_id, plane))
        is_right = self.state.facts(object_id).accepted is True
        return facts.is_carried and facts.axis == axis and not is_right

    def _is_away(self, object_id: int, plane: Plane) -> bool:
        """Whether somebody took an object without pixels away, or said no by a click."""
        if self.state.ownership.of((object_id, plane)).erased.pixels.size:
            return True
        return _says_no(self.state.group((object_id, plane)))


def _says_no(group: Group) -> bool:
    prompts = group.prompts
    no = len(prompts.points) > 0 and not prompts.point_labels.any()
    return no and prompts.box is None and prompts.mask is None


def around(known: Where, first: int, last: int) -> dict[int, Region | None]:
    """Return what is known within some planes, and the nearest on either side of them."""
    before = max((z for z in known if z < first), default=first)
    after = min((z for z in known if z > last), default=last)
    return {z: where for z, where in known.items() if before <= z <= after}


def read_anchors(
    canvas: LabelCanvas, line: Line, known: Mapping[int, Where]
) -> dict[int, dict[int, Anchor]]:
    """Read the masks of objects from labels, and say where they are not."""
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
