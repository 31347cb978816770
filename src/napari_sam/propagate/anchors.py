"""Anchors: the planes on which objects are given before they are followed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_sam.patches import Patch, cut
from napari_sam.prompts import Prompts


@dataclass(frozen=True, slots=True)
class NotHere:
    """States that an object is not on a plane."""


Anchor = Prompts | NDArray[np.bool_] | Patch | NotHere
"""An object on a plane where it is given: its prompts, its mask, or that it isn't there.

Prompts that are only negative points mean that it isn't there, too.
"""
Anchors = Mapping[int, Mapping[int, Anchor]]
"""Anchors by object, then by plane."""


@dataclass(frozen=True, slots=True)
class Ends:
    """How far objects are followed.

    Parameters
    ----------
    first, last
        The outermost planes, inclusive; by default all.
    open
        Pairs (object, plane) where an object continues, whatever the judge decides.
    """

    first: int | None = None
    last: int | None = None
    open: frozenset[tuple[int, int]] = frozenset()


def simplified(anchor: Anchor, z: int, shape: tuple[int, int]) -> Prompts | Patch | NotHere:
    """Check an anchor, and return a mask as a patch.

    Raises
    ------
    ValueError
        If a mask is empty, or of another kind or shape than the plane.
    """
    if isinstance(anchor, NotHere):
        return anchor
    if isinstance(anchor, Prompts):
        is_negative = len(anchor.points) > 0 and not anchor.point_labels.any()
        return NotHere() if is_negative and anchor.box is None and anchor.mask is None else anchor
    if not isinstance(anchor, Patch):
        mask = np.asarray(anchor)
        if mask.dtype != bool or mask.shape != shape:
            raise ValueError(
                f"expected Prompts or a bool mask of shape {shape} on plane {z}, got "
                f"{mask.dtype} of shape {mask.shape}; for a label use labels == label_id"
            )
        anchor = cut(mask)
    if anchor.is_empty:
        raise ValueError(
            f"expected a mask with at least one pixel on plane {z}, got an empty one; "
            "NotHere() says that the object isn't there"
        )
    return anchor
