"""The Points layer as an editor of a session's clicks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
from napari.layers import Points
from napari.layers.base import ActionType
from napari.layers.points._points_constants import Mode
from qtpy.QtCore import QTimer

from napari_sam.gui.layers import style_next_point, style_points
from napari_sam.gui.planes import coordinates_of, plane_and_point
from napari_sam.gui.prompt_columns import (
    EDITED,
    SIGN_NAMES,
    TOLD,
    broken_columns,
    columns_of_clicks,
    differing,
    new_defaults,
    object_of,
    sign_of,
    with_users_columns,
)
from napari_sam.session import Click, Plane, PromptBook, Session

_TELLING_MS = 50, 500  # after the last mask: of a few clicks, and of many
_MANY = 200
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
    sign
        Returns what a left click says: 1 inside, 0 outside.
    refused
        Called with the error when the session refuses an edit.
    """

    def __init__(
        self,
        session: Session,
        layer: Points,
        plane: Callable[[], Plane],
        sign: Callable[[], int],
        refused: Callable[[Exception], None],
    ) -> None:
        self.layer = layer
        self._sign = sign
        self._session = session
        self._plane = plane
        self._refused = refused
        self._writing = False
        self._columns: dict[str, np.ndarray] = {}
        self._telling = _timer(_TELLING_MS[0], self._tell)
        self._pasted = _timer(0, self._read_pasted)
        layer.mouse_drag_callbacks.insert(0, self._choose_sign)
        layer.events.data.connect(self._data_edited)
        layer.events.features.connect(self._features_edited)
        layer.events.set_data.connect(self._drawn)
        session.prompts_changed.connect(self._show)
        session.object_changed.connect(self._show)
        session.mask_changed.connect(self._mask_changed)
        self._show()

    def close(self) -> None:
        """Let go of the layer."""
        if self._choose_sign in self.layer.mouse_drag_callbacks:
            self.layer.mouse_drag_callbacks.remove(self._choose_sign)
        self.layer.events.data.disconnect(self._data_edited)
        self.layer.events.features.disconnect(self._features_edited)
        self.layer.events.set_data.disconnect(self._drawn)
        self._session.prompts_changed.disconnect(self._show)
        self._session.object_changed.disconnect(self._show)
        self._session.mask_changed.disconnect(self._mask_changed)
        with suppress(RuntimeError):  # at the application's end Qt has deleted it already
            self._telling.stop()
            self._pasted.stop()

    def _choose_sign(self, layer: Points, event: Any) -> None:
        """Left adds what the dock says, right the opposite; napari itself ignores the button."""
        if layer.mode == Mode.ADD:
            if broken_columns(layer.features):
                self._read()
            sign = 1 - self._sign() if event.button == 2 else self._sign()
            self._set_defaults(sign)

    def _set_defaults(self, sign: int) -> None:
        values = {"label": SIGN_NAMES[sign], "object": self._session.object_id, "id": 0}
        shown = self.layer.feature_defaults
        if all(name in shown and shown[name].iloc[0] == value for name, value in values.items()):
            return
        self._writing = True
        try:
            self.layer.feature_defaults = new_defaults(self.layer.features, values)
            style_next_point(self.layer, SIGN_NAMES[sign])
        finally:
            self._writing = False

    def _data_edited(self, event: Any) -> None:
        if not self._writing and event.action in _DONE:
            self._read()

    def _features_edited(self, event: Any = None) -> None:
        if self._writing:
            return
        changed = differing(self.layer.features, self._columns, TOLD)
        if changed and not broken_columns(self.layer.features):
            self._refused(
                ValueError(
                    f"expected the columns {', '.join(changed)} of the prompts as they were: they "
                    "say what the model saw, and were put back; edit label or object"
                )
            )
        self._read()

    def _drawn(self, event: Any = None) -> None:
        """Look for pasted points: napari draws them without an event for them."""
        if not self._writing and len(self.layer.data) != self._session.prompts.click_count:
            self._pasted.start()

    def _read_pasted(self) -> None:
        if len(self.layer.data) != self._session.prompts.click_count:
            self._read()

    def _read(self) -> None:
        book = self._session.prompts
        try:
            clicks = self._rows(book)
            if clicks != book.clicks:
                self._session.prompts = book.with_all_clicks(clicks)
                return  # they are shown by now
        except ValueError as error:
            self._refused(error)
        self._show()

    def _rows(self, book: PromptBook) -> tuple[Click, ...]:
        """Return the layer's rows as clicks: known ones in their old order, then new ones.

        New ones speak of the current object, wherever they come from.
        """
        known = {click.id: click for click in book.clicks}
        next_id, old, new = book.next_id, {}, []
        for at, label, object_id, click_id in self._cells(book):
            if click_id in known and click_id not in old:
                pattern, number = known[click_id].plane, object_of(object_id)
            else:
                pattern, number = self._plane(), self._session.object_id
            plane, point = plane_and_point(np.asarray(at, float), pattern)
            plane = self._session.source.plane_of(plane)
            if click_id in known and click_id not in old:
                old[click_id] = Click(int(click_id), number, plane, point, sign_of(label))
            else:
                new.append(Click(next_id, number, plane, point, sign_of(label)))
                next_id += 1
        kept = (old[click_id] for click_id in known if click_id in old)
        return (*kept, *new)

    def _cells(self, book: PromptBook) -> Iterator[tuple[Any, Any, Any, Any]]:
        """Yield position, label, object and id of each row; where columns were removed, by place.

        napari adds new points behind the others.
        """
        table, data = self.layer.features, self.layer.data
        broken = broken_columns(table)
        if not broken:
            yield from zip(data, table["label"], table["object"], table["id"], strict=True)
            return
        self._refused(
            ValueError(
                f"expected the columns {', '.join(EDITED + TOLD)} in the features of the prompts, "
                f"which say what each point means; {', '.join(broken)} were removed, and are put "
                "back"
            )
        )
        clicks = book.clicks
        if len(data) < len(clicks):  # which ones were deleted is not known any more
            data = np.array([coordinates_of(click.plane, click.point) for click in clicks])
        for at, click in zip(data, clicks, strict=False):
            yield at, SIGN_NAMES[click.label], click.object_id, click.id
        for at in data[len(clicks) :]:
            yield at, SIGN_NAMES[self._sign()], self._session.object_id, 0

    def _show(self, *_: object) -> None:
        book, layer = self._session.prompts, self.layer
        clicks = book.clicks
        shape = (len(clicks), layer.ndim)
        data = np.array([coordinates_of(c.plane, c.point) for c in clicks], float).reshape(shape)
        self._columns = columns_of_clicks(book, self._session)
        features = with_users_columns(self._columns, layer.features)
        self._writing = True
        try:
            with _one_refresh(layer, len(data)):
                if not np.array_equal(data, layer.data):
                    layer.selected_data = set()
                    layer.data = data
                self._write(features)
                style_points(layer, self._session.object_id)
        finally:
            self._writing = False
        self._set_defaults(self._sign())

    def _write(self, features: dict[str, np.ndarray]) -> None:
        table = self.layer.features
        if [*table.columns] != [*features] or differing(table, features, [*features]):
            self.layer.features = features

    def _mask_changed(self, *_: object) -> None:
        self._telling.start(_TELLING_MS[len(self.layer.data) > _MANY])

    def _tell(self) -> None:
        """Show what the model was given for the masks that have arrived."""
        columns = columns_of_clicks(self._session.prompts, self._session)
        if len(self.layer.data) == self._session.prompts.click_count:
            self._columns = columns
            self._writing = True
            try:
                self._write(with_users_columns(columns, self.layer.features))
            finally:
                self._writing = False


def _timer(milliseconds: int, call: Callable[[], None]) -> QTimer:
    timer = QTimer()
    timer.setSingleShot(True)
    timer.setInterval(milliseconds)
    timer.timeout.connect(call)
    return timer


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
