"""Whatever a user does: undo is exact, labels agree with the journal, locked pixels stay."""

from __future__ import annotations

import time

import numpy as np
import pytest
from core.fake_segmenter import FakeSegmenter
from core.journal_player import UNSHRUNK, Player, assert_same
from core.stepping_executor import SteppingExecutor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_sam.engine import Engine, Outcome
from napari_sam.session import ArrayCanvas, ArraySource, Session, pixel_changes

ACTION = st.tuples(st.integers(0, 55), st.integers(0, 999), st.integers(0, 9999))


@settings(max_examples=40, suppress_health_check=list(HealthCheck), phases=UNSHRUNK)
@given(st.lists(ACTION, min_size=50, max_size=50))
def test_undo_of_an_action_is_exact_and_so_is_redo(actions):
    player = Player()
    for action in actions:
        steps = _steps(player)
        before = player.snapshot()
        player.act(*action)
        if _steps(player)[:-1] != steps or not player.session.can_undo:
            continue  # it was refused, or more than one thing happened
        after = player.snapshot()
        seen = player.session.journal.last_step.kind != "elsewhere"  # a script's work was there
        player.session.undo()
        if seen:
            assert_same(player.snapshot(), before)
        player.session.redo()
        assert_same(player.snapshot(), after)


@settings(max_examples=20, suppress_health_check=list(HealthCheck), phases=UNSHRUNK)
@given(st.lists(ACTION, min_size=40, max_size=40))
def test_everything_is_taken_back_and_made_again(actions):
    player = Player()
    for action in actions:
        player.act(*action)
    while player.session.can_redo:  # the last action may have taken something back
        player.session.redo()
    snapshots = []
    while player.session.can_undo:
        snapshots.append(player.snapshot())
        player.session.undo()
    np.testing.assert_array_equal(player.labels, player.start)
    assert not player.session.prompts.keys
    for snapshot in reversed(snapshots):
        player.session.redo()
        assert_same(player.snapshot(), snapshot)
    assert not player.session.can_redo


