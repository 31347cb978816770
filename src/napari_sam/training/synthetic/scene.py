"""Who owns which pixel: shapes are claimed one by one, the nearest (or the topmost) wins."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from skimage.measure import label as connected_components

from napari_sam.training.synthetic.fields import Field, smooth_noise

Rule = Literal["nearest", "over", "under"]
Box = tuple[slice, slice]


@dataclass(slots=True)
class Scene:
    """A square plane being filled with objects.

    Attributes
    ----------
    size
        Side of the plane in pixels.
    rows, columns
        ``(size, size)`` float32 coordinates after a smooth random warp: a plain ellipse in them
        is an organic outline in the plane.
    labels
        ``(size, size)`` int32, 0 where nothing was claimed.
    depth
        ``(size, size)`` float32 shape coordinate of the owner: 0 at its centre, 1 at its
        outline and wherever nothing was claimed.
    cover
        ``(size, size)`` float32 number of shapes that cover a pixel, hidden ones included.
    sway
        How far, in pixels, the warp may carry an outline beyond its plain bounds.
    count
        Labels handed out so far.
    """

    size: int
    rows: Field
    columns: Field
    sway: float = 0.0
    labels: NDArray[np.int32] = field(init=False)
    depth: Field = field(init=False)
    cover: Field = field(init=False)
    count: int = 0

    def __post_init__(self) -> None:
        shape = (self.size, self.size)
        self.labels = np.zeros(shape, np.int32)
        self.depth = np.ones(shape, np.float32)
        self.cover = np.zeros(shape, np.float32)

    def claim(
        self, box: Box, depth: Field, rule: Rule = "nearest", label: int | None = None
    ) -> int:
        """Give the pixels of ``box`` where ``depth < 1`` to ``label`` (default: a new one).

        Where shapes meet, ``"nearest"`` leaves a pixel to the smaller depth (flat contacts),
        ``"over"`` to the new one and ``"under"`` to the old one.
        """
        if label is None:
            self.count += 1
            label = self.count
        inside = depth < 1
        self.cover[box] += inside
        if rule == "nearest":
            inside &= depth < self.depth[box]
        elif rule == "under":
            inside &= self.labels[box] == 0
        np.copyto(self.labels[box], label, where=inside)
        np.copyto(self.depth[box], depth, where=inside)
        return label

    def taken(self, box: Box, depth: Field) -> float:
        """Share of the shape's pixels in the plane that other objects own already."""
        inside = depth < 1
        return float(np.count_nonzero(inside & (self.labels[box] > 0)) / max(inside.sum(), 1))

    def local(
        self, centre: tuple[float, float], tall: float, wide: float
    ) -> tuple[Box, Field, Field] | None:
        """Box ``2 * tall`` by ``2 * wide`` (plus ``sway``) at ``centre``, and its warped offsets.

        Returns ``None`` where the box misses the plane.
        """
        y, x = centre
        tall, wide = tall + self.sway, wide + self.sway
        top, left = max(int(y - tall), 0), max(int(x - wide), 0)
        bottom, right = min(int(y + tall) + 2, self.size), min(int(x + wide) + 2, self.size)
        if top >= bottom or left >= right:
            return None
        box = (slice(top, bottom), slice(left, right))
        row = min(max(int(y), 0), self.size - 1)
        column = min(max(int(x), 0), self.size - 1)
        # The warp is taken relative to the centre's own, so that shapes bend but stay in place.
        dy = self.rows[box] - np.float32(self.rows[row, column] - row + y)
        dx = self.columns[box] - np.float32(self.columns[row, column] - column + x)
        return box, dy, dx

    def prune(self, min_area: int = 14) -> None:
        """Leave each label one connected piece of at least ``min_area`` pixels."""
        self.labels = keep_largest(self.labels, min_area)
        np.copyto(self.depth, 1, where=self.labels == 0)

    def partition(self, min_area: int = 14) -> None:
        """Make every connected piece an object of its own, gaps included.

        Pieces below ``min_area`` pixels become background.
        """
        pieces = connected_components(self.labels, connectivity=1, background=-1)
        areas = np.bincount(pieces.ravel())
        table = np.where(areas >= min_area, np.arange(len(areas)), 0).astype(np.int32)
        self.labels = table[pieces]
        self.count = len(areas) - 1


