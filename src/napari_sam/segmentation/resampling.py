"""Logits of one frame of a plane, carried to another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_sam.geometry import Frame


def resample_logits(
    logits: NDArray[np.float32], source: Frame, target: Frame, low_res: tuple[int, int]
) -> NDArray[np.float32]:
    """Carry low-resolution logits from one frame of a plane to another.

    Parameters
    ----------
    logits
        `(h, w)` over the canvas of `source`.
    source, target
        Two frames of one plane.
    low_res
        (h, w) of the grid over the canvas of `target`.

    Returns
    -------
    logits
        `(*low_res)`; 0, which is undecided, where the source saw nothing.
    """
    coordinates = []
    for axis in range(2):
        # cell centres of the target grid, to the plane, to cells of the source grid
        cell = np.arange(low_res[axis]) + 0.5
        model = cell * target.canvas[axis] / low_res[axis]
        plane = model * target.shape[axis] / target.scaled[axis] + target.origin[axis]
        inside = (plane >= source.origin[axis]) & (
            plane <= source.origin[axis] + source.shape[axis]
        )
        model = (plane - source.origin[axis]) * source.scaled[axis] / source.shape[axis]
        cell = model * logits.shape[axis] / source.canvas[axis] - 0.5
        cell = np.clip(cell, 0, logits.shape[axis] - 1)
        coordinates.append(np.where(inside, cell, -2.0))
    grid = np.meshgrid(*coordinates, indexing="ij")
    moved = ndimage.map_coordinates(logits, grid, order=1, mode="constant", cval=0.0)
    return moved.astype(np.float32, copy=False)
