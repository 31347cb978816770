"""Divisions that a user confirms or rejects: one step, kept, undone, saved, replayed, exported."""

from __future__ import annotations

import numpy as np
import pytest
from core.fake_segmenter import FakeSegmenter
from core.stepping_executor import SteppingExecutor

from napari_sam.session import ArrayCanvas, ArraySource, Session

PLANE = (12, 24)


def movie() -> np.ndarray:
    """Object 1 ends on frame 1, and 2 and 3 begin; object 5 goes on beside 6, which begins."""
    labels = np.zeros((4, *PLANE), np.int32)
    labels[:2, 2:6, 2:8] = 1
    labels[2:, 2:6, 2:5] = 2
    labels[2:, 2:6, 6:9] = 3
    labels[:2, 2:6, 14:20] = 5
    labels[2:, 2:6, 14:17] = 5
    labels[2:, 2:6, 18:21] = 6
    return labels


@pytest.fixture
def labels():
    return movie()


@pytest.fixture
def session(labels):
    source = ArraySource(np.zeros(labels.shape))
    return Session(FakeSegmenter(3), source, canvas=ArrayCanvas(labels))


def test_confirmed_daughters_know_their_parent_and_undo_takes_it_back(session, labels):
    assert session.confirm_division(1, (2, 3), 2) == (2, 3)
    assert session.parents == {2: 1, 3: 1}
    assert np.array_equal(labels, movie())
    session.undo()
    assert session.parents == {}
    session.redo()
    assert session.parents == {2: 1, 3: 1}


def test_number_that_goes_on_in_a_daughter_becomes_another_one(session, labels):
    click = session.add_point(2, (3, 15), object_id=5)
    before = labels.copy()
    one, other = session.confirm_division(5, (5, 6), 2)
    assert (one, other) == (7, 6)
    assert session.parents == {7: 5, 6: 5}
    assert np.array_equal(labels == 7, (before == 5) & (np.arange(4) >= 2)[:, None, None])
    assert np.array_equal(labels[:2], before[:2])
    assert [c.id for c in session.prompts.group((7, (2, None, None))).clicks] == [click]
    session.undo()
    assert np.array_equal(labels, before)
    assert session.prompts.group((5, (2, None, None))).clicks


def test_later_children_descend_from_the_daughter_that_they_come_from():
    labels = np.zeros((6, *PLANE), np.int32)
    labels[:, 2:6, 2:5], labels[4:, 2:6, 6:9], labels[2:, 2:6, 14:17] = 1, 2, 5
    source = ArraySource(np.zeros(labels.shape))
    session = Session(FakeSegmenter(3), source, canvas=ArrayCanvas(labels))
    assert session.confirm_division(1, (1, 2), 4) == (6, 2)
    assert session.confirm_division(1, (1, 5), 2) == (7, 5)
    assert session.parents == {6: 7, 2: 7, 7: 1, 5: 1}
    session.undo()
    assert session.parents == {6: 1, 2: 1}


@pytest.mark.parametrize(
    ("parent", "daughters", "frame", "words"),
    [
        (1, (2, 2), 2, "two daughters"),
        (1, (2, 5), 2, "expected daughter 5 from frame 2 on"),
        (5, (2, 6), 2, "expected object 5 to end before frame 2"),
        (2, (1, 3), 2, "expected object 2 on frames before 2"),
        (9, (2, 3), 2, "got none"),
        (1, (2, 3), 0, "frames 1 to 3"),
    ],
)
def test_what_is_no_division_is_refused(session, labels, parent, daughters, frame, words):
    with pytest.raises(ValueError, match=words):
        session.confirm_division(parent, daughters, frame)
    assert np.array_equal(labels, movie())
    assert not len(session.journal)


def test_locked_objects_do_not_divide(session):
    session.lock([3])
    with pytest.raises(ValueError, match="locked"):
        session.confirm_division(1, (2, 3), 2)


def test_a_rejected_division_is_remembered(session):
    session.reject_division(5, (5, 6))
    assert session.facts(6).parent == 0
    assert session.facts(5).parent is None
    assert session.parents == {}
    with pytest.raises(ValueError, match="none but itself"):
        session.reject_division(5, (5,))


def test_missing_or_locked_daughters_can_not_be_rejected(session):
    with pytest.raises(ValueError, match="expected objects that are there, got object 77"):
        session.reject_division(5, (77,))
    session.lock([6])
    with pytest.raises(ValueError, match="object 6, which is locked"):
        session.reject_division(5, (6,))
    assert session.facts(6).parent is None


def test_a_confirmed_division_survives_that_objects_are_linked_again(session, labels):
    one, other = session.confirm_division(5, (5, 6), 2)
    shown = labels.copy()
    session.link_objects()
    assert session.parents == {one: 5, other: 5}
    for number in (one, other, 5):
        assert np.array_equal(labels == number, shown == number)
    assert (labels[2:] == 1).any()  # what nobody has confirmed is linked


