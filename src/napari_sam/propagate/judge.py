"""Whether an object is still there on the next planes, and how far its mask can be trusted."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]

SIGNS = (
    "expected_iou",
    "appearance",
    "agreement",
    "expected_iou_lost",
    "expected_iou_ahead",
    "expected_iou_regained",
    "appearance_lost",
    "appearance_ahead",
    "appearance_regained",
)
"""What tells the end of an object, in the order of :func:`signs_of`."""


@dataclass(frozen=True, slots=True)
class Causes:
    """Why a mask is trusted or not.

    Parameters
    ----------
    present
        Probability that the object is still there on this plane, 0-1.
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


def signs_of(seen: Sequence[Causes], at: int, ahead: int) -> Vector:
    """Return what speaks for the end of an object at a plane, `(9,)` as in :data:`SIGNS`.

    Parameters
    ----------
    seen
        From where the object was given (0) outward, farther than the plane in question.
    at
        Index of that plane, from 1.
    ahead
        How many planes behind it count. Where an object looks less and less like itself and then
        more so again, another one has begun: of predicted IoU and of appearance it counts how
        much was lost since the best plane, how much comes back on the next ones, and how much has
        come back since the worst.
    """
    now = seen[at]
    signs = [now.expected_iou, now.appearance, now.agreement]
    for name in ("expected_iou", "appearance"):
        values = [getattr(one, name) for one in seen[: at + 1 + ahead]]
        here = values[at]
        signs += [
            max(values[:at]) - here,
            max(values[at:]) - here,
            here - min(values[: at + 1]),
        ]
    return np.array(signs, np.float32)


@dataclass(frozen=True, slots=True)
class Judge:
    """Numbers that tell the end of an object, and how good its masks are.

    Parameters
    ----------
    end_bias, end_weights
        Logit of an object's end on a plane, given that it was there on the one before: the bias,
        and a weight for each of :data:`SIGNS`.
    negligible
        An end that is less probable than this on a plane counts for nothing there: or else the
        longest objects would end by the sum of small doubts.
    least_presence
        An object has ended where the probability that it is still there falls below this one.
    ahead
        So many planes are looked at before one is judged.
    quality_bias, quality_weight
        Logit of the quality: the bias, and the weight of the presence times the lowest predicted
        IoU since the object was given.
    least_between
        Between two planes where an object is known to be, it is followed down to this predicted
        IoU.

    Notes
    -----
    The probability of being there is a product over the planes passed, as in discrete-time
    survival analysis. The numbers of a model are fitted on procedural stacks by
    `benchmarks/fit_judge.py` and lie in `judges.json` by its :attr:`Segmenter.encoder_key`; the
    ones here are those of `nano`, and serve for models without any.
    """

    end_bias: float = 5.683
    end_weights: tuple[float, ...] = (
        -5.083,
        -0.431,
        -3.581,
        2.482,
        18.992,
        -3.751,
        0.431,
        0.194,
        0.495,
    )
    negligible: float = 0.04
    least_presence: float = 0.4
    ahead: int = 2
    quality_bias: float = -2.992
    quality_weight: float = 5.408
    least_between: float = 0.5

    def __post_init__(self) -> None:
        if len(self.end_weights) != len(SIGNS):
            raise ValueError(
                f"expected {len(SIGNS)} weights, for {', '.join(SIGNS)}, got {self.end_weights}"
            )

    def end(self, seen: Sequence[Causes], at: int) -> float:
        """Return the probability that an object isn't there on a plane, if on the one before.

        See :func:`signs_of`.
        """
        signs = signs_of(seen, at, self.ahead)
        end = logistic(self.end_bias + float(signs @ np.array(self.end_weights, np.float32)))
        return end if end >= self.negligible else 0.0

    def quality(self, presence: float, lowest_iou: float) -> float:
        """Return the IoU that a mask can be expected to have."""
        return logistic(self.quality_bias + self.quality_weight * presence * lowest_iou)


def judge_of(encoder_key: str) -> Judge:
    """Return the numbers that were fitted for an encoder, or those of `nano`."""
    return _fitted().get(encoder_key, Judge())


@cache
def _fitted() -> dict[str, Judge]:
    text = files("napari_sam.propagate").joinpath("judges.json").read_text("utf-8")
    known = {one.name for one in fields(Judge)}
    judges = {}
    for entry in json.loads(text)["judges"]:
        numbers = {name: value for name, value in entry.items() if name in known}
        numbers["end_weights"] = tuple(entry["end_weights"][name] for name in SIGNS)
        judges[entry["encoder_key"]] = Judge(**numbers)
    return judges


def logistic(logit: float) -> float:
    """Return the probability of a logit."""
    return 1 / (1 + math.exp(-min(max(logit, -60.0), 60.0)))


def cosine(one: Vector, other: Vector) -> float:
    """Return the cosine of two vectors; 0 where one has no length."""
    length = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / length if length > 0 else 0.0
