"""Layers that go, viewers that close, docks that come twice: nothing is lost, nothing hangs."""

import threading

import numpy as np
import pytest
from core.fake_segmenter import FakeSegmenter
from qtpy.QtCore import Qt
from qtpy.QtGui import QOpenGLContext
from qtpy.QtWidgets import QLabel
from vispy.gloo.glir import GlirParser

from napari_sam.gui import current_session
from napari_sam.gui.controller import controller_of
from napari_sam.gui.widget import SegmentAnything

pytestmark = pytest.mark.usefixtures("pixels")

SHAPE = (40, 50)


def grey(rng, *shape):
    return rng.integers(0, 255, shape, np.uint8)


def test_image_deleted_while_it_is_embedded(user, rng, segmenter):
    me = user(grey(rng, 5, *SHAPE))
    segmenter.may_embed.clear()
    me.viewer.dims.set_current_step(0, 4)
    me.qtbot.wait(200)
    assert me.session.embeddings.state((4, None, None)) == "queued"
    me.viewer.layers.remove(me.annotation.image)
    segmenter.may_embed.set()
    me.settle()
    assert me.annotation is None
    assert "Open an image" in me.dock.status.text.text()


def test_what_a_removed_layer_drew_with_is_deleted_in_the_canvas_own_context(
    user, rng, monkeypatch
):
    me = user(grey(rng, *SHAPE))
    native, parse, contexts = me.viewer.window._qt_viewer.canvas.native, GlirParser.parse, []

    def recorded(parser, commands):
        if any(command[0] == "DELETE" for command in commands):
            contexts.append(QOpenGLContext.currentContext())
        return parse(parser, commands)

    monkeypatch.setattr(GlirParser, "parse", recorded)
    native.doneCurrent()  # as Qt leaves it when it has put the window together
    me.viewer.layers.remove(me.annotation.image)
    assert contexts
    assert all(context == native.context() for context in contexts)


def test_image_renamed_while_it_is_embedded(user, rng, segmenter):
    me = user(grey(rng, 5, *SHAPE), name="before")
    segmenter.may_embed.clear()
    me.viewer.dims.set_current_step(0, 4)
    me.qtbot.wait(200)
    me.annotation.image.name = "after"
    segmenter.may_embed.set()
    me.settle()
    me.click((4, 20, 30))
    assert me.labels[4, 20, 30] == 1
    assert me.dock.choice.image.currentText() == "after"


def test_viewer_closed_while_embedding(open_viewer, rng, qtbot):
    segmenter = FakeSegmenter()
    segmenter.may_embed.clear()
    viewer = open_viewer(grey(rng, *SHAPE))
    dock = SegmentAnything(viewer, lambda model, device, progress: segmenter)
    viewer.window.add_dock_widget(dock)
    embeddings = dock.controller.annotation.session.embeddings
    qtbot.waitUntil(lambda: embeddings.state((None, None)) == "queued", timeout=10_000)
    viewer.close()
    qtbot.wait(50)


def test_masks_layer_deleted_is_made_anew(user, rng):
    me = user(grey(rng, *SHAPE))
    me.click((20, 30))
    me.viewer.layers.remove(me.annotation.labels)
    me.settle()
    assert me.annotation.labels is None
    me.click((20, 20))
    assert me.labels[20, 20] == 1
    assert me.labels[20, 30] == 1


def test_prompts_layer_deleted_leaves_the_masks(user, rng):
    me = user(grey(rng, *SHAPE))
    me.click((20, 30))
    image, labels = me.annotation.image, me.annotation.labels
    me.viewer.layers.remove(me.annotation.points)
    me.settle()
    assert me.annotation is None
    assert labels.data[20, 30] == 1
    me.controller.choose_image(image)
    me.settle()
    assert me.annotation.labels is labels
    assert me.session.object_id == 2


def test_shapes_layer_deleted_is_made_anew(user, rng):
    me = user(grey(rng, *SHAPE))
    me.annotation.draw_box()
    me.viewer.layers.remove(me.annotation.shapes.layer)
    me.settle()
    me.annotation.draw_box()
    assert me.annotation.shapes.layer in me.viewer.layers


def test_two_docks_of_one_viewer_share_everything(user, rng, segmenter):
    me = user(grey(rng, *SHAPE))
    second = SegmentAnything(me.viewer)
    me.viewer.window.add_dock_widget(second, name="again")
    me.settle()
    assert second.controller is me.controller
    me.click((20, 30))
    assert me.labels[20, 30] == 1
    assert len(me.viewer.layers) == 3
    me.viewer.window.remove_dock_widget(second)
    me.qtbot.wait(50)
    me.click((20, 20))
    assert me.labels[20, 20] == 1


