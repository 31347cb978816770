"""The dock's buttons and menus, pressed by a mouse."""

from dataclasses import replace

import numpy as np
import pytest
from core.fake_segmenter import disk
from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QColor
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QFileDialog

from napari_sam.gui import current_session
from napari_sam.gui.contrast import background_of, contrast
from napari_sam.gui.controller import controller_of

SHAPE = (40, 50)


def grey(rng, *shape):
    return rng.integers(0, 255, shape, np.uint8)


def pick(me, menu, text):
    """Choose a line of a menu as a user does."""
    row = menu.findText(text)
    assert row >= 0, [menu.itemText(i) for i in range(menu.count())]
    menu.setCurrentIndex(row)
    menu.activated.emit(row)
    me.settle()


def push(me, button):
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)
    me.settle()


def test_buttons_mirror_the_keys(user, rng):
    me = user(grey(rng, *SHAPE))
    dock = me.dock.object
    me.click((20, 15))
    push(me, dock.new)
    assert dock.name.text() == "Object 2"
    push(me, dock.remove)
    me.click((10, 40))
    assert me.session.prompts.clicks[-1].label == 0
    push(me, dock.previous)
    assert me.session.object_id == 1
    push(me, dock.next)
    assert me.session.object_id == 2
    push(me, dock.previous)
    push(me, dock.candidates[2])
    assert me.session.candidate(1, ()) == 2
    dock.clear.trigger()
    me.settle()
    assert not me.labels.any()
    assert [c.object_id for c in me.session.prompts.clicks] == [2]
    push(me, dock.box)
    assert me.viewer.layers.selection.active is me.annotation.shapes.layer
    assert dock.box.isChecked()
    push(me, dock.add)
    assert me.viewer.layers.selection.active is me.annotation.points


def test_dock_is_whole_at_300_pixels(user, rng):
    me = user(grey(rng, 9, *SHAPE), axis_labels=("time", "y", "x"))
    me.click((4, 20, 15))
    me.session.object_id = 1234
    me.session.lock([1])
    me.session.object_id = 1
    me.settle()
    assert me.dock.object.lock_sign.isVisible()
    assert me.dock.minimumSizeHint().width() <= 300


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_signs_are_seen_on_the_theme(user, rng, theme):
    me = user(grey(rng, *SHAPE))
    me.viewer.theme = theme
    me.settle()
    background = QColor(background_of(me.viewer))
    for one in (*me.dock.object.tools.values(), me.dock.object.lock_sign):
        icon = one.pixmap() if one is me.dock.object.lock_sign else one.icon().pixmap(32, 32)
        picture = icon.toImage()
        colours = {
            picture.pixelColor(x, y).name()
            for x in range(picture.width())
            for y in range(picture.height())
            if picture.pixelColor(x, y).alpha() == 255
        }
        assert colours
        assert all(contrast(colour, background.name()) >= 3 for colour in colours)


def test_strip_shows_states_and_goes_to_planes(user, rng):
    me = user(grey(rng, 10, *SHAPE), scale=(4, 1, 1), translate=(7, 0, 0))
    strip = me.dock.status.strip
    me.click((5, 20, 30))
    assert strip.isVisible()
    assert strip.shown.states[5] == "ready"
    assert strip.shown.prompted == {5 if me.session.shown[0] == 5 else me.session.shown[0]}
    middle = strip.height() // 2
    QTest.mouseClick(
        strip,
        Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
        QPoint(round(8.5 * strip.width() / 10), middle),
    )
    me.settle(200)
    assert me.session.shown == (8, None, None)
    assert strip.shown.current == 8


def test_strip_is_away_where_there_is_one_plane(user, rng):
    me = user(grey(rng, *SHAPE))
    assert me.dock.status.strip.isHidden()


def test_model_menu_shows_cost_and_speed(user, rng):
    me = user(grey(rng, *SHAPE))
    menu = me.dock.choice.model
    lines = [menu.itemText(i) for i in range(menu.count())]
    assert lines[0].startswith("nano · built in · ")
    assert lines[0].endswith(" s a plane")
    assert "vit_b · download 375 MB ⤓" in lines
    assert lines[-1] == "own checkpoint…"


def test_other_model_is_loaded_and_masks_stay(user, rng):
    me = user(grey(rng, *SHAPE))
    me.click((20, 30))
    before = me.labels.copy()
    pick(me, me.dock.choice.model, "vit_b · download 375 MB ⤓")
    assert me.controller.model == "vit_b"
    np.testing.assert_array_equal(me.labels, before)


