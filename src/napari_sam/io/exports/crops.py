"""Objects cut out of their image, each as a small image with its mask."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam.atomic import replaced
from napari_sam.io.exports.coco import rectangles
from napari_sam.io.exports.objects import ExportedObjects, Report
from napari_sam.io.image_file import ImageFile

_Key = tuple[int, tuple[int, ...]]  # a label, and a position along the axes but Z


@dataclass(slots=True)
class _Extent:
    """Rows, columns and slices that an object spans: first ones, and ones behind the last."""

    low: list[int]
    high: list[int]

    def include(self, low: tuple[int, ...], high: tuple[int, ...]) -> None:
        self.low = [*map(min, self.low, low)]
        self.high = [*map(max, self.high, high)]


@dataclass(slots=True)
class _Cut:
    """What is cut out up to now, slice by slice."""

    pixels: list[NDArray[Any]] = field(default_factory=list)
    masks: list[NDArray[np.bool_]] = field(default_factory=list)


def write_crops(
    objects: ExportedObjects, path: Path, margin: int = 8, report: Report | None = None
) -> None:
    """Write every object as an image of its surroundings and a mask, as TIFF.

    The folder gets ``images`` and ``masks`` (0 and 255), with the same names in both, and
    ``objects.csv``, a table of what is where. Along ``Z`` an object is a volume; each position
    along any other axis is an image of its own.

    Parameters
    ----------
    objects
        What is written, with its image.
    path
        The folder; one that is there is replaced.
    margin
        Pixels around the object, as far as the image has them.
    report
        Called with the finished fraction; it may raise to cancel.

    Raises
    ------
    ValueError
        If there is no image, or the margin is negative.
    OSError
        If it can't be written.
    """
    image = objects.image
    if image is None:
        raise ValueError(
            "expected the image that objects are cut out of, got none; name its file, or put it "
            "beside the session"
        )
    if margin < 0:
        raise ValueError(f"expected a margin of 0 pixels or more, got {margin}")
    extents = _extents(objects, _half(report, 0.0))
    with replaced(path) as temporary:
        for folder in ("images", "masks"):
            (temporary / folder).mkdir(parents=True)
        with (temporary / "objects.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            outer = [axis.lower() for axis in objects.plane_axes if axis != "Z"]
            depth = ["z_first", "z_last"] if "Z" in objects.plane_axes else []
            box = ["y_first", "y_last", "x_first", "x_last"]
            writer.writerow(["file", *outer, "label", "class", "state", "score", *depth, *box])
            for key, cut, place in _cuts(objects, image, extents, margin, _half(report, 0.5)):
                name = _name(objects, key)
                _write(temporary / "images" / name, np.stack(cut.pixels), objects, image)
                masks = np.stack(cut.masks).astype(np.uint8) * np.uint8(255)
                _write(temporary / "masks" / name, masks, objects, None)
                record = objects.record(key[0])
                score = "" if record.score is None else f"{record.score:.6g}"
                facts = [record.class_name, record.state, score]
                writer.writerow([name, *key[1], key[0], *facts, *place])


def _extents(objects: ExportedObjects, report: Report | None) -> dict[_Key, _Extent]:
    """Find out where every object lies; reads all labels."""
    extents: dict[_Key, _Extent] = {}
    for index, labels in objects.planes(report):
        z, outer = _parted(objects, index)
        for label, (rows, columns) in rectangles(labels):
            low, high = (z, rows.start, columns.start), (z + 1, rows.stop, columns.stop)
            known = extents.setdefault((label, outer), _Extent([*low], [*high]))
            known.include(low, high)
    return extents


def _cuts(
    objects: ExportedObjects,
    image: ImageFile,
    extents: Mapping[_Key, _Extent],
    margin: int,
    report: Report | None,
) -> Any:
    """Yield what is cut out, each as soon as its last slice is; every plane is read once."""
    height, width = objects.plane_shape
    by_outer: dict[tuple[int, ...], list[_Key]] = {}
    for key in extents:
        by_outer.setdefault(key[1], []).append(key)
    open_cuts: dict[_Key, _Cut] = {}
    for index, labels in objects.planes(report):
        z, outer = _parted(objects, index)
        here = [k for k in by_outer.get(outer, ()) if extents[k].low[0] <= z < extents[k].high[0]]
        if not here:
            continue
        pixels = image.plane(index)
        for key in here:
            extent = extents[key]
            top, left = max(0, extent.low[1] - margin), max(0, extent.low[2] - margin)
            bottom, right = (
                min(height, extent.high[1] + margin),
                min(width, extent.high[2] + margin),
            )
            at = slice(top, bottom), slice(left, right)
            cut = open_cuts.setdefault(key, _Cut())
            cut.pixels.append(pixels[at].copy())
            cut.masks.append(labels[at] == key[0])
            if z + 1 == extent.high[0]:
                depth = [extent.low[0], z] if "Z" in objects.plane_axes else []
                place = [*depth, top, bottom - 1, left, right - 1]
                yield key, open_cuts.pop(key), place


def _parted(objects: ExportedObjects, index: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    """Return a plane's slice (0 where there are none) and its position along other axes."""
    z = objects.plane_axes.find("Z")
    return (0, index) if z < 0 else (index[z], index[:z] + index[z + 1 :])


def _name(objects: ExportedObjects, key: _Key) -> str:
    letters = objects.plane_axes.replace("Z", "").lower()
    where = "".join(f"_{axis}{i:04}" for axis, i in zip(letters, key[1], strict=True))
    return f"{Path(objects.name).stem}{where}_{key[0]:05}.tif"


def _write(
    path: Path, stack: NDArray[Any], objects: ExportedObjects, image: ImageFile | None
) -> None:
    """Write slices `(n, h, w)` or `(n, h, w, samples)`; a single one as a plane."""
    import tifffile

    is_stack = "Z" in objects.plane_axes and len(stack) > 1
    is_rgb = image is not None and image.is_rgb
    axes = ("Z" if is_stack else "") + "YX" + ("S" if is_rgb else "")
    about: dict[str, Any] = {"axes": axes}
    if sizes := {a: size for a, size in (objects.pixel_size or {}).items() if a in axes}:
        about |= {"pixel_size": sizes, "unit": objects.unit}
    pixels = np.ascontiguousarray(stack if is_stack else stack[0])
    colours = "rgb" if is_rgb else "minisblack"
    tifffile.imwrite(
        path, pixels, photometric=colours, compression="zlib", metadata=about, maxworkers=1
    )


def _half(report: Report | None, start: float) -> Report | None:
    return None if report is None else lambda fraction: report(start + fraction / 2)
