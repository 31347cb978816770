"""Masks from a dense head's boxes, at the scale at which the head detects objects best."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_sam.automask.objects import ObjectMask, encode_region
from napari_sam.automask.settings import AutomaskSettings
from napari_sam.automask.settling import OnPart, PlanePart, Settling
from napari_sam.masks import stability_score
from napari_sam.model.tuning import ProposalTuning
from napari_sam.prompts import Prompts, tight_box
from napari_sam.segmentation.protocol import Embedding, Progress, Proposals, Segmenter, part_of

# Progress at which the plane's scale is found, and its boxes are rescored.
_FOUND, _JUDGED = 0.6, 0.7
# Boxes are decoded block by block of this side, in pixels, so that tiles are used one by one.
_BLOCK = 256
# The search for a plane's scale starts where the plane's longer side has a quarter of the model's
# input, and goes on in steps between these factors.
_START = 1 / 4
_STEP = 2**0.5, 2.0
_MOST_SCALES = 10
# Objects of this share of the wanted size are large enough.
_LARGE_ENOUGH = 0.9
# Fewer boxes may be mistakes, and don't end the search before the plane fills the model's input.
_SEVERAL = 5


@dataclass(frozen=True, slots=True, eq=False)
class _AtScale:
    """The head's proposals at one scale, in model pixels per pixel of the plane."""

    embedding: Embedding
    proposals: Proposals
    scale: float
    tuning: ProposalTuning

    @property
    def diameter(self) -> float:
        """Side, in model pixels, of a square as large as the median box; 0 without any."""
        areas = self._areas
        return self.scale * float(np.median(np.sqrt(areas))) if len(areas) else 0.0

    @property
    def worth(self) -> float:
        """Score of the scale, from the scores and the number of its boxes.

        It is the mean excess of the boxes' scores over a threshold, weighted by their sides, times
        a power of the effective number of boxes, in which specks beside larger objects hardly
        count.
        """
        areas = self._areas
        if not len(areas):
            return 0.0
        beyond = self.proposals.scores[: len(areas)] - self.tuning.worth
        mean = float(np.average(beyond, weights=np.sqrt(areas)))
        number = float(areas.sum() ** 2 / (areas**2).sum())
        return mean * number**self.tuning.many

    @property
    def shows_several(self) -> bool:
        """Whether there are enough boxes to estimate the size of the objects."""
        return len(self._areas) >= _SEVERAL

    @property
    def _areas(self) -> NDArray[np.float64]:
        boxes = self.proposals.boxes[self.proposals.scores > self.tuning.worth]
        areas: NDArray[np.float64] = np.prod(boxes[:, 2:] - boxes[:, :2] + 1, axis=1)
        return areas


