"""COCO: one data set of images with their objects, as pycocotools and most trainers read it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy.ndimage import find_objects

from napari_sam.atomic import replaced
from napari_sam.io.exports.objects import ExportedObjects, ObjectRecord, Report
from napari_sam.io.outlines import Polygon, outlines
from napari_sam.io.run_length import encode

Segmentation = Literal["rle", "polygons"]
"""Masks as run lengths, or as polygons for objects without holes, which COCO cannot represent."""

UNCLASSIFIED = "object"
"""Name of the category of objects without a class."""


def write_coco(
    several: Sequence[ExportedObjects],
    path: Path,
    segmentation: Segmentation = "rle",
    report: Report | None = None,
) -> None:
    """Write the objects of images as one data set.

    Each plane of a stack is an image, and an object has an annotation on each of its planes.
    Besides COCO's own fields an image has its ``plane``, and an annotation ``object_id``,
    ``state``, ``origin`` and ``score``, where they are known.

    Parameters
    ----------
    several
        The images.
    path
        The ``.json`` file; an existing one is replaced.
    segmentation
        How masks are written. With polygons, objects with holes still have run lengths.
    report
        Called with the finished fraction; it may raise to cancel.

    Raises
    ------
    OSError
        If it can't be written.
    """
    names = dict.fromkeys(name for objects in several for name in objects.class_names)
    categories = {name: i for i, name in enumerate(names, 1)}
    with replaced(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write('{"info": ')
        fields = {
            "description": ", ".join(o.name for o in several),
            "contributor": "napari-sam-live",
        }
        json.dump(fields, file)
        file.write(',\n"licenses": [],\n"categories": ')
        json.dump(list(_categories(several, categories)), file)
        images: list[dict[str, Any]] = []
        file.write(',\n"annotations": [')
        number = 0
        for position, objects in enumerate(several):
            for index, labels in objects.planes(part_of_report(report, position, len(several))):
                images.append(_image(objects, index, len(images) + 1))
                for annotation in _annotations(objects, labels, segmentation, categories):
                    number += 1
                    file.write(",\n" if number > 1 else "\n")
                    json.dump({"id": number, "image_id": len(images), **annotation}, file)
        file.write('],\n"images": ')
        json.dump(images, file)
        file.write("}\n")


def _categories(
    several: Sequence[ExportedObjects], categories: dict[str, int]
) -> Iterator[dict[str, Any]]:
    for name, number in categories.items():
        colours = (objects.colour_of(name) for objects in several)
        colour = next((list(one) for one in colours if one is not None), None)
        fields = {"id": number, "name": name, "supercategory": ""}
        yield fields if colour is None else {**fields, "color": colour}
    yield {
        "id": len(categories) + 1,
        "name": UNCLASSIFIED,
        "supercategory": "",
        "unclassified": True,
    }


def _image(objects: ExportedObjects, index: tuple[int, ...], number: int) -> dict[str, Any]:
    height, width = objects.plane_shape
    fields = {"id": number, "file_name": objects.name, "height": height, "width": width}
    return {**fields, "plane": objects.place(index)} if index else fields


def _annotations(
    objects: ExportedObjects,
    labels: np.ndarray[Any, Any],
    segmentation: Segmentation,
    categories: dict[str, int],
) -> Iterator[dict[str, Any]]:
    traced = outlines(labels) if segmentation == "polygons" else {}
    for label, (rows, columns) in rectangles(labels):
        mask = labels[rows, columns] == label
        top, left = rows.start, columns.start
        record = objects.record(label)
        yield {
            "category_id": categories.get(record.class_name, len(categories) + 1),
            "segmentation": _polygons(traced.get(label, ()))
            or {
                "size": list(labels.shape),
                "counts": encode(mask, (top, left), (labels.shape[0], labels.shape[1])),
            },
            "area": int(np.count_nonzero(mask)),
            "bbox": [left, top, columns.stop - left, rows.stop - top],
            "iscrowd": 0,
            **_facts(record),
        }


def _facts(record: ObjectRecord) -> dict[str, Any]:
    fields: dict[str, Any] = {"object_id": record.id, "state": record.state}
    if record.origin:
        fields["origin"] = record.origin
    if record.score is not None and np.isfinite(record.score):
        fields["score"] = round(float(record.score), 6)
    return fields


def _polygons(polygons: Sequence[Polygon]) -> list[list[int]]:
    """Return polygons in COCO's format; none if one has a hole."""
    if any(one.holes for one in polygons):
        return []
    return [one.shell[:, ::-1].reshape(-1).tolist() for one in polygons]


def part_of_report(report: Report | None, position: int, count: int) -> Report | None:
    """Return what one of several images reports its own fraction to."""
    if report is None:
        return None
    return lambda fraction: report((position + fraction) / count)


def rectangles(
    labels: np.ndarray[Any, Any],
) -> Iterator[tuple[int, tuple[slice, slice]]]:
    """Yield the labels of a plane and the smallest rectangle around each."""
    found, inverse = np.unique(labels, return_inverse=True)
    places = find_objects(inverse.reshape(labels.shape).astype(np.int32, copy=False) + 1)
    for label, place in zip(found.tolist(), places, strict=True):
        if label > 0 and place is not None:
            yield label, place
