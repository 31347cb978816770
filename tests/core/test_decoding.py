"""Many prompts at once: decoded in parts that a cancel ends, and no more often than needed."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from core.bright_model import Nearsighted, square
from core.fake_segmenter import FakeSegmenter, disk
from core.stepping_executor import SteppingExecutor

from napari_sam.prompts import Prompts
from napari_sam.segmentation.tiled import TiledSegmenter
from napari_sam.session import ArraySource, Click, PromptBook, Session

SHAPE = (40, 50)
PLANE = (None, None)


class Counting(FakeSegmenter):
    """Counts the objects of each call, and the clicks of each object."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__()
        self.per_step, self.calls, self.clicks = seconds, [], []

    def decode(self, embedding, prompts, multimask="auto", progress=None):
        time.sleep(self.per_step)
        self.clicks.append(len(prompts.points))
        return super().decode(embedding, prompts, multimask, progress)

    def draft_many(self, embedding, prompts, multimask="auto"):
        self.calls.append(len(prompts))
        return super().draft_many(embedding, prompts, multimask)


@pytest.fixture
def points(rng):
    return [(float(r), float(c)) for r, c in rng.integers((0, 0), SHAPE, (300, 2))]


def shown(segmenter, executor):
    session = Session(segmenter, ArraySource(np.zeros(SHAPE)), executor)
    session.show(())
    assert session.wait(20)
    return session


def book_of(points, objects):
    """Clicks that speak of so many objects, in turn."""
    clicks = [Click(i + 1, 1 + i % objects, PLANE, p, 1) for i, p in enumerate(points)]
    return PromptBook.of(clicks)


def test_cancel_is_heard_while_many_objects_are_decoded(engine, points):
    segmenter = Counting(seconds=0.005)
    session = shown(segmenter, engine)
    session.prompts = book_of(points, len(points))
    assert not session.wait(0.3)
    session.cancel()
    assert not session.wait(20)
    assert 0 < segmenter.decodes < 300
    decoded = segmenter.decodes
    assert not session.wait(0.05)
    assert segmenter.decodes == decoded
    session.show(())
    assert session.wait(60)
    assert segmenter.decodes == 300
    for i, point in enumerate(points):
        np.testing.assert_array_equal(session.mask(i + 1, ()), disk(SHAPE, point, 4))


def test_cancel_is_heard_while_many_clicks_of_one_object_are_decoded(engine, points):
    segmenter = Counting(seconds=0.005)
    session = shown(segmenter, engine)
    session.prompts = book_of(points, 1)
    assert not session.wait(0.3)
    session.cancel()
    assert not session.wait(20)
    assert 0 < segmenter.decodes < 300
    assert not session.mask(1, ()).any()
    session.show(())
    assert session.wait(60)
    expected = np.any([disk(SHAPE, point, 4) for point in points], axis=0)
    np.testing.assert_array_equal(session.mask(1, ()), expected)


def test_objects_of_a_plane_are_decoded_side_by_side(engine, points):
    segmenter = Counting()
    session = shown(segmenter, engine)
    session.prompts = book_of(points, 300)
    assert session.wait(60)
    assert sum(segmenter.calls) == 300
    assert max(segmenter.calls) > 8
    assert max(segmenter.calls) <= 64


@pytest.mark.parametrize("objects", [1, 7, 300])
def test_each_click_is_decoded_once_whatever_the_parts(rng, points, objects):
    segmenter = Counting()
    session = shown(segmenter, SteppingExecutor(rng))
    session.prompts = book_of(points, objects)
    assert session.wait()
    assert segmenter.decodes == 300
    assert max(segmenter.clicks) <= 64  # so the cost grows with the clicks, not their square


def test_click_on_an_object_of_many_decodes_one_step_and_one_taken_back_none(engine, points):
    segmenter = Counting()
    session = shown(segmenter, engine)
    session.prompts = book_of(points, 1)
    assert session.wait(60)
    session.add_point((), (1, 1))
    assert session.wait(20)
    assert segmenter.decodes == 301
    session.undo()
    assert session.wait(20)
    assert segmenter.decodes == 301


def test_steps_of_an_object_take_bounded_memory(points):
    session = shown(FakeSegmenter(), None)
    session.prompts = book_of(points, 1)
    history = session._results.history((1, PLANE))
    assert len(history.steps) == 300
    assert len({id(step) for step in history.steps}) == 65


