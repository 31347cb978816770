"""All objects of a plane as masks: from a dense head's proposals, or from a grid of points."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_sam.automask.grid import masks_from_grid
from napari_sam.automask.objects import ObjectMask, encode_region
from napari_sam.automask.settings import AutomaskSettings
from napari_sam.image import Limits, normalise
from napari_sam.masks import stability_score
from napari_sam.prompts import Prompts
from napari_sam.segmenter import Embedding, Progress, Proposals, Segmenter, part_of

# Points are decoded block by block of this side, in pixels, so that tiles are used one by one.
_BLOCK = 256


def generate_masks(
    segmenter: Segmenter,
    plane: ArrayLike,
    contrast_limits: Limits | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> list[ObjectMask]:
    """Find every object of a plane.

    A model with a dense head proposes one point for each object it sees; other models are
    prompted with a regular grid of points, which equals SAM's automatic mask generation.

    Parameters
    ----------
    segmenter
        The model.
    plane
        `(H, W)` or `(H, W, 3)`.
    contrast_limits
        As in :func:`~napari_sam.image.normalise`.
    progress
        Called with the finished fraction; it may raise :class:`~napari_sam.segmenter.Cancelled`.
    **settings
        Fields of :class:`AutomaskSettings`, such as ``points_per_side=16``.

    Returns
    -------
    objects
        The highest score first, or from a grid in the order of the reference. They may overlap.

    Raises
    ------
    TypeError
        For a setting that doesn't exist, or as :func:`~napari_sam.image.normalise` does.
    ValueError
        If `proposals` is True and the model has no dense head; or as `normalise` does.
    """
    chosen = AutomaskSettings(**settings)
    pixels = normalise(plane, contrast_limits)
    has_head = segmenter.config.dense_channels > 0
    if chosen.proposals and not has_head:
        raise ValueError(
            f"expected a model with a dense head for proposals, got {segmenter.config.name}; "
            "use proposals=False for a grid of points"
        )
    if chosen.proposals is False or not has_head:
        return masks_from_grid(segmenter, pixels, chosen, progress)
    embedding = segmenter.embed(pixels, None, part_of(progress, 0.0, 0.3))
    segmenter.prepare(embedding, None, part_of(progress, 0.3, 0.5))
    proposals = segmenter.propose(embedding)
    assert proposals is not None
    report = part_of(progress, 0.5, 1.0)
    return _masks_from_proposals(segmenter, embedding, proposals, chosen, report)


def _masks_from_proposals(
    segmenter: Segmenter,
    embedding: Embedding,
    proposals: Proposals,
    settings: AutomaskSettings,
    progress: Progress | None,
) -> list[ObjectMask]:
    blocks = (proposals.points // _BLOCK).astype(int)
    order = np.lexsort((blocks[:, 1], blocks[:, 0]))
    found: list[ObjectMask] = []
    for start in range(0, len(order), settings.points_per_batch):
        points = proposals.points[order[start : start + settings.points_per_batch]]
        found += _decode(segmenter, embedding, points, settings)
        if progress is not None:
            progress(min(1.0, (start + settings.points_per_batch) / len(order)))
    found.sort(key=lambda one: -one.score)
    return _uncovered(found, embedding.frame.plane_shape, settings.proposal_overlap)


def _decode(
    segmenter: Segmenter,
    embedding: Embedding,
    points: NDArray[np.float64],
    settings: AutomaskSettings,
) -> Iterator[ObjectMask]:
    prompts = [Prompts([point], [1]) for point in points]
    window = settings.proposal_window or None
    predictions = segmenter.decode_many(embedding, prompts, multimask=True, window=window)
    for point, prediction in zip(points, predictions, strict=True):
        frame, best = prediction.frame, prediction.best_index
        score = float(prediction.scores[best])
        if score < settings.proposal_iou_thresh:
            continue
        offset = settings.stability_score_offset
        origin, logits = prediction.part_logits(best, -offset)
        mask = logits > 0
        if not mask.any():
            continue
        box, rle = encode_region(mask, origin, frame.plane_shape)
        stability = float(stability_score(logits, 0.0, offset))
        (r0, c0), (h, w) = frame.origin, frame.shape
        at = (float(point[0]), float(point[1]))
        yield ObjectMask(box, rle, score, stability, at, (r0, c0, r0 + h, c0 + w))


def _uncovered(
    objects: list[ObjectMask], plane_shape: tuple[int, int], overlap: float
) -> list[ObjectMask]:
    """Keep, in order, the masks of which enough lies outside those kept before."""
    taken, kept = np.zeros(plane_shape, bool), []
    for one in objects:
        crop, here = one.crop(), taken[one.region]
        if np.count_nonzero(crop & here) <= overlap * one.area:
            here |= crop
            kept.append(one)
    return kept
