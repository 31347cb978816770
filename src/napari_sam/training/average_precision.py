"""How many objects an automatic segmentation finds: average precision against labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import linear_sum_assignment

THRESHOLDS = tuple(np.arange(0.5, 1.0, 0.05).round(2).tolist())
LEAST_PIXELS = 25


@dataclass(frozen=True, slots=True)
class Counts:
    """True positives, false positives and false negatives at each of `THRESHOLDS`."""

    true: NDArray[np.int64]
    false: NDArray[np.int64]
    missed: NDArray[np.int64]

    def precision(self) -> NDArray[np.float64]:
        """Return TP / (TP + FP + FN) at each threshold; 1 where there is nothing to find."""
        total = self.true + self.false + self.missed
        return np.where(total > 0, self.true / np.maximum(total, 1), 1.0)

    def at(self, threshold: float) -> float:
        """Return the average precision at one of `THRESHOLDS`."""
        return float(self.precision()[THRESHOLDS.index(threshold)])

    @property
    def mean(self) -> float:
        """The mean over `THRESHOLDS`, known as mSA."""
        return float(self.precision().mean())


def count_matches(labels: NDArray[np.integer], truth: NDArray[np.integer]) -> Counts:
    """Match predicted with true objects of one plane.

    Each object is matched at most once, so that as many as possible reach the threshold.
    Objects of fewer than 25 pixels count on neither side: true ones are nobody's miss, and
    predictions that lie on them by more than a half are no error.

    Parameters
    ----------
    labels, truth
        `(H, W)`, 0 for background.
    """
    p_sizes, t_sizes, overlap = _overlaps(labels, truth)
    small = t_sizes < LEAST_PIXELS
    on_small = overlap[:, small].sum(1) > 0.5 * p_sizes
    predicted, real = (p_sizes >= LEAST_PIXELS) & ~on_small, ~small
    overlap = overlap[predicted][:, real]
    union = p_sizes[predicted][:, None] + t_sizes[real][None] - overlap
    iou = overlap / np.maximum(union, 1)
    true = []
    for threshold in THRESHOLDS:
        reached = iou >= threshold
        rows, columns = linear_sum_assignment(-(reached + iou / (2 * max(1, *iou.shape))))
        true.append(int(np.count_nonzero(reached[rows, columns])))
    hits = np.array(true, np.int64)
    return Counts(hits, predicted.sum() - hits, real.sum() - hits)


def add_up(counts: Iterable[Counts]) -> Counts:
    """Add the counts of several planes."""
    parts: Sequence[Counts] = list(counts)
    zero = np.zeros(len(THRESHOLDS), np.int64)
    return Counts(
        sum((c.true for c in parts), zero),
        sum((c.false for c in parts), zero),
        sum((c.missed for c in parts), zero),
    )


def _overlaps(
    labels: NDArray[np.integer], truth: NDArray[np.integer]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Count the pixels of each label, of each true one, and of each pair; background left out."""
    names, p = np.unique(labels, return_inverse=True)
    true_names, t = np.unique(truth, return_inverse=True)
    ones = np.ones(labels.size, np.int64)
    shape = (len(names), len(true_names))
    table = sparse.coo_array((ones, (p.ravel(), t.ravel())), shape).toarray()
    kept = table[names != 0]
    return kept.sum(1), table[:, true_names != 0].sum(0), kept[:, true_names != 0]
