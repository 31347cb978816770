"""Another model in a session: a step that undo takes back, and the model of before with it."""

from __future__ import annotations

import numpy as np
from core.fake_segmenter import FakeSegmenter

from napari_sam.session import ArrayCanvas, ArraySource, Session

SHAPE = (2, 40, 50)


def new_session() -> tuple[Session, FakeSegmenter, FakeSegmenter]:
    small, large = FakeSegmenter(3.0, key="small"), FakeSegmenter(5.0, key="large")
    canvas = ArrayCanvas(np.zeros(SHAPE, np.int32))
    return Session(small, ArraySource(np.zeros(SHAPE)), canvas=canvas), small, large


def test_undo_brings_the_model_of_before_back_and_redo_the_other():
    session, small, large = new_session()
    changes = []
    session.model_changed.connect(lambda: changes.append(session.segmenter.model_key))
    session.add_point(0, (10, 10))
    before = session.mask(1, 0)
    session.use_model(large)
    assert session.segmenter is large
    assert session.next_undo == "changed the model from fake to fake"
    np.testing.assert_array_equal(session.mask(1, 0), before)  # what was answered stays
    session.undo()
    assert session.segmenter is small
    session.redo()
    assert session.segmenter is large
    assert changes == ["large", "small", "large"]
    np.testing.assert_array_equal(session.mask(1, 0), before)


def test_object_that_is_clicked_again_is_answered_by_the_model_of_now():
    session, _, large = new_session()
    session.add_point(0, (10, 10))
    session.use_model(large)
    session.add_point(0, (12, 10))
    (key,) = session.prompts.keys
    assert session._results.answer(key).model == "large"
    assert session.mask(1, 0).sum() > 60


def test_model_that_is_set_is_a_step_too_but_not_the_first_nor_before_anything_was_done():
    session, small, large = new_session()
    session.segmenter = large
    assert not session.can_undo
    session.segmenter = None
    session.segmenter = small
    assert not session.can_undo
    session.add_point(0, (10, 10))
    session.segmenter = FakeSegmenter(3.0, key="small")  # on another device, say
    assert session.next_undo.startswith("placed") or "point" in session.next_undo
    session.segmenter = large
    assert session.next_undo.startswith("changed the model")


def test_model_that_is_not_at_hand_any_more_is_asked_for():
    session, small, _ = new_session()
    wanted = []
    session.model_wanted.connect(lambda used: wanted.append((used.key, used.name)))
    session.add_point(0, (10, 10))
    for radius in range(4, 8):
        session.use_model(FakeSegmenter(radius, key=f"r{radius}"))
    for _ in range(4):
        session.undo()
    assert wanted == [("r4", "fake"), ("small", "fake")]
    session.use_model(small)
    assert session.segmenter is small
    assert session.next_redo == "changed the model from fake to fake"  # no step of its own


def test_model_that_answers_on_in_an_opened_session_is_no_step_until_something_is_done(tmp_path):
    session, small, large = new_session()
    session.add_point(0, (10, 10))
    session.use_model(large)
    session.add_point(0, (30, 30), object_id=2)
    session.save(path := tmp_path / "one.napari-sam")
    later = Session.open(path, ArraySource(np.zeros(SHAPE)), small)
    before = later.next_undo
    later.use_model(large)  # it is loaded after the session is open
    assert later.segmenter is large
    assert later.next_undo == before == session.next_undo
    later.undo()
    later.redo()
    later.use_model(small)
    assert later.next_undo == "changed the model from fake to fake"
    later.undo()
    assert later.segmenter is large