def open_scene(
    rng: np.random.Generator, size: int, scale: float = 20.0, amount: float = 0.0
) -> Scene:
    """Empty scene; its coordinates wander by ``amount`` pixels (std) over ``scale`` pixels."""
    rows, columns = np.meshgrid(
        np.arange(size, dtype=np.float32), np.arange(size, dtype=np.float32), indexing="ij"
    )
    if amount > 0:
        rows = rows + np.float32(amount) * smooth_noise(rng, size, scale)
        columns = columns + np.float32(amount) * smooth_noise(rng, size, scale)
    return Scene(size, rows, columns, 3 * amount)


def keep_largest(labels: NDArray[np.int32], min_area: int) -> NDArray[np.int32]:
    """Copy of ``labels`` in which each label keeps its largest connected piece, if big enough."""
    pieces = connected_components(labels, connectivity=1, background=0)
    areas = np.bincount(pieces.ravel())
    areas[0] = 0
    owner = np.zeros(len(areas), np.int32)
    owner[pieces.ravel()] = labels.ravel()
    order = np.argsort(areas, kind="stable")
    best = np.zeros(int(labels.max()) + 1, np.int64)
    best[owner[order]] = order
    keep = (best[owner] == np.arange(len(areas))) & (areas >= min_area)
    return np.where(keep, owner, 0).astype(np.int32)[pieces]


def renumber(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """Copy of ``labels`` whose labels are 1…n without gaps."""
    present = np.bincount(labels.ravel()) > 0
    present[0] = False
    table = np.where(present, np.cumsum(present), 0).astype(np.int32)
    return table[labels]


def scatter(
    rng: np.random.Generator, size: int, spacing: float, jitter: float = 0.35, margin: float = 0.0
) -> NDArray[np.float64]:
    """Shuffled ``(N, 2)`` positions (row, column) on a jittered, rotated hexagonal lattice.

    ``spacing`` is the lattice constant in pixels, ``jitter`` the displacement in lattice
    constants, ``margin`` how far outside the plane positions are kept.
    """
    reach = int(np.ceil((size + 2 * margin) * 0.75 / spacing)) + 1
    i, j = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    lattice = np.stack([i * np.sqrt(0.75), j + 0.5 * (i % 2)], axis=-1).reshape(-1, 2)
    lattice = lattice + rng.uniform(-jitter, jitter, lattice.shape)
    angle = rng.uniform(0, np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = lattice @ turn * spacing + size / 2 + rng.uniform(-0.5, 0.5, 2) * spacing
    points = points[np.all((points > -margin) & (points < size + margin), axis=1)]
    return rng.permutation(points)


def bricks(
    rng: np.random.Generator, size: int, across: float, along: float, angle: float
) -> NDArray[np.float64]:
    """Shuffled ``(N, 2)`` centres of rows of bricks, ``along`` long and ``across`` wide.

    The rows run along ``angle`` (radians, from the column axis towards increasing rows), each
    shifted at random, with some jitter along the row.
    """
    half = size * 0.75
    rows = np.arange(-half, half + across, across)
    steps = np.arange(-half - along, half + along, along)
    v = np.repeat(rows[:, None], len(steps), 1)
    u = steps[None, :] + rng.uniform(0, along, (len(rows), 1))
    u = u + rng.uniform(-0.25, 0.25, u.shape) * along
    v = v + rng.uniform(-0.06, 0.06, v.shape) * across
    y = size / 2 + u * np.sin(angle) + v * np.cos(angle)
    x = size / 2 + u * np.cos(angle) - v * np.sin(angle)
    points = np.stack([y, x], axis=-1).reshape(-1, 2)
    margin = max(across, along)
    return rng.permutation(points[np.all((points > -margin) & (points < size + margin), axis=1)])


def thin(
    rng: np.random.Generator,
    points: NDArray[np.float64],
    size: int,
    scale: float,
    share: float,
    most: float = 160,
) -> NDArray[np.float64]:
    """Keep about ``share`` of ``points``, in clumps ``scale`` pixels wide.

    No more than ``most`` per 256 × 256 pixels are kept: beyond, small objects cost time and
    teach nothing new.
    """
    kept = max(3, round(min(share * len(points), most * (size / 256) ** 2)))
    if kept >= len(points):
        return points
    density = smooth_noise(rng, size, scale)
    at = np.clip(points.astype(int), 0, size - 1)
    value = density[at[:, 0], at[:, 1]] + 0.5 * rng.standard_normal(len(points))
    return points[np.sort(np.argsort(-value, kind="stable")[:kept])]
