"""Painting by hand with napari's own tools, in one order with clicks: all is taken back alike."""

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

CONTROL = Qt.KeyboardModifier.ControlModifier
SHIFT = Qt.KeyboardModifier.ShiftModifier
SHAPE = (60, 80)


def undo(me) -> None:
    me.press(Qt.Key.Key_Z, CONTROL)


def redo(me) -> None:
    me.press(Qt.Key.Key_Z, CONTROL | SHIFT)


@pytest.fixture
def painter(user, rng):
    """Open an image whose labels are there: ``painter(shape)``."""

    def begin(shape=SHAPE, **options):
        me = user(rng.integers(0, 255, shape, np.uint8), **options)
        me.settle(100)
        me.annotation.labels.brush_size = 6
        return me

    return begin


def take(me, mode, label=None):
    """Take one of napari's tools."""
    labels = me.annotation.labels
    me.viewer.layers.selection.active = labels
    if label is not None:
        labels.selected_label = label
    labels.mode = mode
    return labels


def test_clicks_and_strokes_are_taken_back_and_made_again_one_by_one(painter):
    me = painter()
    states = [me.labels.copy()]

    def done() -> None:
        states.append(me.labels.copy())
        assert (states[-1] != states[-2]).any()

    me.click((30, 40))
    done()
    take(me, "paint")
    me.drag((30, 44), (30, 52))  # over the mask and beside it
    done()
    take(me, "erase")
    me.drag((28, 38), (32, 38))
    done()
    erased = (states[-2] == 1) & (states[-1] == 0)
    painted = (states[2] == 1) & (states[1] == 0) & ~erased
    me.annotation.click_here()
    me.click((36, 40))
    done()
    me.click((30, 46))
    done()
    assert not me.labels[erased].any()
    assert (me.labels[painted] == 1).all()
    me.press(Qt.Key.Key_N)
    me.click((10, 10))
    done()
    take(me, "fill", 3)
    me.click((55, 5))
    done()
    take(me, "fill", 0)
    me.click((55, 5))
    done()
    take(me, "polygon", 4)
    for at in [(5, 60), (5, 75), (20, 70)]:
        me.click(at)
    me.press(Qt.Key.Key_Enter)
    done()
    take(me, "paint", 5)
    me.right_click((40, 60))  # the outline of what is filled
    for at in [(40, 70), (50, 75), (50, 60), (40, 60)]:
        me.move(at)
        me.qtbot.wait(30)
    me.settle()
    done()
    assert len(states) == 11
    texts = []
    for state in states[-2::-1]:
        texts.append(me.session.next_undo)
        undo(me)
        np.testing.assert_array_equal(me.labels, state)
    names = [text.split(" on ")[0] for text in texts]
    assert names[:4] == ["a brush stroke", "a polygon", "erasing", "a fill"]
    assert names[-3:-1] == ["erasing", "a brush stroke"]
    assert not me.labels.any()
    assert len(me.annotation.points.data) == 0
    for state in states[1:]:
        redo(me)
        np.testing.assert_array_equal(me.labels, state)
    assert me.session.next_redo == ""
    assert len(me.annotation.points.data) == 4


def test_undo_has_one_key_on_every_layer_and_on_none(painter):
    me = painter()
    me.click((30, 40))
    clicked = me.labels.copy()
    me.annotation.draw_box()
    me.annotation.stop_prompting()
    layers = me.viewer.layers
    for layer in [*layers, None]:
        if layer is None:
            layers.selection.clear()
        else:
            layers.selection.active = layer
        me.settle()
        undo(me)
        assert not me.labels.any(), layer
        redo(me)
        np.testing.assert_array_equal(me.labels, clicked)


def test_napari_has_nothing_of_its_own_to_take_back(painter):
    me = painter()
    me.click((30, 40))
    labels = take(me, "paint", 2)
    me.drag((10, 10), (10, 20))
    before = me.labels.copy()
    labels.undo()
    labels.redo()
    np.testing.assert_array_equal(me.labels, before)
    undo(me)
    labels.undo()
    labels.redo()
    assert np.unique(me.labels).tolist() == [0, 1]


def test_undo_takes_back_what_is_painted_of_a_stroke_being_made(painter):
    me = painter()
    labels = take(me, "paint", 2)
    native = me.viewer.window._qt_viewer.canvas.native
    none, left = Qt.KeyboardModifier.NoModifier, Qt.MouseButton.LeftButton
    me.move((20, 20))
    me.qtbot.wait(10)
    QTest.mousePress(native, left, none, me.at((20, 20)))
    me.move((20, 30))
    me.qtbot.wait(30)
    assert labels.data.any()
    undo(me)
    assert not me.labels.any()
    me.move((40, 40))
    me.qtbot.wait(30)
    QTest.mouseRelease(native, left, none, me.at((40, 40)))
    me.settle()
    assert me.labels[40, 40] == 2
    undo(me)
    assert not me.labels.any()


