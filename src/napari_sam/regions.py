"""From a dense head's maps to one region per object: seeds and their watershed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import reconstruction
from skimage.segmentation import watershed

# A seed is a maximum of foreground times distance, smoothed by a Gaussian of this width in cells,
# that stands out by this height.
_SMOOTHING = 1.5
_HEIGHT = 0.05
_LEAST_FOREGROUND = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class SeedRegions:
    """Regions that part the foreground of a dense head.

    Parameters
    ----------
    labels
        `(h, w)`: 1 … N, 0 is background.
    peaks
        `(N, 2)` cell (row, column) of each region's highest score.
    scores
        `(N,)` in 0-1, highest first.
    """

    labels: NDArray[np.int32]
    peaks: NDArray[np.int64]
    scores: NDArray[np.float32]


def find_regions(foreground: NDArray[np.float32], distance: NDArray[np.float32]) -> SeedRegions:
    """Part the foreground among the objects whose middles stand out.

    Parameters
    ----------
    foreground, distance
        `(h, w)` in 0-1, see :class:`~napari_sam.model.dense_head.DenseHead`.
    """
    inside = foreground > _LEAST_FOREGROUND
    score = ndimage.gaussian_filter(foreground * distance, _SMOOTHING)
    lowered = reconstruction(score - _HEIGHT, score)
    # by less than the height where the lowered map meets the score: rounding must not decide
    seeds, count = ndimage.label((score - lowered > 0.999 * _HEIGHT) & inside, np.ones((3, 3)))
    if not count:
        return SeedRegions(
            np.zeros(score.shape, np.int32), np.empty((0, 2), np.int64), np.empty(0, np.float32)
        )
    peaks = np.array(ndimage.maximum_position(score, seeds, np.arange(1, count + 1)))
    heights = score[tuple(peaks.T)].astype(np.float32)
    order = np.argsort(-heights, kind="stable")
    rank = np.zeros(count + 1, np.int32)
    rank[1 + order] = np.arange(1, count + 1)
    labels = watershed(-score, rank[seeds], mask=inside)
    return SeedRegions(labels.astype(np.int32, copy=False), peaks[order], heights[order])
