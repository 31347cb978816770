"""One box per object from those of all cells."""

from __future__ import annotations

import numpy as np
import pytest
from labelled import block

from napari_sam.detection import find_boxes
from napari_sam.training.dense import DenseTargets


def perfect(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What a perfect head says about labels."""
    target = DenseTargets.of(labels[None])
    depths = target.depths[0].numpy()
    return target.sides[0].numpy(), np.where(depths > 0, 0.5 + 0.5 * depths, 0).astype(np.float32)


@pytest.fixture
def touching() -> np.ndarray:
    return block(
        (64, 96),
        (1, np.s_[8:40, 4:24]),
        (2, np.s_[8:40, 24:52]),
        (3, np.s_[48:60, 60:80]),
    )


def test_every_object_has_one_box(touching: np.ndarray) -> None:
    boxes, scores = find_boxes(*perfect(touching), 4)
    assert sorted(boxes.round(6).tolist()) == [[8, 4, 40, 24], [8, 24, 40, 52], [48, 60, 60, 80]]
    assert (np.diff(scores) <= 0).all()


def test_sides_are_the_mean_of_boxes_that_agree(touching: np.ndarray) -> None:
    sides, scores = perfect((touching == 1).astype(np.int32))
    noise = np.random.default_rng(0).normal(0, 1.5, sides.shape)
    cell = np.unravel_index(scores.argmax(), scores.shape)
    one = np.abs(noise[:, *cell]).mean()
    (box,), _ = find_boxes((sides + noise).astype(np.float32), scores, 4)
    assert np.abs(box - (8, 4, 40, 24)).mean() < one / 2


def test_candidates_of_a_clump_and_of_the_objects_in_it_are_left_to_choose_from(
    touching: np.ndarray,
) -> None:
    sides, scores = perfect(touching)
    clump, better = perfect(np.where(touching == 3, 3, np.minimum(touching, 1)).astype(np.int32))
    middle = np.s_[4:6, 5:7]  # some cells say the box of both
    sides[:, *middle], scores[middle] = clump[:, *middle], better[middle].max() + 0.1
    wanted = [[8, 4, 40, 24], [8, 4, 40, 52], [8, 24, 40, 52], [48, 60, 60, 80]]
    chosen, _ = find_boxes(sides, scores, 4)
    assert sorted(chosen.round(6).tolist()) == [wanted[1], wanted[3]]
    candidates, _ = find_boxes(sides, scores, 4, candidates=True)
    assert sorted(candidates.round(6).tolist()) == wanted


def test_cells_without_an_object_say_nothing() -> None:
    boxes, scores = find_boxes(np.ones((4, 5, 5), np.float32), np.full((5, 5), 0.2, np.float32), 4)
    assert boxes.shape == (0, 4)
    assert scores.shape == (0,)
