"""Everything of a plane or a stack, found by a button of the dock."""

import threading

import numpy as np
import pytest
from component_segmenter import ComponentSegmenter, ReadingSegmenter, disks
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from trained_decoder import FILE, draw

from napari_sam import load_segmenter
from napari_sam.session import runs

SHAPE = (40, 50)
ONE = disks(SHAPE, (12, 12, 6))
TWO = disks(SHAPE, (12, 12, 6), (28, 35, 8))


@pytest.fixture
def segmenter():
    return ComponentSegmenter(dense=True)


def find(me, button) -> None:
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)
    assert me.controller.engine.wait(20, background=True)
    me.settle()


def numbers(labels) -> list[int]:
    return np.unique(labels[labels > 0]).tolist()


def test_objects_of_the_plane_are_found_and_undone_as_one_step(user):
    me = user(TWO)
    find(me, me.dock.everything.plane)
    assert numbers(me.labels) == [1, 2]
    assert np.array_equal(me.labels > 0, TWO > 0)
    me.session.undo()
    assert not me.labels.any()
    me.session.redo()
    assert np.array_equal(me.labels > 0, TWO > 0)


def test_what_is_there_stays_and_new_objects_get_new_numbers(user):
    me = user(TWO)
    me.click((12, 12))
    clicked = me.labels.copy()
    assert numbers(clicked) == [1]
    find(me, me.dock.everything.plane)
    assert np.array_equal(me.labels[clicked > 0], clicked[clicked > 0])
    assert np.array_equal(me.labels > 0, TWO > 0)
    me.session.new_object()
    assert me.session.object_id > me.labels.max()


def test_only_the_plane_shown_is_searched(user):
    me = user(np.stack([ONE, TWO, ONE]))
    me.scroll_to(1)
    find(me, me.dock.everything.plane)
    assert numbers(me.labels[1]) == [1, 2]
    assert not me.labels[[0, 2]].any()


def test_objects_of_a_stack_are_linked(user):
    me = user(np.stack([ONE, TWO, TWO]), axis_labels=("z", "y", "x"))
    assert me.dock.everything.stack.text() == "all 3 planes"
    find(me, me.dock.everything.stack)
    labels = me.labels
    assert np.array_equal(labels > 0, np.stack([ONE, TWO, TWO]) > 0)
    assert len(numbers(labels[:, 12, 12])) == 1
    assert len(numbers(labels[1:, 28, 35])) == 1
    assert len(numbers(labels)) == 2


@pytest.mark.parametrize("names", [("c", "y", "x"), None])
def test_objects_of_channels_are_not_linked(user, names):
    me = user(np.stack([ONE, TWO, TWO]), axis_labels=names)
    assert me.dock.everything.stack.text() == "all 3 channels"
    find(me, me.dock.everything.stack)
    assert np.array_equal(me.labels > 0, np.stack([ONE, TWO, TWO]) > 0)
    assert [len(numbers(plane)) for plane in me.labels] == [1, 2, 2]
    assert numbers(me.labels) == [1, 2, 3, 4, 5]


def test_objects_of_a_stack_go_where_nothing_is_yet(user):
    me = user(np.stack([ONE, TWO, TWO]))
    me.click((0, 12, 12))
    before = me.labels.copy()
    layers = len(me.viewer.layers)
    find(me, me.dock.everything.stack)
    assert np.array_equal(me.labels[before > 0], before[before > 0])
    assert np.array_equal(me.labels > 0, np.stack([ONE, TWO, TWO]) > 0)
    assert len(me.viewer.layers) == layers
    me.session.undo()
    assert np.array_equal(me.labels, before)


def test_stack_that_is_scrolled_along_its_last_axis(user):
    stack = np.moveaxis(np.stack([ONE, TWO, TWO]), 0, 2)
    me = user(stack, rgb=False)
    me.viewer.dims.order = (2, 0, 1)
    me.settle(200)
    find(me, me.dock.everything.stack)
    assert np.array_equal(me.labels > 0, stack > 0)


def test_plane_alone_has_no_button_for_a_stack(user):
    me = user(TWO)
    assert me.dock.everything.stack.isHidden()
    assert me.dock.everything.plane.isEnabled()


def test_without_an_image_nothing_can_be_asked_for(user):
    me = user()
    assert not me.dock.everything.isEnabled()


