"""The table of objects: sorted, followed, and what is done with its rows."""

import numpy as np
import pytest
from core.fake_segmenter import FakeSegmenter
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QLineEdit

from napari_sam.gui.classes_section import new_class
from napari_sam.gui.mask_style import class_colormap, colours_apart_from
from napari_sam.gui.object_model import COLUMNS, ObjectModel
from napari_sam.session import ArrayCanvas, ArraySource, ObjectClass, PostProcessing, Session

SHAPE = (60, 80)


@pytest.fixture
def labels():
    labels = np.zeros(SHAPE, np.int32)
    for number, side in ((3, 4), (5, 9), (8, 6)):
        labels[number : number + side, 10 * number - 20 : 10 * number - 20 + side] = number
    return labels


@pytest.fixture
def session(labels):
    return Session(FakeSegmenter(), ArraySource(np.zeros(SHAPE)), canvas=ArrayCanvas(labels))


@pytest.fixture
def renumbered():
    return []


@pytest.fixture
def model(qapp, session, renumbered):
    model = ObjectModel(lambda *numbers: renumbered.append(numbers))
    model.use(session)
    session.objects_changed.connect(model.follow)
    return model


def column(model, name):
    at = COLUMNS.index(name)
    return [model.data(model.index(row, at)) for row in range(model.rowCount())]


def test_rows_are_sorted_by_any_column(model):
    assert column(model, "id") == ["3", "5", "8"]
    model.sort(COLUMNS.index("area"), Qt.SortOrder.DescendingOrder)
    assert column(model, "area") == ["81", "36", "16"]
    for name in COLUMNS:
        model.sort(COLUMNS.index(name))
        assert sorted(column(model, "id")) == ["3", "5", "8"]


def test_a_table_makes_only_the_rows_that_are_asked_for(model, session):
    assert model.rowCount() == 3
    assert not session._table._rows
    model.data(model.index(1, 0))
    assert [*session._table._rows] == [5]


def test_the_table_follows_and_stays_in_its_order(model, session):
    model.sort(COLUMNS.index("area"))
    session.add_point((), (50, 60))
    session.delete_object(8)
    assert column(model, "id") == ["3", "5", "1"]
    session.undo()
    assert column(model, "id") == ["3", "5", "1", "8"]
    assert model.row_of(8) == 3


def test_selected_rows_stay_with_their_objects_when_sorted(model):
    from qtpy.QtCore import QPersistentModelIndex

    kept = QPersistentModelIndex(model.index(1, 0))
    model.sort(0, Qt.SortOrder.DescendingOrder)
    model.sort(COLUMNS.index("area"), Qt.SortOrder.DescendingOrder)
    assert kept.row() == 0


def test_area_is_shown_in_units_and_classes_in_their_colours(model, session):
    session.set_classes([ObjectClass("T cell", "#ff0000")])
    session.set_class([3], "T cell")
    model.use(session, 0.25, "µm²")
    assert column(model, "area")[0] == "4"
    at = model.index(0, COLUMNS.index("class"))
    assert model.data(at) == "T cell"
    assert model.data(at, Qt.ItemDataRole.DecorationRole).name() == "#ff0000"


def test_a_number_typed_renumbers(model, renumbered):
    assert model.setData(model.index(0, 0), "12")
    assert not model.setData(model.index(0, 0), "x")
    assert renumbered == [(3, 12)]


@pytest.fixture
def me(user_and_errors, labels):
    """A user who has opened the table over labels of three objects."""
    user, errors = user_and_errors(np.zeros(SHAPE, np.float32))
    user.annotation.click_here()
    user.qtbot.waitUntil(lambda: user.annotation.labels is not None)
    user.annotation.labels = user.viewer.add_labels(labels)
    user.settle()
    section = user.dock.objects
    section.fold.expand()
    user.settle(background=True)
    return user, section, errors


def select(section, *numbers):
    section.table.clearSelection()
    mode = section.table.selectionMode()
    section.table.setSelectionMode(section.table.SelectionMode.MultiSelection)
    for number in numbers:
        section.table.selectRow(section.model.row_of(number))
    section.table.setSelectionMode(mode)
    section.refresh()


def test_a_row_and_the_image_lead_to_each_other(me):
    user, section, errors = me
    assert section.fold.head.text().endswith("(3)")
    view = section.table.viewport()
    middle = section.table.visualRect(section.model.index(1, 0)).center()
    QTest.mouseClick(view, Qt.MouseButton.LeftButton, pos=middle)
    assert user.session.object_id == 5
    center = user.viewer.scene.camera.center
    assert abs(center[-2] - 9) < 30
    QTest.keyClick(section.table, Qt.Key.Key_Down)
    assert user.session.object_id == 8
    user.session.go_to((), (4, 11))
    assert section.selected == [3]
    assert not errors


