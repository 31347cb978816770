"""How likely a machine's masks are right, and what speaks against each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_sam.planes import Plane

SURE = 0.5
"""Quality from which on masks are accepted unseen: more of those below are wrong than right."""

HOPELESS = 0.2
"""Quality below which masks may be deleted unseen: a click makes a better one sooner."""

# A logistic regression of whether a found mask has an IoU of at least 0.8, fitted to what `nano`
# finds in the training planes of nuclei, tissue, phase contrast and electron microscopy. Of masks
# without a predicted IoU that leaves what can be seen of them.
_OFFSET, _EXPECTED, _SMALL, _AT_BORDER = 0.5, 17.0, 1.0, 3.0
_UNSCORED = 0.85  # the IoU that is expected of them

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
class Judgement:
    """What is thought of an object.

    Parameters
    ----------
    quality
        How likely its mask is right, 0-1.
    reasons
        What speaks against it, in a few words each.
    """

    quality: float
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
    seen: Mapping[tuple[Plane, int], Appearance],
    scores: Mapping[int, float | None],
) -> dict[tuple[Plane, int], Judgement]:
    """Say how likely masks are right.

    Parameters
    ----------
    seen
        What objects look like, by plane and number.
    scores
        The IoU that a model expects of an object, where one does.
    """
    if not seen:
        return {}
    area = float(np.median([one.area for one in seen.values()]))
    ragged = float(np.median([one.raggedness for one in seen.values()]))
    usual = (area, ragged) if len(seen) >= _FEW else None
    return {key: _judged(one, scores.get(key[1]), usual) for key, one in seen.items()}


def _judged(one: Appearance, score: float | None, usual: tuple[float, float] | None) -> Judgement:
    smaller = 0.0 if usual is None else max(0.0, math.log(usual[0] / one.area))
    value = _OFFSET + _EXPECTED * ((_UNSCORED if score is None else score) - 0.8)
    value -= _SMALL * min(smaller, 2.0) + _AT_BORDER * one.border / one.outline
    return Judgement(1 / (1 + math.exp(-value)), tuple(_reasons(one, score, usual)))


def _reasons(
    one: Appearance, score: float | None, usual: tuple[float, float] | None
) -> Iterator[str]:
    if score is not None and score < _EXPECTS_LITTLE:
        yield f"the model expects an IoU of {score:.2f}"
    if usual is not None:
        area, ragged = usual
        if one.area * _UNUSUAL < area:
            yield "smaller than most"
        if one.area > area * _UNUSUAL:
            yield "larger than most"
        if one.raggedness > ragged * _RAGGED:
            yield "an unusual shape"
    if one.contact > _CROWDED * one.outline:
        yield "among others"
    if one.border > _CUT * one.outline:
        yield "at the border"
