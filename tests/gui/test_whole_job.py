"""A job from its first click to the next day: nothing is lost, everything can be taken back."""

import numpy as np
import pytest
from component_segmenter import ComponentSegmenter, disks
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

pytestmark = pytest.mark.usefixtures("pixels")

CONTROL = Qt.KeyboardModifier.ControlModifier
SHIFT = Qt.KeyboardModifier.ShiftModifier
SHAPE = (80, 100)
CELLS = disks(SHAPE, (15, 15, 7), (15, 50, 8), (15, 85, 6), (55, 20, 9), (60, 70, 10))


@pytest.fixture
def segmenter():
    return ComponentSegmenter(dense=True)


def test_click_choose_paint_find_delete_undo_close_and_go_on(user):
    me = user(CELLS, name="cells")
    me.settle(100)
    states, steps = [me.labels.copy()], []

    def done() -> None:
        me.settle()
        states.append(me.labels.copy())
        steps.append(me.session.next_undo)
        assert not np.array_equal(states[-1], states[-2])

    me.click((15, 15))
    done()
    for _ in range(2):  # the next candidate, and the one after
        me.press(Qt.Key.Key_W)
        done()
    labels = me.annotation.labels
    labels.brush_size = 5
    me.viewer.layers.selection.active = labels
    labels.mode = "paint"
    me.drag((15, 15), (24, 26))  # over the mask and beside it
    done()
    labels.mode = "erase"
    me.drag((12, 12), (15, 12))
    done()
    erased = (states[-2] > 0) & (states[-1] == 0)
    me.annotation.click_here()
    me.right_click((30, 30))  # outside
    me.settle()
    if not np.array_equal(me.labels, states[-1]):
        done()
    assert not me.labels[erased].any()
    me.press(Qt.Key.Key_N)
    me.click((15, 50))
    done()
    QTest.mouseClick(me.dock.everything.plane, Qt.MouseButton.LeftButton)
    assert me.controller.engine.wait(20, background=True)
    done()
    me.session.delete_object(2)
    done()
    me.press(Qt.Key.Key_N)
    me.click((15, 50))
    done()
    assert not me.labels[erased].any()
    assert "found" in " ".join(steps)
    count = len(states) - 1
    for state in reversed(states[:-1]):
        while not np.array_equal(me.labels, state):
            assert me.session.can_undo
            me.press(Qt.Key.Key_Z, CONTROL)
    assert not me.labels.any()
    for state in states[1:]:
        while not np.array_equal(me.labels, state):
            assert me.session.can_redo
            me.press(Qt.Key.Key_Z, CONTROL | SHIFT)
    assert count >= 8
    image = me.annotation.image
    for layer in list(me.annotation.layers)[::-1]:
        me.viewer.layers.remove(layer)
    me.settle()
    me.viewer.add_image(image.data.copy(), name="cells")
    me.qtbot.waitUntil(lambda: me.controller.keeping.question is not None)
    me.settle()
    QTest.mouseClick(me.dock.question.yes, Qt.MouseButton.LeftButton)
    me.settle()
    np.testing.assert_array_equal(me.labels, states[-1])
    me.press(Qt.Key.Key_N)
    me.click((40, 40))  # where no mask is
    assert me.session.journal.entries[-2].text.startswith("added a point")
    me.press(Qt.Key.Key_Z, CONTROL)
    np.testing.assert_array_equal(me.labels, states[-1])
    me.press(Qt.Key.Key_Z, CONTROL)  # of the day before
    np.testing.assert_array_equal(me.labels, states[-2])
