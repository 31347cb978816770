"""One box per object from those of all cells."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from labelled import block

from napari_sam.masks import box_iou, box_nms
from napari_sam.model.tuning import ProposalTuning
from napari_sam.segmentation.box_choice import _worthiest, choose_boxes, find_boxes
from napari_sam.training.dense_loss import DenseTargets


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


def test_cells_without_an_object_propose_nothing() -> None:
    boxes, scores = find_boxes(np.ones((4, 5, 5), np.float32), np.full((5, 5), 0.2, np.float32), 4)
    assert boxes.shape == (0, 4)
    assert scores.shape == (0,)


CLUMP, LEFT, RIGHT, FAR = (0, 0, 40, 60), (0, 0, 40, 28), (2, 31, 40, 60), (80, 80, 90, 90)


@pytest.mark.parametrize(
    ("scores", "chosen"),
    [
        ((0.8, 0.7, 0.75, 0.9), [3, 2, 1]),  # together the two are worth more than their clump
        ((0.8, 0.55, 0.6, 0.9), [3, 0]),
        ((0.8, 0.45, 0.95, 0.9), [2, 3, 1]),  # unlikely, but it overlaps nothing that is chosen
        ((0.4, 0.3, 0.3, 0.2), [0, 3]),  # none is likely: the best go first
    ],
)
def test_objects_are_chosen_instead_of_their_clump_if_that_is_worth_more(
    scores: tuple[float, ...], chosen: list[int]
) -> None:
    boxes = np.array([CLUMP, LEFT, RIGHT, FAR], float)
    assert choose_boxes(boxes, np.array(scores, np.float32)).tolist() == chosen


def test_nothing_is_chosen_from_nothing() -> None:
    assert choose_boxes(np.empty((0, 4)), np.empty(0, np.float32)).shape == (0,)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 30), st.integers(0, 30), st.integers(8, 20), st.integers(8, 20),
            st.floats(0.25, 0.9375, width=32),
        ),
        min_size=1,
        max_size=8,
    )
)  # fmt: skip
def test_worthiest_boxes_are_apart_and_worth_no_less_than_the_greedy_choice(
    drawn: list[tuple[int, int, int, int, float]],
) -> None:
    boxes = np.array([(y, x, y + h, x + w) for y, x, h, w, _ in drawn], float)
    scores = np.array([one[4] for one in drawn], np.float32)
    worth = scores - 0.25
    kept = np.flatnonzero(_worthiest(boxes, worth, ProposalTuning().same_object))
    overlap = np.array([box_iou(box, boxes) for box in boxes]) > 0.2
    assert not any(overlap[i, j] for i, j in product(kept, kept) if i != j)
    assert overlap[kept].any(0).all()  # whatever is left overlaps what was chosen
    greedy = box_nms(boxes, worth, 0.2)
    assert worth[kept].sum() >= worth[greedy].sum() - 1e-5
