"""Masks that keep to the box somebody drew: they end at its sides, and reach them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_sam.model.tuning import BoxFitTuning
from napari_sam.prompts import tight_box

_DEFAULTS = BoxFitTuning()
# How many thresholds are tried, from 0 to the deepest.
_THRESHOLDS = 9
# Closeness to a side counts from this share of the extent on, so that no weight is infinite.
_TOUCHING = 0.02


def fit_to_box(
    logits: NDArray[np.float32],
    box: NDArray[np.floating],
    fill: bool,
    tuning: BoxFitTuning = _DEFAULTS,
) -> NDArray[np.float32]:
    """Fit a mask to the sides of its box: cut it off there, and extend it where it falls short.

    A box marks where the object ends on all four sides, which a network learns only roughly.

    Parameters
    ----------
    logits
        `(h, w)`; positive is foreground.
    box
        (row 0, column 0, row 1, column 1): positions of the box's sides in cells, cell centres at
        integers.
    fill
        Lower the threshold near a side that the mask doesn't reach, more so the nearer, as long as
        that brings the mask visibly closer to it.
    tuning
        How far it is lowered, and how sharply a mask ends at a side.

    Returns
    -------
    logits
        `(h, w)`: a new array, or the given one where nothing may be foreground.
    """
    possible = logits > tuning.deepest
    if not possible.any():
        return logits
    top, left, bottom, right = map(int, tight_box(possible))
    # one cell around, where that is not the grid's border
    r0, r1 = max(top - 1, 0), bottom + 2
    c0, c1 = max(left - 1, 0), right + 2
    part = logits[r0:r1, c0:c1]
    first, last = box[:2] - (r0, c0), box[2:] - (r0, c0)
    depths = [
        _depth(length, low, high) for length, low, high in zip(part.shape, first, last, strict=True)
    ]
    fitted: NDArray[np.floating] = part
    if fill and all((depth > 0).any() for depth in depths):
        thresholds = _side_thresholds(part, depths, first, last, tuning)
        if thresholds.any():
            fitted = part - _between(thresholds, part.shape, first, last)
    ceiling = tuning.steepness * np.minimum(depths[0][:, None], depths[1][None])
    fitted = np.minimum(fitted, ceiling).astype(np.float32)
    result = logits.copy()
    result[r0:r1, c0:c1] = fitted
    return result


def _depth(length: int, low: float, high: float) -> NDArray[np.float64]:
    """How far cells are from the nearer side, inside positive; no box is thinner than 2 cells."""
    centre, half = (low + high) / 2, max((high - low) / 2, 1.0)
    return half - np.abs(np.arange(length) - centre)


def _side_thresholds(
    part: NDArray[np.float32],
    depths: list[NDArray[np.float64]],
    first: NDArray[np.floating],
    last: NDArray[np.floating],
    tuning: BoxFitTuning,
) -> NDArray[np.float64]:
    """Return the thresholds at which a mask comes near enough to each side.

    Returns
    -------
    thresholds
        `(4,)` of the first row, the last row, the first column and the last column.
    """
    # how sure the mask is in each row, and in each column, of the box; from either end
    rows, columns = part[:, depths[1] > 0].max(1), part[depths[0] > 0].max(0)
    profiles = np.full((4, max(part.shape)), -np.inf)
    for i, profile in enumerate((rows, rows[::-1], columns, columns[::-1])):
        profiles[i, : len(profile)] = profile
    sides = np.array(
        [first[0], len(rows) - 1 - last[0], first[1], len(columns) - 1 - last[1]]
    )  # counted from the same end
    extents = np.maximum(last - first, 1.0).repeat(2)
    thresholds = np.linspace(0, tuning.deepest, _THRESHOLDS)
    gaps = np.maximum(_first_above(profiles, thresholds) - sides[:, None], 0) / extents[:, None]
    return np.asarray(thresholds[(gaps - tuning.caution * thresholds).argmin(1)])


def _first_above(
    profiles: NDArray[np.float64], thresholds: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Find where, between cells, each profile first exceeds each threshold; infinite if nowhere.

    Parameters
    ----------
    profiles
        `(N, L)`.
    thresholds
        `(T,)`.

    Returns
    -------
    positions
        `(N, T)`, for the thresholds in their order.
    """
    above = profiles[:, None] > thresholds[:, None]  # (N, T, L)
    at = above.argmax(2)
    value = np.take_along_axis(profiles, at, 1)
    before = np.take_along_axis(profiles, np.maximum(at - 1, 0), 1)
    # the first cell of the grid begins half a cell before its centre
    step = np.divide(value - thresholds, value - before, out=np.full(at.shape, 0.5), where=at > 0)
    return np.where(above.any(2), at - step, np.inf)


def _between(
    thresholds: NDArray[np.float64],
    shape: tuple[int, ...],
    first: NDArray[np.floating],
    last: NDArray[np.floating],
) -> NDArray[np.float64]:
    """Weigh the sides' thresholds by the inverse squares of the distances to them."""
    total: NDArray[np.float64] = np.zeros(shape)
    weighted = np.zeros(shape)
    for axis, extent in enumerate(np.maximum(last - first, 1.0)):
        at = np.arange(shape[axis])
        near, far = (
            1 / (np.abs(at - side) / extent + _TOUCHING) ** 2 for side in (first[axis], last[axis])
        )
        along = (slice(None), None) if axis == 0 else (None, slice(None))
        total += (near + far)[along]
        weighted += (near * thresholds[2 * axis] + far * thresholds[2 * axis + 1])[along]
    return np.asarray(weighted / total)
