"""The proofreading queue: what is offered, in which order, and what becomes of it."""

import numpy as np
import pytest
from component_segmenter import ComponentSegmenter, disks

from napari_sam.session import ArrayCanvas, ArraySource, Change, ObjectFacts, Session
from napari_sam.session.pointing import ClickMeaning

SHAPE = (40, 60)
PLACES = {1: (10, 10, 4), 2: (10, 30, 4), 3: (30, 10, 4), 4: (30, 30, 4), 5: (20, 50, 4)}
SCORES = {1: 0.9, 2: 0.5, 3: 0.95, 4: 0.7, 5: 0.8}
WORST_FIRST = [2, 4, 5, 1, 3]


@pytest.fixture
def labels():
    labels = np.zeros(SHAPE, np.int32)
    for number, place in PLACES.items():
        labels[disks(SHAPE, place) > 0] = number
    return labels


@pytest.fixture
def session(labels):
    source = ArraySource(disks(SHAPE, *PLACES.values()), contrast_limits=(0, 255))
    session = Session(ComponentSegmenter(dense=True), source, canvas=ArrayCanvas(labels))
    session.reserve(5)
    find(session, SCORES)
    return session


@pytest.fixture
def queue(session):
    session.queue.begin()
    return session.queue


def find(session, scores):
    """Have the session know objects as a run would leave them."""
    facts = tuple(
        Change(i, ObjectFacts(), ObjectFacts(origin="found", score=s)) for i, s in scores.items()
    )
    session._state.commit("found", "found objects", facts=facts)


def offered(queue) -> list[int]:
    return [item.object_id for item in queue.items]


def test_a_queue_offers_the_most_doubtful_object_first(session, queue):
    assert offered(queue) == WORST_FIRST
    assert queue.current.object_id == session.object_id == 2
    assert queue.current.box == (6, 26, 14, 34)
    assert queue.current.plane == (None, None)
    assert queue.current.reasons == ("the model expects an IoU of 0.50",)


def test_accepting_offers_the_next_and_is_undone_like_anything_else(session, queue):
    queue.accept()
    assert session.facts(2).accepted
    assert session.object_id == 4
    assert offered(queue) == [4, 5, 1, 3]
    session.undo()
    assert offered(queue) == WORST_FIRST
    assert session.object_id == 2
    session.redo()
    assert offered(queue) == [4, 5, 1, 3]


def test_deleting_takes_the_pixels_and_offers_the_next(session, queue, labels):
    queue.delete()
    assert not (labels == 2).any()
    assert session.object_id == 4
    assert queue.progress.done == 1
    assert queue.progress.total == 5
    session.undo()
    assert (labels == 2).any()
    assert 2 in offered(queue)


def test_all_that_are_likelier_right_are_accepted_in_one_step(session, queue):
    queue.next()
    queue.next()
    assert queue.rest == 3
    queue.accept_rest()
    assert [session.facts(i).accepted for i in (1, 3, 5)] == [True] * 3
    assert offered(queue) == [2, 4]
    assert session.object_id == 2
    session.undo()
    assert offered(queue) == WORST_FIRST


def test_what_is_surely_right_is_accepted_unseen_in_one_step(session, queue):
    sure = [item.object_id for item in queue.items if item.is_sure]
    assert set(sure) == {1, 3, 5}
    assert queue.sure == 3
    queue.accept_sure()
    assert offered(queue) == [2, 4]
    assert session.object_id == 2


def test_what_is_hardly_right_is_deleted_in_one_step(session, queue, labels):
    assert queue.hopeless == 1
    queue.delete_hopeless()
    assert np.unique(labels).tolist() == [0, 1, 3, 4, 5]
    assert offered(queue) == [4, 5, 1, 3]
    assert session.object_id == 4
    session.undo()
    assert np.unique(labels).tolist() == [0, 1, 2, 3, 4, 5]
    assert offered(queue) == WORST_FIRST


def test_one_that_was_corrected_is_accepted_by_going_on(session, queue):
    queue.fix()
    assert queue.is_fixing
    session.add_point((), (10, 30))
    assert queue.is_fixing
    queue.next()
    assert not queue.is_fixing
    assert session.object_row(2).state == "accepted"
    assert offered(queue) == [4, 5, 1, 3]


@pytest.mark.parametrize("stroke", [False, True])
def test_clicks_correct_the_object_although_each_begins_one(session, queue, stroke):
    session.new_each_click = True
    background = (2, 58)
    assert session.object_at((), background) == 0
    assert session.click_meaning((), background).action == "new"
    queue.fix()
    if stroke:
        assert session.object_for_stroke((), [background, background]) == 2
    else:
        assert session.click((), background) == ClickMeaning("refine", 2)
    queue.accept()
    assert session.facts(2).accepted
    assert session.click_meaning((), (38, 2)).action == "new"


