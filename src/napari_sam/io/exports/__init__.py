"""Export of an image's objects in formats that other programs read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from napari_sam.io.exports.coco import Segmentation, write_coco
from napari_sam.io.exports.crops import write_crops
from napari_sam.io.exports.ctc import TRACK_FILE, write_ctc
from napari_sam.io.exports.geojson import write_geojson
from napari_sam.io.exports.imagej import load_roifile, write_imagej
from napari_sam.io.exports.label_images import write_class_image, write_label_image
from napari_sam.io.exports.objects import ClassRecord, ExportedObjects, ObjectRecord, Report
from napari_sam.io.exports.ome_zarr import Version, labels_folder, version_of_image, write_ome_zarr
from napari_sam.io.exports.table import write_table
from napari_sam.io.exports.yolo import DATA_FILE, LABELS_FOLDER, write_yolo
from napari_sam.io.formats import LABEL_FORMATS
from napari_sam.io.ome_zarr import zarr_library

__all__ = [
    "FORMATS",
    "ClassRecord",
    "ExportFormat",
    "ExportOptions",
    "ExportedObjects",
    "ObjectRecord",
    "Report",
    "check_target",
    "format_of",
    "is_exported_folder",
    "proposed_name",
    "write_export",
]


@dataclass(frozen=True, slots=True)
class ExportFormat:
    """A format in which objects can be exported.

    Parameters
    ----------
    key
        Its name on the command line.
    title
        Its name in the dock, in a few words.
    suffixes
        Suffixes of its files, the first being the default. Empty for a folder.
    ending
        Ending of a proposed file name, before the suffix.
    joins
        Whether one file or folder can hold the objects of several images.
    needs_image
        Whether the image's pixels are needed.
    """

    key: str
    title: str
    suffixes: tuple[str, ...]
    ending: str
    joins: bool = False
    needs_image: bool = False


_ALL = (
    ExportFormat("labels", "Label image", LABEL_FORMATS, "_labels"),
    ExportFormat("coco", "COCO data set", (".json",), "_coco", joins=True),
    ExportFormat("yolo", "YOLO segmentation", (), "_yolo", joins=True),
    ExportFormat("geojson", "GeoJSON for QuPath", (".geojson", ".json"), ""),
    ExportFormat("ome-zarr", "OME-Zarr labels", (".zarr",), "_labels.ome"),
    ExportFormat("imagej", "ImageJ regions", (".zip",), "_RoiSet"),
    ExportFormat("csv", "Measurements", (".csv",), "_objects", joins=True),
    ExportFormat("crops", "Cut-outs with masks", (), "_crops", needs_image=True),
    ExportFormat("classes", "Class image", LABEL_FORMATS, "_classes"),
    ExportFormat("ctc", "Cell Tracking Challenge", (), "_ctc"),
)
FORMATS: Mapping[str, ExportFormat] = {one.key: one for one in _ALL}
"""All export formats, by their name on the command line."""


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """Options of some export formats.

    Parameters
    ----------
    segmentation
        How masks are written in COCO: ``"rle"`` (run-length encoding) or ``"polygons"``.
    ome_version
        Version of OME-Zarr. None is 0.5, or the version of an existing image to which the labels
        are added.
    margin
        Pixels around each object's bounding box in cut-outs.

    Raises
    ------
    ValueError
        If a value is none of these, or the margin is negative.
    """

    segmentation: Segmentation = "rle"
    ome_version: Version | None = None
    margin: int = 8

    def __post_init__(self) -> None:
        if self.segmentation not in get_args(Segmentation):
            raise ValueError(
                f"expected masks of COCO as rle or polygons, got {self.segmentation!r}"
            )
        if self.ome_version not in (None, *get_args(Version)):
            raise ValueError(f"expected OME-Zarr 0.4 or 0.5, got {self.ome_version!r}")
        if self.margin < 0:
            raise ValueError(f"expected a margin of 0 pixels or more, got {self.margin}")


def format_of(key: str) -> ExportFormat:
    """Return the format with a name.

    Raises
    ------
    ValueError
        If there is no such format.
    """
    if key not in FORMATS:
        raise ValueError(f"expected one of the formats {', '.join(FORMATS)}, got {key!r}")
    return FORMATS[key]


def proposed_name(to: ExportFormat, image: str) -> str:
    """Return a file name derived from that of an image, such as ``cells_labels.tif``."""
    stem = Path(image).name or "image"
    for suffix in (".zarr", ".tif", ".tiff", ".ome", ".png", ".jpg", ".jpeg", ".npy", ".lsm"):
        stem = stem.removesuffix(suffix)
    return f"{stem or 'image'}{to.ending}{to.suffixes[0] if to.suffixes else ''}"


def check_target(to: ExportFormat, path: Path, overwrite: bool = False) -> None:
    """Raise an error if a target can't be written, or exists and may not be replaced.

    Parameters
    ----------
    to
        The format.
    path
        The file or folder.
    overwrite
        Whether an existing target of the same kind may be replaced.

    Raises
    ------
    FileExistsError
        If the target exists and may not be replaced.
    ValueError
        If its suffix isn't one of the format's.
    ImportError
        If a library that writes the format is not installed.
    """
    if to.suffixes and path.suffix.lower() not in to.suffixes:
        raise ValueError(
            f"expected a file ending in {' or '.join(to.suffixes)} for the format {to.key}, got "
            f"{path.name}"
        )
    if to.key == "imagej":
        load_roifile()
    if path.suffix.lower() == ".zarr":
        zarr_library()
    target = path
    if to.key == "ome-zarr" and version_of_image(path) is not None:
        target = labels_folder(path, "objects")
    several = [target, target.with_suffix(".csv")] if to.key == "classes" else [target]
    there = [one for one in several if one.exists()]
    if there and not overwrite:
        raise FileExistsError(
            f"{there[0]} is there already and was left as it is; choose another name, or allow "
            "it to be overwritten"
        )
    if there and there[0].is_dir() and not (to.suffixes or is_exported_folder(to, there[0])):
        raise FileExistsError(
            f"{there[0]} is a folder with other things in it and was left as it is; choose "
            "another name"
        )


def is_exported_folder(to: ExportFormat, folder: Path) -> bool:
    """Whether a folder was written by an export, so that nothing else is lost if it is replaced.

    Parameters
    ----------
    to
        A format that is written as a folder.
    folder
        An existing folder.
    """
    if to.key == "yolo":  # beside which its users put the images
        names = {one.name for one in folder.iterdir()}
        return DATA_FILE in names and names <= {DATA_FILE, LABELS_FOLDER}
    return (folder / (TRACK_FILE if to.key == "ctc" else "objects.csv")).is_file()


def write_export(
    to: ExportFormat,
    several: Sequence[ExportedObjects],
    path: Path,
    options: ExportOptions | None = None,
    report: Report | None = None,
) -> None:
    """Write objects in a format; an existing target is replaced, see :func:`check_target`.

    Parameters
    ----------
    to
        The format.
    several
        The objects of one image, or of several images if the format joins them.
    path
        The file or folder.
    options
        Options of the format.
    report
        Called with the finished fraction; it may raise an exception to cancel, and then nothing
        is written.

    Raises
    ------
    ValueError
        If the format can't represent these objects.
    OSError
        If the target can't be written; an existing one is unchanged.
    """
    options = options or ExportOptions()
    if to.key == "coco":
        write_coco(several, path, options.segmentation, report)
        return
    if to.key == "csv":
        write_table(several, path, report)
        return
    if to.key == "yolo":
        write_yolo(several, path, report)
        return
    if len(several) != 1:
        raise ValueError(
            f"expected the objects of one image in a file of the format {to.key}, got those of "
            f"{len(several)}; write a file for each"
        )
    (objects,) = several
    if to.key == "labels":
        write_label_image(objects, path, report)
    elif to.key == "classes":
        write_class_image(objects, path, report)
    elif to.key == "geojson":
        write_geojson(objects, path, report)
    elif to.key == "ome-zarr":
        write_ome_zarr(objects, path, options.ome_version, report)
    elif to.key == "imagej":
        write_imagej(objects, path, report)
    elif to.key == "ctc":
        write_ctc(objects, path, report)
    else:
        write_crops(objects, path, options.margin, report)
