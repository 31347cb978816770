"""Zarr arrays and OME-Zarr images, versions 2 and 3 of the format."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from napari_sam.io.image_file import (
    MICROMETRE,
    Stored,
    UnreadableImageError,
    guess_axes,
    left_out,
)
from napari_sam.io.units import pixel_sizes

_MARKS = (".zarray", ".zgroup", "zarr.json")
# OME-Zarr spells units out.
_LONG_NAMES = {MICROMETRE: "micrometer"}
_AXIS_NAMES = {
    "row": "Y",
    "rows": "Y",
    "height": "Y",
    "column": "X",
    "columns": "X",
    "col": "X",
    "cols": "X",
    "width": "X",
    "depth": "Z",
    "plane": "Z",
    "planes": "Z",
    "slice": "Z",
    "slices": "Z",
    "frame": "T",
    "frames": "T",
    "sample": "S",
    "samples": "S",
    "rgb": "S",
}
_KINDS = {"T": "time", "C": "channel", "Z": "space", "Y": "space", "X": "space"}


def is_zarr(path: Path) -> bool:
    """Whether a folder is a Zarr array or group."""
    return any((path / mark).is_file() for mark in _MARKS)


def read_zarr(path: Path) -> Stored:
    """Open a Zarr array, or the finest level of an OME-Zarr image.

    Of a collection as Bio-Formats writes it the largest image is opened. Labels, plates and
    groups of plain arrays are opened by naming the array's own folder.

    Raises
    ------
    ImportError
        If the zarr library is not installed.
    UnreadableImageError
        If the folder holds neither an array nor a multiscale image, or is damaged.
    """
    zarr = zarr_library()
    try:
        from napari_sam.io.zarr_files import ZarrFiles

        node = zarr.open(ZarrFiles(path, read_only=True), mode="r")
        if isinstance(node, zarr.Array):
            return _read_array(node)
        return _read_multiscale(zarr, node)
    except UnreadableImageError as error:
        raise UnreadableImageError(f"cannot read {path}: {error}") from None
    except (OSError, LookupError, TypeError, ValueError) as error:
        raise UnreadableImageError(f"cannot read {path} as Zarr: {error}") from error


def write_zarr(
    path: Path,
    labels: Any,
    axes: str,
    dtype: np.dtype[Any],
    pixel_size: Mapping[str, float] | None,
    unit: str | None,
) -> None:
    """Write labels as an OME-Zarr 0.4 image of one level, a chunk per plane or 1024² of it."""
    zarr = zarr_library()
    import numcodecs

    group = zarr.open_group(path, mode="w", zarr_format=2)
    shape = tuple(labels.shape)
    chunks = (1,) * (len(shape) - 2) + tuple(min(1024, length) for length in shape[-2:])
    level = group.create_array(
        "0",
        shape=shape,
        dtype=dtype,
        chunks=chunks,
        # Zstandard notices a chunk that was cut short; zarr's default Blosc returns noise.
        compressors=numcodecs.Zstd(level=3, checksum=True),
        chunk_key_encoding={"name": "v2", "separator": "/"},
    )
    for index in np.ndindex(shape[:-2]):
        level[index] = np.asarray(labels[index], dtype=dtype)
    sizes = pixel_size or {}
    group.attrs["multiscales"] = [
        {
            "version": "0.4",
            "name": path.name,
            "axes": [axis_words(axis, sizes, unit) for axis in axes],
            "datasets": [
                {
                    "path": "0",
                    "coordinateTransformations": [
                        {"type": "scale", "scale": [float(sizes.get(axis, 1)) for axis in axes]}
                    ],
                }
            ],
        }
    ]
    group.attrs["image-label"] = {"version": "0.4"}


def axis_words(axis: str, sizes: Mapping[str, float], unit: str | None) -> dict[str, str]:
    """Describe an axis as OME-Zarr does."""
    described = {"name": axis.lower(), "type": _KINDS.get(axis, "custom")}
    if axis == "T" and axis in sizes:
        described["unit"] = "second"
    elif described["type"] == "space" and axis in sizes and unit is not None:
        described["unit"] = _LONG_NAMES.get(unit, unit)
    return described


def zarr_library() -> ModuleType:
    """Import zarr.

    Raises
    ------
    ImportError
        If it isn't installed; the message explains how to install it.
    """
    try:
        import zarr
    except ImportError as error:
        raise ImportError(
            "Zarr images need the zarr library, which is not installed; install it with: "
            'pip install "napari-sam-live[zarr]"'
        ) from error
    module: ModuleType = zarr
    return module


def _read_array(array: Any) -> Stored:
    names = getattr(array.metadata, "dimension_names", None) or ()
    named = len(names) == array.ndim and all(isinstance(name, str) for name in names)
    if named and {"Y", "X"} <= {axis_letter(name) for name in names}:
        return Stored(array, _letters(list(names)))
    return Stored(array, guess_axes(array.shape))


def _read_multiscale(zarr: ModuleType, group: Any) -> Stored:
    attributes = ome_attributes(group)
    notices: tuple[str, ...] = ()
    if "multiscales" not in attributes and "bioformats2raw.layout" in attributes and "0" in group:
        numbers = sorted(int(key) for key in group if key.isdigit())
        shapes = {
            number: tuple(_finest(zarr, group[str(number)])[0].shape)
            for number in numbers
            if "multiscales" in ome_attributes(group[str(number)])
        }
        if shapes:
            largest = max(shapes, key=lambda number: math.prod(shapes[number]))
            notices = left_out(str(largest), {str(n): shape for n, shape in shapes.items()})
            group = group[str(largest)]
            attributes = ome_attributes(group)
    if not attributes.get("multiscales"):
        inside = ", ".join(sorted(group.keys())) or "nothing"
        raise UnreadableImageError(
            "expected a Zarr array or an OME-Zarr image with multiscales metadata, found a group "
            f"with: {inside}; name one of its arrays or images"
        )
    array, image, dataset = _finest(zarr, group)
    described = image.get("axes") or list("tczyx")[-array.ndim :]
    names = [axis["name"] if isinstance(axis, dict) else axis for axis in described]
    kinds = [axis.get("type", "") if isinstance(axis, dict) else "" for axis in described]
    letters = _letters(names, kinds)
    sizes = _scales(image, dataset, described, letters)
    pixel_size, unit = pixel_sizes(sizes)
    return Stored(array, letters, pixel_size, unit, notices=notices)


def _finest(zarr: ModuleType, group: Any) -> tuple[Any, Mapping[str, Any], Mapping[str, Any]]:
    """Return an image's finest level, and what describes the image and this level."""
    image = ome_attributes(group)["multiscales"][0]
    dataset = image["datasets"][0]
    array = group[dataset["path"]]
    if not isinstance(array, zarr.Array):
        raise UnreadableImageError(f"its finest level {dataset['path']!r} is no array")
    return array, image, dataset


