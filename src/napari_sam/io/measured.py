"""Labels of an image measured in its physical units, one plane held at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam.io.image_file import ImageFile, LazyArray
from napari_sam.measurements import Table, join_tables, measure_objects, measure_volumes

ReadLabels = Callable[[tuple[int, ...]], NDArray[Any]]


def measure_labels(image: ImageFile, labels: LazyArray) -> Table:
    """Measure labelled objects in the image's physical units.

    Parameters
    ----------
    image
        Its grey values and pixel sizes. Along ``Z`` objects are measured as volumes; each
        position along any other axis is measured by itself.
    labels
        The image's shape without colours.

    Returns
    -------
    table
        Columns for the position along other axes (`t`, `c`), `unit` (`pixel` where the file
        doesn't give all pixel sizes in space), and those of
        :func:`~napari_sam.measurements.measure_objects`.
    """
    axes, shape = image.axes.removesuffix("S"), tuple(labels.shape)
    sizes, unit = image.pixel_size, image.unit
    return measure_planes(lambda index: np.asarray(labels[index]), axes, shape, sizes, unit, image)


def measure_planes(
    read: ReadLabels,
    axes: str,
    shape: tuple[int, ...],
    pixel_size: Mapping[str, float] | None,
    unit: str | None,
    image: ImageFile | None = None,
) -> Table:
    """Measure labels that are read plane by plane; see :func:`measure_labels`.

    Parameters
    ----------
    read
        Returns the labels of the plane at an index along the axes before ``YX``.
    axes, shape
        Of the labels.
    pixel_size, unit
        As of :class:`~napari_sam.io.ImageFile`.
    image
        Of the same axes and shape but for colours; without it no intensities are measured.
    """
    plane_axes = axes[:-2]
    outer = plane_axes.replace("Z", "")
    space = [axis for axis in axes if axis not in outer]
    known = pixel_size or {}
    sizes = [known[axis] for axis in space] if set(space) <= set(known) else None
    lengths = dict(zip(axes, shape, strict=True))
    tables: list[tuple[dict[str, object], Table]] = []
    for place in product(*(range(lengths[axis]) for axis in outer)):
        at = dict(zip(outer, place, strict=True))
        indices = [
            tuple({**at, "Z": z}[axis] for axis in plane_axes)
            for z in range(lengths["Z"] if "Z" in space else 1)
        ]
        planes = ((read(one), None if image is None else image.plane(one)) for one in indices)
        columns: dict[str, object] = {axis.lower(): number for axis, number in at.items()}
        columns["unit"] = (unit or "unknown") if sizes else "pixel"
        if "Z" in space:
            tables.append((columns, measure_volumes(planes, sizes)))
        else:
            tables.append((columns, measure_objects(*next(planes), sizes)))
    return join_tables(tables)
