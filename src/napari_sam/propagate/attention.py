"""The plane on which correcting an object that was followed improves it most."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from napari_sam.propagate.march import Followed

_REACH = 4.0  # planes over which correcting a mask improves its neighbours


def plane_to_check(found: Mapping[int, Followed], anchors: Collection[int]) -> int | None:
    """Return the plane on which a correction can be expected to fix the most pixels.

    If the object has ended before a plane, marking that removes its masks on all planes beyond,
    which counts with the probability that it has ended. If it is there, correcting its mask also
    improves those of nearby planes. This is not the plane of the lowest quality, which is usually
    the last one before the end, where a correction affects no others.

    Parameters
    ----------
    found
        The object's masks by plane, with or without those of its anchors.
    anchors
        Planes where the object was given.

    Returns
    -------
    plane
        None if `found` has no plane between or beyond the anchors.
    """
    gains: dict[int, float] = {}
    for direction in (1, -1):
        span: list[int] = []  # planes carried in this direction, from an anchor outward
        for z in sorted(found, reverse=direction < 0):
            if z in anchors:
                _add_gains(gains, span, found)
                span = []
            elif any((z - at) * direction > 0 for at in anchors):
                span.append(z)
        _add_gains(gains, span, found)
    return max(sorted(gains), key=gains.__getitem__, default=None)


def _add_gains(gains: dict[int, float], span: list[int], found: Mapping[int, Followed]) -> None:
    """Add how many wrong pixels of a span a correction of each of its planes would fix."""
    areas = np.array([found[z].patch.area for z in span], float)
    places = np.arange(len(span))
    for k, z in enumerate(span):
        one = found[z]
        near = float(areas @ np.exp(-np.abs(places - k) / _REACH))
        gone = 1 - one.causes.present
        gains[z] = gains.get(z, 0.0) + gone * float(areas[k:].sum())
        gains[z] += (1 - gone) * (1 - one.causes.expected_iou) * near
