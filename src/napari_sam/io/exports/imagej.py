"""ImageJ's regions of interest: a RoiSet, as its ROI Manager opens it."""

from __future__ import annotations

import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from napari_sam.atomic import replaced
from napari_sam.io.exports.objects import ExportedObjects, ObjectRecord, Report
from napari_sam.io.outlines import Polygon, outlines

_HIGHEST = 32767  # corner that ImageJ keeps as a whole number; beyond, as a float
_MOVE, _LINE, _CLOSE = 0.0, 1.0, 4.0


def write_imagej(objects: ExportedObjects, path: Path, report: Report | None = None) -> None:
    """Write one region for each object and plane, into a ``.zip``.

    A region in one piece is traced as by ImageJ's wand; one with holes or in parts is composite.
    It has its position in the stack, the colour of its class, and as properties the object's
    number, class, state and score.

    Parameters
    ----------
    objects
        What is written.
    path
        The file; what is there is replaced.
    report
        Called with the finished fraction; it may raise to cancel.

    Raises
    ------
    ImportError
        If roifile isn't installed.
    OSError
        If it can't be written.
    """
    roifile = load_roifile()
    with replaced(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as file:
        for index, labels in objects.planes(report):
            place = objects.place(index)
            for label, polygons in outlines(labels).items():
                region = _region(roifile, polygons)
                record = objects.record(label)
                where = "".join(f"{axis}{i + 1:04}-" for axis, i in place.items())
                region.name = f"{where}{label:05}"
                region.props = _properties(record)
                _place(region, place)
                colour = objects.colour_of(record.class_name)
                if colour is not None:
                    region.stroke_color = bytes((255, *colour))
                file.writestr(f"{region.name}.roi", region.tobytes())


def load_roifile() -> ModuleType:
    """Import roifile.

    Raises
    ------
    ImportError
        If it isn't installed; the message explains how to install it.
    """
    try:
        import roifile
    except ImportError as error:
        raise ImportError(
            "expected roifile, which reads and writes ImageJ's regions, found none; install it "
            'with: pip install "napari-sam-live[export]"'
        ) from error
    module: ModuleType = roifile
    return module


def _region(roifile: ModuleType, polygons: tuple[Polygon, ...]) -> Any:
    region = roifile.ImagejRoi()
    corners = np.concatenate([ring for one in polygons for ring in one.rings])
    (region.top, region.left), (region.bottom, region.right) = (
        corners.min(0).tolist(),
        corners.max(0).tolist(),
    )
    rings = [ring for one in polygons for ring in one.rings]
    if len(rings) == 1 and corners.max() <= _HIGHEST:
        region.roitype = roifile.ROI_TYPE.TRACED
        region.integer_coordinates = (rings[0] - corners.min(0))[:, ::-1].astype(np.int32)
        region.n_coordinates = len(rings[0])
        return region
    path: list[float] = []
    for ring in rings:
        for i, (row, column) in enumerate(ring.tolist()):
            path += (_LINE if i else _MOVE, column, row)
        path.append(_CLOSE)
    region.roitype = roifile.ROI_TYPE.RECT
    region.multi_coordinates = np.array(path, np.float32)
    region.shape_roi_size = len(path)
    return region


def _properties(record: ObjectRecord) -> str:
    properties = {"object": record.id, "class": record.class_name, "state": record.state}
    properties |= {"origin": record.origin}
    if record.score is not None and np.isfinite(record.score):
        properties["score"] = f"{record.score:.6g}"
    lines = {key: " ".join(str(value).split()) for key, value in properties.items()}
    return "".join(f"{key}: {value}\n" for key, value in lines.items() if value)


def _place(region: Any, place: dict[str, int]) -> None:
    """Say where in its stack a region lies, as ImageJ counts, from 1."""
    known = {axis: place[axis] + 1 for axis in "czt" if axis in place}
    region.c_position = known.get("c", 0)
    region.z_position = known.get("z", 0)
    region.t_position = known.get("t", 0)
    if len(place) == 1:  # a stack of one axis has slices alone
        region.position = next(iter(place.values())) + 1
