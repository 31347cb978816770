"""What the dense head learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from labelled import block

from napari_sam.model.dense_head import DenseOutput
from napari_sam.training.dense_loss import DenseTargets, dense_loss, distance_maps


@pytest.fixture
def touching() -> np.ndarray:
    """Two touching rectangles and a small one, of which each box is known."""
    return block(
        (64, 64),
        (1, np.s_[8:40, 4:24]),
        (2, np.s_[8:40, 24:44]),
        (3, np.s_[48:56, 8:16]),
    )


def test_distance_falls_to_nothing_between_touching_objects(touching: np.ndarray) -> None:
    foreground, distance = distance_maps(touching)
    assert (foreground == (touching > 0)).all()
    assert distance[24, 23:25].max() < 0.3
    assert distance[touching == 1].max() == distance[touching == 2].max() == 1
    assert (distance[touching == 0] == 0).all()


def test_maps_of_an_empty_plane_are_zero() -> None:
    assert not distance_maps(np.zeros((8, 8), np.int32)).any()


def test_sides_lead_to_the_edges_of_the_own_box(touching: np.ndarray) -> None:
    sides = DenseTargets.of(touching[None]).sides[0]
    # the cell in row 5, column 4 has its centre at (22, 18)
    assert sides[:, 5, 4].tolist() == [22 - 8, 18 - 4, 40 - 22, 24 - 18]
    assert sides[:, 5, 6].tolist() == [22 - 8, 26 - 24, 40 - 22, 44 - 26]
    assert not sides[:, 0, 0].any()


def test_objects_weigh_the_same_and_the_background_as_much_as_all(touching: np.ndarray) -> None:
    target = DenseTargets.of(touching[None])
    at = torch.from_numpy(touching[::2, ::2])
    sums = [float(target.shares[0][at == label].sum()) for label in range(4)]
    assert sums == pytest.approx([3, 1, 1, 1])
    assert float(target.side_shares.sum()) == pytest.approx(3)


def said(target: DenseTargets) -> DenseOutput:
    """What a perfect head would say."""
    maps = torch.logit(target.maps.clamp(1e-4, 1 - 1e-4))
    scores = torch.where(target.side_shares > 0, 12.0, -12.0)
    return DenseOutput(maps, target.sides.clamp_min(0.5), scores)


def test_saying_the_truth_costs_next_to_nothing_and_errors_cost(touching: np.ndarray) -> None:
    target = DenseTargets.of(touching[None])
    truth = said(target)
    best = dense_loss(truth, target)
    assert best < 0.01
    assert dense_loss(truth._replace(sides=truth.sides * 2), target) > best + 0.1
    assert dense_loss(truth._replace(maps=truth.maps.roll(4, 3)), target) > best + 0.1
    assert dense_loss(truth._replace(scores=-truth.scores), target) > best + 0.1


def test_a_bad_box_should_be_scored_low(touching: np.ndarray) -> None:
    target = DenseTargets.of(touching[None])
    double = said(target)._replace(sides=2 * target.sides.clamp_min(0.5))  # IoU 1/4
    modest = double._replace(scores=torch.where(target.side_shares > 0, -1.1, -12.0))
    assert dense_loss(modest, target) < dense_loss(double, target)


def test_confidence_in_a_box_that_fits_nothing_costs(touching: np.ndarray) -> None:
    target = DenseTargets.of(touching[None])
    astray = said(target)._replace(sides=torch.full_like(target.sides, 2000.0))  # IoU next to 0
    doubtful = astray._replace(scores=torch.full_like(astray.scores, -12.0))
    assert dense_loss(doubtful, target) < dense_loss(astray, target) - 5


def test_boxes_count_most_in_the_middle_of_an_object(touching: np.ndarray) -> None:
    target = DenseTargets.of(touching[None])
    middle, rim = said(target), said(target)
    middle.sides[0, :, 6, 3] *= 2
    rim.sides[0, :, 6, 1] *= 2
    assert dense_loss(middle, target) > dense_loss(rim, target) + 1e-3


def test_a_batch_without_objects_has_a_finite_loss() -> None:
    target = DenseTargets.of(np.zeros((1, 64, 64), np.int32))
    maps, scores = torch.zeros(1, 2, 32, 32), torch.zeros(1, 16, 16)
    leaves = [x.requires_grad_() for x in (maps, torch.full((1, 4, 16, 16), 9.0), scores)]
    loss = dense_loss(DenseOutput(*leaves), target)
    loss.backward()
    assert torch.isfinite(loss)
    for leaf in leaves:
        assert leaf.grad is not None
        assert torch.isfinite(leaf.grad).all()
