"""Losses of mask logits and what they are measured by."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def mask_loss(logits: Tensor, target: Tensor, balance: float = 1.0) -> Tensor:
    """Cross-entropy plus dice, for each candidate.

    The background counts twice: near the object, where the outline is decided, and everywhere.

    Parameters
    ----------
    logits
        `(N, M, h, w)`.
    target
        `(N, 1, h, w)` shares of foreground 0-1.
    balance
        With 1 the object as a whole counts as much as all that is near it: an untrained network
        then finds out that there are objects, but draws them too large where an outline is
        uncertain. With 0 a pixel near the object counts as much as one of the object, and masks
        become too small: an outline that is drawn close leaves fewer pixels to share the weight.

    Returns
    -------
    loss
        `(N, M)`.
    """
    axes = (2, 3)
    entropy = F.binary_cross_entropy_with_logits(logits, target.expand_as(logits), reduction="none")
    background = 1 - target
    near = background * _surroundings(target)
    area, area_near = (part.sum(axes).clamp_min(1) for part in (target, near))
    inside = (entropy * target).sum(axes) / area
    outside = (entropy * near).sum(axes) / (area_near**balance * area ** (1 - balance))
    far = (entropy * background).sum(axes) / background.sum(axes).clamp_min(1)
    probability = logits.sigmoid()
    overlap = (probability * target).sum(axes)
    total = probability.sum(axes) + target.sum(axes)
    dice = 1 - (2 * overlap + 1) / (total + 1)
    return 0.5 * (inside + outside) + 0.5 * far + dice


def mask_iou(logits: Tensor, target: Tensor) -> Tensor:
    """Intersection over union of thresholded masks, `(N, M)`."""
    mask, truth = logits > 0, target > 0.5
    union = (mask | truth).sum((2, 3))
    return (mask & truth).sum((2, 3)) / union.clamp_min(1)


def _surroundings(target: Tensor) -> Tensor:
    """Rectangle around each object, a half of its sides and four cells wider on every side."""
    h, w = target.shape[2:]
    rows, columns = target.amax(3) > 0, target.amax(2) > 0  # (N, 1, h), (N, 1, w)
    return (_widen(rows, h)[..., :, None] & _widen(columns, w)[..., None, :]).to(target.dtype)


def _widen(occupied: Tensor, length: int) -> Tensor:
    at = torch.arange(length, device=occupied.device)
    first, last = occupied_ends(occupied)
    margin = (last - first) // 2 + 4
    return (at >= first - margin) & (at <= last + margin)


def occupied_ends(occupied: Tensor) -> tuple[Tensor, Tensor]:
    """Find the first and the last occupied place of each row.

    Parameters
    ----------
    occupied
        `(..., L)` bool.

    Returns
    -------
    first, last
        `(..., 1)`; L and −1 where no place is.
    """
    length = occupied.shape[-1]
    at = torch.arange(length, device=occupied.device)
    first = torch.where(occupied, at, length).amin(-1, keepdim=True)
    return first, torch.where(occupied, at, -1).amax(-1, keepdim=True)
