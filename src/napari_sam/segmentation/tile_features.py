"""Features of a plane that is encoded in tiles, joined from the tiles of the finest level."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_sam.geometry import Tile
from napari_sam.segmentation.features import even_grid, resample
from napari_sam.segmentation.protocol import Embedding, Segmenter
from napari_sam.segmentation.pyramid import Pyramid, by_tile

EmbedTile = Callable[[Tile], Embedding]
"""Returns the embedding of a tile, which it encodes where that is needed."""


def mean_features(
    segmenter: Segmenter,
    pyramid: Pyramid,
    masks: Iterable[NDArray[np.bool_]],
    embed: EmbedTile,
) -> NDArray[np.float32]:
    """Average features over masks; see :meth:`Segmenter.mean_features`.

    Parameters
    ----------
    segmenter
        The model, called with each tile.
    pyramid
        The plane's tiles.
    masks
        `(H, W)` each.
    embed
        Returns the embedding of a tile.

    Returns
    -------
    means
        `(N, C)`. Each pixel has the features of the tile in whose core it lies.
    """
    parts = [(i, *one) for i, mask in enumerate(masks) for one in pyramid.parts_of(mask)]
    if not parts:
        return segmenter.mean_features(embed(pyramid.overview), [])
    weighted: NDArray[np.float64] | float = 0.0
    areas = np.zeros(parts[-1][0] + 1)
    for tile, here in by_tile({k: tile for k, (_, tile, _) in enumerate(parts)}).items():
        which = [parts[k][0] for k in here]
        means = segmenter.mean_features(embed(tile), [parts[k][2] for k in here])
        area = np.array([max(1, int(np.count_nonzero(parts[k][2]))) for k in here])
        sums = np.zeros((len(areas), means.shape[1]))
        sums[which] = means * area[:, None]
        weighted = weighted + sums
        areas[which] += area
    return (weighted / areas[:, None]).astype(np.float32)


def similarity(
    segmenter: Segmenter, pyramid: Pyramid, vectors: ArrayLike, embed: EmbedTile
) -> NDArray[np.float32]:
    """Compare features with vectors; see :meth:`Segmenter.similarity`.

    Parameters
    ----------
    segmenter
        The model, called with each tile.
    pyramid
        The plane's tiles.
    vectors
        `(N, C)`.
    embed
        Returns the embedding of a tile.

    Returns
    -------
    similarity
        `(N, h, w)`. Each cell has the features of the tile in whose core it is centred.
    """
    tiles = pyramid.levels[0]
    shape, scale = pyramid.plane_shape, pyramid.scale_of(tiles[0])
    grid = even_grid(shape, scale, segmenter.traits.stride)
    centres = [(np.arange(n) + 0.5) * side / n for n, side in zip(grid, shape, strict=True)]
    out = np.zeros((len(np.asarray(vectors)), *grid), np.float32)
    for tile in tiles:
        maps = segmenter.similarity(embed(tile), vectors)
        here, cells = [], []
        for axis, places in enumerate(centres):
            first, last = tile.core[axis], tile.core[axis + 2]
            start, stop = np.searchsorted(places, (first, last))
            here.append(slice(int(start), int(stop)))
            begin, end = tile.outer[axis], tile.outer[axis + 2]
            per_pixel = maps.shape[axis + 1] / (end - begin)
            cells.append((places[start:stop] - begin) * per_pixel - 0.5)
        out[:, here[0], here[1]] = resample(maps, *cells)
    return out
