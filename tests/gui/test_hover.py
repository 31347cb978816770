"""What a click would take, shown on the canvas while the mouse moves."""

from types import SimpleNamespace

import numpy as np
import pytest
from core.fake_segmenter import FakeSegmenter, disk
from napari.components import ViewerModel
from napari.layers import Image
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import QApplication

from napari_sam.gui.hover import Hover
from napari_sam.gui.preview_overlay import outline
from napari_sam.gui.preview_section import preview_state_of, preview_text
from napari_sam.gui.scene import matrix_of
from napari_sam.gui.slicing import world_of_data
from napari_sam.session import ArraySource, Preview, Session

pytestmark = pytest.mark.usefixtures("pixels")

SHAPE = 60, 80


def turn_wheel(me, point, steps):
    """Turn the wheel with Shift held."""
    native, where = me.viewer.window._qt_viewer.canvas.native, QPointF(me.at(point))
    event = QWheelEvent(
        *(where, QPointF(native.mapToGlobal(where.toPoint())), QPoint(), QPoint(0, 120 * steps)),
        *(Qt.MouseButton.NoButton, Qt.KeyboardModifier.ShiftModifier),
        *(Qt.ScrollPhase.NoScrollPhase, False),
    )
    QApplication.sendEvent(native, event)


def hover_over(me, point):
    me.move(point)
    me.qtbot.waitUntil(lambda: me.controller.hover.preview is not None, timeout=10_000)
    return me.controller.hover.preview


def test_what_a_click_would_take_is_shown_and_is_what_it_takes(user, rng, segmenter):
    me = user(rng.integers(0, 255, SHAPE, np.uint8))
    layers, hover = [*me.viewer.layers], me.controller.hover
    preview = hover_over(me, (30, 40))
    assert hover._overlay.is_shown
    assert [*me.viewer.layers] == layers
    assert not me.labels.any()
    assert me.dock.preview.text.text() == "click: begins object 1 · sub-part, IoU 0.90"
    before, zoom = segmenter.decodes, me.viewer.scene.camera.zoom
    turn_wheel(me, (30, 40), -1)
    turn_wheel(me, (30, 40), -1)
    assert hover.preview.granularity == me.session.granularity == "part"
    assert me.viewer.scene.camera.zoom == zoom
    me.press(Qt.Key.Key_W)
    me.press(Qt.Key.Key_W)
    assert hover.preview.granularity == "whole"
    assert me.dock.preview.granularity.currentText() == "the whole"
    me.click((30, 40))
    (click,) = me.session.prompts.clicks
    assert click.point == preview.point
    assert segmenter.decodes == before
    np.testing.assert_array_equal(me.labels, disk(SHAPE, click.point, 12))
    assert not hover._overlay.is_shown
    assert hover_over(me, (31, 44)).action == "refine"
    me.viewer.mouse_over_canvas = True
    me.viewer.mouse_over_canvas = False
    assert not hover._overlay.is_shown


def test_preview_can_be_switched_off_and_shows_no_other_plane(user, rng):
    me = user(rng.integers(0, 255, (3, *SHAPE), np.uint8))
    hover, shift = me.controller.hover, Qt.KeyboardModifier.ShiftModifier
    assert hover_over(me, (1, 30, 40)).plane == (1, None, None)
    me.viewer.dims.set_current_step(0, 0)
    assert hover.preview is None
    me.qtbot.waitUntil(lambda: hover.preview is not None, timeout=10_000)
    assert hover.preview.plane == (0, None, None)  # the mouse is there, too
    me.press(Qt.Key.Key_H, shift)
    assert hover.preview is None
    me.move((0, 30, 50))
    me.settle(background=True)
    assert hover.preview is None
    assert not me.dock.preview.preview.isChecked()
    me.dock.preview.preview.setChecked(True)
    assert hover_over(me, (0, 20, 30)).mask.area
    me.viewer.scene.camera.zoom *= 8
    me.annotation.bring_into_view((0, None, None), (40, 60, 45, 65))
    assert hover.preview is None  # the mouse is somewhere else by that
    me.viewer.reset_view()
    assert hover_over(me, (0, 20, 31)).mask.area
    me.annotation.draw_box()  # a click is no prompt then
    me.move((0, 20, 35))
    assert hover.preview is None


def test_overlay_lies_where_the_mask_will_be():
    viewer = ViewerModel()
    image = Image(np.zeros((4, 50, 60)), scale=(3, 0.5, 2), translate=(1, 20, -7), rotate=30)
    viewer.add_layer(image)
    matrix = matrix_of(viewer, image, (2, None, None), (10, 20), step=2)
    for x, y in ((0, 0), (4, 0), (3, 7)):
        drawn = np.array([x, y, 0, 1]) @ matrix
        pixel = 2, 10 - 0.5 + 2 * y, 20 - 0.5 + 2 * x
        np.testing.assert_allclose(drawn[1::-1], world_of_data(viewer.dims, image, pixel)[1:])


def test_outline_is_every_edge_between_a_mask_and_what_is_outside():
    mask = np.array([[1, 1, 0], [1, 0, 0]], bool)
    edges = {tuple(map(tuple, edge)) for edge in outline(mask).reshape(-1, 2, 2).tolist()}
    assert edges == {
        ((0, 0), (1, 0)), ((1, 0), (2, 0)), ((1, 1), (2, 1)), ((0, 2), (1, 2)),
        ((0, 0), (0, 1)), ((0, 1), (0, 2)), ((2, 0), (2, 1)), ((1, 1), (1, 2)),
    }  # fmt: skip
    assert not outline(np.zeros((3, 3), bool)).size


def test_preview_text_describes_what_a_click_would_do():
    plane, point = (None, None), (3.0, 4.0)
    assert preview_text(Preview(plane, point, 12, "go to")) == "click: goes to object 12"
    refined = Preview(plane, point, 3, "refine", scores=(0.934,))
    assert preview_text(refined) == "click: refines object 3 · IoU 0.93"


@pytest.mark.parametrize(("seconds", "is_on"), [(0.02, True), (0.3, False)])
def test_previews_that_take_long_are_shown_only_if_asked_for(monkeypatch, seconds, is_on):
    viewer = ViewerModel()
    session = Session(FakeSegmenter(), ArraySource(np.zeros(SHAPE)))
    annotation = SimpleNamespace(
        image=Image(np.zeros(SHAPE)),
        session=session,
        points=None,
        displayed=lambda: None,
        tool="",
        view_moved=SimpleNamespace(connect=hash, disconnect=hash),
    )
    hover = Hover(viewer, lambda: annotation)
    hover.follow()
    controller = SimpleNamespace(annotation=annotation, hover=hover)
    assert preview_state_of(controller).is_on  # before anybody knows
    monkeypatch.setattr(type(session), "preview_seconds", seconds)
    state = preview_state_of(controller)
    assert state.is_on is is_on
    assert state.text == ("" if is_on else "preview is off because it takes 0.30 s")
    hover.is_on = True
    assert preview_state_of(controller).is_on
    hover.close()
    assert viewer.mouse_move_callbacks == []
