"""An object on its way."""

from __future__ import annotations

from dataclasses import dataclass, field

from napari_sam.propagate.judge import Causes, Vector
from napari_sam.propagate.march import Carried, Followed
from napari_sam.propagate.recollection import Trail


@dataclass(slots=True, eq=False)
class Track:
    """An object on its way from an anchor in one direction.

    Parameters
    ----------
    object_id
        The object.
    start, stop
        Plane of the anchor, and the first one that the track doesn't reach.
    is_between
        Whether the object is known at the stop, too.
    is_denied
        Whether a user said that it isn't there.
    last
        The object on the latest plane that it was found on.
    look
        What it looked like where it was given.
    trail
        What is remembered of it, with a model that can.
    is_on
        Whether it goes on.
    found
        The object by plane.
    seen
        What speaks for and against it, from the start outward.
    waiting
        Planes found, but not judged yet.
    met_stop
        Whether the plane where it isn't was seen, too.
    present
        Probability of being there on the last plane that was judged.
    lowest
        Lowest predicted IoU up to there.
    """

    object_id: int
    start: int
    stop: int
    is_between: bool
    is_denied: bool
    last: Followed
    look: Vector | None
    trail: Trail | None = None
    is_on: bool = True
    found: dict[int, Carried] = field(default_factory=dict)
    seen: list[Causes] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)
    met_stop: bool = False
    present: float = 1.0
    lowest: float = 1.0

    def covers(self, z: int) -> bool:
        """Whether the track may still come to a plane, or came there.

        It looks at the plane where the object is said not to be, too, and leaves it.
        """
        is_there = self.start < z < self.stop or self.stop < z < self.start
        return is_there or (self.is_denied and z == self.stop)
