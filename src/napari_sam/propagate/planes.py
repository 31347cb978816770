"""Planes along one axis of a stack, and their embeddings."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_sam.image import Limits
from napari_sam.lazy_plane import LazyPlane
from napari_sam.planes import ArraySource
from napari_sam.segmentation.protocol import Embedding, Progress, Segmenter

# Bytes of embeddings kept while both directions pass through the same planes, so that each plane
# is encoded once: those of about 500 planes of 256 x 256, or 13 of 1024 x 1024, with `nano`.
_KEPT_BYTES = 2**30


class FollowPlanes(Protocol):
    """The planes that objects are followed through, all of one shape."""

    @property
    def count(self) -> int:
        """Number of planes."""
        ...

    @property
    def segmenter(self) -> Segmenter:
        """The model."""
        ...

    def embedding(self, z: int) -> Embedding:
        """Return the embedding of a plane; may be slow, and raises what reading it raises."""
        ...

    def is_blank(self, z: int) -> bool:
        """Whether all pixels of a plane have the same value or are not finite."""
        ...


class StackPlanes:
    """Planes of an array, each read when it is needed.

    Parameters
    ----------
    segmenter, stack, axis, contrast_limits, progress
        As :func:`~napari_sam.propagate` takes them.

    Raises
    ------
    ValueError
        If the array isn't a stack, or lacks the axis.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        stack: Any,
        axis: int = 0,
        contrast_limits: Limits | None = None,
        progress: Progress | None = None,
    ) -> None:
        stack = stack if hasattr(stack, "shape") else np.asarray(stack)
        dimensions = len(stack.shape)
        if not (dimensions == 3 or (dimensions == 4 and stack.shape[-1] in (3, 4))):
            raise ValueError(
                "expected a stack with one axis besides those of a plane, got shape "
                f"{stack.shape}; pick a channel or a time point first"
            )
        spatial = 3  # colours stay with their plane
        if not -spatial <= axis < spatial:
            raise ValueError(f"expected an axis from 0 to {spatial - 1}, got {axis}")
        self._axis = axis % spatial
        rows, columns = (one for one in range(spatial) if one != self._axis)
        self._source = ArraySource(stack, dimensions == 4, (rows, columns), contrast_limits)
        self.count = self._source.shape[self._axis]
        self.shape = self._source.shape[rows], self._source.shape[columns]
        self.segmenter = segmenter
        self._progress = progress
        self._read: tuple[int, NDArray[Any], Limits | None] | None = None
        self._embeddings: OrderedDict[int, Embedding] = OrderedDict()
        self._blank: dict[int, bool] = {}

    def check(self, z: int) -> None:
        """Raise a `ValueError` for an index outside the stack."""
        if not 0 <= z < self.count:
            raise ValueError(
                f"expected prompts on planes 0 to {self.count - 1} along axis {self._axis}, "
                f"got some on plane {z}"
            )

    def embedding(self, z: int) -> Embedding:
        """Return the embedding of a plane; the latest ones are kept, up to 1 GiB."""
        if z not in self._embeddings:
            pixels, limits = self._pixels(z)
            self._embeddings[z] = self.segmenter.embed(pixels, limits, self._progress)
            while len(self._embeddings) > 1 and self._nbytes() > _KEPT_BYTES:
                self._embeddings.popitem(last=False)
        self._embeddings.move_to_end(z)
        return self._embeddings[z]

    def _nbytes(self) -> int:
        return sum(one.nbytes for one in self._embeddings.values())

    def is_blank(self, z: int) -> bool:
        """Whether all pixels of a plane have the same value or are not finite."""
        if z not in self._blank:
            pixels, _ = self._pixels(z)
            shown: Any = pixels  # or a large plane, read in parts
            if isinstance(shown, LazyPlane):
                self._blank[z] = shown.is_blank()
            else:
                seen = pixels[np.isfinite(pixels)]
                self._blank[z] = not seen.size or bool(seen.min() == seen.max())
        return self._blank[z]

    def _pixels(self, z: int) -> tuple[NDArray[Any], Limits | None]:
        if self._read is None or self._read[0] != z:
            self._read = (z, *self._source.read(self._source.plane_of(z)))
        return self._read[1:]
