"""Which file is read or written by what."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from napari_sam.atomic import replaced
from napari_sam.image import ImageWarning
from napari_sam.io.image_file import (
    ImageFile,
    Stored,
    UnreadableImageError,
    check_axes,
    guess_axes,
    reading,
)
from napari_sam.io.ome_zarr import is_zarr, read_zarr, write_zarr
from napari_sam.io.picture import read_picture
from napari_sam.io.tiff import read_tiff
from napari_sam.io.tiff_labels import write_tiff
from napari_sam.special_files import refuse_special

_TIFF = (".tif", ".tiff")
_PICTURE = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".jp2", ".j2k")
IMAGE_FORMATS: tuple[str, ...] = (*_TIFF, ".lsm", *_PICTURE, ".npy", ".zarr")
"""Suffixes that `read_image` reads, in lower case."""
LABEL_FORMATS: tuple[str, ...] = (*_TIFF, ".zarr")
"""Suffixes that `write_labels` writes, in lower case."""


def read_image(path: str | Path, axes: str | None = None, channel: int | None = None) -> ImageFile:
    """Open an image file; each plane of a stack is read when it is needed.

    Parameters
    ----------
    path : str or Path
        TIFF (plain, ImageJ, OME, LSM), PNG, JPEG, BMP, GIF, WebP, JPEG 2000, NPY, or the folder
        of a Zarr array or OME-Zarr image. Of several images in a file the largest is read, of a
        multiscale pyramid the finest level.
    axes : str, optional
        One letter for each dimension in the file's own order, which override those in the file,
        for example ``"TYX"``. Rows ``Y``, columns ``X`` and colour samples ``S`` are moved to
        the end. Pixel sizes are only kept for axes that the file names, too.
    channel : int, optional
        The only channel to read, see :meth:`ImageFile.channel`.

    Returns
    -------
    ImageFile
        Its axes are guessed from the shape if the file does not name them.

    Raises
    ------
    FileNotFoundError
        If there is no such file or folder.
    UnreadableImageError
        If the file is damaged or cut short, has no numbers, or has another content than its name
        suggests.
    ValueError
        If the format is not one of `IMAGE_FORMATS`, `axes` or `channel` doesn't fit, or the path
        is a named pipe or a device.
    ImportError
        If it is a Zarr image and the zarr library is not installed.

    Warns
    -----
    ImageWarning
        If not all of the file is read as it is, such as other images in it, or other colours or
        bit depths.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if not path.exists():
        raise FileNotFoundError(f"expected an image at {path}, found nothing there")
    refuse_special(path)
    as_zarr = suffix == ".zarr" or (path.is_dir() and is_zarr(path))
    if path.is_dir() and not as_zarr:
        raise ValueError(f"expected an image file or a Zarr folder, got the folder {path}")
    if not as_zarr and suffix not in IMAGE_FORMATS:
        raise ValueError(
            f"cannot read {path.name}: expected one of {', '.join(IMAGE_FORMATS)}, "
            f"got {suffix or 'no suffix'!r}"
        )
    with reading(path):
        if as_zarr:
            stored = read_zarr(path)
        elif suffix in (*_TIFF, ".lsm"):
            stored = read_tiff(path)
        elif suffix in _PICTURE:
            stored = read_picture(path)
        else:
            stored = _read_npy(path)
    dtype = np.dtype(stored.data.dtype)
    if dtype.kind not in "buifc":
        raise UnreadableImageError(f"expected numbers in {path}, got pixels of type {dtype}")
    if 0 in stored.data.shape:
        raise UnreadableImageError(f"{path} has no pixels: its shape is {stored.data.shape}")
    image = stored.opened(None if axes is None else axes.strip().upper())
    if stored.notices:
        warnings.warn(f"{path}: {'; '.join(stored.notices)}", ImageWarning, stacklevel=2)
    return image if channel is None else image.channel(channel)


def write_labels(
    path: str | Path,
    labels: Any,
    axes: str | None = None,
    pixel_size: Mapping[str, float] | None = None,
    unit: str | None = None,
) -> None:
    """Write a label image so that `read_image` returns the same axes and pixel sizes.

    The file appears when it is complete; one that stood there before stays untouched if
    anything fails.

    Parameters
    ----------
    path : str or Path
        ``.tif`` or ``.tiff``: compressed with zlib, an OME-TIFF where the axes
        allow it and the labels have no more than 32 bits.
        ``.zarr``: an OME-Zarr image. Missing folders are made.
    labels : array of int or bool, ending in (H, W)
        0 is background. numpy, dask or zarr; written one plane at a time. 64-bit labels are
        written with 32 bits where they fit.
    axes : str, optional
        One letter for each dimension, ending in ``YX``. Guessed from the shape by default.
    pixel_size, unit
        As in `ImageFile`. Sizes of axes that `labels` does not have are ignored, so those of
        the image can be passed as they are.

    Raises
    ------
    TypeError
        If the labels are not integers.
    ValueError
        If the format is not one of `LABEL_FORMATS`, or the axes do not fit.
    FileExistsError
        If a folder of that name is something else than a Zarr image.
    OSError
        If the place is full or cannot be written.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in LABEL_FORMATS:
        raise ValueError(
            f"cannot write labels to {path.name}: expected one of {', '.join(LABEL_FORMATS)}, "
            f"got {suffix or 'no suffix'!r}"
        )
    axes = guess_axes((*labels.shape[:-2], 5, 5)) if axes is None else axes.upper()
    check_axes(axes, tuple(labels.shape))
    if not axes.endswith("YX"):
        raise ValueError(f"expected labels with axes that end in YX, got {axes!r}")
    if path.is_dir() and not (suffix == ".zarr" and is_zarr(path)):
        raise FileExistsError(f"{path} is a folder and no Zarr image; it was left as it is")
    if suffix == ".zarr" and path.is_file():
        raise FileExistsError(f"{path} is a file and no Zarr folder; it was left as it is")
    dtype = _stored_dtype(labels)
    sizes = {axis: size for axis, size in (pixel_size or {}).items() if axis in axes} or None
    write = write_zarr if suffix == ".zarr" else write_tiff
    with replaced(path) as temporary:
        write(temporary, labels, axes, dtype, sizes, unit)


def _read_npy(path: Path) -> Stored:
    with reading(f"{path} as NPY"):
        pixels = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(pixels, np.ndarray):
        pixels.close()
        raise UnreadableImageError(
            f"expected one array in {path}, got an archive of several (NPZ); save the image with "
            "numpy.save"
        )
    return Stored(pixels, guess_axes(pixels.shape))


def _stored_dtype(labels: Any) -> np.dtype[Any]:
    """Return the type to write: bool as bytes, 64-bit integers as 32 bits where they fit."""
    dtype = np.dtype(labels.dtype)
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    if dtype.kind not in "ui":
        raise TypeError(f"expected integer labels, got {dtype}; convert them with astype(int)")
    if dtype.itemsize < 8:
        return dtype.newbyteorder("=")
    lowest = highest = 0
    for index in np.ndindex(tuple(labels.shape[:-2])):
        plane = np.asarray(labels[index])
        lowest, highest = min(lowest, int(plane.min())), max(highest, int(plane.max()))
    narrow = np.iinfo(np.int32 if lowest < 0 or highest < 2**31 else np.uint32)
    fits = narrow.min <= lowest <= highest <= narrow.max
    return narrow.dtype if fits else dtype.newbyteorder("=")
