"""Clicks of a real mouse on a real canvas."""

import numpy as np
from core.fake_segmenter import disk
from qtpy.QtCore import Qt

from napari_sam.gui import current_session
from napari_sam.gui.key_table import ACTIONS, key_text
from napari_sam.io import read_prompts

SHAPE = (60, 80)


def grey(rng, *shape):
    return rng.integers(0, 255, shape, np.uint8)


def test_left_click_paints_the_object(user, rng):
    me = user(grey(rng, *SHAPE), name="cells")
    me.click((20, 30))
    (click,) = me.session.prompts.clicks
    assert click.label == 1
    assert np.allclose(click.point, (20, 30), atol=0.6)
    np.testing.assert_array_equal(me.labels, disk(SHAPE, click.point, 4))
    assert me.annotation.labels.name == "cells · masks"
    assert me.annotation.points.name == "cells · prompts"


def test_right_click_takes_away_and_q_swaps_the_buttons(user, rng):
    me = user(grey(rng, *SHAPE))
    me.click((20, 30))
    me.right_click((22, 30))
    assert me.annotation.points.features["label"].tolist() == ["positive", "negative"]
    assert me.labels[20, 27] == 1
    assert me.labels[22, 30] == 0
    me.press(Qt.Key.Key_Q)
    me.click((40, 60))
    me.right_click((50, 20))
    assert [c.label for c in me.session.prompts.clicks] == [1, 0, 0, 1]


def test_point_can_be_dragged_and_deleted(user, rng):
    me = user(grey(rng, *SHAPE))
    me.click((20, 30))
    points = me.annotation.points
    points.mode = "select"
    me.drag((20, 30), (40, 50))
    (click,) = me.session.prompts.clicks
    assert np.allclose(click.point, (40, 50), atol=1)
    np.testing.assert_array_equal(me.labels, disk(SHAPE, click.point, 4))
    me.press(Qt.Key.Key_Delete)
    assert not me.session.prompts.clicks
    assert not me.labels.any()


def test_label_edited_in_the_table_flips_the_point(user, rng):
    me = user(grey(rng, *SHAPE))
    me.click((20, 30))
    me.click((22, 30))
    features = me.annotation.points.features.copy()
    features.loc[1, "label"] = "negative"
    me.annotation.points.features = features
    me.settle()
    assert [c.label for c in me.session.prompts.clicks] == [1, 0]
    assert me.labels[22, 30] == 0


def test_objects_have_their_own_masks_and_keys_go_through_them(user, rng):
    me = user(grey(rng, *SHAPE))
    me.click((20, 20))
    me.press(Qt.Key.Key_N)
    me.click((40, 60))
    assert me.labels[20, 20] == 1
    assert me.labels[40, 60] == 2
    assert me.annotation.points.features["object"].tolist() == [1, 2]
    me.press(Qt.Key.Key_J)
    assert me.session.object_id == 1
    assert me.annotation.labels.selected_label == 1
    me.click((20, 30))
    assert me.labels[20, 30] == 1


def test_w_takes_the_next_candidate(user, rng):
    me = user(grey(rng, *SHAPE))
    me.click((30, 40))
    me.press(Qt.Key.Key_W)
    (click,) = me.session.prompts.clicks
    np.testing.assert_array_equal(me.labels, disk(SHAPE, click.point, 12))
    assert me.dock.object.candidates[2].isChecked()