def test_two_viewers_have_nothing_in_common(open_viewer, rng, qtbot):
    docks = []
    for key in ("one", "two"):
        viewer = open_viewer(grey(rng, *SHAPE), name=key)
        made = FakeSegmenter(key=key)
        dock = SegmentAnything(viewer, lambda model, device, progress, made=made: made)
        viewer.window.add_dock_widget(dock)
        docks.append((viewer, dock))
    for viewer, _ in docks:
        session = current_session(viewer)
        assert controller_of(viewer).engine.wait(10)
        assert not session.prompts.clicks
        session.add_point((), (20, 30))
        assert session.wait(10)
    assert docks[0][1].controller is not docks[1][1].controller
    assert all(len(viewer.layers) == 3 for viewer, _ in docks)


def test_each_image_keeps_its_prompts(user, rng):
    me = user(grey(rng, *SHAPE), name="first")
    me.click((20, 30))
    me.viewer.add_image(grey(rng, *SHAPE), name="second")
    me.settle()
    assert me.annotation.image.name == "second"
    assert "second · prompts" not in me.viewer.layers
    assert me.viewer.layers.selection.active.name == "second"
    me.press(Qt.Key.Key_G)
    me.click((10, 10))
    assert len(me.session.prompts.clicks) == 1
    me.viewer.layers.selection.active = me.viewer.layers["first · prompts"]
    me.settle()
    assert me.annotation.image.name == "first"
    assert np.allclose(me.session.prompts.clicks[0].point, (20, 30), atol=0.6)


def test_dock_opened_before_any_image_takes_the_first(user, rng):
    me = user()
    assert "Open an image" in me.dock.status.text.text()
    me.viewer.add_image(grey(rng, *SHAPE))
    me.settle()
    me.viewer.reset_view()
    me.click((20, 30))
    assert me.labels[20, 30] == 1
    me.viewer.layers.clear()
    me.settle()
    me.viewer.add_image(grey(rng, *SHAPE))
    me.settle()
    me.viewer.reset_view()
    me.click((20, 30))  # after all were removed, the next image is taken as the first was
    assert me.labels[20, 30] == 1


def test_cancel_and_resume(user, rng, segmenter):
    me = user(grey(rng, 5, *SHAPE))
    segmenter.may_embed.clear()
    me.viewer.dims.set_current_step(0, 4)
    me.qtbot.wait(200)
    assert me.dock.status.button.text() == "Cancel"
    me.dock.status.button.click()
    me.qtbot.wait(50)
    assert me.dock.status.text.text() == "Stopped"
    segmenter.may_embed.set()
    me.dock.status.button.click()
    me.settle()
    assert "Ready" in me.dock.status.text.text()


def test_model_that_cannot_be_loaded_leaves_the_one_in_use(user, rng):
    me = user(grey(rng, *SHAPE))
    errors = []
    me.controller.refused.connect(errors.append)

    def broken(model, device, progress):
        raise OSError("expected a network, got none; connect and try again")

    me.controller._load = broken
    me.controller.load_model("vit_b")
    me.settle(background=True)
    assert len(errors) == 1
    assert me.controller.model == "nano"
    assert me.dock.choice.model.currentText().startswith("nano")
    me.click((20, 30))
    assert me.labels[20, 30] == 1


def test_download_can_be_cancelled(user, rng):
    me = user(grey(rng, *SHAPE))
    running = threading.Event()

    def endless(model, device, progress):
        while True:
            running.set()
            progress(0.3)

    me.controller._load = endless
    me.controller.load_model("vit_b")
    running.wait(5)
    me.qtbot.waitUntil(lambda: "Downloading vit_b 30%" in me.dock.status.text.text())
    me.dock.status.button.click()
    me.settle()
    assert me.controller.model == "nano"
    assert "Ready" in me.dock.status.text.text()


@pytest.mark.parametrize("how", ["close", "destroyOnClose"])
def test_closed_dock_makes_no_masks_and_reports_it(user, rng, qtbot, how):
    me = user(grey(rng, *SHAPE))
    me.click((20, 10))
    notices = []
    me.controller.noticed.connect(notices.append)
    getattr(me.area, how)()
    me.settle()
    assert "Segment Anything is closed" in notices[0]
    before = me.labels.copy()
    me.click((20, 40))
    np.testing.assert_array_equal(me.labels, before)
    assert len(me.session.prompts.clicks) == 1
    me.press(Qt.Key.Key_G)
    me.click((20, 40))
    assert me.labels[20, 40] == 1


def test_dock_shown_again_goes_on_with_clicks(user, rng):
    me = user(grey(rng, *SHAPE))
    me.area.close()
    me.settle()
    me.area.show()
    me.settle()
    me.click((20, 30))
    assert me.labels[20, 30] == 1


def test_dock_behind_another_ones_tab_goes_on(user, rng):
    me = user(grey(rng, *SHAPE))
    window = me.viewer.window
    other = window.add_dock_widget(QLabel("other"), name="other", area="right")
    window._qt_window.tabifyDockWidget(me.area, other)
    other.raise_()
    me.settle(100)
    assert other in window._qt_window.tabifiedDockWidgets(me.area)
    me.click((20, 30))
    assert me.labels[20, 30] == 1


