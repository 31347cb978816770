"""What left comes back as it was; what others write is read; what is damaged is refused."""

from __future__ import annotations

import json
import zipfile
from contextlib import suppress
from pathlib import Path

import geopandas
import numpy as np
import pytest
import roifile
import shapely
import tifffile
from exported import exported, plane_of_objects
from pycocotools import mask as coco_masks

from napari_sam.io.exports import FORMATS, ExportedObjects, ExportOptions, write_export
from napari_sam.io.image_file import UnreadableImageError
from napari_sam.io.imports import ImportTarget, holds_objects, read_objects

LABELS = plane_of_objects()
PLANE = ImportTarget("YX", LABELS.shape, "cells.tif")
NAMES = {
    "labels": "a.tif", "coco": "a.json", "geojson": "a.geojson", "imagej": "a.zip",
    "ome-zarr": "a.zarr",
}  # fmt: skip
ROUND_TRIPS = [
    ("labels", {}), ("coco", {}), ("coco", {"segmentation": "polygons"}), ("geojson", {}),
    ("imagej", {}), ("ome-zarr", {"ome_version": "0.4"}), ("ome-zarr", {"ome_version": "0.5"}),
]  # fmt: skip


def read(path: Path, target: ImportTarget = PLANE):
    """Return labels by plane, the records, the classes, and what was told."""
    notes: list[str] = []
    found = read_objects(path, target, notes.append)
    planes = dict(found.planes(None))
    return planes, found.records, found.classes, notes


@pytest.mark.parametrize(("to", "options"), ROUND_TRIPS)
@pytest.mark.parametrize(("shape", "axes"), [((), "YX"), ((2, 3), "TZYX"), ((3,), "CYX")])
def test_what_left_comes_back(tmp_path, to, options, shape, axes):
    objects = exported(shape, axes)
    write_export(FORMATS[to], [objects], tmp_path / NAMES[to], ExportOptions(**options))
    target = ImportTarget(axes, objects.shape, "cells.tif")
    planes, records, classes, notes = read(tmp_path / NAMES[to], target)
    assert notes == []
    for index in np.ndindex(shape):
        np.testing.assert_array_equal(planes[index], objects.labels[index])
    if to == "labels":
        return
    assert {one.name: one.colour for one in classes} == {
        "nucleus": "#ff8000", "debris, old": "#0000ff"
    } or to == "ome-zarr"  # fmt: skip
    for label in (1, 2, 4):
        reported, known = records[label], objects.records[label]
        assert (reported.class_name, reported.state, reported.origin) == (
            known.class_name, known.state, known.origin
        )  # fmt: skip
        assert reported.score == known.score


def test_masks_of_pycocotools_are_read(tmp_path):
    masks = [LABELS == 1, LABELS == 2]
    runs = [coco_masks.encode(np.asfortranarray(mask.astype(np.uint8))) for mask in masks]
    uncompressed = [
        int(n) for n in np.diff(np.flatnonzero(np.diff(masks[0].T.ravel())), prepend=-1)
    ]
    uncompressed.append(LABELS.size - sum(uncompressed))
    segmentations = [
        {"size": [24, 32], "counts": uncompressed},
        {"size": [24, 32], "counts": runs[1]["counts"].decode()},
        [[0.2, 11.8, 6.1, 12.2, 6.2, 16.1, -0.3, 16.2]],
    ]
    data = {
        "images": [
            {"id": 7, "file_name": "day1/cells.png", "height": 24, "width": 32},
            {"id": 8, "file_name": "other.png", "height": 9, "width": 9},
        ],
        "categories": [{"id": 3, "name": "cell"}],
        "annotations": [
            {"id": i, "image_id": 7, "category_id": 3, "segmentation": one}
            for i, one in enumerate(segmentations, 1)
        ]
        + [
            {"id": 8, "image_id": 8, "category_id": 3, "segmentation": []},
            {"id": 9, "image_id": 7, "category_id": 3, "iscrowd": 1, "segmentation": []},
        ],
    }
    (tmp_path / "a.json").write_text(json.dumps(data))
    planes, records, _, notes = read(tmp_path / "a.json")
    np.testing.assert_array_equal(planes[()] == 1, masks[0])
    np.testing.assert_array_equal(planes[()] == 2, masks[1])
    np.testing.assert_array_equal(planes[()] == 3, LABELS == 70000)
    assert {one.class_name for one in records.values()} == {"cell"}
    assert notes == ["left out: 1 crowds"]


