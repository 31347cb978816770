"""Finished objects of a plane, with its pixels: what a model can be taught."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam.image import Limits, check_plane

LEAST_PIXELS = 12
"""An object of fewer pixels is too small to be taught."""


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """Finished objects of a plane, or of a part of one.

    Parameters
    ----------
    image
        `(H, W)` or `(H, W, 3)`, as :meth:`Segmenter.embed` takes it.
    labels
        `(H, W)` whole numbers, one of each object. 0 is whatever nobody has labelled: it may hold
        further objects.
    contrast_limits
        The grey values shown as black and white, as the plane is embedded with.
    complete
        `(H, W)` bool: where everything is labelled, so that the rest is background.
    plane_shape
        (H, W) of the plane that this is a part of; the whole plane by default.
    name
        Where it comes from, for messages; it is not kept.

    Raises
    ------
    ValueError
        If the shapes don't match, or no label is there.
    """

    image: NDArray[Any]
    labels: NDArray[np.integer]
    contrast_limits: Limits | None = None
    complete: NDArray[np.bool_] | None = None
    plane_shape: tuple[int, int] | None = None
    name: str = ""
    objects: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        image = check_plane(self.image)
        where = f" of {self.name}" if self.name else ""
        shape = image.shape[:2]
        for said, array in (("labels", self.labels), ("complete regions", self.complete)):
            if array is not None and array.shape != shape:
                raise ValueError(
                    f"expected {said}{where} of the image's shape {shape}, got {array.shape}; "
                    "give both of the same plane"
                )
        if not np.issubdtype(self.labels.dtype, np.integer):
            raise ValueError(
                f"expected labels{where} as whole numbers, got {self.labels.dtype}; convert them"
            )
        ids, counts = np.unique(self.labels, return_counts=True)
        objects = ids[(ids > 0) & (counts >= LEAST_PIXELS)]
        if not len(objects):
            raise ValueError(
                f"expected an object of at least {LEAST_PIXELS} pixels in the labels{where}, got "
                "none; leave the plane out, or label something in it"
            )
        object.__setattr__(self, "objects", tuple(int(one) for one in objects))

    def mask(self, label: int) -> NDArray[np.bool_]:
        """Return `(H, W)` of one object."""
        return np.asarray(self.labels == label)
