"""What the head that judges regions learns: how good the dense head's boxes are."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from napari_sam.masks import box_nms
from napari_sam.model.roi_head import RoiHead
from napari_sam.model.tuning import ProposalTuning
from napari_sam.segmentation.box_choice import find_boxes
from napari_sam.training.boxes import box_agreement, label_boxes

# Candidates of a crop that are judged, best first, and boxes of which the halves are, at random.
_MOST, _MOST_HALVED = 56, 10
# The likeliest box of each object is halved from this score on, and what the halves are expected to
# be worth beside it.
_HALVED, _HALF_SCORE = 0.6, 0.7
# From this IoU with an object's box on, a candidate's sides are to be mended.
_MENDED = 0.35
# A box with this IoU overlaps an object.
_TOUCHES = 0.1
# Weight of a score that is right beside one that is wrong by 1.
_RIGHT = 0.25


def region_loss(
    head: RoiHead,
    features: tuple[Tensor, ...],
    cells: tuple[Tensor, Tensor],
    labels: Tensor,
    rng: np.random.Generator,
    known: Tensor | None = None,
) -> Tensor:
    """Rescore the boxes that the cells of a batch propose, and compare with its objects.

    A candidate's score should be the IoU of its refined box with the box of the object that it
    overlaps most. Halves of likely boxes are rescored as well: where two objects touch and the
    cells take them for one, no candidate would be a box of one of them.

    Parameters
    ----------
    head
        The RoI head.
    features
        As returned by the image encoder.
    cells
        Sides and scores as in :class:`DenseOutput`; no gradients flow into them.
    labels
        `(B, S, S)`, 0 for background.
    rng
        Draws the boxes whose halves are rescored as well.
    known
        `(B, S, S)` bool: where labels are complete, everywhere by default. A box that overlaps no
        object and whose centre is unknown isn't rescored.
    """
    sides, logits = cells = cells[0].detach().float(), cells[1].detach().float()
    boxes, scores, objects, counts = [], [], [], []
    unknown = [None] * len(labels) if known is None else (~known).cpu().numpy()
    for predicted, quality, truth, dark in zip(
        sides.cpu().numpy(),
        logits.sigmoid().cpu().numpy(),
        labels.cpu().numpy(),
        unknown,
        strict=True,
    ):
        found, confidence = find_boxes(predicted, quality, head.cell, candidates=True)
        halves, hopes = _halves(found, confidence)
        drawn = rng.permutation(len(halves))[:_MOST_HALVED]
        seen = np.concatenate([found[:_MOST], halves[drawn].reshape(-1, 4)])
        hoped = np.append(confidence[:_MOST], hopes[drawn].repeat(4))
        nearest = _nearest(seen, label_boxes(truth))
        if dark is not None:
            judged_here = ~_in_the_dark(seen, nearest, dark)
            seen, hoped, nearest = seen[judged_here], hoped[judged_here], nearest[judged_here]
        boxes.append(torch.from_numpy(seen))
        scores.append(torch.from_numpy(hoped))
        objects.append(torch.from_numpy(nearest))
        counts.append(len(boxes[-1]))
    box, score, truth = (torch.cat(x).to(logits) for x in (boxes, scores, objects))
    planes = torch.repeat_interleave(torch.tensor(counts)).to(logits.device)
    mended, judged = head(features, cells, box, torch.logit(score, 0.02), planes)
    overlap, _ = box_agreement(box, truth)
    iou, generalised = box_agreement(mended, truth)
    near = overlap > _MENDED
    target = iou.detach()
    wrong = (judged.detach().sigmoid() - target).abs()
    entropy = F.binary_cross_entropy_with_logits(judged, target, reduction="none")
    boxes_loss = ((1 - generalised) * near).sum() / near.sum().clamp_min(1)
    return (entropy * (_RIGHT + wrong)).sum() / max(len(box), 1) + boxes_loss


def _halves(
    boxes: NDArray[np.float64], scores: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Cut the likeliest box of each object in two, once across and once along.

    Returns the four halves of each box that was cut, `(M, 4, 4)`, and the score of each of them,
    `(M,)`.
    """
    cut = box_nms(boxes, scores, ProposalTuning().same_object)
    cut = cut[scores[cut] > _HALVED]
    halves = np.repeat(boxes[cut], 4, axis=0).reshape(-1, 4, 4)
    y, x = ((halves[:, 0, side] + halves[:, 0, side + 2]) / 2 for side in (0, 1))
    halves[:, 0, 2] = halves[:, 1, 0] = y
    halves[:, 2, 3] = halves[:, 3, 1] = x
    return halves, scores[cut] * np.float32(_HALF_SCORE)


def _in_the_dark(
    boxes: NDArray[np.float64], nearest: NDArray[np.floating], unknown: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Return which boxes `(N, 4)` may have an object that isn't labelled."""
    limits = np.array(unknown.shape) - 1
    middle = np.clip((boxes[:, :2] + boxes[:, 2:]) / 2, 0, limits).astype(np.int64)
    overlap, _ = box_agreement(torch.from_numpy(boxes), torch.from_numpy(nearest).double())
    return unknown[middle[:, 0], middle[:, 1]] & (overlap.numpy() < _TOUCHES)


def _nearest(boxes: NDArray[np.float64], others: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return for each box `(N, 4)` the one of others `(M, 4)` whose IoU with it is highest."""
    pairs = torch.from_numpy(boxes)[:, :, None], torch.from_numpy(others).double().T[None]
    iou, _ = box_agreement(*torch.broadcast_tensors(*pairs))  # (N, M)
    return others[iou.argmax(1).numpy()].astype(np.float64)
