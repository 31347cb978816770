"""The mapping between pixels of a plane and of a model's input, and tiles of large planes.

Torch is only imported by the functions that resample, so that a window opens without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise, product
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from torch import Tensor

Region = tuple[slice, slice]
"""Rows and columns of a rectangle of a plane."""

Convention = Literal["sam", "own", "stretched"]
"""How coordinates of a plane become those of a model's input; see :class:`Frame`."""

_CANVAS_MULTIPLE = 32  # coarsest stride of our own encoders


def region_of(mask: NDArray[np.bool_]) -> Region | None:
    """Return the bounding box of a mask `(H, W)` as slices; None for an empty mask."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


@dataclass(frozen=True, slots=True)
class Frame:
    """The mapping between a rectangle of a plane and a model's input.

    Parameters
    ----------
    plane_shape
        (H, W) of the whole plane, in pixels.
    origin, shape
        First (row, column) and (height, width) of the encoded rectangle, in pixels of the plane.
    scaled
        (height, width) of the rectangle in model pixels.
    canvas
        (height, width) of the padded model input, in model pixels.
    convention
        ``"sam"``: a coordinate x maps to x·s, as in SAM's reference implementation. ``"own"``:
        pixel centres map to pixel centres, (x + 0.5)·s − 0.5. ``"stretched"``: as ``"sam"``, but
        with a different s for each axis; logits are resampled to the plane directly instead of by
        way of the model's pixels.
    """

    plane_shape: tuple[int, int]
    origin: tuple[int, int]
    shape: tuple[int, int]
    scaled: tuple[int, int]
    canvas: tuple[int, int]
    convention: Convention

    @property
    def region(self) -> tuple[slice, slice]:
        """The rectangle as slices of the plane."""
        (r, c), (h, w) = self.origin, self.shape
        return slice(r, r + h), slice(c, c + w)

    @property
    def is_whole(self) -> bool:
        """Whether the rectangle is the whole plane."""
        return self.shape == self.plane_shape

    @property
    def _enlarged_by(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Sizes that logits have on their way to pixels: of the canvas, and without its padding."""
        return (self.shape,) * 2 if self.convention == "stretched" else (self.canvas, self.scaled)

    def low_res(self, stride: float) -> tuple[int, int]:
        """Return (h, w) of the grid over the canvas whose cells are `stride` model pixels wide."""
        return int(self.canvas[0] // stride), int(self.canvas[1] // stride)

    def to_model(self, points_yx: ArrayLike) -> NDArray[np.float64]:
        """Map `(..., 2)` (row, column) plane pixels to (x, y) model pixels."""
        local = np.asarray(points_yx, np.float64) - self.origin
        scale = np.divide(self.scaled, self.shape)
        centre = 0.5 if self.convention == "own" else 0.0
        local = (local + centre) * scale - centre
        return local[..., ::-1]

    def to_plane(self, points_xy: ArrayLike) -> NDArray[np.float64]:
        """Map `(..., 2)` (x, y) model pixels to (row, column) plane pixels."""
        local = np.asarray(points_xy, np.float64)[..., ::-1]
        scale = np.divide(self.shape, self.scaled)
        centre = 0.5 if self.convention == "own" else 0.0
        local = (local + centre) * scale - centre
        return local + self.origin

    def enlarge(self, logits: Tensor) -> Tensor:
        """Resample low-resolution logits to the rectangle's resolution.

        Parameters
        ----------
        logits
            `(M, h, w)` over the canvas.

        Returns
        -------
        logits
            `(M, *shape)`.
        """
        canvas, scaled = self._enlarged_by
        x = _resample(logits[None], canvas)[..., : scaled[0], : scaled[1]]
        return _resample(x, self.shape)[0]

    def enlarge_part(
        self, logits: NDArray[np.float32], threshold: float = 0.0
    ) -> tuple[tuple[int, int], NDArray[np.float32]]:
        """Resample low-resolution logits only where they may exceed a threshold.

        The cost depends on the extent of the object, not on that of the plane.

        Parameters
        ----------
        logits
            `(h, w)` over the canvas.
        threshold
            Logits outside of the returned part don't exceed it.

        Returns
        -------
        origin, logits
            (row, column) of the part's first pixel in the plane, and its logits `(h', w')` as from
            :meth:`enlarge`; of shape `(0, 0)` if none exceeds the threshold.
        """
        import torch

        region = region_of(logits > threshold)
        if region is None:
            return self.origin, np.zeros((0, 0), np.float32)
        height, width = (used.stop - used.start for used in region)
        if height * width > logits.size // 4:  # band matrices pay for parts alone
            return self.origin, self.enlarge(torch.from_numpy(logits[None]))[0].numpy()
        (top, (r0, r1), down), (left, (c0, c1), across) = (
            _resampling(*lengths).part(used.start, used.stop - 1)
            for used, lengths in zip(
                region,
                zip(logits.shape, *self._enlarged_by, self.shape, strict=True),
                strict=True,
            )
        )
        # NumPy's threads would spin for a while after a product and take the cores from torch's
        low = torch.from_numpy(logits[r0:r1, c0:c1])
        values = torch.from_numpy(down) @ low @ torch.from_numpy(across).T
        return (self.origin[0] + top, self.origin[1] + left), values.numpy()

    def reduce(self, mask: NDArray[np.bool_], low_res: tuple[int, int]) -> NDArray[np.float32]:
        """Average a mask over the cells of the low-resolution grid.

        Parameters
        ----------
        mask
            `(*shape)` of the frame's rectangle.
        low_res
            (h, w) of the grid over the canvas.

        Returns
        -------
        share
            `(h, w)`: share of foreground, 0-1.

        Raises
        ------
        ValueError
            If the mask is of another shape, such as the whole plane's.
        """
        if mask.shape != self.shape:
            raise ValueError(
                f"expected a mask of the frame's rectangle, {self.shape}, got {mask.shape}; cut it "
                "to frame.region"
            )
        region = region_of(mask)
        if region is None:
            return np.zeros(low_res, np.float32)
        sides = zip(self.shape, self.scaled, self.canvas, low_res, strict=True)
        rows, columns = (_cell_weights(*side) for side in sides)
        share: NDArray[np.float32] = (
            rows[:, region[0]] @ mask[region].astype(np.float32) @ columns[:, region[1]].T
        )
        return share


@lru_cache(maxsize=32)
def _cell_weights(length: int, scaled: int, canvas: int, cells: int) -> NDArray[np.float32]:
    """Return `(cells, length)`: what each pixel of an axis adds to the mean of each cell."""
    import torch
    from torch.nn import functional as F

    # A triangle as wide as the pixels of the coarser grid: bilinear, antialiased.
    step = length / scaled
    centres = (np.arange(scaled) + 0.5) * step
    away = np.abs(np.arange(length) + 0.5 - centres[:, None]) / max(step, 1)
    weights = np.maximum(1 - away, 0).astype(np.float32)
    weights /= weights.sum(1, keepdims=True)
    padded = F.pad(torch.from_numpy(weights.T.copy()), (0, canvas - scaled))
    return F.adaptive_avg_pool1d(padded[None], cells)[0].T.numpy()


@dataclass(frozen=True, slots=True)
class Tile:
    """A haloed tile of a plane.

    Parameters
    ----------
    core, outer
        (row 0, column 0, row 1, column 1), half-open: the part that belongs to this tile alone,
        and the part that is encoded.
    scale
        Model pixels per pixel of the plane; by default as :func:`fit_frame` chooses.
    """

    core: tuple[int, int, int, int]
    outer: tuple[int, int, int, int]
    scale: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Resampling:
    """Resampling along one axis as a band matrix.

    Parameters
    ----------
    matrix
        `(pixels, cells)` weights.
    first, last
        First and last cell that each pixel depends on; neither ever falls.
    """

    matrix: NDArray[np.float32]
    first: NDArray[np.int64]
    last: NDArray[np.int64]

    def part(self, low: int, high: int) -> tuple[int, tuple[int, int], NDArray[np.float32]]:
        """Cut out the pixels that depend on cells from `low` to `high`.

        Returns
        -------
        start, cells, matrix
            The first such pixel, all the cells they depend on (half-open), and their weights.
        """
        start = int(np.searchsorted(self.last, low))
        stop = int(np.searchsorted(self.first, high, "right"))
        if start >= stop:  # cells in the padding alone
            return start, (0, 0), self.matrix[:0, :0]
        cells = int(self.first[start]), int(self.last[stop - 1]) + 1
        return start, cells, self.matrix[start:stop, slice(*cells)]


@lru_cache(maxsize=16)
def _resampling(cells: int, canvas: int, scaled: int, pixels: int) -> _Resampling:
    """Resample cells to the canvas, drop its padding, and resample the rest to pixels."""
    import torch

    x = torch.eye(cells)[None]  # (1, cells as channels, cells)
    x = _resample_axis(_resample_axis(x, canvas)[..., :scaled], pixels)
    matrix = np.ascontiguousarray(x[0].T.numpy())
    used = matrix > 0
    return _Resampling(matrix, used.argmax(1), cells - 1 - used[:, ::-1].argmax(1))


@dataclass(frozen=True, slots=True)
class Geometry:
    """How a plane is resized and padded to a model's input.

    Parameters
    ----------
    input_size
        Side of the largest input, in model pixels.
    max_upscale
        For a model that accepts any scale at which the plane fits into its input: the largest
        magnification by default. The input is padded to a multiple of 32, and coordinates map to
        (x + 0.5)·s − 0.5. None for a model whose square input a plane always fills, as in SAM;
        coordinates map to x·s.
    keeps_aspect
        Whether height and width are scaled alike, and the rest of the square is padded; otherwise
        each is scaled to the input's side.
    """

    input_size: int
    max_upscale: float | None = None
    keeps_aspect: bool = True

    @property
    def has_choice(self) -> bool:
        """Whether the model accepts any scale at which the plane fits into its input."""
        return self.max_upscale is not None

    def default_scale(self, longest: int) -> float:
        """Return the default model pixels per pixel of a plane with this longer side."""
        fitting = self.input_size / longest
        return fitting if self.max_upscale is None else min(fitting, self.max_upscale)


def fit_frame(
    shape: tuple[int, int],
    geometry: Geometry,
    origin: tuple[int, int] = (0, 0),
    plane_shape: tuple[int, int] | None = None,
    scale: float | None = None,
) -> Frame:
    """Fit a rectangle of a plane into a model's input.

    Parameters
    ----------
    shape
        (height, width) of the rectangle in pixels.
    geometry
        Geometry of the model.
    origin, plane_shape
        (row, column) of the rectangle's first pixel, and (H, W) of the plane; by default the
        rectangle is the whole plane.
    scale
        Wanted number of model pixels per pixel of the plane, reduced if the input is too small
        for it; by default the largest that fits, up to the geometry's `max_upscale`. It has no
        effect for models whose input a plane always fills.

    Returns
    -------
    frame
        The mapping between the rectangle and the model's input.
    """
    whole = geometry.input_size, geometry.input_size
    plane_shape = plane_shape or shape
    if not geometry.keeps_aspect:
        return Frame(plane_shape, origin, shape, whole, whole, "stretched")
    fitting = geometry.default_scale(max(shape))
    if geometry.has_choice and scale is not None:
        fitting = min(geometry.input_size / max(shape), scale)
    h, w = (max(1, int(side * fitting + 0.5)) for side in shape)
    if not geometry.has_choice:
        return Frame(plane_shape, origin, shape, (h, w), whole, "sam")
    canvas = (h + -h % _CANVAS_MULTIPLE, w + -w % _CANVAS_MULTIPLE)
    return Frame(plane_shape, origin, shape, (h, w), canvas, "own")


def tile_grid(shape: tuple[int, int], tile: int, halo: int) -> list[Tile]:
    """Cover a plane with equal tiles whose cores partition it.

    Parameters
    ----------
    shape
        (H, W) of the plane.
    tile
        Side of a tile with its halo, in pixels; smaller only where the plane is smaller.
    halo
        Least overlap of a core with its tile's border inside the plane, in pixels.

    Returns
    -------
    tiles
        In row-major order.

    Raises
    ------
    ValueError
        If the halo leaves no core.
    """
    if tile <= 2 * halo:
        raise ValueError(f"expected a tile larger than two halos of {halo} pixels, got {tile}")
    rows, columns = (_tile_axis(length, tile, halo) for length in shape)
    return [
        Tile((r[0], c[0], r[1], c[1]), (r[2], c[2], r[3], c[3])) for r, c in product(rows, columns)
    ]


def _tile_axis(length: int, tile: int, halo: int) -> list[tuple[int, int, int, int]]:
    if length <= tile:
        return [(0, length, 0, length)]
    count = -(-(length - 2 * halo) // (tile - 2 * halo))
    starts = np.linspace(0, length - tile, count).round().astype(int).tolist()
    edges = [0] + [(a + tile + b) // 2 for a, b in pairwise(starts)]
    edges.append(length)
    return [
        (low, high, start, start + tile)
        for low, high, start in zip(edges[:-1], edges[1:], starts, strict=True)
    ]


def _resample(x: Tensor, size: tuple[int, int]) -> Tensor:
    from torch.nn import functional as F

    if x.shape[-2:] == size:
        return x
    return F.interpolate(x, size, mode="bilinear", align_corners=False)


def _resample_axis(x: Tensor, size: int) -> Tensor:
    from torch.nn import functional as F

    return x if x.shape[2] == size else F.interpolate(x, size, mode="linear", align_corners=False)
