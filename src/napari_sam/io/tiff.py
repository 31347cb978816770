"""TIFF with the axes and pixel sizes of ImageJ, OME and our own label images."""

import logging
import math
import os
import re
import struct
import threading
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam.io.image_file import MICROMETRE, ImageFile, UnreadableImageError, arrange
from napari_sam.io.units import pixel_sizes
from napari_sam.special_files import refuse_special

# What tifffile and its decoders raise, or were seen to raise, on damaged files.
_DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
_OME_AXES = set("TZCYX")
_log = logging.getLogger(__name__)


def read_tiff(path: Path) -> ImageFile:
    """Open the first series of a TIFF file at its finest level.

    Axes come from OME-XML, from ImageJ's description, or from the axes that tifffile and this
    package write; pixel sizes from the same. The plain resolution tags of other files are left
    alone: nearly always they describe a screen or a printer.

    Raises
    ------
    UnreadableImageError
        If the file is no TIFF, is damaged, or ends before its last plane.
    """
    import tifffile

    try:
        with tifffile.TiffFile(path) as tiff:
            _refuse_special_parts(tiff, path.parent)
            if not tiff.series:
                raise UnreadableImageError("it holds no image")
            series = tiff.series[0]
            axes, shape = series.axes, series.shape
            _check_complete(tiff, series)
            sizes, unit = _read_pixel_sizes(tiff)
            data: Any
            if series.dataoffset is not None and series.keyframe.is_memmappable:
                data = np.memmap(
                    path, tiff.byteorder + series.dtype.char, "r", series.dataoffset, shape
                )
            elif _pages_are_planes(series):
                data = _planes_as_dask(tiff, series, path)
            else:
                data = series.asarray(maxworkers=1)
            data, axes = arrange(data, _distinct(axes))
    except UnreadableImageError as error:
        raise UnreadableImageError(f"cannot read {path}: {error}") from None
    except FileNotFoundError:
        raise
    except _DAMAGE as error:
        raise UnreadableImageError(
            f"cannot read {path} as TIFF: {error}{_advice(error)}"
        ) from error
    return ImageFile(data, axes, sizes and {a: s for a, s in sizes.items() if a in axes}, unit)


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
    no more than 32 bits, else with the
    axes in tifffile's own description; `read_tiff` returns the same axes and pixel sizes
    from both. Axes of length 1 other than Y and X do not survive: TIFF has no place for them.
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


def _planes(labels: Any, dtype: np.dtype[Any]) -> Iterator[NDArray[Any]]:
    for index in np.ndindex(tuple(labels.shape[:-2])):
        yield np.ascontiguousarray(labels[index], dtype=dtype)


class _Planes:
    """The pages of one series as an array, reopening the file for each read."""

    def __init__(self, tiff: Any, series: Any) -> None:
        self._pages = list(series)
        self._size = tiff.filehandle.size
        self._lock = threading.Lock()
        self._page_shape = series.keyframe.shape
        self.shape = tuple(series.shape)
        self.dtype = series.dtype
        self.ndim = len(self.shape)

    def __getitem__(self, key: tuple[slice, ...]) -> NDArray[Any]:
        stack_shape = self.shape[: self.ndim - len(self._page_shape)]
        ranges = [range(*k.indices(n)) for k, n in zip(key, stack_shape, strict=False)]
        planes = np.empty((*map(len, ranges), *self._page_shape), self.dtype)
        for out in np.ndindex(planes.shape[: len(ranges)]):
            at = tuple(span[i] for span, i in zip(ranges, out, strict=True))
            planes[out] = self._read(int(np.ravel_multi_index(at, stack_shape)) if at else 0)
        return planes[(slice(None),) * len(ranges) + key[len(ranges) :]]

    def _read(self, number: int) -> NDArray[Any]:
        page = self._pages[number]
        file = page.parent.filehandle
        with self._lock:
            file.open()
            try:
                return np.asarray(page.asarray(maxworkers=1))
            except _DAMAGE as error:
                raise UnreadableImageError(
                    f"cannot read plane {number} of {file.path}: {error}{_advice(error)}"
                ) from error
            finally:
                file.close()


def _planes_as_dask(tiff: Any, series: Any, path: Path) -> Any:
    import dask.array

    planes = _Planes(tiff, series)
    page = series.keyframe.shape
    chunks = (1,) * (planes.ndim - len(page)) + page
    name = f"{path.name}-{dask.base.tokenize(str(path), path.stat().st_mtime_ns)}"
    return dask.array.from_array(
        planes, chunks=chunks, name=name, asarray=False, fancy=False, meta=np.empty(0, series.dtype)
    )


