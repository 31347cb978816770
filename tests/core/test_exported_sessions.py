"""Sessions leave and come in, through Python and the command line."""

from __future__ import annotations

import json

import numpy as np
import pandas
import pytest
import tifffile
from core.fake_segmenter import FakeSegmenter
from typer.testing import CliRunner

from napari_sam import cli
from napari_sam.batch import export_sessions, import_session, objects_of_session
from napari_sam.io import read_image, write_labels
from napari_sam.io.exports import FORMATS
from napari_sam.io.imports import ImportTarget, read_objects
from napari_sam.session import ArrayCanvas, ArraySource, Session
from napari_sam.session.keeping import ImageFacts, save_session
from napari_sam.session.object_classes import ObjectClass

SHAPE = (3, 60, 50)


@pytest.fixture
def image(tmp_path, rng):
    write_labels(
        tmp_path / "cells.tif",
        rng.integers(0, 200, SHAPE, dtype=np.uint8),
        "ZYX",
        {"Z": 2.0, "Y": 0.5, "X": 0.5},
        "µm",
    )
    return tmp_path / "cells.tif"


def worked(dtype=np.int32) -> Session:
    """Return a session with a found object, two clicked ones of a class, and labels of before."""
    labels = np.zeros(SHAPE, dtype)
    labels[2, 50:55, 40:45] = 9
    source = ArraySource(np.zeros(SHAPE, np.uint8))
    session = Session(FakeSegmenter(), source, canvas=ArrayCanvas(labels))
    session.set_classes([ObjectClass("nucleus", "#ff8000")])
    session.add_point((0,), (20, 20), object_id=1)
    session.add_point((1,), (20, 20), object_id=1)
    session.add_point((0,), (40, 30), object_id=2)
    session.set_class([1, 2], "nucleus")
    session.object_id = 2
    return session


@pytest.fixture
def saved(tmp_path, image):
    session = worked()
    path = tmp_path / "cells.napari-sam"
    save_session(session, path, ImageFacts("cells", image, ("z", "y", "x")))
    return path, session


def run(*arguments):
    return CliRunner().invoke(cli.app, [str(a) for a in arguments])


def test_objects_of_a_saved_session_are_exported(saved):
    path, session = saved
    objects = objects_of_session(path)
    assert (objects.axes, objects.name, objects.unit) == ("ZYX", "cells.tif", "µm")
    np.testing.assert_array_equal(objects.labels[:], session.canvas.array)
    assert objects.image is not None
    assert [objects.records[i].state for i in (1, 2, 9)] == ["accepted", "accepted", "proposed"]
    assert (objects.records[1].class_name, objects.records[1].prompts) == ("nucleus", 2)
    assert objects.records[1].score == pytest.approx(0.9, abs=0.11)
    assert objects.records[1].origin == "prompted"
    assert objects.classes[0].colour == "#ff8000"


def test_a_session_leaves_by_the_command_line(saved, tmp_path):
    path, _ = saved
    arguments = ("export", path, "--to", "coco", "-o", tmp_path / "a.json")
    result = run(*arguments, "--only", "accepted")
    assert result.exit_code == 0, result.output
    assert len(json.loads((tmp_path / "a.json").read_text())["annotations"]) == 3
    again = run(*arguments)
    assert again.exit_code == 2
    assert "was left as it is" in again.stderr
    assert run(*arguments, "--overwrite").exit_code == 0
    assert len(json.loads((tmp_path / "a.json").read_text())["annotations"]) == 4


