"""What a session's masks change in labels that others write to as well."""

import numpy as np
import pytest
from core.fake_segmenter import FakeSegmenter, disk

from napari_sam.session import ArraySource, Session

SHAPE = (40, 50)


@pytest.fixture
def session(rng):
    return Session(FakeSegmenter(), ArraySource(rng.random(SHAPE)))


@pytest.fixture
def labels():
    return np.zeros(SHAPE, np.int32)


def write(session, labels, object_id=1):
    edit = session.merge(object_id, (), lambda region: labels[region])
    labels[edit.erase] = 0
    labels[edit.paint] = object_id
    return edit


def test_mask_is_painted_and_follows_its_prompts(session, labels):
    click = session.add_point((), (20, 20))
    write(session, labels)
    session.move_point(click, (25, 25))
    write(session, labels)
    np.testing.assert_array_equal(labels == 1, disk(SHAPE, (25, 25), 4))


def test_only_changed_pixels_are_written(session, labels):
    session.add_point((), (20, 20))
    write(session, labels)
    session.add_point((), (20, 30))
    edit = write(session, labels)
    assert len(edit.erase[0]) == 0
    assert len(edit.paint[0]) == disk(SHAPE, (20, 30), 4).sum()
    assert write(session, labels).is_empty


def test_only_the_bounding_box_is_read(session, labels):
    session.add_point((), (20, 20))
    regions = []
    session.merge(1, (), lambda region: regions.append(region) or labels[region])
    assert regions == [(slice(16, 25), slice(16, 25))]


def test_occupied_pixels_are_kept(session, labels):
    labels[:, 20:] = 7
    session.add_point((), (20, 20))
    write(session, labels)
    assert (labels[:, 20:] == 7).all()
    assert labels[20, 19] == 1


def test_overwrite_takes_occupied_pixels(session, labels):
    labels[:, 20:] = 7
    session.overwrite = True
    session.add_point((), (20, 20))
    write(session, labels)
    np.testing.assert_array_equal(labels == 1, disk(SHAPE, (20, 20), 4))


def test_painted_pixels_of_the_object_survive_its_prompts(session, labels):
    labels[2:5, 2:5] = 1
    click = session.add_point((), (20, 20))
    write(session, labels)
    session.remove_point(click)
    write(session, labels)
    assert labels.sum() == 9


def test_pixels_painted_over_by_another_label_are_not_taken_back(session, labels):
    click = session.add_point((), (20, 20))
    write(session, labels)
    labels[20, 20] = 5
    session.remove_point(click)
    write(session, labels)
    assert labels[20, 20] == 5
    assert labels.sum() == 5


def test_prediction_after_an_undone_write_erases_what_the_earlier_one_left(session, labels):
    click = session.add_point((), (20, 20))
    write(session, labels)
    before = labels.copy()
    session.move_point(click, (25, 25))
    write(session, labels)
    labels[:] = before  # napari's undo
    session.move_point(click, (10, 40))
    write(session, labels)
    np.testing.assert_array_equal(labels == 1, disk(SHAPE, (10, 40), 4))


def test_painting_back_what_a_prediction_gave_up_is_painting(session, labels):
    session.add_point((), (20, 20))
    write(session, labels)
    full = labels.copy()
    second = session.add_point((), (20, 23), label=0)
    write(session, labels)
    labels[:] = full  # by the brush
    session.note_painting()
    session.remove_point(second)
    session.prompts = session.prompts.without(session.prompts.ids_of((1, (None, None))))
    write(session, labels)
    kept = disk(SHAPE, (20, 20), 4) & disk(SHAPE, (20, 23), 2)
    np.testing.assert_array_equal(labels == 1, kept)


def test_other_labels_layer_starts_with_nothing_written(session, labels):
    click = session.add_point((), (20, 20))
    write(session, labels)
    session.forget_written()
    other = np.ones_like(labels)
    session.remove_point(click)
    write(session, other)
    assert other.all()
