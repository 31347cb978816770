"""TIFF with the axes and pixel sizes of ImageJ, OME, LSM and our own label images."""

import math
import os
import re
import struct
import threading
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam.io.image_file import Stored, UnreadableImageError, left_out
from napari_sam.io.plane_array import PlaneArray
from napari_sam.io.tiff_colours import colours_of
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


def read_tiff(path: Path) -> Stored:
    """Open the largest series of a TIFF file at its finest level.

    Axes come from OME-XML, from the descriptions of ImageJ or a Zeiss LSM, or from the axes that
    tifffile and this package write; pixel sizes from the same. The plain resolution tags of other
    files are left alone: nearly always they describe a screen or a printer.

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
            number = max(range(len(tiff.series)), key=lambda n: _extent(tiff.series[n]))
            series = _with_pages_that_are_there(tiff, tiff.series[number])
            notices = _check_complete(tiff, series) + _left_out(tiff, number)
            try:
                sizes, unit = _read_pixel_sizes(tiff, number)
            except (AttributeError, LookupError, SyntaxError, TypeError, ValueError) as error:
                sizes, unit = None, None
                notices += (f"the pixel sizes in its description cannot be read: {error}",)
            data: Any
            if series.dataoffset is not None and series.keyframe.is_memmappable:
                dtype = tiff.byteorder + series.dtype.char
                data = np.memmap(path, dtype, "r", series.dataoffset, series.shape)
            elif _pages_are_planes(series):
                data = _planes(tiff, series)
            else:
                data = series.asarray(maxworkers=1)
            colours = colours_of(tiff, series)
            return Stored(
                data,
                _distinct(series.axes),
                sizes,
                unit,
                colours.has_alpha,
                colours.to_rgb,
                notices + colours.notices,
            )
    except UnreadableImageError as error:
        raise UnreadableImageError(f"cannot read {path}: {error}") from None
    except FileNotFoundError:
        raise
    except _DAMAGE as error:
        raise UnreadableImageError(
            f"cannot read {path} as TIFF: {error}{_advice(error)}"
        ) from error


def _extent(series: Any) -> tuple[bool, int]:
    """Order series: copies made smaller for a preview last, then by their pixels."""
    return not series.keyframe.is_reduced, math.prod(series.shape) // _samples(series)


def _samples(series: Any) -> int:
    return int(series.shape[series.axes.index("S")]) if "S" in series.axes else 1


def _with_pages_that_are_there(tiff: Any, series: Any) -> Any:
    """Return a series without the pages that ImageJ's description has and the file has not."""
    import tifffile

    if not tiff.is_imagej or series.dataoffset is not None or len(series) <= len(tiff.pages):
        return series
    pages, first = list(tiff.pages), tiff.pages.first
    leading = (len(pages),) if len(pages) > 1 else ()
    axes = "I" * len(leading) + first.axes
    return tifffile.TiffPageSeries(pages, leading + first.shape, first.dtype, axes)


def _left_out(tiff: Any, chosen: int) -> tuple[str, ...]:
    """Return notices of series other than the chosen one; previews don't count."""
    names = [f"{one.name or 'image'} [{number}]" for number, one in enumerate(tiff.series)]
    shapes = {
        name: tuple(one.shape)
        for number, (name, one) in enumerate(zip(names, tiff.series, strict=True))
        if number == chosen or not one.keyframe.is_reduced
    }
    return left_out(names[chosen], shapes)


def _planes(tiff: Any, series: Any) -> PlaneArray:
    """Return the pages of a series as an array, which opens the file anew for each page."""
    pages, lock = list(series), threading.Lock()
    page_shape = tuple(series.keyframe.shape)
    stack_shape = tuple(series.shape[: len(series.shape) - len(page_shape)])

    def read(index: tuple[int, ...]) -> NDArray[Any]:
        number = int(np.ravel_multi_index(index, stack_shape)) if index else 0
        page = pages[number]
        file = page.parent.filehandle
        with lock:
            file.open()
            try:
                return np.asarray(page.asarray(maxworkers=1))
            except _DAMAGE as error:
                raise UnreadableImageError(
                    f"cannot read plane {number} of {file.path}: {error}{_advice(error)}"
                ) from error
            finally:
                file.close()

    return PlaneArray(read, stack_shape, page_shape, series.dtype)