def test_children_follow_what_becomes_of_their_parent(session):
    session.confirm_division(1, (2, 3), 2)
    session.renumber(1, 30)
    assert session.parents == {2: 30, 3: 30}
    session.merge_objects(5, 30)
    assert session.parents == {2: 5, 3: 5}
    session.delete_object(5)
    assert session.parents == {}
    for _ in range(3):
        session.undo()
    assert session.parents == {2: 1, 3: 1}


def test_a_child_that_is_merged_with_its_parent_is_no_child(session):
    session.confirm_division(1, (2, 3), 2)
    session.merge_objects(2, 1)
    assert session.parents == {3: 2}


def test_divisions_are_saved(session, tmp_path):
    session.confirm_division(1, (2, 3), 2)
    session.reject_division(5, (6,))
    session.save(tmp_path / "a.napari-sam")
    again = Session.open(tmp_path / "a.napari-sam", ArraySource(np.zeros((4, *PLANE))))
    assert again.parents == {2: 1, 3: 1}
    assert again.facts(6).parent == 0
    again.undo()
    again.undo()
    assert again.parents == {}


def test_time_is_the_first_axis_by_default(labels):
    volumes = np.stack([labels, labels], axis=1)
    session = Session(None, ArraySource(np.zeros(volumes.shape)), canvas=ArrayCanvas(volumes))
    assert session.confirm_division(5, (5, 6), 2) == (7, 6)
    assert (volumes[2:, :, 3, 15] == 7).all()
    with pytest.raises(ValueError, match="axis of time"):
        session.confirm_division(1, (2, 3), 2, axis=3)


def places(session) -> dict[tuple[int, int], tuple[float, ...]]:
    points = session.tracks
    rows = zip(points.objects.tolist(), points.frames.tolist(), points.places.tolist(), strict=True)
    return {(i, t): tuple(place) for i, t, place in rows}


def test_points_are_the_positions_of_objects_on_each_frame(session, labels):
    assert session.tracks is None
    session.watch_tracks()
    found = places(session)
    assert list(found) == sorted(found)
    assert found[1, 0] == (3.5, 4.5)
    assert found[6, 3] == (3.5, 19)
    assert len(found) == 2 * 1 + 4 * 1 + 3 * 2


def test_points_and_suggestions_follow_every_change(session, labels):
    reported = []
    session.tracks_changed.connect(lambda: reported.append(True))
    session.watch_tracks()
    assert [(one.parent, one.daughters) for one in session.suggested_divisions()] == [
        (1, (2, 3)),
        (5, (5, 6)),
    ]
    session.delete_object(3)
    assert (3, 2) not in places(session)
    assert [one.parent for one in session.suggested_divisions()] == [5]
    session.undo()
    session.confirm_division(1, (2, 3), 2)
    assert [one.parent for one in session.suggested_divisions()] == [5]
    session.reject_division(5, (5, 6))
    assert session.suggested_divisions() == ()
    session.undo()
    assert [one.parent for one in session.suggested_divisions()] == [5]
    assert len(reported) >= 5
    session.stop_watching_tracks()
    assert session.tracks is None


def test_only_frames_that_changed_are_read_again(labels):
    read = []

    class Watched(ArrayCanvas):
        def read(self, plane, region):
            read.append(plane[0])
            return super().read(plane, region)

    session = Session(None, ArraySource(np.zeros(labels.shape)), canvas=Watched(labels))
    session.watch_tracks()
    session.delete_object(3, 2)
    read.clear()
    session.undo()
    assert set(read) == {2}


@pytest.mark.parametrize("seed", [12, 19, 24, 48])
def test_every_frame_is_read_where_watching_restarts_meanwhile(labels, seed):
    rng = np.random.default_rng(seed)
    executor = SteppingExecutor(rng)
    source = ArraySource(np.zeros(labels.shape))
    session = Session(None, source, executor, canvas=ArrayCanvas(labels))
    session.delete_object(6)
    assert session.wait(10)
    session.watch_tracks()
    for _ in range(rng.integers(3)):
        executor.step()
    session.watch_tracks(spacing=(2, 1))
    for _ in range(rng.integers(6)):
        executor.step()
    session.undo()
    assert executor.wait(background=True)
    assert len(places(session)) == 2 * 1 + 4 * 1 + 3 * 2


def test_points_of_volumes_have_a_depth(labels):
    volumes = np.stack([labels, labels, np.zeros_like(labels)], axis=1)
    session = Session(None, ArraySource(np.zeros(volumes.shape)), canvas=ArrayCanvas(volumes))
    session.watch_tracks(spacing=(5, 1, 1))
    assert places(session)[1, 0] == (0.5, 3.5, 4.5)
    assert len(session.suggested_divisions()) == 2
    with pytest.raises(ValueError, match="3 positive pixel sizes"):
        session.watch_tracks(spacing=(1, 1))
