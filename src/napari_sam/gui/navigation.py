"""Bringing a part of a plane into view, and moving no more than that takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Image

from napari_sam.gui.planes import coordinates_of
from napari_sam.gui.slicing import world_of_data
from napari_sam.planes import Plane
from napari_sam.prompts import Box

if TYPE_CHECKING:
    from napari.components import ViewerModel

# The longer side of an object, as a share of the shorter side of the canvas: where it is in
# between, the zoom stays; otherwise it becomes the last.
_SMALLEST, _LARGEST, _BEST = 0.06, 0.7, 0.25
_SEEN = 0.8  # share of the canvas, around its middle, in which an object needs no other view


def bring_into_view(viewer: ViewerModel, image: Image, plane: Plane, box: Box) -> None:
    """Show a part of a plane at a sensible zoom; the view stays where that is so already.

    Parameters
    ----------
    viewer, image
        Where the image is.
    plane
        A plane of the image that spans the axes on screen.
    box
        (row 0, column 0, row 1, column 1) in pixels of the plane, ends inclusive.
    """
    r0, c0, r1, c1 = box
    corners = np.array(
        [
            world_of_data(viewer.dims, image, coordinates_of(plane, corner))
            for corner in ((r0 - 0.5, c0 - 0.5), (r0 - 0.5, c1 + 0.5), (r1 + 0.5, c1 + 0.5))
        ]
    )
    shown = list(viewer.dims.displayed)
    for axis in viewer.dims.not_displayed:
        if viewer.dims.point[axis] != corners[0, axis]:
            viewer.dims.set_point(axis, float(corners[0, axis]))
    low, high = corners[:, shown].min(0)[-2:], corners[:, shown].max(0)[-2:]
    camera = viewer.scene.camera
    canvas = np.array(viewer.canvas.size, float)  # (height, width) in pixels of the screen
    side = float((high - low).max())
    share = side * camera.zoom / canvas.min()
    fits = _SMALLEST <= share <= _LARGEST
    middle = np.array(camera.center[-2:], float)
    half = _SEEN * canvas / (2 * camera.zoom)
    if fits and (low >= middle - half).all() and (high <= middle + half).all():
        return
    if not fits:
        camera.zoom = _BEST * float(canvas.min()) / side
    row, column = ((low + high) / 2).tolist()
    camera.center = (*camera.center[:-2], row, column)
