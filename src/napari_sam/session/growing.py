"""Growing or shrinking objects by some pixels."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from napari_sam.geometry import region_of


def grown(
    labels: NDArray[np.integer], object_ids: Collection[int], pixels: int
) -> NDArray[np.integer]:
    """Return labels in which some objects have grown, or shrunk, by a distance.

    Objects grow only into the background; where two meet, each gets the pixels nearer to it. An
    object that would vanish stays as it is.

    Parameters
    ----------
    labels
        `(H, W)`.
    object_ids
        The objects to grow.
    pixels
        The distance; objects shrink if it is negative.
    """
    after = labels.copy()
    where = region_of(np.isin(labels, [*object_ids]))
    if where is None or not pixels:
        return after
    margin = max(pixels, 1)  # the outline of an object depends on the pixels beside it
    rows, columns = (
        slice(max(0, s.start - margin), min(size, s.stop + margin))
        for s, size in zip(where, labels.shape, strict=True)
    )
    here = labels[rows, columns]
    change = _wider if pixels > 0 else _narrower
    after[rows, columns] = change(here, np.isin(here, [*object_ids]), abs(pixels))
    return after


def _wider(
    labels: NDArray[np.integer], chosen: NDArray[np.bool_], pixels: int
) -> NDArray[np.integer]:
    from scipy import ndimage  # imported late, since it is slow

    far, nearest = ndimage.distance_transform_edt(~chosen, return_indices=True)
    taken = (labels == 0) & (far <= pixels)
    return np.where(taken, labels[tuple(nearest)], labels)


def _narrower(
    labels: NDArray[np.integer], chosen: NDArray[np.bool_], pixels: int
) -> NDArray[np.integer]:
    from scipy import ndimage

    edge = np.zeros(labels.shape, bool)
    for one, other in (
        ((slice(None, -1), slice(None)), (slice(1, None), slice(None))),
        ((slice(None), slice(None, -1)), (slice(None), slice(1, None))),
    ):
        differ = labels[one] != labels[other]
        edge[one] |= differ
        edge[other] |= differ
    if not edge.any():
        return labels
    kept = ~chosen | (ndimage.distance_transform_edt(~edge) >= pixels)
    vanished = np.setdiff1d(labels[chosen], labels[chosen & kept])
    return np.where(kept | np.isin(labels, vanished), labels, 0)
