"""Size, shape, place and intensity of labelled objects, in physical units."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import StringIO
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_sam.image import as_pixels

_EVERYWHERE = ("label", "area", "centroid", "bbox", "equivalent_diameter_area")
_INTENSITIES = ("intensity_mean", "intensity_min", "intensity_max", "intensity_std")
_IN_PLANES = ("axis_major_length", "axis_minor_length", "eccentricity", "orientation")

Table = dict[str, NDArray[Any]]
"""Columns by name, all of the same length: one row for each object."""


def measure_objects(
    labels: ArrayLike, image: ArrayLike | None, pixel_size: Sequence[float] | None = None
) -> Table:
    """Measure every object of a labelled plane or volume.

    Parameters
    ----------
    labels
        `(H, W)` or `(D, H, W)` whole numbers, 0 for background.
    image
        Of the labels' shape, or with one more axis for the samples of a colour image. Masked
        pixels count as NaN. None measures no intensities.
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
    from skimage.measure import regionprops_table  # slow to import, and needed here alone

    numbers, values = np.asarray(labels), None if image is None else as_pixels(image)
    if numbers.ndim not in (2, 3) or numbers.dtype.kind not in "iu":
        raise ValueError(
            "expected whole numbers in 2 or 3 dimensions as labels, got "
            f"{numbers.dtype} of shape {numbers.shape}"
        )
    if values is not None and (
        values.shape[: numbers.ndim] != numbers.shape or values.ndim > numbers.ndim + 1
    ):
        raise ValueError(
            f"expected an image of the labels' shape {numbers.shape}, got {values.shape}"
        )
    sizes = tuple(map(float, (1.0,) * numbers.ndim if pixel_size is None else pixel_size))
    if len(sizes) != numbers.ndim or not all(0 < size < np.inf for size in sizes):
        raise ValueError(f"expected {numbers.ndim} positive pixel sizes, got {sizes}")
    properties = [*_EVERYWHERE, *(() if values is None else _INTENSITIES)]
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


def measure_volumes(
    planes: Iterable[tuple[NDArray[Any], NDArray[Any] | None]],
    pixel_size: Sequence[float] | None = None,
) -> Table:
    """Measure every object of a volume, holding one plane at a time.

    Parameters
    ----------
    planes
        Labels `(H, W)` and pixels `(H, W)` or `(H, W, samples)`, or None, of one plane after the
        other.
    pixel_size
        As of :func:`measure_objects`, of three axes.

    Returns
    -------
    table
        As :func:`measure_objects` measures a volume.
    """
    sizes = tuple(map(float, (1.0, 1.0, 1.0) if pixel_size is None else pixel_size))
    parts = [_sums(z, *one) for z, one in enumerate(planes)]
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    labels, inverse = np.unique(joined["label"], return_inverse=True)
    n = len(labels)
    count = np.bincount(inverse, joined["count"], n)
    volume = count * np.prod(sizes)
    table: Table = {"label": labels, "volume": volume}
    for axis, size in zip("zyx", sizes, strict=True):
        total = np.bincount(inverse, joined[f"{axis}_sum"], n)
        table[f"centroid_{axis}"] = total / count * size
    for end, reduce in (("min", np.minimum), ("max", np.maximum)):
        for axis in "zyx":
            table[f"bbox_{axis}_{end}"] = _reduced(reduce, joined[f"{axis}_{end}"], inverse, n)
    table["equivalent_diameter_area"] = np.cbrt(6 * volume / np.pi)
    samples = [name.removeprefix("mean") for name in joined if name.startswith("mean")]
    means, deviations = {}, {}
    for sample in samples:
        weights, mean = joined["count"], joined[f"mean{sample}"]
        means[sample] = np.bincount(inverse, weights * mean, n) / count
        apart = weights * (mean - means[sample][inverse]) ** 2
        squares = np.bincount(inverse, joined[f"squares{sample}"] + apart, n)
        deviations[sample] = np.sqrt(squares / count)
    table |= {f"intensity_mean{sample}": means[sample] for sample in samples}
    for end, reduce in (("min", np.minimum), ("max", np.maximum)):
        for sample in samples:
            values = _reduced(reduce, joined[f"{end}{sample}"], inverse, n)
            table[f"intensity_{end}{sample}"] = values
    return table | {f"intensity_std{sample}": deviations[sample] for sample in samples}


def _sums(z: int, labels: NDArray[Any], pixels: NDArray[Any] | None) -> Table:
    """Return what a plane adds to the measures of each of its objects."""
    rows, columns = np.nonzero(labels > 0)
    numbers, inverse = np.unique(labels[rows, columns], return_inverse=True)
    n = len(numbers)
    count = np.bincount(inverse, minlength=n)
    sums: Table = {"label": numbers, "count": count, "z_sum": count * z}
    sums |= {"z_min": np.full(n, z), "z_max": np.full(n, z)}
    for axis, places in (("y", rows), ("x", columns)):
        sums[f"{axis}_sum"] = np.bincount(inverse, places, n)
        sums[f"{axis}_min"] = _reduced(np.minimum, places, inverse, n)
        sums[f"{axis}_max"] = _reduced(np.maximum, places, inverse, n)
    if pixels is None:
        return sums
    values = as_pixels(pixels)[rows, columns].astype(float)
    several = values.ndim > 1
    for i in range(values.shape[1] if several else 1):
        one, sample = (values[:, i], f"_{i}") if several else (values, "")
        sums[f"mean{sample}"] = mean = np.bincount(inverse, one, n) / np.maximum(count, 1)
        sums[f"squares{sample}"] = np.bincount(inverse, (one - mean[inverse]) ** 2, n)
        sums[f"min{sample}"] = _reduced(np.minimum, one, inverse, n)
        sums[f"max{sample}"] = _reduced(np.maximum, one, inverse, n)
    return sums


def _reduced(reduce: Any, values: NDArray[Any], inverse: NDArray[Any], count: int) -> NDArray[Any]:
    """Return the lowest or highest value of each group; each has one."""
    first = np.zeros(count, np.int64)
    first[inverse[::-1]] = np.arange(len(inverse))[::-1]
    found: NDArray[Any] = values[first] if len(values) else np.zeros(0, values.dtype)
    reduce.at(found, inverse, values)
    return found


def join_tables(tables: Sequence[tuple[Mapping[str, object], Table]]) -> Table:
    """Join tables one below the other, with leading columns that identify each table.

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