def test_polygons_of_geopandas_are_read_and_overlaps_are_reported(tmp_path):
    shapes = [
        shapely.box(2, 3, 10, 9).difference(shapely.box(4, 4, 6, 6)),
        shapely.box(8, 3, 14, 9),
        shapely.Point(20, 20),
        shapely.box(100, 100, 110, 110),
    ]
    (tmp_path / "a.geojson").write_text(geopandas.GeoDataFrame(geometry=shapes).to_json())
    planes, records, _, notes = read(tmp_path / "a.geojson")
    labels = planes[()]
    assert labels[4, 4] == 0
    assert np.count_nonzero(labels == 1) == 8 * 6 - 4
    assert np.count_nonzero(labels == 2) == 6 * 6 - 2 * 6
    assert sorted(records) == [1, 2]
    assert notes[0] == "left out: 1 that are no areas, 1 without a pixel in the image"
    assert notes[1].startswith("1 objects overlap with others")


def test_features_of_older_qupath_are_read(tmp_path):
    feature = {
        "type": "Feature",
        "id": "PathAnnotationObject",
        "geometry": {
            "type": "Polygon",
            "coordinates": [[[1, 1], [5, 1], [5, 4], [1, 4], [1, 1]]],
            "plane": {"c": -1, "z": 1, "t": 0},
        },
        "properties": {
            "classification": {"name": "Tumor", "colorRGB": -3670016},
            "isLocked": True,
            "measurements": [{"name": "Predicted IoU", "value": 0.5}],
        },
    }
    (tmp_path / "a.json").write_text(json.dumps([feature]))
    planes, records, classes, _ = read(
        tmp_path / "a.json", ImportTarget("ZYX", (2, 9, 9), "whatever")
    )
    assert [*planes] == [(1,)]
    assert planes[1,].sum() == 12
    assert (records[1].state, records[1].score) == ("locked", 0.5)
    assert (classes[0].name, classes[0].colour) == ("Tumor", "#c80000")


def test_regions_drawn_in_imagej_are_read(tmp_path):
    oval, box, line = roifile.ImagejRoi(), roifile.ImagejRoi(), roifile.ImagejRoi()
    oval.roitype, oval.top, oval.left, oval.bottom, oval.right = roifile.ROI_TYPE.OVAL, 2, 2, 12, 12
    box.roitype, box.top, box.left, box.bottom, box.right = roifile.ROI_TYPE.RECT, 14, 3, 16, 9
    line.roitype, line.x2, line.y2 = roifile.ROI_TYPE.LINE, 5.0, 5.0
    roifile.roiwrite(tmp_path / "a.zip", [oval, box, line], name=["oval", "box", "line"])
    planes, _, _, notes = read(tmp_path / "a.zip")
    assert np.count_nonzero(planes[()] == 1) == pytest.approx(np.pi * 25, abs=4)
    np.testing.assert_array_equal(np.argwhere(planes[()] == 2)[[0, -1]], [[14, 3], [15, 8]])
    assert notes == ["left out: 1 that are no areas"]
    *_, notes = read(tmp_path / "a.zip", ImportTarget("ZYX", (3, 24, 32)))
    assert any("no position in the stack" in note for note in notes)


def test_labels_of_another_image_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((5, 6), np.uint8))
    with pytest.raises(ValueError, match=r"expected labels of the image's shape \(24, 32\)"):
        read(tmp_path / "a.tif")
    tifffile.imwrite(tmp_path / "b.tif", LABELS.astype(np.uint16))
    with pytest.raises(ValueError, match="name the channel that they are of"):
        read(tmp_path / "b.tif", ImportTarget("CYX", (2, 24, 32)))
    tifffile.imwrite(tmp_path / "c.tif", LABELS.astype(np.float32))
    with pytest.raises(ValueError, match="whole numbers as labels"):
        read(tmp_path / "c.tif")


