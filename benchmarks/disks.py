"""Masks of a usual size from a network with random weights, which writes noise over a plane."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from napari_sam.segmentation.protocol import MaskPrediction


def with_disk(prediction: MaskPrediction, point: Sequence[float], radius: float) -> MaskPrediction:
    """Put a disk in the place of each candidate.

    Parameters
    ----------
    prediction
        Whose logits are exchanged.
    point, radius
        The disk's middle as (row, column) and its radius, in plane pixels.
    """
    frame, (h, w) = prediction.frame, prediction.logits.shape[1:]
    x, y = frame.to_model(np.array([point]))[0] * (w / frame.canvas[1])
    distance = np.hypot(*np.ogrid[-y : h - y, -x : w - x])
    logits = radius * frame.scaled[0] / frame.shape[0] * h / frame.canvas[0] - distance
    every = np.broadcast_to(logits.astype(np.float32), prediction.logits.shape)
    return MaskPrediction(every.copy(), prediction.scores, frame)
