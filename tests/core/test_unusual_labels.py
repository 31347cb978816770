"""Labels that refuse, that others change meanwhile, and that hold what sessions don't expect."""

import numpy as np
import pytest
from core.fake_segmenter import FakeSegmenter, disk
from core.stepping_executor import SteppingExecutor

from napari_sam.io.session_file import SessionFile
from napari_sam.session import (
    ArrayCanvas,
    ArraySource,
    Keeping,
    Session,
    pixel_changes,
    read_session,
)

SHAPE = (40, 50)
PLANE = (None, None)


def session_on(labels, shape=SHAPE):
    return Session(FakeSegmenter(), ArraySource(np.zeros(shape)), canvas=ArrayCanvas(labels))


def paint(session, labels, region, number, plane=PLANE):
    """Paint as a person would: the labels show it before the session is told."""
    where = np.zeros(labels.shape, bool)
    where[region] = True
    pixels = np.nonzero(where)
    before = labels[pixels]
    labels[pixels] = number
    session.paint(pixel_changes(plane, pixels, before, labels[pixels]))


def reopened(session, tmp_path):
    session.save(tmp_path / "a.napari-sam")
    return read_session(tmp_path / "a.napari-sam", session.source)


@pytest.mark.parametrize(("before", "painted"), [(0, -1), (-1, 3), (-5, -1)])
def test_a_session_with_negative_labels_is_saved_and_opened(before, painted, tmp_path):
    labels = np.full(SHAPE, before, np.int32)
    session = session_on(labels)
    paint(session, labels, np.s_[3:6, 3:6], painted)
    (shown,) = reopened(session, tmp_path).labels
    np.testing.assert_array_equal(shown.values[shown.known], labels[shown.region][shown.known])
    session.undo()
    assert (labels == before).all()


def test_what_is_painted_outside_of_the_image_does_not_spoil_the_session(tmp_path):
    labels = np.zeros((60, 60), np.int32)
    session = session_on(labels)
    messages = []
    session.noticed.connect(messages.append)
    paint(session, labels, np.s_[50:55, 3:6], 1)
    assert not len(session.journal)
    paint(session, labels, np.s_[38:42, 3:6], 1)
    (entry,) = reopened(session, tmp_path).entries
    assert entry.pixels[0].region == (38, 3, 2, 3)
    assert [sentence.split()[0] for sentence in messages] == ["15", "6"]


def test_nothing_is_made_again_over_what_others_have_changed_meanwhile():
    labels = np.zeros(SHAPE, np.int32)
    session = session_on(labels)
    session.add_point((), (20, 20))
    session.clear(())
    session.undo()
    labels[20, 20] = 7
    shown = labels.copy()
    session.redo()
    np.testing.assert_array_equal(labels, shown)
    assert "elsewhere" in session.next_undo
    assert not session.can_redo
    session.undo()
    np.testing.assert_array_equal(labels == 1, disk(SHAPE, (20, 20), 4))


def refusing(session, monkeypatch):
    def refuse(writes):
        raise OSError("the disk is full")

    monkeypatch.setattr(session.canvas, "write", refuse)


def test_a_refused_mask_is_not_written_after_its_click_was_taken_back(monkeypatch):
    labels = np.zeros(SHAPE, np.int32)
    session = session_on(labels)
    session.add_point((), (10, 10))
    before, mask = labels.copy(), session.mask(1, ())
    with monkeypatch.context() as patched:
        refusing(session, patched)
        session.add_point((), (10, 30))
        session.undo()
    session.retry_masks()
    np.testing.assert_array_equal(labels, before)
    np.testing.assert_array_equal(session.mask(1, ()), mask)


def test_a_first_refused_mask_goes_with_its_click(monkeypatch):
    labels = np.zeros(SHAPE, np.int32)
    session = session_on(labels)
    with monkeypatch.context() as patched:
        refusing(session, patched)
        session.add_point((), (10, 30))
        assert session.mask(1, ()).any()
        session.undo()
    session.retry_masks()
    assert not labels.any()
    assert not session.mask(1, ()).any()


def test_a_refused_mask_that_is_written_later_is_taken_back_to_what_was_before(monkeypatch):
    labels = np.zeros(SHAPE, np.int32)
    session = session_on(labels)
    session.add_point((), (10, 10))
    before, mask = labels.copy(), session.mask(1, ())
    with monkeypatch.context() as patched:
        refusing(session, patched)
        session.add_point((), (10, 30))
    session.retry_masks()
    assert labels[10, 30] == 1
    session.undo()
    np.testing.assert_array_equal(labels, before)
    np.testing.assert_array_equal(session.mask(1, ()), mask)


def test_undo_keeps_what_is_known_of_masks_that_came_later(rng):
    labels = np.zeros(SHAPE, np.int32)
    executor = SteppingExecutor(rng)
    source = ArraySource(np.zeros(SHAPE))
    session = Session(FakeSegmenter(), source, executor, canvas=ArrayCanvas(labels))
    session.add_point((), (10, 10), object_id=2)
    session.wait()
    paint(session, labels, np.s_[30:33, 30:33], 4)
    session.move_point(1, (10, 30))
    session.merge_objects(2, 4)
    session.lock([9])
    session.wait()  # the mask of the moved click comes after both
    session.undo()
    session.undo()
    session.wait()
    messages = []
    session.journal.changed.connect(lambda change: messages.extend(e.kind for e in change.added))
    session.move_point(1, (20, 20))
    session.wait()
    assert "elsewhere" not in messages
    np.testing.assert_array_equal(labels == 2, disk(SHAPE, (20, 20), 4))


def test_a_mask_that_waited_for_an_unlocked_object_is_taken_back_with_the_unlocking(rng):
    labels = np.zeros(SHAPE, np.int32)
    executor = SteppingExecutor(rng)
    source = ArraySource(np.zeros(SHAPE))
    session = Session(FakeSegmenter(), source, executor, canvas=ArrayCanvas(labels))
    session.add_point((), (20, 20))
    session.lock([1])
    session.wait()
    assert not labels.any()
    for _ in range(2):
        session.lock([1], False)
        np.testing.assert_array_equal(labels == 1, disk(SHAPE, (20, 20), 4))
        session.undo()
        assert not labels.any()
        assert session.facts(1).locked
    session.redo()
    np.testing.assert_array_equal(labels == 1, disk(SHAPE, (20, 20), 4))


def test_labels_that_are_picked_after_others_refused_a_mask_come_back_as_they_were(
    tmp_path, monkeypatch
):
    session = session_on(np.zeros(SHAPE, np.int32))
    path = tmp_path / "kept.napari-sam"
    keeping = Keeping(session, SessionFile.create(path))
    with monkeypatch.context() as patched:
        refusing(session, patched)
        session.add_point((), (10, 30))
        labels = np.zeros(SHAPE, np.int32)
        session.canvas = ArrayCanvas(labels)
    assert labels.any()
    assert keeping.recorder.flush(10)
    session.undo()
    assert keeping.close()
    assert not labels.any()
    for one in read_session(path, session.source).labels:
        assert not one.values.any()
