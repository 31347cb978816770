"""Masks cut to their bounding boxes, and predictions that become such."""

from __future__ import annotations

from napari_sam.patches import Patch, cut, join, minus, union
from napari_sam.segmentation.protocol import MaskPrediction

__all__ = ["Patch", "cut", "cut_prediction", "join", "minus", "union"]


def cut_prediction(prediction: MaskPrediction, index: int) -> Patch:
    """Cut one candidate of a prediction to its bounding box, at the plane's resolution."""
    origin, logits = prediction.part_logits(index)
    return cut(logits > 0, origin)