def test_click_moved_before_the_steps_that_are_kept_is_replayed_from_the_start(points):
    segmenter = Counting()
    session = shown(segmenter, None)
    session.prompts = book_of(points, 1)
    session.move_point(200, (39, 49))
    moved = [*points[:199], (39.0, 49.0), *points[200:]]
    expected = np.any([disk(SHAPE, point, 4) for point in moved], axis=0)
    np.testing.assert_array_equal(session.mask(1, ()), expected)
    assert segmenter.decodes == 300 + 299


def test_progress_is_reported_and_reaches_the_end(engine, points):
    session, reported = shown(Counting(seconds=0.002), engine), []
    session.activity_changed.connect(lambda: reported.append(session.backlog))
    session.prompts = book_of(points, 100)
    assert session.backlog.total == 300
    assert session.wait(60)
    assert session.backlog is None
    reported = [backlog for backlog in reported if backlog]
    done = [backlog.done for backlog in reported]
    assert len(done) > 3
    assert done == sorted(done)
    assert {backlog.total for backlog in reported} == {300}
    assert reported[0].seconds_left > reported[-1].seconds_left


def test_single_click_reports_no_backlog(engine):
    session, reported = shown(Counting(), engine), []
    session.activity_changed.connect(lambda: reported.append(session.backlog))
    session.add_point((), (20, 20))
    assert session.wait(20)
    assert not any(reported)


def test_latest_click_goes_before_those_that_wait(engine, points):
    session, order = shown(Counting(seconds=0.002), engine), []
    session.mask_changed.connect(lambda object_id, plane: order.append(object_id))
    session.prompts = book_of(points, 300)
    assert not session.wait(0.1)
    before = len(order)
    session.add_point((), (20, 20), object_id=1000)
    assert session.wait(60)
    assert order.index(1000) - before <= 2 * 64


def test_object_that_fails_fails_alone(points):
    class Picky(Counting):
        def decode(self, embedding, prompts, multimask="auto", progress=None):
            if prompts.points[0].tolist() == list(points[7]):
                raise ValueError("not this one")
            return super().decode(embedding, prompts, multimask, progress)

    executor = SteppingExecutor(np.random.default_rng(1))
    session, errors = shown(Picky(), executor), []
    session.failed.connect(errors.append)
    session.prompts = book_of(points[:40], 40)
    assert not session.wait()
    bad = points[:40].count(points[7])
    assert [str(error) for error in errors] == ["not this one"] * bad
    assert sum(bool(session.scores(i + 1, ())) for i in range(40)) == 40 - bad


def test_listener_that_fails_holds_up_no_other_object(engine, points):
    session, reported = shown(Counting(), engine), []

    def fail_once(object_id, plane):
        reported.append(object_id)
        if len(reported) == 2:
            raise RuntimeError("a listener's own fault")

    session.mask_changed.connect(fail_once)
    session.prompts = book_of(points, 300)
    with pytest.raises(Exception, match="own fault"):
        session.wait(60)
    assert session.wait(60)
    assert sorted(reported) == list(range(1, 301))


def test_many_drafts_equal_those_of_each_object():
    plane = square(50, 20, 290, (700, 900))
    tiled = TiledSegmenter(Nearsighted())
    embedding = tiled.embed(plane, (0, 255))
    tiled.prepare(embedding, Prompts([(200, 160)], [1]))
    prompts = [Prompts([p], [1]) for p in [(200, 160), (60, 30), (650, 850), (300, 200)]]
    drafts = tiled.draft_many(embedding, prompts)
    assert drafts[2] is None  # no tile there
    for one, draft in zip(prompts, drafts, strict=True):
        alone = tiled.draft(embedding, one)
        assert (draft is None) == (alone is None)
        if draft is not None:
            assert draft.is_final == alone.is_final
            np.testing.assert_array_equal(draft.prediction.logits, alone.prediction.logits)


def test_book_of_many_prompts_is_walked_through_once():
    book = book_of([(1.0, 1.0)] * 5_000, 5_000)
    prompts = [book.prompts_of(key) for key in book.keys]
    assert len(prompts) == 5_000
    assert book.prompts_of(book.keys[5]) is prompts[5]
    another = book.with_click((3, PLANE), (2.0, 2.0), 0)
    assert len(another.prompts_of((3, PLANE)).points) == 2
    assert len(book.prompts_of((3, PLANE)).points) == 1
    assert replace(book) == book


def test_threads_of_many_sessions_share_the_decode_lane(engine, points):
    first, second = shown(Counting(0.002), engine), shown(Counting(0.002), engine)
    answered = threading.Event()
    second.mask_changed.connect(lambda *_: answered.set())
    first.prompts = book_of(points, 300)
    second.add_point((), (20, 20))
    while not answered.is_set():
        engine.wait(0.01)
    assert first.backlog is not None
    assert first.wait(60)
