"""What leaves is read by other programs' readers, and is what the labels are."""

from __future__ import annotations

import csv
import json
import logging
from dataclasses import replace
from pathlib import Path

import geopandas
import imageio.v3 as imageio
import numpy as np
import pandas
import pytest
import roifile
import shapely
import tifffile
import yaml
import yaozarrs
import zarr
from exported import exported, plane_of_objects
from labelformat.formats import YOLOv8InstanceSegmentationInput
from pycocotools import mask as coco_masks
from pycocotools.coco import COCO

from napari_sam.io import read_image
from napari_sam.io.exports import (
    FORMATS,
    ClassRecord,
    ExportedObjects,
    ExportOptions,
    ObjectRecord,
    check_target,
    proposed_name,
    write_export,
)
from napari_sam.io.outlines import fill

LABELS = plane_of_objects()

# pycocotools is from before NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def write(to: str, path: Path, objects: ExportedObjects | None = None, **options) -> Path:
    write_export(FORMATS[to], [objects or exported()], path, ExportOptions(**options))
    return path


def coco_of(path: Path) -> COCO:
    return COCO(path)


def yolo_of(path: Path) -> dict[str, list[tuple[str, np.ndarray]]]:
    """Return class and mask of each line, by file, as labelformat reads them with the images."""
    (path / "images").mkdir()
    for one in (path / "labels").iterdir():
        imageio.imwrite(path / "images" / f"{one.stem}.png", np.zeros(LABELS.shape, np.uint8))
    read = {}
    for image in YOLOv8InstanceSegmentationInput(path / "data.yaml", "train").get_labels():
        lines = read[Path(image.image.filename).stem] = []
        for one in image.objects:
            (corners,) = one.segmentation.polygons
            (row, column), mask = fill([np.array(corners)[:, ::-1]], LABELS.shape)
            full = np.zeros(LABELS.shape, bool)
            full[row : row + mask.shape[0], column : column + mask.shape[1]] = mask
            lines.append((one.category.name, full))
    return read


@pytest.mark.parametrize("segmentation", ["rle", "polygons"])
def test_pycocotools_reads_the_masks_classes_and_scores(tmp_path, segmentation):
    data = coco_of(write("coco", tmp_path / "a.json", segmentation=segmentation))
    (image,) = data.loadImgs(data.getImgIds())
    assert (image["file_name"], image["height"], image["width"]) == ("cells.tif", 24, 32)
    annotations = {one["object_id"]: one for one in data.loadAnns(data.getAnnIds())}
    assert sorted(annotations) == [1, 2, 4, 5, 70000]
    for label, one in annotations.items():
        np.testing.assert_array_equal(data.annToMask(one) > 0, label == LABELS)
        assert one["area"] == np.count_nonzero(label == LABELS)
        assert one["bbox"] == coco_masks.toBbox(data.annToRLE(one)).astype(int).tolist()
    names = {i: one["name"] for i, one in data.cats.items()}
    found = {label: names[one["category_id"]] for label, one in annotations.items()}
    assert found == {1: "nucleus", 2: "object", 4: "debris, old", 5: "object", 70000: "nucleus"}
    assert (annotations[1]["score"], annotations[2]["state"]) == (0.91, "proposed")
    assert "score" not in annotations[4]
    is_polygon = isinstance(annotations[4]["segmentation"], list)
    assert (is_polygon, annotations[1]["segmentation"]["size"]) == (
        segmentation == "polygons", [24, 32]
    )  # fmt: skip


def test_a_stack_is_one_coco_image_a_plane_and_several_images_share_categories(tmp_path):
    stack = exported((2, 3), "TZYX")
    write_export(FORMATS["coco"], [stack, exported()], tmp_path / "a.json")
    data = coco_of(tmp_path / "a.json")
    assert len(data.imgs) == 7
    assert data.imgs[5]["plane"] == {"t": 1, "z": 1}
    for i, index in enumerate(np.ndindex(2, 3), 1):
        for one in data.imgToAnns[i]:
            expected = stack.labels[index] == one["object_id"]
            np.testing.assert_array_equal(data.annToMask(one) > 0, expected)
    assert len({one["id"] for one in data.dataset["annotations"]}) == len(data.anns)
    assert [one["name"] for one in data.dataset["categories"]] == [
        "nucleus", "debris, old", "object"
    ]  # fmt: skip


