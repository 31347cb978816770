"""Carry an object through a stack, from the planes where it was prompted to its ends."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam.image import Limits
from napari_sam.masks import iou
from napari_sam.planes import ArraySource
from napari_sam.prompts import Prompts, deepest_point, tight_box
from napari_sam.segmentation.protocol import (
    Embedding,
    MaskPrediction,
    Progress,
    Segmenter,
)
from napari_sam.segmentation.replay import replay_many

Bool = NDArray[np.bool_]

# Embeddings kept while both directions pass through the same planes.
_KEPT_EMBEDDINGS = 16
# Logits are cut at this magnitude before two directions are averaged, so that neither one's
# certainty outweighs its distance.
_LOGIT_LIMIT = 8.0


@dataclass(frozen=True, slots=True, eq=False)
class PropagationStep:
    """An object on one plane of a stack.

    Parameters
    ----------
    index
        Position of the plane along the stack's axis.
    mask
        `(H, W)`.
    score
        How much the mask can be trusted, 0-1: 1 for a mask that was given, the predicted IoU for
        prompts, and for a carried mask the predicted IoU times its agreement with its neighbour,
        or with what came from the other direction.
    """

    index: int
    mask: Bool
    score: float


@dataclass(frozen=True, slots=True)
class March:
    """What a mask is carried with from plane to plane, and when that ends.

    Parameters
    ----------
    box_margin
        The last mask's box grows by this share of its side on each side.
    least_agreement
        The march ends where no candidate reaches this IoU with the last mask,
    largest_growth
        or where the area grows or shrinks by more than this factor,
    least_score
        or where the model predicts a smaller IoU than this.
    """

    box_margin: float = 0.05
    least_agreement: float = 0.4
    largest_growth: float = 2.5
    least_score: float = 0.3


@dataclass(frozen=True, slots=True, eq=False)
class _Carried:
    """A mask on its way, with the logits it was cut from where a model made it."""

    mask: Bool
    score: float
    prediction: MaskPrediction | None = None
    candidate: int = 0


def propagate(
    segmenter: Segmenter,
    stack: Any,
    prompts: Mapping[int, Prompts | Bool],
    axis: int = 0,
    contrast_limits: Limits | None = None,
    progress: Progress | None = None,
    march: March | None = None,
) -> Iterator[PropagationStep]:
    """Carry an object from prompted planes through a stack.

    From the first and last prompted plane the object is followed outward until it ends. Between
    two prompted planes it is followed from both, and the two results are averaged, each weighted
    by its nearness. On each plane the next mask comes from the last one: as a mask prompt with
    its deepest point and its box, as point and box alone, and as the point alone; of these
    candidates the one with the best product of predicted IoU and agreement with the last mask is
    taken.

    Parameters
    ----------
    segmenter
        The model. A :class:`~napari_sam.CachedSegmenter` saves encoding the
        planes again for the next object.
    stack
        `(..., H, W)` or `(..., H, W, 3)` with one axis besides those of the plane; anything with
        `shape` that is read by indexing (numpy, dask, zarr). One plane is read at a time.
    prompts
        Plane index to the object's prompts there, or to its mask `(H, W)` of bool, which is kept
        as it is.
    axis
        Axis of the stack to move along.
    contrast_limits
        Values that become black and white. ``None`` means one pair for the whole stack.
    progress
        Called between the blocks of each encoding and between clicks, so that it can raise
        :class:`~napari_sam.Cancelled`; its fraction is that of one plane.
    march
        How to follow the object and when to stop.

    Yields
    ------
    step
        The prompted planes first, then those between them, then outward; each plane at most once.
        Planes on which the object was not found are left out.

    Raises
    ------
    ValueError
        If there are no prompts, an index lies outside the stack, a mask is empty or of another
        shape than the planes; or as :meth:`Segmenter.embed` and :func:`replay` do.
    """
    planes = _Planes(segmenter, stack, axis, contrast_limits, progress)
    march = march or March()
    given = {int(z): prompts[z] for z in sorted(prompts)}
    if not given:
        raise ValueError("expected prompts on at least one plane, got none")
    for z in given:
        planes.check(z)
    known: dict[int, _Carried] = {}
    for z, one in given.items():
        known[z] = _prompted(planes, z, one)
        yield PropagationStep(z, known[z].mask, known[z].score)
    for first, last in pairwise(known):
        yield from _between(planes, known, first, last, march)
    ends = min(known), max(known)
    for start, stop, step in ((ends[0], -1, -1), (ends[1], planes.count, 1)):
        for z, carried in _follow(planes, known[start], range(start + step, stop, step), march):
            yield PropagationStep(z, carried.mask, carried.score)


class _Planes:
    """Planes of a stack and their embeddings, read when needed."""

    def __init__(
        self,
        segmenter: Segmenter,
        stack: Any,
        axis: int,
        contrast_limits: Limits | None,
        progress: Progress | None,
    ) -> None:
        stack = stack if hasattr(stack, "shape") else np.asarray(stack)
        dimensions = len(stack.shape)
        if not (dimensions == 3 or (dimensions == 4 and stack.shape[-1] in (3, 4))):
            raise ValueError(
                "expected a stack with one axis besides those of a plane, got shape "
                f"{stack.shape}; pick a channel or a time point first"
            )
        spatial = 3  # colours stay with their plane
        if not -spatial <= axis < spatial:
            raise ValueError(f"expected an axis from 0 to {spatial - 1}, got {axis}")
        self._axis = axis % spatial
        rows, columns = (one for one in range(spatial) if one != self._axis)
        self._source = ArraySource(stack, dimensions == 4, (rows, columns), contrast_limits)
        self.count = self._source.shape[self._axis]
        self.segmenter = segmenter
        self.progress = progress
        self._embeddings: OrderedDict[int, Embedding] = OrderedDict()

    def check(self, z: int) -> None:
        if not 0 <= z < self.count:
            raise ValueError(
                f"expected prompts on planes 0 to {self.count - 1} along axis {self._axis}, "
                f"got some on plane {z}"
            )

    def embedding(self, z: int) -> Embedding:
        if z not in self._embeddings:
            pixels, limits = self._source.read(self._source.plane_of(z))
            self._embeddings[z] = self.segmenter.embed(pixels, limits, self.progress)
            while len(self._embeddings) > _KEPT_EMBEDDINGS:
                self._embeddings.popitem(last=False)
        self._embeddings.move_to_end(z)
        return self._embeddings[z]


def _prompted(planes: _Planes, z: int, given: Prompts | Bool) -> _Carried:
    if isinstance(given, Prompts):
        (prediction,) = replay_many(planes.segmenter, planes.embedding(z), [given], planes.progress)
        best = prediction.best_index
        score = float(np.clip(prediction.scores[best], 0, 1))
        return _Carried(prediction.mask(best), score, prediction, best)
    mask = np.asarray(given)
    shape = planes.embedding(z).frame.plane_shape
    if mask.dtype != bool or mask.shape != shape:
        raise ValueError(
            f"expected Prompts or a bool mask of shape {shape} on plane {z}, got "
            f"{mask.dtype} of shape {mask.shape}; for a label use labels == label_id"
        )
    if not mask.any():
        raise ValueError(f"expected a mask with at least one pixel on plane {z}, got an empty one")
    return _Carried(mask, 1.0)


def _follow(
    planes: _Planes, start: _Carried, indexes: range, march: March
) -> Iterator[tuple[int, _Carried]]:
    """Carry a mask from plane to plane until the object is lost."""
    last = start
    if not last.mask.any():
        return
    for z in indexes:
        found = _carry(planes, z, last.mask, march)
        if found is None:
            return
        yield z, found
        last = found


def _carry(planes: _Planes, z: int, last: Bool, march: March) -> _Carried | None:
    """Find the object of the last plane's mask on this plane; ``None`` where it is not there."""
    best: _Carried | None = None
    for prediction in _candidates(planes, z, last, march):
        for i, score in enumerate(prediction.scores):
            mask = prediction.mask(i)
            agreement = iou(last, mask)
            growth = np.count_nonzero(mask) / np.count_nonzero(last)
            trusted = float(np.clip(score, 0, 1))
            acceptable = (
                agreement >= march.least_agreement
                and 1 / march.largest_growth <= growth <= march.largest_growth
                and trusted >= march.least_score
            )
            if acceptable and (best is None or agreement * trusted > best.score):
                best = _Carried(mask, agreement * trusted, prediction, i)
    return best


