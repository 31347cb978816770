"""Labels of a movie get one number for each track, as one step."""

from __future__ import annotations

import numpy as np
import pytest
from core.fake_segmenter import FakeSegmenter

from napari_sam.session import ArrayCanvas, ArraySource, Session
from napari_sam.session.replaying import replay_entries
from napari_sam.session.state import State

PLANE = (14, 40)


def swapped() -> np.ndarray:
    """Two objects that stay where they are, with each other's numbers on frame 1, and new ones."""
    labels = np.zeros((3, *PLANE), np.int32)
    for t, (left, right) in enumerate(((1, 2), (2, 1), (8, 9))):
        labels[t, 3:9, 3:10], labels[t, 3:9, 25:33] = left, right
    return labels


@pytest.fixture
def labels():
    return swapped()


@pytest.fixture
def session(labels):
    source = ArraySource(np.zeros(labels.shape))
    return Session(FakeSegmenter(2), source, canvas=ArrayCanvas(labels))


def test_objects_have_one_number_on_all_frames_and_undo_brings_the_others_back(session, labels):
    told = []
    session.noticed.connect(told.append)
    session.link_objects()
    assert [np.unique(labels[t, 3:9, 3:10]).tolist() for t in range(3)] == [[1]] * 3
    assert [np.unique(labels[t, 3:9, 25:33]).tolist() for t in range(3)] == [[2]] * 3
    assert told == ["2 objects linked over time; Ctrl+Z takes it back"]
    assert len(session.journal) == 1
    session.undo()
    assert np.array_equal(labels, swapped())
    session.redo()
    session.link_objects()
    assert told[-1] == "Every object has one number on all frames already"
    assert len(session.journal) == 1


def test_prompts_and_facts_go_with_the_pixels(session, labels):
    click = session.add_point(1, (5, 5), object_id=2)
    session.set_classes([])
    session.accept([8])
    before = labels.copy()
    session.link_objects()
    group = session.prompts.group((1, (1, None, None)))
    assert [one.id for one in group.clicks] == [click]
    assert {one.object_id for one in group.clicks} == {1}
    assert not session.prompts.group((2, (1, None, None))).clicks
    assert session.facts(8).accepted is None
    session.undo()
    assert np.array_equal(labels, before)
    assert session.prompts.group((2, (1, None, None))).clicks
    assert session.facts(8).accepted


def test_an_object_far_away_with_the_same_number_gets_one_of_its_own(session, labels):
    labels[2, 3:9, 3:10] = 0
    labels[2, 3:9, 25:33] = 0
    labels[2, 10:12, 15:18] = 1
    session.link_objects()
    assert np.unique(labels[2]).tolist() == [0, 3]
    assert np.unique(labels[1, 3:9, 3:10]).tolist() == [1]


def test_locked_objects_stay(session, labels):
    session.lock([8])
    session.link_objects()
    assert (labels[2, 3:9, 3:10] == 8).all()
    assert (labels[:2, 3:9, 3:10] == 1).all()


def test_it_is_saved(session, labels, tmp_path):
    session.link_objects()
    session.save(tmp_path / "a.napari-sam")
    canvas = ArrayCanvas(np.zeros_like(labels))
    again = Session.open(
        tmp_path / "a.napari-sam", ArraySource(np.zeros(labels.shape)), canvas=canvas
    )
    assert np.array_equal(canvas.array, labels)
    again.undo()
    assert np.array_equal(canvas.array, swapped())


def test_links_and_divisions_are_made_again(session, labels):
    labels[2, 3:9, 3:6], labels[2, 3:9, 6], labels[2, 3:9, 7:10] = 20, 0, 21
    start = labels.copy()
    session.link_objects()
    session.confirm_division(1, np.unique(labels[2, 3:9, 3:10])[1:].tolist(), 2)
    assert len(session.parents) == 2
    again = start.copy()
    state = State(ArrayCanvas(again))
    replay_entries(session.journal.entries, state, session.source, None, None, None)
    assert np.array_equal(again, labels)
    facts = {i: known.parent for i, known in state.all_facts.items() if known.parent}
    assert facts == session.parents
