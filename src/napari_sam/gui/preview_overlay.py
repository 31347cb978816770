"""Draws a preview on the canvas, as an outline with a light fill.

It is in no layer, so that it isn't saved or measured by mistake and needs no undo.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.layers import Image, Labels
from napari.utils.colormaps import label_colormap
from numpy.typing import NDArray
from vispy.scene import visuals

from napari_sam.gui.scene import lay_above, matrix_of, node_of, put_in, take_out
from napari_sam.session import Patch, Preview

_FILL = 0.25  # opacity
_LONGEST = 1024  # pixels along a side; a larger mask is subsampled
_DASH = 6  # pixels of the canvas
_ABOVE = 10_000  # drawing order: above all layers


class PreviewOverlay:
    """Shows the mask that a click would give, above all layers.

    The outline is white on black, to stand out from any image. If the click would go to an
    existing object, the outline around that object is dashed, without a fill.

    Parameters
    ----------
    viewer, image
        The viewer, and the image layer in it.
    """

    def __init__(self, viewer: Any, image: Image) -> None:
        self._viewer, self._image = viewer, image
        self._parts: tuple[Any, Any, Any] | None = None
        self.preview: Preview | None = None

    @property
    def is_shown(self) -> bool:
        """Whether a preview is on the canvas."""
        return self._parts is not None and self._parts[1].visible

    def show(self, preview: Preview | None, labels: Labels | None) -> None:
        """Show a preview, or none.

        Parameters
        ----------
        preview
            The preview; None to show none.
        labels
            The layer whose colours the mask would have; None before there is one.
        """
        self.preview = preview
        patch = Patch() if preview is None else preview.mask
        parts = self._parts_on_canvas() if patch.pixels.size else None
        if preview is None or parts is None:
            for part in self._parts or ():
                part.visible = False
            return
        fill, below, line = parts
        step = -(-max(patch.pixels.shape) // _LONGEST)
        mask = patch.pixels[::step, ::step]
        matrix = matrix_of(self._viewer, self._image, preview.plane, patch.origin, step)
        fills = preview.action != "go to"
        if fills:
            fill.set_data(_coloured(mask, preview.object_id, labels))
        vertices = outline(mask)
        below.set_data(pos=vertices)
        if not fills:
            vertices = _dashed(vertices, step * self._viewer.scene.camera.zoom)
        line.set_data(pos=vertices)
        for part in parts:
            part.transform.matrix = matrix
            part.visible = fills or part is not fill

    def close(self) -> None:
        """Remove the preview from the canvas."""
        take_out(self._parts or ())
        self._parts = None

    def _parts_on_canvas(self) -> tuple[Any, Any, Any] | None:
        """Return fill, the black line and the white one above it; None without a canvas."""
        node = node_of(self._viewer, self._image)
        if node is None:
            return None
        if self._parts is None:
            nowhere = np.zeros((2, 2), np.float32)
            fill = visuals.Image(np.zeros((1, 1, 4), np.uint8), interpolation="nearest")
            below = visuals.Line(nowhere, (0, 0, 0, 0.8), connect="segments", width=4)
            line = visuals.Line(nowhere, (1, 1, 1, 1), connect="segments", width=2)
            self._parts = fill, below, line
            lay_above(self._parts, _ABOVE)
        put_in(self._parts, node)
        return self._parts


def outline(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the edges between the pixels of a mask and the pixels outside it.

    Parameters
    ----------
    mask
        `(h, w)`.

    Returns
    -------
    vertices
        `(2 N, 2)` as (x, y), two for each edge; pixels begin at integers.
    """
    h, w = mask.shape
    padded = np.zeros((h + 2, w + 2), bool)
    padded[1:-1, 1:-1] = mask
    rows, columns = np.nonzero(padded[1:, 1:-1] != padded[:-1, 1:-1])
    across = np.stack([columns, rows, columns + 1, rows], 1)
    rows, columns = np.nonzero(padded[1:-1, 1:] != padded[1:-1, :-1])
    down = np.stack([columns, rows, columns, rows + 1], 1)
    return np.concatenate([across, down]).reshape(-1, 2).astype(np.float32)


def _dashed(vertices: NDArray[np.float32], zoom: float) -> NDArray[np.float32]:
    """Return an outline with gaps, as dashes of a few pixels on the canvas."""
    dash = max(1.0, _DASH / max(zoom, 1e-9))
    middles = vertices.reshape(-1, 2, 2).mean(1)
    is_on = (middles // dash).sum(1) % 2 == 0
    return vertices.reshape(-1, 2, 2)[is_on].reshape(-1, 2)


def _coloured(mask: NDArray[np.bool_], object_id: int, labels: Labels | None) -> NDArray[np.uint8]:
    """Return a mask as `(h, w, 4)` in the light colour of its label, transparent elsewhere."""
    colours = labels.colormap if labels is not None else label_colormap()
    red, green, blue = (round(255 * float(x)) for x in np.ravel(colours.map(object_id))[:3])
    picture = np.zeros((*mask.shape, 4), np.uint8)
    picture[mask] = red, green, blue, round(255 * _FILL)
    return picture
