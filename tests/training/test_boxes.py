"""Boxes of labels, and how well boxes agree."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from labelled import block

from napari_sam.training.boxes import box_agreement, label_boxes


def test_boxes_of_labels_are_edges_by_label() -> None:
    labels = block((20, 30), (1, np.s_[2:5, 3:9]), (3, np.s_[10:11, 0:1]))
    assert label_boxes(labels).tolist() == [[0] * 4, [2, 3, 5, 9], [0] * 4, [10, 0, 11, 1]]


@pytest.mark.parametrize(
    ("other", "iou", "generalised"),
    [
        ((0, 0, 10, 10), 1, 1),
        ((0, 0, 10, 5), 1 / 2, 1 / 2),
        ((5, 5, 15, 15), 25 / 175, 25 / 175 - 50 / 225),
        ((20, 0, 30, 10), 0, -100 / 300),
        ((20, 20, 30, 30), 0, -700 / 900),  # apart along both axes
        ((0, 0, 0, 0), 0, 0),
    ],
)
def test_agreement_of_boxes(other: tuple[int, ...], iou: float, generalised: float) -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([other], dtype=torch.float32)
    for given in (boxes, boxes[::-1]):
        found = [float(x) for x in box_agreement(*given)]
        assert found == pytest.approx([iou, generalised], abs=1e-6)
