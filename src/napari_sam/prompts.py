"""The prompts of one object on one plane, and clicks that describe a mask best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_sam.geometry import Region, region_of
from napari_sam.patches import Patch, cut

if TYPE_CHECKING:
    from napari_sam.geometry import Frame

Box = tuple[float, float, float, float]
Click = tuple[tuple[float, float], int]
Granularity = Literal["whole", "part", "sub-part"]
"""Candidates of a single click by their areas, the largest first."""
GRANULARITIES: tuple[Granularity, ...] = ("whole", "part", "sub-part")
Candidate = int | Granularity
"""One of a prediction's masks: by its index, or by how its area compares with the others'."""


@dataclass(frozen=True, slots=True, eq=False)
class Prompts:
    """Prompts of one object on one plane: ordered clicks, a box, a mask.

    Parameters
    ----------
    points
        `(N, 2)` clicks as (row, column) in pixels, pixel centres at integers.
    point_labels
        `(N,)`: 1 for a click on the object, 0 for one outside it.
    box
        (row 0, column 0, row 1, column 1): centres of the outermost pixels, both inclusive.
    mask
        Low-resolution logits `(h, w)` of an earlier prediction (float), or a mask at the plane's
        resolution: `(H, W)` (bool), or a :class:`~napari_sam.patches.Patch` of it.
    mask_frame
        Frame of the logits in `mask`; :meth:`with_logits` sets it. With it, logits of another
        plane or tile are refused even where the shapes agree.
    is_exact
        Whether a mask (bool) is the object's mask as it is, until later prompts change it, rather
        than a hint to the model; see :func:`~napari_sam.replay`.

    Raises
    ------
    ValueError
        If shapes don't fit together, a label is neither 0 nor 1, or a coordinate is not finite.
    """

    points: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 2)))
    point_labels: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    box: Box | None = None
    mask: NDArray[np.float32] | NDArray[np.bool_] | Patch | None = None
    mask_frame: Frame | None = None
    is_exact: bool = False

    def __init__(
        self,
        points: ArrayLike = (),
        point_labels: ArrayLike = (),
        box: Sequence[float] | None = None,
        mask: ArrayLike | Patch | None = None,
        mask_frame: Frame | None = None,
        is_exact: bool = False,
    ) -> None:
        put = object.__setattr__  # frozen: the only place that sets fields
        put(self, "points", _as_points(points))
        put(self, "point_labels", _as_labels(point_labels, len(self.points)))
        put(self, "box", _as_box(box))
        put(self, "mask", _as_mask(mask))
        put(self, "mask_frame", mask_frame)
        put(self, "is_exact", is_exact and self.mask_patch is not None)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to predict from."""
        return len(self.points) == 0 and self.box is None and self.mask is None

    @property
    def is_single_click(self) -> bool:
        """Whether there is one click and nothing else: a model returns several candidates then."""
        return len(self.points) == 1 and self.box is None and self.mask is None

    @property
    def logits(self) -> NDArray[np.float32] | None:
        """The mask if it is logits; None for a mask at the plane's resolution or no mask."""
        if self.mask is None or isinstance(self.mask, Patch) or self.mask.dtype == bool:
            return None
        return self.mask  # type: ignore[return-value]

    @property
    def mask_patch(self) -> Patch | None:
        """The mask if it is at the plane's resolution, cut to its pixels; otherwise None."""
        if self.mask is None or isinstance(self.mask, Patch):
            return self.mask
        return cut(self.mask.view(np.bool_)) if self.mask.dtype == bool else None

    @property
    def places(self) -> NDArray[np.float64]:
        """Clicks and the corners of the box, `(N, 2)` as (row, column)."""
        if self.box is None:
            return self.points
        return np.concatenate([self.points, np.reshape(self.box, (2, 2))])

    def with_point(self, point: Sequence[float], label: int = 1) -> Prompts:
        """Return these prompts with one more click.

        Parameters
        ----------
        point
            (row, column) in pixels of the plane.
        label
            1 if the click lies on the object, 0 if not.
        """
        return replace(
            self,
            points=np.concatenate([self.points, _as_points([point])]),
            point_labels=np.append(self.point_labels, label),
        )

    def with_box(self, box: Sequence[float] | None) -> Prompts:
        """Return these prompts with another box, or without one.

        Parameters
        ----------
        box
            (row 0, column 0, row 1, column 1) in pixels of the plane, ends inclusive; None
            removes the box.
        """
        return replace(self, box=_as_box(box))

    def with_logits(
        self,
        logits: NDArray[np.float32] | NDArray[np.bool_] | Patch | None,
        frame: Frame | None = None,
    ) -> Prompts:
        """Return these prompts with a mask to start from.

        Parameters
        ----------
        logits
            Logits of an earlier prediction, or a mask; None removes the mask.
        frame
            Of that prediction; None for a mask in pixels of the plane.
        """
        return replace(self, mask=logits, mask_frame=frame, is_exact=False)

    def with_mask_of(self, other: Prompts) -> Prompts:
        """Return these prompts with the mask of other prompts."""
        return replace(self, mask=other.mask, mask_frame=other.mask_frame, is_exact=other.is_exact)

    def first(self, count: int, most: int | None = None) -> Prompts:
        """Return the box and the first clicks, without a mask.

        Parameters
        ----------
        count
            How many clicks.
        most
            If `count` is higher than this, return only this many of them: the very first one and
            the latest.
        """
        if most is None or count <= most:
            return Prompts(self.points[:count], self.point_labels[:count], self.box)
        kept = np.arange(count - most, count)
        kept[0] = 0
        return Prompts(self.points[kept], self.point_labels[kept], self.box)

    def check(self, plane_shape: tuple[int, int]) -> None:
        """Raise an error for prompts that lie outside a plane.

        Parameters
        ----------
        plane_shape
            (H, W) of the plane.

        Raises
        ------
        ValueError
            If a click lies outside, a box doesn't touch the plane, or a bool mask has another
            shape.
        """
        h, w = plane_shape
        inside = np.all((self.points >= -0.5) & (self.points <= (h - 0.5, w - 0.5)), axis=1)
        if not inside.all():
            r, c = self.points[~inside][0]
            raise ValueError(
                f"expected clicks inside the plane of {h} x {w} pixels, got (row, column) = "
                f"({r:g}, {c:g}); give a point on the image"
            )
        if self.box is not None:
            r0, c0, r1, c1 = self.box
            if r1 < -0.5 or c1 < -0.5 or r0 > h - 0.5 or c0 > w - 0.5:
                raise ValueError(
                    f"expected a box that overlaps the plane of {h} x {w} pixels, got "
                    f"{self.box}; draw it on the image"
                )
        if isinstance(self.mask, Patch):
            rows, columns = self.mask.region
            inside = min(rows.start, columns.start) >= 0 and rows.stop <= h and columns.stop <= w
            if not inside and (self.is_exact or not self.mask.within(_all(h, w)).any()):
                raise ValueError(
                    f"expected a mask on the plane of {h} x {w} pixels, got one in rows "
                    f"{rows.start} to {rows.stop} and columns {columns.start} to {columns.stop}; "
                    "give what lies on the image"
                )
        elif self.mask is not None and self.mask.dtype == bool and self.mask.shape != (h, w):
            raise ValueError(
                f"expected a mask of the plane's shape {(h, w)}, got {self.mask.shape}; "
                "give the mask of this plane, or low-resolution logits as float"
            )


