"""What the dense head learns: foreground, distance to the border, and bounding boxes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from napari_sam.model.dense_head import DenseOutput
from napari_sam.training.boxes import box_agreement, label_boxes

# Model pixels per cell of the maps and of the sides.
MAPS_STRIDE, SIDES_STRIDE = 2, 4
# Objects weigh the same, whatever their size; the background as much as all of them.
_DISTANCE_WEIGHT = 2.0
# Cells near an object's border predict boxes, too, but these don't propose the object.
_BORDER_WEIGHT = 0.02
# Background that resembles an object counts less than objects, and obvious background hardly.
_BACKGROUND_WEIGHT = 0.75


@dataclass(frozen=True, slots=True)
class DenseTargets:
    """Targets of the dense head for a batch of labelled crops.

    Parameters
    ----------
    maps
        `(B, 2, h, w)`: foreground, and distance to the object's border over its largest.
    shares
        `(B, h, w)` weight of each cell; those of an object add up to 1, the background's to the
        number of objects, or 1 where there is none.
    sides
        `(B, 4, h', w')` model pixels to the top, left, bottom and right side of the object's box.
    side_shares
        `(B, h', w')` as `shares`; 0 on the background.
    depths
        `(B, h', w')`: the distance of `maps` at the cells of the sides.
    """

    maps: Tensor
    shares: Tensor
    sides: Tensor
    side_shares: Tensor
    depths: Tensor

    @classmethod
    def of(cls, labels: NDArray[np.int32]) -> DenseTargets:
        """Compute the targets of labels `(B, H, W)`, 0 for background."""
        fine = labels[:, ::MAPS_STRIDE, ::MAPS_STRIDE]
        middle = SIDES_STRIDE // 2
        coarse = labels[:, middle::SIDES_STRIDE, middle::SIDES_STRIDE]
        maps = np.stack([distance_maps(one) for one in fine])
        own = SIDES_STRIDE // MAPS_STRIDE
        return cls(
            torch.from_numpy(maps),
            torch.from_numpy(np.stack([_shares(one, background=True) for one in fine])),
            torch.from_numpy(
                np.stack([_sides(one, cells) for one, cells in zip(labels, coarse, strict=True)])
            ),
            torch.from_numpy(np.stack([_shares(one, background=False) for one in coarse])),
            torch.from_numpy(maps[:, 1, own // 2 :: own, own // 2 :: own].copy()),
        )


@dataclass(frozen=True, slots=True)
class Known:
    """Where labels are to be believed.

    Parameters
    ----------
    maps
        `(B, h, w)` bool at the cells of the maps.
    sides
        `(B, h', w')` bool at the cells of the sides.
    """

    maps: Tensor
    sides: Tensor

    @classmethod
    def of(cls, known: NDArray[np.bool_]) -> Known:
        """Take them from pixels `(B, H, W)`."""
        middle = SIDES_STRIDE // 2
        maps = known[:, ::MAPS_STRIDE, ::MAPS_STRIDE]
        sides = known[:, middle::SIDES_STRIDE, middle::SIDES_STRIDE]
        return cls(*(torch.from_numpy(np.ascontiguousarray(one)) for one in (maps, sides)))


def dense_loss(output: DenseOutput, target: DenseTargets, known: Known | None = None) -> Tensor:
    """Compare the dense head's output with its targets.

    The distance's loss is the quality focal loss of Li et al., Generalized Focal Loss (2020), with
    exponent 1: plain cross-entropy with a soft target is content with the mean. That of the boxes'
    scores is the loss of Zhang et al., VarifocalNet (2020).

    Parameters
    ----------
    output, target
        Of the same crops.
    known
        Cells that count; by default all.
    """
    maps = output.maps
    entropy = F.binary_cross_entropy_with_logits(maps, target.maps, reduction="none")
    shares, side_shares = target.shares, target.side_shares
    cells: Tensor | None = None
    if known is None:
        evenly = entropy[:, 0].mean()
    else:
        shares, cells = shares * known.maps, known.sides
        evenly = (entropy[:, 0] * known.maps).sum() / known.maps.sum().clamp_min(1)
    shares = shares / shares.sum((1, 2), keepdim=True).clamp_min(1e-6)
    error = (maps[:, 1].sigmoid() - target.maps[:, 1]).abs()
    foreground = 0.5 * evenly + 0.5 * (entropy[:, 0] * shares).sum((1, 2)).mean()
    distance = (entropy[:, 1] * error * shares).sum((1, 2)).mean()
    iou, generalised = box_agreement(_edges(output.sides), _edges(target.sides))
    weight = side_shares * (target.depths.square() + _BORDER_WEIGHT)
    boxes = ((1 - generalised) * weight).sum() / weight.sum().clamp_min(1e-3)
    scores = _score_loss(output.scores, iou.detach(), side_shares, cells)
    return foreground + _DISTANCE_WEIGHT * distance + boxes + scores


def distance_maps(labels: NDArray[np.int32]) -> NDArray[np.float32]:
    """Compute foreground and normalised distance to the border.

    Parameters
    ----------
    labels
        `(H, W)`, 0 is background.

    Returns
    -------
    target
        `(2, H, W)`: foreground, and distance to the object's border over the object's largest.
    """
    inner = labels > 0
    for axis in (0, 1):  # pixels on either side of a border between touching objects
        differs = np.diff(labels, axis=axis) != 0
        padding = [(0, 0), (0, 0)]
        padding[axis] = (0, 1)
        inner &= ~np.pad(differs, padding)
    depth = ndimage.distance_transform_edt(inner).astype(np.float32)
    largest = np.zeros(int(labels.max()) + 1, np.float32)
    np.maximum.at(largest, labels.ravel(), depth.ravel())
    distance = depth / np.maximum(largest, 1)[labels]
    return np.stack([(labels > 0).astype(np.float32), distance * (labels > 0)])


def _shares(labels: NDArray[np.int32], background: bool) -> NDArray[np.float32]:
    areas = np.bincount(labels.ravel()).astype(np.float32)
    each = 1 / np.maximum(areas, 1)
    each[0] = max(1, np.count_nonzero(areas[1:])) / max(areas[0], 1) if background else 0
    return np.asarray(each[labels], np.float32)


def _sides(labels: NDArray[np.int32], cells: NDArray[np.int32]) -> NDArray[np.float32]:
    boxes = label_boxes(labels)
    h, w = cells.shape
    y = (np.arange(h, dtype=np.float32)[:, None] + 0.5) * SIDES_STRIDE
    x = (np.arange(w, dtype=np.float32)[None] + 0.5) * SIDES_STRIDE
    own = boxes[cells]  # (h, w, 4)
    sides = np.stack([y - own[..., 0], x - own[..., 1], own[..., 2] - y, own[..., 3] - x])
    return np.maximum(sides, 0.5) * (cells > 0)


def _edges(sides: Tensor) -> Tensor:
    """Edges, seen from each cell, of boxes by the distances of their sides."""
    return torch.cat([-sides[:, :2], sides[:, 2:]], 1)


def _score_loss(scores: Tensor, iou: Tensor, shares: Tensor, known: Tensor | None = None) -> Tensor:
    """Loss of boxes' scores per object: each object weighs the same, as do as many cells beside.

    A cell inside an object counts by the IoU of its box, or by the score where that is too high:
    from afar, where the boxes fit nothing, confidence would cost nothing otherwise.
    """
    inside = shares > 0
    quality = torch.where(inside, iou, 0.0)
    entropy = F.binary_cross_entropy_with_logits(scores, quality, reduction="none")
    objects = shares.sum().clamp_min(1)
    usual_size = (inside.sum() / objects).clamp_min(1)
    predicted = scores.detach().sigmoid().square()
    seeming = _BACKGROUND_WEIGHT * predicted / usual_size
    if known is not None:
        seeming = seeming * known
    weight = torch.where(inside, torch.maximum(quality, predicted) * shares, seeming)
    return (entropy * weight).sum() / objects
