"""One step of following: the objects of a plane, found from their masks on the plane before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from napari_sam.patches import Patch, cut, union
from napari_sam.prompts import Prompts
from napari_sam.propagate.judge import Causes, Vector, cosine
from napari_sam.segmentation.prediction import SURE, MaskPrediction
from napari_sam.segmentation.protocol import Embedding, Segmenter


@dataclass(frozen=True, slots=True, eq=False)
class Followed:
    """An object that was followed, on one plane.

    Parameters
    ----------
    patch
        Its mask.
    score
        Predicted IoU, 0-1; 1 for a mask that was given. With a model that predicts whether the
        object is on the plane, multiplied by that probability.
    quality
        Expected IoU of the mask, 0-1: from the probability that the object is still there, and
        the lowest predicted IoU since it was given. Between two planes where it was given, that
        of the nearer direction, multiplied by the IoU of the masks from both directions.
    causes
        The measurements that the quality is computed from.
    """

    patch: Patch
    score: float
    quality: float
    causes: Causes = field(default_factory=Causes)


@dataclass(frozen=True, slots=True, eq=False)
class Carried:
    """An object that is being followed, with the logits that its mask was thresholded from."""

    found: Followed
    prediction: MaskPrediction | None = None


def prompts_after(last: Followed) -> Prompts:
    """Return the prompts that find an object on the next plane: its box and mask on this one."""
    return Prompts(box=last.patch.box, mask=last.patch)


def appearances(
    segmenter: Segmenter, embedding: Embedding, patches: Sequence[Patch]
) -> list[Vector]:
    """Return the mean features of masks, minus those of their plane."""
    shape = embedding.frame.plane_shape
    whole = slice(0, shape[0]), slice(0, shape[1])
    masks = [np.ones(shape, bool), *(patch.within(whole) for patch in patches)]
    plane, *means = segmenter.mean_features(embedding, masks)
    return [mean - plane for mean in means]


def step(
    segmenter: Segmenter,
    embedding: Embedding,
    last: Sequence[Followed],
    starts: Sequence[Vector | None],
) -> list[Carried]:
    """Find objects on a plane from their masks on the plane before, in one batch.

    Parameters
    ----------
    segmenter, embedding
        The model, and what it made of the plane.
    last
        The objects on the plane before; their masks are not empty.
    starts
        Features of each where it was given, from :func:`appearances`.

    Returns
    -------
    carried
        The presence isn't estimated yet, and the quality is only the predicted IoU.
    """
    predictions = segmenter.decode_many(embedding, [prompts_after(one) for one in last])
    return carried(segmenter, embedding, last, starts, predictions)


def carried(
    segmenter: Segmenter,
    embedding: Embedding,
    last: Sequence[Followed],
    starts: Sequence[Vector | None],
    predictions: Sequence[MaskPrediction],
    presences: Sequence[float] | None = None,
) -> list[Carried]:
    """Return objects on a plane from the model's predictions there.

    Parameters
    ----------
    segmenter, embedding, last, starts
        As :func:`step` takes them.
    predictions
        Of each object.
    presences
        Probability that each is on the plane, where the model predicts it: it multiplies the
        predicted IoU.
    """
    patches = [one.patch(one.best_index) for one in predictions]
    features = appearances(segmenter, embedding, patches)
    found = []
    sure = [1.0] * len(last) if presences is None else presences
    for before, start, prediction, patch, here, there in zip(
        last, starts, predictions, patches, features, sure, strict=True
    ):
        score = there * float(np.clip(prediction.scores[prediction.best_index], 0, 1))
        alike = 1.0 if start is None else cosine(start, here)
        causes = Causes(
            1.0, score, overlap(before.patch, patch), patch.area / before.patch.area, alike
        )
        found.append(Carried(Followed(patch, score, score, causes), prediction))
    return found


def overlap(one: Patch, other: Patch) -> float:
    """Return the IoU of two masks; 1 for two empty ones."""
    region = union([one, other])
    if region is None:
        return 1.0
    a, b = one.within(region), other.within(region)
    return float(np.count_nonzero(a & b) / np.count_nonzero(a | b))


def join(a: Carried, b: Carried, weight: float) -> Followed:
    """Average the masks of two directions, `a` with `weight` and `b` with the rest."""
    nearer = (a if weight >= 0.5 else b).found
    region = union([a.found.patch, b.found.patch])
    assert region is not None, "carried masks have pixels"
    logits = weight * _logits(a, region) + (1 - weight) * _logits(b, region)
    patch = cut(logits > 0, (region[0].start, region[1].start))
    patch = nearer.patch if patch.is_empty else patch  # they don't overlap: take the nearer one
    agreement = overlap(a.found.patch, b.found.patch)
    score = weight * a.found.score + (1 - weight) * b.found.score
    causes = Causes(
        max(a.found.causes.present, b.found.causes.present),
        score,
        agreement,
        nearer.causes.area_change,
        nearer.causes.appearance,
    )
    return Followed(patch, score, agreement * nearer.quality, causes)


def _logits(carried: Carried, region: tuple[slice, slice]) -> NDArray[np.float32]:
    """Return logits within a region, clipped so that each direction counts by its distance."""
    assert carried.prediction is not None, "carried masks come from predictions"
    index = carried.prediction.best_index
    origin, part = carried.prediction.part_logits(index, -SURE)
    out = np.full([s.stop - s.start for s in region], -SURE, np.float32)
    into, of = [], []
    for first, length, wanted in zip(origin, part.shape, region, strict=True):
        low, high = max(first, wanted.start), min(first + length, wanted.stop)
        if low >= high:
            return out
        into.append(slice(low - wanted.start, high - wanted.start))
        of.append(slice(low - first, high - first))
    out[tuple(into)] = np.clip(part[tuple(of)], -SURE, SURE)
    return out
