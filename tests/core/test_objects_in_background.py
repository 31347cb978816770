"""Objects that are searched in large labels, while the session continues."""

import numpy as np
import pytest
from core.fake_segmenter import FakeSegmenter, disk

from napari_sam.engine import Outcome, SynchronousExecutor
from napari_sam.session import ArrayCanvas, ArraySource, Session, objects, pixel_changes

SHAPE = (4, 40, 50)
DISK = disk(SHAPE[1:], (20, 20), 4)


class Searching(SynchronousExecutor):
    """Searches at once, and delivers the result on request."""

    def __init__(self):
        super().__init__()
        self.searches = []

    def chore(self, key, task, done, progress=None, awaited=True):
        found = task(lambda fraction: None)
        self.searches.append(lambda: done(Outcome(value=found)))

    def deliver(self):
        while self.searches:
            self.searches.pop(0)()


@pytest.fixture
def labels():
    return np.zeros(SHAPE, np.int32)


@pytest.fixture
def executor():
    return Searching()


@pytest.fixture
def session(labels, executor, monkeypatch):
    monkeypatch.setattr(objects, "_SEARCHED_AT_ONCE", 0)
    source = ArraySource(np.zeros(SHAPE))
    session = Session(FakeSegmenter(), source, executor, canvas=ArrayCanvas(labels))
    session.add_point(0, (20, 20), object_id=1)
    return session


@pytest.fixture
def errors(session):
    reported = []
    session.failed.connect(reported.append)
    return reported


def paint(session, labels, plane, number):
    region = np.s_[2:4, 2:4]
    before = labels[plane][region].ravel().copy()
    labels[plane][region] = number
    pixels = tuple(x.ravel() for x in np.mgrid[region])
    after = labels[plane][region].ravel()
    session.paint(pixel_changes((plane, None, None), pixels, before, after))


def test_pixels_that_an_object_gets_during_the_search_are_deleted_too(session, labels, executor):
    session.delete_object(1)
    session.add_point(2, (20, 20), object_id=1)
    paint(session, labels, 3, 1)
    executor.deliver()
    assert not labels.any()
    assert not session.prompts.clicks
    session.undo()
    np.testing.assert_array_equal(labels[2] == 1, DISK)
    assert (labels[3] == 1).sum() == 4


def test_pixels_that_come_back_during_the_search_are_deleted_too(session, labels, executor):
    paint(session, labels, 3, 1)
    paint(session, labels, 3, 0)
    session.delete_object(1)
    session.undo()
    executor.deliver()
    assert not labels.any()


def test_nothing_is_merged_into_an_object_that_was_locked_meanwhile(
    session, labels, executor, errors
):
    session.add_point(1, (20, 20), object_id=2)
    session.merge_objects(1, 2)
    session.lock([1])
    executor.deliver()
    np.testing.assert_array_equal(labels[1] == 2, DISK)
    assert "locked" in str(errors[0])


def test_a_number_that_was_taken_meanwhile_is_not_given_to_another_object(
    session, labels, executor, errors
):
    session.renumber(1, 5)
    session.add_point(1, (20, 20), object_id=5)
    executor.deliver()
    np.testing.assert_array_equal(labels[0] == 1, DISK)
    np.testing.assert_array_equal(labels[1] == 5, DISK)
    assert "no object has" in str(errors[0])


def test_a_second_command_does_not_replace_the_first(session, labels, executor):
    session.add_point(1, (20, 20), object_id=2)
    session.delete_object(2)
    session.merge_objects(1, 2)
    assert len(executor.searches) == 2
    executor.deliver()
    assert not labels[1].any()


def test_a_closed_session_deletes_nothing_any_more(session, labels, executor):
    session.delete_object(1)
    session.close(ValueError("closed"))
    executor.deliver()
    np.testing.assert_array_equal(labels[0] == 1, DISK)


@pytest.mark.parametrize("again", [False, True], ids=["the first time", "again"])
def test_a_stroke_in_another_view_counts_once_while_labels_are_counted(labels, executor, again):
    session = Session(None, ArraySource(np.zeros(SHAPE)), executor, canvas=ArrayCanvas(labels))
    assert session.objects == ()
    if again:
        executor.deliver()
        labels[1, 30:32, 30:32] = 5  # by a script, which is counted again
        before = np.zeros(4, np.int32)
        at = tuple(axis.ravel() for axis in np.mgrid[30:32, 30:32])
        session.note_elsewhere(pixel_changes((1, None, None), at, before, before + 5))
    labels[1:3, 6, 2:5] = 3
    before = np.zeros(6, np.int32)
    at = tuple(axis.ravel() for axis in np.mgrid[1:3, 2:5])
    session.paint(pixel_changes((None, 6, None), at, before, before + 3))
    executor.deliver()
    assert not session.is_counting
    row = session.object_row(3)
    assert (row.area, row.planes) == (6, ((1, None, None), (2, None, None)))
