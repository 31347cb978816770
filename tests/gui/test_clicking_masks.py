"""Clicks of a real mouse on masks that are there already."""

import numpy as np
import pytest
from qtpy.QtCore import Qt

SHAPE = (60, 80)
SHIFT, CONTROL = Qt.KeyboardModifier.ShiftModifier, Qt.KeyboardModifier.ControlModifier
FIRST, SECOND, BACKGROUND = (15, 15), (15, 45), (45, 60)


@pytest.fixture
def two(user_and_errors, rng):
    """Two clicked objects; the second is current."""
    me, errors = user_and_errors(rng.integers(0, 255, SHAPE, np.uint8))
    me.session.add_point((), FIRST)
    me.session.add_point((), SECOND, object_id=2)
    me.session.object_id = 2
    me.settle()
    return me, errors


def test_left_click_on_another_mask_goes_to_it_and_the_next_refines_it(two):
    me, errors = two
    before = me.labels.copy()
    me.click(FIRST)
    assert (me.session.object_id, len(me.annotation.points.data)) == (1, 2)
    np.testing.assert_array_equal(me.labels, before)
    me.click(FIRST)
    assert me.annotation.points.features["object"].tolist() == [1, 2, 1]
    me.right_click(SECOND)
    assert me.annotation.points.features["object"].tolist() == [1, 2, 1, 1]
    np.testing.assert_array_equal(me.labels == 2, before == 2)
    me.click(SECOND, modifier=SHIFT)
    assert me.annotation.points.features["object"].tolist() == [1, 2, 1, 1, 1]
    assert me.session.object_id == 1
    assert not errors


def test_object_under_the_cursor_is_gone_to_by_a_click_and_by_a_key(two):
    me, errors = two
    centre = me.viewer.scene.camera.center
    me.click(FIRST, modifier=CONTROL)
    assert me.session.object_id == 1
    me.click(BACKGROUND, modifier=CONTROL)
    assert "got the background" in errors.pop()
    me.viewer.layers.selection.active = me.annotation.image
    me.move(SECOND)
    me.press(Qt.Key.Key_J, SHIFT)
    assert me.session.object_id == 2
    assert me.annotation.labels.selected_label == 2
    assert len(me.annotation.points.data) == 2
    assert me.viewer.scene.camera.center == centre
    assert not errors


def test_an_object_is_corrected_where_it_is_without_going_to_it_first(two):
    me, errors = two
    me.click((22, 16), modifier=CONTROL | SHIFT)
    me.click(SECOND, Qt.MouseButton.RightButton, modifier=CONTROL)
    table = me.annotation.points.features
    assert table["object"].tolist() == [1, 2, 1, 2]
    assert table["label"].tolist()[2:] == ["positive", "negative"]
    assert me.session.object_id == 2
    assert not errors


def test_each_click_is_an_object_once_that_is_chosen(two):
    me, errors = two
    me.press(Qt.Key.Key_N, SHIFT)
    assert me.dock.object.each_click.isChecked()
    for at in [(40, 10), (40, 30), (40, 50)]:
        me.click(at)
    assert np.unique(me.labels).tolist() == [0, 1, 2, 3, 4, 5]
    me.click((45, 50), modifier=SHIFT)
    assert me.session.prompts.clicks[-1].object_id == 5
    assert me.dock.object.each_click.text().endswith("Shift: this one")
    first = me.annotation.image
    me.controller.choose_image(me.viewer.add_image(np.zeros(SHAPE)))
    assert me.annotation.new_each_click
    me.controller.choose_image(first)
    me.settle()
    me.dock.object.each_click.click()
    me.click(BACKGROUND)
    assert me.session.prompts.clicks[-1].object_id == 5
    assert not errors


def test_click_works_after_new_object_whatever_layer_was_selected(two):
    me, errors = two
    layers = me.viewer.layers
    other = me.viewer.add_points(np.array([[5.0, 5.0]]), name="somebody's")
    for n, active in enumerate([me.annotation.image, me.annotation.labels, other, None], 3):
        if active is None:
            layers.selection.clear()
        else:
            layers.selection.active = active
        me.settle()
        assert me.dock.object.elsewhere.text().endswith("press G to click")
        me.press(Qt.Key.Key_G)  # on somebody else's layer no key but this
        me.press(Qt.Key.Key_N)
        assert not me.dock.object.elsewhere.isVisible()
        me.click((40, 10 * n))
        assert me.labels[40, 10 * n] == n
    assert not errors


def test_new_object_leaves_the_brush_and_the_box_in_hand(two):
    me, _ = two
    labels = me.annotation.labels
    me.viewer.layers.selection.active = labels
    labels.mode = "paint"
    me.press(Qt.Key.Key_N)
    assert (str(labels.mode), labels.selected_label) == ("paint", 3)
    me.annotation.draw_box()
    me.press(Qt.Key.Key_N)
    assert me.annotation.tool == "box"
    assert me.dock.object.box.isChecked()


def test_labels_opened_as_an_image_are_corrected_after_one_button(user_and_errors, rng):
    me, errors = user_and_errors(rng.integers(0, 255, SHAPE, np.uint8), name="cells")
    theirs = np.zeros(SHAPE, np.uint16)
    theirs[10:20, 10:20], theirs[10:20, 40:50] = 1, 2
    opened = me.viewer.add_image(theirs.copy(), name="cells_masks")
    me.settle()
    assert me.dock.offer.text.text() == "'cells_masks' looks like labels of 'cells'"
    me.dock.offer.use.click()
    me.settle()
    assert me.annotation.image.name == "cells"
    assert {row.origin for row in me.session.objects} == {"adopted"}
    assert not me.dock.offer.isVisible()
    me.click(FIRST)
    me.right_click((11, 11))
    assert me.session.object_id == 1
    assert me.labels[15, 15] == 1
    assert me.labels[11, 11] == 0
    np.testing.assert_array_equal(me.labels == 2, theirs == 2)
    np.testing.assert_array_equal(opened.data, theirs)
    assert not errors
