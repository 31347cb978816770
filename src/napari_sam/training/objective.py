"""What a batch of crops teaches: prompts are simulated, decoded, corrected and judged."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_sam.model.dense_head import DenseOutput
from napari_sam.model.sam import Sam
from napari_sam.training.clicks import corrections, first_clicks, jittered_boxes, misses
from napari_sam.training.config import TrainConfig
from napari_sam.training.data import Batch
from napari_sam.training.dense_loss import dense_loss
from napari_sam.training.losses import mask_iou, mask_loss
from napari_sam.training.roi_loss import region_loss

# Errors of the predicted IoU are squares of small numbers beside the losses of masks.
_SCORE_WEIGHT = 5.0
# Share of the batches with boxes in which objects are clicked as well from the start.
_BOX_AND_CLICK = 0.3
# Weight of a click that hits nothing beside those on objects.
_MISS_WEIGHT = 0.15


def batch_losses(
    model: Sam, encoder: nn.Module, batch: Batch, config: TrainConfig, rng: np.random.Generator
) -> dict[str, Tensor]:
    """Losses of a batch whose objects are prompted and corrected for a random number of rounds."""
    side = batch.images.shape[2]
    half = _autocast(batch.images.device, config)
    pixels = batch.images.float().contiguous(memory_format=torch.channels_last)
    with half:
        features = encoder(model.preprocess(pixels, (side, side)))
    losses: dict[str, Tensor] = {}
    cells: tuple[Tensor, Tensor] | None = None
    if batch.dense is not None:
        assert model.dense_head is not None  # the stream knows the network
        with half:
            output = model.dense_head(features)
        losses["dense"] = dense_loss(DenseOutput(*(part.float() for part in output)), batch.dense)
        cells = output.sides, output.scores
    if config.trains_roi_head:
        assert model.dense_head is not None
        assert model.roi_head is not None  # the configuration knows the network
        if cells is None:
            with torch.no_grad(), half:
                cells = model.dense_head.boxes(features)
        full = tuple(f.float() for f in features)
        # how many numbers it draws depends on the cells: the clicks below have their own
        drawn = rng.spawn(1)[0]
        losses["regions"] = region_loss(model.roi_head, full, cells, batch.labels, drawn)
    if config.trains_masks:
        losses |= _mask_losses(model, features, batch, config, rng)
    return losses


def _mask_losses(
    model: Sam,
    features: tuple[Tensor, ...],
    batch: Batch,
    config: TrainConfig,
    rng: np.random.Generator,
) -> dict[str, Tensor]:
    """Losses of the masks and of their predicted IoUs."""
    side, objects = batch.images.shape[2], batch.chosen.shape[1]
    target = F.avg_pool2d(
        (batch.labels[:, None] == batch.chosen[:, :, None, None]).flatten(0, 1)[:, None].float(),
        model.config.mask_stride,
    )  # (B·K, 1, h, w)
    rounds = 1 + int(rng.choice(len(config.rounds), p=np.divide(config.rounds, sum(config.rounds))))
    plan = Plan(rounds, rng.random() < config.box_share, config.loose_share, balance=config.balance)
    each = tuple(f.repeat_interleave(objects, 0) for f in features)
    half = _autocast(batch.images.device, config)
    # a crop may lie anywhere in the model's square: positions beyond it must be learned too
    free = model.config.image_size - side
    losses, origin = prompted_losses(model, each, target, plan, rng, free, half)
    if config.miss_share and not plan.by_box:
        count = round(config.miss_share * len(target))
        crops, places = misses(batch.labels, count, rng)
        if len(crops):
            parts = tuple(f[crops] for f in features)
            ones = torch.ones(len(crops), 1, dtype=torch.long, device=target.device)
            with half:
                _, scores = model.decode(parts, places, ones, None, None, True, origin)
            # nothing is there, so that every mask is wrong
            wrong = scores.float().square().mean()
            losses["iou"] = losses["iou"] + _MISS_WEIGHT * _SCORE_WEIGHT * wrong
    return losses


@dataclass(frozen=True, slots=True)
class Plan:
    """How the objects of a batch are prompted.

    Parameters
    ----------
    rounds
        How often each is decoded: once for its first prompt, then for corrections.
    by_box
        Whether the first prompt is a box, with a click in some batches.
    loose_share
        Share of the boxes that are as far off as a proposal may be.
    refines_first_click
        Whether the second round adds no click: the best candidate is decoded once more, from its
        own logits, as with :attr:`Traits.refines_first_click`.
    balance
        See :func:`~napari_sam.training.losses.mask_loss`.
    """

    rounds: int
    by_box: bool
    loose_share: float = 0.0
    refines_first_click: bool = False
    balance: float = 1.0


def prompted_losses(
    model: Sam,
    features: tuple[Tensor, ...],
    target: Tensor,
    plan: Plan,
    rng: np.random.Generator,
    free: int,
    half: AbstractContextManager[Any] | None = None,
) -> tuple[dict[str, Tensor], tuple[float, float]]:
    """Prompt objects, correct them, and compare their masks with what they should be.

    Parameters
    ----------
    model
        Decodes.
    features
        `(N, C, h, w)` each level, of each object's crop.
    target
        `(N, 1, 4·h, 4·w)`: the object's share of each cell of the logits, 0-1.
    plan
        How they are prompted.
    rng
        Draws every click.
    free
        The crops lie this many model pixels at most from the corner of the model's square.
    half
        Autocast to decode under.

    Returns
    -------
    losses, origin
        ``"mask"`` and ``"iou"``, and where the crops lay, (x, y).
    """
    stride, device = model.config.mask_stride, target.device
    half = nullcontext() if half is None else half
    # an object thinner than a cell keeps its densest cell
    truth = target >= target.amax((2, 3), keepdim=True).clamp_max(0.5)
    masks = truth[:, 0]
    boxes: Tensor | None = None
    points = torch.empty(len(masks), 0, 2, device=device)
    labels = torch.empty(len(masks), 0, dtype=torch.long, device=device)
    if plan.by_box:
        boxes = jittered_boxes(masks, stride, rng, loose_share=plan.loose_share)
    if boxes is None or rng.random() < _BOX_AND_CLICK:
        points = first_clicks(masks, stride, rng)
        labels = torch.ones(len(masks), 1, dtype=torch.long, device=device)
    origin = (float(rng.integers(free + 1)), float(rng.integers(free + 1)))
    previous: Tensor | None = None
    segmentation, quality = [], []
    for i in range(plan.rounds):
        multimask = i == 0 and boxes is None
        given = points if points.shape[1] else None
        with half:
            logits, scores = model.decode(
                features, given, labels, boxes, previous, multimask, origin
            )
        logits, scores = logits.float(), scores.float()
        per_candidate = mask_loss(logits, target, plan.balance)
        # The best candidate learns more. Left alone the others become specks, and a score that
        # errs a little picks them.
        best = per_candidate.min(1).values.mean()
        segmentation.append(0.3 * best + 0.7 * per_candidate.mean())
        quality.append(_SCORE_WEIGHT * F.mse_loss(scores, mask_iou(logits.detach(), truth)))
        if i + 1 < plan.rounds:
            chosen = scores.detach().argmax(1)
            previous = logits.detach()[torch.arange(len(chosen), device=device), chosen][:, None]
            if i == 0 and plan.refines_first_click and boxes is None:
                continue
            new, signs = corrections(masks, previous[:, 0] > 0, stride, rng)
            points, labels = torch.cat([points, new], 1), torch.cat([labels, signs], 1)
    losses = {"mask": torch.stack(segmentation).mean(), "iou": torch.stack(quality).mean()}
    return losses, origin


def _autocast(device: torch.device, config: TrainConfig) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16")