def _pages_are_planes(series: Any) -> bool:
    page = series.keyframe
    return (
        page.axes in ("YX", "YXS", "SYX")
        and series.shape[-page.ndim :] == page.shape
        and len(series) == math.prod(series.shape[: -page.ndim])
    )


def _refuse_special_parts(tiff: Any, folder: Path) -> None:
    """Refuse named pipes and devices among the further files that an image is kept in."""
    names = re.findall(r'FileName="([^"]+)"', tiff.ome_metadata or "")
    if tiff.is_mmstack or tiff.is_ndtiff:
        names += os.listdir(folder)
    for name in set(names):
        refuse_special(folder / name)


def _check_complete(tiff: Any, series: Any) -> None:
    """Refuse a series whose pages are missing or lie behind the end of the file."""
    size = tiff.filehandle.size
    contiguous = series.dataoffset is not None
    if contiguous and series.dataoffset + series.nbytes > size:
        raise UnreadableImageError(
            f"its pixels end at byte {series.dataoffset + series.nbytes}, the file at {size}; "
            "it was cut short, copy or export it again"
        )
    declared = int((tiff.imagej_metadata or {}).get("images", 1))
    if tiff.is_imagej and declared > max(1, math.prod(series.shape[: -series.keyframe.ndim])):
        raise UnreadableImageError(
            f"ImageJ announces {declared} planes, the file holds the shape {series.shape}; "
            "it was cut short, copy or export it again"
        )
    for number, page in enumerate(() if contiguous else series):
        if page is None:
            raise UnreadableImageError(f"plane {number} is missing; export the image again")
        inside = page.parent is tiff
        ends = map(sum, zip(page.dataoffsets, page.databytecounts, strict=False))
        if inside and max(ends, default=0) > size:
            raise UnreadableImageError(
                f"plane {number} of {len(series)} lies behind the end of the file at byte "
                f"{size}; it was cut short, copy or export it again"
            )


def _read_pixel_sizes(tiff: Any) -> tuple[dict[str, float] | None, str | None]:
    if tiff.is_ome:
        return pixel_sizes(_ome_sizes(tiff.ome_metadata))
    if tiff.is_imagej:
        return pixel_sizes(_imagej_sizes(tiff))
    for description in tiff.shaped_metadata or ():
        if isinstance(sizes := description.get("pixel_size"), dict):
            return {axis: float(size) for axis, size in sizes.items()}, description.get("unit")
    return None, None


def _ome_sizes(xml: str) -> dict[str, tuple[float, str]]:
    import tifffile

    try:
        image = tifffile.xml2dict(xml)["OME"]["Image"]
        pixels = (image[0] if isinstance(image, list) else image)["Pixels"]
        sizes = {
            axis: (
                float(pixels[f"PhysicalSize{axis}"]),
                pixels.get(f"PhysicalSize{axis}Unit", "µm"),
            )
            for axis in "XYZ"
            if f"PhysicalSize{axis}" in pixels
        }
        if "TimeIncrement" in pixels:
            sizes["T"] = float(pixels["TimeIncrement"]), pixels.get("TimeIncrementUnit", "s")
    except (LookupError, SyntaxError, TypeError, ValueError) as error:
        _log.warning("the pixel sizes in the OME description cannot be read: %s", error)
        return {}
    return sizes


def _imagej_sizes(tiff: Any) -> dict[str, tuple[float, str]]:
    description, tags = tiff.imagej_metadata, tiff.pages.first.tags
    # ImageJ writes the micro sign as an escape, and a unit only for calibrated images.
    unit = str(description.get("unit", "")).replace("\\u00B5", "µ")
    sizes: dict[str, tuple[float, str]] = {}
    if unit:
        for axis, tag in (("X", "XResolution"), ("Y", "YResolution")):
            if tag in tags and tags[tag].value[0]:
                pixels, per_units = tags[tag].value
                sizes[axis] = per_units / pixels, unit
        if "spacing" in description:
            sizes["Z"] = float(description["spacing"]), unit
    if "finterval" in description:
        sizes["T"] = float(description["finterval"]), str(description.get("tunit", "s"))
    return sizes


def _distinct(axes: str) -> str:
    """Give each dimension a letter of its own: some writers repeat the one for "unknown"."""
    result = ""
    for axis in axes:
        spare = next(letter for letter in f"{axis}QRIJKLMNOP" if letter not in result)
        result += spare
    return result


def _advice(error: BaseException) -> str:
    if "imagecodecs" in str(error):
        return '; install the decoders with: pip install "napari-sam-live[codecs]"'
    return "; if another program opens it, save it from there as an uncompressed TIFF"
