"""An object that is followed from one anchor in one direction."""

from __future__ import annotations

from dataclasses import dataclass, field

from napari_sam.propagate.judge import Causes, Vector
from napari_sam.propagate.march import Carried, Followed
from napari_sam.propagate.recollection import Trail


@dataclass(slots=True, eq=False)
class Track:
    """An object that is followed from one anchor in one direction.

    Parameters
    ----------
    object_id
        The object.
    start, stop
        Plane of the anchor, and the first plane that the track doesn't reach.
    is_between
        Whether the stop is another anchor of the object.
    is_denied
        Whether the object was given as :class:`NotHere` at the stop.
    last
        The object on the latest plane on which it was found.
    appearance
        Its mean features where it was given, minus those of the plane.
    trail
        The model's memories of it, with a model that has a memory.
    is_on
        Whether it is still followed.
    found
        The object by plane.
    seen
        The measurements of each plane, from the start outward.
    waiting
        Planes on which it was found, but that aren't judged yet.
    met_stop
        Whether the stop was predicted, too, where the object was given as absent.
    present
        Probability of being there on the last plane that was judged.
    lowest
        Lowest predicted IoU up to that plane.
    """

    object_id: int
    start: int
    stop: int
    is_between: bool
    is_denied: bool
    last: Followed
    appearance: Vector | None
    trail: Trail | None = None
    is_on: bool = True
    found: dict[int, Carried] = field(default_factory=dict)
    seen: list[Causes] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)
    met_stop: bool = False
    present: float = 1.0
    lowest: float = 1.0

    def covers(self, z: int) -> bool:
        """Whether a plane lies between the start and the stop.

        The stop is included where the object was given as absent: it is predicted to learn how
        the model behaves without the object.
        """
        is_there = self.start < z < self.stop or self.stop < z < self.start
        return is_there or (self.is_denied and z == self.stop)
