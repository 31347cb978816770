"""What comes in: objects of an image that other programs, or we, have written."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from napari_sam.io.formats import IMAGE_FORMATS
from napari_sam.io.image_file import reading
from napari_sam.io.imports.coco import read_coco
from napari_sam.io.imports.ctc import TRACK_FILES, folder_of_tracks, read_ctc_objects
from napari_sam.io.imports.geojson import read_geojson
from napari_sam.io.imports.imagej import read_imagej
from napari_sam.io.imports.label_images import read_label_image
from napari_sam.io.imports.objects import ImportedObjects, ImportTarget, Tell
from napari_sam.special_files import refuse_special

__all__ = ["IMPORT_SUFFIXES", "ImportTarget", "ImportedObjects", "holds_objects", "read_objects"]

_JSON = (".json", ".geojson")
_REGIONS = (".zip", ".roi")
IMPORT_SUFFIXES: tuple[str, ...] = (*_JSON, *_REGIONS, *IMAGE_FORMATS, *TRACK_FILES)
"""Ends of the names of files that objects are read from, in lower case."""
_LOOKED_AT = 1 << 16  # bytes of a JSON file that tell what it is


def read_objects(
    path: Path, target: ImportTarget, tell: Tell, axes: str | None = None
) -> ImportedObjects:
    """Read the objects of an image from a file; what it is, its content tells.

    Parameters
    ----------
    path
        COCO (``.json``), GeoJSON, ImageJ's regions (``.zip``, ``.roi``), a label image, or a
        folder of the Cell Tracking Challenge, named by itself or by its file of tracks.
    target
        The image.
    tell
        Called with each sentence about what is left out or not as in the file.
    axes
        Of a label image, instead of what its file says.

    Raises
    ------
    FileNotFoundError
        If it isn't there.
    UnreadableImageError
        If it is damaged.
    ValueError
        If it is of another image, or nothing that we read.
    ImportError
        If a library is missing that reads it.
    """
    if not path.exists():
        raise FileNotFoundError(f"expected a file of objects at {path}, found nothing there")
    refuse_special(path)
    if (folder := folder_of_tracks(path)) is not None:
        return read_ctc_objects(folder, target)
    suffix = path.suffix.lower()
    if suffix in _REGIONS:
        with reading(path):
            return read_imagej(path, target, tell)
    if suffix not in _JSON:
        return read_label_image(path, target, axes)
    with reading(path):
        try:
            data: Any = json.loads(path.read_bytes())
        except RecursionError as error:
            raise ValueError("its values are nested too deeply") from error
        if isinstance(data, dict) and {"images", "annotations"} <= data.keys():
            return read_coco(data, target, tell)
        return read_geojson(data, target, tell)


def holds_objects(path: Path) -> bool:
    """Whether a file looks like one of objects, without reading all of it; label images don't."""
    suffix = path.suffix.lower()
    if suffix == ".roi" or folder_of_tracks(path) is not None:
        return True
    try:
        if suffix == ".zip":
            with zipfile.ZipFile(path) as file:
                names = file.namelist()
            return bool(names) and all(name.lower().endswith(".roi") for name in names)
        if suffix in _JSON:
            with path.open("rb") as file:
                start = file.read(_LOOKED_AT)
            is_coco = any(word in start for word in (b'"annotations"', b'"images"'))
            return is_coco or b'"Feature' in start
    except (OSError, ValueError, zipfile.BadZipFile):
        return False
    return False
