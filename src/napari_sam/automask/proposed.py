"""Masks from a dense head's proposals, at the scale where the head sees the objects of a plane.

The head parts the foreground into regions. Each region says twice what to decode, by its deepest
point and by its box, so that there are three opinions on every object: what at least two of them
hold is its mask, and how well they agree tells objects from pieces of objects and from debris.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from napari_sam.automask.objects import ObjectMask, encode_region
from napari_sam.automask.settings import AutomaskSettings
from napari_sam.masks import iou, stability_score
from napari_sam.prompts import Prompts
from napari_sam.segmenter import (
    Embedding,
    MaskPrediction,
    Progress,
    Proposals,
    Region,
    Segmenter,
    part_of,
)

# Points are decoded block by block of this side, in pixels, so that tiles are used one by one.
_BLOCK = 256
# The search for a plane's scale starts where the plane has half of the model's input and takes
# steps between these factors.
_LOOKS = 7
_STEP = 2**0.5, 2.0
# Objects of less than this share of the wanted diameter deserve a closer look.
_SMALL = 0.82
# Objects whose diameter grows by more than this share of the scale are the same as before.
_SAME = 0.85
# Peaks that are higher by this factor show that the scale is the better one.
_CLEARER = 1.05
# Peaks that fall by more than this factor show the opposite; clumps that part lower them a little.
_BLURRED = 1.15


@dataclass(frozen=True, slots=True, eq=False)
class _Look:
    """What the head proposes at one scale, in model pixels per pixel of the plane."""

    embedding: Embedding
    proposals: Proposals
    scale: float

    @property
    def diameter(self) -> float:
        """Diameter, in model pixels, of a disk as large as the median region; 0 without any."""
        areas = [one.area for one in self.proposals.regions]
        return self.scale * float(np.sqrt(4 / np.pi * np.median(areas))) if areas else 0.0

    @property
    def clarity(self) -> float:
        """Median height of the peaks, 0-1."""
        scores = self.proposals.scores
        return float(np.median(scores)) if len(scores) else 0.0


def masks_from_proposals(
    segmenter: Segmenter,
    pixels: NDArray[np.uint8],
    settings: AutomaskSettings,
    progress: Progress | None,
) -> list[ObjectMask]:
    """Decode what the dense head proposes and keep masks that agree with it and differ.

    Parameters
    ----------
    segmenter
        A model with a dense head.
    pixels
        `(H, W, 3)` normalised grey values.
    settings
        Scale, thresholds and window.
    progress
        Called with the finished fraction; it may raise :class:`Cancelled`.
    """
    look = _propose(segmenter, pixels, settings, part_of(progress, 0.0, 0.6))
    embedding, proposals = look.embedding, look.proposals
    blocks = (proposals.points // _BLOCK).astype(int)
    order = np.lexsort((blocks[:, 1], blocks[:, 0]))
    found: list[ObjectMask] = []
    for start in range(0, len(order), settings.points_per_batch):
        batch = order[start : start + settings.points_per_batch]
        found += _decode(segmenter, embedding, proposals, batch, settings)
        if progress is not None:
            progress(0.6 + 0.4 * min(1.0, (start + len(batch)) / len(order)))
    found.sort(key=lambda one: -one.score)
    if progress is not None:
        progress(1.0)
    return _uncovered(found, embedding.frame.plane_shape, settings.proposal_overlap)


def _propose(
    segmenter: Segmenter,
    pixels: NDArray[np.uint8],
    settings: AutomaskSettings,
    progress: Progress | None,
) -> _Look:
    """Look at the plane from afar and then ever closer, as long as that makes objects clearer.

    The head sees clumps where objects are minute and pieces where they are large, both of about
    the size it knows. What gives them away is the height of its peaks: it rises until the scale
    is right and then no more.
    """
    config, wanted = segmenter.config, settings.proposal_diameter
    if not config.decodes_windows or wanted <= 0:
        return _look(segmenter, pixels, None, progress)
    scale = min(config.max_upscale, config.image_size / 2 / max(pixels.shape[:2]))
    looks: list[_Look] = []
    for step in range(_LOOKS):
        report = part_of(progress, step / _LOOKS, (step + 1) / _LOOKS)
        looks.append(_look(segmenter, pixels, scale, report))
        if scale == config.max_upscale or not _may_gain(looks, wanted):
            break
        factor = wanted / max(looks[-1].diameter, 1.0)
        scale = min(config.max_upscale, scale * min(max(factor, _STEP[0]), _STEP[1]))
    best = max(look.clarity for look in looks)
    clear = [look for look in looks if _CLEARER * look.clarity >= best]
    large = [look for look in clear if look.diameter >= _SMALL * wanted]
    return large[0] if large else clear[-1]


def _may_gain(looks: list[_Look], wanted: float) -> bool:
    """Whether a closer look than the last one may see the objects better."""
    last = looks[-1]
    if not last.diameter:
        return _STEP[1] * last.scale <= 1
    if len(looks) == 1:
        return True
    before = looks[-2]
    if _BLURRED * last.clarity < before.clarity:
        return False
    if last.diameter < _SMALL * wanted:
        return True
    grown = last.diameter / max(before.diameter, 1.0)
    if grown > _SAME * last.scale / before.scale:
        return False
    return grown < 1 or last.clarity > _CLEARER * before.clarity


def _look(
    segmenter: Segmenter, pixels: NDArray[np.uint8], scale: float | None, progress: Progress | None
) -> _Look:
    embedding = segmenter.embed(pixels, None, part_of(progress, 0.0, 0.5), scale)
    segmenter.prepare(embedding, None, part_of(progress, 0.5, 1.0))
    proposals = segmenter.propose(embedding)
    assert proposals is not None
    return _Look(embedding, proposals, scale or 1.0)


def _decode(
    segmenter: Segmenter,
    embedding: Embedding,
    proposals: Proposals,
    batch: NDArray[np.int64],
    settings: AutomaskSettings,
) -> Iterator[ObjectMask]:
    window = settings.proposal_window or None
    regions = [proposals.regions[i] for i in batch]
    clicks = [Prompts([proposals.points[i]], [1]) for i in batch]
    boxes = [Prompts(box=one.box) for one in regions]
    clicked = segmenter.decode_many(embedding, clicks, True, window)
    boxed = segmenter.decode_many(embedding, boxes, False, window)
    for i, region, by_click, by_box in zip(batch, regions, clicked, boxed, strict=True):
        opinions = [region, *(one for p in (by_click, by_box) if (one := _region(p)) is not None)]
        mask, score = _majority(opinions)
        if score < settings.proposal_iou_thresh or not mask.mask.any():
            continue
        (r0, c0), (h, w) = by_box.frame.origin, by_box.frame.shape
        offset = settings.stability_score_offset
        logits = by_box.part_logits(by_box.best_index, -offset)[1]
        box, rle = encode_region(mask.mask, mask.origin, by_box.frame.plane_shape)
        row, column = proposals.points[i].tolist()
        yield ObjectMask(
            box,
            rle,
            score,
            float(stability_score(logits, 0.0, offset)),
            (row, column),
            (r0, c0, r0 + h, c0 + w),
        )


def _region(prediction: MaskPrediction) -> Region | None:
    origin, logits = prediction.part_logits(prediction.best_index)
    mask = logits > 0
    return Region(origin, mask) if mask.any() else None


def _majority(opinions: list[Region]) -> tuple[Region, float]:
    """Return the pixels that two of three masks hold, and the mean IoU of two of the masks.

    Masks that are missing are empty ones.
    """
    origin = np.min([one.origin for one in opinions], axis=0)
    stop = np.max([np.add(one.origin, one.mask.shape) for one in opinions], axis=0)
    masks = np.zeros((3, *(stop - origin)), bool)
    for mask, one in zip(masks, opinions, strict=False):
        (r, c), (h, w) = np.subtract(one.origin, origin), one.mask.shape
        mask[r : r + h, c : c + w] = one.mask
    score = float(np.mean([iou(a, b) for a, b in combinations(masks, 2)]))
    return Region((int(origin[0]), int(origin[1])), masks.sum(0) >= 2), score


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
