"""Masks of one piece: islands that nobody clicked go, small holes are filled."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_sam.geometry import region_of
from napari_sam.model.tuning import TidyTuning

_DEFAULTS = TidyTuning()
# A click so many cells beside a part still belongs to it.
_REACH = 1


def tidy_logits(
    logits: NDArray[np.float32],
    clicks: NDArray[np.floating],
    labels: NDArray[np.integer],
    least_part: float = 0.0,
    tuning: TidyTuning = _DEFAULTS,
) -> NDArray[np.float32]:
    """Take islands without a click out of a mask, and fill its small holes.

    A network whose clicks are learned on few images leaves specks far from the object. Parts with
    a positive click are kept, however many there are; a mask of which no part is clicked, such as
    one from a box, keeps all but specks. Holes with a negative click stay.

    Parameters
    ----------
    logits
        `(h, w)`; positive is foreground.
    clicks
        `(N, 2)` positions as (row, column) in cells.
    labels
        `(N,)`: 1 for positive clicks, 0 for negative ones.
    least_part
        Where no part is clicked, parts smaller than this share of the largest go.
    tuning
        How large a hole is filled, and how surely.

    Returns
    -------
    logits
        `(h, w)`: a new array where anything changes, the given one otherwise.
    """
    mask = logits > 0
    region = region_of(mask)
    if region is None:
        return logits
    covered = mask[region]
    # one cell around the mask, so that the outside is one part; np.pad takes far longer
    part = np.zeros((covered.shape[0] + 2, covered.shape[1] + 2), bool)
    part[1:-1, 1:-1] = covered
    cells = np.rint(clicks).astype(np.int64) - [s.start - 1 for s in region]
    kept = _clicked(part, cells[labels == 1], least_part)
    whole = kept | _small_holes(kept, cells[labels == 0], tuning.largest_hole)
    if np.array_equal(whole, part):
        return logits
    tidied = logits.copy()
    inner = tidied[region]
    before, after = part[1:-1, 1:-1], whole[1:-1, 1:-1]
    inner[before & ~after] = -tuning.turned
    inner[after & ~before] = tuning.turned
    return tidied


def _clicked(mask: NDArray[np.bool_], cells: NDArray[np.int64], least: float) -> NDArray[np.bool_]:
    """Return the parts of a mask near the cells; all that are large enough where none is."""
    parts, count = ndimage.label(mask)
    if count < 2:
        return mask
    wanted = np.zeros(count + 1, bool)
    wanted[_named(parts, cells, _REACH)] = True
    if not wanted.any():
        sizes = np.bincount(parts.ravel(), minlength=count + 1)
        sizes[0] = 0
        wanted = sizes >= max(least * sizes.max(), 1)
    return np.asarray(wanted[parts])


def _small_holes(
    mask: NDArray[np.bool_], cells: NDArray[np.int64], largest: float
) -> NDArray[np.bool_]:
    """Return the holes of a mask that are small and hold none of the cells."""
    gaps, count = ndimage.label(~mask)
    if count < 2:
        return np.zeros_like(mask)
    sizes = np.bincount(gaps.ravel())
    small = sizes <= largest * np.count_nonzero(mask)
    small[[0, gaps[0, 0]]] = False
    small[_named(gaps, cells, 0)] = False
    return np.asarray(small[gaps])


def _named(parts: NDArray[np.integer], cells: NDArray[np.int64], reach: int) -> NDArray[np.integer]:
    """Return the numbers of the parts within reach of the cells."""
    found = [
        parts[max(0, r - reach) : r + reach + 1, max(0, c - reach) : c + reach + 1].ravel()
        for r, c in cells
        if r >= -reach and c >= -reach
    ]
    numbers = np.unique(np.concatenate(found)) if found else np.empty(0, parts.dtype)
    return numbers[numbers > 0]
