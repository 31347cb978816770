"""Parts of a stack through which objects are followed, and how far that is."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from napari_sam.planes import Plane
from napari_sam.session.follow_anchors import Anchoring
from napari_sam.session.known_planes import Line
from napari_sam.session.state import State

SpanState = Literal["fresh", "stale", "running"]
"""Whether masks are what follows from the planes around, or no longer, or are being made anew, or
wait for a mask to be."""

DOUBTFUL = 0.6
"""A carried mask whose quality, the IoU to be expected, is lower is doubtful."""


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


def spans_of(
    state: State,
    anchoring: Anchoring,
    object_id: int,
    line: Line,
    stale: Collection[int],
    is_running: bool,
) -> list[Span]:
    """Return the spans of an object along a line, in order.

    Parameters
    ----------
    state, anchoring
        What there is, and where objects are known.
    object_id, line
        Of which object, along which line.
    stale
        Indices of planes that changed since others were made from them.
    is_running
        Whether the object is being followed there, or about to be.
    """
    carried = sorted(
        index
        for plane, facts in state.known.planes(object_id).items()
        if facts.quality is not None
        and anchoring.is_carried(object_id, plane, line.axis)
        and (index := line.index(plane)) is not None
    )
    known = [z for z, where in anchoring.known(object_id, line).items() if where is not None]
    groups: dict[tuple[int, ...], list[int]] = {}
    for index in carried:
        below = max((z for z in known if z < index), default=None)
        above = min((z for z in known if z > index), default=None)
        anchors = tuple(z for z in (below, above) if z is not None)
        groups.setdefault((*anchors, *([-1] if below is None else [])), []).append(index)
    found = []
    for between, indices in groups.items():
        anchors = tuple(z for z in between if z >= 0)
        first, last = indices[0], indices[-1]
        reach = range(min([first, *anchors]), max([last, *anchors]) + 1)
        is_stale = any(z in reach for z in stale)
        how: SpanState = "running" if is_running else "stale" if is_stale else "fresh"
        at = line.at(first)
        found.append(Span(object_id, line.axis, first, last, anchors, how, at))
    return found