def masks_from_proposals(
    segmenter: Segmenter,
    pixels: NDArray[np.uint8],
    settings: AutomaskSettings,
    progress: Progress | None,
    on_part: OnPart | None = None,
) -> list[ObjectMask]:
    """Decode the boxes that the dense head proposes, and keep masks that don't overlap much.

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
    on_part
        Called with objects as soon as they are final.
    """
    best = _propose(segmenter, pixels, settings, part_of(progress, 0.0, _FOUND))
    embedding, proposals = best.embedding, best.proposals
    tuning = segmenter.traits.tuning.proposals
    least = tuning.least_said
    if segmenter.traits.judges:
        judged = segmenter.propose(embedding, progress=part_of(progress, _FOUND, _JUDGED))
        assert judged is not None
        proposals, least = judged, tuning.least_judged
    if settings.proposal_iou_thresh is not None:
        least = settings.proposal_iou_thresh
    chosen = np.flatnonzero(proposals.scores >= least)
    blocks = (proposals.centres[chosen] // _BLOCK).astype(int)
    by_block = np.lexsort((blocks[:, 1], blocks[:, 0]))
    order, blocks = chosen[by_block], blocks[by_block]
    overlap = settings.proposal_overlap
    overlap = tuning.overlap if overlap is None else overlap
    plane_shape = embedding.frame.plane_shape
    reach = _reach(proposals.boxes[order], segmenter.traits.mask_stride / best.scale, plane_shape)
    settling = Settling(plane_shape, proposals.scores[order], reach, overlap)
    begins = np.any(np.diff(blocks, axis=0), axis=1)  # whether another square does after a box
    squares = 1 + np.count_nonzero(begins)
    decoding = part_of(progress, _JUDGED, 1.0)
    for start in range(0, len(order), settings.points_per_batch):
        batch = order[start : start + settings.points_per_batch]
        masks = _decode(segmenter, embedding, proposals, batch, settings)
        kept = settling.put(dict(enumerate(masks, start)))
        done = start + len(batch)
        if on_part is not None:
            searched = np.count_nonzero(begins[:done]) + (done == len(order))
            on_part(PlanePart(kept, int(searched), int(squares)))
        if decoding is not None:
            decoding(done / len(order))
    if progress is not None:
        progress(1.0)
    return settling.kept


def _reach(
    boxes: NDArray[np.float64], cell: float, plane_shape: tuple[int, int]
) -> NDArray[np.float64]:
    """Return where masks may have pixels: the boxes with a margin of half a side, or some cells."""
    margin = np.maximum((boxes[:, 2:] - boxes[:, :2] + 1) / 2, 4 * cell)
    low, high = np.floor(boxes[:, :2] - margin), np.ceil(boxes[:, 2:] + margin)
    return np.hstack([low, high]).clip(0, np.tile(np.subtract(plane_shape, 1), 2))


def _propose(
    segmenter: Segmenter,
    pixels: NDArray[np.uint8],
    settings: AutomaskSettings,
    progress: Progress | None,
) -> _AtScale:
    """Propose boxes at ever finer scales, and return those of the best scale.

    Where objects are too small the head detects clumps of them, and where they are too large it
    detects parts, both of about the size that it was trained on, but with lower predicted IoUs.
    These may fall and rise again on the way to the best scale, so that the search only ends where
    objects are large enough.
    """
    traits, wanted = segmenter.traits, settings.proposal_diameter
    if wanted is None:
        wanted = traits.tuning.proposals.diameter
    largest = traits.geometry.max_upscale
    if largest is None or wanted <= 0:
        return _propose_at(segmenter, pixels, None, progress)
    whole = traits.input_size / max(pixels.shape[:2])
    near = whole / _STEP[0]  # up to here a scale costs little
    scale = min(largest, _START * whole)
    tried: list[_AtScale] = []
    for step in range(_MOST_SCALES):
        report = part_of(progress, step / _MOST_SCALES, (step + 1) / _MOST_SCALES)
        tried.append(_propose_at(segmenter, pixels, scale, report))
        seen = tried[-1].diameter
        enough = seen >= _LARGE_ENOUGH * wanted if seen else scale > 1 / _STEP[1]
        least = near if tried[-1].shows_several else 0.99 * whole
        if scale == largest or (scale >= least and enough):
            break
        factor = wanted / max(seen, 1.0)
        following = scale * min(max(factor, _STEP[0]), _STEP[1])
        limit = whole if scale < least else largest
        scale = min(following, limit, largest)
    return max(tried, key=lambda one: (one.worth, one.scale))


def _propose_at(
    segmenter: Segmenter, pixels: NDArray[np.uint8], scale: float | None, progress: Progress | None
) -> _AtScale:
    embedding = segmenter.embed(pixels, None, part_of(progress, 0.0, 0.4), scale)
    segmenter.prepare(embedding, None, part_of(progress, 0.4, 0.8))
    proposals = segmenter.propose(embedding, quick=True, progress=part_of(progress, 0.8, 1.0))
    assert proposals is not None
    return _AtScale(embedding, proposals, scale or 1.0, segmenter.traits.tuning.proposals)


def _decode(
    segmenter: Segmenter,
    embedding: Embedding,
    proposals: Proposals,
    batch: NDArray[np.int64],
    settings: AutomaskSettings,
) -> Iterator[ObjectMask | None]:
    """Decode some boxes; yield their masks, None for one without a pixel."""
    prompts = [Prompts(box=proposals.boxes[i].tolist()) for i in batch]
    window = settings.proposal_window
    if window is None:
        window = segmenter.traits.tuning.proposals.window
    predictions = segmenter.decode_many(embedding, prompts, False, window)
    scores, centres = proposals.scores[batch].tolist(), proposals.centres[batch].tolist()
    for prediction, score, (row, column) in zip(predictions, scores, centres, strict=True):
        offset = settings.stability_score_offset
        origin, logits = prediction.part_logits(prediction.best_index, -offset)
        mask = logits > 0
        if not mask.any():
            yield None
            continue
        r0, c0, r1, c1 = map(int, tight_box(mask))
        box, rle = encode_region(
            mask[r0 : r1 + 1, c0 : c1 + 1],
            (origin[0] + r0, origin[1] + c0),
            prediction.frame.plane_shape,
        )
        (top, left), (h, w) = prediction.frame.origin, prediction.frame.shape
        yield ObjectMask(
            box,
            rle,
            score,
            float(stability_score(logits, 0.0, offset)),
            (row, column),
            (top, left, top + h, left + w),
        )
