"""Masks: their stability, overlap, encoding, and merging into labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bool = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Rle:
    """Run-length encoding in column-major order, as in COCO's uncompressed form.

    Parameters
    ----------
    size
        (H, W) of the mask.
    counts
        Lengths of alternating runs, the first of background.
    """

    size: tuple[int, int]
    counts: tuple[int, ...]

    @property
    def area(self) -> int:
        """Number of foreground pixels."""
        return sum(self.counts[1::2])


@dataclass(frozen=True, slots=True)
class Merge:
    """The changes of labels by writing a mask; all masks have the labels' shape.

    Parameters
    ----------
    erase, paint
        Pixels to set to 0 and to the label.
    written
        Pixels of the prediction afterwards, for the `previous` of the next :func:`merge_mask`.
    """

    erase: Bool
    paint: Bool
    written: Bool


def merge_mask(
    labels: NDArray[Any], previous: Bool | None, mask: Bool, label_id: int, overwrite: bool = False
) -> Merge:
    """Decide what a new prediction of an object changes.

    Pixels that the object's last prediction wrote and the new one lacks are erased. Painted
    pixels and other labels are never erased; occupied pixels are kept unless `overwrite` is on.

    Parameters
    ----------
    labels
        `(H, W)` integers, or the part of them that the masks cover.
    previous
        Pixels the last prediction of this object wrote, or ``None``.
    mask
        The new prediction.
    label_id
        Label of the object.
    overwrite
        Whether the mask may take pixels of other labels.
    """
    same = labels == label_id
    ours = np.zeros_like(mask) if previous is None else previous & same
    free = ~same if overwrite else labels == 0
    paint = mask & free
    return Merge(erase=ours & ~mask, paint=paint, written=(ours & mask) | paint)


def iou(a: Bool, b: Bool) -> float:
    """Intersection over union of two masks; 1 for two empty ones."""
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 1.0


def stability_score(
    logits: NDArray[np.float32], threshold: float = 0.0, offset: float = 1.0
) -> NDArray[np.float32]:
    """Return the IoU of masks thresholded a little above and a little below a threshold.

    Parameters
    ----------
    logits
        `(..., H, W)`.
    threshold, offset
        The masks are cut at `threshold + offset` and `threshold - offset`.

    Returns
    -------
    score
        `(...)`: IoU of the two masks; 0 where both are empty.
    """
    high = np.count_nonzero(logits > threshold + offset, axis=(-2, -1))
    low = np.count_nonzero(logits > threshold - offset, axis=(-2, -1))
    return (high / np.maximum(low, 1)).astype(np.float32)


def box_nms(
    boxes: NDArray[np.floating[Any]], scores: NDArray[np.floating[Any]], threshold: float
) -> NDArray[np.int64]:
    """Keep the best of overlapping boxes.

    Parameters
    ----------
    boxes
        `(N, 4)` as (row 0, column 0, row 1, column 1).
    scores
        `(N,)`; the higher is kept.
    threshold
        Largest IoU of two boxes that are both kept.

    Returns
    -------
    kept
        Indexes of the kept boxes, best first.
    """
    groups = box_groups(boxes, scores, threshold)
    return np.array([members[0] for members, _ in groups], np.int64)


def box_groups(
    boxes: NDArray[np.floating[Any]], scores: NDArray[np.floating[Any]], threshold: float
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Split boxes into groups: the best one that is left, with those that overlap it.

    Parameters
    ----------
    boxes, scores, threshold
        As :func:`box_nms` takes them.

    Yields
    ------
    members, iou
        Indexes of a group's boxes, best first, and their IoU with that one.
    """
    order = np.argsort(-scores, kind="stable")
    sorted_boxes = boxes[order]
    top, left, bottom, right = np.ascontiguousarray(sorted_boxes.T)
    free = np.ones(len(order), bool)
    for best, (y0, x0, y1, x1) in enumerate(sorted_boxes.tolist()):
        if not free[best]:
            continue
        rest = slice(best + 1, None)  # few of them touch the best one at all
        touching = free[rest] & (top[rest] < y1) & (bottom[rest] > y0)
        touching &= (left[rest] < x1) & (right[rest] > x0)
        near = best + 1 + np.flatnonzero(touching)
        iou = box_iou(sorted_boxes[best], sorted_boxes[near])
        members = np.append(best, near[iou > threshold])
        free[members] = False
        yield order[members], np.append(1.0, iou[iou > threshold])


def box_iou(
    box: NDArray[np.floating[Any]], boxes: NDArray[np.floating[Any]]
) -> NDArray[np.float64]:
    """Intersection over union of a box `(4,)` with each of others `(N, 4)`; 0 without any area."""
    y0, x0, y1, x1 = np.asarray(box, np.float64)
    top, left, bottom, right = np.asarray(boxes, np.float64).T
    height = np.maximum(np.minimum(y1, bottom) - np.maximum(y0, top), 0)
    shared = height * np.maximum(np.minimum(x1, right) - np.maximum(x0, left), 0)
    both = (y1 - y0) * (x1 - x0) + (bottom - top) * (right - left)
    iou: NDArray[np.float64] = shared / np.maximum(both - shared, np.finfo(float).tiny)
    return iou


def decode_rle(rle: Rle) -> Bool:
    """Decode a run-length encoding to a mask.

    Parameters
    ----------
    rle
        The mask's size and the lengths of its runs, column by column, as in uncompressed COCO.

    Returns
    -------
    mask
        `(H, W)` bool.

    Raises
    ------
    ValueError
        If the runs don't fill the mask.
    """
    h, w = rle.size
    if sum(rle.counts) != h * w:
        raise ValueError(
            f"expected runs of {h * w} pixels for a mask of {h} x {w}, got {sum(rle.counts)}"
        )
    values = np.arange(len(rle.counts)) % 2 == 1
    return np.repeat(values, rle.counts).reshape((h, w), order="F")