def deepest_point(mask: NDArray[np.bool_]) -> tuple[int, int]:
    """Return the pixel of a mask that is farthest from the outside, the ideal place of a click.

    It is the maximum of the Euclidean distance transform; the image's border counts as outside.
    Of several equally deep pixels the first in row-major order is taken.

    Parameters
    ----------
    mask
        `(H, W)`.

    Returns
    -------
    point
        (row, column).

    Raises
    ------
    ValueError
        If the mask is empty.
    """
    from scipy import ndimage  # a window that opens doesn't wait for it

    region = _region_of_some(mask)
    depth = ndimage.distance_transform_edt(np.pad(mask[region], 1))
    r, c = np.unravel_index(int(np.argmax(depth)), depth.shape)
    return region[0].start + int(r) - 1, region[1].start + int(c) - 1


def corrective_click(target: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> Click | None:
    """Return the click that corrects a prediction best: the deepest point of the larger error.

    Parameters
    ----------
    target, predicted
        `(H, W)` masks.

    Returns
    -------
    click
        ((row, column), label): label 1 where pixels are missing, 0 where there are too many;
        ``None`` if the masks are equal.
    """
    missed, spilled = target & ~predicted, predicted & ~target
    positive = np.count_nonzero(missed) >= np.count_nonzero(spilled)
    error = missed if positive else spilled
    return (deepest_point(error), int(positive)) if error.any() else None


def tight_box(mask: NDArray[np.bool_]) -> Box:
    """Bounding box of a mask: (row 0, column 0, row 1, column 1), both ends inclusive.

    Raises
    ------
    ValueError
        If the mask is empty.
    """
    rows, columns = _region_of_some(mask)
    return float(rows.start), float(columns.start), rows.stop - 1.0, columns.stop - 1.0


def _all(height: int, width: int) -> Region:
    return slice(0, height), slice(0, width)


def _region_of_some(mask: NDArray[np.bool_]) -> Region:
    region = region_of(mask)
    if region is None:
        raise ValueError("expected a mask with at least one pixel, got an empty one")
    return region


def _as_points(points: ArrayLike) -> NDArray[np.float64]:
    array = np.array(points, np.float64)  # a copy: the caller's array may change
    if array.size == 0:
        array = array.reshape(0, 2)
    if array.ndim != 2 or array.shape[1] != 2:
        raise ValueError(
            f"expected points as (row, column) pairs of shape (N, 2), got shape {array.shape}"
        )
    if not np.isfinite(array).all():
        raise ValueError(f"expected finite point coordinates, got {array.tolist()}; delete NaNs")
    array.setflags(write=False)
    return array


def _as_labels(labels: ArrayLike, count: int) -> NDArray[np.int64]:
    array = np.array(labels).reshape(-1)
    if len(array) != count:
        raise ValueError(f"expected one label for each of {count} points, got {len(array)} labels")
    if not ((array == 0) | (array == 1)).all():
        raise ValueError(f"expected labels 1 (positive) or 0 (negative), got {array.tolist()}")
    array = array.astype(np.int64)
    array.setflags(write=False)
    return array


def _as_box(box: Sequence[float] | None) -> Box | None:
    if box is None:
        return None
    values = tuple(float(v) for v in box)
    if len(values) != 4 or not np.isfinite(values).all():
        raise ValueError(f"expected a box (row 0, column 0, row 1, column 1), got {tuple(box)}")
    r0, c0, r1, c1 = values
    return min(r0, r1), min(c0, c1), max(r0, r1), max(c0, c1)


def _as_mask(
    mask: ArrayLike | Patch | None,
) -> NDArray[np.float32] | NDArray[np.bool_] | Patch | None:
    if mask is None or isinstance(mask, Patch):
        return mask
    array = np.asarray(mask)
    if array.ndim != 2:
        raise ValueError(f"expected a mask of two dimensions, got shape {array.shape}")
    if array.dtype == bool:
        return array
    if not np.issubdtype(array.dtype, np.floating):
        raise ValueError(
            f"expected logits (float) or a mask (bool), got {array.dtype}; "
            "for a label use labels == label_id"
        )
    if not np.isfinite(array).all():
        raise ValueError("expected finite mask logits, got NaN or infinity")
    return array.astype(np.float32, copy=False)
