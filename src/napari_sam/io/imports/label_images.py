"""Objects of a label image: TIFF, PNG, NPY, Zarr and OME-Zarr, from whatever program."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam.io.exports.objects import ClassRecord, ObjectRecord, Report
from napari_sam.io.formats import read_image
from napari_sam.io.image_file import ImageFile
from napari_sam.io.imports.objects import (
    ImportedObjects,
    ImportTarget,
    Index,
    hex_colour,
    record_of,
)
from napari_sam.io.ome_zarr import is_zarr, ome_attributes, zarr_library


def read_label_image(path: Path, target: ImportTarget, axes: str | None) -> ImportedObjects:
    """Open the label image of an image; each plane is read when it is needed.

    Parameters
    ----------
    path
        Anything that :func:`~napari_sam.io.read_image` reads, with whole numbers.
    target
        The image, whose shape the labels must have. Axes of length 1 may be missing.
    axes
        As in :func:`~napari_sam.io.read_image`.

    Raises
    ------
    ValueError
        If the file has no labels, or labels of another shape than the image.
    """
    image = read_image(path, axes)
    records, classes = _facts(path) if is_zarr(path) else ({}, ())
    return objects_of_labels(image, path, target, records, classes)


def objects_of_labels(
    image: ImageFile,
    path: Path,
    target: ImportTarget,
    records: Mapping[int, ObjectRecord],
    classes: tuple[ClassRecord, ...] = (),
) -> ImportedObjects:
    """Return the objects of an open label image; see :func:`read_label_image`.

    Parameters
    ----------
    image
        The labels.
    path
        Their file, for messages.
    target
        The image that they belong to.
    records, classes
        Records of the objects and their classes.
    """
    if np.dtype(image.data.dtype).kind not in "biu" or image.is_rgb:
        what = "colours" if image.is_rgb else f"numbers of the type {image.data.dtype}"
        raise ValueError(f"expected whole numbers as labels in {path}, got {what}")
    order = _order(image, target)

    def planes(report: Report | None) -> Iterator[tuple[Index, NDArray[Any]]]:
        total = max(1, int(np.prod(target.stack_shape)))
        for number, index in enumerate(np.ndindex(target.stack_shape)):
            if report is not None:
                report(number / total)
            labels = image.plane(tuple(index[i] if i >= 0 else 0 for i in order))
            if labels.dtype.kind == "b":
                labels = labels.astype(np.uint8)
            if labels.dtype.kind == "i" and (labels < 0).any():
                labels = np.where(labels < 0, 0, labels)
            if labels.any():
                yield index, labels

    return ImportedObjects(planes, records, classes)


def _order(image: ImageFile, target: ImportTarget) -> list[int]:
    """Return the plane axis of the image for each plane axis of the labels; -1 for none."""
    long = [(a, n) for a, n in zip(target.plane_axes, target.stack_shape, strict=True) if n > 1]
    own = [(a, n) for a, n in zip(image.plane_axes, image.stack_shape, strict=True) if n > 1]
    by_letter = sorted(long) == sorted(own)
    if image.plane_shape != target.plane_shape or not (
        by_letter or [n for _, n in long] == [n for _, n in own]
    ):
        advice = ""
        if any(a == "C" for a, _ in long) and all(a != "C" for a, _ in own):
            advice = "; name the channel that they are of"
        raise ValueError(
            f"expected labels of the image's shape {target.shape} ({target.axes}), got "
            f"{tuple(image.data.shape)} ({image.axes}){advice}"
        )
    positions = [target.plane_axes.index(a) for a, _ in long]
    order = []
    for axis, length in zip(image.plane_axes, image.stack_shape, strict=True):
        if length == 1:
            order.append(-1)
        elif by_letter:
            order.append(target.plane_axes.index(axis))
        else:
            order.append(positions.pop(0))
    return order


def _facts(path: Path) -> tuple[dict[int, ObjectRecord], tuple[ClassRecord, ...]]:
    """Return the records of objects and the classes from the metadata of OME-Zarr labels."""
    node = zarr_library().open(path, mode="r")
    metadata = ome_attributes(node).get("image-label") if hasattr(node, "keys") else None
    if not isinstance(metadata, dict):
        return {}, ()
    records: dict[int, ObjectRecord] = {}
    for one in metadata.get("properties") or ():
        record = record_of(one.get("class"), one.get("state"), one.get("origin"), one.get("score"))
        records[int(one["label-value"])] = record
    colours = {
        records[one["label-value"]].class_name: hex_colour(one.get("rgba"))
        for one in metadata.get("colors") or ()
        if one.get("label-value") in records
    }
    names = dict.fromkeys(one.class_name for one in records.values() if one.class_name)
    return records, tuple(ClassRecord(name, colours.get(name, "")) for name in names)
