"""Several images with their masks in one labels layer, such as the channels of one field."""

import numpy as np
import pytest

from napari_sam.gui.masks import highest_label

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


def test_objects_found_at_once_are_numbered_above_too(shared):
    me = shared
    me.annotation.masks.write(np.eye(*SHAPE, dtype=np.int32), 6, me.annotation.displayed())
    me.annotation.masks.reserve(7)
    me.controller.choose_image(me.viewer.layers["dapi"])
    assert me.session.new_object() == 8


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
    monkeypatch.setattr("napari_sam.gui.masks._PART", part)
    labels = Counted(rng.integers(0, 99, (10, 13, 4)), (4, 5, 2))
    assert highest_label(labels) == labels.data.max()
    assert (labels.read == 1).all()
    assert highest_label(labels.data[:, :, 0]) == labels.data[:, :, 0].max()
