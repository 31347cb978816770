"""One generated mask: its box, its pixels and the model's scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_sam.masks import Rle
from napari_sam.prompts import tight_box

IntBox = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class ObjectMask:
    """A generated mask.

    Parameters
    ----------
    box
        (row 0, column 0, row 1, column 1) of its outermost pixels, both inclusive.
    mask
        Its pixels in the whole plane.
    score
        Predicted IoU.
    stability
        IoU of the masks thresholded a little above and a little below the usual threshold, 0-1.
    point
        (row, column) of the prompt that gave the mask.
    crop_box
        (row 0, column 0, row 1, column 1), half-open: the part of the plane that the model was
        given.
    """

    box: IntBox
    mask: Rle
    score: float
    stability: float
    point: tuple[float, float]
    crop_box: IntBox

    @property
    def area(self) -> int:
        """Number of pixels."""
        return self.mask.area

    @property
    def region(self) -> tuple[slice, slice]:
        """The box as slices of the plane."""
        r0, c0, r1, c1 = self.box
        return slice(r0, r1 + 1), slice(c0, c1 + 1)

    def crop(self) -> NDArray[np.bool_]:
        """Return the mask within `region` alone, however large the plane."""
        height = self.mask.size[0]
        r0, c0, r1, c1 = self.box
        edges = np.cumsum(self.mask.counts) - c0 * height
        steps = np.zeros((c1 - c0 + 1) * height + 1, np.int8)
        # Runs start at even edges and stop at odd ones; equal edges cancel out.
        np.add.at(steps, edges[0::2][edges[0::2] < len(steps)], 1)
        np.add.at(steps, edges[1::2], -1)
        filled = np.cumsum(steps[:-1], dtype=np.int8).astype(bool)
        columns = filled.reshape((height, -1), order="F")
        return np.ascontiguousarray(columns[r0 : r1 + 1])


def encode_region(
    region: NDArray[np.bool_], origin: tuple[int, int], plane_shape: tuple[int, int]
) -> tuple[IntBox, Rle]:
    """Encode a mask that is known within a rectangle of a plane.

    Parameters
    ----------
    region
        `(h, w)` mask with at least one pixel.
    origin
        (row, column) of its first pixel in the plane.
    plane_shape
        (H, W).

    Returns
    -------
    box, mask
        As in :class:`ObjectMask`.
    """
    r0, c0, r1, c1 = map(int, tight_box(region))
    box = (origin[0] + r0, origin[1] + c0, origin[0] + r1, origin[1] + c1)
    height, width = plane_shape
    inner = region[:, c0 : c1 + 1]
    steps = np.diff(np.pad(inner, ((1, 1), (0, 0))).astype(np.int8), axis=0)  # (h + 1, w')
    column, row = np.nonzero(steps.T)  # column by column: starts and stops in turn
    edges = (box[1] + column) * height + origin[0] + row
    starts, stops = edges[0::2], edges[1::2]
    # A run that reaches the last row goes on where the next column starts in the first row.
    parted = starts[1:] != stops[:-1]
    starts, stops = starts[np.append(True, parted)], stops[np.append(parted, True)]
    bounds = np.concatenate([[0], np.column_stack([starts, stops]).ravel(), [height * width]])
    counts = np.diff(bounds).tolist()
    if counts[-1] == 0:
        counts.pop()
    return box, Rle((height, width), tuple(counts))
