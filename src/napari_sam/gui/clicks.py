"""The Points layer as an editor of a session's clicks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from napari.layers import Points
from napari.layers.base import ActionType
from napari.layers.points._points_constants import Mode
from numpy.typing import NDArray
from qtpy.QtCore import QTimer

from napari_sam.gui.click_rows import ClickRows
from napari_sam.gui.layers import style_next_point, style_points
from napari_sam.gui.planes import coordinates_of, plane_and_point
from napari_sam.gui.prompt_columns import (
    EDITED,
    REPORTED,
    SIGN_NAMES,
    broken_columns,
    differing,
    new_defaults,
    object_of,
    sign_of,
    with_users_columns,
)
from napari_sam.session import Click, ObjectPlane, Plane, PromptBook, Session

_REPORT_MS = 50, 500  # delay of the table's update after the last mask: for few clicks, for many
_STYLED_MS = 40  # after a click
_MANY = 200
_DONE = (ActionType.ADDED, ActionType.REMOVED, ActionType.CHANGED)
_DRAG = 5  # pixels of the screen from which napari takes a click for a drag, and adds nothing


@dataclass(frozen=True, slots=True)
class _Gesture:
    """Button and modifier keys of a click for which napari adds a point."""

    button: int
    shift: bool
    control: bool


class ClickEditor:
    """Turns edits of a Points layer into commands of a session, and shows the session's clicks.

    napari adds a point for every click, and :meth:`Session.click` decides what it means. With
    Shift or the right button it is a prompt for the current object wherever it is. With Control
    it makes the object there current; with Control and Shift or the right button it corrects that
    object. The feature ``id`` identifies a click's row, so that rows may be added, deleted, pasted
    and reordered. An edit that the session refuses is undone in the layer.

    Parameters
    ----------
    session, layer
        The session, and the layer through which its clicks are edited.
    plane
        Returns the plane on screen, which new points belong to; raises ValueError if there is
        none.
    sign
        Returns what a left click marks: 1 inside, 0 outside.
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
        self._rows = ClickRows.of(PromptBook(), session, layer.ndim)
        self._answered: set[ObjectPlane] = set()
        self._reporting = _timer(_REPORT_MS[0], self._report_masks)
        self._pasted = _timer(0, self._read_pasted)
        # napari sends all points to the screen for each colour that changes: the mask goes first
        self._is_clicking = False
        self._unstyled = np.empty(0, np.intp)
        self._styled = _timer(_STYLED_MS, self._style)
        self._gesture: _Gesture | None = None
        layer.mouse_drag_callbacks.insert(0, self._watch_click)
        layer.events.data.connect(self._data_edited)
        layer.events.features.connect(self._features_edited)
        layer.events.set_data.connect(self._drawn)
        session.prompts_changed.connect(self._show)
        session.object_changed.connect(self._show_current)
        session.mask_changed.connect(self._mask_changed)
        self._show_all()

    def close(self) -> None:
        """Disconnect from the layer and the session."""
        if self._watch_click in self.layer.mouse_drag_callbacks:
            self.layer.mouse_drag_callbacks.remove(self._watch_click)
        self.layer.events.data.disconnect(self._data_edited)
        self.layer.events.features.disconnect(self._features_edited)
        self.layer.events.set_data.disconnect(self._drawn)
        self._session.prompts_changed.disconnect(self._show)
        self._session.object_changed.disconnect(self._show_current)
        self._session.mask_changed.disconnect(self._mask_changed)
        with suppress(RuntimeError):  # at the application's end Qt has deleted it already
            self._reporting.stop()
            self._pasted.stop()
            self._styled.stop()

    def flip_selected(self) -> bool:
        """Turn the selected clicks from inside to outside, or back; return whether any are."""
        layer, rows = self.layer, sorted(self.layer.selected_data)
        if layer.mode != Mode.SELECT or not rows or len(layer.data) != len(self._rows.ids):
            return False
        book = self._session.prompts
        clicks = [book.click(int(self._rows.ids[row])) for row in rows]
        self._session.prompts = book.with_changed(
            *(replace(click, label=1 - click.label) for click in clicks)
        )
        layer.selected_data = set(rows)
        return True

    def _watch_click(self, layer: Points, event: Any) -> Iterator[None]:
        """Set the sign of the next point by the mouse button, which napari itself ignores."""
        self._gesture = None
        if layer.mode != Mode.ADD:
            return
        if broken_columns(layer.features):
            self._read()
        self._set_defaults(1 - self._sign() if event.button == 2 else self._sign())
        held, start = event.modifiers, np.asarray(event.pos)
        self._gesture = _Gesture(event.button, "Shift" in held, "Control" in held)
        yield
        while event.type == "mouse_move":
            yield
        if np.linalg.norm(start - event.pos) >= _DRAG:
            self._gesture = None

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
        if self._writing or event.action not in _DONE:
            return
        gesture, self._gesture = self._gesture, None
        is_one_more = len(self.layer.data) == len(self._rows.ids) + 1
        if gesture is not None and event.action == ActionType.ADDED and is_one_more:
            self._clicked(gesture)
        else:
            self._read()

    def _clicked(self, gesture: _Gesture) -> None:
        """Apply a click for which napari has added a point; remove the point if it is no prompt."""
        self._is_clicking = True
        try:
            self._apply(gesture)
        finally:
            self._is_clicking = False

    def _apply(self, gesture: _Gesture) -> None:
        before, session = self._session.prompts, self._session
        at, label = np.asarray(self.layer.data[-1], float), self.layer.features["label"].iloc[-1]
        try:
            plane, point = plane_and_point(at, self._plane())
            if gesture.control and gesture.button == 2:
                session.correct(plane, point, 0)
            elif gesture.control and gesture.shift:
                session.correct(plane, point, 1)
            elif gesture.control:
                session.go_to(plane, point)
            else:
                continues = gesture.shift or gesture.button == 2
                session.click(plane, point, sign_of(label), continues)
        except (ValueError, OSError) as error:
            self._refused(error)
        if session.prompts is before and len(self.layer.data) == len(self._rows.ids) + 1:
            self._writing = True
            try:
                self.layer.remove([len(self._rows.ids)])
            finally:
                self._writing = False

    def _features_edited(self, event: Any = None) -> None:
        if self._writing:
            return
        table, shown = self.layer.features, self._rows.columns
        broken = broken_columns(table)
        others = differing(table, shown, [*shown])
        if not others and not broken:
            return  # napari emits this event after every edit of the points
        changed = [name for name in others if name in REPORTED]
        if changed and not broken:
            self._refused(
                ValueError(
                    f"expected the columns {', '.join(changed)} of the prompts as they were: they "
                    "say what the model saw, and were put back; edit label or object"
                )
            )
        self._read()

    def _drawn(self, event: Any = None) -> None:
        """Check for pasted points: napari draws them without an event for them."""
        if not self._writing and len(self.layer.data) != self._session.prompts.click_count:
            self._pasted.start()

    def _read_pasted(self) -> None:
        if len(self.layer.data) != self._session.prompts.click_count:
            self._read()

    def _read(self) -> None:
        before = self._session.prompts
        try:
            book = self._edited(before)
            if book != before:
                self._session.prompts = book
                return  # they are shown by now
        except ValueError as error:
            self._refused(error)
        self._show_all()

    def _edited(self, book: PromptBook) -> PromptBook:
        """Return a book with the clicks of the layer; new ones belong to the current object."""
        kept = self._kept_rows() if book is self._rows.book else None
        if kept is None:
            return book.with_all_clicks(self._all_clicks(book))
        table, data, shown = self.layer.features, self.layer.data, self._rows
        count = len(kept)
        edited = np.any(data[:count] != shown.data[kept], axis=1)
        for name in ("label", "object"):
            edited |= (table[name].to_numpy()[:count] != shown.columns[name][kept]).astype(bool)
        known = [
            (row, book.click(int(shown.ids[kept[row]]))) for row in np.flatnonzero(edited).tolist()
        ]
        changed = [
            self._click(data[row], click.plane, table["label"].iloc[row],
                        object_of(table["object"].iloc[row]), click.id)
            for row, click in known
        ]  # fmt: skip
        fresh = [
            self._click(data[row], self._plane(), table["label"].iloc[row],
                        self._session.object_id, book.next_id + row - count)
            for row in range(count, len(data))
        ]  # fmt: skip
        gone = np.delete(shown.ids, kept).tolist()
        return (
            book.without(gone).with_changed(*changed).with_clicks(fresh, self._session.granularity)
        )

    def _kept_rows(self) -> NDArray[np.intp] | None:
        """Return which of the rows shown last are the first rows of the layer, in their order.

        None if the layer begins with other rows, or if its rows can't be identified any more.
        """
        table, shown = self.layer.features, self._rows.ids
        if broken_columns(table) or len(table) != len(self.layer.data):
            return None
        ids = table["id"].to_numpy()
        none_gone = len(ids) >= len(shown)
        kept = np.arange(len(shown)) if none_gone else np.flatnonzero(np.isin(shown, ids))
        return kept if np.array_equal(ids[: len(kept)], shown[kept]) else None

    def _click(self, at: Any, pattern: Plane, label: Any, object_id: int, click_id: int) -> Click:
        plane, point = plane_and_point(np.asarray(at, float), pattern)
        plane = self._session.source.plane_of(plane)
        return Click(click_id, object_id, plane, point, sign_of(label))

    def _all_clicks(self, book: PromptBook) -> list[Click]:
        """Return the layer's rows as clicks, in whatever order, with new clicks among them."""
        known = {click.id: click for click in book.clicks}
        next_id, clicks = book.next_id, {}
        for at, label, object_id, click_id in self._cells(book):
            if click_id in known and click_id not in clicks:
                number, pattern = object_of(object_id), known[click_id].plane
                clicks[click_id] = self._click(at, pattern, label, number, int(click_id))
            else:
                number, pattern = self._session.object_id, self._plane()
                clicks[next_id] = self._click(at, pattern, label, number, next_id)
                next_id += 1
        return [*clicks.values()]

    def _cells(self, book: PromptBook) -> Iterator[tuple[Any, Any, Any, Any]]:
        """Yield position, label, object and id of each row.

        If columns were removed, rows are identified by their order: napari appends new points.
        """
        table, data = self.layer.features, self.layer.data
        broken = broken_columns(table)
        if not broken:
            yield from zip(data, table["label"], table["object"], table["id"], strict=True)
            return
        self._refused(
            ValueError(
                f"expected the columns {', '.join(EDITED + REPORTED)} in the features of the "
                f"prompts, which say what each point means; {', '.join(broken)} were removed, and "
                "are put back"
            )
        )
        clicks = book.clicks
        if len(data) < len(clicks):  # it isn't known which ones were deleted
            data = np.array([coordinates_of(click.plane, click.point) for click in clicks])
        for at, click in zip(data, clicks, strict=False):
            yield at, SIGN_NAMES[click.label], click.object_id, click.id
        for at in data[len(clicks) :]:
            yield at, SIGN_NAMES[self._sign()], self._session.object_id, 0

    def _show(self) -> None:
        """Update the layer's rows for prompts that have changed since the last call."""
        change = self._rows.after(self._session.prompts, self._session)
        shown, self._rows = self._rows, change.now
        layer = self.layer
        self._writing = True
        try:
            if len(change.gone) and len(layer.data) == len(shown.data):
                layer.remove(change.gone.tolist())
            self._put_data()
            self._put_features(change.touched)
        finally:
            self._writing = False
        self._unstyled = np.union1d(self._unstyled, change.touched)
        if not np.array_equal(layer.features["id"], self._rows.ids):
            self._show_all()
        elif self._is_clicking:  # the new point has the style of its sign already
            self._styled.start()
        else:
            self._style()

    def _show_all(self) -> None:
        """Fill the layer anew with all prompts of the session."""
        self._rows = ClickRows.of(self._session.prompts, self._session, self.layer.ndim)
        self._unstyled = np.empty(0, np.intp)
        features = with_users_columns(self._rows.columns, self.layer.features)
        self._writing = True
        try:
            self._put_data()
            table = self.layer.features
            if [*table.columns] != [*features] or differing(table, features, [*features]):
                self.layer.features = features
            style_points(self.layer, self._session.object_id)
        finally:
            self._writing = False
        self._set_defaults(self._sign())

    def _show_current(self, *_: object) -> None:
        """Show which object is the current one."""
        if self._is_clicking:
            self._styled.start()
        else:
            self._style()

    def _style(self) -> None:
        """Colour the points by sign and by object, and the next point by its sign."""
        rows = self._unstyled[self._unstyled < len(self.layer.features)]
        self._unstyled = np.empty(0, np.intp)
        self._writing = True
        try:
            style_points(self.layer, self._session.object_id, rows)
        finally:
            self._writing = False
        self._set_defaults(self._sign())

    def _put_data(self) -> None:
        layer, data = self.layer, self._rows.data
        if not np.array_equal(data, layer.data):
            with _one_refresh(layer, len(data)):
                layer.selected_data = set()
                layer.data = data.copy()  # napari moves points in it

    def _put_features(self, rows: NDArray[np.intp]) -> None:
        """Update some rows of the layer's table; the user's own columns stay."""
        columns, layer = self._rows.columns, self.layer
        table = layer.features
        if not len(rows):
            return
        if len(rows) > _MANY or len(table) != len(self._rows.ids) or broken_columns(table):
            layer.features = with_users_columns(columns, table)
            return
        for name, values in columns.items():
            at = table.columns.get_loc(name)
            for row in rows.tolist():
                if table.iat[row, at] != values[row]:
                    table.iat[row, at] = values[row]
        layer.events.properties()
        layer.events.features()

    def _mask_changed(self, object_id: int, plane: Plane) -> None:
        self._answered.add((object_id, plane))
        self._reporting.start(_REPORT_MS[len(self.layer.data) > _MANY])

    def _report_masks(self) -> None:
        """Update the columns that report the model's input for masks that have arrived."""
        is_behind = len(self.layer.data) != len(self._rows.ids)
        if is_behind or self._session.prompts is not self._rows.book:
            return  # edits are read and shown first, after which this is called again
        change = self._rows.with_reports(self._answered, self._session)
        self._answered.clear()
        self._rows = change.now
        self._writing = True
        try:
            self._put_features(change.touched)
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
    """Slice and draw a layer once instead of after each property, if napari allows it.

    Not if points are removed: napari would draw removed points until the layer is sliced again.
    """
    block = getattr(layer, "_block_refresh", None)
    if block is None or count <= len(layer.data):
        yield
        return
    with block():
        yield
    layer.refresh()
