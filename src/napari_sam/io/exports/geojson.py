"""GeoJSON as QuPath reads and writes it: polygons with holes, classification, measurements."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam.atomic import replaced
from napari_sam.io.exports.objects import ExportedObjects, ObjectRecord, Report
from napari_sam.io.image_file import MICROMETRE
from napari_sam.io.outlines import Polygon, Ring, outlines


def write_geojson(objects: ExportedObjects, path: Path, report: Report | None = None) -> None:
    """Write objects as detections of QuPath, one for each object and plane.

    Coordinates are pixels, x before y, with (0, 0) at the outer corner of the first pixel. A
    feature's ``properties`` have the object's number as ``name``, its ``classification`` with
    its colour, whether it ``isLocked``, and ``measurements``; ``metadata`` has what else is known.
    On stacks its geometry has the ``plane`` (c, z, t).

    Parameters
    ----------
    objects
        What is written.
    path
        The ``.geojson`` file; what is there is replaced.
    report
        Called with the finished fraction; it may raise to cancel.

    Raises
    ------
    OSError
        If it can't be written.
    """
    with replaced(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write('{"type": "FeatureCollection", "features": [')
        comma = "\n"
        for index, labels in objects.planes(report):
            areas = _areas(labels)
            for label, polygons in outlines(labels).items():
                feature = _feature(objects, index, label, polygons, areas[label])
                file.write(comma)
                json.dump(feature, file)
                comma = ",\n"
        file.write("\n]}\n")


def _areas(labels: NDArray[Any]) -> dict[int, int]:
    found, counts = np.unique(labels[labels > 0], return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))


def _feature(
    objects: ExportedObjects,
    index: tuple[int, ...],
    label: int,
    polygons: tuple[Polygon, ...],
    area: int,
) -> dict[str, Any]:
    record = objects.record(label)
    parts = [[_closed(ring) for ring in one.rings] for one in polygons]
    is_one = len(parts) == 1
    geometry: dict[str, Any] = {
        "type": "Polygon" if is_one else "MultiPolygon",
        "coordinates": parts[0] if is_one else parts,
    }
    place = objects.place(index)
    if known := {axis: place.pop(axis) for axis in "czt" if axis in place}:
        geometry["plane"] = {"c": -1, "z": 0, "t": 0} | known
    properties: dict[str, Any] = {"objectType": "detection", "name": str(label)}
    if record.class_name:
        colour = objects.colour_of(record.class_name)
        classification = {"name": record.class_name}
        properties["classification"] = (
            classification if colour is None else classification | {"color": list(colour)}
        )
    properties["isLocked"] = record.state == "locked"
    properties["measurements"] = _measurements(objects, record, area)
    metadata = {"object": str(label), "state": record.state, "origin": record.origin}
    metadata |= {f"axis {axis}": str(i) for axis, i in place.items()}  # of which QuPath has none
    properties["metadata"] = {key: value for key, value in metadata.items() if value}
    name = uuid.uuid5(uuid.NAMESPACE_OID, f"{objects.name}/{index}/{label}")
    return {"type": "Feature", "id": str(name), "geometry": geometry, "properties": properties}


def _closed(ring: Ring) -> list[list[int]]:
    corners: list[list[int]] = ring[:, ::-1].tolist()
    return [*corners, corners[0]]


def _measurements(objects: ExportedObjects, record: ObjectRecord, area: int) -> dict[str, float]:
    sizes = objects.pixel_size or {}
    measurements: dict[str, float] = {"Area px^2": area}
    if {"X", "Y"} <= set(sizes):
        unit = "µm" if objects.unit in (None, MICROMETRE) else objects.unit
        measurements = {f"Area {unit}^2": float(f"{area * sizes['X'] * sizes['Y']:.6g}")}
    if record.score is not None and np.isfinite(record.score):
        measurements["Predicted IoU"] = round(float(record.score), 6)
    return measurements | {"Prompts": record.prompts}
