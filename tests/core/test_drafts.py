"""Drafts from the tiles that are encoded, and the better answers that follow."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from core.bright_model import Nearsighted, square

from napari_sam.masks import iou
from napari_sam.prompts import Prompts
from napari_sam.segmentation.tiled import TiledSegmenter
from napari_sam.session import ArraySource, Session

LARGE = square(50, 20, 290, (512, 512))  # one tile shows a piece of it, half its scale the whole
CLICK = (200, 160)
SECOND = (60, 30)


class Gated(Nearsighted):
    """Encodes other scales than the first only while the gate is open."""

    def __init__(self):
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()
        self.error = None

    def embed_pixels(self, pixels, frame=None, progress=None):
        while max(frame.scaled) < max(frame.shape) and not self.gate.wait(0.005):
            if progress:
                progress(0.5)
        if self.error and max(frame.scaled) < max(frame.shape):
            raise self.error
        return super().embed_pixels(pixels, frame, progress)


def tiled_on(plane):
    tiled = TiledSegmenter(Nearsighted())
    return tiled, tiled.embed(plane, (0, 255))


def test_draft_is_decoded_from_the_overview_and_encodes_nothing():
    tiled, embedding = tiled_on(LARGE)
    draft = tiled.draft(embedding, Prompts([CLICK], [1]))
    assert not draft.is_final
    assert draft.prediction.scores.tolist() == [0.5]
    assert len(tiled.inner.frames) == 1


def test_draft_is_final_and_equals_the_answer_once_everything_is_encoded():
    tiled, embedding = tiled_on(LARGE)
    click = Prompts([CLICK], [1])
    answer = tiled.decode(embedding, click)
    draft = tiled.draft(embedding, click)
    assert draft.is_final
    assert draft.prediction.frame == answer.frame
    np.testing.assert_array_equal(draft.prediction.logits, answer.logits)


def test_object_that_the_encoded_tiles_contain_has_a_final_draft():
    tiled, embedding = tiled_on(square(50, 20, 100, (512, 512)))
    assert tiled.draft(embedding, Prompts([(90, 60)], [1])).is_final


def test_there_is_no_draft_where_nothing_is_encoded():
    tiled, embedding = tiled_on(square(300, 300, 100, (1500, 1500)))
    assert tiled.draft(embedding, Prompts([(340, 340)], [1])) is None


def test_draft_comes_from_a_coarser_scale_where_that_is_all_there_is():
    plane = square(300, 300, 100, (1500, 1500))
    tiled, embedding = tiled_on(plane)
    click = Prompts([(340, 340)], [1])
    tiled.prepare_view(embedding, (0, 0, 1499, 1499))
    draft = tiled.draft(embedding, click)
    assert not draft.is_final
    assert draft.prediction.frame.shape == (1500, 1500)
    assert iou(draft.prediction.best(), plane > 0) > 0.8
    assert tiled.decode(embedding, click).frame.shape == (512, 512)


@pytest.mark.parametrize("view", [(0, 0, 499, 699), (600, 900, 1499, 1499), (700, 700, 700, 700)])
def test_any_click_in_a_prepared_view_has_a_draft(view):
    tiled, embedding = tiled_on(square(0, 0, 1500, (1500, 1500)))
    assert not tiled.is_view_ready(embedding, view)
    tiled.prepare_view(embedding, view)
    assert tiled.is_view_ready(embedding, view)
    assert len(tiled.inner.frames) == 1
    for r in np.linspace(view[0], view[2], 5):
        for c in np.linspace(view[1], view[3], 5):
            assert tiled.draft(embedding, Prompts([(r, c)], [1])) is not None


def test_finest_tiles_of_a_view_begin_in_its_middle():
    tiled, embedding = tiled_on(square(0, 0, 1500, (1500, 1500)))
    tiled.prepare_view(embedding, (0, 0, 1499, 1499), finest=True)
    assert {frame.shape for frame in tiled.inner.frames} == {(512, 512)}
    assert len(tiled.inner.frames) == len(embedding.pyramid.levels[0])
    middles = [np.add(f.origin, 256) for f in tiled.inner.frames]
    away = [np.linalg.norm(middle - 749.5) for middle in middles]
    assert away[0] < 130
    assert np.diff(away).min() > -1  # cores lie in the middles of their tiles, or nearly so


def test_view_is_ready_by_the_finest_tiles_too_where_they_are_encoded():
    tiled, embedding = tiled_on(square(0, 0, 1500, (1500, 1500)))
    view = (300, 300, 900, 900)
    tiled.prepare_view(embedding, view, finest=True)
    before = len(tiled.inner.frames)
    assert tiled.is_view_ready(embedding, view)
    tiled.prepare_view(embedding, view)
    assert len(tiled.inner.frames) == before


def test_tiles_on_screen_stay_where_memory_holds_few(monkeypatch):
    monkeypatch.setattr("napari_sam.segmentation.tile_store._MAX_TILE_BYTES", 1)
    tiled, embedding = tiled_on(square(0, 0, 1500, (1500, 1500)))
    tiled.prepare_view(embedding, (0, 0, 499, 499))
    tiled.prepare(embedding)
    assert tiled.is_view_ready(embedding, (0, 0, 499, 499))
    tiled.prepare_view(embedding, (700, 700, 800, 800))
    assert not tiled.is_view_ready(embedding, (0, 0, 499, 499))


def test_cancelled_view_goes_on_where_it_was_left():
    tiled, embedding = tiled_on(square(0, 0, 1500, (1500, 1500)))
    seen = []
    tiled.prepare_view(embedding, (0, 0, 499, 499), seen.append)
    before = len(tiled.inner.frames)
    tiled.prepare_view(embedding, (0, 0, 499, 499))
    assert len(tiled.inner.frames) == before


# In a session


@pytest.fixture
def gated(engine):  # torn down before the engine, which waits for what runs
    model = Gated()
    yield model
    model.gate.set()


@pytest.fixture
def session(gated, engine):
    session = Session(TiledSegmenter(gated), ArraySource(LARGE, contrast_limits=(0, 255)), engine)
    session.show(())
    assert session.wait(5)
    return session


def wait_for(engine, condition):
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        engine.drain()
        time.sleep(0.002)


def wait_for_draft(engine, session):
    wait_for(engine, lambda: session.draft(1, ()) is not None)


def mask_of(*points):
    """The mask of clicks where everything was encoded before the first of them."""
    tiled = TiledSegmenter(Nearsighted())
    session = Session(tiled, ArraySource(LARGE, contrast_limits=(0, 255)))
    session.show(())
    embedding = session.embeddings.get((None, None))
    tiled.prepare(embedding, Prompts([points[0]], [1]), every_scale=True)
    for point in points:
        session.add_point((), point)
    return session.mask(1, ())


def test_click_has_a_draft_before_its_tile_is_encoded(session, gated, engine):
    gated.gate.clear()
    session.add_point((), CLICK)
    wait_for_draft(engine, session)
    assert session.draft(1, ()).area == 100
    assert session.is_waiting
    assert not session.mask(1, ()).any()
    assert session.scores(1, ()) == ()


def test_better_answer_takes_the_place_of_the_draft(session, gated, engine):
    reported = []
    session.mask_changed.connect(lambda *about: reported.append(session.mask(1, ()).sum()))
    gated.gate.clear()
    session.add_point((), CLICK)
    wait_for_draft(engine, session)
    assert not reported
    gated.gate.set()
    assert session.wait(5)
    assert session.draft(1, ()) is None
    assert not session.is_waiting
    np.testing.assert_array_equal(session.mask(1, ()), mask_of(CLICK))
    assert reported == [mask_of(CLICK).sum()]


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_second_click_builds_on_the_better_answer(session, gated, engine, before):
    if before:
        gated.gate.clear()
    session.add_point((), CLICK)
    if before:
        wait_for_draft(engine, session)
    else:
        assert session.wait(5)
    session.add_point((), SECOND)
    gated.gate.set()
    assert session.wait(5)
    np.testing.assert_array_equal(session.mask(1, ()), mask_of(CLICK, SECOND))
    assert not session.is_waiting


def test_draft_of_a_click_that_is_taken_back_goes(session, gated, engine):
    reported = []
    gated.gate.clear()
    session.add_point((), CLICK)
    wait_for_draft(engine, session)
    session.draft_changed.connect(lambda *about: reported.append(session.draft(1, ())))
    session.undo()
    assert reported == [None]
    assert not session.is_waiting
    gated.gate.set()
    assert session.wait(5)
    assert not session.mask(1, ()).any()


def test_draft_is_dropped_where_encoding_its_tile_fails(session, gated, engine):
    errors = []
    session.failed.connect(errors.append)
    gated.gate.clear()
    session.add_point((), CLICK)
    wait_for_draft(engine, session)
    gated.error = MemoryError("full")
    gated.gate.set()
    assert not session.wait(5)
    assert [str(error) for error in errors] == ["full"]
    assert session.draft(1, ()) is None
    assert not session.is_waiting


def test_listener_of_drafts_that_fails_loses_no_answer(session, gated, engine):
    def fail(*about):
        raise RuntimeError("a listener's own fault")

    session.draft_changed.connect(fail)
    gated.gate.clear()
    session.add_point((), CLICK)
    with pytest.raises(Exception, match="own fault"):
        wait_for(engine, lambda: False)
    session.draft_changed.disconnect(fail)
    gated.gate.set()
    assert session.wait(5)
    np.testing.assert_array_equal(session.mask(1, ()), mask_of(CLICK))


def test_cancelled_answer_is_given_when_it_is_asked_for_again(session, gated, engine):
    gated.gate.clear()
    session.add_point((), CLICK)
    wait_for_draft(engine, session)
    session.cancel()
    assert not session.wait(5)
    gated.gate.set()
    assert not session.mask(1, ()).any()
    session.show(())
    assert session.wait(5)
    np.testing.assert_array_equal(session.mask(1, ()), mask_of(CLICK))


def test_other_objects_are_answered_while_a_tile_is_encoded(session, gated, engine):
    gated.gate.clear()
    session.add_point((), CLICK)
    wait_for_draft(engine, session)
    session.add_point((), (450, 450), object_id=2)  # the ground, of which it sees nothing
    wait_for(engine, lambda: session.scores(2, ()) or session.draft(2, ()) is not None)


def test_synchronous_session_knows_no_drafts():
    reported = []
    session = Session(TiledSegmenter(Nearsighted()), ArraySource(LARGE, contrast_limits=(0, 255)))
    session.mask_changed.connect(lambda *about: reported.append(session.mask(1, ()).sum()))
    session.add_point((), CLICK)
    assert reported == [mask_of(CLICK).sum()]
    assert session.draft(1, ()) is None


def test_view_is_ready_when_its_tiles_are_encoded(engine):
    plane = square(0, 0, 1500, (1500, 1500))
    model = Nearsighted()
    session = Session(TiledSegmenter(model), ArraySource(plane, contrast_limits=(0, 255)), engine)
    assert not session.is_view_ready
    session.show((), (250, 250), (0, 0, 499, 499))
    assert not session.is_view_ready
    assert session.wait(5)
    assert session.is_view_ready
    assert session.view_fraction is None
    before = len(model.frames)
    session.set_view((1400, 1400), (1300, 1300, 1499, 1499))
    assert not session.is_view_ready
    assert session.wait(5)
    assert session.is_view_ready
    assert len(model.frames) > before


class Deaf(Nearsighted):
    """Hears no cancel; each half of the plane is encoded when its gate is open."""

    def __init__(self):
        super().__init__()
        self.gates, self.started = [threading.Event(), threading.Event()], [False, False]

    def embed_pixels(self, pixels, frame=None, progress=None):
        half = int(frame.origin[0] > 500)
        self.started[half] = True
        self.gates[half].wait(5)
        return super().embed_pixels(pixels, frame, progress)


def test_result_of_an_earlier_view_is_ignored(engine):
    model = Deaf()
    source = ArraySource(square(0, 0, 1500, (1500, 1500)), contrast_limits=(0, 255))
    session = Session(TiledSegmenter(model), source, engine)
    session.show((), (250, 250), (0, 0, 499, 499))
    wait_for(engine, lambda: model.started[0])
    session.set_view((1400, 1400), (1300, 1300, 1499, 1499))
    model.gates[0].set()
    wait_for(engine, lambda: model.started[1])
    engine.drain()
    assert not session.is_view_ready
    assert session.view_fraction is not None
    model.gates[1].set()
    assert session.wait(5)
    assert session.is_view_ready


def test_looking_elsewhere_starts_nothing_that_was_cancelled(engine):
    plane = square(0, 0, 1500, (1500, 1500))
    model = Nearsighted()
    session = Session(TiledSegmenter(model), ArraySource(plane, contrast_limits=(0, 255)), engine)
    session.show((), (250, 250), (0, 0, 499, 499))
    assert session.wait(5)
    session.cancel()
    before = len(model.frames)
    session.set_view((1400, 1400), (1300, 1300, 1499, 1499))
    assert engine.wait(5, background=True)
    assert len(model.frames) == before


def test_what_goes_on_after_a_cancel_is_the_part_on_screen_by_now(engine):
    plane = square(0, 0, 1500, (1500, 1500))
    tiled = TiledSegmenter(Nearsighted())
    session = Session(tiled, ArraySource(plane, contrast_limits=(0, 255)), engine)
    session.show((), (100, 100), (0, 0, 199, 199))
    assert session.wait(5)
    session.cancel()
    now = (700, 700, 1499, 1499)
    session.set_view((1100, 1100), now)
    session.add_point((), (1400, 1400))
    assert session.wait(5)
    assert session.is_view_ready
    assert tiled.is_view_ready(session.embeddings.get((None, None)), now)
