"""Marks the object that the proofreading queue offers, with an outline and a frame."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from napari.layers import Image
from numpy.typing import NDArray
from vispy.scene import visuals

from napari_sam.gui.delay import Delay
from napari_sam.gui.palette import YELLOW
from napari_sam.gui.preview_overlay import outline
from napari_sam.gui.scene import lay_above, matrix_of, node_of, put_in, take_out
from napari_sam.prompts import Box
from napari_sam.session import Plane, Session

_LONGEST = 1024  # pixels along a side; the outline of a larger object is subsampled
_APART, _CORNER = 0.15, 0.25  # gap to the frame and length of its corners, by the longer side
_ABOVE = 9_000  # drawing order: above all layers, below previews


class OfferedOutline:
    """Marks the object that a session's queue offers, while it is on screen.

    The outline is thin, so that the object's edge can be judged; the corners of a frame at some
    distance make a small object easy to find. Neither is in a layer.

    Parameters
    ----------
    viewer, image
        The viewer, and the image layer in it.
    session
        The session whose queue is shown.
    plane
        Returns the plane on screen.
    """

    def __init__(
        self, viewer: Any, image: Image, session: Session, plane: Callable[[], Plane | None]
    ) -> None:
        self._viewer, self._image, self._session, self._plane = viewer, image, session, plane
        self._parts: tuple[Any, Any] | None = None
        self._soon = Delay(0, self.refresh)
        self._signals = session.queue_changed, session.journal_changed
        for signal in self._signals:
            signal.connect(self._changed)
        self.object_id: int | None = None  # the object that is marked

    def close(self) -> None:
        """Remove the mark, and disconnect from the queue."""
        self._soon.close()
        for signal in self._signals:
            signal.disconnect(self._changed)
        take_out(self._parts or ())
        self._parts = None

    def hide(self) -> None:
        """Hide the mark until :meth:`refresh` is called."""
        self.object_id = None
        for part in self._parts or ():
            part.visible = False

    def refresh(self) -> None:
        """Mark the offered object, if it is on the plane on screen."""
        self._soon.stop()
        self.hide()
        plane, item = self._plane(), self._session.queue.current
        place = None if item is None else self._session.object_place(item.object_id, plane)
        canvas = self._session.canvas
        if item is None or place is None or canvas is None or place[0] != plane:
            return
        r0, c0, r1, c1 = (int(x) for x in place[1])
        try:
            labels = canvas.read(place[0], (slice(r0, r1 + 1), slice(c0, c1 + 1)))
        except OSError:  # reported when the labels are changed
            return
        step = -(-max(labels.shape) // _LONGEST)
        mask = labels[::step, ::step] == item.object_id
        parts = self._parts_on_canvas()
        if parts is None or not mask.any():
            return
        matrix = matrix_of(self._viewer, self._image, place[0], (r0, c0), step)
        vertices = np.concatenate([outline(mask), frame(_box_of(mask))])
        for part in parts:
            part.set_data(pos=vertices)
            part.transform.matrix = matrix
            part.visible = True
        self.object_id = item.object_id

    def _changed(self, *_: object) -> None:
        if self._session.queue.is_open or self.object_id is not None:
            self._soon.start()

    def _parts_on_canvas(self) -> tuple[Any, Any] | None:
        """Return the dark line and the bright one above it; None without a canvas."""
        node = node_of(self._viewer, self._image)
        if node is None:
            return None
        if self._parts is None:
            nowhere = np.zeros((2, 2), np.float32)
            below = visuals.Line(nowhere, (0, 0, 0, 0.8), connect="segments", width=3)
            line = visuals.Line(nowhere, YELLOW, connect="segments", width=1.5)
            self._parts = below, line
            lay_above(self._parts, _ABOVE)
        put_in(self._parts, node)
        return self._parts


def frame(box: Box) -> NDArray[np.float32]:
    """Return the corners of a frame around a box.

    Parameters
    ----------
    box
        (row 0, column 0, row 1, column 1), ends inclusive.

    Returns
    -------
    vertices
        `(16, 2)` as (x, y), two for each of eight lines; pixels begin at integers.
    """
    r0, c0, r1, c1 = box
    side = max(r1 - r0, c1 - c0) + 1
    far, long = max(2.0, _APART * side), max(2.0, _CORNER * side)
    left, top, right, bottom = c0 - far, r0 - far, c1 + 1 + far, r1 + 1 + far
    lines = []
    for x, inwards in ((left, 1), (right, -1)):
        for y, down in ((top, 1), (bottom, -1)):
            lines += [(x, y), (x + inwards * long, y), (x, y), (x, y + down * long)]
    return np.array(lines, np.float32)


def _box_of(mask: NDArray[np.bool_]) -> Box:
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return int(rows[0]), int(columns[0]), int(rows[-1]), int(columns[-1])
