"""The protocol of segmenters whose model has a decoder for instances.

:attr:`Traits.maps_instances` states whether a segmenter follows it: wrappers have the method in
any case, and call the segmenter within.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from napari_sam.geometry import Tile

if TYPE_CHECKING:
    from napari_sam.segmentation.protocol import Embedding, PixelSegmenter, Progress, Segmenter

FOREGROUND, CENTRE, BOUNDARY = range(3)
"""Places of the maps."""


class InstanceSegmenter(Protocol):
    """A segmenter that shows every object of a plane at once."""

    def instance_maps(
        self, embedding: Embedding, progress: Progress | None = None
    ) -> NDArray[np.float32]:
        """Map the objects of a plane.

        Parameters
        ----------
        embedding
            Of the plane.
        progress
            Called with the finished fraction at the end of each tile; it may raise
            :class:`Cancelled`.

        Returns
        -------
        maps
            `(3, H, W)`, each value from 0 to 1: the probability of foreground; the distance to
            the centre of the pixel's object, 0 there; and, inverted, that to its boundary, 0 deep
            inside of it. Both are 1 at the boundary and on the background.
        """
        ...


def instance_maps(
    segmenter: Segmenter | PixelSegmenter, embedding: Embedding, progress: Progress | None = None
) -> NDArray[np.float32]:
    """Map the objects of a plane; see :meth:`InstanceSegmenter.instance_maps`.

    Raises
    ------
    ValueError
        If the model has no decoder for instances, or the embedding is of another encoder.
    """
    if not segmenter.traits.maps_instances:
        raise ValueError(
            f"expected a model with a decoder for instances, got {segmenter.traits.name}; find "
            "its objects by a grid of points"
        )
    return cast(InstanceSegmenter, segmenter).instance_maps(embedding, progress)


def join_maps(
    tiles: Sequence[Tile],
    shape: tuple[int, int],
    maps_of: Callable[[int], NDArray[np.float32]],
) -> NDArray[np.float32]:
    """Join the maps of overlapping tiles, blended with weights that fall towards their borders.

    Two tiles predict different values for a pixel, as each has another part of its surroundings.
    Blended with weights that change evenly, the maps have no step that could cut an object.

    Parameters
    ----------
    tiles
        A grid, every row with every column.
    shape
        (H, W) of the plane.
    maps_of
        Returns the maps `(3, h, w)` of the tile of a number.
    """
    rows, columns = (_shares(tiles, axis, shape[axis]) for axis in (0, 1))
    out = np.zeros((3, *shape), np.float32)
    for number, tile in enumerate(tiles):
        r0, c0, r1, c1 = tile.outer
        share = np.multiply.outer(rows[r0, r1], columns[c0, c1])
        out[:, r0:r1, c0:c1] += share * maps_of(number)
    return out


def _shares(
    tiles: Sequence[Tile], axis: int, length: int
) -> dict[tuple[int, int], NDArray[np.float32]]:
    """Return the share that each span of tiles along an axis has in its pixels; they add up to 1.

    A span's weight rises from its ends, where the plane goes on, as far as the next span's does.
    """
    spans = sorted({(tile.outer[axis], tile.outer[axis + 2]) for tile in tiles})
    weights = []
    for place, (low, high) in enumerate(spans):
        at = np.arange(low, high) + 0.5
        weight = np.ones(high - low)
        if place:
            weight = np.minimum(weight, (at - low) / (spans[place - 1][1] - low))
        if place + 1 < len(spans):
            weight = np.minimum(weight, (high - at) / (high - spans[place + 1][0]))
        weights.append(weight)
    total = np.zeros(length)
    for (low, high), weight in zip(spans, weights, strict=True):
        total[low:high] += weight
    return {
        (low, high): (weight / total[low:high]).astype(np.float32)
        for (low, high), weight in zip(spans, weights, strict=True)
    }
