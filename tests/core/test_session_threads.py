"""A session on real threads: nothing blocks, the latest wins, the stale is dropped."""

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from core.fake_segmenter import FakeSegmenter, disk

from napari_sam.prompts import Prompts
from napari_sam.session import ArraySource, Session

SHAPE = (40, 50)


@pytest.fixture
def segmenter():
    return FakeSegmenter()


@pytest.fixture
def session(segmenter, engine, rng):
    yield Session(segmenter, ArraySource(rng.random((6, *SHAPE))), engine, prefetch=1)
    segmenter.may_embed.set()
    segmenter.may_decode.set()


def state(session, z):
    return session.embeddings.state((z, None, None))


def test_click_returns_before_its_mask(session, segmenter):
    segmenter.may_embed.clear()
    start = time.perf_counter()
    session.add_point(0, (20, 20))
    assert time.perf_counter() - start < 0.05
    assert session.is_waiting
    assert not session.wait(0.02)
    segmenter.may_embed.set()
    assert session.wait(5)
    assert session.mask(1, 0).any()


def test_clicks_on_a_ready_plane_are_answered_while_another_embeds(session, segmenter):
    session.show(0)
    assert session.wait(5)
    segmenter.may_embed.clear()
    session.show(4)
    session.add_point(0, (20, 20))
    deadline = time.monotonic() + 5
    while not session.mask(1, 0).any():
        session.wait(0.01)
        assert time.monotonic() < deadline
    assert state(session, 4) == "queued"


def test_stale_results_are_dropped(session, segmenter):
    session.show(0)
    session.wait(5)
    segmenter.may_decode.clear()
    reported = []
    session.mask_changed.connect(lambda *about: reported.append(session.mask(1, 0).copy()))
    click = session.add_point(0, (20, 20))
    time.sleep(0.02)
    session.move_point(click, (10, 40))
    segmenter.may_decode.set()
    assert session.wait(5)
    assert len(reported) == 1
    np.testing.assert_array_equal(reported[0], disk(SHAPE, (10, 40), 4))


def test_prompt_removed_while_decoding_leaves_no_mask(session, segmenter):
    session.show(0)
    session.wait(5)
    segmenter.may_decode.clear()
    click = session.add_point(0, (20, 20))
    time.sleep(0.02)
    session.remove_point(click)
    segmenter.may_decode.set()
    assert session.wait(5)
    assert not session.mask(1, 0).any()


def test_scrolling_on_drops_planes_that_passed_by(session, segmenter):
    segmenter.may_embed.clear()
    session.show(0)
    session.show(3)
    assert (state(session, 0), state(session, 3)) == ("none", "queued")
    segmenter.may_embed.set()
    assert session.wait(5)
    assert state(session, 3) == "ready"


def test_plane_with_a_waiting_click_is_not_dropped(session, segmenter):
    segmenter.may_embed.clear()
    session.show(0)
    session.add_point(0, (20, 20))
    session.show(5)
    segmenter.may_embed.set()
    assert session.wait(5)
    assert session.mask(1, 0).any()


def test_cancel_stops_the_embedding_and_showing_starts_it_again(session, segmenter):
    segmenter.may_embed.clear()
    session.show(0)
    session.add_point(0, (20, 20))
    session.cancel()
    assert not session.wait(5)  # there is a click without an answer
    assert state(session, 0) == "none"
    segmenter.may_embed.set()
    session.show(0)
    assert session.wait(5)
    assert session.mask(1, 0).any()


def test_click_after_cancel_asks_again_for_those_that_wait(session, segmenter):
    segmenter.may_embed.clear()
    session.show(0)
    session.add_point(1, (20, 20), object_id=1)
    session.cancel()
    segmenter.may_embed.set()
    session.add_point(2, (10, 10), object_id=2)
    assert session.wait(5)
    assert session.mask(1, 1).any()
    assert session.mask(2, 2).any()
    assert state(session, 0) == "ready"


def test_click_on_a_plane_that_could_not_be_read_is_answered_when_it_can(session, segmenter):
    segmenter.error = OSError("the disk is away")
    session.add_point(0, (20, 20))
    assert not session.wait(5)
    segmenter.error = None
    session.show(0)
    assert session.wait(5)
    assert session.mask(1, 0).any()


def test_error_of_a_cancelled_embedding_is_not_that_of_the_next_one(session, segmenter):
    errors, ends, began = [], [threading.Event(), threading.Event()], threading.Event()
    session.failed.connect(errors.append)
    embed = segmenter.embed

    def stubborn(plane, limits=None, progress=None):  # hears of no cancel, and fails at last
        began.set()
        if ends:
            ends.pop(0).wait(5)
            if ends:
                raise OSError("gone")
        return embed(plane, limits)

    first, second = ends
    segmenter.embed = stubborn
    session.add_point(0, (20, 20))
    assert began.wait(5)
    session.cancel()
    session.show(0)
    first.set()
    assert not session.wait(0.1)
    second.set()
    assert session.wait(5)
    assert session.mask(1, 0).any()
    assert not errors