def test_own_checkpoint_is_listed_and_loaded(user, rng, tmp_path, monkeypatch):
    me = user(grey(rng, *SHAPE))
    path = tmp_path / "mine.safetensors"
    path.write_bytes(b"0" * 3_000_000)
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *about: (str(path), ""))
    pick(me, me.dock.choice.model, "own checkpoint…")
    assert me.controller.model == str(path)
    assert me.dock.choice.model.currentText().startswith("mine.safetensors · 3 MB")


def test_checkpoint_dialog_can_be_left(user, rng, monkeypatch):
    me = user(grey(rng, *SHAPE))
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *about: ("", ""))
    pick(me, me.dock.choice.model, "own checkpoint…")
    assert me.controller.model == "nano"
    assert me.dock.choice.model.currentText().startswith("nano")


def test_image_and_masks_are_chosen_in_menus(user, rng):
    me = user(grey(rng, *SHAPE), name="one")
    me.viewer.add_image(grey(rng, *SHAPE), name="two")
    other = me.viewer.add_labels(np.full(SHAPE, 3), name="nuclei by hand")
    me.settle()
    pick(me, me.dock.choice.image, "one")
    pick(me, me.dock.masks.layer, "nuclei by hand")
    assert me.annotation.labels is other
    assert me.session.object_id == 4
    pick(me, me.dock.masks.overlap, "overwrite other labels")
    me.annotation.click_here()
    me.click((20, 30), modifier=Qt.KeyboardModifier.ShiftModifier)
    (click,) = me.session.prompts.clicks
    np.testing.assert_array_equal(other.data == 4, disk(SHAPE, click.point, 4))
    pick(me, me.dock.masks.layer, "a new layer")
    assert me.annotation.labels is None


def test_foot_undoes_and_redoes_what_it_shows(user, rng):
    me = user(grey(rng, *SHAPE))
    foot = me.dock.foot
    assert foot.hint.text().startswith("left click")
    assert foot.undo.isHidden()
    me.click((20, 30))
    assert "N: next object" in foot.hint.text()
    push(me, foot.enough)
    assert foot.hint.isHidden()
    assert foot.enough.isHidden()
    assert foot.undo.whole_text == "↶ Ctrl+Z  undo: “added a point to object 1”"
    assert foot.redo.isHidden()
    before = me.labels.copy()
    push(me, foot.undo)
    assert not me.labels.any()
    assert not me.session.prompts.clicks
    assert foot.undo.isHidden()
    assert foot.redo.whole_text == "↷ Ctrl+Shift+Z  redo: “added a point to object 1”"
    push(me, foot.redo)
    np.testing.assert_array_equal(me.labels, before)


@pytest.mark.parametrize("layer", ["image", "points", "labels"])
def test_undo_and_redo_have_their_keys_on_every_layer(user, rng, layer):
    me = user(grey(rng, *SHAPE))
    me.click((20, 30))
    before = me.labels.copy()
    me.viewer.layers.selection.active = getattr(me.annotation, layer)
    control = Qt.KeyboardModifier.ControlModifier
    me.press(Qt.Key.Key_Z, control)
    assert not me.session.prompts.clicks
    assert not me.labels.any()
    me.press(Qt.Key.Key_Z, control | Qt.KeyboardModifier.ShiftModifier)
    np.testing.assert_array_equal(me.labels, before)


def test_object_is_deleted_with_its_pixels_on_all_planes(user, rng):
    me = user(grey(rng, 4, *SHAPE))
    for z in (0, 2):
        me.scroll_to(z)
        me.click((z, 20, 30))
    assert me.labels[0].any()
    assert me.labels[2].any()
    push(me, me.dock.object.delete)
    assert not me.labels.any()
    assert not me.session.prompts.clicks
    assert "deleted object 1" in me.dock.foot.undo.whole_text
    push(me, me.dock.foot.undo)
    assert me.labels[0].any()
    assert me.labels[2].any()
    assert len(me.session.prompts.clicks) == 2
    me.viewer.layers.selection.active = me.annotation.points
    me.press(Qt.Key.Key_D, Qt.KeyboardModifier.ShiftModifier)
    assert not me.labels.any()


