"""Estimate whether an object is still there on a plane, and how good its mask is."""

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
"""Predictors of the end of an object, in the order of :func:`signs_of`."""


@dataclass(frozen=True, slots=True)
class Causes:
    """Measurements from which the quality of a mask is estimated.

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
        Similarity of the object here and where it was given: the cosine of its mean features,
        minus the mean features of their planes; -1 to 1.
    """

    present: float = 1.0
    expected_iou: float = 1.0
    agreement: float = 1.0
    area_change: float = 1.0
    appearance: float = 1.0


def signs_of(seen: Sequence[Causes], at: int, ahead: int) -> Vector:
    """Return the predictors of the end of an object at a plane, `(9,)` as in :data:`SIGNS`.

    Parameters
    ----------
    seen
        Measurements from the plane where the object was given (0) outward, to planes beyond the
        one in question.
    at
        Index of that plane, from 1.
    ahead
        How many planes beyond it count. Where an object becomes less similar to itself and then
        more similar again, another object has begun. So of the predicted IoU and of the
        appearance three numbers count: how much was lost since the best plane, how much is
        regained on the next planes, and how much has been regained since the worst.
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
    """Logistic models of where a followed object ends, and of how good its masks are.

    Parameters
    ----------
    end_bias, end_weights
        Logistic model of the probability that an object ends on a plane, given that it was there
        on the plane before: the bias, and a weight for each of :data:`SIGNS`.
    negligible
        A lower probability of an end counts as 0, so that a long object doesn't end by the
        product of many small probabilities.
    least_presence
        An object has ended where the probability that it is still there falls below this.
    ahead
        Number of planes beyond a plane that are predicted before its end is decided.
    quality_bias, quality_weight
        Logistic model of the quality: the bias, and the weight of the product of the presence and
        the lowest predicted IoU since the object was given.
    least_between
        Between two planes where an object was given, it is followed as long as the predicted IoU
        is at least this.

    Notes
    -----
    The probability that the object is there is a product over the planes passed, as in
    discrete-time survival analysis. Numbers for each model are fitted on synthetic stacks by
    `benchmarks/fit_judge.py` and stored in `judges.json` by :attr:`Segmenter.encoder_key`; the
    defaults are those of `nano`, and are used for models without an entry.
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
        """Return the probability that an object ends on a plane, if it was on the one before.

        The parameters are those of :func:`signs_of`.
        """
        signs = signs_of(seen, at, self.ahead)
        end = logistic(self.end_bias + float(signs @ np.array(self.end_weights, np.float32)))
        return end if end >= self.negligible else 0.0

    def quality(self, presence: float, lowest_iou: float) -> float:
        """Return the expected IoU of a mask.

        Parameters
        ----------
        presence
            Probability (0-1) that the object is still there.
        lowest_iou
            Lowest predicted IoU (0-1) from where the object is known up to this plane.
        """
        return logistic(self.quality_bias + self.quality_weight * presence * lowest_iou)


def judge_of(encoder_key: str) -> Judge:
    """Return the judge that was fitted for an encoder, or that of `nano`."""
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
