"""Objects over time as a Tracks layer, and divisions confirmed with a key, in a real viewer."""

import numpy as np
from napari.layers import Tracks
from qtpy.QtCore import Qt

CTRL, SHIFT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier


def dividing() -> np.ndarray:
    labels = np.zeros((4, 40, 60), np.int32)
    for first, left in ((1, 8), (5, 34)):
        labels[:2, 10:22, left : left + 14] = first
        labels[2:, 10:22, left : left + 7] = first
        labels[2:, 10:22, left + 8 : left + 15] = first + 1
    return labels


def test_divisions_are_confirmed_with_a_key_and_tracks_follow(user_and_errors):
    me, errors = user_and_errors(np.zeros((4, 40, 60), np.uint8), scale=(1, 0.5, 0.5))
    me.session.import_objects(lambda report: _from(dividing()), "a file")
    me.settle()
    before = me.labels.copy()
    active = me.viewer.layers.selection.active
    me.press(Qt.Key.Key_L, CTRL)
    layers = me.viewer.layers
    me.qtbot.waitUntil(lambda: any(isinstance(layer, Tracks) for layer in layers))
    (layer,) = (layer for layer in layers if isinstance(layer, Tracks))
    assert layers.selection.active is active
    assert np.array_equal(layer.scale, me.annotation.image.scale)
    assert layer.graph == {}
    assert np.array_equal(me.labels, before)
    assert layer.data[0].tolist() == [1, 0, 15.5, 14.5]

    me.press(Qt.Key.Key_D, CTRL)
    assert me.viewer.dims.current_step[0] == 2
    assert me.session.object_id == 1
    me.press(Qt.Key.Key_B, CTRL)
    me.qtbot.waitUntil(lambda: len(layer.graph) == 2)
    assert set(layer.graph) == set(me.session.parents) == {2, 7}
    assert (me.labels[2:, 15, 10] == 7).all()
    me.press(Qt.Key.Key_B, CTRL | SHIFT)  # the next was on offer already
    assert me.session.facts(6).parent == 0
    me.session.undo()
    me.session.undo()
    me.qtbot.waitUntil(lambda: not layer.graph)
    assert np.array_equal(me.labels, before)
    me.session.delete_object(6)
    me.qtbot.waitUntil(lambda: 6 not in layer.data[:, 0])
    assert not errors
    me.press(Qt.Key.Key_L, CTRL)
    assert layer not in layers
    assert me.session.tracks is None


def test_what_is_no_movie_has_no_tracks_and_nothing_to_confirm(user_and_errors):
    me, errors = user_and_errors(np.zeros((40, 60), np.uint8))
    me.press(Qt.Key.Key_L, CTRL)
    assert "expected a movie" in errors.pop()
    me.press(Qt.Key.Key_B, CTRL)
    assert "Ctrl+D shows the next" in errors.pop()


def _from(labels):
    from napari_sam.io.imports import ImportedObjects

    planes = [((t,), plane) for t, plane in enumerate(labels)]
    return ImportedObjects(lambda report: iter(planes))
