"""Where a look at an object that was followed mends most."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from napari_sam.propagate.march import Followed

_REACH = 4.0  # planes over which a mended mask mends its neighbours


def worth_a_look(found: Mapping[int, Followed], anchors: Collection[int]) -> int | None:
    """Return the plane whose correction can be expected to mend most.

    If the object isn't there, all that was carried beyond goes with it: that much is wrong there,
    with the probability that it has ended. If it is there, its mask can be mended, and with it
    those of the next planes. The plane of the lowest quality is the last one before the end most of
    the time, beyond which nothing depends on the answer.

    Parameters
    ----------
    found
        The object's masks by plane, those of its anchors included or not.
    anchors
        Planes where it is known.

    Returns
    -------
    plane
        None where nothing was carried.
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
    """Add how many wrong pixels of a span go with a correction of each of its planes."""
    areas = np.array([found[z].patch.area for z in span], float)
    places = np.arange(len(span))
    for k, z in enumerate(span):
        one = found[z]
        near = float(areas @ np.exp(-np.abs(places - k) / _REACH))
        gone = 1 - one.causes.present
        gains[z] = gains.get(z, 0.0) + gone * float(areas[k:].sum())
        gains[z] += (1 - gone) * (1 - one.causes.expected_iou) * near
