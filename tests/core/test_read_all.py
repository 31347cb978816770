"""All planes of a stack read ahead: in which order, how far, and what goes first."""

import numpy as np
import pytest
from core.fake_segmenter import FakeSegmenter
from core.stepping_executor import SteppingExecutor

from napari_sam.segmentation.protocol import Embedding
from napari_sam.session import ArraySource, Session

COUNT = 9


@pytest.fixture
def stack():
    """A stack whose planes hold their own numbers."""
    return np.broadcast_to(np.arange(COUNT, dtype=np.uint8)[:, None, None], (COUNT, 30, 40)).copy()


@pytest.fixture
def stepping(stack, rng):
    executor = SteppingExecutor(rng)
    return executor, Session(FakeSegmenter(), ArraySource(stack), executor)


def embedded(session):
    return [int(plane[0, 0]) for plane in session.segmenter.embedded]


def test_nearest_planes_are_read_first_and_those_ahead_before_those_behind(stack):
    session = Session(FakeSegmenter(), ArraySource(stack))
    session.show(3)
    session.show(4)
    session.read_all(range(COUNT))
    assert embedded(session) == [3, 4, 5, 6, 7, 2, 8, 1, 0]
    assert session.read_progress is None


def test_scrolling_elsewhere_changes_what_is_read_next(stepping):
    executor, session = stepping
    session.show(0)
    session.read_all(range(COUNT))
    while (progress := session.read_progress).done < 3:
        executor.step()
    assert (progress.count, progress.seconds_left > 0) == (COUNT, True)
    session.show(7)
    assert executor.wait(background=True)
    assert embedded(session)[:3] == [0, 1, 2]
    assert set(embedded(session)[3:6]) >= {7, 8}


def test_reading_that_is_stopped_keeps_what_is_read(stepping):
    executor, session = stepping
    session.read_all(range(COUNT))
    while session.read_progress.done < 2:
        executor.step()
    session.read_all(())
    assert session.read_progress is None
    assert executor.wait(background=True)
    assert 2 <= len(session.embeddings.planes) <= 3
    session.read_all(range(COUNT))
    session.cancel()
    assert session.read_progress is None


def test_click_on_a_plane_that_is_not_read_goes_first(stack, engine):
    segmenter = FakeSegmenter()
    segmenter.may_embed.clear()
    session = Session(segmenter, ArraySource(stack), engine)
    session.show(0)
    session.read_all(range(COUNT))
    session.add_point(8, (10, 10))
    segmenter.may_embed.set()
    assert session.wait(10)
    assert session.mask(1, 8)[10, 10]
    assert 8 in embedded(session)[:2]
    assert session._answering.wait(10, background=True)
    assert sorted(embedded(session)) == [*range(COUNT)]


def test_plane_that_can_not_be_read_is_passed(stack):
    class Broken(FakeSegmenter):
        def embed(self, plane, contrast_limits=None, progress=None, scale=None):
            if plane[0, 0] == 2:
                raise ValueError("a broken plane")
            return super().embed(plane, contrast_limits, progress, scale)

    session = Session(Broken(), ArraySource(stack))
    failed = []
    session.failed.connect(failed.append)
    session.read_all(range(COUNT))
    assert [str(error) for error in failed] == ["a broken plane"]
    assert len(session.embeddings.planes) == COUNT - 1
    assert session.read_progress is None


def test_tiles_of_large_planes_are_read_too(stack):
    class Tiled(FakeSegmenter):
        def embed(self, *arguments):
            whole = super().embed(*arguments)
            return Embedding((), whole.frame, whole.encoder_key, whole.precision)

        def prepare(self, embedding, prompts=None, progress=None, every_scale=False):
            prepared.append(prompts)

    prepared = []
    session = Session(Tiled(), ArraySource(stack))
    session.read_all(range(COUNT))
    assert prepared == [None] * COUNT
    assert session.read_progress is None


def test_another_model_embeds_all_planes_again(stepping):
    executor, session = stepping
    session.read_all(range(COUNT))
    while session.read_progress.done < 4:
        executor.step()
    session.show(4)
    session.segmenter = FakeSegmenter(key="another")
    assert session.read_progress.done == 0
    assert executor.wait(background=True)
    assert len(session.embeddings.planes) == COUNT
