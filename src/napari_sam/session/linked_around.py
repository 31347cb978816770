"""Linking objects around some frames of a movie; tracks elsewhere stay as they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import pairwise

from napari_sam.engine import Report
from napari_sam.geometry import Region
from napari_sam.planes import Plane, PlaneSource
from napari_sam.session.canvas import LabelCanvas
from napari_sam.session.linked import (
    LinkConstraints,
    Linked,
    LinkRequest,
    MovieFrames,
    named,
    recoded,
)
from napari_sam.session.object_index import Extent, Extents, joined
from napari_sam.session.object_table import count_planes
from napari_sam.session.pixels import PixelChange
from napari_sam.tracking import link

_Key = tuple[int, int]  # a frame, and a label there


def extents_of(canvas: LabelCanvas, source: PlaneSource, report: Report) -> Extents:
    """Return the extents of all objects, from the labels."""
    shapes = {plane: source.plane_shape(plane) for plane in canvas.planes()}
    places: dict[int, dict[Plane, Extent]] = {}
    for plane, here in count_planes(canvas, shapes, report).items():
        for label, extent in here.items():
            places.setdefault(label, {})[plane] = extent
    return places


def linked_around(
    canvas: LabelCanvas,
    source: PlaneSource,
    request: LinkRequest,
    constraints: LinkConstraints,
    places: Extents,
    report: Report,
    highest: int,
) -> Linked | None:
    """Link the objects near frames that have changed, and decide which numbers they get.

    On frames farther away each label is a track already, and is linked with the label of the same
    number on the nearer frames. Tracks get the same numbers as if all frames had been linked: the
    label of most of their area, which is known for all frames.

    Parameters
    ----------
    canvas, source, request, constraints, report, highest
        As for :func:`~napari_sam.session.linked.linked_anew`; the request names frames.
    places
        The extents of objects.

    Returns
    -------
    found
        The result; None if the labels near these frames differ from the extents.
    """
    axis, within = request.axis, request.within
    assert request.frames is not None
    assert within is not None
    step = request.settings.max_gap + 1
    spans = _spans(request.frames, step, source.shape[axis])
    span_of = {frame: i for i, span in enumerate(spans) for frame in range(*span)}
    near = {
        label
        for label, planes in places.items()
        if label not in constraints.locked
        and any((plane[axis] or 0) in span_of for plane in planes)
    }
    children = {child for child, parent in constraints.parents.items() if parent in near}
    known = near | (children & places.keys()) - constraints.locked
    areas = {label: _by_frame(places[label], axis) for label in sorted(known)}
    following = _links_elsewhere(areas, span_of, step)
    entered = {after for after in following.values() if after[0] in span_of}
    left = {before for before in following if before[0] in span_of}
    how = replace(request.settings, reach=within, divisions=False)
    for i, (first, end) in enumerate(spans):
        report(i / len(spans))
        frames = MovieFrames(canvas, source, axis, sorted(constraints.locked), (first, end))
        fixed = (_within(keys, first, end) for keys in (entered, left))
        tracks = link(frames, how, request.spacing, None, *fixed)
        last: dict[int, _Key] = {}
        for t, here in enumerate(tracks.numbers, first):
            if here.keys() != {label for label in near if t in areas[label]}:
                return None
            for label, track in here.items():
                if track in last:
                    following[last[track]] = t, label
                last[track] = t, label
    born = {(min(areas[label]), label) for label in constraints.parents if label in areas}
    before = {after: key for key, after in following.items() if after not in born}
    keys = sorted((t, label) for label, of in areas.items() for t in of)
    track_of: dict[_Key, int] = {}
    for key in keys:
        track_of[key] = track_of[before[key]] if key in before else len(track_of)
    above = max(highest, *places) if places else highest
    numbers, origins = named({(t, i): (track_of[t, i], areas[i][t]) for t, i in keys}, above)
    on = {label: sorted(of) for label, of in areas.items()}
    after = {numbers.get((t, label), label) for t, label in keys}
    return Linked(
        numbers,
        origins,
        tuple(sorted(on.keys() - after)),
        on,
        tuple(_recoded_where(canvas, places, axis, numbers)),
        above,
        max(above, *origins) if origins else above,
        len({track_of[key] for key in keys if key[0] in span_of}),
        request,
        within,
    )


def _spans(frames: Iterable[int], step: int, count: int) -> list[tuple[int, int]]:
    """Return the merged spans around frames: the first frame, and one after the last."""
    spans: list[tuple[int, int]] = []
    for frame in sorted(frame for frame in set(frames) if frame < count):
        first, end = max(0, frame - step), min(count, frame + step + 1)
        if spans and first <= spans[-1][1]:
            spans[-1] = spans[-1][0], end
        else:
            spans.append((first, end))
    return spans


def _by_frame(planes: Mapping[Plane, Extent], axis: int) -> dict[int, int]:
    """Return the area of an object on each frame."""
    areas: dict[int, int] = {}
    for plane, extent in planes.items():
        frame = plane[axis] or 0
        areas[frame] = areas.get(frame, 0) + extent.area
    return areas


def _links_elsewhere(
    areas: Mapping[int, Mapping[int, int]], span_of: Mapping[int, int], step: int
) -> dict[_Key, _Key]:
    """Return the links within tracks outside of the spans, and into and out of these."""
    following: dict[_Key, _Key] = {}
    for label, of in areas.items():
        for frame, later in pairwise(sorted(of)):
            spans = {span_of.get(frame), span_of.get(later)}
            if spans == {None} or (len(spans) == 2 and later - frame <= step):
                following[frame, label] = later, label
    return following


def _within(keys: Iterable[_Key], first: int, end: int) -> set[_Key]:
    """Return the keys of a span, counted from its first frame."""
    return {(frame - first, label) for frame, label in keys if first <= frame < end}


def _recoded_where(
    canvas: LabelCanvas, places: Extents, axis: int, numbers: Mapping[_Key, int]
) -> list[PixelChange]:
    """Return the changes that renumber labels, reading only the rectangles around them."""
    by_plane: dict[Plane, dict[int, int]] = {}
    boxes: dict[Plane, Extent] = {}
    for label in sorted({label for _, label in numbers}):
        for plane, extent in places[label].items():
            number = numbers.get((plane[axis] or 0, label))
            if number is not None:
                by_plane.setdefault(plane, {})[label] = number
                boxes[plane] = joined(boxes[plane], extent) if plane in boxes else extent
    pixels: list[PixelChange] = []
    for plane, here in by_plane.items():
        pixels += recoded(canvas, plane, _region(boxes[plane]), here)
    return pixels


def _region(extent: Extent) -> Region:
    r0, c0, r1, c1 = extent.box
    return slice(r0, r1 + 1), slice(c0, c1 + 1)
