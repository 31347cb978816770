"""Splitting a mask along a stroke."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray


def cut_off(
    mask: NDArray[np.bool_], path: Sequence[tuple[float, float]]
) -> NDArray[np.bool_] | None:
    """Return the pieces that a stroke cuts off from a mask: all beside it except the largest.

    The stroke is one pixel wide; its own pixels go to the nearest piece. Parts of the mask that
    it doesn't touch are kept.

    Parameters
    ----------
    mask
        `(h, w)`.
    path
        Vertices (row, column) of the stroke, in pixels of the mask.

    Returns
    -------
    pieces
        `(h, w)`; None if the mask beside the stroke stays in one piece.
    """
    from scipy import ndimage

    stroke = _drawn(mask.shape, path) & mask
    if not stroke.any():
        return None
    # A diagonal stroke separates pixels only if pieces are connected along sides alone; pixels that
    # touch the stroke at a corner count as beside it.
    pieces, _ = ndimage.label(mask & ~stroke)
    beside = np.unique(pieces[ndimage.binary_dilation(stroke, np.ones((3, 3)))])
    beside = beside[beside > 0]
    if len(beside) < 2:
        return None
    sizes = np.bincount(pieces.ravel())
    off = np.zeros(len(sizes), bool)
    off[beside] = True
    off[beside[np.argmax(sizes[beside])]] = False
    nearest = ndimage.distance_transform_edt(
        ~np.isin(pieces, beside), return_distances=False, return_indices=True
    )
    pieces = np.where(stroke, pieces[tuple(nearest)], pieces)
    return np.asarray(off[pieces])


def _drawn(shape: tuple[int, ...], path: Sequence[tuple[float, float]]) -> NDArray[np.bool_]:
    """Return the pixels of a stroke within a mask of a shape."""
    from skimage.draw import line

    drawn = np.zeros(shape, bool)
    vertices = np.rint(np.asarray(path, np.float64)).astype(int).reshape(-1, 2)
    for (r0, c0), (r1, c1) in pairwise(vertices.tolist()):
        rows, columns = line(r0, c0, r1, c1)
        inside = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
        drawn[rows[inside], columns[inside]] = True
    return drawn
