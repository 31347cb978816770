"""Spans of planes through which objects were followed, and the progress of following."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from napari_sam.planes import Plane
from napari_sam.session.follow_anchors import Anchoring
from napari_sam.session.known_planes import Line
from napari_sam.session.state import State

SpanState = Literal["fresh", "stale", "running"]
"""The state of a span: its masks agree with the planes from which they were followed; or one of
these was changed since; or the masks are being predicted again, or wait for that."""

DOUBTFUL = 0.6
"""A followed mask of a lower quality (expected IoU) is doubtful."""


@dataclass(frozen=True, slots=True)
class Span:
    """A range of planes to which an object was followed.

    Parameters
    ----------
    object_id
        The object.
    axis
        The axis along which it was followed.
    first, last
        Indices along the axis of the first and the last plane, inclusive.
    anchors
        Indices of the planes from which it was followed: one, or one on each side.
    state
        ``"fresh"``: the masks agree with these planes. ``"stale"``: one of these was changed
        since. ``"running"``: the masks are being predicted again, or wait for that.
    plane
        The plane at `first`.
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
    """The progress of following.

    Parameters
    ----------
    object_ids
        The objects, ascending.
    axis
        The axis along which they are followed.
    plane
        The plane in progress; None before the first.
    done, count
        Number of planes that are done, and of all; objects may end before the last plane.
    fraction
        Fraction (0-1) that is done.
    seconds_left
        Estimated time for the rest; None before the first plane is done.
    is_correction
        Whether masks are only predicted again because a plane was corrected.
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
        The state of the session, and where objects are known.
    object_id, line
        The object, and the line of planes.
    stale
        Indices of planes that changed since masks were followed from them.
    is_running
        Whether the object is being followed along the line, or about to be.
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
