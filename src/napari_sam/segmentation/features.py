"""Mean features of masks, and the similarity of a plane's features with them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from torch import Tensor

from napari_sam.geometry import Frame

# Cells of a mask count from this share of their area on; of a mask that fills no cell so far,
# those that it fills most.
_LEAST_SHARE = 0.5


def unit_features(levels: Sequence[Tensor]) -> Tensor:
    """Join the feature levels of an embedding at the resolution of the first, each of length 1.

    Parameters
    ----------
    levels
        `(1, C, h, w)`, then others, as fine, or finer by a power of two.

    Returns
    -------
    features
        `(C', h, w)` float32 of length 1 in each cell, to which all levels contribute alike: what
        an object is shows in the coarse ones, how bright and rough it is in the fine ones.
    """
    parts = []
    for level in levels:
        part = level[0].float()
        while part.shape[1] > levels[0].shape[2]:
            part = _halved(part)
        cells = part.movedim(0, -1)  # as encoders on CPUs lay them out
        parts.append(cells / cells.norm(dim=-1, keepdim=True).clamp_min(1e-12))
    return (torch.cat(parts, -1) / len(parts) ** 0.5).movedim(-1, 0)


def _halved(maps: Tensor) -> Tensor:
    """Average maps `(C, h, w)` over squares of 2 × 2: far quicker than a pooling of few maps."""
    rows = maps[:, ::2] + maps[:, 1::2]
    return (rows[:, :, ::2] + rows[:, :, 1::2]) / 4


def mean_of(
    features: Tensor, frame: Frame, masks: Iterable[NDArray[np.bool_]]
) -> NDArray[np.float32]:
    """Average unit features over masks.

    Parameters
    ----------
    features
        `(C, h, w)` from :func:`unit_features`, over the frame's canvas.
    frame
        Of the embedding.
    masks
        `(H, W)` each, at the plane's resolution.

    Returns
    -------
    means
        `(N, C)`; zeros for a mask without a pixel in the frame.
    """
    _, h, w = features.shape
    return mean_in(features, shares_of(frame, masks, (h, w)))


def shares_of(
    frame: Frame, masks: Iterable[NDArray[np.bool_]], grid: tuple[int, int]
) -> NDArray[np.float32]:
    """Return how much of each cell some masks `(H, W)` fill, `(N, cells)` of a grid (h, w)."""
    shares = [frame.reduce(mask[frame.region], grid).ravel() for mask in masks]
    return np.stack(shares) if shares else np.zeros((0, grid[0] * grid[1]), np.float32)


def mean_in(features: Tensor, shares: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average unit features over masks, weighted by the shares from :func:`shares_of`."""
    if not len(shares):
        return np.zeros((0, len(features)), np.float32)
    share = torch.from_numpy(shares)
    share = torch.where(share >= _LEAST_SHARE * share.amax(1, keepdim=True), share, 0)
    means = share @ features.cpu().flatten(1).T / share.sum(1, keepdim=True).clamp_min(1e-12)
    return means.numpy()


def similarity_of(
    features: Tensor, frame: Frame, stride: int, vectors: ArrayLike
) -> NDArray[np.float32]:
    """Multiply the unit features of a frame's rectangle by vectors.

    Parameters
    ----------
    features
        `(C, h, w)` from :func:`unit_features`, over the frame's canvas.
    frame, stride
        Of the embedding, and the model pixels of a cell.
    vectors
        `(N, C)`.

    Returns
    -------
    similarity
        `(N, *even_grid(frame.shape, ...))`.

    Raises
    ------
    ValueError
        If the vectors are of another shape, or not finite.
    """
    given = np.asarray(vectors, np.float32)
    if given.ndim != 2 or given.shape[1] != len(features):
        raise ValueError(
            f"expected vectors of shape (N, {len(features)}), got {given.shape}; give what "
            "mean_features of the same model returns"
        )
    if not np.isfinite(given).all():
        raise ValueError("expected finite vectors, got NaN or infinity")
    placed = torch.from_numpy(np.ascontiguousarray(given)).to(features.device)
    maps = torch.einsum("nc,chw->nhw", placed, features).cpu().numpy()
    grid = even_grid(frame.shape, scale_of(frame), stride)
    cells = (
        (np.arange(n) + 0.5) * side / n / stride - 0.5
        for n, side in zip(grid, frame.scaled, strict=True)
    )
    return resample(maps, *cells)


def scale_of(frame: Frame) -> float:
    """Return a frame's model pixels per pixel of the plane."""
    return max(frame.scaled) / max(frame.shape)


def even_grid(shape: tuple[int, int], scale: float, stride: int) -> tuple[int, int]:
    """Return (h, w) of the grid that covers a rectangle with cells of about `stride` model pixels.

    Parameters
    ----------
    shape
        Of the rectangle, in pixels of the plane.
    scale
        Model pixels per pixel of the plane.
    stride
        Model pixels of a cell.
    """
    height, width = (max(1, round(side * scale / stride)) for side in shape)
    return height, width


def resample(
    maps: NDArray[np.float32], rows: NDArray[np.float64], columns: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Interpolate maps `(N, h, w)` at cells `(r,)` and `(c,)`, the outermost beyond them."""
    rows, columns = (
        np.clip(cells, 0, n - 1) for cells, n in zip((rows, columns), maps.shape[1:], strict=True)
    )
    places = np.meshgrid(rows, columns, indexing="ij")
    out = np.empty((len(maps), len(rows), len(columns)), np.float32)
    for one, values in zip(maps, out, strict=True):
        ndimage.map_coordinates(one, places, values, order=1, mode="nearest")
    return out
