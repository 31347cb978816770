"""Objects of a COCO data set: run lengths, or polygons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
from napari_sam.io.outlines import fill
from napari_sam.io.run_length import decode


def read_coco(data: Mapping[str, Any], target: ImportTarget, notify: Notify) -> ImportedObjects:
    """Read the annotations of one image.

    Parameters
    ----------
    data
        The data set, as parsed from its JSON.
    target
        The image. It is found by its file name; a data set of a single image is taken to belong
        to it. Its planes are found by the position that files of this program record.
    notify
        Called with a message for each kind of content that is left out.

    Raises
    ------
    ValueError
        If the data set has no such image, or one of another size, or is damaged.
    """
    planes = _planes(data["images"], target)
    categories = {one["id"]: one for one in data.get("categories", ())}
    masks: list[ImportedMask] = []
    left_out: Counter[str] = Counter()
    for one in data["annotations"]:
        if one["image_id"] not in planes:
            continue
        if one.get("iscrowd"):
            left_out["crowds"] += 1
            continue
        category = categories.get(one.get("category_id"), {})
        name = "" if category.get("unclassified") else category.get("name", "")
        origin, mask = _mask(one["segmentation"], target.plane_shape)
        record = record_of(name, one.get("state"), one.get("origin"), one.get("score"))
        number = number_of(one.get("object_id"))
        masks.append(ImportedMask(number, record, planes[one["image_id"]], origin, mask))
    classes = [
        ClassRecord(str(one.get("name", "")), hex_colour(one.get("color")))
        for one in categories.values()
        if not one.get("unclassified")
    ]
    return imported(masks, target, classes, left_out, notify)


def _planes(images: list[dict[str, Any]], target: ImportTarget) -> dict[Any, Index]:
    """Return the plane of each image of the data set, by the image's id."""
    names = {Path(str(one.get("file_name", ""))).name for one in images}
    named = [one for one in images if _is_name(one.get("file_name"), target.name)]
    if not named and len(names) == 1:
        named = images
    if not named:
        several = ", ".join(sorted(names)[:5]) + (", …" if len(names) > 5 else "")
        raise ValueError(
            f"expected an image called {target.name or '?'} in the data set, got "
            f"{several or 'none'}; rename the image, or that entry"
        )
    planes: dict[Any, Index] = {}
    for one in named:
        place = one.get("plane", {})
        index = target.index({str(axis): int(i) for axis, i in place.items()})
        size = one.get("height"), one.get("width")
        if size != target.plane_shape:
            raise ValueError(
                f"expected an image of {target.plane_shape[0]} rows and {target.plane_shape[1]} "
                f"columns, got {size[0]} and {size[1]}: it is another one"
            )
        if index is None:
            raise ValueError(
                f"expected planes within the axes {target.plane_axes!r} of lengths "
                f"{target.stack_shape}, got {place}: it is another image"
            )
        planes[one["id"]] = index
    if len(set(planes.values())) < len(planes):
        raise ValueError(
            "expected the plane of each image in a stack, got several without; write one data set "
            "for each plane, or add 'plane' in 'images'"
        )
    return planes


def _is_name(value: object, name: str) -> bool:
    return isinstance(value, str) and bool(name) and Path(value).stem == Path(name).stem


def _mask(segmentation: Any, shape: tuple[int, int]) -> tuple[tuple[int, int], NDArray[np.bool_]]:
    if isinstance(segmentation, dict):
        size = tuple(int(n) for n in segmentation["size"])
        if size != shape:
            raise ValueError(f"expected masks of {shape[0]} x {shape[1]} pixels, got {size}")
        return decode(segmentation["counts"], shape)
    rings = [np.asarray(corners, float).reshape(-1, 2)[:, ::-1] for corners in segmentation]
    return joined(fill([ring], shape) for ring in rings)
