"""Losses and their targets."""

from __future__ import annotations

import torch

from napari_sam.training.losses import mask_iou, mask_loss


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


def test_balance_decides_where_uncertain_masks_end() -> None:
    rim = _square()
    rim[..., 6:22, 8:24] = 1
    surely = torch.where(_square() > 0, 12.0, -12.0)
    values = torch.linspace(-3, 3, 121)
    logits = torch.cat([torch.where(rim > _square(), value, surely) for value in values], 1)

    def best(balance: float) -> float:  # for a rim that every other annotator draws
        drawn, left_out = (mask_loss(logits, truth, balance)[0] for truth in (rim, _square()))
        return float(values[(drawn + left_out).argmin()])

    assert best(1.0) > 0.3
    assert abs(best(0.5)) < 0.2
    assert best(0.0) < -0.3


def test_iou_counts_thresholded_pixels() -> None:
    target = _square()
    half = target.clone()
    half[..., :14, :] = 0
    assert torch.allclose(mask_iou(half * 2 - 1, target), torch.tensor([[0.5]]))