def test_click_on_hidden_prompts_is_reported(user, rng):
    me = user(grey(rng, *SHAPE), name="cells")
    notices = []
    me.controller.noticed.connect(notices.append)
    me.annotation.points.visible = False
    me.settle()
    assert me.dock.foot.hint.text() == "'cells · prompts' is hidden: show it to click"
    me.click((20, 30))
    (text,) = notices
    assert text.startswith("'cells · prompts' is hidden")
    me.drag((20, 30), (30, 40))
    assert len(notices) == 1
    me.annotation.points.visible = True
    me.viewer.reset_view()
    me.settle()
    me.click((20, 30))
    assert me.labels[20, 30] == 1


def test_masks_written_to_a_hidden_layer_are_reported_once(user, rng):
    me = user(grey(rng, *SHAPE), name="cells")
    notices = []
    me.controller.noticed.connect(notices.append)
    me.annotation.labels.visible = False
    me.click((20, 30))
    me.click((22, 30))
    (text,) = notices
    assert "'cells · masks', which is hidden" in text
    assert me.dock.foot.hint.text() == "'cells · masks' is hidden: masks are written there, unseen"
    me.annotation.labels.visible = True
    me.settle()
    assert "is hidden" not in me.dock.foot.hint.text()


def test_keys_work_while_no_layer_is_selected(user, rng):
    me = user(grey(rng, *SHAPE))
    me.click((20, 30))
    me.viewer.layers.selection.clear()
    me.settle()
    me.press(Qt.Key.Key_N)
    assert me.session.object_id == 2
    me.press(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert not me.session.prompts.clicks
    me.press(Qt.Key.Key_G)
    assert me.viewer.layers.selection.active is me.annotation.points
    assert not me.viewer.keymap
    me.viewer.layers.selection.clear()
    me.settle()
    assert me.viewer.keymap
    me.controller.close()
    assert not me.viewer.keymap


def test_two_docks_show_a_notice_once(user, rng, monkeypatch):
    notices = []
    monkeypatch.setattr("napari_sam.gui.widget.show_info", notices.append)
    me = user(grey(rng, *SHAPE))
    second = SegmentAnything(me.viewer)
    me.viewer.window.add_dock_widget(second, name="again")
    me.controller.noticed.emit("a notice")
    assert notices == ["a notice"]


def test_new_layer_that_was_asked_for_is_made(user, rng):
    me = user(grey(rng, *SHAPE))
    me.click((20, 10))
    first, before = me.annotation.labels, me.labels.copy()
    menu = me.dock.masks.layer
    menu.activated.emit(menu.findText("a new layer"))
    me.press(Qt.Key.Key_N)
    me.press(Qt.Key.Key_G)
    me.click((20, 40))
    assert me.annotation.labels is not first
    assert me.labels[20, 40] == 2
    np.testing.assert_array_equal(first.data, before)


def test_masks_taken_up_again_follow_the_image(user, rng):
    me = user(grey(rng, *SHAPE))
    me.click((20, 30))
    image, labels = me.annotation.image, me.annotation.labels
    me.viewer.layers.remove(me.annotation.points)
    me.controller.choose_image(image)
    me.settle()
    image.translate = (3, 4)
    me.settle()
    np.testing.assert_array_equal(labels.translate, (3, 4))
    me.viewer.reset_view()
    me.settle()
    me.click((10, 10))
    assert me.annotation.labels is labels
    assert me.labels[10, 10] == 2


def test_layers_of_an_image_that_became_another_can_be_moved(user, rng):
    me = user(grey(rng, *SHAPE))
    me.click((20, 30))
    me.annotation.image.data = grey(rng, 7, 7)
    me.settle()
    me.annotation.draw_box()
    me.annotation.shapes.layer.translate = (1, 1)
    me.annotation.image.units = ("um", "um")
    me.annotation.labels.translate = (2, 2)
    me.settle()


def test_labels_that_find_no_memory_are_reported(user, rng, monkeypatch):
    me = user(grey(rng, *SHAPE))
    me.settle(100)
    errors = []
    me.controller.refused.connect(lambda error: errors.append(str(error)))

    def too_large(image):
        raise MemoryError("expected labels to fit into memory")

    monkeypatch.setattr("napari_sam.gui.annotation.new_labels", too_large)
    me.viewer.layers.remove(me.annotation.labels)
    me.annotation.click_here()
    me.settle(100)
    assert errors == ["expected labels to fit into memory"]
    assert me.annotation.labels is None


def test_closed_dock_stops_the_clicks_of_every_image(user, rng):
    me = user(grey(rng, *SHAPE), name="first")
    points = me.annotation.points
    me.viewer.add_image(grey(rng, *SHAPE), name="second")
    me.press(Qt.Key.Key_G)
    assert points.mode == me.annotation.points.mode == "add"
    me.area.close()
    me.settle()
    assert points.mode == me.annotation.points.mode == "pan_zoom"
