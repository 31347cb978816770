"""What the head that judges regions learns: how good the dense head's boxes are."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from napari_sam.detection import find_boxes
from napari_sam.model.roi_head import RoiHead
from napari_sam.training.boxes import box_agreement, label_boxes

# Candidates of a crop that are judged, best first.
_MOST = 80
# From this IoU with an object's box on, a candidate's sides are to be mended.
_MENDED = 0.35
# Weight of a score that is right beside one that is wrong by 1.
_RIGHT = 0.25


def region_loss(
    head: RoiHead, features: tuple[Tensor, ...], cells: tuple[Tensor, Tensor], labels: Tensor
) -> Tensor:
    """Judge the boxes that the cells of a batch propose, and compare with its objects.

    A candidate's score should be the IoU of its mended box with the box of the object that it
    overlaps most.

    Parameters
    ----------
    head
        What judges.
    features
        As returned by the image encoder.
    cells
        Sides and scores as in :class:`DenseOutput`; no gradients flow into them.
    labels
        `(B, S, S)`, 0 for background.
    """
    sides, logits = cells = cells[0].detach().float(), cells[1].detach().float()
    boxes, scores, objects, counts = [], [], [], []
    for said, quality, truth in zip(
        sides.cpu().numpy(), logits.sigmoid().cpu().numpy(), labels.cpu().numpy(), strict=True
    ):
        found, confidence = find_boxes(said, quality, head.cell, candidates=True)
        boxes.append(torch.from_numpy(found[:_MOST]))
        scores.append(torch.from_numpy(confidence[:_MOST]))
        objects.append(torch.from_numpy(_nearest(found[:_MOST], label_boxes(truth))))
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


def _nearest(boxes: NDArray[np.float64], others: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return for each box `(N, 4)` the one of others `(M, 4)` whose IoU with it is highest."""
    pairs = torch.from_numpy(boxes)[:, :, None], torch.from_numpy(others).double().T[None]
    iou, _ = box_agreement(*torch.broadcast_tensors(*pairs))  # (N, M)
    return others[iou.argmax(1).numpy()].astype(np.float64)