def test_cancelled_search_leaves_the_labels_alone(user, qtbot):
    me = user(np.stack([TWO] * 6))
    QTest.mouseClick(me.dock.everything.stack, Qt.MouseButton.LeftButton)
    assert me.controller.everything.fraction is not None
    qtbot.wait(1)
    QTest.mouseClick(me.dock.everything.cancel, Qt.MouseButton.LeftButton)
    assert me.controller.engine.wait(20, background=True)
    me.settle()
    assert me.controller.everything.fraction is None
    assert me.dock.everything.pages.currentIndex() == 0
    assert not me.labels.any()


def test_error_of_the_model_is_reported_and_ends_the_search(user, segmenter, monkeypatch):
    me = user(TWO)
    errors = []
    me.controller.refused.connect(errors.append)

    def broken(*_, **__):
        raise RuntimeError("out of luck")

    monkeypatch.setattr(segmenter, "propose", broken)
    find(me, me.dock.everything.plane)
    assert [str(error) for error in errors] == ["out of luck"]
    assert me.controller.everything.fraction is None


def test_labels_too_small_for_the_numbers_are_refused(user):
    me = user(TWO)
    labels = np.zeros(SHAPE, np.uint8)
    labels[0, 0] = 254
    me.annotation.labels = me.viewer.add_labels(labels)
    me.settle()
    errors = []
    me.controller.refused.connect(errors.append)
    find(me, me.dock.everything.plane)
    assert "expected labels that hold 256, got uint8" in str(errors[0])
    assert numbers(me.labels) == [254]


def test_image_that_is_closed_ends_its_search(user):
    me = user(np.stack([TWO] * 6))
    QTest.mouseClick(me.dock.everything.stack, Qt.MouseButton.LeftButton)
    me.viewer.layers.remove(me.annotation.image)
    assert me.controller.everything.fraction is None
    assert me.controller.engine.wait(20, background=True)


def test_labels_that_were_moved_or_cropped_receive_nothing(user):
    me = user(TWO)
    me.click((12, 12))
    errors = []
    me.controller.refused.connect(lambda error: errors.append(str(error)))
    masks = me.annotation.labels
    masks.translate = (0, 9)
    before = me.labels.copy()
    find(me, me.dock.everything.plane)
    assert "with translate [0.0, 9.0]" in errors[-1]
    masks.data = before[:30].copy()
    find(me, me.dock.everything.plane)
    assert "expected labels of shape (40, 50)" in errors[-1]
    np.testing.assert_array_equal(me.labels, before[:30])


def test_stack_that_grows_while_it_is_searched(user):
    me = user(np.stack([ONE, TWO]))
    QTest.mouseClick(me.dock.everything.stack, Qt.MouseButton.LeftButton)
    me.annotation.image.data = np.stack([ONE, TWO, TWO])
    assert me.controller.engine.wait(20, background=True)
    me.settle()
    assert np.array_equal(me.labels[:2] > 0, np.stack([ONE, TWO]) > 0)
    assert not me.labels[2:].any()
    me.session.add_point(2, (12, 12))
    me.settle()
    assert np.array_equal(me.labels[2] > 0, ONE > 0)


def test_labels_that_were_picked_meanwhile_get_what_was_found(user, monkeypatch):
    me = user(np.stack([ONE, TWO]))
    me.settle(100)
    named, may_end = threading.Event(), threading.Event()
    name = runs.name_objects

    def slowly(*arguments):
        named.set()
        may_end.wait(10)
        return name(*arguments)

    monkeypatch.setattr(runs, "name_objects", slowly)
    QTest.mouseClick(me.dock.everything.stack, Qt.MouseButton.LeftButton)
    me.qtbot.waitUntil(named.is_set, timeout=10000)
    before = me.annotation.labels
    mine = np.zeros((2, *SHAPE), np.int32)
    mine[0] = 5
    me.annotation.labels = me.viewer.add_labels(mine.copy(), name="mine")
    may_end.set()
    me.settle(background=True)
    assert (me.labels[0] == 5).all()
    assert np.array_equal(me.labels[1] > 0, TWO > 0)
    assert not np.asarray(before.data).any()