def test_control_z_takes_the_last_click_back(user, rng):
    me = user(grey(rng, *SHAPE))
    me.click((20, 30))
    before = me.labels.copy()
    me.click((20, 50))
    me.press(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    np.testing.assert_array_equal(me.labels, before)
    assert len(me.annotation.points.data) == 1


def test_undo_takes_a_prompt_and_its_mask_back_in_one_step(user, rng):
    me = user(grey(rng, *SHAPE))
    me.click((20, 30))
    before = me.labels.copy()
    me.right_click((22, 30))
    me.session.undo()
    np.testing.assert_array_equal(me.labels, before)
    me.session.undo()
    assert not me.labels.any()


def test_click_on_scaled_and_rotated_layer_selects_the_same_pixel(user, rng):
    placement = {"scale": (0.5, 0.25), "translate": (100, -30), "rotate": 20, "units": "um"}
    me = user(grey(rng, *SHAPE), **placement)
    me.click((20, 30))
    (click,) = me.session.prompts.clicks
    assert np.allclose(click.point, (20, 30), atol=0.7)
    assert me.labels[20, 30] == 1
    for layer in me.annotation.layers:
        np.testing.assert_allclose(layer.scale, (0.5, 0.25))
        np.testing.assert_allclose(layer.translate, (100, -30))
        np.testing.assert_allclose(layer.rotate, me.annotation.image.rotate)
        assert layer.units == me.annotation.image.units


def test_affine_image_is_clicked_where_it_is_shown(user, rng):
    affine = np.array([[0, 2.0, 5], [-1.0, 0.3, 7], [0, 0, 1]])
    me = user(grey(rng, *SHAPE), affine=affine)
    me.click((20, 30))
    assert np.allclose(me.session.prompts.clicks[0].point, (20, 30), atol=0.7)
    np.testing.assert_allclose(me.annotation.labels.affine.affine_matrix, affine)


def test_box_drawn_by_hand_is_a_prompt(user, rng):
    me = user(grey(rng, *SHAPE))
    me.press(Qt.Key.Key_U)
    me.drag((10, 20), (30, 50))
    (box,) = me.session.prompts.boxes
    assert np.allclose(box.box, (10, 20, 30, 50), atol=1)
    assert me.labels[20, 35] == 1
    assert me.labels[20, 60] == 0
    me.drag((40, 20), (50, 60))
    assert me.session.object_id == 2
    assert me.labels[45, 40] == 2
    assert me.labels[20, 35] == 1


def test_box_after_a_click_starts_the_next_object_and_leaves_the_first(user, rng):
    me = user(grey(rng, *SHAPE))
    me.click((20, 15))
    before = me.labels.copy()
    me.press(Qt.Key.Key_U)
    me.drag((35, 40), (50, 70))
    assert me.session.object_id == 2
    np.testing.assert_array_equal(me.labels == 1, before == 1)
    assert me.labels[42, 55] == 2


def test_box_around_what_was_clicked_corrects_it(user, rng):
    me = user(grey(rng, *SHAPE))
    me.click((20, 30))
    me.press(Qt.Key.Key_U)
    me.drag((10, 20), (30, 50))
    assert me.session.object_id == 1
    assert me.session.prompts.boxes[0].object_id == 1
    assert set(np.unique(me.labels)) == {0, 1}


def test_box_drawn_again_around_an_object_replaces_its_box(user, rng):
    me = user(grey(rng, *SHAPE))
    me.press(Qt.Key.Key_U)
    me.drag((10, 20), (30, 50))
    me.drag((8, 18), (34, 54))
    (box,) = me.session.prompts.boxes
    assert np.allclose(box.box, (8, 18, 34, 54), atol=1)
    assert box.object_id == 1


def test_click_while_drawing_boxes_makes_none_and_reports_why(user, rng):
    me = user(grey(rng, *SHAPE))
    errors = []
    me.controller.refused.connect(errors.append)
    me.press(Qt.Key.Key_U)
    me.click((20, 30))
    assert not me.session.prompts.boxes
    assert not len(me.annotation.shapes.layer.data)
    assert me.annotation.labels is None or not me.labels.any()
    (error,) = errors
    assert "held down, got a click" in str(error)
    me.drag((10, 20), (30, 50))
    assert me.labels[20, 35] == 1


def test_click_outside_the_image_is_refused_with_the_reason(user, rng):
    me = user(grey(rng, *SHAPE))
    errors = []
    me.controller.refused.connect(errors.append)
    me.click((-3, 30))
    assert len(errors) == 1
    assert "inside the plane of 60 x 80" in str(errors[0])
    assert not len(me.annotation.points.data)
    me.click((20, 30))
    assert me.labels[20, 30] == 1


def test_keys_leave_the_users_own_alone_and_go_with_the_dock(user, rng):
    me = user(grey(rng, *SHAPE))
    image, points = me.annotation.image, me.annotation.points
    taken = {str(key) for key in image.keymap}
    assert taken == {key_text(key) for a in ACTIONS if a.condition == "always" for key in a.keys}
    me.controller.close()
    assert not image.keymap
    assert not points.keymap
    assert len(me.viewer.layers) == 3


def test_saved_prompts_are_what_the_command_line_reads(user, rng, tmp_path):
    me = user(grey(rng, *SHAPE))
    me.click((20, 30))
    me.right_click((22, 30))
    path = tmp_path / "prompts.csv"
    me.annotation.points.save(str(path))
    ((key, prompts),) = read_prompts(path).items()
    assert key == ((), 1)
    assert prompts.point_labels.tolist() == [1, 0]
    expected = [click.point for click in me.session.prompts.clicks]
    np.testing.assert_allclose(prompts.points, expected)


def test_prompts_from_the_console_are_shown(user, rng):
    me = user(grey(rng, *SHAPE))
    second = me.viewer.add_image(grey(rng, *SHAPE), name="second")
    me.settle()
    session = current_session(me.viewer)
    session.add_point((), (20, 30))
    session.set_box((), (5, 5, 15, 15), object_id=2)
    assert session.wait(5)
    me.settle()
    assert me.viewer.layers.selection.active is second
    np.testing.assert_allclose(me.viewer.layers["second · prompts"].data, [(20, 30)])
    corners = np.asarray(me.viewer.layers["second · shapes"].data[0])
    assert (corners.min(0).tolist(), corners.max(0).tolist()) == ([5, 5], [15, 15])
    assert me.labels[20, 30] == 1
    assert me.labels[10, 10] == 2
