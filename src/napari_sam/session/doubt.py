"""How likely a machine's masks are right, and what speaks against each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_sam.session.journal import ObjectFacts

SURE = 0.5
"""Quality from which on masks are accepted unseen: more of those below are wrong than right."""

HOPELESS = 0.35
"""How likely masks are worth correcting, below which they are deleted unseen."""

# Logistic regressions of whether a found mask has an IoU of at least 0.8, and of at least 0.5,
# fitted to what `nano` finds in planes that it was trained on; with the IoU that the model expects,
# and by looks alone.
_RIGHT = {"": 1.2, "score": 12.2, "stability": 5.0, "smaller": -0.2, "larger": -0.9,
          "ragged": -2.2, "contact": -1.0, "border": -2.6}  # fmt: skip
_RIGHT_BY_LOOKS = {"": 2.3, "smaller": -1.8, "larger": -1.0, "ragged": -6.7, "contact": -3.4,
                   "border": -3.4}  # fmt: skip
_NEARLY = {"": 2.7, "score": 11.8, "stability": 0.7, "smaller": -0.1, "larger": -1.3,
           "ragged": -1.0, "contact": 2.0, "border": -4.9}  # fmt: skip
_NEARLY_BY_LOOKS = {"": 3.4, "smaller": -1.2, "larger": -1.6, "ragged": -4.7, "contact": 0.4,
                    "border": -4.9}  # fmt: skip
_MIDDLE = 0.8  # of score and stability

_FEW = 5  # objects: too few to say what is usual among them
_EXPECTS_LITTLE = 0.75
_UNUSUAL = 2.5  # times the size that is usual, or that part of it
_RAGGED = 1.4  # times the outline that is usual for its size
_CROWDED = 0.5  # share of the outline
_CUT = 0.1  # share of the outline


@dataclass(frozen=True, slots=True)
class Appearance:
    """What an object looks like in the labels of a plane.

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
        """Outline against that of a square of its area; 1.13 for a disk."""
        return self.outline / (4 * self.area**0.5)


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a model expects of a mask.

    Parameters
    ----------
    score
        Its IoU with the object.
    stability
        Agreement of masks cut a little above and below the threshold; None where it isn't known.
    """

    score: float
    stability: float | None = None

    @classmethod
    def of(cls, known: ObjectFacts) -> Expectation | None:
        """Return what the model that found an object expected; None where none found it."""
        return None if known.score is None else cls(known.score, known.stability)


@dataclass(frozen=True, slots=True)
class Usual:
    """What most of some objects look like.

    Parameters
    ----------
    area, raggedness
        As of :class:`Appearance`.
    """

    area: float
    raggedness: float

    @classmethod
    def among(cls, seen: Iterable[Appearance]) -> Usual | None:
        """Return what is usual among objects; None where there are too few to tell."""
        every = list(seen)
        if len(every) < _FEW:
            return None
        area = float(np.median([one.area for one in every]))
        return cls(area, float(np.median([one.raggedness for one in every])))


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is thought of an object.

    Parameters
    ----------
    quality
        How likely its mask is right: has an IoU of at least 0.8.
    worth
        How likely it is worth correcting: has an IoU of at least 0.5.
    reasons
        What speaks against it, in a few words each.
    """

    quality: float
    worth: float
    reasons: tuple[str, ...]


def appearances(labels: NDArray[np.integer]) -> dict[int, Appearance]:
    """Return what every object of a plane looks like.

    Parameters
    ----------
    labels
        `(H, W)`; what is not positive is background.
    """
    from scipy import ndimage  # a window that opens doesn't wait for it

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
    """Say how likely a mask is right.

    Parameters
    ----------
    one
        What it looks like.
    usual
        What most objects look like; None where that isn't known.
    found
        What the model that found it expected; None where none did.
    now
        What another model expects, which answers now; None where it hasn't been asked. It says
        alone whether the mask is right; whether it is worth correcting both say, since a model
        that was taught other outlines expects little even of what is nearly right.
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
        quality = _likelihood(_RIGHT_BY_LOOKS, features)
        worth = _likelihood(_NEARLY_BY_LOOKS, features)
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
    if expected is not None and expected.score < _EXPECTS_LITTLE:
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
