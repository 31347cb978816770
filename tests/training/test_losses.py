"""Losses and their targets."""

from __future__ import annotations

import numpy as np
import torch

from napari_sam.training.losses import dense_targets, mask_iou, mask_loss


def _square() -> torch.Tensor:
    target = torch.zeros(1, 1, 32, 32)
    target[..., 8:20, 10:22] = 1
    return target


def test_better_masks_cost_less() -> None:
    target = _square()
    perfect, wrong = 12 * (2 * target - 1), -12 * (2 * target - 1)
    shifted = perfect.roll(3, 2)
    losses = mask_loss(torch.cat([perfect, shifted, wrong], 1), target)[0]
    assert losses[0] < 0.05
    assert losses[0] < losses[1] < losses[2]


def test_iou_counts_thresholded_pixels() -> None:
    target = _square()
    half = target.clone()
    half[..., :14, :] = 0
    assert torch.allclose(mask_iou(half * 2 - 1, target), torch.tensor([[0.5]]))


def test_distance_falls_to_nothing_between_touching_objects() -> None:
    labels = np.zeros((30, 40), np.int32)
    labels[5:25, 5:20] = 1
    labels[5:25, 20:35] = 2
    foreground, distance = dense_targets(labels)
    assert (foreground == (labels > 0)).all()
    assert distance[15, 19:21].max() < 0.3
    assert distance[labels == 1].max() == distance[labels == 2].max() == 1
    assert (distance[labels == 0] == 0).all()


def test_dense_targets_of_an_empty_plane_are_zero() -> None:
    assert not dense_targets(np.zeros((8, 8), np.int32)).any()
