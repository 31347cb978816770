"""The prediction of one object: candidate masks with their predicted IoUs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_sam.geometry import Frame
from napari_sam.patches import Patch, cut
from napari_sam.prompts import GRANULARITIES, Candidate

SURE = 8.0
"""Logit of a pixel that a given mask is sure of; a network's own rarely go beyond."""


@dataclass(frozen=True, slots=True, eq=False)
class MaskPrediction:
    """Candidates for one object.

    Parameters
    ----------
    logits
        `(M, h, w)` float32 at low resolution; positive is foreground.
    scores
        `(M,)` predicted IoU of each candidate.
    frame
        Frame of the embedding that was decoded.
    exact
        The only candidate at the plane's resolution, if it is an exact mask, given or corrected by
        clicks, that low-resolution logits would blur.
    patches
        Results of :meth:`patch` that have been computed already, by candidate.
    """

    logits: NDArray[np.float32]
    scores: NDArray[np.float32]
    frame: Frame
    exact: Patch | None = None
    patches: tuple[Patch, ...] = ()

    @property
    def best_index(self) -> int:
        """Index of the candidate with the highest predicted IoU."""
        return int(self.scores.argmax())

    @property
    def by_area(self) -> tuple[int, ...]:
        """Indices of the candidates that have pixels, the largest first."""
        areas = np.count_nonzero(self.logits > 0, axis=(1, 2))
        order = np.argsort(-areas, kind="stable")
        return tuple(order[areas[order] > 0].tolist())

    def index_of(self, candidate: Candidate | None) -> int:
        """Return the index of a candidate; by default that of the highest predicted IoU.

        An index or area beyond the last mask means the last one.
        """
        if candidate is None:
            return self.best_index
        if isinstance(candidate, int):
            return min(candidate, len(self.scores) - 1)
        by_area = self.by_area or (self.best_index,)
        return by_area[min(GRANULARITIES.index(candidate), len(by_area) - 1)]

    def masks(self) -> NDArray[np.bool_]:
        """Return all candidates at the plane's resolution, `(M, H, W)`."""
        return np.stack([self.mask(i) for i in range(len(self.logits))])

    def best(self) -> NDArray[np.bool_]:
        """Return the candidate with the highest predicted IoU, `(H, W)`."""
        return self.mask(self.best_index)

    def mask(self, index: int) -> NDArray[np.bool_]:
        """Return one candidate at the plane's resolution, `(H, W)`."""
        (r, c), part = self.part_logits(index)
        plane = np.zeros(self.frame.plane_shape, bool)
        plane[r : r + part.shape[0], c : c + part.shape[1]] = part > 0
        return plane

    def patch(self, index: int) -> Patch:
        """Return one candidate at the plane's resolution, cut to its bounding box."""
        if self.patches:
            return self.patches[index]
        origin, logits = self.part_logits(index)
        return cut(logits > 0, origin)

    def part_logits(
        self, index: int, threshold: float = 0.0
    ) -> tuple[tuple[int, int], NDArray[np.float32]]:
        """Return one candidate's logits only where they may exceed a threshold.

        Parameters
        ----------
        index
            Index of the candidate.
        threshold
            Threshold of the logits.

        Returns
        -------
        origin, logits
            See :meth:`~napari_sam.geometry.Frame.enlarge_part`.
        """
        if self.exact is not None:
            return self.exact.origin, np.where(self.exact.pixels, SURE, -SURE).astype(np.float32)
        return self.frame.enlarge_part(self.logits[index], threshold)

    def region_mask(self, index: int) -> NDArray[np.bool_]:
        """Return one candidate within `frame.region` only, however large the plane."""
        return self.region_logits(index) > 0

    def region_logits(self, index: int) -> NDArray[np.float32]:
        """Return the logits of one candidate, resampled to the pixels of `frame.region`."""
        import torch

        if self.exact is not None:
            return np.where(self.exact.within(self.frame.region), SURE, -SURE).astype(np.float32)
        low = torch.from_numpy(self.logits[index : index + 1])
        return self.frame.enlarge(low)[0].numpy()
