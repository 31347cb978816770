"""Brings a part of a plane into view, with as little movement as possible."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Image
from numpy.typing import NDArray

from napari_sam.gui.placement import shape_of
from napari_sam.gui.planes import coordinates_of
from napari_sam.gui.slicing import world_of_data
from napari_sam.planes import Plane, plane_axes
from napari_sam.prompts import Box

if TYPE_CHECKING:
    from napari.components import ViewerModel

# The longer side of an object as a share of the shorter side of the canvas. Between the first two
# the zoom stays; otherwise it is set to the third.
_SMALLEST, _LARGEST, _BEST = 0.06, 0.7, 0.25
_CONTEXT = 150  # least pixels of the image across the canvas after zooming in
_CLOSEST = 8.0  # most pixels of the screen for a pixel of the image
_SEEN = 0.8  # share of the canvas, around its middle, in which an object counts as in view


def show_plane(viewer: ViewerModel, image: Image, plane: Plane) -> None:
    """Scroll to a plane of an image, without moving the view; it must span the axes on screen."""
    world = world_of_data(viewer.dims, image, coordinates_of(plane, (0, 0)))
    for axis in viewer.dims.not_displayed:
        if viewer.dims.point[axis] != world[axis]:
            viewer.dims.set_point(axis, float(world[axis]))


def bring_into_view(viewer: ViewerModel, image: Image, plane: Plane, box: Box) -> bool:
    """Show a part of a plane at a suitable zoom; keep the view if it shows that part already.

    A small part is shown with its surroundings. The view doesn't extend beyond the plane more
    than necessary, and it doesn't move while it shows the whole plane.

    Parameters
    ----------
    viewer, image
        The viewer, and the image layer in it.
    plane
        A plane of the image that spans the axes on screen.
    box
        (row 0, column 0, row 1, column 1) in pixels of the plane, ends inclusive.

    Returns
    -------
    moved
        Whether zoom or centre of the view changed.
    """
    corners = _corners(viewer, image, plane, box)
    shown = list(viewer.dims.displayed)
    for axis in viewer.dims.not_displayed:
        if viewer.dims.point[axis] != corners[0, axis]:
            viewer.dims.set_point(axis, float(corners[0, axis]))
    low, high = _bounds(corners[:, shown])
    h, w = (shape_of(image)[axis] for axis in plane_axes(plane))
    start, stop = _bounds(_corners(viewer, image, plane, (0, 0, h - 1, w - 1))[:, shown])
    camera = viewer.scene.camera
    canvas = np.array(viewer.canvas.size, float)  # (height, width) in pixels of the screen
    pixel = float((stop - start).max()) / max(h, w)
    zoom = _zoom(camera.zoom, float((high - low).max()), canvas, pixel, stop - start)
    middle = np.array(camera.center[-2:], float)
    half = canvas / (2 * zoom)
    if zoom == camera.zoom and (
        _is_within(low, high, middle, _SEEN * half) or _is_within(start, stop, middle, half)
    ):
        return False
    camera.zoom = zoom
    ends = np.sort([start + _SEEN * half, stop - _SEEN * half], axis=0)
    row, column = np.clip((low + high) / 2, *ends).tolist()
    camera.center = (*camera.center[:-2], row, column)
    return True


def _zoom(
    zoom: float, side: float, canvas: NDArray[np.float64], pixel: float, plane: NDArray[np.float64]
) -> float:
    """Return the zoom for an object of some size: the present one if it is suitable.

    Parameters
    ----------
    zoom
        Present zoom, in pixels of the screen for a unit of the world.
    side
        Longer side of the object, in the world.
    canvas
        (height, width) in pixels of the screen.
    pixel
        Side of a pixel of the image, in the world.
    plane
        (height, width) of the whole plane, in the world.
    """
    across = float(canvas.min())
    best, all_of_it = _BEST * across / side, float((canvas / plane).min())
    closest = max(_CLOSEST / pixel, all_of_it)
    if side * zoom < _SMALLEST * across:
        context = max(across / (_CONTEXT * pixel), all_of_it)
        return max(zoom, min(best, closest, context))
    if side * zoom > _LARGEST * across:
        zoom = best
    return min(zoom, closest)


def _corners(viewer: ViewerModel, image: Image, plane: Plane, box: Box) -> NDArray[np.float64]:
    """Return three corners of a box in world coordinates, `(3, ndim)`."""
    r0, c0, r1, c1 = box
    return np.array(
        [
            world_of_data(viewer.dims, image, coordinates_of(plane, corner))
            for corner in ((r0 - 0.5, c0 - 0.5), (r0 - 0.5, c1 + 0.5), (r1 + 0.5, c1 + 0.5))
        ]
    )


def _bounds(corners: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return corners.min(0)[-2:], corners.max(0)[-2:]


def _is_within(
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    middle: NDArray[np.float64],
    half: NDArray[np.float64],
) -> bool:
    return bool((low >= middle - half).all() and (high <= middle + half).all())
