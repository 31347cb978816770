"""Masks of planes that napari takes long to show labels of."""

import tempfile

import numpy as np
import pytest
from core.fake_segmenter import disk

from napari_sam.gui.layers import new_labels
from napari_sam.masks import iou

PLANE = np.random.default_rng(0).integers(0, 255, (120, 160), np.uint8)


@pytest.fixture
def large(monkeypatch):
    """Count a plane of the tests among the large ones."""
    monkeypatch.setattr("napari_sam.gui.layers._LARGE_PLANE", PLANE.size // 2)


@pytest.mark.usefixtures("large")
def test_labels_of_a_large_plane_come_with_the_first_mask(user):
    me = user(PLANE)
    me.settle(100)
    assert me.annotation.labels is None
    me.click((60, 80))
    labels = me.annotation.labels
    assert labels.dtype == np.uint16
    assert iou(me.labels == 1, disk(PLANE.shape, (60, 80), 4)) > 0.8
    labels.paint((20, 20), 5)
    me.session.undo()
    assert me.labels[20, 20] == 0
    me.session.undo()
    assert not me.labels.any()


@pytest.mark.usefixtures("large")
def test_numbers_beyond_16_bits_make_the_layer_wider_and_keep_its_undo(user):
    me = user(PLANE)
    me.click((60, 80))
    me.session.object_id = 70_000
    me.click((30, 30))
    labels = me.annotation.labels
    assert labels.dtype == np.int32
    assert set(np.unique(me.labels)) == {0, 1, 70_000}
    me.session.undo()
    assert set(np.unique(me.labels)) == {0, 1}
    me.session.undo()
    assert not me.labels.any()


def test_very_large_labels_keep_what_is_written_and_leave_no_file(user, monkeypatch, tmp_path):
    pytest.importorskip("zarr")
    monkeypatch.setattr("napari_sam.gui.layers._LARGEST_ARRAY", 1000)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    me = user(PLANE)
    me.click((60, 80))
    labels = me.annotation.labels
    assert not isinstance(labels.data, np.ndarray)
    assert iou(me.labels == 1, disk(PLANE.shape, (60, 80), 4)) > 0.8
    me.session.undo()
    assert not me.labels.any()
    assert not list(tmp_path.iterdir())


def test_small_planes_have_their_labels_when_the_dock_has_appeared(user):
    me = user(PLANE)
    me.settle(100)
    assert me.annotation.labels.dtype == np.int32


@pytest.mark.usefixtures("large")
def test_stacks_of_large_planes_hold_any_number(open_viewer):
    viewer = open_viewer(np.stack([PLANE] * 2))
    assert new_labels(viewer.layers[0]).dtype == np.int32


def test_labels_are_never_made_narrower(user):
    me = user(PLANE)
    me.settle(100)
    labels = me.annotation.labels
    labels.data = np.full(PLANE.shape, 2**32 - 1, np.uint32)
    errors = []
    me.controller.refused.connect(lambda error: errors.append(str(error)))
    me.session.add_point((), (60, 80), object_id=2**32)
    me.settle()
    assert "which ends at 4294967295" in errors[-1]
    assert labels.dtype == np.uint32
    assert (me.labels == 2**32 - 1).all()
