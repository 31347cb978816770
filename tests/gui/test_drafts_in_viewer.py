"""The first answer to a click is a picture; with the mask that follows it is one step of undo."""

import threading
from dataclasses import replace

import numpy as np
import pytest
from core.fake_segmenter import FakeSegmenter, disk
from qtpy.QtCore import Qt

from napari_sam.gui.status import status_of
from napari_sam.masks import iou
from napari_sam.prompts import Prompts
from napari_sam.segmentation.protocol import Draft

pytestmark = pytest.mark.usefixtures("pixels")

DARK = np.zeros((120, 160), np.uint8)
DARK[0, 0] = 255


class Hesitant(FakeSegmenter):
    """Has a draft of half the radius until it may answer; its view is ready when a test sets it."""

    def __init__(self):
        super().__init__(radius=12)
        self.may_answer, self.may_prepare = threading.Event(), threading.Event()
        self.may_answer.set()
        self.may_prepare.set()
        self.views = []

    def draft(self, embedding, prompts, multimask="auto"):
        final = self.may_answer.is_set()
        prediction = super().decode(embedding, prompts, multimask)
        if not final:
            small = FakeSegmenter(radius=6).decode(embedding, prompts, multimask)
            prediction = replace(prediction, logits=small.logits)
        return Draft(prediction, final)

    def decode(self, embedding, prompts, multimask="auto", progress=None):
        while not self.may_answer.wait(0.005):
            if progress:
                progress(0.5)
        return super().decode(embedding, prompts, multimask)

    def prepare_view(self, embedding, view, progress=None, finest=False):
        while not self.may_prepare.wait(0.005):
            progress(0.5)
        self.views.append(view)

    def is_view_ready(self, embedding, view):
        return view in self.views


@pytest.fixture
def segmenter():
    segmenter = Hesitant()
    yield segmenter
    segmenter.may_answer.set()
    segmenter.may_prepare.set()


def wait_for_draft(user):
    user.qtbot.waitUntil(lambda: bool(user.annotation.drafts.shown), timeout=5000)
    user.qtbot.wait(50)


def colour_at(user, point):
    shot = user.viewer.screenshot(canvas_only=True, flash=False)
    at = user.at(point)
    ratio = shot.shape[1] / user.viewer.window._qt_viewer.canvas.native.width()
    return shot[round(at.y() * ratio), round(at.x() * ratio), :3].astype(int)


def coloured(colour):
    return np.ptp(colour) > 20


@pytest.mark.parametrize("options", [{}, {"scale": (0.5, 2.0), "translate": (30, -7)}])
def test_draft_is_shown_where_it_is_and_no_layer_holds_it(user, segmenter, options):
    me = user(DARK, **options)
    layers = len(me.viewer.layers)
    segmenter.may_answer.clear()
    me.click((60, 80), settle=False)
    wait_for_draft(me)
    assert me.annotation.drafts.shown == [(1, (None, None))]
    assert coloured(colour_at(me, (57, 83)))
    assert coloured(colour_at(me, (60, 75)))
    assert not coloured(colour_at(me, (60, 90)))
    labels = me.annotation.labels
    assert labels is None or not me.labels.any()
    assert len(me.viewer.layers) == layers
    segmenter.may_answer.set()
    me.settle()
    assert me.annotation.drafts.shown == []
    assert iou(me.labels == 1, disk(DARK.shape, (60, 80), 12)) > 0.9


def test_final_mask_is_one_step_of_undo_and_painted_pixels_stay(user, segmenter):
    me = user(DARK)
    me.click((20, 20))
    me.session.undo()
    me.settle()
    labels = me.annotation.labels
    segmenter.may_answer.clear()
    me.click((60, 80), settle=False)
    wait_for_draft(me)
    labels.data_setitem((np.array([60, 61]), np.array([80, 81])), 9)
    segmenter.may_answer.set()
    me.settle()
    assert me.labels[60, 80] == me.labels[61, 81] == 9
    assert (me.labels == 1).sum() == me.session.mask(1, ()).sum() - 2
    me.session.undo()
    assert not (me.labels == 9).any()
    me.session.redo()
    assert me.labels[60, 80] == 9
    me.session.undo()
    me.session.undo()
    assert not me.labels.any()


def test_draft_of_another_plane_is_not_shown(user, segmenter):
    me = user(np.stack([DARK] * 3))
    me.scroll_to(0)
    segmenter.may_answer.clear()
    me.click((0, 60, 80), settle=False)
    wait_for_draft(me)
    me.viewer.dims.set_current_step(0, 2)
    assert me.annotation.drafts.shown == []
    me.viewer.dims.set_current_step(0, 0)
    assert me.annotation.drafts.shown == [(1, (0, None, None))]


def test_undone_click_takes_its_draft_with_it(user, segmenter):
    me = user(DARK)
    segmenter.may_answer.clear()
    me.click((60, 80), settle=False)
    wait_for_draft(me)
    me.press(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert me.annotation.drafts.shown == []
    assert not coloured(colour_at(me, (57, 83)))


def test_light_is_green_when_what_is_on_screen_is_read(user, segmenter):
    segmenter.may_prepare.clear()
    threading.Timer(0.2, segmenter.may_prepare.set).start()
    me = user(DARK)
    me.settle(400)
    assert status_of(me.controller).light == "ready"
    segmenter.may_prepare.clear()
    me.viewer.scene.camera.zoom *= 4
    me.qtbot.waitUntil(lambda: status_of(me.controller).light == "busy", timeout=5000)
    assert status_of(me.controller).text.startswith("Reading what is on screen")
    segmenter.may_prepare.set()
    me.settle(300)
    assert status_of(me.controller).light == "ready"
    r0, c0, r1, c1 = segmenter.views[-1]
    assert 0 < (r1 - r0) * (c1 - c0) < DARK.size / 2


def test_draft_follows_an_image_that_is_moved(user, segmenter):
    me = user(DARK)
    segmenter.may_answer.clear()
    me.click((60, 80), settle=False)
    wait_for_draft(me)
    me.annotation.image.translate = (20, -30)
    me.qtbot.wait(300)
    assert coloured(colour_at(me, (57, 83)))
    assert not coloured(colour_at(me, (60, 90)))


def test_of_very_many_drafts_only_some_are_drawn(user, segmenter, monkeypatch):
    monkeypatch.setattr("napari_sam.gui.drafts._MOST", 2)
    me = user(DARK)
    segmenter.may_answer.clear()
    me.session.add_prompts({(i, ()): Prompts([(20 * i, 80)], [1]) for i in range(1, 5)})
    wait_for_draft(me)
    me.qtbot.wait(100)
    assert len(me.annotation.drafts.shown) == 2
    segmenter.may_answer.set()
    me.settle()
    assert me.annotation.drafts.shown == []
    assert sorted(np.unique(me.labels)) == [0, 1, 2, 3, 4]