def test_plane_shown_again_while_its_cancelled_embedding_still_runs_is_embedded(session, segmenter):
    segmenter.may_embed.clear()
    session.show(0)
    time.sleep(0.02)
    session.cancel()
    session.show(0)
    segmenter.may_embed.set()
    assert session.wait(5)
    assert state(session, 0) == "ready"


def test_another_model_while_embedding_answers_with_the_new_one(session, segmenter):
    segmenter.may_embed.clear()
    session.add_point(0, (20, 20))
    session.segmenter = FakeSegmenter(radius=8, key="other")
    assert session.wait(5)
    np.testing.assert_array_equal(session.mask(1, 0), disk(SHAPE, (20, 20), 8))


def test_many_clicks_at_once_leave_the_mask_of_all(session):
    for column in range(5, 45, 5):
        session.add_point(0, (20, column))
    assert session.wait(5)
    expected = np.any([disk(SHAPE, (20, c), 4) for c in range(5, 45, 5)], axis=0)
    np.testing.assert_array_equal(session.mask(1, 0), expected)


class SlowTiles(FakeSegmenter):
    """Needs a second run of the encoder before a plane in tiles can be decoded."""

    def __init__(self, tiles=True):
        super().__init__()
        self.tiles, self.prepared = tiles, []

    def embed(self, plane, contrast_limits=None, progress=None):
        embedding = super().embed(plane, contrast_limits, progress)
        return replace(embedding, features=()) if self.tiles else embedding

    def is_ready(self, embedding, prompts, every_scale=False):
        if every_scale:
            return prompts.points.tolist() in self.looked_further
        return not self.tiles or bool(self.prepared)

    def draft(self, embedding, prompts, multimask="auto"):
        ready = self.is_ready(embedding, prompts)
        return super().draft(embedding, prompts, multimask) if ready else None

    def prepare(self, embedding, prompts=None, progress=None, every_scale=False):
        goes_on = False
        while not goes_on:  # as an encoder does, it asks once more before it is done
            goes_on = self.may_embed.wait(0.005)
            progress(0.5)
        self.prepared.append((prompts, every_scale))

    @property
    def looked_further(self):
        """Clicks for whose unsure answers something was encoded ahead."""
        return [prompts.points.tolist() for prompts, every_scale in self.prepared if every_scale]


@pytest.fixture
def slow(engine):  # torn down before the engine, which waits for what runs
    segmenter = SlowTiles()
    yield segmenter
    segmenter.may_embed.set()
    segmenter.may_decode.set()


@pytest.fixture
def ahead(slow, engine, rng):
    """A session on one plane that encodes ahead."""
    return Session(slow, ArraySource(rng.random(SHAPE)), engine, prefetch=1)


def finish_after_the_mask(segmenter, session, engine):
    """Let what is being encoded go on once a click is answered, and wait for all of it."""
    deadline = time.monotonic() + 30
    while not np.any(session.mask(1, ())) and time.monotonic() < deadline:
        engine.drain()
        time.sleep(0.005)
    segmenter.may_embed.set()
    assert engine.wait(5, background=True)


def test_tiles_of_a_click_are_made_in_the_embed_lane(slow, engine, rng):
    session = Session(slow, ArraySource(rng.random(SHAPE)), engine)
    session.show(())
    session.wait(5)
    slow.may_embed.clear()
    session.add_point((), (20, 20))
    assert session.is_waiting
    slow.may_embed.set()
    assert session.wait(5)
    assert len(slow.prepared) == 1
    assert session.mask(1, ()).any()


def test_cancelled_tiles_are_made_when_asked_for_again(slow, engine, rng):
    session = Session(slow, ArraySource(rng.random(SHAPE)), engine)
    session.show(())
    session.wait(5)
    slow.may_embed.clear()
    session.add_point((), (20, 20))
    session.cancel()
    assert not session.wait(5)
    slow.may_embed.set()
    session.show(())
    assert session.wait(5)
    assert session.mask(1, ()).any()


def test_tiles_in_the_middle_of_the_screen_are_made_before_any_click(slow, ahead, engine):
    ahead.show((), focus=(12, 34))
    assert ahead.wait(5)
    assert engine.wait(5, background=True)
    (first, _), (then, every_scale), (rest, _) = slow.prepared
    assert first.points.tolist() == [[12, 34]]
    assert then.points.tolist() == [[12, 34]]
    assert every_scale
    assert rest is None


