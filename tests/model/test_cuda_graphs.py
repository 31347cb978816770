"""Recorded functions: the same results as without, each caller's own."""

from __future__ import annotations

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from small_models import VIT, segmenter

from napari_sam import Prompts
from napari_sam.model.cuda_graphs import Recording, Replays


class Tape:
    """Records as a GPU does: a replay reads and writes the same memory as the recorded run."""

    def __init__(self) -> None:
        self.recorded: list[tuple] = []

    def __call__(self, function, given) -> Recording:
        self.recorded.append((function, [None if x is None else tuple(x.shape) for x in given]))
        inputs = tuple(None if x is None else torch.full_like(x, 7) for x in given)
        outputs = function(*inputs)

        def replay() -> None:
            for own, new in zip(outputs, function(*inputs), strict=True):
                own.copy_(new)

        return Recording(inputs, outputs, replay)


def doubled(x, y=None):
    return (2 * x, x if y is None else x + y)


def tripled(x):
    return (3 * x,)


@pytest.fixture
def tape() -> Tape:
    return Tape()


def test_replays_give_what_the_function_gives(tape):
    replays = Replays(tape)
    for x in torch.randn(3, 4):
        for given in ((x,), (x, x.flip(0))):
            for got, expected in zip(replays.run(doubled, *given), doubled(*given), strict=True):
                assert torch.equal(got, expected)
    assert len(tape.recorded) == 2


def test_results_outlive_the_next_replay(tape):
    replays = Replays(tape)
    first, _ = replays.run(doubled, torch.ones(2))
    replays.run(doubled, torch.zeros(2))
    assert first.tolist() == [2, 2]


def test_shapes_formats_and_functions_have_recordings_of_their_own(tape):
    replays = Replays(tape)
    for given in (torch.ones(2), torch.ones(3), torch.ones(2).double(), torch.ones(2)):
        replays.run(doubled, given)
        (got,) = replays.run(tripled, given)
        assert torch.equal(got, 3 * given)
    assert len(tape.recorded) == 6


def test_the_recording_unused_for_longest_is_dropped(tape):
    replays = Replays(tape, most=2)
    for size in (1, 2, 1, 3, 1, 2):
        replays.run(tripled, torch.ones(size))
    assert [shapes for _, shapes in tape.recorded] == [[(1,)], [(2,)], [(3,)], [(2,)]]


def test_a_failed_recording_leaves_none(tape):
    replays, memory = Replays(tape), []

    def fails_once(x):
        if not memory:
            memory.append(x)
            raise torch.OutOfMemoryError
        return (x,)

    with pytest.raises(torch.OutOfMemoryError):
        replays.run(fails_once, torch.ones(1))
    (got,) = replays.run(fails_once, torch.ones(1))
    assert got.item() == 1


def test_threads_take_turns(tape):
    replays = Replays(tape)

    def run(value):
        return replays.run(doubled, torch.full((100,), float(value)))[0]

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(run, range(200)))
    assert all((result == 2 * value).all() for value, result in enumerate(results))


@pytest.mark.parametrize("count", [1, 2, 32])
def test_a_segmenter_answers_the_same_from_recordings(tape, count):
    one = segmenter(VIT)
    plane = np.random.default_rng(0).integers(0, 255, (50, 64), np.uint8)
    rng = np.random.default_rng(1)
    prompts = [Prompts([rng.uniform(0, 49, 2)], [1]) for _ in range(count)]
    boxes = [Prompts(box=(4, 5, 20, 30 + i / 8)) for i in range(count)]
    expected, seen = one.embed(plane), []
    wanted = one.decode_many(expected, prompts) + one.decode_many(expected, boxes)
    one._replays = Replays(tape)
    for _ in range(2):
        embedding = one.embed(plane, progress=seen.append)
        assert torch.equal(embedding.features[0], expected.features[0])
        found = one.decode_many(embedding, prompts) + one.decode_many(embedding, boxes)
        for got, other in zip(found, wanted, strict=True):
            np.testing.assert_allclose(got.logits, other.logits, atol=1e-4)
            np.testing.assert_allclose(got.scores, other.scores, atol=1e-5)
    assert seen == [1.0, 1.0]
    # the encoder, and one prompt or a full chunk of them by clicks and by boxes
    assert len(tape.recorded) == (1 if count == 2 else 3)


def test_nothing_keeps_a_segmenter_and_its_recordings(tape):
    one = segmenter(VIT)
    one._replays = Replays(tape)
    one.decode(one.embed(np.zeros((50, 64), np.uint8)), Prompts([(20, 20)], [1]))
    assert len(tape.recorded) == 2
    tape.recorded.clear()
    gone = [weakref.ref(part) for part in (one, one._replays, one._sam)]
    gc.disable()  # a GPU's memory must not wait for it
    try:
        del one
        assert [part() for part in gone] == [None, None, None]
    finally:
        gc.enable()


def test_closing_drops_all_recordings(tape):
    replays = Replays(tape)
    replays.run(tripled, torch.ones(2))
    replays.close()
    replays.run(tripled, torch.ones(2))
    assert len(tape.recorded) == 2


def test_nothing_is_recorded_on_a_cpu():
    assert segmenter(VIT)._replays is None
