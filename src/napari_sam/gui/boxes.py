"""The Shapes layer as an editor of a session's boxes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from napari.layers import Shapes
from napari.layers.base import ActionType
from napari.layers.shapes._shapes_constants import Mode

from napari_sam.gui.planes import coordinates_of
from napari_sam.prompts import Box
from napari_sam.session import BoxPrompt, Plane, PromptBook, Session, plane_axes

_DONE = (ActionType.ADDED, ActionType.REMOVED, ActionType.CHANGED)
_DRAWN_BY_DRAGGING = (Mode.ADD_RECTANGLE, Mode.ADD_ELLIPSE)
_LEAST_DRAG = 3  # pixels of the screen, in both directions


class BoxEditor:
    """Turns edits of a Shapes layer into commands of a session, and shows the session's boxes.

    Which object a new box belongs to, :meth:`Session.object_for_box` decides; of several added at
    once, each further one starts an object. Any shape counts as its bounding box.

    Parameters
    ----------
    session, layer, plane, refused
        As of :class:`~napari_sam.gui.clicks.ClickEditor`.
    """

    def __init__(
        self,
        session: Session,
        layer: Shapes,
        plane: Callable[[], Plane],
        refused: Callable[[Exception], None],
    ) -> None:
        self.layer = layer
        self._session = session
        self._plane = plane
        self._refused = refused
        self._writing = False
        self._only_clicked = False
        layer.mouse_drag_callbacks.insert(0, self._watch_drag)
        layer.events.data.connect(self._edited)
        session.prompts_changed.connect(self._show)
        self._show()

    def close(self) -> None:
        """Let go of the layer."""
        if self._watch_drag in self.layer.mouse_drag_callbacks:
            self.layer.mouse_drag_callbacks.remove(self._watch_drag)
        self.layer.events.data.disconnect(self._edited)
        self._session.prompts_changed.disconnect(self._show)

    def _watch_drag(self, layer: Shapes, event: Any) -> Iterator[None]:
        """Know a click from a drag: napari makes a tiny shape of either."""
        if layer.mode not in _DRAWN_BY_DRAGGING:
            return
        start = np.asarray(event.pos)
        self._only_clicked = True
        yield
        while event.type == "mouse_move":
            self._only_clicked = bool(np.any(np.abs(event.pos - start) < _LEAST_DRAG))
            yield

    def _edited(self, event: Any) -> None:
        if self._writing or event.action not in _DONE:
            return
        only_clicked, self._only_clicked = self._only_clicked, False
        try:
            if event.action == ActionType.ADDED and only_clicked:
                raise ValueError(
                    "expected a box drawn with the mouse button held down, got a click; drag from "
                    "corner to corner of the object, or press G to click"
                )
            book, newest = self._rows(self._session.prompts)
            if book != self._session.prompts:
                self._session.prompts = book
                if newest is not None:
                    self._session.object_id = newest
        except ValueError as error:
            self._refused(error)
        self._show()

    def _rows(self, book: PromptBook) -> tuple[PromptBook, int | None]:
        """Return the session's prompts with the layer's boxes, and the object of a new one."""
        known = {box.id: box for box in book.boxes}
        old, fresh = {}, []
        for corners, box_id in zip(self.layer.data, self._ids(book), strict=True):
            if box_id in known and box_id not in old:
                plane, box = _plane_and_box(corners, known[box_id].plane)
                old[box_id] = replace(known[box_id], plane=plane, box=box)
                continue
            fresh.append(_plane_and_box(corners, self._plane()))
        boxes: tuple[BoxPrompt, ...] = tuple(old[i] for i in known if i in old)
        book, newest = book.with_all_boxes(boxes), None
        for plane, box in fresh:
            plane = self._session.source.plane_of(plane)
            if newest is None:
                newest = self._session.object_for_box(plane, box)
            else:
                newest = max(self._session.highest_object, book.highest_object) + 1
            book = book.with_box((newest, plane), box)
        return book, newest

    def _ids(self, book: PromptBook) -> list[Any]:
        """Return the identifier of each row; where the column was removed, by place."""
        table = self.layer.features
        if "id" in table and not table["id"].isna().any():
            return table["id"].tolist()
        self._refused(
            ValueError(
                "expected the columns object and id in the features of the boxes, which say what "
                "each means; they were removed, and are put back"
            )
        )
        known = [box.id for box in book.boxes]
        return (known + [0] * len(self.layer.data))[: len(self.layer.data)]

    def _show(self, *_: object) -> None:
        boxes = self._session.prompts.boxes
        data = [_corners(box) for box in boxes]
        shown = self.layer.data
        same = len(shown) == len(data) and all(
            np.array_equal(a, b) or np.array_equal(_ordered(a), _ordered(b))
            for a, b in zip(shown, data, strict=True)
        )
        features = {
            "object": np.array([b.object_id for b in boxes], np.uint64),
            "id": np.array([b.id for b in boxes], int),
        }
        self._writing = True
        try:
            if not same:
                self.layer.selected_data = set()
                self.layer.data = [(corners, "rectangle") for corners in data]
            table = self.layer.features
            if any(k not in table or not np.array_equal(v, table[k]) for k, v in features.items()):
                self.layer.features = features
            self.layer.feature_defaults = {"object": self._session.object_id, "id": 0}
        finally:
            self._writing = False


def _plane_and_box(corners: Any, pattern: Plane) -> tuple[Plane, Box]:
    corners = np.asarray(corners, float)
    rows, columns = plane_axes(pattern)
    middle = corners.mean(0)
    plane = tuple(
        None if i is None else int(np.round(x)) for i, x in zip(pattern, middle, strict=True)
    )
    low, high = corners.min(0), corners.max(0)
    return plane, (float(low[rows]), float(low[columns]), float(high[rows]), float(high[columns]))


def _corners(box: BoxPrompt) -> np.ndarray:
    r0, c0, r1, c1 = box.box
    points = ((r0, c0), (r0, c1), (r1, c1), (r1, c0))
    return np.array([coordinates_of(box.plane, point) for point in points])


def _ordered(corners: Any) -> np.ndarray:
    corners = np.asarray(corners, float)
    return corners[np.lexsort(corners.T)]
