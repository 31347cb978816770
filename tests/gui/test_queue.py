"""The proofreading queue in the dock: one key an object, and the view follows."""

from types import SimpleNamespace

import numpy as np
import pytest
from component_segmenter import ComponentSegmenter, disks
from napari.components import ViewerModel
from qtpy.QtCore import Qt

from napari_sam.gui.offered_outline import frame
from napari_sam.gui.proofreading import act_on_queue
from napari_sam.gui.queue_section import queue_state_of

pytestmark = pytest.mark.usefixtures("pixels")

K = Qt.Key


SHAPE = (200, 600)


@pytest.fixture
def segmenter():
    return ComponentSegmenter(dense=True)


@pytest.fixture
def field(user):
    """Three discs far from each other, found by the model."""

    def begin():
        me = user(disks(SHAPE, (40, 50, 10), (150, 300, 10), (60, 550, 10)))
        me.session.find_all([me.annotation.displayed()])
        assert me.session.wait(20)
        me.settle()
        return me

    return begin


def test_keys_take_a_field_from_proposed_to_accepted(field):
    me = field()
    section = me.dock.queue
    me.qtbot.waitUntil(lambda: section.begin.text() == "Proofread 3 objects")
    me.press(K.Key_Q, Qt.KeyboardModifier.ShiftModifier)
    me.qtbot.waitUntil(lambda: section.offered.text().startswith("Object "))
    first = me.session.queue.current
    camera = me.viewer.scene.camera
    r0, c0, r1, c1 = first.box
    from_middle = np.subtract(camera.center[-2:], ((r0 + r1) / 2, (c0 + c1) / 2))
    assert (np.abs(from_middle) < 0.4 * np.array(me.viewer.canvas.size) / camera.zoom).all()
    me.press(K.Key_8)
    second = me.session.queue.current
    assert second.object_id != first.object_id
    assert me.session.facts(first.object_id).accepted
    me.press(K.Key_0)
    assert second.object_id not in me.labels
    third = me.session.queue.current
    me.annotation.new_each_click = True
    r0, c0, r1, c1 = third.box
    beside = (r1 + 3, (c0 + c1) // 2)
    me.move(beside)
    me.qtbot.waitUntil(lambda: me.dock.preview.text.text().startswith("click: begins object"))
    me.press(K.Key_9)
    me.qtbot.waitUntil(lambda: "correct it" in section.offered.text())
    assert me.dock.object.each_click.text().endswith("now: this one")
    me.qtbot.waitUntil(lambda: me.dock.preview.text.text().startswith("click: refines object"))
    me.click(beside)
    assert me.session.prompts.object_ids == (third.object_id,)
    me.press(K.Key_8)
    me.qtbot.waitUntil(lambda: section.offered.text() == "Everything is accepted")
    assert me.session.queue.progress.done == 3
    assert me.session.facts(third.object_id).accepted
    for _ in range(3):
        me.press(K.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert second.object_id in me.labels
    me.press(K.Key_Q, Qt.KeyboardModifier.ShiftModifier)
    assert not me.session.queue.is_open
    assert not me.annotation.keys.is_open("queue")


def test_buttons_take_a_field_to_its_end_too(field):
    me = field()
    section, queue = me.dock.queue, me.session.queue
    section.begin.click()
    me.qtbot.waitUntil(lambda: section.offered.text().startswith("Object "))
    first = queue.current.object_id
    section.skip.click()
    assert queue.current.object_id != first
    section.back.click()
    assert queue.current.object_id == first
    section.fix.click()
    assert queue.is_fixing
    section.accept.click()
    assert me.session.facts(first).accepted
    second = queue.current.object_id
    section.delete.click()
    assert second not in me.labels
    section.accept.click()
    assert not queue.items
    section.end.click()
    assert not queue.is_open


def test_view_stays_where_an_object_is_seen_well(field):
    me = field()
    camera = me.viewer.scene.camera
    camera.center, camera.zoom = (0.0, 45.0, 55.0), 4.0
    before = tuple(camera.center), camera.zoom
    me.annotation.bring_into_view(me.annotation.displayed(), (30, 40, 50, 60))
    assert (tuple(camera.center), camera.zoom) == before
    me.annotation.bring_into_view(me.annotation.displayed(), (50, 540, 70, 560))
    assert camera.zoom == 4.0
    row, column = camera.center[-2:]
    half = np.array(me.viewer.canvas.size) / 4.0 / 2
    assert row == pytest.approx(max(60.0, -0.5 + 0.8 * half[0]))  # hardly beyond the image
    assert column == pytest.approx(min(550.0, 599.5 - 0.8 * half[1]))
    camera.zoom = 0.9
    me.annotation.bring_into_view(me.annotation.displayed(), (60, 550, 61, 551))
    assert camera.zoom == pytest.approx(min(me.viewer.canvas.size) / 150)  # with what is around it
    camera.zoom = 40.0
    me.annotation.bring_into_view(me.annotation.displayed(), (60, 550, 64, 554))
    assert camera.zoom == 8.0


def test_view_stays_while_all_of_the_plane_is_seen(field):
    me = field()
    camera = me.viewer.scene.camera
    before = tuple(camera.center), camera.zoom
    for place in ((0, 0, 80, 80), (120, 520, 199, 599)):
        me.annotation.bring_into_view(me.annotation.displayed(), place)
        assert (tuple(camera.center), camera.zoom) == before


def test_object_offered_is_marked_as_it_is_now(field):
    me = field()
    marked = me.annotation.offered
    me.press(K.Key_Q, Qt.KeyboardModifier.ShiftModifier)
    me.qtbot.waitUntil(lambda: marked.object_id is not None)
    first = me.session.queue.current.object_id
    assert marked.object_id == first
    me.press(K.Key_8)
    me.qtbot.waitUntil(lambda: marked.object_id not in (first, None))
    me.press(K.Key_0)
    me.qtbot.waitUntil(lambda: marked.object_id == me.session.queue.current.object_id)
    me.press(K.Key_Q, Qt.KeyboardModifier.ShiftModifier)
    me.qtbot.waitUntil(lambda: marked.object_id is None)


def test_frame_lies_apart_from_the_object():
    x, y = frame((10, 20, 29, 49)).T
    assert (x.min(), x.max(), y.min(), y.max()) == (15.5, 54.5, 5.5, 34.5)
    assert len(x) == 16


def test_closed_queue_shows_how_many_wait():
    class Closed:
        is_open, waiting = False, 4

    assert queue_state_of(Closed()).waiting == 4


@pytest.mark.parametrize("command", ["accept", "accept_rest", "fix", "delete"])
def test_object_that_is_hidden_in_3d_is_not_judged_there(command):
    viewer, done = ViewerModel(ndisplay=3), []
    queue = SimpleNamespace(**{command: lambda: done.append(command)})
    with pytest.raises(ValueError, match="go back to 2-D first"):
        act_on_queue(viewer, queue, command)
    assert not done
    viewer.dims.ndisplay = 2
    act_on_queue(viewer, queue, command)
    assert done == [command]