def ask(me, action, number):
    """Choose a line of the ⋯ menu and type a number into the row that it opens."""
    action.trigger()
    me.settle()
    row = me.dock.object.asking
    assert row.isVisible()
    QTest.keyClicks(row.number, str(number))
    QTest.keyClick(row.number, Qt.Key.Key_Return)
    me.settle()


def test_object_is_merged_and_renumbered_by_a_row_in_the_dock(user_and_errors, rng):
    me, errors = user_and_errors(grey(rng, *SHAPE))
    me.click((10, 10))
    me.press(Qt.Key.Key_N)
    me.click((30, 40))
    section = me.dock.object
    ask(me, section.renumber, 1)
    assert "expected a number that no object has, got 1" in errors[-1]
    assert section.asking.number.text() == "1"  # to be mended
    QTest.keyClick(section.asking.number, Qt.Key.Key_Escape)
    assert section.asking.isHidden()
    ask(me, section.renumber, 7)
    assert section.asking.isHidden()
    assert section.name.text() == "Object 7"
    assert me.labels[30, 40] == 7
    ask(me, section.merge, 1)
    assert section.name.text() == "Object 1"
    assert me.labels[10, 10] == me.labels[30, 40] == 1
    assert len(errors) == 1


def test_number_is_not_asked_for_any_more_when_another_object_is_current(user, rng):
    me = user(grey(rng, *SHAPE))
    me.click((10, 10))
    me.dock.object.merge.trigger()
    me.settle()
    assert me.dock.object.asking.isVisible()
    me.session.new_object()
    me.settle()
    assert me.dock.object.asking.isHidden()


def test_locked_object_shows_it_and_is_not_changed(user_and_errors, rng):
    me, errors = user_and_errors(grey(rng, *SHAPE))
    me.click((20, 30))
    before = me.labels.copy()
    section = me.dock.object
    assert section.lock_sign.isHidden()
    section.lock.trigger()
    me.settle()
    assert section.lock_sign.isVisible()
    assert not section.delete.isEnabled()
    me.press(Qt.Key.Key_D, Qt.KeyboardModifier.ShiftModifier)
    assert "locked" in errors[-1]
    np.testing.assert_array_equal(me.labels, before)
    assert section.lock.text() == "Unlock"
    section.lock.trigger()
    me.settle()
    assert section.lock_sign.isHidden()
    assert section.delete.isEnabled()


def test_session_of_the_console_opens_the_dock(open_viewer, rng):
    viewer = open_viewer(grey(rng, *SHAPE))
    session = current_session(viewer)
    assert "Segment Anything (napari-sam-live)" in viewer.window.dock_widgets
    assert controller_of(viewer).annotation.session is session


def test_reduced_precision_is_shown(user, rng, segmenter):
    segmenter.precision = "bfloat16"
    me = user(grey(rng, *SHAPE))
    assert me.dock.status.text.text().endswith("bfloat16")
    segmenter.precision = "float32"
    me.dock.status.refresh()
    assert "float" not in me.dock.status.text.text()


def test_mask_that_is_probably_wrong_is_called_so(user, rng, segmenter, monkeypatch):
    me = user(grey(rng, *SHAPE))
    me.click((20, 15))
    assert me.dock.object.doubt.isHidden()
    assert [c.text() for c in me.dock.object.candidates] == ["0.90", "0.80", "0.70"]
    decode = segmenter.decode

    def unsure(*about):
        return replace(decode(*about), scores=np.array([-0.01, -0.2, -0.3], np.float32))

    monkeypatch.setattr(segmenter, "decode", unsure)
    me.press(Qt.Key.Key_N)
    assert me.dock.object.choice.isHidden()
    me.click((20, 40))
    assert me.dock.object.candidates[0].text() == "0.00"
    assert "probably wrong" in me.dock.object.doubt.text()
    assert not me.dock.object.doubt.isHidden()
    me.press(Qt.Key.Key_J)
    assert me.dock.object.doubt.isHidden()


def test_deleted_prompts_ask_for_the_image_not_for_a_file(user, rng):
    me = user(grey(rng, *SHAPE))
    assert "Ready" in me.dock.status.text.text()
    me.viewer.layers.remove(me.annotation.points)
    me.settle()
    assert me.dock.status.text.text() == "Choose an image"
    me.viewer.layers.clear()
    me.settle()
    assert me.dock.status.text.text().startswith("Open an image")