def test_labelformat_reads_the_outlines_and_classes(tmp_path):
    lines = yolo_of(write("yolo", tmp_path / "a"))["cells"]
    outer = np.zeros(LABELS.shape, bool)
    outer[2:10, 3:12] = True  # its hole is filled, and the island in it has a line of its own
    island, first, second = (np.zeros_like(outer) for _ in range(3))
    island[5:7, 7:9] = first[20:22, 20:22] = second[22:24, 22:24] = True
    expected = [
        ("nucleus", outer), ("nucleus", island), ("object", LABELS == 2), ("debris, old", first),
        ("debris, old", second), ("object", LABELS == 5), ("nucleus", LABELS == 70000),
    ]  # fmt: skip
    assert [name for name, _ in lines] == [name for name, _ in expected]
    for (_, mask), (_, pixels) in zip(lines, expected, strict=True):
        np.testing.assert_array_equal(mask, pixels)


def test_a_stack_is_one_yolo_file_a_plane_and_several_images_share_classes(tmp_path):
    stack = exported((2, 3), "TZYX")
    other = replace(exported(), name="other.tif", classes=(ClassRecord("debris, old"),))
    write_export(FORMATS["yolo"], [other, stack], tmp_path / "a")
    data = yaml.safe_load((tmp_path / "a" / "data.yaml").read_text("utf-8"))
    assert data == {
        "train": "images", "val": "images", "names": {0: "debris, old", 1: "nucleus", 2: "object"},
    }  # fmt: skip
    read = yolo_of(tmp_path / "a")
    assert sorted(read) == [*(f"cells_t{t:04}_z{z:04}" for t in (0, 1) for z in range(3)), "other"]
    for t, z in np.ndindex(2, 3):
        lines = read[f"cells_t{t:04}_z{z:04}"]
        assert {name for name, _ in lines} <= {"nucleus", "debris, old", "object"}
        drawn = np.any([mask for _, mask in lines], 0)
        np.testing.assert_array_equal(drawn[12:], stack.labels[t, z, 12:] > 0)
    with pytest.raises(ValueError, match="two called other"):
        write_export(FORMATS["yolo"], [other, replace(other, name="other.png")], tmp_path / "b")
    assert [one.name for one in tmp_path.iterdir()] == ["a"]


def test_yolo_has_a_class_for_objects_without_one_only_if_there_are_any(tmp_path):
    def names(path: Path, labels: np.ndarray, *classes: str) -> dict[int, str]:
        records = {i: ObjectRecord(i, name) for i, name in enumerate(classes, 1)}
        write("yolo", path, ExportedObjects(labels, "YX", "a", records))
        return yaml.safe_load((path / "data.yaml").read_text("utf-8"))["names"]

    labels = np.array([[1, 0, 2]])
    strange = '"T": cell # \U0001f9ec'
    assert names(tmp_path / "a", labels, strange, "no") == {0: strange, 1: "no"}
    assert names(tmp_path / "b", labels, "cell", "") == {0: "cell", 1: "object"}
    assert names(tmp_path / "c", labels, "object", "") == {0: "object"}
    assert names(tmp_path / "d", labels * 0) == {0: "object"}
    assert (tmp_path / "d" / "labels" / "a.txt").read_text() == ""


def test_geopandas_reads_valid_polygons_with_holes(tmp_path):
    path = write("geojson", tmp_path / "a.geojson")
    frame = geopandas.read_file(path)
    assert frame["geometry"].is_valid.all()
    for name, shape in zip(frame["name"], frame["geometry"], strict=True):
        assert shape.area == np.count_nonzero(int(name) == LABELS)
    by_name = dict(zip(frame["name"], frame["geometry"], strict=True))
    assert by_name["1"].geom_type == "MultiPolygon"  # with its island
    assert [len(one.interiors) for one in by_name["1"].geoms] == [1, 0]
    assert by_name["2"].bounds == (12, 2, 15, 10)


