"""All objects of a plane as masks: from a dense head's proposals, or from a grid of points."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_sam.automask.grid import masks_from_grid
from napari_sam.automask.objects import ObjectMask, encode_region
from napari_sam.automask.settings import AutomaskSettings
from napari_sam.image import Limits, normalise, resize_pixels
from napari_sam.masks import stability_score
from napari_sam.model.config import SamConfig
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
    found, proposed = _masks_of(segmenter, pixels, chosen, part_of(progress, 0.0, 0.4))
    if _are_small(found, proposed, segmenter.config, chosen):
        h, w = pixels.shape[:2]
        larger = resize_pixels(pixels, (2 * h, 2 * w))
        objects, _ = _masks_of(segmenter, larger, chosen, part_of(progress, 0.4, 1.0))
        halved = (_halve(one, (h, w)) for one in objects)
        found = [one for one in halved if one is not None]
    if progress is not None:
        progress(1.0)
    return found


def _masks_of(
    segmenter: Segmenter,
    pixels: NDArray[np.uint8],
    settings: AutomaskSettings,
    progress: Progress | None,
) -> tuple[list[ObjectMask], int]:
    """Find objects at the scale of `pixels`; return them and the number of proposals."""
    embedding = segmenter.embed(pixels, None, part_of(progress, 0.0, 0.3))
    segmenter.prepare(embedding, None, part_of(progress, 0.3, 0.5))
    proposals = segmenter.propose(embedding)
    assert proposals is not None
    report = part_of(progress, 0.5, 1.0)
    found = _masks_from_proposals(segmenter, embedding, proposals, settings, report)
    return found, len(proposals.points)


def _are_small(
    objects: list[ObjectMask], proposed: int, config: SamConfig, settings: AutomaskSettings
) -> bool:
    """Whether typical objects are so small that a model sees them better at twice their size.

    Where most proposals came to nothing, what was found is not typical. A plane much smaller
    than the model's input is magnified by the model itself.
    """
    if not config.decodes_windows or 2 * len(objects) < max(1, proposed):
        return False
    if 1.5 * max(objects[0].mask.size) <= config.image_size:
        return False
    diameters = np.sqrt([4 / np.pi * one.area for one in objects])
    return bool(np.median(diameters) < settings.magnify_below)


def _halve(one: ObjectMask, plane_shape: tuple[int, int]) -> ObjectMask | None:
    """Bring an object back from a plane of twice the size; None if nothing is left of it."""
    r0, c0, r1, c1 = one.box
    odd = (r0 % 2, 1 - r1 % 2), (c0 % 2, 1 - c1 % 2)
    even = np.pad(one.crop(), odd)
    h, w = even.shape
    mask = even.reshape(h // 2, 2, w // 2, 2).mean((1, 3)) >= 0.5
    if not mask.any():
        return None
    box, rle = encode_region(mask, (r0 // 2, c0 // 2), plane_shape)
    a, b, c, d = one.crop_box
    row, column = ((at - 0.5) / 2 for at in one.point)
    return replace(
        one, box=box, mask=rle, point=(row, column), crop_box=(a // 2, b // 2, c // 2, d // 2)
    )


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
