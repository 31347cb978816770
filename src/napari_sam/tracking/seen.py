"""What is seen of each object on each frame: its place, its size, what it shares with others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam.io.image_file import LazyArray

Key = tuple[int, int]
"""A frame, and a label there."""
Report = Callable[[float], None]
"""Called with the finished fraction; it may raise to cancel."""


@dataclass(frozen=True, slots=True)
class Seen:
    """An object on a frame.

    Parameters
    ----------
    centroid
        Mean of its pixels' places, (row, column) or (plane, row, column), in units of the pixels'
        spacing.
    area
        Of a volume its volume, in the same units.
    """

    centroid: tuple[float, ...]
    area: float

    def distance(self, other: Seen) -> float:
        """Return the distance of two centroids."""
        return float(np.linalg.norm(np.subtract(self.centroid, other.centroid)))


@dataclass(frozen=True, slots=True)
class Observed:
    """All objects of a movie.

    Parameters
    ----------
    frames
        The labels of each frame, in order.
    objects
        What is seen of each.
    shared
        The area that two objects of frames near each other have in common, where they have any.
    dimensions
        2 for planes, 3 for volumes.
    """

    frames: tuple[tuple[int, ...], ...]
    objects: Mapping[Key, Seen]
    shared: Mapping[tuple[Key, Key], float]
    dimensions: int

    def diameter(self) -> float:
        """Return the median diameter of a disc, or a ball, of the objects' areas; 1 of none."""
        if not self.objects:
            return 1.0
        area = float(np.median([one.area for one in self.objects.values()]))
        if self.dimensions == 2:
            return float(2 * (area / np.pi) ** 0.5)
        return float(2 * (0.75 * area / np.pi) ** (1 / 3))


def observe(
    labels: LazyArray,
    spacing: Sequence[float] | None = None,
    steps: int = 1,
    report: Report | None = None,
) -> Observed:
    """Measure the objects of each frame, one frame at a time.

    Parameters
    ----------
    labels
        `(T, H, W)` or `(T, Z, H, W)`; 0 is background.
    spacing
        Distance of neighbouring pixels along each axis behind the first; 1 by default.
    steps
        Largest distance in frames of two objects whose common area is measured.
    report
        Called with the finished fraction.

    Raises
    ------
    ValueError
        If the labels have another number of axes or are not whole numbers, or the spacing doesn't
        fit them.
    """
    shape = tuple(labels.shape)
    if len(shape) not in (3, 4) or np.dtype(labels.dtype).kind not in "iu":
        raise ValueError(
            f"expected integer labels (T, H, W) or (T, Z, H, W), got {labels.dtype} of shape "
            f"{shape}"
        )
    unit = (1.0,) * (len(shape) - 1) if spacing is None else tuple(map(float, spacing))
    if len(unit) != len(shape) - 1 or not all(0 < one < np.inf for one in unit):
        raise ValueError(f"expected {len(shape) - 1} positive pixel sizes, got {unit}")
    volume = float(np.prod(unit))
    frames: list[tuple[int, ...]] = []
    objects: dict[Key, Seen] = {}
    shared: dict[tuple[Key, Key], float] = {}
    last: list[tuple[int, NDArray[Any], NDArray[Any]]] = []
    for t in range(shape[0]):
        if report is not None:
            report(t / shape[0])
        present, at = _numbered(np.asarray(labels[t]))
        frames.append(tuple(int(label) for label in present if label))
        for label, count, centre in _places(present, at):
            centroid = tuple(float(c * u) for c, u in zip(centre, unit, strict=True))
            objects[t, label] = Seen(centroid, count * volume)
        for earlier, names, places in last:
            for i, j, count in _overlaps(places, at, (len(names), len(present))):
                if names[i] and present[j]:
                    shared[(earlier, int(names[i])), (t, int(present[j]))] = count * volume
        last = [*last, (t, present, at)][-steps:]
    return Observed(tuple(frames), objects, shared, len(shape) - 1)


def _numbered(frame: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the labels of a frame, and the position of each pixel's among them."""
    present, at = np.unique(np.maximum(frame, 0), return_inverse=True)
    return present, at.reshape(frame.shape)


def _places(
    present: NDArray[Any], at: NDArray[Any]
) -> Iterator[tuple[int, int, NDArray[np.float64]]]:
    """Yield the label of each object, the number of its pixels and their middle."""
    flat, n = at.ravel(), len(present)
    counts = np.bincount(flat, minlength=n)
    sums = np.array(
        [
            np.bincount(flat, np.broadcast_to(axis, at.shape).ravel(), n)
            for axis in np.ix_(*map(np.arange, at.shape))
        ]
    )
    for i, label in enumerate(present.tolist()):
        if label:
            yield label, int(counts[i]), sums[:, i] / counts[i]


def _overlaps(
    a: NDArray[Any], b: NDArray[Any], shape: tuple[int, int]
) -> Iterator[tuple[int, int, int]]:
    from scipy import sparse  # takes a while to import

    table = sparse.coo_array((np.ones(b.size, np.int64), (a.ravel(), b.ravel())), shape)
    table.sum_duplicates()
    for i, j, count in zip(table.row, table.col, table.data, strict=True):
        yield int(i), int(j), int(count)
