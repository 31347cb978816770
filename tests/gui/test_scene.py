"""What is drawn in the canvas beside the layers, and how it goes."""

from types import SimpleNamespace

import pytest
from qtpy import sip
from vispy import scene

from napari_sam.gui.scene import is_gone, take_out


@pytest.fixture
def drawn(qtbot, monkeypatch):
    """A canvas, a line in it, and how often the canvas was asked to draw anew."""
    canvas = scene.SceneCanvas()
    line = scene.visuals.Line([[0, 0], [1, 1]], parent=canvas.scene)
    asked = []
    monkeypatch.setattr(scene.SceneCanvas, "update", lambda *_: asked.append(1))
    yield canvas, line, asked
    if not sip.isdeleted(canvas.native):
        canvas.close()


def test_visual_is_taken_out_of_its_canvas(drawn):
    canvas, line, asked = drawn
    take_out([line])
    assert line.parent is None
    assert line not in canvas.scene.children
    assert asked


def test_visual_that_is_out_already_stays_out(drawn):
    _, line, _ = drawn
    take_out([line])
    take_out([line])
    assert line.parent is None


def test_canvas_that_qt_has_deleted_is_not_drawn_anew(drawn):
    canvas, line, asked = drawn
    sip.delete(canvas.native)
    take_out([line])
    assert not asked


def test_canvas_of_a_viewer_is_gone_when_qt_has_deleted_it(drawn):
    canvas, _, _ = drawn
    viewer = SimpleNamespace(window=SimpleNamespace(_qt_viewer=SimpleNamespace(canvas=canvas)))
    assert not is_gone(viewer)
    sip.delete(canvas.native)
    assert is_gone(viewer)
    assert not is_gone(SimpleNamespace())