def test_geojson_has_what_qupath_reads(tmp_path):
    stack = exported((2, 3), "TZYX")
    features = json.loads(write("geojson", tmp_path / "a.geojson", stack).read_text())["features"]
    first = features[0]
    assert first["properties"] == {
        "objectType": "detection",
        "name": "1",
        "classification": {"name": "nucleus", "color": [255, 128, 0]},
        "isLocked": False,
        "measurements": {"Area µm^2": 14.0, "Predicted IoU": 0.91, "Prompts": 3},
        "metadata": {"object": "1", "state": "accepted", "origin": "prompted"},
    }
    locked = next(one for one in features if one["properties"]["name"] == "4")
    assert locked["properties"]["isLocked"] is True
    planes = [one["geometry"]["plane"] for one in features if one["properties"]["name"] == "4"]
    assert planes == [{"c": -1, "z": z, "t": t} for t in range(2) for z in range(3)]
    assert len({one["id"] for one in features}) == len(features)
    for one in features:
        assert shapely.geometry.shape(one["geometry"]).is_valid


def test_roifile_reads_the_regions(tmp_path):
    regions = roifile.roiread(write("imagej", tmp_path / "a.zip"))
    assert [one.name for one in regions] == ["00001", "00002", "00004", "00005", "70000"]
    for one in regions:
        corners = [ring[:, ::-1] for ring in one.coordinates(multi=True)]
        (row, column), mask = fill(corners, LABELS.shape)
        full = np.zeros(LABELS.shape, bool)
        full[row : row + mask.shape[0], column : column + mask.shape[1]] = mask
        np.testing.assert_array_equal(full, int(one.name) == LABELS)
    assert regions[1].roitype == roifile.ROI_TYPE.TRACED
    assert regions[0].composite
    assert regions[0].stroke_color == b"\xff\xff\x80\x00"
    assert regions[2].props.splitlines() == [
        "object: 4", "class: debris, old", "state: locked", "origin: painted"
    ]  # fmt: skip


def test_regions_of_a_stack_have_their_place(tmp_path):
    regions = roifile.roiread(write("imagej", tmp_path / "a.zip", exported((2, 3), "TZYX")))
    assert {(one.t_position, one.z_position, one.position) for one in regions} == {
        (t, z, 0) for t in (1, 2) for z in (1, 2, 3)
    }
    regions = roifile.roiread(write("imagej", tmp_path / "b.zip", exported((3,), "ZYX")))
    assert {(one.z_position, one.position) for one in regions} == {(1, 1), (2, 2), (3, 3)}


def test_regions_far_from_the_corner_keep_their_place(tmp_path):
    labels = np.zeros((2, 50000), np.uint8)
    labels[:, 40000:40010] = 1
    (region,) = roifile.roiread(
        write("imagej", tmp_path / "a.zip", ExportedObjects(labels, "YX"))
    ) or [None]
    (corners,) = region.coordinates(multi=True)
    assert (corners[:, 0].min(), corners[:, 0].max()) == (40000, 40010)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_yaozarrs_reads_labels_of_either_version(tmp_path, version):
    objects = exported((2, 3), "TZYX")
    path = write("ome-zarr", tmp_path / "a.zarr", objects, ome_version=version)
    group = yaozarrs.open_group(path)
    found = group.ome_metadata()
    assert (found.multiscales[0] if version == "0.4" else found).version == version
    assert [one.label_value for one in found.image_label.properties] == [1, 2, 4, 70000]
    scale = found.multiscales[0].datasets[0].coordinateTransformations[0].scale
    assert scale == [60.0, 2.0, 0.5, 0.5]
    yaozarrs.validate_zarr_store(path)
    np.testing.assert_array_equal(zarr.open_group(path)["0"][:], objects.labels)
    image = read_image(path)
    assert (image.axes, image.pixel_size["Z"], image.unit) == ("TZYX", 2.0, "µm")


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_labels_go_into_an_image_in_its_version(tmp_path, version):
    path = write("ome-zarr", tmp_path / "a.zarr", ome_version=version)
    image = zarr.open_group(path)
    found = dict(image.attrs["ome"]) if version == "0.5" else dict(image.attrs)
    found.pop("image-label")
    image.attrs.put({"ome": found} if version == "0.5" else found)
    other = "0.5" if version == "0.4" else "0.4"
    with pytest.raises(ValueError, match=f"expected version {version}"):
        write("ome-zarr", path, ome_version=other)
    write("ome-zarr", path)
    yaozarrs.validate_zarr_store(path)
    group = zarr.open_group(path)["labels"]
    assert (group.attrs["ome"] if version == "0.5" else group.attrs)["labels"] == ["objects"]
    np.testing.assert_array_equal(group["objects"]["0"][:], LABELS)
    with pytest.raises(FileExistsError, match="objects is there already"):
        check_target(FORMATS["ome-zarr"], path)
    write("ome-zarr", path)
    assert (group.attrs["ome"] if version == "0.5" else group.attrs)["labels"] == ["objects"]