def test_one_that_is_passed_over_comes_again_after_the_last(session, queue):
    for _ in WORST_FIRST[1:]:
        queue.next()
    assert session.object_id == 3
    queue.next()
    assert session.object_id == 2
    queue.previous()
    assert session.object_id == 3


def test_an_object_that_is_picked_is_offered(session, queue):
    session.object_id = 1
    assert queue.current.object_id == 1
    queue.next()
    assert session.object_id == 3
    session.new_object()
    assert queue.current is None
    with pytest.raises(ValueError, match="go to the next first"):
        queue.accept()
    queue.next()
    assert session.object_id == 2


def test_a_queue_that_was_left_goes_on_where_it_was(session, queue):
    queue.accept()
    queue.end()
    assert not queue.is_open
    assert queue.items == ()
    with pytest.raises(ValueError, match="begin first"):
        queue.accept()
    queue.begin()
    assert offered(queue) == [4, 5, 1, 3]
    assert (queue.progress.done, queue.progress.total) == (1, 5)


def test_what_is_left_survives_saving(session, queue, tmp_path):
    queue.accept()
    session.save(tmp_path / "one.napari-sam")
    again = Session.open(tmp_path / "one.napari-sam", session.source, session.segmenter)
    again.queue.begin()
    assert offered(again.queue) == [4, 5, 1, 3]


def test_objects_that_a_person_made_or_locked_are_not_offered(session):
    session.add_point((), (20, 50), object_id=7)
    session.lock([4])
    session.queue.begin()
    assert set(offered(session.queue)) == {1, 2, 3, 5}


def test_objects_that_are_found_while_it_is_open_are_offered_too(session, queue, labels):
    queue.accept_sure()
    labels[2:6, 50:54] = 9
    find(session, {9: 0.5})
    session.journal_changed.emit()
    assert set(offered(queue)) == {2, 4, 9}
    assert session.object_id == 2


def test_undoing_what_found_them_empties_the_queue(session, queue):
    session.undo()
    assert queue.items == ()
    assert queue.current is None


def test_a_stopwatch_counts_the_seconds_that_an_object_takes(session, monkeypatch):
    now = [0.0]
    queue = session.queue
    monkeypatch.setattr(queue._watch, "_clock", lambda: now[0])
    queue.begin()
    assert queue.progress.seconds is None
    now[0] = 3.0
    queue.accept()
    now[0] = 8.0
    queue.delete()
    assert queue.progress.seconds == 4.0
    now[0] = 1000.0  # a pause
    queue.accept()
    assert queue.progress.seconds == pytest.approx(8 / 3)


def test_without_labels_the_queue_can_not_begin():
    session = Session(ComponentSegmenter(), ArraySource(np.zeros(SHAPE)))
    with pytest.raises(ValueError, match="canvas"):
        session.queue.begin()


def test_in_a_stack_an_object_is_offered_where_it_is_worst():
    labels = np.zeros((3, *SHAPE), np.int32)
    for z in range(3):
        labels[z][disks(SHAPE, PLACES[1]) > 0] = 1
        labels[z][disks(SHAPE, PLACES[4]) > 0] = 4
    labels[1][disks(SHAPE, PLACES[4]) > 0] = 0
    labels[1, 30:40, 29:32] = 4  # a sliver at the border
    session = Session(
        ComponentSegmenter(), ArraySource(np.zeros(labels.shape)), canvas=ArrayCanvas(labels)
    )
    find(session, {1: 0.8, 4: 0.8})
    session.queue.begin()
    assert session.queue.current.object_id == 4
    assert session.queue.current.plane == (1, None, None)
    session.queue.begin([0])
    assert {item.plane for item in session.queue.items} == {(0, None, None)}


def test_objects_that_other_labels_do_not_have_are_not_offered(session, queue, labels):
    fewer = np.where(labels > 3, labels, 0)
    session.canvas = ArrayCanvas(fewer)
    assert offered(queue) == [4, 5]
    assert queue.current.object_id == session.object_id == 4
    session.canvas = None
    assert (queue.current, offered(queue), queue.progress.total) == (None, [], 0)
    session.canvas = ArrayCanvas(labels)
    assert offered(queue) == WORST_FIRST


def test_objects_of_labels_that_were_removed_do_not_wait(session, labels):
    assert session.queue.waiting == 5
    fewer = labels.copy()
    fewer[fewer > 2] = 0
    session.canvas = ArrayCanvas(fewer)
    assert session.queue.waiting == 2
    session.canvas = None
    assert session.queue.waiting == 0
    session.canvas = ArrayCanvas(labels)
    assert session.queue.waiting == 5