def test_of_a_plane_of_one_tile_only_other_scales_are_encoded_ahead(engine, rng):
    small = SlowTiles(tiles=False)
    session = Session(small, ArraySource(rng.random(SHAPE)), engine, prefetch=1)
    session.show((), focus=(12, 34))
    assert engine.wait(5, background=True)
    session.add_point((), (20, 20))
    assert session.wait(5)
    assert engine.wait(5, background=True)
    assert session.mask(1, ()).any()
    ((click, every_scale),) = small.prepared
    assert click.points.tolist() == [[12, 34]]
    assert every_scale


def test_other_scales_of_an_unsure_click_are_encoded_ahead_where_clicks_are_answered(
    slow, ahead, engine
):
    ahead.show((), focus=(12, 34))
    assert engine.wait(5, background=True)
    ahead.add_point((), (20, 20))
    assert ahead.wait(5)
    assert engine.wait(5, background=True)
    clicked, every_scale = slow.prepared[-1]
    assert clicked.points.tolist() == [[20, 20]]
    assert every_scale


def test_other_scales_of_a_click_come_before_tiles_in_the_background(slow, ahead, engine):
    ahead.show(())
    assert engine.wait(5, background=True)
    slow.may_embed.clear()
    ahead.show(())  # its tiles are being encoded from here on
    ahead.add_point((), (20, 20))
    finish_after_the_mask(slow, ahead, engine)
    (clicked, every_scale), (rest, _) = slow.prepared[-2:]
    assert clicked.points.tolist() == [[20, 20]]
    assert every_scale
    assert rest is None


def test_scales_that_are_encoded_are_not_encoded_again(slow, ahead, engine):
    ahead.show(())
    for _ in range(2):
        ahead.add_point((), (20, 20))
        assert ahead.wait(5)
        assert engine.wait(5, background=True)
        ahead.undo()
        assert ahead.wait(5)
    assert slow.looked_further == [[[20, 20]]]


def test_click_answered_on_a_plane_no_longer_shown_asks_for_nothing(slow, engine, rng):
    session = Session(slow, ArraySource(rng.random((2, *SHAPE))), engine, prefetch=1)
    session.show(0, focus=(12, 34))
    assert engine.wait(5, background=True)
    slow.may_decode.clear()
    session.add_point(0, (20, 20))
    session.show(1, focus=(12, 34))
    slow.may_decode.set()
    assert session.wait(5)
    assert engine.wait(5, background=True)
    assert session.mask(1, 0).any()
    assert [[20, 20]] not in slow.looked_further


def test_click_leaves_the_scales_of_the_middle_of_the_screen_queued(slow, ahead, engine):
    slow.prepared.append((Prompts([(0, 0)], [1]), False))  # a tile that is ready
    ahead.show(())
    ahead.wait(5)
    slow.may_embed.clear()
    ahead.show((), focus=(12, 34))  # its scales wait from here on
    ahead.add_point((), (20, 20))
    finish_after_the_mask(slow, ahead, engine)
    assert slow.looked_further == [[[12, 34]], [[20, 20]]]


def test_answer_after_stop_asks_for_nothing(slow, ahead, engine):
    ahead.show((), focus=(12, 34))
    assert engine.wait(5, background=True)
    slow.may_decode.clear()
    ahead.add_point((), (20, 20))
    ahead.cancel()
    slow.may_decode.set()
    assert ahead.wait(5)
    assert engine.wait(5, background=True)
    assert ahead.mask(1, ()).any()
    assert [[20, 20]] not in slow.looked_further


def test_model_that_comes_later_finds_the_middle_of_the_screen(slow, engine, rng):
    session = Session(None, ArraySource(rng.random(SHAPE)), engine, prefetch=1)
    session.show((), focus=(12, 34))
    session.segmenter = slow
    assert session.wait(5)
    assert engine.wait(5, background=True)
    (first, _), (then, every_scale), _ = slow.prepared
    assert first.points.tolist() == then.points.tolist() == [[12, 34]]
    assert every_scale


def test_without_prefetch_other_scales_are_left_to_the_clicks(slow, engine, rng):
    session = Session(slow, ArraySource(rng.random(SHAPE)), engine)
    session.show((), focus=(12, 34))
    session.add_point((), (20, 20))
    assert session.wait(5)
    assert engine.wait(5, background=True)
    assert not slow.looked_further


def test_speed_is_that_of_the_encoder_not_of_the_cache(session, segmenter):
    session.show(0)
    session.wait(5)
    measured = session.embeddings.seconds
    segmenter.blocks = 1  # reports no more than a cache does
    session.show(3)
    session.wait(5)
    assert session.embeddings.seconds == measured
