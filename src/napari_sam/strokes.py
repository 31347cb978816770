"""Strokes, and the clicks that stand for them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

_MOST = 5  # clicks of a stroke: more don't change a model's mask
_NEAREST = 2.0  # pixels between two of them at least
_ENDS = 0.1  # of a stroke's length is left out at either end, where it may have gone too far


def clip_path(
    path: Sequence[tuple[float, float]], plane_shape: tuple[int, int]
) -> list[tuple[tuple[float, float], ...]]:
    """Return the parts of a stroke that lie on a plane, in their order.

    Parameters
    ----------
    path
        Vertices as (row, column), at least one.
    plane_shape
        (H, W) of the plane; its outermost pixels are whole.

    Returns
    -------
    parts
        Vertices of each part, with those where it meets the border; none if all of it lies
        outside.
    """
    low, high = np.full(2, -0.5), np.subtract(plane_shape, 0.5)
    vertices = np.asarray(path, np.float64).reshape(-1, 2)
    if np.all((vertices >= low) & (vertices <= high)):
        return [tuple(path)]
    parts: list[list[tuple[float, float]]] = []
    goes_on = False
    for start, end in pairwise(vertices):
        step = end - start
        with np.errstate(divide="ignore", invalid="ignore"):
            enters, leaves = np.sort([(low - start) / step, (high - start) / step], axis=0)
        still = step == 0  # along an axis: it lies between the borders, or nowhere
        is_between = (low <= start) & (start <= high)
        enters = np.where(still, np.where(is_between, 0.0, np.inf), enters)
        leaves = np.where(still, np.where(is_between, 1.0, -np.inf), leaves)
        first, last = max(0.0, enters.max()), min(1.0, leaves.min())
        if first > last or (first == last and not still.all()):
            goes_on = False
            continue
        inside = np.clip([start + first * step, start + last * step], low, high)
        a, b = ((float(row), float(column)) for row, column in inside)
        if goes_on and first == 0:
            parts[-1].append(b)
        else:
            parts.append([a, b])
        goes_on = last == 1
    return [tuple(part) for part in parts]


def spread_points(path: ArrayLike, size: float | None = None) -> NDArray[np.float64]:
    """Return points of a stroke that stand for it as clicks.

    The first lies in the middle of the stroke's length; each next one is the point of the stroke
    that is farthest from all chosen so far. No two are nearer to each other than a quarter of the
    object's size, or than 2 pixels, and there are 5 at most. A tenth of the stroke at either end
    is left out.

    Parameters
    ----------
    path
        `(N, 2)` vertices as (row, column), N at least 1.
    size
        Side of the object in pixels, where it is known; by default the diagonal of the stroke's
        bounding box.

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