def test_a_data_set_of_other_images_is_refused(tmp_path):
    write_export(FORMATS["coco"], [exported()], tmp_path / "a.json")
    with pytest.raises(ValueError, match="expected an image of 9 rows and 9 columns"):
        read(tmp_path / "a.json", ImportTarget("YX", (9, 9), "cells.tif"))
    data = json.loads((tmp_path / "a.json").read_text())
    data["images"].append({**data["images"][0], "id": 2, "file_name": "b.tif"})
    (tmp_path / "a.json").write_text(json.dumps(data))
    with pytest.raises(ValueError, match=r"expected an image called mine\.tif"):
        read(tmp_path / "a.json", ImportTarget("YX", LABELS.shape, "mine.tif"))


DAMAGES = {
    "cut short": lambda data: data[: len(data) // 5],
    "empty": lambda data: b"",
    "zeros": lambda data: bytes(len(data)),
    "another file": lambda data: b"dear diary, " * 50,
    "nested": lambda data: b"[" * 100_000,
    "list": lambda data: b"[1, 2]",
    "null": lambda data: b'{"images": null, "annotations": null}',
    "numbers as text": lambda data: data.replace(b'"counts": "', b'"counts": "~~'),
    "corners without numbers": lambda data: data.replace(b"[[", b'[["x", '),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("to", ["labels", "coco", "geojson", "imagej"])
def test_damaged_files_are_refused_with_their_name(tmp_path, to, damage):
    path = tmp_path / NAMES[to]
    write_export(FORMATS[to], [exported()], path)
    whole = path.read_bytes()
    damaged = DAMAGES[damage](whole)
    if damaged == whole:
        pytest.skip("says nothing about this format")
    path.write_bytes(damaged)
    with pytest.raises(UnreadableImageError, match=path.name):
        read(path)


def test_every_cut_of_a_region_is_refused_or_read(tmp_path):
    write_export(FORMATS["imagej"], [exported()], tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip") as file:
        region = file.read("00001.roi")
    for length in range(0, len(region), 7):
        (tmp_path / "a.roi").write_bytes(region[:length])
        with suppress(UnreadableImageError):  # any other error would show
            read(tmp_path / "a.roi")


def test_a_damaged_chunk_of_ome_zarr_is_refused(tmp_path):
    path = tmp_path / "a.zarr"
    write_export(FORMATS["ome-zarr"], [exported()], path)
    chunk = next(one for one in path.rglob("*") if one.is_file() and one.parent.name == "0")
    chunk.write_bytes(chunk.read_bytes()[:-3])
    with pytest.raises(UnreadableImageError):
        read(path)
    (path / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group", "attributes": []}')
    with pytest.raises((UnreadableImageError, ValueError)):
        read(path)


def test_files_of_objects_are_known_by_what_they_hold(tmp_path):
    for to in ("coco", "geojson", "imagej"):
        write_export(FORMATS[to], [exported()], tmp_path / NAMES[to])
        assert holds_objects(tmp_path / NAMES[to])
    (tmp_path / "b.json").write_text('{"layers": []}')
    (tmp_path / "b.zip").write_bytes(b"PK no")
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as file:
        file.writestr("thesis.doc", "dear")
    for name in ("b.json", "b.zip", "c.zip", "absent.geojson", "d.tif"):
        assert not holds_objects(tmp_path / name)


def test_numbers_beyond_those_of_labels_are_given_anew(tmp_path):
    labels = np.zeros((4, 5), np.uint64)
    labels[1:3, 1:3] = 2**40
    write_export(FORMATS["geojson"], [ExportedObjects(labels, "YX")], tmp_path / "a.geojson")
    planes, *_ = read(tmp_path / "a.geojson", ImportTarget("YX", (4, 5)))
    np.testing.assert_array_equal(planes[()], labels > 0)
