"""The Points layer as an editor of a session's clicks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from napari.layers import Points
from napari.layers.base import ActionType
from napari.layers.points._points_constants import Mode

from napari_sam.gui.layers import NEGATIVE, POSITIVE, style_next_point, style_points
from napari_sam.gui.planes import coordinates_of, plane_and_point
from napari_sam.session import Click, Plane, PromptBook, Session

_SIGNS = {POSITIVE: 1, NEGATIVE: 0}
_NAMES = {1: POSITIVE, 0: NEGATIVE}
_DONE = (ActionType.ADDED, ActionType.REMOVED, ActionType.CHANGED)


class ClickEditor:
    """Turns edits of a Points layer into commands of a session, and shows the session's clicks.

    A click's row is known by the feature ``id``, so that rows may be added, deleted, pasted and
    reordered in any way; what the session refuses is put back.

    Parameters
    ----------
    session, layer
        What is edited through what.
    plane
        Returns the plane on screen, which new points belong to; raises ValueError where there is
        none.
    refused
        Called with the error when the session refuses an edit.
    """

    def __init__(
        self,
        session: Session,
        layer: Points,
        plane: Callable[[], Plane],
        refused: Callable[[Exception], None],
    ) -> None:
        self.layer = layer
        self.sign = 1
        self._session = session
        self._plane = plane
        self._refused = refused
        self._writing = False
        layer.mouse_drag_callbacks.insert(0, self._choose_sign)
        layer.events.data.connect(self._data_edited)
        layer.events.features.connect(self._features_edited)
        session.prompts_changed.connect(self._show)
        session.object_changed.connect(self._show)
        self._show()

    def close(self) -> None:
        """Let go of the layer."""
        if self._choose_sign in self.layer.mouse_drag_callbacks:
            self.layer.mouse_drag_callbacks.remove(self._choose_sign)
        self.layer.events.data.disconnect(self._data_edited)
        self.layer.events.features.disconnect(self._features_edited)
        self._session.prompts_changed.disconnect(self._show)
        self._session.object_changed.disconnect(self._show)

    def _choose_sign(self, layer: Points, event: Any) -> None:
        """Left adds what the dock says, right the opposite; napari itself ignores the button."""
        if layer.mode == Mode.ADD:
            sign = 1 - self.sign if event.button == 2 else self.sign
            self._set_defaults(sign)

    def _set_defaults(self, sign: int) -> None:
        values = {"label": _NAMES[sign], "object": self._session.object_id, "id": 0}
        shown = self.layer.feature_defaults
        if all(shown[name].iloc[0] == value for name, value in values.items()):
            return
        self._writing = True
        try:
            self.layer.feature_defaults = values
            style_next_point(self.layer, _NAMES[sign])
        finally:
            self._writing = False

    def _data_edited(self, event: Any) -> None:
        if not self._writing and event.action in _DONE:
            self._read()

    def _features_edited(self, event: Any = None) -> None:
        if not self._writing:
            self._read()

    def _read(self) -> None:
        book = self._session.prompts
        try:
            clicks, next_id = self._rows(book)
            if clicks != book.clicks:
                self._session.prompts = replace(book, clicks=clicks, next_id=next_id)
        except ValueError as error:
            self._refused(error)
        self._show()

    def _rows(self, book: PromptBook) -> tuple[tuple[Click, ...], int]:
        """Return the layer's rows as clicks: known ones in their old order, then new ones."""
        known = {click.id: click for click in book.clicks}
        next_id, old, new = book.next_id, {}, []
        features = self.layer.features
        columns = (features["label"], features["object"], features["id"])
        for at, label, object_id, click_id in zip(self.layer.data, *columns, strict=True):
            if label not in _SIGNS:
                raise ValueError(
                    f"expected the label of a click to be '{POSITIVE}' or '{NEGATIVE}', got "
                    f"{label!r}"
                )
            is_known = click_id in known and click_id not in old
            pattern = known[click_id].plane if is_known else self._plane()
            plane, point = plane_and_point(np.asarray(at, float), pattern)
            plane = self._session.source.plane_of(plane)
            if is_known:
                old[click_id] = Click(int(click_id), int(object_id), plane, point, _SIGNS[label])
            else:
                new.append(Click(next_id, int(object_id), plane, point, _SIGNS[label]))
                next_id += 1
        kept = (old[click_id] for click_id in known if click_id in old)
        return (*kept, *new), next_id

    def _show(self, *_: object) -> None:
        clicks = self._session.prompts.clicks
        shape = (len(clicks), self.layer.ndim)
        data = np.array([coordinates_of(c.plane, c.point) for c in clicks], float).reshape(shape)
        features = {
            "label": np.array([_NAMES[c.label] for c in clicks], object),
            "object": np.array([c.object_id for c in clicks], np.uint64),
            "id": np.array([c.id for c in clicks], int),
        }
        self._writing = True
        try:
            with _one_refresh(self.layer, len(data)):
                if not np.array_equal(data, self.layer.data):
                    self.layer.selected_data = set()
                    self.layer.data = data
                if any(not np.array_equal(v, self.layer.features[k]) for k, v in features.items()):
                    self.layer.features = features
                style_points(self.layer, self._session.object_id)
        finally:
            self._writing = False
        self._set_defaults(self.sign)


@contextmanager
def _one_refresh(layer: Points, count: int) -> Iterator[None]:
    """Slice and draw a layer once instead of after each property, where napari lets us.

    Not when points go: until it is sliced anew, napari would draw some that are there no more.
    """
    block = getattr(layer, "_block_refresh", None)
    if block is None or count <= len(layer.data):
        yield
        return
    with block():
        yield
    layer.refresh()
