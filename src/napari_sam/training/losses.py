"""Losses of mask logits, predicted IoU and the dense head."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F


def mask_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Class-balanced cross-entropy plus dice, for each candidate.

    The background counts twice: near the object, where the outline is decided, and everywhere.

    Parameters
    ----------
    logits
        `(N, M, h, w)`.
    target
        `(N, 1, h, w)` shares of foreground 0-1.

    Returns
    -------
    loss
        `(N, M)`.
    """
    axes = (2, 3)
    entropy = F.binary_cross_entropy_with_logits(logits, target.expand_as(logits), reduction="none")
    background = 1 - target
    near = background * _surroundings(target)
    inside = (entropy * target).sum(axes) / target.sum(axes).clamp_min(1)
    outside = (entropy * near).sum(axes) / near.sum(axes).clamp_min(1)
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


def dense_loss(maps: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of foreground and normalised distance.

    Parameters
    ----------
    maps
        `(B, 2, h, w)` logits of the dense head.
    target
        `(B, 2, h, w)` from :func:`dense_targets`.
    """
    entropy = F.binary_cross_entropy_with_logits(maps, target, reduction="none")
    # the distance of background pixels is known from the foreground map: it counts less
    weight = torch.stack([torch.ones_like(target[:, 0]), 0.2 + target[:, 0]], 1)
    return (entropy * weight).mean()


def dense_targets(labels: NDArray[np.int32]) -> NDArray[np.float32]:
    """Compute what the dense head should say about labels.

    Parameters
    ----------
    labels
        `(H, W)`, 0 is background.

    Returns
    -------
    target
        `(2, H, W)`: foreground, and distance to the object's border over the object's largest.
    """
    inner = labels > 0
    for axis in (0, 1):  # pixels on either side of a border between touching objects
        differs = np.diff(labels, axis=axis) != 0
        padding = [(0, 0), (0, 0)]
        padding[axis] = (0, 1)
        inner &= ~np.pad(differs, padding)
    depth = ndimage.distance_transform_edt(inner).astype(np.float32)
    largest = np.zeros(int(labels.max()) + 1, np.float32)
    np.maximum.at(largest, labels.ravel(), depth.ravel())
    distance = depth / np.maximum(largest, 1)[labels]
    return np.stack([(labels > 0).astype(np.float32), distance * (labels > 0)])


def _surroundings(target: Tensor) -> Tensor:
    """Rectangle around each object, a half of its sides and four cells wider on every side."""
    h, w = target.shape[2:]
    rows, columns = target.amax(3) > 0, target.amax(2) > 0  # (N, 1, h), (N, 1, w)
    return (_widen(rows, h)[..., :, None] & _widen(columns, w)[..., None, :]).to(target.dtype)


def _widen(occupied: Tensor, length: int) -> Tensor:
    at = torch.arange(length, device=occupied.device)
    first = torch.where(occupied, at, length).amin(-1, keepdim=True)
    last = torch.where(occupied, at, -1).amax(-1, keepdim=True)
    margin = (last - first) // 2 + 4
    return (at >= first - margin) & (at <= last + margin)
