"""Bounding boxes of labels, and how well boxes agree."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor


def label_boxes(labels: NDArray[np.int32]) -> NDArray[np.float32]:
    """Return edges (y0, x0, y1, x1) by label `(N + 1, 4)`; zeros for 0 and for labels not there."""
    boxes = np.zeros((int(labels.max()) + 1, 4), np.float32)
    for label, place in enumerate(ndimage.find_objects(labels), 1):
        if place is not None:
            rows, columns = place
            boxes[label] = rows.start, columns.start, rows.stop, columns.stop
    return boxes


def box_agreement(boxes: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and generalised IoU of boxes, the latter by Rezatofighi et al. (2019).

    Parameters
    ----------
    boxes, others
        `(N, 4, ...)` edges as (y0, x0, y1, x1).

    Returns
    -------
    iou, generalised
        `(N, ...)` each.
    """
    shared = _area(
        torch.maximum(boxes[:, :2], others[:, :2]), torch.minimum(boxes[:, 2:], others[:, 2:])
    )
    around = _area(
        torch.minimum(boxes[:, :2], others[:, :2]), torch.maximum(boxes[:, 2:], others[:, 2:])
    )
    union = _area(boxes[:, :2], boxes[:, 2:]) + _area(others[:, :2], others[:, 2:]) - shared
    iou = shared / union.clamp_min(1e-3)
    return iou, iou - (around - union) / around.clamp_min(1e-3)


def _area(low: Tensor, high: Tensor) -> Tensor:
    return (high - low).clamp_min(0).prod(1)
