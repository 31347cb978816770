"""Import of an image's objects from files of this and other programs."""

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
from napari_sam.io.imports.objects import ImportedObjects, ImportTarget, Notify
from napari_sam.special_files import refuse_special

__all__ = ["IMPORT_SUFFIXES", "ImportTarget", "ImportedObjects", "holds_objects", "read_objects"]

_JSON = (".json", ".geojson")
_REGIONS = (".zip", ".roi")
IMPORT_SUFFIXES: tuple[str, ...] = (*_JSON, *_REGIONS, *IMAGE_FORMATS, *TRACK_FILES)
"""Suffixes of files that objects are read from, in lower case."""
_HEAD_BYTES = 1 << 16  # of a JSON file, searched for keys of its format


def read_objects(
    path: Path, target: ImportTarget, notify: Notify, axes: str | None = None
) -> ImportedObjects:
    """Read the objects of an image from a file, whose format is recognised by its content.

    Parameters
    ----------
    path
        A COCO file (``.json``), a GeoJSON file, ImageJ regions (``.zip``, ``.roi``), a label
        image, or a folder of the Cell Tracking Challenge: its path or that of its file of tracks.
    target
        The image that the objects belong to.
    notify
        Called with a message for each kind of content that is left out or changed.
    axes
        Axes of a label image, such as ``"ZYX"``, which override those in its file.

    Returns
    -------
    objects
        Their labels are read when :attr:`ImportedObjects.planes` is iterated.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    UnreadableImageError
        If the file is damaged.
    ValueError
        If it belongs to another image, or its format is not supported.
    ImportError
        If a library that reads it is not installed.
    """
    if not path.exists():
        raise FileNotFoundError(f"expected a file of objects at {path}, found nothing there")
    refuse_special(path)
    if (folder := folder_of_tracks(path)) is not None:
        return read_ctc_objects(folder, target)
    suffix = path.suffix.lower()
    if suffix in _REGIONS:
        with reading(path):
            return read_imagej(path, target, notify)
    if suffix not in _JSON:
        return read_label_image(path, target, axes)
    with reading(path):
        try:
            data: Any = json.loads(path.read_bytes())
        except RecursionError as error:
            raise ValueError("its values are nested too deeply") from error
        if isinstance(data, dict) and {"images", "annotations"} <= data.keys():
            return read_coco(data, target, notify)
        return read_geojson(data, target, notify)


def holds_objects(path: Path) -> bool:
    """Whether a file is recognised as one of objects by its first bytes; a label image is not."""
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
                start = file.read(_HEAD_BYTES)
            is_coco = any(word in start for word in (b'"annotations"', b'"images"'))
            return is_coco or b'"Feature' in start
    except (OSError, ValueError, zipfile.BadZipFile):
        return False
    return False
