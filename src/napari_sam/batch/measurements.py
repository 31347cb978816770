"""Size, shape, place and intensity of labelled objects, in physical units."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from skimage.measure import regionprops_table

from napari_sam.image import as_pixels

_EVERYWHERE = (
    "label",
    "area",
    "centroid",
    "bbox",
    "equivalent_diameter_area",
    "intensity_mean",
    "intensity_min",
    "intensity_max",
    "intensity_std",
)
_IN_PLANES = ("axis_major_length", "axis_minor_length", "eccentricity", "orientation")

Table = dict[str, NDArray[Any]]
"""Columns by name, all of the same length: one row for each object."""


def measure_objects(
    labels: ArrayLike, image: ArrayLike, pixel_size: Sequence[float] | None = None
) -> Table:
    """Measure every object of a labelled plane or volume.

    Parameters
    ----------
    labels
        `(H, W)` or `(D, H, W)` whole numbers, 0 for background.
    image
        Of the labels' shape, or with one more axis for the samples of a colour image. Masked
        pixels count as NaN.
    pixel_size
        Distance between neighbours along each axis of `labels`; 1 by default.

    Returns
    -------
    table
        The properties of :func:`skimage.measure.regionprops_table`, with the axes by their
        letters: `label`; `area` (`volume` in three dimensions); `centroid_y` …;
        `equivalent_diameter_area`; in planes `axis_major_length`, `axis_minor_length`,
        `eccentricity`, `orientation` (radians from the rows' axis), and `perimeter` where
        pixels are square; `intensity_mean`, `_min`, `_max`, `_std` of each sample, in the
        image's grey values. All of these lengths, areas and places have the unit of
        `pixel_size`. `bbox_y_min`, `bbox_y_max` … are pixels, the last one included.

    Raises
    ------
    ValueError
        If labels are not whole numbers in two or three dimensions, or the image or the sizes
        don't fit them.
    """
    numbers, values = np.asarray(labels), as_pixels(image)
    if numbers.ndim not in (2, 3) or numbers.dtype.kind not in "iu":
        raise ValueError(
            "expected whole numbers in 2 or 3 dimensions as labels, got "
            f"{numbers.dtype} of shape {numbers.shape}"
        )
    if values.shape[: numbers.ndim] != numbers.shape or values.ndim > numbers.ndim + 1:
        raise ValueError(
            f"expected an image of the labels' shape {numbers.shape}, got {values.shape}"
        )
    sizes = tuple(map(float, (1.0,) * numbers.ndim if pixel_size is None else pixel_size))
    if len(sizes) != numbers.ndim or not all(0 < size < np.inf for size in sizes):
        raise ValueError(f"expected {numbers.ndim} positive pixel sizes, got {sizes}")
    properties = [*_EVERYWHERE]
    if numbers.ndim == 2:
        properties += [*_IN_PLANES, *(["perimeter"] if sizes[0] == sizes[1] else [])]
    kept, compact = None, numbers
    if numbers.size and numbers.max() > numbers.size:  # a list as long as that would be made
        kept, compact = np.unique(np.maximum(numbers, 0), return_inverse=True)
        if kept[0] > 0:  # no background: every pixel is an object's
            kept, compact = np.insert(kept, 0, 0), compact + 1
    found = regionprops_table(compact, values, properties=properties, spacing=sizes)
    labels_found = found["label"] if kept is None else kept[found["label"]]
    found["label"] = labels_found.astype(numbers.dtype, copy=False)
    return dict(_named(found, "zyx"[-numbers.ndim :]))


def join_tables(tables: Sequence[tuple[Mapping[str, object], Table]]) -> Table:
    """Put tables below one another, each behind columns that say where it comes from.

    Parameters
    ----------
    tables
        Pairs of constants for the leading columns, such as ``{"t": 3}``, and a table. All have
        the same columns.
    """
    if not tables:
        return {}
    parts = [
        {name: np.full(len(table["label"]), value) for name, value in places.items()} | table
        for places, table in tables
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def table_to_csv(table: Table) -> str:
    """Write a table as comma-separated values with a heading; six significant digits."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table)
    columns = [_cells(column) for column in table.values()]
    writer.writerows(zip(*columns, strict=True))
    return text.getvalue()


def _named(found: Mapping[str, NDArray[Any]], axes: str) -> Iterator[tuple[str, NDArray[Any]]]:
    count = len(axes)
    for name, column in found.items():
        if name == "area" and count == 3:
            yield "volume", column
        elif name.startswith("centroid-"):
            yield f"centroid_{axes[int(name[-1])]}", column
        elif name.startswith("bbox-"):
            at = int(name[-1])
            # skimage's boxes end behind the last pixel
            yield (
                f"bbox_{axes[at % count]}_{'min' if at < count else 'max'}",
                column if at < count else column - 1,
            )
        else:
            yield name.replace("-", "_"), column


def _cells(column: NDArray[Any]) -> list[str]:
    if column.dtype.kind == "f":
        return [f"{value:.6g}" for value in column]
    return [str(value) for value in column]
