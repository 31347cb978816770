"""Outlines that are moved by some pixels."""

import numpy as np
import pytest
from component_segmenter import ComponentSegmenter

from napari_sam.session import ArrayCanvas, ArraySource, Session, pixel_changes
from napari_sam.session.growing import grown

SHAPE = (24, 30)


@pytest.fixture
def labels():
    """Two squares, three pixels apart, and a speck."""
    labels = np.zeros(SHAPE, np.int32)
    labels[4:10, 4:10] = 1
    labels[4:10, 13:19] = 2
    labels[20, 25] = 3
    return labels


@pytest.fixture
def session(labels):
    image = np.where(np.isin(labels, [1, 2]), 255, 0).astype(np.uint8)
    source = ArraySource(image, contrast_limits=(0, 255))
    canvas = ArrayCanvas(np.zeros_like(labels))
    session = Session(ComponentSegmenter(dense=True), source, canvas=canvas)
    session.find_all()
    return session


def test_objects_grow_into_the_background_and_share_what_lies_between_them(labels):
    after = grown(labels, [1, 2], 2)
    assert (after[4:10, 2:10] == 1).all()
    assert set(after[6, 10:13].tolist()) == {1, 2}
    assert after[20, 25] == 3
    assert (after == 3).sum() == 1
    assert after[2, 2] == 0  # a corner is farther away than two pixels


def test_only_the_chosen_objects_grow_and_take_nothing_from_others(labels):
    after = grown(labels, [1], 5)
    np.testing.assert_array_equal(after == 2, labels == 2)
    assert (after == 1).sum() > 36


def test_objects_shrink_on_all_sides_and_never_vanish(labels):
    after = grown(labels, [1, 3], -2)
    assert (after == 1).sum() == 4
    assert (after == 2).sum() == 36
    assert (after == 3).sum() == 1


def test_what_is_at_the_border_of_the_plane_keeps_its_side_there():
    labels = np.zeros((10, 10), np.int16)
    labels[:6] = 4
    assert (grown(labels, [4], -2) == 4)[:4].all()
    assert not grown(labels, [4], -2)[4:].any()


def test_growing_is_one_step_that_is_undone(session):
    labels = session.canvas.array
    before = labels.copy()
    session.grow_objects(2)
    assert (labels > 0).sum() > (before > 0).sum()
    assert session.next_undo == "widened 2 objects by 2 pixels"
    grown_so = labels.copy()
    session.undo()
    np.testing.assert_array_equal(labels, before)
    session.redo()
    np.testing.assert_array_equal(labels, grown_so)


def test_clicked_and_locked_objects_keep_their_outlines_unless_they_are_named(session):
    labels = session.canvas.array
    session.add_point((), (6, 6), object_id=1)
    session.grow_objects(1)
    assert ((labels == 1).sum(), (labels == 2).sum()) == (36, 60)
    session.grow_objects(-1, object_ids=[1])
    assert (labels == 1).sum() == 16
    session.lock([2])
    session.grow_objects(1)
    assert (labels == 2).sum() == 60
    with pytest.raises(ValueError, match="locked"):
        session.grow_objects(1, object_ids=[2])


def test_pixels_that_a_person_took_away_are_not_given_back(session):
    labels = session.canvas.array
    at = np.array([4, 5]), np.array([9, 9])
    before = labels[at].copy()
    labels[at] = 0
    session.paint(pixel_changes((None, None), at, before, labels[at]))
    session.grow_objects(2)
    assert (labels[at] == 0).all()
    assert labels[6, 11] == 1
