"""Simulated clicks and boxes."""

from __future__ import annotations

import numpy as np
import pytest

from napari_sam.training.clicks import corrections, first_clicks, jittered_boxes, misses


@pytest.fixture
def targets() -> np.ndarray:
    masks = np.zeros((20, 32, 40), bool)
    for i, mask in enumerate(masks):
        mask[5 : 9 + i // 2, 8:30] = True
    return masks


def test_first_clicks_lie_in_their_objects(targets: np.ndarray) -> None:
    points = first_clicks(targets, 2, np.random.default_rng(0))[:, 0].numpy()
    for (x, y), target in zip(points, targets, strict=True):
        assert target[int(y) // 2, int(x) // 2]


def test_corrections_lie_in_the_larger_error(targets: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    for predicted in (np.zeros_like(targets), np.ones_like(targets)):
        points, labels = corrections(targets, predicted, 2, rng)
        for (x, y), label, target in zip(points[:, 0].numpy(), labels[:, 0], targets, strict=True):
            assert target[int(y) // 2, int(x) // 2] == bool(label)


def test_a_perfect_prediction_is_confirmed_inside(targets: np.ndarray) -> None:
    points, labels = corrections(targets, targets, 2, np.random.default_rng(0))
    assert (labels == 1).all()
    for (x, y), target in zip(points[:, 0].numpy(), targets, strict=True):
        assert target[int(y) // 2, int(x) // 2]


def test_boxes_surround_their_objects_closely(targets: np.ndarray) -> None:
    boxes = jittered_boxes(targets, 2, np.random.default_rng(0), jitter=0.0).numpy()
    assert np.abs(boxes[0] - (16, 10, 59, 17)).max() <= 1


def test_misses_lie_beside_the_objects_of_their_crop(targets: np.ndarray) -> None:
    labels = targets.astype(np.int32)
    prompts, points = misses(labels, 4, 0.5, np.random.default_rng(0))
    assert len(prompts) == len(points) == 40
    for prompt, (x, y) in zip(prompts.tolist(), points[:, 0].tolist(), strict=True):
        assert prompt % 4 == 0
        assert labels[prompt // 4, int(y), int(x)] == 0


def test_nothing_is_missed_where_objects_are_everywhere() -> None:
    prompts, points = misses(np.ones((2, 16, 16), np.int32), 4, 1.0, np.random.default_rng(0))
    assert not len(prompts)
    assert points.shape == (0, 1, 2)