@pytest.mark.parametrize("threads", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_labels_agree_with_the_journal_whenever_answers_arrive(seed, threads):
    rng = np.random.default_rng(seed)
    executor = Engine() if threads else SteppingExecutor(rng)
    player = Player(executor)
    player.actions = tuple(one for one in player.actions if one != player.untold)
    for _ in range(100):
        held = player.held()
        numbers = rng.integers((1 << 20,) * 3).tolist()
        kind = rng.random()
        if kind < 0.2:
            player.by_hand = True
            player.session.undo()
        elif kind < 0.3:
            player.by_hand = True
            player.session.redo()
        else:
            player.act(*numbers, wait=False)
        if threads:
            executor.drain()
        else:
            for _ in range(int(rng.integers(5))):
                executor.step()
        player.check(held if kind >= 0.3 else {})
    assert player.session.wait(30)
    while player.session.can_redo:
        player.session.redo()
    assert player.session.wait(30)
    _count(player, executor)
    player.check({})
    end = player.snapshot()
    while player.session.can_undo:
        player.session.undo()
        player.check({})
        executor.drain() if threads else executor.step()
    assert player.session.wait(30)
    np.testing.assert_array_equal(player.labels, player.start)
    assert not player.session.prompts.keys
    while player.session.can_redo:
        player.session.redo()
        executor.drain() if threads else executor.step()
    assert player.session.wait(30)
    _count(player, executor)
    player.check({})
    assert_same(player.snapshot(), end)
    assert all(player.session._state.is_answered(key) for key in player.session.prompts.keys)
    if threads:
        executor.close(5)


@pytest.fixture
def late(rng):
    """Return a session with two objects, of which the second has its mask only after a step."""

    def make(step):
        executor = SteppingExecutor(rng)
        labels = np.zeros((2, 24, 30), np.int32)
        source = ArraySource(np.zeros((2, 24, 30)))
        session = Session(FakeSegmenter(radius=4), source, executor, canvas=ArrayCanvas(labels))
        session.add_point(0, (10, 10), object_id=1)
        assert session.wait()
        session.add_point(0, (10, 13), object_id=2)
        step(session)
        assert session.wait()
        return session, labels

    return make


def test_a_late_mask_is_where_it_was_after_a_deletion_is_taken_back_and_made_again(late):
    session, labels = late(lambda session: session.delete_object(1))
    after = labels.copy()
    session.undo()
    assert session.wait()
    assert (labels == 1).any()
    session.redo()
    assert session.wait()
    np.testing.assert_array_equal(labels, after)  # also where the deleted object had made room
    assert set(np.unique(after)) == {0, 2}


def test_a_mask_that_comes_while_a_step_is_taken_back_lies_over_it_in_the_end(late):
    session, labels = late(lambda session: (session.delete_object(1), session.undo()))
    assert (labels == 2).any()
    session.redo()
    assert session.wait()
    expected, _ = late(lambda session: session.delete_object(1))
    there = expected.canvas.read((0, None, None), (slice(0, 24), slice(0, 30)))
    np.testing.assert_array_equal(labels[0], there)


def test_what_is_made_again_lies_where_it_lay_and_what_came_since_above_it(late):
    session, _ = late(lambda session: session.delete_object(1))
    *_, deletion, mask = session.journal.entries
    session.undo()
    again = session.journal.entries[-1]  # the mask holds, and comes after what is there
    assert (again.first_number, again.came) == (mask.number, again.number)
    session.redo()
    reported = [(entry.first_number, entry.came) for entry in session.journal.entries[-2:]]
    assert reported == [(deletion.number, deletion.number), (mask.number, mask.number)]
    session.undo()
    session.redo()
    assert reported == [(entry.first_number, entry.came) for entry in session.journal.entries[-2:]]


def test_what_was_carried_meanwhile_is_taken_back_with_what_it_lies_over():
    labels = np.zeros((2, 24, 30), np.int32)
    source = ArraySource(np.zeros((2, 24, 30)))
    session = Session(FakeSegmenter(radius=4), source, canvas=ArrayCanvas(labels))
    session.add_point(0, (10, 10), object_id=1)
    session.add_point(1, (10, 13), object_id=2)
    session.undo()
    before = labels[1, 8:12, 8:16].ravel()
    at = np.mgrid[8:12, 8:16].reshape(2, -1)
    pixels = pixel_changes((1, None, None), (at[0], at[1]), before, np.full_like(before, 1))
    session._state.commit("carried", "followed object 1", pixels=tuple(pixels), details={"of": 1})
    carried = labels.copy()
    for _ in range(2):
        session.redo()
        session.undo()
        np.testing.assert_array_equal(labels, carried)
    assert [entry.kind for entry in session.journal.entries] == ["prompts", "mask", "carried"]


def test_labels_that_changed_and_changed_back_are_linked_as_they_are_now(rng):
    executor, held = SteppingExecutor(rng), []
    labels = np.zeros((2, 24, 30), np.int32)
    labels[0, 4:9, 4:9], labels[1, 4:9, 4:9] = 1, 2
    source = ArraySource(np.zeros((2, 24, 30)))
    session = Session(FakeSegmenter(), source, executor, canvas=ArrayCanvas(labels))
    session.add_point(0, (20, 20), object_id=7)
    assert session.wait()
    executor.chore = lambda key, task, done, **_: held.append((task, done))
    session.link_objects()
    session.delete_object(2, 1)
    task, done = held.pop(0)
    found = task(lambda fraction: None)
    session.undo()
    done(Outcome(found))
    assert "linked" not in [entry.kind for entry in session.journal.entries]
    task, done = held.pop(0)  # it is decided again
    done(Outcome(task(lambda fraction: None)))
    assert (labels[:, 5, 5] == 1).all()


def test_a_session_that_is_opened_again_makes_steps_again_exactly(late, tmp_path):
    session, labels = late(lambda session: session.delete_object(1))
    after = labels.copy()
    for _ in range(3):
        session.undo()
    assert session.wait()
    session.redo()
    session.save(tmp_path / "a.napari-sam")
    opened = Session.open(tmp_path / "a.napari-sam", session.source, session.segmenter)
    while opened.can_redo:
        opened.redo()
    shown = opened.canvas.read((0, None, None), (slice(0, 24), slice(0, 30)))
    np.testing.assert_array_equal(shown, after[0])


def test_a_plane_is_written_once_however_many_changes_are_taken_back_there(rng):
    labels = np.zeros((20, 30), np.int32)
    canvas = ArrayCanvas(labels)
    source = ArraySource(np.zeros((20, 30)))
    session = Session(FakeSegmenter(radius=2), source, canvas=canvas)
    changes = []
    for number, row in ((5, 2), (6, 4), (5, 3)):  # they overlap
        before = labels[row : row + 3, 4:9].copy()
        labels[row : row + 3, 4:9] = number
        at = np.mgrid[row : row + 3, 4:9].reshape(2, -1)
        changes += pixel_changes(
            (None, None), (at[0], at[1]), before.ravel(), np.full(15, number, np.int32)
        )
    session.paint(changes)
    painted, writes = labels.copy(), []
    canvas.write = lambda some: writes.append(len(some)) or ArrayCanvas.write(canvas, some)
    session.undo()
    assert not labels.any()
    session.redo()
    np.testing.assert_array_equal(labels, painted)
    assert writes == [1, 1]
    labels[4, 5] = 9  # by somebody else: it is left alone
    session.undo()
    assert session.journal.entries[-1].kind == "elsewhere"
    assert labels[4, 5] == 9


def test_numbers_are_never_given_twice(rng):
    session = Session(FakeSegmenter(), ArraySource(rng.random((30, 30))))
    seen = []
    session.journal.changed.connect(lambda change: seen.extend(e.number for e in change.added))
    for _ in range(3):
        session.add_point((), (5, 5))
        session.undo()
        session.redo()
        session.undo()
    assert len(seen) == len(set(seen))
    session.add_point((), (5, 5))
    assert not session.can_redo


def _count(player: Player, executor: Engine | SteppingExecutor) -> None:
    """Let all labels be counted, which nobody waits for otherwise."""
    deadline = time.monotonic() + 30
    assert player.session.objects is not None  # it is asked for
    while player.session.is_counting:
        assert time.monotonic() < deadline
        executor.drain() if isinstance(executor, Engine) else executor.step()


def _steps(player: Player) -> list[int]:
    return [entry.number for entry in player.session.journal.entries if entry.is_step]
