"""Strokes and lassos, drawn with a real mouse and edited as shapes."""

import numpy as np
from qtpy.QtCore import Qt

SHAPE = (60, 80)
SHIFT, RIGHT = Qt.KeyboardModifier.ShiftModifier, Qt.MouseButton.RightButton


def test_stroke_has_the_sign_of_the_button_and_is_edited_as_a_shape(user_and_errors, rng):
    me, errors = user_and_errors(rng.integers(0, 255, SHAPE, np.uint8))
    zoom = me.viewer.scene.camera.zoom
    me.press(Qt.Key.Key_G, SHIFT)
    assert me.dock.object.stroke.isChecked()
    me.drag((20, 15), (20, 50))
    layer = me.annotation.shapes.layer
    (stroke,) = me.session.prompts.strokes
    assert (stroke.label, stroke.object_id, layer.shape_type) == (1, 1, ["path"])
    np.testing.assert_allclose(np.array(stroke.path)[[0, -1]], [(20, 15), (20, 50)], atol=2)
    assert me.labels[20, 32] == me.labels[20, 42] == 1
    me.drag((20, 38), (20, 42), (20, 46), button=RIGHT)
    assert [one.label for one in me.session.prompts.strokes] == [1, 0]
    assert layer.features["sign"].tolist() == ["+", "−"]
    assert me.viewer.scene.camera.zoom == zoom
    assert me.labels[20, 42] == 0
    path = layer.data[0] + [20, 0]
    layer.data = [path, layer.data[1]]
    assert np.array(me.session.prompts.strokes[0].path)[0, 0] > 35
    me.settle()
    assert me.labels[40, 32] == 1
    assert me.labels[20, 32] == 0
    me.session.undo()
    assert me.session.prompts.strokes[0] == stroke
    row = layer.features["id"].tolist().index(stroke.id)
    np.testing.assert_allclose(layer.data[row], stroke.path)
    layer.selected_data = {0, 1}
    layer.remove_selected()
    assert not me.labels.any()
    assert not errors


def test_stroke_that_leaves_the_image_is_taken_up_to_its_border(user_and_errors, rng):
    me, errors = user_and_errors(rng.integers(0, 255, SHAPE, np.uint8))
    me.press(Qt.Key.Key_G, SHIFT)
    me.drag((30, 60), (30, 90), (45, 90), (45, 60))
    first, second = me.session.prompts.strokes
    assert first.object_id == second.object_id == 1
    np.testing.assert_allclose([first.path[0], first.path[-1]], [(30, 60), (30, 79.5)], atol=2)
    np.testing.assert_allclose([second.path[0], second.path[-1]], [(45, 79.5), (45, 60)], atol=2)
    layer = me.annotation.shapes.layer
    assert [len(data) for data in layer.data] == [len(first.path), len(second.path)]
    assert not errors
    me.drag((30, 85), (45, 85))
    assert errors.pop() == "expected a stroke on the image, got one beside it"
    assert len(me.session.prompts.strokes) == layer.nshapes == 2


def test_lasso_is_a_region_of_the_object_it_is_drawn_around(user_and_errors, rng):
    me, errors = user_and_errors(rng.integers(0, 255, SHAPE, np.uint8))
    me.session.add_point((), (50, 10))
    me.press(Qt.Key.Key_U, SHIFT)
    assert me.dock.object.lasso.isChecked()
    me.drag((10, 40), (10, 65), (35, 65), (35, 40), (12, 40))
    (lasso,) = me.session.prompts.lassos
    assert lasso.object_id == me.session.object_id == 2
    assert me.annotation.shapes.layer.shape_type == ["polygon"]
    assert me.labels[22, 52] == 2
    assert me.labels[50, 10] == 1
    me.drag((40, 10), (40, 30), (55, 30), (41, 12), button=RIGHT)
    assert "with the left button" in errors.pop()
    me.press(Qt.Key.Key_G)
    me.right_click((22, 52))
    assert me.session.prompts.clicks[-1].object_id == 2
    assert me.labels[22, 52] == 0
    assert not errors


def test_short_drag_draws_no_stroke_and_leaves_the_next_one_alone(user_and_errors, rng):
    me, errors = user_and_errors(rng.integers(0, 255, SHAPE, np.uint8))
    me.press(Qt.Key.Key_G, SHIFT)
    me.click((20, 30))
    assert "got a click" in errors.pop()
    assert not me.session.prompts.strokes
    assert me.annotation.shapes.layer.nshapes == 0
    me.drag((20, 30), (20, 31.2))  # shorter than napari keeps
    (stroke,) = me.session.prompts.strokes
    np.testing.assert_allclose(stroke.path, [(20, 30), (20, 31.2)], atol=0.4)
    me.drag((40, 15), (40, 50))
    assert len(me.session.prompts.strokes) == 2
    assert not errors


def test_q_flips_the_sign_of_a_selected_stroke_or_click(user_and_errors, rng):
    me, errors = user_and_errors(rng.integers(0, 255, SHAPE, np.uint8))
    me.session.add_point((), (40, 30))
    me.press(Qt.Key.Key_G, SHIFT)
    me.drag((20, 15), (20, 50))
    layer = me.annotation.shapes.layer
    layer.mode = "select"
    layer.selected_data = {0}
    green = layer.edge_color[0].copy()
    me.press(Qt.Key.Key_Q)
    assert [one.label for one in me.session.prompts.strokes] == [0]
    assert (layer.features["sign"].tolist(), layer.selected_data) == (["−"], {0})
    assert not np.allclose(layer.edge_color[0], green)
    me.press(Qt.Key.Key_Q)
    assert [one.label for one in me.session.prompts.strokes] == [1]
    np.testing.assert_allclose(layer.edge_color[0], green)
    points = me.annotation.points
    me.viewer.layers.selection.active = points
    points.mode = "select"
    points.selected_data = {0}
    me.press(Qt.Key.Key_Q)
    assert [one.label for one in me.session.prompts.clicks] == [0]
    assert me.annotation.sign == 1
    points.mode = "add"
    me.press(Qt.Key.Key_Q)
    assert me.annotation.sign == 0
    assert not errors