def test_mask_that_arrives_during_a_stroke_comes_after_it(painter):
    me = painter()
    take(me, "paint", 2)
    native = me.viewer.window._qt_viewer.canvas.native
    none, left = Qt.KeyboardModifier.NoModifier, Qt.MouseButton.LeftButton
    me.move((20, 20))
    me.qtbot.wait(10)
    QTest.mousePress(native, left, none, me.at((20, 20)))
    me.session.add_point((), (20, 24), object_id=1)
    me.settle()
    assert np.unique(me.labels).tolist() == [0, 1, 2]
    QTest.mouseRelease(native, left, none, me.at((20, 20)))
    me.settle()
    kinds = [entry.kind for entry in me.session.journal.entries]
    assert kinds == ["prompts", "painted", "mask"]
    for _ in range(2):
        me.session.undo()
    assert not me.labels.any()


def test_painting_the_current_object_goes_on_with_it(painter):
    me = painter()
    labels = take(me, "paint", 1)
    me.drag((20, 20), (20, 30))
    assert me.session.object_id == labels.selected_label == 1
    labels.selected_label = 7
    me.drag((40, 20), (40, 30))
    assert me.session.object_id == 7
    assert me.session.new_object() == 8


def test_brush_across_planes_is_one_step(painter):
    me = painter((5, *SHAPE))
    me.scroll_to(2)
    labels = take(me, "paint", 3)
    labels.n_edit_dimensions = 3
    me.click((2, 30, 40))
    assert len(np.unique(np.nonzero(me.labels)[0])) > 2
    after = me.labels.copy()
    assert me.session.next_undo == "a brush stroke on object 3"
    undo(me)
    assert not me.labels.any()
    redo(me)
    np.testing.assert_array_equal(me.labels, after)


def test_stroke_on_planes_across_another_axis(painter):
    me = painter((20, *SHAPE))
    me.viewer.dims.order = (1, 0, 2)
    me.settle(200)
    me.viewer.reset_view()
    me.scroll_to(0, 30)
    take(me, "paint", 3)
    me.click((10, 30, 40))
    assert set(np.nonzero(me.labels)[1]) == {30}
    undo(me)
    assert not me.labels.any()


def test_script_paints_and_takes_back_at_once(painter):
    me = painter()
    labels = me.annotation.labels
    labels.paint((20, 20), 5)
    me.session.undo()
    assert not me.labels.any()
    me.session.redo()
    assert me.labels[20, 20] == 5


def test_preserved_labels_are_no_part_of_a_stroke(painter):
    me = painter()
    me.click((30, 40))
    clicked = me.labels.copy()
    labels = take(me, "paint", 2)
    labels.preserve_labels = True
    me.drag((30, 34), (30, 46))
    assert (me.labels[clicked == 1] == 1).all()
    assert (me.labels == 2).any()
    undo(me)
    np.testing.assert_array_equal(me.labels, clicked)


def test_labels_that_another_program_puts_in_place_are_one_step(painter):
    me = painter()
    me.click((30, 40))
    clicked = me.labels.copy()
    labels = me.annotation.labels
    labels.data = np.where(np.arange(SHAPE[0])[:, None] < 5, 9, labels.data)
    me.settle()
    after = me.labels.copy()
    undo(me)
    np.testing.assert_array_equal(me.labels, clicked)
    redo(me)
    np.testing.assert_array_equal(me.labels, after)
    labels.data = labels.data.astype(np.int64)  # as "convert data type" does
    undo(me)
    undo(me)
    assert not me.labels.any()


def test_labels_changed_in_place_are_left_as_they_are(painter):
    me = painter()
    me.click((30, 40))
    labels = me.annotation.labels
    labels.data[30, 40] = 9
    labels.refresh()
    notices = []
    me.session.noticed.connect(notices.append)
    undo(me)
    assert me.labels[30, 40] == 9
    assert "changed elsewhere" in notices[0]


def test_stroke_is_named_after_the_tool_it_was_made_with(painter):
    me = painter()
    labels = take(me, "paint", 2)
    with labels.block_history():  # as while the button is held down
        labels.paint((20, 20), 2)
        labels.mode = "fill"
        labels.paint((30, 30), 2)
    texts = [entry.text for entry in me.session.journal.entries]
    assert texts == ["a brush stroke on object 2", "a fill on object 2"]
