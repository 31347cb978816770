"""Masks cut to their bounding boxes, and what predictions wrote into labels."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam.geometry import Region, region_of
from napari_sam.masks import iou, merge_mask
from napari_sam.prompts import Box
from napari_sam.segmentation.protocol import MaskPrediction

_REMEMBERED = 20  # writes of one object on one plane that an undo can go back to


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """A mask of a plane, stored only where it is.

    Parameters
    ----------
    origin
        (row, column) of the first pixel.
    pixels
        `(h, w)`; `(0, 0)` for an empty mask.
    """

    origin: tuple[int, int] = (0, 0)
    pixels: NDArray[np.bool_] = field(default_factory=lambda: np.zeros((0, 0), bool))

    @property
    def region(self) -> Region:
        """The rectangle it covers, as slices of the plane."""
        (r, c), (h, w) = self.origin, self.pixels.shape
        return slice(r, r + h), slice(c, c + w)

    @property
    def area(self) -> int:
        """Number of its pixels."""
        return int(np.count_nonzero(self.pixels))

    def share_within(self, box: Box) -> float:
        """Return the share of its pixels whose centres lie in a box; 0 of an empty mask."""
        r0, c0 = np.ceil(np.subtract(box[:2], self.origin)).astype(int).clip(0)
        r1, c1 = np.floor(np.subtract(box[2:], self.origin)).astype(int).clip(-1) + 1
        area = self.area
        return int(np.count_nonzero(self.pixels[r0:r1, c0:c1])) / area if area else 0.0

    def within(self, region: Region) -> NDArray[np.bool_]:
        """Return the part inside a region of the plane, of that region's shape."""
        shape = tuple(s.stop - s.start for s in region)
        out = np.zeros(shape, bool)
        low = [max(a.start, b.start) for a, b in zip(region, self.region, strict=True)]
        high = [min(a.stop, b.stop) for a, b in zip(region, self.region, strict=True)]
        if all(a < b for a, b in zip(low, high, strict=True)):
            into, of = (
                tuple(slice(a - s.start, b - s.start) for a, b, s in zip(low, high, r, strict=True))
                for r in (region, self.region)
            )
            out[into] = self.pixels[of]
        return out


def cut(mask: NDArray[np.bool_], origin: tuple[int, int] = (0, 0)) -> Patch:
    """Cut a mask, whose first pixel is at `origin` of the plane, to its bounding box."""
    region = region_of(mask)
    if region is None:
        return Patch(origin)
    rows, columns = region
    return Patch((origin[0] + rows.start, origin[1] + columns.start), mask[region].copy())


def cut_prediction(prediction: MaskPrediction, index: int) -> Patch:
    """Cut one candidate of a prediction to its bounding box, at the plane's resolution."""
    origin, logits = prediction.part_logits(index)
    return cut(logits > 0, origin)


@dataclass(frozen=True, slots=True, eq=False)
class Edit:
    """Pixels of labels to change: `erase` become 0, `paint` become the object's label.

    Both are (rows, columns) of the plane.
    """

    erase: tuple[NDArray[np.intp], NDArray[np.intp]]
    paint: tuple[NDArray[np.intp], NDArray[np.intp]]

    @property
    def is_empty(self) -> bool:
        """Whether nothing changes."""
        return not (len(self.erase[0]) or len(self.paint[0]))


class Written:
    """What the predictions of one object on one plane wrote, as far back as labels can be undone.

    Labels have an undo of their own, so the last write may not be what they show. The remembered
    write that agrees best with them is taken as the previous one (of equals, the latest).
    """

    def __init__(self) -> None:
        self._patches: deque[Patch] = deque([Patch()], maxlen=_REMEMBERED)

    def merge(
        self,
        patch: Patch,
        label_id: int,
        read: Callable[[Region], NDArray[Any]],
        overwrite: bool = False,
    ) -> Edit:
        """Decide what a new mask changes in labels, and remember it as written.

        Parameters
        ----------
        patch
            The new mask.
        label_id
            Label of the object.
        read
            Returns the labels `(h, w)` of a region of the plane; called once at most, with the
            union of the bounding boxes of the new mask and of what was written before.
        overwrite
            Whether the mask may take pixels of other labels.
        """
        region = _union([patch, *self._patches])
        if region is None:
            nothing = np.empty(0, np.intp), np.empty(0, np.intp)
            return Edit(nothing, nothing)
        labels = read(region)
        shown = labels == label_id
        previous = self._closest_to(shown, region)
        merge = merge_mask(labels, previous, patch.within(region), label_id, overwrite)
        origin = region[0].start, region[1].start
        self._patches.append(cut(merge.written, origin))
        return Edit(_indices(merge.erase, origin), _indices(merge.paint, origin))

    def _closest_to(self, shown: NDArray[np.bool_], region: Region) -> NDArray[np.bool_]:
        best, agreement = np.zeros_like(shown), -1.0
        for earlier in reversed(self._patches):
            mask = earlier.within(region)
            if np.array_equal(mask, shown):
                return mask  # nearly always the latest: the others need no look
            if (current := iou(mask, shown)) > agreement:
                best, agreement = mask, current
        return best

    def keep_last(self) -> None:
        """Give up every earlier write: what they held may have been painted since."""
        self._patches = deque([self._patches[-1]], maxlen=_REMEMBERED)


def _union(patches: Sequence[Patch]) -> Region | None:
    regions = [patch.region for patch in patches if patch.pixels.size]
    if not regions:
        return None
    return (
        slice(min(r.start for r, _ in regions), max(r.stop for r, _ in regions)),
        slice(min(c.start for _, c in regions), max(c.stop for _, c in regions)),
    )


def _indices(
    mask: NDArray[np.bool_], origin: tuple[int, int]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    rows, columns = np.nonzero(mask)
    return rows + origin[0], columns + origin[1]