def _pages_are_planes(series: Any) -> bool:
    page = series.keyframe
    return (
        page.axes in ("YX", "YXS", "SYX")
        and series.shape[-page.ndim :] == page.shape
        and len(series) == math.prod(series.shape[: -page.ndim])
    )


def _refuse_special_parts(tiff: Any, folder: Path) -> None:
    """Raise an error if another file of a multi-file image is a named pipe or a device."""
    names = re.findall(r'FileName="([^"]+)"', tiff.ome_metadata or "")
    if tiff.is_mmstack or tiff.is_ndtiff:
        names += os.listdir(folder)
    for name in set(names):
        refuse_special(folder / name)


def _check_complete(tiff: Any, series: Any) -> tuple[str, ...]:
    """Refuse a series whose pages are missing or lie behind the end of the file.

    Returns a notice where a file that is complete announces more planes than it has.
    """
    size = tiff.filehandle.size
    contiguous = series.dataoffset is not None
    if contiguous and series.dataoffset + series.nbytes > size:
        raise UnreadableImageError(
            f"its pixels end at byte {series.dataoffset + series.nbytes}, the file at {size}; "
            "it was cut short, copy or export it again"
        )
    declared = int((tiff.imagej_metadata or {}).get("images", 1)) if tiff.is_imagej else 1
    held = max(1, math.prod(series.shape[: -series.keyframe.ndim]))
    if declared > held and _goes_on(tiff):
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
    if declared > held:
        return (f"its description announces {declared} planes, of which the file holds {held}",)
    return ()


def _goes_on(tiff: Any) -> bool:
    """Whether a file links to a page behind its last one, or has pixels there."""
    page, file, form = tiff.pages[-1], tiff.filehandle, tiff.tiff
    file.seek(page.offset)
    (tags,) = struct.unpack(form.tagnoformat, file.read(form.tagnosize))
    file.seek(page.offset + form.tagnosize + tags * form.tagsize)
    (behind,) = struct.unpack(form.offsetformat, file.read(form.offsetsize))
    end = max(map(sum, zip(page.dataoffsets, page.databytecounts, strict=True)))
    # ImageJ writes stacks beyond 4 GB as one page with the others' pixels behind it
    return bool(behind) or (page.is_final and end + tiff.pages[0].nbytes <= file.size)


def _read_pixel_sizes(tiff: Any, number: int) -> tuple[dict[str, float] | None, str | None]:
    if tiff.is_ome:
        return pixel_sizes(_ome_sizes(tiff.ome_metadata, number))
    if tiff.is_lsm:
        return pixel_sizes(_lsm_sizes(tiff.lsm_metadata or {}))
    if tiff.is_imagej:
        return pixel_sizes(_imagej_sizes(tiff))
    for description in tiff.shaped_metadata or ():
        if isinstance(sizes := description.get("pixel_size"), dict):
            known = {axis: float(size) for axis, size in sizes.items()}
            known = {axis: size for axis, size in known.items() if 0 < size < math.inf}
            unit = description.get("unit")
            return known or None, None if unit is None else str(unit)
    return None, None


def _ome_sizes(xml: str, number: int) -> dict[str, tuple[float, str]]:
    import tifffile

    found = tifffile.xml2dict(xml)["OME"]["Image"]
    images = found if isinstance(found, list) else [found]
    pixels = images[number if number < len(images) else 0]["Pixels"]
    sizes = {
        axis: (
            float(pixels[f"PhysicalSize{axis}"]),
            str(pixels.get(f"PhysicalSize{axis}Unit", "µm")),  # tifffile makes numbers of digits
        )
        for axis in "XYZ"
        if f"PhysicalSize{axis}" in pixels
    }
    if "TimeIncrement" in pixels:
        sizes["T"] = float(pixels["TimeIncrement"]), str(pixels.get("TimeIncrementUnit", "s"))
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


def _lsm_sizes(about: Mapping[str, Any]) -> dict[str, tuple[float, str]]:
    sizes = {axis: (float(about.get(f"VoxelSize{axis}", 0)), "m") for axis in "XYZ"}
    return sizes | {"T": (float(about.get("TimeIntervall", 0)), "s")}


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
