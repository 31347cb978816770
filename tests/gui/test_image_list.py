"""From one image of a folder to the next in a real viewer."""

import numpy as np
import pytest
import tifffile
from qtpy.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from qtpy.QtGui import QDragEnterEvent, QDropEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_sam.gui import image_list, images_section
from napari_sam.gui.image_list import layer_data
from napari_sam.gui.images_section import ImagesState
from napari_sam.io import read_image
from napari_sam.session.image_list import ImageList, ListedImage

SHIFT = Qt.KeyboardModifier.ShiftModifier


@pytest.fixture
def folder(tmp_path, rng):
    there = tmp_path / "fields"
    there.mkdir()
    for name in "abc":
        pixels = rng.integers(0, 255, (40, 50), np.uint8)
        tifffile.imwrite(there / f"{name}.tif", pixels)
    return there


def test_images_of_a_folder_are_left_and_gone_on_with(user, folder, qtbot):
    me = user()
    mine = me.viewer.add_labels(np.ones((40, 50), int), name="mine")
    listed, errors = me.controller.listed, []
    me.controller.refused.connect(lambda error: errors.append(str(error)))

    def at(name, objects):
        def is_there():
            image = me.controller.image
            return (
                image is not None
                and image.name == name
                and not (listed.busy or me.controller.keeping.busy)
                and me.session.prompts.click_count == objects
                and me.viewer.layers.selection.active is me.annotation.points
            )

        qtbot.waitUntil(is_there, timeout=10_000)

    def states():
        return [image.progress for image in listed.now().images]

    def press(key, modifier=SHIFT):
        QTest.keyClick(me.viewer.window._qt_viewer.canvas.native, key, modifier)

    listed.open(folder)
    at("a", 0)
    me.click((20, 30))
    before = me.labels.copy()
    assert before.any()
    assert states() == ["begun", "untouched", "untouched"]
    press(Qt.Key.Key_I)
    at("b", 0)
    assert {layer.name for layer in me.viewer.layers} == {"mine", "b", "b · prompts"}
    press(Qt.Key.Key_C)  # nothing in it, and done
    assert states() == ["begun", "done", "untouched"]
    press(Qt.Key.Key_Y)
    at("a", 1)
    np.testing.assert_array_equal(me.labels, before)
    press(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(lambda: not me.labels.any())
    press(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier | SHIFT)
    qtbot.waitUntil(lambda: np.array_equal(me.labels, before))
    press(Qt.Key.Key_Y)
    assert "got the first of 3" in errors.pop()

    out = folder.parent / "out"
    out.mkdir()
    for _ in range(2):  # the second time all is there, and stays
        listed.export("labels", out)
        qtbot.waitUntil(lambda: not listed.busy, timeout=10_000)
    np.testing.assert_array_equal(read_image(out / "a_labels.tif").data, before)
    assert not read_image(out / "b_labels.tif").data[:].any()
    assert sorted(path.name for path in out.iterdir()) == ["a_labels.tif", "b_labels.tif"]
    assert "a_labels.tif" in errors.pop()

    listed.leave()
    assert me.controller.image.name == "a"
    listed.open(folder)
    at("a", 1)
    assert states() == ["begun", "done", "untouched"]
    assert mine in me.viewer.layers
    assert mine.data.all()
    assert not errors
    assert sorted(path.name for path in folder.iterdir()) == ["a.tif", "b.tif", "c.tif"]


def test_folder_dropped_on_the_dock_is_listed_and_exported(user, folder, qtbot, monkeypatch):
    me = user()
    listed = me.controller.listed

    def drop(*paths):
        data = QMimeData()
        data.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
        held = data, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
        enter = QDragEnterEvent(QPoint(20, 20), Qt.DropAction.CopyAction, *held)
        enter.ignore()
        QApplication.sendEvent(me.dock, enter)
        if enter.isAccepted():
            QApplication.sendEvent(me.dock, QDropEvent(QPointF(20, 20), enter.dropAction(), *held))
        return enter.isAccepted()

    assert not drop(folder / "a.tif")  # napari opens it
    assert drop(folder)
    qtbot.waitUntil(lambda: len(listed.list.images) == 3 and not listed.busy, timeout=10_000)
    assert me.dock.images.fold.is_expanded
    assert drop(folder / "a.tif", folder / "c.tif")
    qtbot.waitUntil(lambda: len(listed.list.images) == 2 and not listed.busy, timeout=10_000)
    asked = []
    monkeypatch.setattr(images_section, "ask_where_to_export_all", lambda parent: folder)
    monkeypatch.setattr(listed, "export", lambda *given: asked.append(given))
    section = me.dock.images
    section.export.click()
    section.only_accepted.click()
    section.export.click()
    assert asked == [("labels", folder, False), ("labels", folder, True)]


def test_image_stays_open_when_the_next_cannot_be_read(user, folder, qtbot):
    (folder / "b.tif").write_bytes(b"no TIFF")
    me = user()
    errors = []
    me.controller.refused.connect(lambda error: errors.append(str(error)))
    me.controller.listed.open(folder)
    qtbot.waitUntil(lambda: me.controller.image is not None, timeout=10_000)
    me.settle()
    me.controller.listed.step(1)
    qtbot.waitUntil(lambda: bool(errors), timeout=10_000)
    assert "b.tif" in errors[0]
    assert me.controller.image.name == "a"
    assert me.controller.listed.list.at == 0


def test_layer_of_a_file_knows_colours_scale_and_axes(tmp_path, rng, monkeypatch):
    path = tmp_path / "stack.ome.tif"
    pixels = rng.integers(0, 255, (3, 40, 50), np.uint8)
    metadata = {"axes": "ZYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2.0}
    tifffile.imwrite(path, pixels, metadata=metadata)
    opened = layer_data(read_image(path), path)
    assert opened.about == {
        "name": "stack", "rgb": False, "scale": [2.0, 0.5, 0.5], "axis_labels": ("z", "y", "x"),
    }  # fmt: skip
    np.testing.assert_array_equal(opened.data, pixels)
    monkeypatch.setattr(image_list, "_IN_MEMORY", 10)
    np.testing.assert_array_equal(np.asarray(layer_data(read_image(path), path).data), pixels)


def test_dock_shows_the_progress_of_each_image_by_symbol_and_words(tmp_path):
    images = ImageList(
        (
            ListedImage(tmp_path / "a.tif", "done", 12),
            ListedImage(tmp_path / "b.tif", "begun", 1),
            ListedImage(tmp_path / "c.tif"),
        )
    )
    state = ImagesState(images.going_to(1))
    assert state.lines == ("✓  a.tif · 12 objects", "◐  b.tif · 1 object", "○  c.tif")
    assert state.title == "2 / 3 · b.tif"
    assert state.summary == "1 done · 1 begun · 1 untouched"
    assert (state.has(-1), state.has(1), state.has(2), state.is_done) == (True, True, False, False)
    assert ImagesState(images.going_to(0)).is_done
    assert not ImagesState(ImageList()).has(1)
