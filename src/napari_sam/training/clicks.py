"""Simulated users: where they click first, and how they correct.

Masks here live on the grid of the low-resolution logits, whose cells are `stride` model pixels
wide; clicks come back in model pixels. All objects of a batch are clicked at once, on whatever
device their masks are.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from napari_sam.training.losses import occupied_ends

Rng = np.random.Generator
_CENTRED = 0.6  # share of first clicks near the object's centre
_CAREFUL = 0.8  # share of corrections in the middle of the error
_LEAST_BACKGROUND = 0.1  # share of a crop below which nobody misses the objects
_LOOSE = 0.25  # largest standard deviation of a loose box's sides, as a share of the extent


def first_clicks(targets: Tensor, stride: int, rng: Rng) -> Tensor:
    """Click each object once: near its deepest point mostly, anywhere inside it otherwise.

    Parameters
    ----------
    targets
        `(N, h, w)` masks, none of them empty.
    stride
        Model pixels per cell.

    Returns
    -------
    points
        `(N, 1, 2)` as (x, y) in model pixels.
    """
    count, (h, w) = len(targets), targets.shape[1:]
    middle = deepest_cells(targets)
    near = middle + _on(targets, np.rint(rng.normal(0, 1, (count, 2))).astype(np.int64))
    bounded = near.clamp_min(0).minimum(near.new_tensor([h - 1, w - 1]))
    hit = (near == bounded).all(1) & targets[torch.arange(count), bounded[:, 0], bounded[:, 1]]
    near = torch.where(hit[:, None], near, middle)
    centred = _on(targets, rng.random(count) < _CENTRED)
    cells = torch.where(centred[:, None], near, _anywhere(targets, rng))
    return _to_model(cells, stride, rng)[:, None]


def corrections(targets: Tensor, predicted: Tensor, stride: int, rng: Rng) -> tuple[Tensor, Tensor]:
    """Correct each prediction once, in the larger of its errors.

    Parameters
    ----------
    targets, predicted
        `(N, h, w)` masks; no target is empty.
    stride
        Model pixels per cell.

    Returns
    -------
    points, labels
        `(N, 1, 2)` as (x, y) in model pixels, and `(N, 1)`. Perfect masks get a click inside.
    """
    missed, spilled = targets & ~predicted, predicted & ~targets
    positive = missed.sum((1, 2)) >= spilled.sum((1, 2))
    error = torch.where(positive[:, None, None], missed, spilled)
    wrong = error.any(2).any(1)
    error = torch.where(wrong[:, None, None], error, targets)
    careful = wrong & _on(targets, rng.random(len(targets)) < _CAREFUL)
    cells = torch.where(careful[:, None], deepest_cells(error), _anywhere(error, rng))
    return _to_model(cells, stride, rng)[:, None], positive.long()[:, None]


def jittered_boxes(
    targets: Tensor, stride: int, rng: Rng, jitter: float = 0.08, loose_share: float = 0.0
) -> Tensor:
    """Draw a box around each object, every side off by a few percent of the object.

    Parameters
    ----------
    targets
        `(N, h, w)` masks, none of them empty.
    stride
        Model pixels per cell.
    jitter
        Largest standard deviation of a side's error, as a share of the object's extent.
    loose_share
        Share of the boxes that are as far off as a proposal may be.

    Returns
    -------
    boxes
        `(N, 4)` as (x0, y0, x1, y1) in model pixels.
    """
    count = len(targets)
    (x0, x1), (y0, y1) = (occupied_ends(targets.any(axis)) for axis in (1, 2))
    first = torch.cat([x0, y0], 1) * stride
    last = torch.cat([x1, y1], 1) * stride + stride - 1
    extent = (last - first).repeat(1, 2)
    largest = np.where(rng.random((count, 1)) < loose_share, _LOOSE, jitter)
    noise = rng.normal(0, 1, (count, 4)) * largest * rng.random((count, 1))
    blur = _on(targets, rng.uniform(-1, 1, (count, 4)).astype(np.float32))
    off = _on(targets, noise.astype(np.float32)) * extent + blur
    first, last = first + off[:, :2], last + off[:, 2:]
    return torch.cat([first.minimum(last), first.maximum(last)], 1)


def misses(labels: Tensor, count: int, rng: Rng) -> tuple[Tensor, Tensor]:
    """Click where no object is, as a proposal that went wrong would.

    Parameters
    ----------
    labels
        `(B, S, S)`, 0 for background.
    count
        Number of clicks.

    Returns
    -------
    crops, points
        `(count,)` the crops, 0 to B − 1, that the clicks are in, and `(count, 1, 2)` as (x, y) in
        model pixels. Crops without enough background have none; both are empty if all are so.
    """
    empty = labels == 0
    roomy = torch.nonzero(empty.float().mean((1, 2)) >= _LEAST_BACKGROUND)[:, 0]
    crops = roomy[_on(labels, rng.integers(max(len(roomy), 1), size=count if len(roomy) else 0))]
    return crops, _anywhere(empty[crops], rng).flip(1).float()[:, None]


def deepest_cells(masks: Tensor) -> Tensor:
    """Find the cell of each mask that is farthest from everything outside it.

    Parameters
    ----------
    masks
        `(N, h, w)`, none of them empty. Beyond the grid's border is outside.

    Returns
    -------
    cells
        `(N, 2)` as (row, column).
    """
    index = squared_depth(masks).flatten(1).argmax(1)
    return torch.stack(torch.unravel_index(index, masks.shape[1:]), 1)


def squared_depth(masks: Tensor) -> Tensor:
    """Squared Euclidean distance of each cell to the nearest one outside its mask.

    Exact, in two passes: along the rows, then the smallest over all rows.

    Parameters
    ----------
    masks
        `(N, h, w)`. Beyond the grid's border is outside.

    Returns
    -------
    depth
        `(N, h, w)`, float32; 0 outside.
    """
    h, w = masks.shape[1:]
    at = torch.arange(w, device=masks.device)
    before = torch.where(masks, -1, at).cummax(2).values
    after = torch.where(masks, w, at).flip(2).cummin(2).values.flip(2)
    along = torch.minimum(at - before, after - at).float()
    # nothing farther than the row's own distance is nearer
    reach = int(along.amax()) if along.numel() else 0
    squares = along.square()
    padded = F.pad(squares, (0, 0, reach, reach))
    depth = squares.clone()
    for offset in range(1, reach):
        for start in (reach - offset, reach + offset):
            torch.minimum(depth, padded[:, start : start + h] + offset**2, out=depth)
    return depth


def _anywhere(masks: Tensor, rng: Rng) -> Tensor:
    """Choose a cell of each mask, all alike: `(N, 2)` as (row, column)."""
    flat = masks.flatten(1).cumsum(1)
    rank = _on(masks, rng.random(len(masks))) * flat[:, -1]
    index = torch.searchsorted(flat, rank.floor().long()[:, None] + 1)[:, 0]
    return torch.stack(torch.unravel_index(index, masks.shape[1:]), 1)


def _to_model(cells: Tensor, stride: int, rng: Rng) -> Tensor:
    offset = rng.integers(0, stride, cells.shape)  # some pixel of the cell
    return (cells * stride + _on(cells, offset)).flip(1).float()


def _on(like: Tensor, values: NDArray[np.generic]) -> Tensor:
    return torch.from_numpy(values).to(like.device)
