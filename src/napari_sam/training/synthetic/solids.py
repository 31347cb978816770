"""Solid shapes that claim the voxels of a block, and the random fields they are painted with."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree
from skimage.measure import label as connected_components

from napari_sam.training.synthetic.fields import Field

Shape = tuple[int, int, int]
Box = tuple[slice, slice, slice]
Points = NDArray[np.float64]


def noise(rng: np.random.Generator, shape: Shape, scales: tuple[float, float, float]) -> Field:
    """Gaussian random field of zero mean and unit variance, ``(Z, H, W)``.

    ``scales`` are the standard deviations, in voxels along each axis, of the Gaussian that white
    noise would have been blurred with; only the coefficients that survive it are drawn.
    """
    responses = []
    for length, scale in zip(shape, scales, strict=True):
        kept = int(np.clip(np.ceil(1.3 * length / max(scale, 0.1)), 2, length))
        frequency = np.arange(kept) / (2 * length)
        responses.append(np.exp(-2 * (np.pi * scale * frequency) ** 2).astype(np.float32))
    z, y, x = responses
    response = z[:, None, None] * y[:, None] * x
    values = rng.standard_normal(response.shape, dtype=np.float32) * response
    values[0, 0, 0] = 0
    values *= math.sqrt(math.prod(shape)) / max(float(np.sqrt(np.sum(values**2))), 1e-12)
    for axis, length in enumerate(shape):
        values = scipy.fft.idct(values, n=length, axis=axis, norm="ortho")
    return values


@dataclass(slots=True)
class Block:
    """A block of voxels being filled with solids.

    Attributes
    ----------
    shape
        ``(Z, H, W)``.
    step
        Distance of two planes, in pixels of a plane: all lengths are in such pixels.
    warp
        ``(3, Z, H, W)`` float32, how far each voxel's coordinates are moved: a plain ellipsoid
        in the moved coordinates has an organic surface.
    sway
        How far the warp may carry a surface.
    labels
        ``(Z, H, W)`` int32, 0 where nothing was claimed.
    depth
        ``(Z, H, W)`` float32 shape coordinate of the owner: 0 at its centre, 1 at its surface
        and wherever nothing was claimed.
    count
        Labels handed out so far.
    """

    shape: Shape
    step: float
    warp: Field
    sway: float
    labels: NDArray[np.int32] = field(init=False)
    depth: Field = field(init=False)
    count: int = 0

    def __post_init__(self) -> None:
        self.labels = np.zeros(self.shape, np.int32)
        self.depth = np.ones(self.shape, np.float32)

    @property
    def extent(self) -> Points:
        """Lengths of the block, ``(3,)``."""
        return np.array([self.shape[0] * self.step, *self.shape[1:]])

    def coordinates(self, box: Box) -> Field:
        """Return moved coordinates of a box's voxels, ``(3, z, y, x)``."""
        axes = [np.arange(s.start, s.stop, dtype=np.float32) for s in box]
        axes[0] *= np.float32(self.step)
        return np.stack(np.meshgrid(*axes, indexing="ij")) + self.warp[:, *box]

    def claim(
        self, centre: Points, radii: Points, turn: Points, label: int | None = None
    ) -> int | None:
        """Give an ellipsoid's voxels to ``label`` (default: a new one).

        Where two meet, a voxel belongs to the one whose centre is nearer in units of its radii.

        Parameters
        ----------
        centre
            ``(3,)`` in pixels of a plane.
        radii, turn
            ``(3,)`` half axes, and the rotation ``(3, 3)`` whose rows they lie along.
        label
            Of an object that the ellipsoid is another part of.

        Returns
        -------
        label
            ``None`` where the ellipsoid misses the block.
        """
        reach = np.sqrt((turn**2 * radii[:, None] ** 2).sum(0)) + self.sway + 1
        scale = np.array([self.step, 1, 1])
        low = np.maximum(np.floor((centre - reach) / scale), 0).astype(int)
        high = np.minimum(np.ceil((centre + reach) / scale) + 1, self.shape).astype(int)
        if (low >= high).any():
            return None
        if label is None:
            self.count += 1
            label = self.count
        z, y, x = (slice(a, b) for a, b in zip(low.tolist(), high.tolist(), strict=True))
        box = z, y, x
        at = np.clip(np.rint(centre / scale), 0, np.array(self.shape) - 1).astype(int)
        # The warp is taken relative to the centre's own, so that shapes bend but stay in place.
        moved = self.warp[:, *at]
        offset = self.coordinates(box) - (centre + moved).astype(np.float32)[:, None, None, None]
        axes = np.tensordot((turn / radii[:, None]).astype(np.float32), offset, 1)
        depth = np.sqrt((axes**2).sum(0))
        inside = (depth < 1) & (depth < self.depth[box])
        np.copyto(self.labels[box], label, where=inside)
        np.copyto(self.depth[box], depth, where=inside)
        return label

    def partition(self, points: Points, owners: NDArray[np.int_], stretch: Points) -> None:
        """Fill the block: each voxel belongs to the owner (from 1) of the nearest point.

        Distances are measured after ``stretch`` (``(3, 3)``); ``depth`` becomes 0 at a point and
        1 where that of another owner is as near.
        """
        z, y, x = (slice(0, n) for n in self.shape)
        at = self.coordinates((z, y, x)).reshape(3, -1).T @ stretch.T.astype(np.float32)
        near, index = cKDTree(points @ stretch.T).query(at, k=2, workers=1)
        self.labels = owners[index[:, 0]].reshape(self.shape).astype(np.int32)
        ratio = near[:, 0] / np.maximum(near[:, 1], 1e-6)
        self.depth = ratio.reshape(self.shape).astype(np.float32)
        self.count = int(owners.max())

    def prune(self, least: int = 60) -> None:
        """Leave each label one connected piece of at least ``least`` voxels, and renumber."""
        pieces = connected_components(self.labels, connectivity=1, background=0)
        sizes = np.bincount(pieces.ravel())
        sizes[0] = 0
        owner = np.zeros(len(sizes), np.int32)
        owner[pieces.ravel()] = self.labels.ravel()
        best = np.zeros(int(self.labels.max()) + 1, np.int64)
        order = np.argsort(sizes, kind="stable")
        best[owner[order]] = order
        kept = (best[owner] == np.arange(len(sizes))) & (sizes >= least) & (owner > 0)
        self.labels = np.where(kept, np.cumsum(kept), 0).astype(np.int32)[pieces]
        self.count = int(kept.sum())
        np.copyto(self.depth, 1, where=self.labels == 0)

    def wall(self, half_width: float) -> Field:
        """1 on the borders between labels, falling off over ``half_width`` pixels."""
        edge = np.zeros(self.shape, np.float32)
        for axis in range(3):
            low = tuple(slice(0, -1) if a == axis else slice(None) for a in range(3))
            high = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
            edge[low] = np.maximum(edge[low], self.labels[low] != self.labels[high])
        wide = gaussian_filter(edge, (half_width / self.step, half_width, half_width))
        # A plane of ones blurred has this height.
        return np.minimum(wide * np.float32(math.sqrt(2 * math.pi) * half_width), 1)


