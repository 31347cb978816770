"""An object followed through a stack with mouse and keys."""

import numpy as np
import pytest
from component_segmenter import ComponentSegmenter, disks
from qtpy.QtCore import Qt

K, CONTROL, SHIFT = Qt.Key, Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier
SHAPE, COUNT = (60, 80), 12
NUCLEUS, NEIGHBOUR = (25, 30, 9), (25, 48, 9)  # they touch on one plane
DIM = 6  # where the nucleus is lost in its neighbour


class Unsure(ComponentSegmenter):
    """A component is the less sure the larger it is."""

    def decode(self, embedding, prompts, multimask="auto", progress=None):
        prediction = super().decode(embedding, prompts, multimask, progress)
        if prompts.mask is not None and (prediction.logits[0] > 0).sum() > 400:
            prediction.scores[:] = 0.88
        return prediction


@pytest.fixture
def segmenter():
    return Unsure()


def stack():
    """A nucleus on planes 2 to 9, that touches another one on plane 6."""
    planes = [disks(SHAPE, NUCLEUS) if 2 <= z <= 9 else disks(SHAPE) for z in range(COUNT)]
    planes[DIM] = disks(SHAPE, NUCLEUS, NEIGHBOUR)
    return np.stack(planes)


def planes_of(me, object_id=1):
    return np.flatnonzero((me.labels == object_id).any(axis=(1, 2))).tolist()


def test_click_follow_go_to_the_doubtful_plane_correct_it_and_take_it_back(user):
    me = user(stack(), axis_labels=("z", "y", "x"), contrast_limits=(0, 255))
    section = me.dock.follow
    me.scroll_to(4)
    me.click((4, 25, 30))
    assert planes_of(me) == [4]
    me.press(K.Key_F, CONTROL)
    me.qtbot.waitUntil(lambda: planes_of(me) == [*range(2, 10)])
    me.qtbot.waitUntil(lambda: me.session.follow_progress is None)
    me.qtbot.waitUntil(lambda: section.course.text().startswith("z 2 to 9 · "))
    strip = me.dock.status.strip.shown
    assert (strip.anchors, sorted(strip.quality)) == (frozenset({4}), [2, 3, 5, 6, 7, 8, 9])
    me.press(K.Key_Right, SHIFT)
    assert me.viewer.dims.current_step[0] == DIM
    me.qtbot.waitUntil(lambda: "doubtful" in section.course.text().splitlines()[1])
    followed = me.labels.copy()
    me.settle(150)
    me.right_click((DIM, 25, 52))
    me.qtbot.waitUntil(lambda: not np.array_equal(me.labels, followed))
    me.qtbot.waitUntil(lambda: me.dock.status.strip.shown.anchors == {4, DIM})
    assert "known on this plane" in section.course.text()
    me.press(K.Key_Z, CONTROL)
    me.qtbot.waitUntil(lambda: np.array_equal(me.labels, followed))
    me.press(K.Key_Z, CONTROL)
    me.qtbot.waitUntil(lambda: planes_of(me) == [4])
    me.qtbot.waitUntil(lambda: not section.course.isVisible())


def test_in_depth_and_time_the_axis_is_chosen_and_shown_by_the_strip(user):
    planes = np.stack([stack()[2:6]] * 3)
    me = user(planes, axis_labels=("t", "z", "y", "x"), contrast_limits=(0, 255))
    section, strip = me.dock.follow, me.dock.status.strip
    me.scroll_to(1, 2)
    assert section.axis.isVisible()
    assert section.axis.currentText() == "along z"
    assert len(strip.shown.states) == 4
    section.axis.setCurrentIndex(section.axis.findText("along t"))
    section.axis.activated.emit(section.axis.currentIndex())
    me.qtbot.waitUntil(lambda: len(strip.shown.states) == 3)
    me.click((1, 2, 25, 30))
    section.this.click()
    me.qtbot.waitUntil(lambda: (me.labels == 1).any(axis=(2, 3)).sum() == 3)
    assert (me.labels[:, 2] == 1).any(axis=(1, 2)).all()
    me.qtbot.waitUntil(lambda: section.course.text().startswith("t 0 to 2 · "))
    section.axis.setCurrentIndex(section.axis.findText("along z"))
    section.axis.activated.emit(section.axis.currentIndex())
    me.qtbot.waitUntil(lambda: not section.course.isVisible())  # not followed along that
    me.session.lock([1])
    errors = []
    me.controller.refused.connect(lambda error: errors.append(str(error)))
    section.all.click()
    assert "only locked ones; unlock some first" in errors[0]


def test_reading_all_planes_ahead_leaves_nothing_to_read(user):
    me = user(stack())
    section = me.dock.ahead
    assert section.begin.text() == f"Read all {COUNT} planes ahead"
    section.begin.click()
    me.qtbot.waitUntil(lambda: not section.isVisible())
    assert len(me.session.embeddings.planes) == COUNT
