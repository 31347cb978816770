"""Labels of a movie get one number for each track, as one step."""

from __future__ import annotations

import numpy as np
import pytest
from component_segmenter import ComponentSegmenter, disks
from core.fake_segmenter import FakeSegmenter

from napari_sam.session import ArrayCanvas, ArraySource, PlaneFacts, Session
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
    reported = []
    session.noticed.connect(reported.append)
    session.link_objects()
    assert [np.unique(labels[t, 3:9, 3:10]).tolist() for t in range(3)] == [[1]] * 3
    assert [np.unique(labels[t, 3:9, 25:33]).tolist() for t in range(3)] == [[2]] * 3
    assert reported == ["2 objects linked over time; Ctrl+Z takes it back"]
    assert len(session.journal) == 1
    session.undo()
    assert np.array_equal(labels, swapped())
    session.redo()
    session.link_objects()
    assert reported[-1] == "Every object has one number on all frames already"
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


def test_parents_are_those_that_the_tracks_are_called_by(session, labels):
    """Object 1 divides on frame 2, in the place of 2: both daughters stay what they are."""
    labels[2, 3:9, 25:29], labels[2, 3:9, 29] = 9, 0
    labels[2, 3:9, 30:33] = 10
    session.confirm_division(1, (9, 10), 2)
    assert session.parents == {9: 1, 10: 1}
    session.link_objects()
    assert np.unique(labels[2, 3:9, 25:29]).tolist() == [9]
    assert session.parents == {9: 2, 10: 2}
    session.undo()
    assert session.parents == {9: 1, 10: 1}


def test_an_object_that_gets_a_number_of_its_own_descends_from_none(session, labels):
    labels[:] = 0
    labels[0, :4, 34:39], labels[1, 3:9, 2:8], labels[1:, 3:9, 12:18] = 5, 1, 6
    labels[2, 8:12, 26:31] = 1
    session.confirm_division(5, (1, 6), 1)
    session.link_objects()
    assert np.unique(labels[2]).tolist() == [0, 6, 7]
    assert session.parents == {1: 5, 6: 5}


def test_qualities_and_verdicts_move_with_the_pixels():
    labels = np.zeros((3, *PLANE), np.int32)
    images = np.stack([disks(PLANE, (6, 8, 4), (6, 28, 5))] * 3)
    source = ArraySource(images, contrast_limits=(0, 255))
    session = Session(ComponentSegmenter(), source, canvas=ArrayCanvas(labels))
    session.add_point(0, (6, 8), object_id=1)
    session.propagate(1)
    session.accept_plane(1, 1)
    session.new_object()
    carried = session.quality(1)
    assert len(carried) == 2
    left = labels[2] == 1
    labels[:2][labels[:2] == 1] = 0
    labels[0][disks(PLANE, (6, 8, 4)) > 0] = 7
    labels[1][disks(PLANE, (6, 8, 4)) > 0] = 7
    facts = session.plane_facts(1, 2)
    session.link_objects()
    assert (labels[2][left] == 7).all()
    assert session.plane_facts(7, 2) == facts
    assert session.plane_facts(1, 2) == PlaneFacts()
    session.undo()
    assert session.plane_facts(1, 2) == facts


def test_nothing_is_followed_again_when_numbers_change():
    labels = np.zeros((4, *PLANE), np.int32)
    images = np.stack([disks(PLANE, (6, 8, 4), (6, 28, 5))] * 4)
    source = ArraySource(images, contrast_limits=(0, 255))
    session = Session(ComponentSegmenter(), source, canvas=ArrayCanvas(labels))
    session.add_point(0, (6, 8), object_id=1)
    session.add_point(0, (6, 28), object_id=2)
    session.propagate([1, 2])
    right = labels.copy()
    one, two = right[2] == 1, right[2] == 2
    labels[2][one], labels[2][two] = 2, 1
    session.link_objects()
    assert np.array_equal(labels, right)
    assert session.journal.entries[-1].kind == "linked"
    assert {span.state for span in session.spans()} == {"fresh"}


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
