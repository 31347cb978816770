"""Labels as OME-Zarr 0.4 or 0.5, with a pyramid: by themselves, or within their image."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from napari_sam.atomic import replaced
from napari_sam.io.exports.objects import ExportedObjects, Report
from napari_sam.io.ome_zarr import axis_words, is_zarr, ome_attributes, zarr_library

Version = Literal["0.4", "0.5"]

_CHUNK = 1024  # rows and columns
_SMALLEST = 512  # a level is made smaller while it has more rows or columns


def write_ome_zarr(
    objects: ExportedObjects,
    path: Path,
    version: Version | None = None,
    report: Report | None = None,
    name: str = "objects",
) -> None:
    """Write labels with what is known about each object.

    Parameters
    ----------
    objects
        What is written.
    path
        A folder. If it is an OME-Zarr image, the labels become one of those that it has, under
        its ``labels``, in its own version; nothing else in it is changed. Otherwise it becomes
        an image of labels by itself.
    version
        Of the format: 0.4 lies in Zarr 2, 0.5 in Zarr 3. By default 0.5, or the image's own.
    report
        Called with the finished fraction; it may raise to cancel.
    name
        Of the labels within an image; what has that name is replaced.

    Raises
    ------
    ImportError
        If the zarr library isn't installed.
    ValueError
        If the image has another version than is asked for, or the name is none.
    FileExistsError
        If `path` is there and no Zarr.
    OSError
        If it can't be written.
    """
    found = version_of_image(path)
    if found is None:
        if path.exists() and not is_zarr(path):
            raise FileExistsError(f"{path} is there and no Zarr; it was left as it is")
        with replaced(path) as temporary:
            _write_labels(objects, temporary, version or "0.5", path.name, report)
        return
    if version not in (None, found):
        raise ValueError(
            f"expected version {found}, in which the image {path} is, got {version}; leave the "
            "version out, or write the labels by themselves"
        )
    if not re.fullmatch(r"[\w.-]*\w[\w.-]*", name):
        raise ValueError(f"expected a name of letters, digits, '_', '-' and '.', got {name!r}")
    with replaced(labels_folder(path, name)) as temporary:
        _write_labels(objects, temporary, found, name, report, "../../")
        group = zarr_library().open_group(
            path / "labels", mode="a", zarr_format=2 if found == "0.4" else 3
        )
        attributes = dict(ome_attributes(group))
        listed = [*attributes.get("labels", ())]
        _set_attributes(group, found, attributes | {"labels": [*listed, *({name} - {*listed})]})


def labels_folder(path: Path, name: str) -> Path:
    """Return where labels of an image lie."""
    return path / "labels" / name


def version_of_image(path: Path) -> Version | None:
    """Return the version of an OME-Zarr image; None if there is none, or labels alone.

    Raises
    ------
    ImportError
        If there is a Zarr, but no library to read it.
    ValueError
        If there is an image of a version that isn't written.
    """
    if not path.is_dir() or not is_zarr(path):
        return None
    zarr = zarr_library()
    try:
        group = zarr.open_group(path, mode="r")
        attributes = dict(ome_attributes(group))
        is_image = "multiscales" in attributes and "image-label" not in attributes
    except (OSError, LookupError, TypeError, ValueError, AttributeError):
        return None
    if not is_image:
        return None
    format_ = group.metadata.zarr_format
    version = attributes.get("version") or attributes["multiscales"][0].get("version", "0.4")
    if (format_, version) not in ((2, "0.4"), (3, "0.5")):
        raise ValueError(
            f"expected an OME-Zarr image of version 0.4 or 0.5, got {version} in Zarr {format_}: "
            f"{path}; write the labels by themselves, into another folder"
        )
    return "0.4" if format_ == 2 else "0.5"


def _write_labels(
    objects: ExportedObjects,
    path: Path,
    version: Version,
    name: str,
    report: Report | None,
    image: str = "",
) -> None:
    zarr = zarr_library()
    group = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
    height, width = objects.plane_shape
    steps = [1]
    while max(height, width) / steps[-1] > _SMALLEST and min(height, width) // steps[-1] > 1:
        steps.append(steps[-1] * 2)
    dtype = np.dtype(objects.labels.dtype).newbyteorder("=")
    levels = [_level(group, objects, step, dtype, version) for step in steps]
    for index, labels in objects.planes(report):
        for step, level in zip(steps, levels, strict=True):
            level[index] = labels[::step, ::step].astype(dtype)
    sizes = objects.pixel_size or {}
    datasets = [_dataset(objects.axes, sizes, step) for step in steps]
    axes = [axis_words(axis, sizes, objects.unit) for axis in objects.axes]
    multiscales: dict[str, Any] = {"name": name, "axes": axes, "datasets": datasets}
    label: dict[str, Any] = {"version": version}
    if properties := [_properties(objects, i) for i in sorted(_leaving(objects))]:
        label["properties"] = properties
    if colours := list(_colours(objects)):
        label["colors"] = colours
    if image:
        label["source"] = {"image": image}
    if version == "0.4":
        multiscales["version"] = version
    _set_attributes(group, version, {"multiscales": [multiscales], "image-label": label})


def _level(
    group: Any, objects: ExportedObjects, step: int, dtype: np.dtype[Any], version: Version
) -> Any:
    import numcodecs

    height, width = (-(-length // step) for length in objects.plane_shape)
    shape = (*objects.stack_shape, height, width)
    chunks = (1,) * len(objects.stack_shape) + (min(_CHUNK, height), min(_CHUNK, width))
    options: dict[str, Any] = {}
    if version == "0.4":
        options["chunk_key_encoding"] = {"name": "v2", "separator": "/"}
        # Zstandard notices a chunk that was cut short; zarr's default Blosc returns noise.
        options["compressors"] = numcodecs.Zstd(level=3, checksum=True)
    else:
        from zarr.codecs import ZstdCodec

        options["compressors"] = ZstdCodec(level=3, checksum=True)
        options["dimension_names"] = [axis.lower() for axis in objects.axes]
    return group.create_array(
        str(step.bit_length() - 1), shape=shape, dtype=dtype, chunks=chunks, **options
    )


def _dataset(axes: str, sizes: Mapping[str, float], step: int) -> dict[str, Any]:
    """Describe a level; every pixel of it is the first of `step` by `step` pixels."""
    factors = [float(sizes.get(axis, 1)) * (step if axis in "YX" else 1) for axis in axes]
    return {
        "path": str(step.bit_length() - 1),
        "coordinateTransformations": [{"type": "scale", "scale": factors}],
    }


def _leaving(objects: ExportedObjects) -> set[int]:
    known = set(objects.records)
    return known if objects.only is None else known & objects.only


def _properties(objects: ExportedObjects, label: int) -> dict[str, Any]:
    record = objects.record(label)
    properties: dict[str, Any] = {"label-value": label, "state": record.state}
    if record.class_name:
        properties["class"] = record.class_name
    if record.origin:
        properties["origin"] = record.origin
    if record.score is not None and np.isfinite(record.score):
        properties["score"] = round(float(record.score), 6)
    return properties


def _colours(objects: ExportedObjects) -> Any:
    for label in sorted(_leaving(objects)):
        colour = objects.colour_of(objects.record(label).class_name)
        if colour is not None:
            yield {"label-value": label, "rgba": [*colour, 255]}


def _set_attributes(group: Any, version: Version, attributes: Mapping[str, Any]) -> None:
    if version == "0.4":
        group.attrs.update(attributes)
    else:
        group.attrs["ome"] = {"version": version, **attributes}