def ome_attributes(group: Any) -> Mapping[str, Any]:
    """Return the OME-Zarr metadata of a group."""
    # Version 0.5 put everything under one key.
    attributes = group.attrs.asdict()
    ome: Mapping[str, Any] = attributes.get("ome", attributes)
    return ome


def _letters(names: list[str], kinds: Sequence[str] = ()) -> str:
    """One upper-case letter for each axis name.

    The letter that the name means, else its first where that is free. Where none means rows or
    columns, the last two axes of space do.
    """
    meant = [axis_letter(name) for name in names]
    if not {"Y", "X"} <= set(meant):
        space = [i for i, kind in enumerate(kinds) if kind == "space"]
        rows, columns = (space if len(space) >= 2 else list(range(len(names))))[-2:]
        meant = [None if letter in ("Y", "X") else letter for letter in meant]
        meant[rows], meant[columns] = "Y", "X"
    letters = ""
    for i, name in enumerate(names):
        taken = {*letters, *(letter for letter in meant[i + 1 :] if letter)}
        first = "" if name[:1].upper() in ("S", *taken) else name[:1].upper()
        letters += next(c for c in (meant[i] or first) + "QRIJKLMNOP" if c not in letters)
    return letters


def axis_letter(name: str) -> str | None:
    """Return the letter of an axis by its name, such as ``Z`` for depth; None for others."""
    word = name.strip().casefold()
    return word.upper() if word in ("t", "c", "z", "y", "x", "s") else _AXIS_NAMES.get(word)


def _scales(
    image: Mapping[str, Any], dataset: Mapping[str, Any], described: list[Any], letters: str
) -> dict[str, tuple[float, str]]:
    factors = np.ones(len(letters))
    stated = False
    for holder in (dataset, image):
        for transformation in holder.get("coordinateTransformations", ()):
            if transformation.get("type") == "scale":
                factors = factors * np.asarray(transformation["scale"], dtype=float)
                stated = True
    if not stated:
        return {}
    sizes = {}
    for axis, letter, factor in zip(described, letters, factors, strict=True):
        unit = axis.get("unit", "") if isinstance(axis, dict) else ""
        if letter != "C" and (unit or factor != 1):
            sizes[letter] = float(factor), unit
    return sizes
