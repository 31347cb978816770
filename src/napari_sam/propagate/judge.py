"""Whether an object is still there on the next plane, and how far its mask can be trusted."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Causes:
    """Why a mask is trusted or not.

    Parameters
    ----------
    present
        Probability that the object is on this plane at all, 0-1.
    expected_iou
        IoU that the model predicts for the mask, 0-1.
    agreement
        IoU with the mask of the plane before; between two anchors, that of the masks that came
        from either side.
    area_change
        Area divided by that on the plane before.
    appearance
        How alike the object looks here and where it was given: the cosine of its mean features,
        less those of their planes; -1 to 1.
    """

    present: float = 1.0
    expected_iou: float = 1.0
    agreement: float = 1.0
    area_change: float = 1.0
    appearance: float = 1.0


@dataclass(frozen=True, slots=True)
class Judge:
    """Numbers that tell the end of an object.

    Parameters
    ----------
    appearance_weight, threshold
        An object ends on the first plane where its predicted IoU and so much of its appearance
        together are below the threshold.
    bias, iou_slope, appearance_slope
        Logit of its presence: the bias, and the slopes times predicted IoU and appearance.
    least_between
        Between two planes where an object is known to be, it is followed down to this IoU.

    Notes
    -----
    The numbers were fitted with `nano` on planes of electron microscopy and procedural volumes:
    the first rule by 3-D IoU, the logit by whether a mask has an IoU over 0.3.
    """

    appearance_weight: float = 0.148
    threshold: float = 0.917
    bias: float = -7.76
    iou_slope: float = 8.46
    appearance_slope: float = 1.25
    least_between: float = 0.5

    def ends(self, score: float, appearance: float, is_between: bool = False) -> bool:
        """Whether an object of this predicted IoU and appearance is no longer there."""
        if is_between:
            return score < self.least_between
        return score + self.appearance_weight * appearance < self.threshold

    def presence(self, score: float, appearance: float) -> float:
        """Return the probability that the object is there."""
        logit = self.bias + self.iou_slope * score + self.appearance_slope * appearance
        return 1 / (1 + math.exp(-logit))


def cosine(one: Vector, other: Vector) -> float:
    """Return the cosine of two vectors; 0 where one has no length."""
    length = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / length if length > 0 else 0.0