def test_large_labels_have_a_pyramid(tmp_path):
    labels = np.zeros((1200, 1100), np.uint16)
    labels[600:, 300:] = 9
    path = write("ome-zarr", tmp_path / "a.zarr", ExportedObjects(labels, "YX"))
    levels = zarr.open_group(path)
    assert [levels[str(i)].shape for i in range(3)] == [(1200, 1100), (600, 550), (300, 275)]
    np.testing.assert_array_equal(levels["2"][:], labels[::4, ::4])
    yaozarrs.validate_zarr_store(path)


def test_measurements_are_physical_and_have_the_facts(tmp_path):
    frame = pandas.read_csv(write("csv", tmp_path / "a.csv"), keep_default_na=False)
    frame = frame.set_index("label")
    assert frame.loc[2, ["area", "unit", "class", "state"]].tolist() == [6.0, "µm", "", "proposed"]
    assert frame.loc[1, "class"] == "nucleus"
    assert (frame.loc[1, "predicted_iou"], frame.loc[1, "seconds"]) == ("0.91", "4.5")
    pixels = exported().image.plane(())
    assert frame.loc[2, "intensity_mean"] == pytest.approx(pixels[LABELS == 2].mean())
    volume = pandas.read_csv(write("csv", tmp_path / "b.csv", exported((2, 3), "TZYX")))
    assert set(volume["t"]) == {0, 1}
    four = volume[volume["label"] == 4]
    assert four["volume"].tolist() == [np.count_nonzero(LABELS == 4) * 3 * 0.5] * 2


def test_measurements_of_several_images_share_a_table(tmp_path):
    alone = exported()
    without = ExportedObjects(alone.labels, "YX", "other.tif")
    write_export(FORMATS["csv"], [alone, without], tmp_path / "a.csv")
    frame = pandas.read_csv(tmp_path / "a.csv")
    assert frame["image"].value_counts().to_dict() == {"cells.tif": 5, "other.tif": 5}
    assert frame.loc[frame["image"] == "other.tif", "intensity_mean"].isna().all()


def test_cut_outs_have_their_surroundings_and_a_mask(tmp_path):
    folder = write("crops", tmp_path / "crops", margin=3)
    image = exported().image.plane(())
    rows = list(csv.DictReader((folder / "objects.csv").read_text().splitlines()))
    assert len(rows) == 5
    for row in rows:
        at = tuple(slice(int(row[f"{a}_first"]), int(row[f"{a}_last"]) + 1) for a in "yx")
        crop, mask = (tifffile.imread(folder / part / row["file"]) for part in ("images", "masks"))
        np.testing.assert_array_equal(crop, image[at])
        np.testing.assert_array_equal(mask == 255, LABELS[at] == int(row["label"]))
    assert rows[0]["y_first"] == "0"
    assert rows[1]["y_last"] == "12"
    assert read_image(folder / "images" / rows[0]["file"]).pixel_size == {"Y": 0.5, "X": 0.5}


def test_cut_outs_of_a_volume_are_volumes(tmp_path):
    stack = exported((2, 3), "TZYX")
    folder = write("crops", tmp_path / "crops", stack)
    rows = list(csv.DictReader((folder / "objects.csv").read_text().splitlines()))
    four = [row for row in rows if row["label"] == "4"]
    assert [(row["t"], row["z_first"], row["z_last"]) for row in four] == [
        ("0", "0", "2"), ("1", "0", "2")
    ]  # fmt: skip
    mask = read_image(folder / "masks" / four[1]["file"])
    assert mask.axes == "ZYX"
    np.testing.assert_array_equal(
        mask.part((slice(None),) * 3)[:, 8:, 8:].any((1, 2)), np.ones(3, bool)
    )


