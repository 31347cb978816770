"""Objects of GeoJSON: polygons in pixels, as of QuPath and other programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from napari_sam.io.exports.objects import ClassRecord
from napari_sam.io.imports.objects import (
    ImportedMask,
    ImportedObjects,
    ImportTarget,
    Index,
    Notify,
    hex_colour,
    imported,
    joined,
    number_of,
    record_of,
)
from napari_sam.io.outlines import Ring, fill


def read_geojson(data: Any, target: ImportTarget, notify: Notify) -> ImportedObjects:
    """Read every polygon as an object.

    Parameters
    ----------
    data
        A FeatureCollection, a list of features, or a feature, as parsed from JSON. Coordinates
        are pixels, x before y.
    target
        The image; features outside of it are left out.
    notify
        Called with a message for each kind of content that is left out.

    Raises
    ------
    ValueError
        If it isn't GeoJSON, or is damaged.
    """
    masks: list[ImportedMask] = []
    classes: dict[str, str] = {}
    left_out: Counter[str] = Counter()
    for feature in _features(data):
        geometry, properties = feature.get("geometry"), feature.get("properties") or {}
        parts = list(_parts(geometry or {}))
        if not parts:
            left_out["that are no areas"] += 1
            continue
        metadata = properties.get("metadata") or {}
        index = _index(geometry, metadata, target)
        if index is None:
            left_out["on planes that the image lacks"] += 1
            continue
        name, colour = _class(properties.get("classification"))
        if name:
            classes[name] = classes.get(name) or colour
        state = "locked" if properties.get("isLocked") else metadata.get("state")
        score = _score(properties.get("measurements"))
        record = record_of(name, state, metadata.get("origin"), score)
        number = number_of(metadata.get("object"))
        mask = joined(fill(rings, target.plane_shape) for rings in parts)
        masks.append(ImportedMask(number, record, index, *mask))
    records = [ClassRecord(name, colour) for name, colour in classes.items()]
    return imported(masks, target, records, left_out, notify)


def _features(data: Any) -> list[dict[str, Any]]:
    if isinstance(data, dict):
        data = data["features"] if data.get("type") == "FeatureCollection" else [data]
    if not isinstance(data, list) or not all(
        isinstance(one, dict) and one.get("type") == "Feature" for one in data
    ):
        raise ValueError("expected features of GeoJSON, got something else")
    return data


def _parts(geometry: dict[str, Any]) -> Iterator[list[Ring]]:
    """Yield the lines of each polygon: its outline and its holes."""
    kind = geometry.get("type")
    if kind == "GeometryCollection":
        for one in geometry["geometries"]:
            yield from _parts(one)
    elif kind == "Polygon":
        yield [_ring(line) for line in geometry["coordinates"]]
    elif kind == "MultiPolygon":
        for lines in geometry["coordinates"]:
            yield [_ring(line) for line in lines]


def _ring(line: list[list[float]]) -> Ring:
    return np.array([[float(y), float(x)] for x, y, *_ in line]).reshape(-1, 2)


def _index(geometry: Any, metadata: dict[str, Any], target: ImportTarget) -> Index | None:
    plane = geometry.get("plane") or {}
    place = {axis: max(0, int(i)) for axis, i in plane.items() if axis in ("c", "z", "t")}
    for key, value in metadata.items():
        if key.startswith("axis ") and str(value).isdigit():
            place[key.removeprefix("axis ")] = int(value)
    return target.index(place)


def _class(given: Any) -> tuple[str, str]:
    if not isinstance(given, dict):
        return "", ""
    names = given.get("names")
    name = ": ".join(map(str, names)) if isinstance(names, list) else given.get("name") or ""
    packed = given.get("colorRGB")  # of QuPath before 0.4
    if type(packed) is int:
        return str(name), f"#{packed & 0xFFFFFF:06x}"
    return str(name), hex_colour(given.get("color"))


def _score(measurements: Any) -> float | None:
    if isinstance(measurements, list):  # of QuPath before 0.4
        measurements = {one.get("name"): one.get("value") for one in measurements}
    value = measurements.get("Predicted IoU") if isinstance(measurements, dict) else None
    return float(value) if isinstance(value, int | float) else None
