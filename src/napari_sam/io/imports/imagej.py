"""Objects of ImageJ's regions of interest: a RoiSet, or a single region."""

from __future__ import annotations

import logging
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from napari_sam.io.exports.imagej import load_roifile
from napari_sam.io.exports.objects import ClassRecord
from napari_sam.io.imports.objects import (
    ImportedMask,
    ImportedObjects,
    ImportTarget,
    Index,
    Notify,
    imported,
    joined,
    number_of,
    record_of,
)
from napari_sam.io.outlines import fill

_AREAS = ("POLYGON", "RECT", "OVAL", "FREEHAND", "TRACED")
_LARGEST = 1 << 26  # bytes of a region


def read_imagej(path: Path, target: ImportTarget, notify: Notify) -> ImportedObjects:
    """Read every region that is an area as an object.

    Parameters
    ----------
    path
        A ``.zip`` or ``.roi``.
    target
        The image. Regions without a position in a stack are put on its first plane.
    notify
        Called with a message for each kind of content that is left out.

    Raises
    ------
    ImportError
        If roifile isn't installed.
    ValueError
        If the file has no regions, or is damaged.
    """
    roifile = load_roifile()
    masks: list[ImportedMask] = []
    colours: dict[str, str] = {}
    left_out: Counter[str] = Counter()
    without_place = 0
    for data in _regions(path):
        region = _parsed(roifile, data)
        rings = _rings(region)
        if not rings:
            left_out["that are no areas"] += 1
            continue
        index, has_position = _index(region, target)
        if index is None:
            left_out["on planes that the image lacks"] += 1
            continue
        without_place += not has_position and bool(target.stack_shape)
        props = {
            key.strip(): value.strip()
            for key, _, value in (line.partition(":") for line in region.props.splitlines())
        }
        score = _float(props.get("score", ""))
        record = record_of(props.get("class"), props.get("state"), props.get("origin"), score)
        if record.class_name and (colour := _colour(region.stroke_color)):
            colours[record.class_name] = colour
        mask = joined([fill(rings, target.plane_shape)])
        masks.append(ImportedMask(number_of(props.get("object")), record, index, *mask))
    if without_place:
        notify(
            f"{without_place} regions have no position in the stack: they are on its first plane"
        )
    classes = [ClassRecord(name, colour) for name, colour in colours.items()]
    return imported(masks, target, classes, left_out, notify)


def _regions(path: Path) -> list[bytes]:
    if path.suffix.lower() != ".zip":
        return [path.read_bytes()]
    with zipfile.ZipFile(path) as file:
        names = [one for one in file.infolist() if one.filename.lower().endswith(".roi")]
        if not names:
            raise ValueError("expected regions (.roi) in the archive, got none")
        if max(one.file_size for one in names) > _LARGEST:
            raise ValueError("expected regions of up to 64 MB, got a larger one")
        return [file.read(one) for one in names]


def _parsed(roifile: Any, data: bytes) -> Any:
    log = logging.getLogger("roifile")
    level = log.level
    log.setLevel(logging.CRITICAL)  # errors are raised with messages of our own
    try:
        return roifile.ImagejRoi.frombytes(data)
    finally:
        log.setLevel(level)


def _rings(region: Any) -> list[Any]:
    """Return the lines around an area; none if it isn't one."""
    is_area = region.roitype.name in _AREAS and region.subtype.name in ("UNDEFINED", "ELLIPSE")
    if not is_area or (region.subtype.name == "ELLIPSE" and region.n_coordinates == 0):
        return []
    return [
        np.asarray(ring, float)[:, ::-1] for ring in region.coordinates(multi=True) if len(ring) > 2
    ]


def _index(region: Any, target: ImportTarget) -> tuple[Index | None, bool]:
    """Return the plane of a region, and whether it has a position. ImageJ counts from 1."""
    positions = {"c": region.c_position, "z": region.z_position, "t": region.t_position}
    place = {axis: i - 1 for axis, i in positions.items() if i > 0}
    if any(axis.upper() in target.plane_axes for axis in place):
        return target.index(place), True
    if region.position < 1:
        return target.index({}), False
    lengths = dict(zip(target.plane_axes, target.stack_shape, strict=True))
    order = sorted(lengths, key=lambda axis: "CZT".find(axis))  # the first runs fastest
    rest, place = region.position - 1, {}
    for axis in order:
        rest, place[axis.lower()] = divmod(rest, lengths[axis])
    return (None if rest else target.index(place)), True


def _colour(argb: bytes) -> str:
    return "#" + argb[1:4].hex() if argb[:1] == b"\xff" else ""


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