def test_more_like_the_clicked_object_are_found_by_key(user):
    me = user(TWO)
    me.click((12, 12))
    me.press(Qt.Key.Key_M, Qt.KeyboardModifier.ShiftModifier)
    me.qtbot.waitUntil(lambda: numbers(me.labels) == [1, 2], timeout=20_000)
    assert me.session.next_undo.startswith("found")
    assert me.session.facts(2).origin == "found"


def test_outlines_of_what_was_found_and_of_one_object_are_moved(user_and_errors):
    me, errors = user_and_errors(TWO)
    section, shift = me.dock.everything, Qt.KeyboardModifier.ShiftModifier
    me.press(Qt.Key.Key_E, shift)
    assert "an object with a mask on this plane" in errors.pop()
    find(me, section.plane)
    me.qtbot.waitUntil(section.widen.isVisible)
    before = me.labels.copy()
    section.widen.click()
    me.settle(background=True)
    assert all((me.labels == i).sum() > (before == i).sum() for i in (1, 2))
    section.narrow.click()
    me.settle(background=True)
    me.session.object_id = 2
    me.press(Qt.Key.Key_T, shift)
    me.settle(background=True)
    assert (me.labels == 2).sum() < (before == 2).sum()
    assert (me.labels == 1).sum() == (before == 1).sum()
    assert not errors


class TestWithAModelThatReads:
    """The text field is there for it alone, and what it finds waits to be proofread."""

    @pytest.fixture
    def segmenter(self):
        return ReadingSegmenter()

    def type_and_find(self, me, text, button=None) -> None:
        field = me.dock.everything.text
        field.clear()
        QTest.keyClicks(field, text)
        if button is None:
            QTest.keyClick(field, Qt.Key.Key_Return)
        else:
            QTest.mouseClick(button, Qt.MouseButton.LeftButton)
        assert me.controller.engine.wait(20, background=True)
        me.settle()

    def test_text_and_enter_find_matching_objects_on_the_plane_shown(self, user):
        me = user(np.stack([TWO, TWO, ONE]), axis_labels=("z", "y", "x"))
        me.scroll_to(0)
        section = me.dock.everything
        assert section.by_text.isVisibleTo(me.dock)
        assert not section.text_plane.isEnabled()
        heard: list[str] = []
        me.session.noticed.connect(heard.append)
        self.type_and_find(me, "large")
        assert np.array_equal(me.labels[0] > 0, disks(SHAPE, (28, 35, 8)) > 0)
        assert not me.labels[1:].any()
        assert me.session.queue.waiting == 1
        assert heard == ["1 object of ‘large’ found"]
        me.session.undo()
        assert not me.labels.any()

    def test_whole_stack_is_searched_by_its_button(self, user):
        me = user(np.stack([TWO, TWO, ONE]), axis_labels=("z", "y", "x"))
        assert me.dock.everything.text_stack.text() == "all 3 planes"
        self.type_and_find(me, "large", me.dock.everything.text_stack)
        assert numbers(me.labels[:2, 28, 35]) == [1]
        assert not me.labels[2].any()

    def test_enter_without_a_text_finds_nothing_and_no_match_is_reported(self, user):
        me = user(TWO)
        heard: list[str] = []
        me.session.noticed.connect(heard.append)
        self.type_and_find(me, "  ")
        assert not me.labels.any()
        self.type_and_find(me, "purple", me.dock.everything.text_plane)
        assert not me.labels.any()
        assert heard[0].startswith("Nothing of ‘purple’ was found")


def test_model_that_reads_no_text_has_no_field_for_it(user):
    me = user(TWO)
    assert not me.dock.everything.by_text.isVisibleTo(me.dock)


class TestWithADecoderForInstances:
    """Nuclei that a small trained network finds."""

    @pytest.fixture
    def segmenter(self):
        return load_segmenter(FILE, "cpu", "float32", cache=False)

    def test_objects_are_found_reported_and_undone(self, user):
        plane, truth = draw(100, np.random.default_rng(7), count=14)
        me = user(plane)
        notices = []
        me.session.noticed.connect(lambda notice: notices.append(str(notice)))
        assert me.dock.everything.plane.toolTip().endswith("decoder for instances")
        find(me, me.dock.everything.plane)
        assert abs(len(numbers(me.labels)) - truth.max()) <= 3
        assert any("by the model's decoder for instances" in one for one in notices)
        me.session.undo()
        assert not me.labels.any()
