"""Objects to export that make it hard: holes, parts, an island, two touching, one without facts."""

from __future__ import annotations

import numpy as np

from napari_sam.io import ImageFile
from napari_sam.io.exports import ClassRecord, ExportedObjects, ObjectRecord

RECORDS = {
    1: ObjectRecord(1, "nucleus", "accepted", "prompted", 0.91, 3, 4.5),
    2: ObjectRecord(2, "", "proposed", "found", 0.5),
    4: ObjectRecord(4, "debris, old", "locked", "painted"),
    70000: ObjectRecord(70000, "nucleus", "accepted", "found", 0.875),
}
CLASSES = (ClassRecord("nucleus", "#ff8000"), ClassRecord("debris, old", "#0000ff"))


def plane_of_objects() -> np.ndarray:
    labels = np.zeros((24, 32), np.int32)
    labels[2:10, 3:12] = 1
    labels[4:8, 5:10] = 0  # a hole, with an island
    labels[5:7, 7:9] = 1
    labels[2:10, 12:15] = 2  # touches the first
    labels[20:22, 20:22] = labels[22:24, 22:24] = 4  # two parts that touch at a corner
    labels[12:16, 0:6] = 70000
    labels[0, 31] = 5  # nothing is known about it
    return labels


def exported(shape: tuple[int, ...] = (), axes: str = "YX") -> ExportedObjects:
    """Return objects of a plane, or of a stack whose planes have other ones each."""
    plane = plane_of_objects()
    labels = np.zeros((*shape, *plane.shape), np.int32)
    for n, index in enumerate(np.ndindex(shape)):
        labels[index] = np.where(np.isin(plane, [1, 2, 4][n % 3 :]), plane, 0) if shape else plane
    pixels = np.arange(labels.size, dtype=np.uint16).reshape(labels.shape)
    sizes = {"Y": 0.5, "X": 0.5, "Z": 2.0, "T": 60.0}
    sizes = {axis: size for axis, size in sizes.items() if axis in axes}
    image = ImageFile(pixels, axes, sizes, "µm")
    return ExportedObjects(labels, axes, "cells.tif", RECORDS, CLASSES, sizes, "µm", image)
