"""Complete regions: rectangles of a plane in which every object is labelled."""

from __future__ import annotations

from napari_sam.prompts import Box

Rectangle = tuple[int, int, int, int]
"""(row 0, column 0, row 1, column 1) in pixels of a plane, ends inclusive."""

Regions = tuple[Rectangle, ...]


def rectangle(box: Box | None, shape: tuple[int, int]) -> Rectangle:
    """Return the pixels of a box that are in a plane.

    Parameters
    ----------
    box
        (row 0, column 0, row 1, column 1), centres of the outermost pixels; None for the whole
        plane.
    shape
        (H, W) of the plane.

    Raises
    ------
    ValueError
        If there are none.
    """
    height, width = shape
    r0, c0, r1, c1 = (0, 0, height - 1, width - 1) if box is None else box
    (r0, r1), (c0, c1) = sorted((round(r0), round(r1))), sorted((round(c0), round(c1)))
    inside = max(0, r0), max(0, c0), min(height - 1, r1), min(width - 1, c1)
    if inside[0] > inside[2] or inside[1] > inside[3]:
        raise ValueError(
            f"expected a box in a plane of {height} x {width} pixels, got {box}; draw it on the "
            "image"
        )
    return inside


def with_rectangle(regions: Regions, added: Rectangle) -> Regions:
    """Return regions with another rectangle added."""
    if any(_holds(one, added) for one in regions):
        return regions
    return (*(one for one in regions if not _holds(added, one)), added)


def without_rectangle(regions: Regions, removed: Rectangle) -> Regions:
    """Return the parts of regions that lie outside of a rectangle."""
    return tuple(part for one in regions for part in _rest(one, removed))


def _holds(one: Rectangle, other: Rectangle) -> bool:
    return one[0] <= other[0] and one[1] <= other[1] and one[2] >= other[2] and one[3] >= other[3]


def _rest(one: Rectangle, removed: Rectangle) -> Regions:
    """Return one rectangle without another, as up to four rectangles."""
    r0, c0, r1, c1 = one
    top, left = max(r0, removed[0]), max(c0, removed[1])
    bottom, right = min(r1, removed[2]), min(c1, removed[3])
    if top > bottom or left > right:
        return (one,)
    parts = (
        (r0, c0, top - 1, c1),
        (bottom + 1, c0, r1, c1),
        (top, c0, bottom, left - 1),
        (top, right + 1, bottom, c1),
    )
    return tuple(part for part in parts if part[0] <= part[2] and part[1] <= part[3])
