"""Several images with their masks in one labels layer, such as the channels of one field."""

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_sam.session.canvas import highest_label

SHAPE = (60, 80)


@pytest.fixture
def shared(user, rng):
    """Click in one image, then choose another whose masks go to the same labels."""
    me = user(rng.integers(0, 255, SHAPE, np.uint8), name="dapi")
    me.click((20, 10))
    labels = me.annotation.labels
    me.viewer.add_image(rng.integers(0, 255, SHAPE, np.uint8), name="actin")
    me.annotation.labels = labels
    me.annotation.click_here()
    me.settle()
    return me


def test_each_image_numbers_its_objects_above_those_of_the_others(shared):
    me, images = shared, shared.viewer.layers
    me.click((20, 40))
    me.controller.choose_image(images["dapi"])
    me.settle()
    assert me.session.object_id == 1
    me.press(Qt.Key.Key_N)
    me.click((50, 20))
    me.controller.choose_image(images["actin"])
    me.settle()
    assert me.session.object_id == me.annotation.labels.selected_label == 2
    me.click((22, 42))
    me.press(Qt.Key.Key_N)
    me.click((50, 70))
    places = [(20, 10), (20, 40), (50, 20), (22, 42), (50, 70)]
    assert [me.labels[place] for place in places] == [1, 2, 3, 2, 4]


def test_objects_found_at_once_are_numbered_above_too(shared):
    me = shared
    me.session.find_all(points_per_side=3)
    assert me.session.wait(20)
    assert me.labels.max() > 2
    me.controller.choose_image(me.viewer.layers["dapi"])
    assert me.session.new_object() == me.labels.max() + 1


class Counted:
    """Labels in chunks, that remember which parts were read."""

    def __init__(self, data, chunks):
        self.data, self.shape, self.dtype, self.chunks = data, data.shape, data.dtype, chunks
        self.read = np.zeros(data.shape, int)

    def __getitem__(self, at):
        self.read[at] += 1
        return self.data[at]


@pytest.mark.parametrize("part", [1, 200, 64 << 20])
def test_highest_label_is_found_in_one_pass(monkeypatch, rng, part):
    monkeypatch.setattr("napari_sam.session.canvas._PART", part)
    labels = Counted(rng.integers(0, 99, (10, 13, 4)), (4, 5, 2))
    assert highest_label(labels) == labels.data.max()
    assert (labels.read == 1).all()
    assert highest_label(labels.data[:, :, 0]) == labels.data[:, :, 0].max()


def test_selecting_the_labels_keeps_the_image_that_is_chosen(shared):
    me = shared
    me.click((20, 40))
    me.viewer.layers.selection.active = me.annotation.labels
    me.settle()
    assert me.annotation.image.name == "actin"
    me.press(Qt.Key.Key_N)
    assert me.session.object_id == 3
    me.controller.choose_image(me.viewer.layers["dapi"])
    assert me.session.object_id == 1


def test_stroke_belongs_to_the_image_that_is_chosen_and_the_others_know_of_it(shared):
    me, dapi, actin = shared, shared.viewer.layers["dapi"], shared.annotation
    labels = actin.labels
    before = me.labels.copy()
    me.viewer.layers.selection.active = labels
    labels.selected_label, labels.mode, labels.brush_size = 9, "paint", 5
    me.drag((40, 40), (40, 50))
    assert me.session is actin.session
    assert me.session.next_undo == "a brush stroke on object 9"
    me.controller.choose_image(dapi)
    me.settle()
    assert "changed elsewhere" in me.session.next_undo
    assert me.session.new_object() == 10
    me.controller.choose_image(actin.image)
    me.settle()
    me.session.undo()
    np.testing.assert_array_equal(me.labels, before)
    assert me.session.new_object() == 10
