"""Objects through a stack: one with :func:`propagate`, many together with :func:`follow`."""

from napari_sam.propagate.anchors import Anchor, Anchors, Ends, NotHere
from napari_sam.propagate.attention import plane_to_check
from napari_sam.propagate.follow import FollowedPlane, Upcoming, follow, follow_steps
from napari_sam.propagate.judge import Causes, Judge, judge_of
from napari_sam.propagate.march import Followed
from napari_sam.propagate.planes import FollowPlanes, StackPlanes
from napari_sam.propagate.stack import PropagationStep, propagate

__all__ = [
    "Anchor",
    "Anchors",
    "Causes",
    "Ends",
    "FollowPlanes",
    "Followed",
    "FollowedPlane",
    "Judge",
    "NotHere",
    "PropagationStep",
    "StackPlanes",
    "Upcoming",
    "follow",
    "follow_steps",
    "judge_of",
    "plane_to_check",
    "propagate",
]