def _candidates(planes: _Planes, z: int, last: Bool, march: March) -> list[MaskPrediction]:
    point = deepest_point(last)
    r0, c0, r1, c1 = tight_box(last)
    grow_r, grow_c = march.box_margin * (r1 - r0 + 1), march.box_margin * (c1 - c0 + 1)
    h, w = last.shape
    box = (
        max(0.0, r0 - grow_r),
        max(0.0, c0 - grow_c),
        min(h - 1.0, r1 + grow_r),
        min(w - 1.0, c1 + grow_c),
    )
    ways = [
        Prompts([point], [1], box, mask=last),
        Prompts([point], [1], box),
        Prompts([point], [1]),
    ]
    return planes.segmenter.decode_many(planes.embedding(z), ways)


def _between(
    planes: _Planes, known: Mapping[int, _Carried], first: int, last: int, march: March
) -> Iterator[PropagationStep]:
    """Follow the object from both prompted planes and average where both found it."""
    inner = range(first + 1, last)
    forward = dict(_follow(planes, known[first], inner, march))
    backward = dict(_follow(planes, known[last], inner[::-1], march))
    for z in inner:
        a, b = forward.get(z), backward.get(z)
        if a is not None and b is not None:
            yield _average(z, a, b, weight=(last - z) / (last - first))
        elif (one := a or b) is not None:
            yield PropagationStep(z, one.mask, one.score)


def _average(z: int, a: _Carried, b: _Carried, weight: float) -> PropagationStep:
    """Average two results of one plane, `a` with `weight` and `b` with the rest."""
    agreement = iou(a.mask, b.mask)
    logits = weight * _plane_logits(a) + (1 - weight) * _plane_logits(b)
    mask = logits > 0
    if not mask.any():  # they lie apart: believe the nearer one
        mask = a.mask if weight >= 0.5 else b.mask
    trusted = weight * a.score + (1 - weight) * b.score
    return PropagationStep(z, mask, agreement * trusted)


def _plane_logits(carried: _Carried) -> NDArray[np.float32]:
    prediction = carried.prediction
    assert prediction is not None, "carried masks come from predictions"
    region = np.clip(prediction.region_logits(carried.candidate), -_LOGIT_LIMIT, _LOGIT_LIMIT)
    if prediction.frame.is_whole:
        return region
    plane = np.full(prediction.frame.plane_shape, -_LOGIT_LIMIT, np.float32)
    plane[prediction.frame.region] = region
    return plane
