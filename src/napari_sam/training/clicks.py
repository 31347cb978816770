"""Simulated users: where they click first, and how they correct.

Masks here live on the grid of the low-resolution logits, whose cells are `stride` model pixels
wide; clicks come back in model pixels.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_sam.prompts import corrective_click, deepest_point, tight_box

Rng = np.random.Generator
_CENTRED = 0.6  # share of first clicks near the object's centre
_CAREFUL = 0.8  # share of corrections in the middle of the error
_LEAST_BACKGROUND = 0.1  # share of a crop below which nobody misses the objects


def first_clicks(targets: NDArray[np.bool_], stride: int, rng: Rng) -> Tensor:
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
    points: list[tuple[float, float]] = []
    for target in targets:
        if rng.random() < _CENTRED:
            r, c = np.array(deepest_point(target)) + np.rint(rng.normal(0, 1, 2)).astype(int)
            h, w = target.shape
            if not (0 <= r < h and 0 <= c < w and target[r, c]):
                r, c = deepest_point(target)
        else:
            r, c = _anywhere(target, rng)
        points.append((r, c))
    return _to_model(points, stride, rng)[:, None]


def corrections(
    targets: NDArray[np.bool_], predicted: NDArray[np.bool_], stride: int, rng: Rng
) -> tuple[Tensor, Tensor]:
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
        `(N, 1, 2)` as (x, y) in model pixels, and `(N, 1)`.
    """
    points: list[tuple[float, float]] = []
    labels = []
    for target, mask in zip(targets, predicted, strict=True):
        click = corrective_click(target, mask)
        if click is None:
            points.append(_anywhere(target, rng))
            labels.append(1)
            continue
        point, label = click
        if rng.random() > _CAREFUL:
            point = _anywhere((target & ~mask) if label else (mask & ~target), rng)
        points.append(point)
        labels.append(label)
    return _to_model(points, stride, rng)[:, None], torch.tensor(labels)[:, None]


def jittered_boxes(
    targets: NDArray[np.bool_], stride: int, rng: Rng, jitter: float = 0.08
) -> Tensor:
    """Draw a box around each object, every side off by a few percent of the object.

    Returns
    -------
    boxes
        `(N, 4)` as (x0, y0, x1, y1) in model pixels.
    """
    boxes = []
    for target in targets:
        r0, c0, r1, c1 = np.array(tight_box(target)) * stride + (0, 0, stride - 1, stride - 1)
        noise = rng.normal(0, jitter * rng.random(), 4) * (r1 - r0, c1 - c0, r1 - r0, c1 - c0)
        r0, c0, r1, c1 = np.array((r0, c0, r1, c1)) + noise + rng.uniform(-1, 1, 4)
        boxes.append((min(c0, c1), min(r0, r1), max(c0, c1), max(r0, r1)))
    return torch.tensor(boxes, dtype=torch.float32)


def misses(
    labels: NDArray[np.int32], objects: int, share: float, rng: Rng
) -> tuple[Tensor, Tensor]:
    """Click where no object is, as a proposal that went wrong would.

    Parameters
    ----------
    labels
        `(B, S, S)`, 0 for background.
    objects
        Prompts per crop of the batch that these clicks are decoded with.
    share
        Clicks per such prompt.

    Returns
    -------
    prompts, points
        `(N,)` numbers of prompts, 0 to B·objects, in whose crops the clicks are, and `(N, 1, 2)`
        as (x, y) in model pixels. Crops without enough background have none.
    """
    crops, points = [], []
    for _ in range(round(share * objects * len(labels))):
        crop = int(rng.integers(len(labels)))
        empty = np.flatnonzero(labels[crop] == 0)
        if len(empty) < _LEAST_BACKGROUND * labels[crop].size:
            continue
        r, c = np.unravel_index(int(rng.choice(empty)), labels[crop].shape)
        crops.append(crop * objects)
        points.append((float(c), float(r)))
    return torch.tensor(crops, dtype=torch.long), torch.tensor(points).reshape(-1, 1, 2)


def _anywhere(mask: NDArray[np.bool_], rng: Rng) -> tuple[int, int]:
    r, c = np.unravel_index(int(rng.choice(np.flatnonzero(mask))), mask.shape)
    return int(r), int(c)


def _to_model(points: list[tuple[float, float]], stride: int, rng: Rng) -> Tensor:
    cells = np.array(points, np.float32)
    offset = rng.integers(0, stride, cells.shape)  # some pixel of the cell
    return torch.from_numpy((cells * stride + offset)[:, ::-1].astype(np.float32).copy())