def test_rows_are_deleted_merged_locked_and_accepted(me):
    user, section, errors = me
    select(section, 3, 5)
    assert section.merge.isEnabled()
    section.accept.click()
    assert [row.state for row in user.session.objects] == ["accepted", "accepted", "proposed"]
    section.merge.click()
    assert list(user.session.object_ids) == [3, 8]
    select(section, 8)
    section.lock.click()
    QTest.keyClick(section.table, Qt.Key.Key_Delete)
    assert "locked" in errors[-1]
    section.lock.click()
    QTest.keyClick(section.table, Qt.Key.Key_Delete)
    assert list(user.session.object_ids) == [3]
    user.press(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert list(user.session.object_ids) == [3, 8]


@pytest.mark.usefixtures("pixels")
def test_a_stroke_on_the_canvas_cuts_the_current_object(me):
    user, section, errors = me
    user.annotation.click_here()
    user.session.object_id = 5
    user.press(Qt.Key.Key_S, Qt.KeyboardModifier.ShiftModifier)
    assert section.split.isChecked()
    center = user.viewer.scene.camera.center
    user.drag((2, 34), (18, 34))
    assert not errors
    assert user.viewer.scene.camera.center == center
    assert len(user.session.objects) == 4
    assert not user.session.prompts.click_count
    assert user.annotation.tool == "inside"
    assert not section.split.isChecked()


def test_another_tool_is_taken_up_instead_of_cutting(me):
    user, section, errors = me
    before = user.labels.copy()
    user.press(Qt.Key.Key_S, Qt.KeyboardModifier.ShiftModifier)
    assert section.split.isChecked()
    user.press(Qt.Key.Key_U)
    assert not section.split.isChecked()
    assert user.annotation.tool == "box"
    user.drag((35, 45), (50, 60))
    assert user.session.prompts.box_count == 1
    assert user.annotation.tool == "box"
    assert set(np.unique(before)) <= set(np.unique(user.labels))
    assert not errors


def test_an_image_that_goes_during_the_stroke_ends_the_cut(me):
    user, _, errors = me
    user.press(Qt.Key.Key_S, Qt.KeyboardModifier.ShiftModifier)
    start, end = user.at((2, 34)), user.at((18, 34))
    canvas = user.viewer.window._qt_viewer.canvas.native
    QTest.mousePress(canvas, Qt.MouseButton.LeftButton, pos=start)
    user._move_to((start + end) / 2, Qt.MouseButton.LeftButton)
    user.viewer.layers.remove(user.annotation.image)
    QTest.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=end)
    assert not user.controller.cut.is_waiting
    assert not errors


def test_masks_are_outlined_and_others_hidden(me):
    user, section, _ = me
    user.annotation.click_here()
    user.press(Qt.Key.Key_O, Qt.KeyboardModifier.ShiftModifier)
    assert user.annotation.labels.contour
    assert section.outlines.isChecked()
    section.hide_others.click()
    assert user.annotation.labels.show_selected_label


def test_colours_apart_from_tissue_are_no_purple():
    purple = np.array([[0.5, 0.3, 0.6], [0.8, 0.6, 0.85], [0.4, 0.2, 0.5]])
    colours = colours_apart_from(np.repeat(purple, 50, 0), 12)
    assert len({tuple(one) for one in colours.round(3).tolist()}) == 12
    from skimage.color import rgb2lab

    between = rgb2lab(colours[:, None])[:, 0, None] - rgb2lab(purple[None])[0][None]
    assert np.linalg.norm(between, axis=2).min() > 50


def test_classes_have_their_colours_and_objects_without_one_are_grey():
    members = {object_id: ("round", "long")[object_id % 2] for object_id in range(1, 2000)}
    made = class_colormap({**members, 7: "gone"}, {"round": "#ff0000", "long": "#0000ff"})
    shown = made.map(np.array([0, 1, 2, 1998, 7, 5000]))
    assert shown[0, 3] == 0
    np.testing.assert_array_equal(shown[1:4, :3], [(0, 0, 1), (1, 0, 0), (1, 0, 0)])
    assert len({*map(tuple, shown[4:].tolist())}) == 1


def test_new_classes_have_names_colours_and_keys_of_their_own():
    classes = []
    for _ in range(10):
        classes.append(new_class(classes))
    for what in ("name", "colour", "key"):
        assert len({getattr(one, what) for one in classes}) == 10
    assert new_class([*classes[:3], *classes[4:]]).name == "class 4"


def test_classes_are_made_named_given_by_key_and_shown(me):
    user, section, errors = me
    classes = section.classes
    classes.fold.expand()
    classes.add.click()
    classes.add.click()
    name = classes.rows[0].findChild(QLineEdit)
    name.setText("T cell")
    name.editingFinished.emit()
    first, second = user.session.classes
    assert (first.name, second.name) == ("T cell", "class 2")
    user.annotation.click_here()
    select(section, 3, 8)
    letter = getattr(Qt.Key, f"Key_{first.key[-1]}")
    user.press(letter, Qt.KeyboardModifier.ShiftModifier)
    assert [row.class_name for row in user.session.objects] == ["T cell", "", "T cell"]
    section.colours.setCurrentText("by class")
    section.colours.activated.emit(section.colours.currentIndex())
    expected = [int(first.colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    user.qtbot.waitUntil(
        lambda: np.allclose(user.annotation.labels.get_color(3)[:3], expected, atol=0.01)
    )
    user.session.set_class([5], "class 2")
    other = [int(second.colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    user.qtbot.waitUntil(
        lambda: np.allclose(user.annotation.labels.get_color(5)[:3], other, atol=0.01)
    )
    classes.fold.head.click()
    user.press(letter, Qt.KeyboardModifier.ShiftModifier)
    assert user.session.next_undo.startswith("gave class 'class 2'")
    assert not errors


def test_how_masks_are_written_is_set_in_the_dock(me):
    user, _, _ = me
    masks = user.dock.masks
    masks.fold.expand()
    masks.fill_holes.click()
    masks.smallest.setValue(20)
    assert user.session.post_processing == PostProcessing(fill_holes=True, smallest=20)
    assert masks.fold.head.text().endswith("●")
    masks.overlap.setCurrentIndex(2)
    masks.overlap.activated.emit(2)
    assert user.session.overlap == "fill gaps"
