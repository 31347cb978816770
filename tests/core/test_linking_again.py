"""After a correction only objects around it are linked again, with the result of all frames."""

from __future__ import annotations

import numpy as np
import pytest
from core.fake_segmenter import FakeSegmenter

from napari_sam.session import (
    ArrayCanvas,
    ArraySource,
    Session,
    linked,
    linked_around,
    pixel_changes,
)
from napari_sam.session.replaying import replay_entries
from napari_sam.session.state import State
from napari_sam.tracking import LinkSettings

PLANE = (26, 34)
LANES = 4


def place(lane: int, frame: int, half: int | None = None) -> tuple[int, slice, slice]:
    """Where the object of a lane is on a frame; `half` of it if it has divided."""
    first, width = 3 + (frame + lane) % 4, 12 + lane
    if half is not None:
        first, width = (first, width // 2) if half == 0 else (first + width // 2 + 1, width // 2)
    return frame, slice(1 + 6 * lane, 5 + 6 * lane), slice(first, first + width)


def movie(frames: int) -> np.ndarray:
    """Four objects, numbered in each frame by itself; the last divides in the middle."""
    labels = np.zeros((frames, *PLANE), np.int32)
    for t in range(frames):
        numbers = np.random.default_rng(t).permutation(9)[: LANES + 1] + 1
        for lane in range(LANES):
            if lane < LANES - 1 or t < frames // 2:
                labels[place(lane, t)] = numbers[lane]
            else:
                labels[place(lane, t, 0)] = numbers[lane]
                labels[place(lane, t, 1)] = numbers[lane + 1]
    return labels


def session_of(labels: np.ndarray) -> Session:
    return Session(
        FakeSegmenter(2), ArraySource(np.zeros(labels.shape)), canvas=ArrayCanvas(labels)
    )


def linked_session(frames: int = 24) -> tuple[Session, np.ndarray]:
    labels = movie(frames)
    session = session_of(labels)
    session.link_objects()
    assert session.object_ids  # objects are counted from here on
    return session, labels


def paint(session: Session, labels: np.ndarray, where, number: int) -> None:
    """Paint by hand, as a stroke does."""
    before = labels.copy()
    labels[where] = number
    frames = np.flatnonzero((before != labels).any((1, 2))).tolist()
    for t in frames:
        at = np.nonzero(before[t] != labels[t])
        changes = pixel_changes((t, None, None), at, before[t][at], labels[t][at])
        session.paint(changes)


@pytest.fixture
def solved(monkeypatch):
    """The number of frames that each linking has read."""
    counts: list[int] = []
    for module in (linked, linked_around):

        def counting(labels, *rest, link=module.link, **more):
            counts.append(labels.shape[0])
            return link(labels, *rest, **more)

        monkeypatch.setattr(module, "link", counting)
    return counts


@pytest.mark.parametrize("frames", [16, 32])
def test_frames_that_are_linked_again_do_not_grow_with_the_movie(solved, frames):
    session, labels = linked_session(frames)
    linked_before = labels.copy()
    one = int(labels[place(0, 8)][0, 0])
    paint(session, labels, place(0, 8), 90)
    session.link_objects()
    assert solved == [frames, 7]  # three before and behind: gaps of two frames are bridged
    assert np.array_equal(labels, linked_before)
    assert session.journal.entries[-1].details["frames"] == [8]
    session.renumber(one, 70)  # no link changes
    session.link_objects()
    session.delete_object(70)
    session.link_objects()
    assert solved == [frames, 7]


def test_tracks_that_were_right_from_the_start_are_linked_once(solved):
    labels = linked_session(16)[1]
    session = session_of(labels)
    session.link_objects()
    session.link_objects()
    assert solved == [16, 16]
    assert not len(session.journal)
    paint(session, labels, place(0, 8), 90)
    session.link_objects()
    assert solved == [16, 16, 7]
    session.undo()
    session.undo()
    paint(session, labels, place(1, 3), 91)
    session.link_objects()
    assert solved == [16, 16, 7, 7]


def test_other_settings_or_a_wish_or_labels_that_nobody_knows_link_all(solved):
    session, labels = linked_session(16)
    paint(session, labels, place(0, 8), 90)
    session.link_objects(settings=LinkSettings(max_gap=1))
    paint(session, labels, place(1, 8), 91)
    session.link_objects(settings=LinkSettings(max_gap=1), everything=True)
    assert solved == [16, 16, 16]
    paint(session, labels, place(1, 8), 92)
    labels[place(2, 9)] = 93  # by a script, without a report
    session.link_objects(settings=LinkSettings(max_gap=1))
    assert solved[3:] == [5, 16]
    assert "frames" not in session.journal.entries[-1].details
    assert len(np.unique(labels[place(2, 9)])) == 1
    assert 93 not in labels


def test_two_long_tracks_that_are_joined_have_the_number_of_the_longer(solved):
    labels = movie(20)
    for t in range(7, 11):
        labels[place(0, t)] = 0
    session = session_of(labels)
    session.link_objects()
    first, second = (int(labels[place(0, t)][0, 0]) for t in (0, 19))
    assert first != second
    before = labels.copy()
    for t in (8, 9):
        paint(session, labels, place(0, t), 80)
    session.link_objects()
    assert solved[1:] == [8]
    expected = np.where(before == first, second, before)
    for t in (8, 9):
        expected[place(0, t)] = second
    assert np.array_equal(labels, expected)
    session.undo()
    assert (labels[place(0, 8)] == 80).all()
    assert np.array_equal(labels[:7], before[:7])


def test_children_far_away_follow_their_parent_that_is_called_otherwise(solved):
    session, labels = linked_session(30)
    one = int(labels[place(3, 14)][0, 0])
    ids = {int(labels[place(3, 15, half)][0, 0]) for half in (0, 1)}
    daughters = session.confirm_division(one, sorted(ids), 15)
    assert set(session.parents) == set(daughters)
    session.link_objects()
    assert set(session.parents.values()) == {one}
    for t in range(8, 12):  # what is left before the division is another track then
        paint(session, labels, place(3, t), 0)
    session.link_objects()
    assert solved[-1] == 10  # up to frame 14: the daughters are not read
    parent = int(labels[place(3, 14)][0, 0])
    assert (labels[place(3, 0)] == one).all()
    assert parent != one
    assert session.parents == dict.fromkeys(daughters, parent)


def act(session: Session, labels: np.ndarray, rng: np.random.Generator) -> None:
    """Correct something at random."""
    ids = [int(i) for i in np.unique(labels) if i]
    t, kind = int(rng.integers(len(labels))), int(rng.integers(8))
    here = [int(i) for i in np.unique(labels[t]) if i]
    one, other = (int(i) for i in rng.permutation(ids)[:2])
    if kind == 0 and here:
        session.delete_object(int(rng.choice(here)), t)
    elif kind == 1 and here:  # an object of a frame by another number
        where = labels[t] == int(rng.choice(here))
        paint(session, labels, (t, where), int(rng.integers(20, 30)))
    elif kind == 2 and len(here) > 1:  # two with each other's numbers
        a, b = (int(i) for i in rng.permutation(here)[:2])
        of_a, of_b = labels[t] == a, labels[t] == b
        paint(session, labels, (t, of_a), 200)
        paint(session, labels, (t, of_b), a)
        paint(session, labels, (t, of_a), b)
    elif kind == 3:
        session.merge_objects(one, other)
    elif kind == 4:
        session.renumber(one, 300 + int(rng.integers(99)))
    elif kind == 5:
        session.delete_object(one)
    elif kind == 6:
        on = [t for t in range(len(labels)) if (labels[t] == one).any()]
        if len(on) > 2:
            session.confirm_division(one, (one, other), on[len(on) // 2])
    elif session.parents:
        child = sorted(session.parents)[0]
        session.reject_division(session.parents[child], [child])


@pytest.mark.parametrize("seed", range(8))
def test_whatever_is_corrected_is_linked_as_if_all_frames_were(seed):
    (session, labels), (whole, all_labels) = linked_session(), linked_session()
    for turn in range(3):
        for one, shown in ((session, labels), (whole, all_labels)):
            rng = np.random.default_rng((seed, turn))
            for _ in range(2):
                try:
                    act(one, shown, rng)
                except ValueError:  # of what can't be done
                    continue
        np.testing.assert_array_equal(labels, all_labels)
        session.link_objects()
        whole.link_objects(everything=True)
        np.testing.assert_array_equal(labels, all_labels)
        assert session.parents == whole.parents


def test_an_object_that_was_locked_is_linked_once_it_is_not():
    labels = movie(12)
    session = session_of(labels)
    labels[place(0, 0)] = 50
    session.lock([50])
    session.link_objects()
    assert (labels[place(0, 0)] == 50).all()
    session.lock([50], False)
    session.link_objects()
    assert (labels[place(0, 0)] == labels[place(0, 1)][0, 0]).all()


def test_it_is_undone_saved_and_made_again(tmp_path):
    labels = movie(12)
    start = labels.copy()
    session = session_of(labels)
    session.link_objects()
    before = labels.copy()
    paint(session, labels, place(1, 5), 77)
    session.undo()
    session.redo()
    painted = labels.copy()
    session.link_objects()
    assert session.journal.entries[-1].details["frames"] == [5]
    assert np.array_equal(labels, before)
    session.undo()
    assert np.array_equal(labels, painted)
    session.redo()
    assert np.array_equal(labels, before)
    again = start.copy()
    state = State(ArrayCanvas(again))
    replay_entries(session.journal.entries, state, session.source, None, None, None)
    assert np.array_equal(again, labels)
    assert state.journal.entries[-1].details["frames"] == [5]
    session.save(tmp_path / "a.napari-sam")
    source, canvas = ArraySource(np.zeros(labels.shape)), ArrayCanvas(np.zeros_like(labels))
    opened = Session.open(tmp_path / "a.napari-sam", source, canvas=canvas)
    assert np.array_equal(canvas.array, labels)
    paint(opened, canvas.array, place(2, 9), 78)
    opened.link_objects()
    assert opened.journal.entries[-1].details["frames"] == [9]
    assert np.array_equal(canvas.array, before)
