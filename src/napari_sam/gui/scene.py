"""Access to the scene of napari's canvas, for drawing beside the layers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from napari.layers import Image
from numpy.typing import NDArray
from qtpy.compat import isalive
from vispy.visuals.transforms import MatrixTransform

from napari_sam.gui.planes import coordinates_of
from napari_sam.gui.slicing import world_of_data
from napari_sam.session import Plane


def node_of(viewer: Any, image: Image) -> Any | None:
    """Return the parent node of an image's own node; None in a viewer without a canvas."""
    canvas = _canvas_of(viewer)
    visual = canvas.layer_to_visual.get(image) if canvas is not None else None
    return None if visual is None else visual.node.parent


def lay_above(parts: Iterable[Any], order: int) -> None:
    """Give visuals a drawing order, from `order` on, so that they cover what is below them."""
    for i, part in enumerate(parts):
        part.set_gl_state("translucent", depth_test=False)
        part.order = order + i
        part.transform = MatrixTransform()


def put_in(parts: Iterable[Any], node: Any) -> None:
    """Put visuals into a node, which changes when napari shows layers in a grid."""
    for part in parts:
        if part.parent is not node:
            part.parent = node


def take_out(parts: Iterable[Any]) -> None:
    """Take visuals out of their nodes, unless their canvas was deleted.

    At the end of a script that closes no viewer, Qt deletes the canvas before the dock is closed.
    """
    for part in parts:
        canvas = part.canvas
        if canvas is None or isalive(canvas.native):
            part.parent = None


def make_current(viewer: Any) -> None:
    """Make the OpenGL context of a viewer's canvas the current one.

    When a layer is removed, napari deletes its programs and textures at once, in the context that
    is current. Between two frames that is the one in which Qt composes the window. Without this
    call something that the canvas still draws with may be deleted, and the next frame may crash.
    """
    canvas = _canvas_of(viewer)
    if canvas is not None and isalive(canvas.native):
        canvas._scene_canvas.set_current()


def is_gone(viewer: Any) -> bool:
    """Whether Qt has deleted a viewer's canvas, as at the end of a script that doesn't close it."""
    canvas = _canvas_of(viewer)
    return canvas is not None and not isalive(canvas.native)


def matrix_of(
    viewer: Any, image: Image, plane: Plane, origin: tuple[int, int], step: int = 1
) -> NDArray[np.float64]:
    """Return the `(4, 4)` matrix from (x, y) of a picture to the scene, for vispy.

    Pixels of the picture begin at integers.

    Parameters
    ----------
    viewer, image, plane
        The viewer, and the image layer and plane on which the picture is drawn.
    origin
        (row, column) of the plane's pixel that is the picture's first.
    step
        Pixels of the plane, along a side, for one pixel of the picture.
    """
    (row, column), dims = origin, viewer.dims
    displayed = [axis - dims.ndim for axis in dims.displayed[::-1]]

    def place(r: float, c: float) -> NDArray[np.float64]:
        return world_of_data(dims, image, coordinates_of(plane, (r, c)))[displayed]

    corner = place(row - 0.5, column - 0.5)
    matrix = np.eye(4)
    matrix[0, :2] = step * (place(row - 0.5, column + 0.5) - corner)
    matrix[1, :2] = step * (place(row + 0.5, column - 0.5) - corner)
    matrix[3, :2] = corner
    return matrix


def _canvas_of(viewer: Any) -> Any | None:
    window = getattr(viewer, "window", None)
    return getattr(getattr(window, "_qt_viewer", None), "canvas", None)