def open_block(
    rng: np.random.Generator, shape: Shape, step: float, scale: float, amount: float
) -> Block:
    """Empty block; its coordinates wander by ``amount`` pixels (std) over ``scale`` pixels."""
    warp = np.zeros((3, *shape), np.float32)
    if amount > 0:
        for axis in range(3):
            warp[axis] = np.float32(amount) * noise(rng, shape, (scale / step, scale, scale))
    return Block(shape, step, warp, 3 * amount)


def turned(rng: np.random.Generator) -> Points:
    """Rotation ``(3, 3)``, all alike probable."""
    q, r = np.linalg.qr(rng.standard_normal((3, 3)))
    return np.asarray(q * np.sign(np.diag(r)))


def spaced(
    rng: np.random.Generator, extent: Points, distance: float, margin: float, most: int
) -> Points:
    """Random points ``(N, 3)`` no nearer to each other than ``distance``, at most ``most``."""
    tried = rng.uniform(-margin, extent + margin, (most * 12, 3))
    kept: list[Points] = []
    for point in tried:
        if all(((point - other) ** 2).sum() >= distance**2 for other in kept):
            kept.append(point)
            if len(kept) == most:
                break
    return np.array(kept)


def curve(
    rng: np.random.Generator, start: Points, heading: Points, wander: float, n: int
) -> Points:
    """Points ``(n, 3)`` one pixel apart on a line that sways by ``wander`` radians a pixel."""
    points, at = [], start.astype(float)
    going = heading / np.linalg.norm(heading)
    drift = np.zeros(3)
    for _ in range(n):
        points.append(at)
        drift = 0.95 * drift + wander * 0.3 * rng.standard_normal(3)
        going = going + drift * 0.3
        going = going / np.linalg.norm(going)
        at = at + going
    return np.array(points)
