"""Parts of a stack through which objects are followed, and how far that is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from napari_sam.planes import Plane

SpanState = Literal["fresh", "stale", "running", "failed"]
"""Whether masks are what follows from the planes around, or no longer, or are being made anew, or
could not be."""

DOUBTFUL = 0.7
"""A carried mask whose quality is lower is doubtful."""


@dataclass(frozen=True, slots=True)
class Span:
    """Planes on which an object was carried, between two where it is known, or one and its end.

    Parameters
    ----------
    object_id
        The object.
    axis
        The axis along which it was followed.
    first, last
        Indices along the axis of the outermost planes that were carried, inclusive.
    anchors
        Indices of the planes from which they come: one, or one on either side.
    state
        How far it is.
    plane
        The plane where it begins.
    """

    object_id: int
    axis: int
    first: int
    last: int
    anchors: tuple[int, ...]
    state: SpanState
    plane: Plane


@dataclass(frozen=True, slots=True)
class FollowProgress:
    """How far objects are followed.

    Parameters
    ----------
    object_ids
        The objects, ascending.
    axis
        The axis along which they are followed.
    plane
        The plane that is being looked at; None before the first.
    done, count
        How many steps from plane to plane are made, of how many at most: objects may end sooner.
    fraction
        Share that is done, 0-1.
    seconds_left
        Estimated from the steps before; None before the first.
    is_correction
        Whether it only makes anew what depends on a plane that was changed.
    """

    object_ids: tuple[int, ...]
    axis: int
    plane: Plane | None
    done: int
    count: int
    fraction: float
    seconds_left: float | None = None
    is_correction: bool = False