def test_every_format_leaves_into_a_folder(saved, tmp_path):
    path, _ = saved
    for to in FORMATS:
        export_sessions([path], to, tmp_path / "out")
    assert sorted(one.name for one in (tmp_path / "out").iterdir()) == [
        "cells.geojson", "cells_RoiSet.zip", "cells_classes.csv", "cells_classes.tif",
        "cells_coco.json", "cells_crops", "cells_ctc", "cells_labels.ome.zarr",
        "cells_labels.tif", "cells_objects.csv", "cells_yolo",
    ]  # fmt: skip
    table = pandas.read_csv(tmp_path / "out" / "cells_objects.csv")
    assert table["label"].tolist() == [1, 2, 9]
    assert "intensity_mean" in table


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--to", "png", "-o", "a.png"], "expected one of the formats labels, coco"),
        (["--to", "coco", "-o", "a.tif"], "ending in .json"),
        (["--to", "coco", "-o", "a.json", "--only", "best"], "--only accepted"),
        (["--to", "coco", "-o", "a.json", "--masks", "dots"], "rle or polygons"),
        (["--to", "ome-zarr", "-o", "a.zarr", "--ome-version", "1"], "0.4 or 0.5"),
        (["--to", "csv", "-o", "a.csv", "--image", "nowhere.tif"], "found nothing there"),
    ],
)
def test_what_cannot_be_exported_is_one_line(saved, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    result = run("export", saved[0], *arguments)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert words in result.stderr
    assert not (tmp_path / "a.json").exists()


def test_without_its_image_a_session_leaves_all_but_pixels(saved, image, tmp_path):
    path, session = saved
    image.unlink()
    notes: list[str] = []
    export_sessions([path], "csv", tmp_path / "a.csv", notify=notes.append)
    assert "intensity_mean" not in pandas.read_csv(tmp_path / "a.csv")
    assert "nothing is measured" in notes[0]
    export_sessions([path], "labels", tmp_path / "a.tif")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif"), session.canvas.array)
    with pytest.raises(FileNotFoundError, match="expected the image of"):
        export_sessions([path], "crops", tmp_path / "crops")


def test_another_image_beside_a_session_is_not_used(saved, image, tmp_path):
    path, _ = saved
    tifffile.imwrite(image, np.zeros((4, 5), np.uint8))
    with pytest.raises(ValueError, match="expected"):
        export_sessions([path], "csv", tmp_path / "a.csv", image=image)


def test_labels_on_disk_are_taken_from_their_file(saved, tmp_path):
    path, session = saved
    other = np.flip(session.canvas.array, 2)
    write_labels(tmp_path / "mine.tif", other, "ZYX")
    export_sessions([path], "labels", tmp_path / "a.tif", labels=tmp_path / "mine.tif")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif"), other)


def test_several_sessions_make_one_data_set_or_a_file_each(saved, tmp_path):
    path, _ = saved
    twin = path.with_name("twin.napari-sam")
    twin.write_bytes(path.read_bytes())
    export_sessions([path, twin], "coco", tmp_path / "all.json")
    assert len(json.loads((tmp_path / "all.json").read_text())["images"]) == 6
    with pytest.raises(ValueError, match="images of different names"):
        export_sessions([path, twin], "yolo", tmp_path / "all")
    written = export_sessions([path, twin], "geojson", tmp_path / "out")
    assert [one.name for one in written] == ["cells.geojson", "twin_cells.geojson"]
    with pytest.raises(ValueError, match="expected a folder for 2 sessions"):
        export_sessions([path, twin], "geojson", tmp_path / "all.geojson")


@pytest.mark.parametrize("to", ["yolo", "crops", "ctc"])
def test_exported_folder_is_replaced_only_when_asked(saved, image, tmp_path, to):
    path, _ = saved
    target = tmp_path / "out"
    export_sessions([path], to, target, image=image)
    before = sorted(target.rglob("*"))
    with pytest.raises(FileExistsError, match="is there already"):
        export_sessions([path], to, target, image=image)
    assert export_sessions([path], to, target, image=image, overwrite=True) == [target]
    assert sorted(target.rglob("*")) == before
    (tmp_path / "mine").mkdir()
    (written,) = export_sessions([path], to, tmp_path / "mine", image=image)
    assert written.parent == tmp_path / "mine"


def test_session_without_an_image_file_is_named_after_its_own(tmp_path):
    source = ArraySource(np.zeros((8, 9), np.uint8))
    session = Session(None, source, canvas=ArrayCanvas(np.ones((8, 9), np.int32)))
    session.save(tmp_path / "field_3.napari-sam")
    (written,) = export_sessions([tmp_path / "field_3.napari-sam"], "labels", tmp_path / "out")
    assert written.name == "field_3_labels.tif"


@pytest.mark.parametrize("to", ["labels", "coco", "ome-zarr"])
def test_what_left_becomes_a_session_again(saved, image, tmp_path, to):
    path, session = saved
    (written,) = export_sessions([path], to, tmp_path / "out")
    result = run("import", written, image, "-o", tmp_path / "new.napari-sam")
    assert result.exit_code == 0, result.output
    assert "3 objects in" in result.output
    source = ArraySource(np.zeros(SHAPE, np.uint8))
    again = Session.open(tmp_path / "new.napari-sam", source)
    np.testing.assert_array_equal(again.canvas.array, session.canvas.array)
    rows = {row.id: row for row in again.objects}
    assert {row.origin for row in rows.values()} == {"imported"}
    if to != "labels":
        assert [rows[i].state for i in (1, 2, 9)] == ["accepted", "accepted", "proposed"]
        assert [rows[i].class_name for i in (1, 2, 9)] == ["nucleus", "nucleus", ""]
        assert [one.name for one in again.classes] == ["nucleus"]
    again.undo()
    assert not again.canvas.array.any()
    assert again.classes == ()
    again.redo()
    np.testing.assert_array_equal(again.canvas.array, session.canvas.array)
    assert run("import", written, image, "-o", tmp_path / "new.napari-sam").exit_code == 2


def test_an_imported_session_is_of_its_image(image, tmp_path):
    labels = np.zeros(SHAPE, np.uint16)
    labels[1, 3:9, 3:9] = 4
    write_labels(tmp_path / "masks.tif", labels, "ZYX")
    path = tmp_path / "new.napari-sam"
    assert import_session(tmp_path / "masks.tif", image, path) == 1
    objects = objects_of_session(path)
    assert objects.image is not None
    assert objects.pixel_size == {"Z": 2.0, "Y": 0.5, "X": 0.5}
    write_labels(image, read_image(image).data[:] + 1, "ZYX")
    notes: list[str] = []
    assert objects_of_session(path, notify=notes.append).image is None
    assert "other pixels" in notes[0]


def test_objects_of_a_file_get_new_numbers_and_free_pixels_alone(tmp_path):
    session = worked()
    before = session.canvas.array.copy()
    labels = np.zeros(SHAPE, np.uint16)
    labels[2, 48:53, 38:43] = 1  # over the corner of another
    labels[2, 51:54, 41:44] = 2  # within it
    labels[0, 0:3, 0:3] = 3
    write_labels(tmp_path / "masks.tif", labels, "ZYX")
    notes: list[str] = []
    session.noticed.connect(notes.append)
    target = ImportTarget("ZYX", SHAPE)
    session.import_objects(
        lambda report: read_objects(tmp_path / "masks.tif", target, notes.append), "masks.tif"
    )
    now = session.canvas.array
    np.testing.assert_array_equal(now[before > 0], before[before > 0])
    assert set(np.unique(now)) == {0, 1, 2, 9, 10, 12}
    assert now[2, 48, 38] == 10
    assert notes == [
        "Labels that were there kept their pixels: 1 objects of masks.tif were left out, 1 are "
        "smaller than in the file"
    ]
    assert session.object_id == 2
    assert session.new_object() == 13
    session.object_id = 2
    assert session.next_undo == "imported 2 objects from masks.tif"
    session.undo()
    np.testing.assert_array_equal(session.canvas.array, before)


def test_nothing_is_imported_without_labels_or_objects(tmp_path):
    with pytest.raises(ValueError, match="got none; give the session a canvas"):
        Session(None, ArraySource(np.zeros(SHAPE))).import_objects(lambda report: None, "a")
    write_labels(tmp_path / "masks.tif", np.zeros(SHAPE, np.uint8), "ZYX")
    with pytest.raises(ValueError, match=r"expected objects on free pixels .* nothing has changed"):
        import_session(tmp_path / "masks.tif", tmp_path / "masks.tif", tmp_path / "a.napari-sam")
    assert not (tmp_path / "a.napari-sam").exists()
