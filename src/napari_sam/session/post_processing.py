"""Post-processing of masks: fill holes, remove islands, smooth outlines."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam.patches import Patch, cut
from napari_sam.prompts import Prompts

_NEAR = 1  # pixels: a click at most so far beside a component counts as on it
_LARGEST = {"smallest": 10**9, "smoothing": 100.0}


@dataclass(frozen=True, slots=True)
class PostProcessing:
    """Steps applied to a mask before it is written; none by default.

    The order is `smoothing`, `clicked_component`, `smallest`, `fill_holes`.

    Parameters
    ----------
    fill_holes
        Whether to fill holes, except those with a negative click.
    clicked_component
        Whether to keep only the connected components with a positive click; if there is none,
        the largest component.
    smallest
        Number of pixels below which a component is removed. Components with a positive click,
        or else the largest one, are always kept; of an object found without prompts, every
        smaller component is removed.
    smoothing
        Standard deviation, in pixels, of the Gaussian filter that is applied to the mask before
        it is thresholded at 0.5. A mask that would vanish stays as it is.

    Raises
    ------
    ValueError
        If `smoothing` or `smallest` is negative or too large.
    """

    fill_holes: bool = False
    clicked_component: bool = False
    smallest: int = 0
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        for name, largest in _LARGEST.items():
            if not 0 <= getattr(self, name) <= largest:
                raise ValueError(
                    f"expected {name} from 0 to {largest:g} pixels, got {getattr(self, name)}"
                )

    @property
    def is_off(self) -> bool:
        """Whether nothing is changed."""
        return self == OFF

    def words(self) -> dict[str, bool | int | float]:
        """Return the settings that differ from the default, as JSON values by name."""
        return {
            name: getattr(self, name)
            for name in self.__slots__
            if getattr(self, name) != getattr(OFF, name)
        }

    @classmethod
    def of_words(cls, words: Mapping[str, Any]) -> PostProcessing:
        """Return the post-processing that :meth:`words` returned.

        Raises
        ------
        ValueError, TypeError
            If a name or a value is not valid.
        """
        if not isinstance(words, Mapping):
            raise TypeError(f"{type(words).__name__} as post-processing")
        kinds: dict[str, type | tuple[type, ...]] = {"smallest": int, "smoothing": (int, float)}
        for name, value in words.items():
            expected = kinds.get(name, bool)
            if not isinstance(value, expected) or (expected is int and isinstance(value, bool)):
                raise TypeError(f"{str(value)[:40]} as {name[:40]}")
        return cls(**words)

    def apply(self, patch: Patch, prompts: Prompts | None = None) -> Patch:
        """Return a mask after post-processing.

        Parameters
        ----------
        patch
            The mask.
        prompts
            The prompts that it was predicted from; None for an object found without prompts,
            whose mask may become empty.
        """
        from scipy import ndimage

        if self.is_off or not patch.pixels.size:
            return patch
        margin = math.ceil(3 * self.smoothing) + 1
        mask = np.pad(patch.pixels, margin)
        origin = patch.origin[0] - margin, patch.origin[1] - margin
        inside, outside = _cells(prompts, origin)
        if self.smoothing:
            smooth = ndimage.gaussian_filter(mask.astype(np.float32), self.smoothing) > 0.5
            mask = smooth if smooth.any() else mask
        if self.clicked_component or self.smallest:
            mask = self._without_islands(mask, inside, prompts is not None)
        if self.fill_holes:
            mask = _filled(mask, outside)
        return cut(mask, origin)

    def _without_islands(
        self, mask: NDArray[np.bool_], clicks: NDArray[np.int64], keeps_one: bool
    ) -> NDArray[np.bool_]:
        from scipy import ndimage

        parts, count = ndimage.label(mask, np.ones((3, 3)))
        sizes = np.bincount(parts.ravel(), minlength=count + 1)
        sizes[0] = 0
        clicked = np.zeros(count + 1, bool)
        for row, column in clicks:
            rows, columns = (slice(max(0, at - _NEAR), at + _NEAR + 1) for at in (row, column))
            clicked[parts[rows, columns]] = True
        clicked[0] = False
        if not clicked.any():
            clicked[np.argmax(sizes)] = True
        kept = clicked if self.clicked_component else (sizes >= max(1, self.smallest))
        kept = kept | clicked if keeps_one else kept & (sizes >= self.smallest)
        kept[0] = False
        return np.asarray(kept[parts])


OFF = PostProcessing()


def _cells(
    prompts: Prompts | None, origin: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where the positive and the negative clicks are."""
    if prompts is None:
        return np.zeros((0, 2), np.int64), np.zeros((0, 2), np.int64)
    cells = np.rint(prompts.points).astype(np.int64).reshape(-1, 2) - origin
    return cells[prompts.point_labels == 1], cells[prompts.point_labels == 0]


def _filled(mask: NDArray[np.bool_], negative: NDArray[np.int64]) -> NDArray[np.bool_]:
    from scipy import ndimage

    filled = np.asarray(ndimage.binary_fill_holes(mask))
    inside = ((negative >= 0) & (negative < mask.shape)).all(1)
    negative = negative[inside]
    if len(negative):
        holes, _ = ndimage.label(filled & ~mask)
        kept = np.unique(holes[negative[:, 0], negative[:, 1]])
        filled &= ~np.isin(holes, kept[kept > 0])
    return filled
