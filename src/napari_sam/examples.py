"""Finished objects of a plane with its pixels: training examples."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam.image import Limits, check_plane

LEAST_PIXELS = 12
"""Objects of fewer pixels are not used for training."""


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """Finished objects of a plane, or of a part of one.

    Parameters
    ----------
    image
        `(H, W)` or `(H, W, 3)`, as :meth:`Segmenter.embed` takes it.
    labels
        `(H, W)` whole numbers, one for each object. 0 is unlabelled, not background: more objects
        may lie there.
    contrast_limits
        The values shown as black and white, with which the plane is embedded.
    complete
        `(H, W)` bool: where every object is labelled, so that 0 is background there.
    plane_shape
        (H, W) of the plane that this is a part of; by default it is the whole plane.
    name
        Name of the source, for messages; it is not stored.

    Raises
    ------
    ValueError
        If the shapes don't match, if the labels are not whole numbers, or if no object is large
        enough.
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
        for what, array in (("labels", self.labels), ("complete regions", self.complete)):
            if array is not None and array.shape != shape:
                raise ValueError(
                    f"expected {what}{where} of the image's shape {shape}, got {array.shape}; "
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
