"""Label images as TIFF, with axes and pixel sizes that our own reader and others find."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import numpy as np
import xxhash
from numpy.typing import NDArray

from napari_sam.io.image_file import MICROMETRE

_OME_AXES = set("TZCYX")


def write_tiff(
    path: Path,
    labels: Any,
    axes: str,
    dtype: np.dtype[Any],
    pixel_size: Mapping[str, float] | None,
    unit: str | None,
) -> None:
    """Write labels plane by plane, compressed with zlib.

    As OME-TIFF where the axes are T, Z, C, Y and X in that order or another and the labels have
    no more than 32 bits, else with the axes in tifffile's own description; `read_tiff` returns
    the same axes and pixel sizes from both. Axes of length 1 other than Y and X do not survive:
    TIFF has no place for them.
    """
    import tifffile

    sizes = dict(pixel_size or {})
    as_ome = set(axes) <= _OME_AXES and dtype.itemsize < 8  # OME has no integers of 64 bits
    metadata: dict[str, Any] = {"axes": axes}
    if as_ome:
        for axis in "XYZ":
            if axis in sizes:
                metadata[f"PhysicalSize{axis}"] = sizes[axis]
                metadata[f"PhysicalSize{axis}Unit"] = unit or "reference frame"
        if "T" in sizes:
            metadata |= {"TimeIncrement": sizes["T"], "TimeIncrementUnit": "s"}
        metadata["UUID"] = _uuid_of(labels, dtype, repr((tuple(labels.shape), metadata)))
    elif sizes:
        metadata |= {"pixel_size": sizes, "unit": unit}
    resolution: dict[str, Any] = {}
    if unit == MICROMETRE and {"X", "Y"} <= set(sizes):
        # For programs that read nothing but the tags: pixels per centimetre.
        per_centimetre = (1e4 / sizes["X"], 1e4 / sizes["Y"])
        resolution = {"resolution": per_centimetre, "resolutionunit": "CENTIMETER"}
    shape = tuple(labels.shape)
    tifffile.imwrite(
        path,
        data=_planes(labels, dtype),
        shape=shape,
        dtype=dtype,
        ome=as_ome,
        photometric="minisblack",
        compression="zlib",
        # tifffile decides by itself only for pixels that are not compressed.
        bigtiff=math.prod(shape) * dtype.itemsize > 2**32 - 2**25,
        metadata=metadata,
        maxworkers=1,
        **resolution,
    )


def _uuid_of(labels: Any, dtype: np.dtype[Any], about: str) -> str:
    """Return the UUID of a document, from its content: the same labels are the same file."""
    digest = xxhash.xxh3_128(about.encode())
    for plane in _planes(labels, dtype):
        digest.update(plane.data)
    return str(uuid5(NAMESPACE_OID, digest.hexdigest()))


def _planes(labels: Any, dtype: np.dtype[Any]) -> Iterator[NDArray[Any]]:
    for index in np.ndindex(tuple(labels.shape[:-2])):
        yield np.ascontiguousarray(labels[index], dtype=dtype)
