"""Strokes, and the clicks that say the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

_MOST = 5  # clicks of a stroke: more tell a model nothing that these don't
_NEAREST = 2.0  # pixels between two of them at least
_ENDS = 0.1  # of a stroke's length is left out at either end, where it may have gone too far


def spread_points(path: ArrayLike, size: float | None = None) -> NDArray[np.float64]:
    """Return the points of a stroke that stand for it.

    The first lies in the middle of the stroke's length; each further one is the point of the
    stroke that is farthest from all before it. No two are nearer to each other than a quarter of
    the object's size, or than 2 pixels, and there are 5 at most. A tenth of the stroke at either
    end is left out.

    Parameters
    ----------
    path
        `(N, 2)` vertices as (row, column), N at least 1.
    size
        Side of the object in pixels, where it is known; otherwise the diagonal of the stroke's
        own bounding box stands for it.

    Returns
    -------
    points
        `(n, 2)` as (row, column), in the order of the stroke; at least one.
    """
    vertices = np.asarray(path, np.float64).reshape(-1, 2)
    along = np.append(0.0, np.cumsum(np.hypot(*np.diff(vertices, axis=0).T)))
    length = along[-1]
    steps = int(min(np.ceil(length), 1000)) + 1
    places = np.linspace(_ENDS * length, (1 - _ENDS) * length, steps)
    line = np.stack([np.interp(places, along, vertices[:, axis]) for axis in range(2)], axis=1)
    extent = float(np.hypot(*np.ptp(line, axis=0))) if size is None else size
    nearest = max(extent / 4, _NEAREST)
    chosen = [int(np.argmin(np.abs(places - length / 2)))]
    distance = np.hypot(*(line - line[chosen[0]]).T)
    while len(chosen) < _MOST and distance.max() >= nearest:
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.hypot(*(line - line[chosen[-1]]).T))
    points: NDArray[np.float64] = line[sorted(chosen)]
    return points
