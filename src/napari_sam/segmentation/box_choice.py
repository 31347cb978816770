"""From a dense head's boxes, one per cell, to one box per object."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_sam.masks import box_groups, box_iou, box_nms
from napari_sam.model.tuning import ProposalTuning

_DEFAULTS = ProposalTuning()


def find_boxes(
    sides: NDArray[np.float32],
    scores: NDArray[np.float32],
    stride: int,
    candidates: bool = False,
    tuning: ProposalTuning = _DEFAULTS,
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Choose one box per object among those of all cells.

    As in non-maximum suppression, the box with the highest score suppresses those that overlap it;
    unlike there, it is averaged with those most similar to it.

    Parameters
    ----------
    sides
        `(4, h, w)` model pixels from a cell's centre to the top, left, bottom and right side of
        its object's box.
    scores
        `(h, w)` predicted IoU of that box, 0-1.
    stride
        Model pixels per cell.
    candidates
        Choose one box per candidate instead, of which several may overlap on an object.
    tuning
        Which cells count, and which boxes are alike.

    Returns
    -------
    boxes, scores
        `(N, 4)` edges as (y0, x0, y1, x1) in model pixels, and `(N,)`, highest first.
    """
    rows, columns = np.nonzero(scores > tuning.least_cell)
    y, x = (rows + 0.5) * stride, (columns + 0.5) * stride
    top, left, bottom, right = sides[:, rows, columns].astype(np.float64)
    boxes = np.stack([y - top, x - left, y + bottom, x + right], axis=1)
    weights = scores[rows, columns].astype(np.float64)
    found: list[NDArray[np.float64]] = []
    best: list[float] = []
    same, alike = tuning.same_object, tuning.same_box
    if candidates:
        same, alike = tuning.same_candidate, tuning.same_candidates_box
    for members, iou in box_groups(boxes, weights, same):
        like = members[iou > alike]
        votes = weights[like] ** 2
        found.append(votes @ boxes[like] / votes.sum())
        best.append(weights[members[0]])
    return np.array(found).reshape(-1, 4), np.array(best, np.float32)


def choose_boxes(
    boxes: NDArray[np.float64], scores: NDArray[np.float32], tuning: ProposalTuning = _DEFAULTS
) -> NDArray[np.int64]:
    """Choose one box per object among candidates.

    Non-maximum suppression takes the box of a few objects whose score is a little higher than that
    of each of them. Here the boxes are sought that together have the most beyond the least score
    of a box that is an object's; others follow where they overlap none of these.

    Parameters
    ----------
    boxes
        `(N, 4)` edges as (y0, x0, y1, x1).
    scores
        `(N,)` expected IoU with an object's box.
    tuning
        The least score, and which boxes are one object's.

    Returns
    -------
    chosen
        Indexes of the chosen boxes, highest score first.
    """
    likely = np.flatnonzero(scores > tuning.least_judged)
    worth = scores[likely] - tuning.least_judged
    best = likely[_worthiest(boxes[likely], worth, tuning.same_object)]
    first = scores.copy()
    first[best] += 1.0  # before all others
    kept = box_nms(boxes, first, tuning.same_object)
    return kept[np.argsort(-scores[kept], kind="stable")]


def _worthiest(
    boxes: NDArray[np.float64], worth: NDArray[np.float32], same: float
) -> NDArray[np.bool_]:
    """Find boxes that don't overlap each other and whose worth adds up to much.

    A local search after Andrade et al., Fast local search for the maximum independent set problem
    (2012), with weights: a taken box makes way for others that overlap no other taken one as long
    as those are worth more. On real candidates that finds what an exact search does.
    """
    rivals = np.array([box_iou(box, boxes) > same for box in boxes], bool)
    rivals = rivals.reshape(2 * boxes.shape[:1])
    np.fill_diagonal(rivals, False)
    taken = np.zeros(len(boxes), bool)
    taken[box_nms(boxes, worth, same)] = True
    against = rivals[taken].sum(0)  # taken boxes that each overlaps
    changed = True
    while changed:
        changed = False
        for one in np.flatnonzero(taken):
            others = np.flatnonzero(rivals[one] & (against == 1))
            if worth[others].sum() <= worth[one]:  # even if they didn't overlap each other
                continue
            others = others[box_nms(boxes[others], worth[others], same)]
            if worth[others].sum() > worth[one]:
                taken[one], taken[others], changed = False, True, True
                against += rivals[others].sum(0) - rivals[one]
    return taken