def test_label_and_class_images_keep_axes_sizes_and_numbers(tmp_path):
    stack = exported((2, 3), "TZYX")
    image = read_image(write("labels", tmp_path / "a.tif", stack))
    assert (image.axes, image.unit) == ("TZYX", "µm")
    np.testing.assert_array_equal(image.part((slice(None),) * 4), stack.labels)
    classes = read_image(write("classes", tmp_path / "b.tif")).plane(())
    assert classes.dtype == np.uint8
    for label, value in {1: 1, 70000: 1, 4: 2, 2: 3, 5: 3}.items():
        assert set(classes[label == LABELS]) == {value}
    rows = list(csv.reader((tmp_path / "b.csv").read_text().splitlines()))
    assert rows[1:] == [
        ["0", "background", ""], ["1", "nucleus", "#ff8000"], ["2", "debris, old", "#0000ff"],
        ["3", "no class", ""],
    ]  # fmt: skip


@pytest.mark.parametrize("to", [*FORMATS])
def test_only_accepted_objects_leave(tmp_path, to, caplog):
    path = write(to, tmp_path / proposed_name(FORMATS[to], "cells.tif"), exported().accepted())
    caplog.set_level(logging.CRITICAL)
    if to == "labels":
        assert set(np.unique(read_image(path).plane(()))) == {0, 1, 4, 70000}
    elif to == "classes":
        assert set(np.unique(read_image(path).plane(()))) == {0, 1, 2}
    elif to == "ome-zarr":
        assert set(np.unique(zarr.open_group(path)["0"][:])) == {0, 1, 4, 70000}
    elif to == "coco":
        assert {one["object_id"] for one in coco_of(path).anns.values()} == {1, 4, 70000}
    elif to == "yolo":
        assert {name for name, _ in yolo_of(path)["cells"]} == {"nucleus", "debris, old"}
    elif to == "geojson":
        assert set(geopandas.read_file(path)["name"]) == {"1", "4", "70000"}
    elif to == "imagej":
        assert [one.name for one in roifile.roiread(path)] == ["00001", "00004", "70000"]
    elif to == "csv":
        assert set(pandas.read_csv(path)["label"]) == {1, 4, 70000}
    elif to == "ctc":
        assert len((path / "res_track.txt").read_text().splitlines()) == 3
    else:
        assert len([*(path / "images").iterdir()]) == 3


def test_stacks_are_written_plane_by_plane(tmp_path):
    class Counted(np.ndarray):
        largest = 0

        def __getitem__(self, key):
            part = super().__getitem__(key)
            Counted.largest = max(Counted.largest, np.size(part))
            return np.asarray(part)

    stack = exported((2, 3), "TZYX")
    labels = stack.labels.view(Counted)
    lazy = ExportedObjects(labels, "TZYX", "a", {}, (), None, None, stack.image)
    for to, one in FORMATS.items():
        write(to, tmp_path / proposed_name(one, to), lazy)
    assert Counted.largest == LABELS.size


def test_nothing_is_overwritten_unasked(tmp_path):
    for to, one in FORMATS.items():
        path = write(to, tmp_path / proposed_name(one, to))
        with pytest.raises(FileExistsError, match="was left as it is"):
            check_target(one, path)
        check_target(one, path, overwrite=True)
    strange = tmp_path / "things"
    strange.mkdir()
    (strange / "thesis.doc").write_text("dear")
    with pytest.raises(FileExistsError, match="other things"):
        check_target(FORMATS["crops"], strange, overwrite=True)
    (tmp_path / "yolo_yolo" / "images").mkdir()
    with pytest.raises(FileExistsError, match="other things"):
        check_target(FORMATS["yolo"], tmp_path / "yolo_yolo", overwrite=True)
    with pytest.raises(ValueError, match=r"ending in \.json"):
        check_target(FORMATS["coco"], tmp_path / "a.txt")


def test_a_cancelled_export_leaves_nothing(tmp_path):
    class Stop(Exception):
        pass

    def stop(fraction):
        if fraction > 0.3:
            raise Stop

    for to, one in FORMATS.items():
        path = tmp_path / proposed_name(one, to)
        with pytest.raises(Stop):
            write_export(one, [exported((2, 3), "TZYX")], path, report=stop)
    assert [*tmp_path.iterdir()] == []
