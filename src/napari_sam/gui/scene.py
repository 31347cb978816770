"""Where a plane's pixels lie in the canvas, for what is drawn there beside the layers."""

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
    """Return the node that an image's own is in; None in a viewer without a canvas."""
    canvas = _canvas_of(viewer)
    visual = canvas.layer_to_visual.get(image) if canvas is not None else None
    return None if visual is None else visual.node.parent


def lay_above(parts: Iterable[Any], order: int) -> None:
    """Let visuals be drawn over what lies below them, in their order, wherever they are put."""
    for i, part in enumerate(parts):
        part.set_gl_state("translucent", depth_test=False)
        part.order = order + i
        part.transform = MatrixTransform()


def put_in(parts: Iterable[Any], node: Any) -> None:
    """Put visuals into a node: in a grid of layers the one of an image is another."""
    for part in parts:
        if part.parent is not node:
            part.parent = node


def take_out(parts: Iterable[Any]) -> None:
    """Take visuals out of their nodes; they stay where their window has gone, which draws no more.

    A script that ends closes no viewer: Qt deletes the canvas before it tells the dock.
    """
    for part in parts:
        canvas = part.canvas
        if canvas is None or isalive(canvas.native):
            part.parent = None


def make_current(viewer: Any) -> None:
    """Make the OpenGL context of a viewer's canvas the current one.

    When a layer is removed napari deletes its programs and textures at once, in whichever context
    is current: between two frames that is the one in which Qt puts the window together. What the
    canvas draws with is then deleted behind its back, and the next frame may crash.
    """
    canvas = _canvas_of(viewer)
    if canvas is not None and isalive(canvas.native):
        canvas._scene_canvas.set_current()


def is_gone(viewer: Any) -> bool:
    """Whether Qt has deleted the canvas of a viewer, as at the end of a script that closes none."""
    canvas = _canvas_of(viewer)
    return canvas is not None and not isalive(canvas.native)


def matrix_of(
    viewer: Any, image: Image, plane: Plane, origin: tuple[int, int], step: int = 1
) -> NDArray[np.float64]:
    """Map the (x, y) of a picture, whose pixels begin at integers, to the scene.

    Parameters
    ----------
    viewer, image, plane
        Where the picture is shown.
    origin
        (row, column) of the plane's pixel that is the picture's first.
    step
        How many pixels of the plane one of the picture's stands for.
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
