"""Drafts of masks, drawn on the canvas and in no layer, so that nothing has to be undone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from napari.layers import Image, Labels
from napari.utils.colormaps import label_colormap
from vispy.scene import visuals
from vispy.visuals.transforms import MatrixTransform

from napari_sam.gui.scene import matrix_of, node_of, take_out
from napari_sam.session import ObjectPlane, Patch, Plane, Session

_MOST = 100  # drafts shown at once: thousands of prompts may be added together
_LONGEST = 2048  # pixels of a picture; a larger one is shown by every second pixel, or fewer


class DraftPictures:
    """Shows a session's drafts where their masks will be, until the masks are written.

    Parameters
    ----------
    viewer, image
        The viewer, and the image layer in it.
    session
        The session whose drafts are shown.
    plane
        Returns the plane on screen.
    labels
        Returns the layer whose colours and opacity the masks will have; None before there is one.
    """

    def __init__(
        self,
        viewer: Any,
        image: Image,
        session: Session,
        plane: Callable[[], Plane | None],
        labels: Callable[[], Labels | None],
    ) -> None:
        self._viewer, self._image, self._session = viewer, image, session
        self._plane, self._labels = plane, labels
        self._pictures: dict[ObjectPlane, Any] = {}
        session.draft_changed.connect(self._changed)

    @property
    def shown(self) -> list[ObjectPlane]:
        """Objects and planes whose drafts are on screen."""
        return [key for key, picture in self._pictures.items() if picture.visible]

    def refresh(self) -> None:
        """Show the drafts of the plane on screen, and no others."""
        plane = self._plane()
        for key, picture in self._pictures.items():
            patch = self._session.draft(*key)
            picture.visible = key[1] == plane
            if picture.visible and patch is not None:  # the image may lie elsewhere by now
                picture.transform.matrix = self._matrix(patch, key[1])

    def close(self) -> None:
        """Remove all pictures."""
        self._session.draft_changed.disconnect(self._changed)
        for key in list(self._pictures):
            self._remove(key)

    def _changed(self, object_id: int, plane: Plane) -> None:
        key = object_id, plane
        self._remove(key)
        patch, labels = self._session.draft(*key), self._labels()
        node = node_of(self._viewer, self._image)
        if patch is None or not patch.pixels.size or node is None:
            return
        if len(self._pictures) >= _MOST:
            return
        if labels is not None and not labels.visible:
            return
        step = _step(patch)
        picture = visuals.Image(
            _coloured(patch.pixels[::step, ::step], object_id, labels),
            interpolation="nearest",
            parent=node,
        )
        picture.set_gl_state("translucent", depth_test=False)
        picture.order = len(self._viewer.layers)
        picture.transform = MatrixTransform(self._matrix(patch, plane))
        picture.visible = plane == self._plane()
        self._pictures[key] = picture

    def _remove(self, key: ObjectPlane) -> None:
        picture = self._pictures.pop(key, None)
        if picture is not None:
            take_out([picture])

    def _matrix(self, patch: Patch, plane: Plane) -> np.ndarray:
        return matrix_of(self._viewer, self._image, plane, patch.origin, _step(patch))


def _step(patch: Patch) -> int:
    """Return how many pixels of a patch, along a side, are one pixel of its picture."""
    return -(-max(patch.pixels.shape) // _LONGEST)


def _coloured(mask: np.ndarray, object_id: int, labels: Labels | None) -> np.ndarray:
    """Return a mask `(h, w)` as `(h, w, 4)` in the colour of its label, transparent elsewhere."""
    colours = labels.colormap if labels is not None else label_colormap()
    opacity = labels.opacity if labels is not None else 0.5
    red, green, blue = (round(255 * float(x)) for x in np.ravel(colours.map(object_id))[:3])
    return np.where(mask[..., None], (red, green, blue, round(255 * opacity)), 0).astype(np.uint8)
