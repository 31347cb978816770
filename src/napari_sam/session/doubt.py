"""Estimating how likely masks made by a model are right, and why each is doubtful."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_sam.session.journal import ObjectFacts

SURE = 0.5
"""Quality from which masks may be accepted without review: of those below, most are wrong."""

HOPELESS = 0.35
"""Probability of being worth correcting below which masks may be deleted without review."""

# Logistic regressions of whether a found mask has an IoU of at least 0.8, and of at least 0.5,
# fitted to the masks that `nano` finds in its training planes; with the predicted IoU, and by
# appearance alone.
_RIGHT = {"": 1.2, "score": 12.2, "stability": 5.0, "smaller": -0.2, "larger": -0.9,
          "ragged": -2.2, "contact": -1.0, "border": -2.6}  # fmt: skip
_RIGHT_BY_APPEARANCE = {"": 2.3, "smaller": -1.8, "larger": -1.0, "ragged": -6.7, "contact": -3.4,
                         "border": -3.4}  # fmt: skip
_NEARLY = {"": 2.7, "score": 11.8, "stability": 0.7, "smaller": -0.1, "larger": -1.3,
           "ragged": -1.0, "contact": 2.0, "border": -4.9}  # fmt: skip
_NEARLY_BY_APPEARANCE = {"": 3.4, "smaller": -1.2, "larger": -1.6, "ragged": -4.7, "contact": 0.4,
                          "border": -4.9}  # fmt: skip
_MIDDLE = 0.8  # of score and stability

_FEW = 5  # objects; of fewer no median is taken
_LOW_SCORE = 0.75
_UNUSUAL = 2.5  # times the median area, or this fraction of it
_RAGGED = 1.4  # times the median raggedness
_CROWDED = 0.5  # fraction of the outline
_CUT = 0.1  # fraction of the outline


@dataclass(frozen=True, slots=True)
class Appearance:
    """The appearance of an object in the labels of a plane.

    Parameters
    ----------
    box
        (row 0, column 0, row 1, column 1): its outermost pixels.
    area
        Number of its pixels.
    outline
        Number of pixel sides between it and anything else.
    contact
        Of those, how many are between it and other objects.
    border
        Of those, how many lie on the border of the plane.
    """

    box: tuple[int, int, int, int]
    area: int
    outline: int
    contact: int
    border: int

    @property
    def raggedness(self) -> float:
        """The outline divided by that of a square of the same area; 1.13 for a disk."""
        return self.outline / (4 * self.area**0.5)


@dataclass(frozen=True, slots=True)
class Expectation:
    """The quality of a mask that a model predicts.

    Parameters
    ----------
    score
        The predicted IoU with the object.
    stability
        IoU of the masks at a slightly higher and a slightly lower threshold; None if not known.
    """

    score: float
    stability: float | None = None

    @classmethod
    def of(cls, known: ObjectFacts) -> Expectation | None:
        """Return the expectation of the model that found an object; None if none found it."""
        return None if known.score is None else cls(known.score, known.stability)


@dataclass(frozen=True, slots=True)
class Usual:
    """The median appearance of some objects.

    Parameters
    ----------
    area, raggedness
        As for :class:`Appearance`.
    """

    area: float
    raggedness: float

    @classmethod
    def among(cls, seen: Iterable[Appearance]) -> Usual | None:
        """Return the medians of objects; None if there are too few."""
        every = list(seen)
        if len(every) < _FEW:
            return None
        area = float(np.median([one.area for one in every]))
        return cls(area, float(np.median([one.raggedness for one in every])))


@dataclass(frozen=True, slots=True)
class Judgement:
    """The estimated quality of an object.

    Parameters
    ----------
    quality
        Probability that its mask is right: has an IoU of at least 0.8.
    worth
        Probability that it is worth correcting: has an IoU of at least 0.5.
    reasons
        Why it is doubtful, in a few words each.
    """

    quality: float
    worth: float
    reasons: tuple[str, ...]


def appearances(labels: NDArray[np.integer]) -> dict[int, Appearance]:
    """Return the appearance of every object of a plane.

    Parameters
    ----------
    labels
        `(H, W)` integers; values of 0 and below are background.
    """
    from scipy import ndimage  # imported late, since it is slow

    numbers, flat = np.unique(labels, return_inverse=True)
    image = flat.reshape(labels.shape)
    is_object = numbers > 0
    count = len(numbers)
    area = np.bincount(flat.ravel(), minlength=count)
    outline, contact, border = (np.zeros(count, np.int64) for _ in range(3))
    for one, other in ((image[:-1], image[1:]), (image[:, :-1], image[:, 1:])):
        differ = one != other
        a, b = one[differ], other[differ]
        touch = is_object[a] & is_object[b]
        for side in (a, b):
            outline += np.bincount(side, minlength=count)
            contact += np.bincount(side[touch], minlength=count)
    for edge in (image[0], image[-1], image[:, 0], image[:, -1]):
        border += np.bincount(edge, minlength=count)
    outline += border
    found: dict[int, Appearance] = {}
    for i, region in enumerate(ndimage.find_objects(image + 1)):
        if region is not None and is_object[i]:
            rows, columns = region
            box = (rows.start, columns.start, rows.stop - 1, columns.stop - 1)
            counts = (int(part[i]) for part in (area, outline, contact, border))
            found[int(numbers[i])] = Appearance(box, *counts)
    return found


def judge(
    one: Appearance,
    usual: Usual | None,
    found: Expectation | None,
    now: Expectation | None = None,
) -> Judgement:
    """Estimate how likely a mask is right.

    Parameters
    ----------
    one
        The appearance of the object.
    usual
        The median appearance of objects; None if it isn't known.
    found
        The expectation of the model that found it; None if none did.
    now
        The expectation of the present model, if it is another one and was asked. The quality then
        depends on it alone. The worth depends on both expectations, since a model that was
        fine-tuned to other outlines predicts a low IoU even for masks that are nearly right.
    """
    larger = 0.0 if usual is None else math.log(one.area / usual.area)
    features = {
        "": 1.0,
        "smaller": min(max(-larger, 0.0), 2.0),
        "larger": min(max(larger, 0.0), 2.0),
        "ragged": min(one.raggedness - 1, 1.5),
        "contact": one.contact / one.outline,
        "border": one.border / one.outline,
    }
    expected = now or found
    if expected is None:
        quality = _likelihood(_RIGHT_BY_APPEARANCE, features)
        worth = _likelihood(_NEARLY_BY_APPEARANCE, features)
    else:
        quality = _likelihood(_RIGHT, features | _features_of(expected))
        both = Expectation((expected.score + (found or expected).score) / 2, expected.stability)
        worth = _likelihood(_NEARLY, features | _features_of(both))
    return Judgement(quality, worth, tuple(_reasons(one, expected, usual)))


def _features_of(expected: Expectation) -> dict[str, float]:
    stability = _MIDDLE if expected.stability is None else expected.stability
    return {"score": expected.score - _MIDDLE, "stability": stability - _MIDDLE}


def _likelihood(weights: Mapping[str, float], features: Mapping[str, float]) -> float:
    return 1 / (1 + math.exp(-sum(weight * features[name] for name, weight in weights.items())))


def _reasons(one: Appearance, expected: Expectation | None, usual: Usual | None) -> Iterator[str]:
    if expected is not None and expected.score < _LOW_SCORE:
        yield f"the model expects an IoU of {expected.score:.2f}"
    if usual is not None:
        if one.area * _UNUSUAL < usual.area:
            yield "smaller than most"
        if one.area > usual.area * _UNUSUAL:
            yield "larger than most"
        if one.raggedness > usual.raggedness * _RAGGED:
            yield "an unusual shape"
    if one.contact > _CROWDED * one.outline:
        yield "among others"
    if one.border > _CUT * one.outline:
        yield "at the border"
