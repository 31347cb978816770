"""Objects as label images: their numbers, or the numbers of their classes."""

from __future__ import annotations

import csv
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from napari_sam.atomic import replaced
from napari_sam.io.exports.objects import ExportedObjects, Recoding, Report
from napari_sam.io.formats import write_labels


def write_label_image(objects: ExportedObjects, path: Path, report: Report | None = None) -> None:
    """Write labels plane by plane as TIFF or OME-Zarr, depending on the suffix.

    Raises
    ------
    ValueError
        If the suffix is none of :data:`~napari_sam.io.LABEL_FORMATS`.
    OSError
        If it can't be written.
    """
    labels = objects.mapped(lambda plane: plane, objects.labels.dtype, report)
    write_labels(path, labels, objects.axes, objects.pixel_size, objects.unit)


def write_class_image(objects: ExportedObjects, path: Path, report: Report | None = None) -> None:
    """Write the class of every pixel, and beside it a table of the classes.

    0 is background, then come the classes in their order, and last, where there are any, objects
    without a class. The table has the image's name with the suffix ``.csv``.

    Raises
    ------
    As :func:`write_label_image`.
    """
    names = objects.class_names
    numbers = {name: i for i, name in enumerate(names, 1)}
    by_object = {i: numbers[one.class_name] for i, one in objects.records.items() if one.class_name}
    recode = Recoding(by_object, other=len(names) + 1)
    dtype: np.dtype[Any] = np.dtype(np.uint8 if len(names) < 255 else np.uint16)
    change = partial(_recoded, recode, dtype)
    classes = objects.mapped(change, dtype, report)
    write_labels(path, classes, objects.axes, objects.pixel_size, objects.unit)
    with replaced(path.with_suffix(".csv")) as table, table.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("value", "class", "colour"))
        writer.writerow((0, "background", ""))
        colours = {one.name: one.colour for one in objects.classes}
        writer.writerows((number, name, colours.get(name, "")) for name, number in numbers.items())
        writer.writerow((len(names) + 1, "no class", ""))


def _recoded(
    recode: Recoding, dtype: np.dtype[np.unsignedinteger], plane: np.ndarray
) -> np.ndarray:
    return recode(plane).astype(dtype)
