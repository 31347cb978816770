"""The Shapes layer as an editor of a session's boxes, strokes and lassos."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from napari.layers import Shapes
from napari.layers.base import ActionType
from numpy.typing import NDArray

from napari_sam.gui.delay import Delay
from napari_sam.gui.layers import (
    SHAPE_COLOURS,
    has_style,
    style_next_shape,
    width_of_shape,
    write_signs,
)
from napari_sam.gui.prompt_columns import with_users_columns
from napari_sam.gui.shape_rows import (
    NEGATIVE,
    SIGNS,
    Kind,
    Shape,
    ShapeChanges,
    ShapeRows,
    bounds,
    is_drawn,
    kind_of,
    moved,
    plane_and_points,
    shape_type_of,
    sign_of,
    vertices_of,
)
from napari_sam.session import Plane, PromptBook, Session
from napari_sam.session.prompt_book import Stroke
from napari_sam.strokes import clip_path

_DONE = (ActionType.ADDED, ActionType.REMOVED, ActionType.CHANGED)
_TOOLS: dict[str, Kind] = {
    "add_rectangle": "box",
    "add_ellipse": "box",
    "add_line": "stroke",
    "add_path": "stroke",
    "add_polyline": "stroke",
    "add_polygon": "lasso",
    "add_polygon_lasso": "lasso",
}
_MODES: dict[Kind, str] = {
    "box": "add_rectangle",
    "stroke": "add_path",
    "lasso": "add_polygon_lasso",
}
_DRAWN = {
    "box": "a box drawn with the mouse button held down, got a click; drag from corner to corner "
    "of the object",
    "stroke": "a stroke drawn with the mouse button held down, got a click; drag along the object",
    "lasso": "a lasso drawn with the mouse button held down, got a click; drag around the object",
}
_BY_DRAGGING = ("add_rectangle", "add_ellipse", "add_line", "add_path", "add_polygon_lasso")
_LEAST_DRAG = 3  # pixels of the screen
_MANY = 200  # rows changed at once: then the layer is filled anew


class ShapeEditor:
    """Turns edits of a Shapes layer into commands of a session, and shows the session's shapes.

    Rectangles and ellipses are boxes, lines and paths are strokes, polygons are lassos. The
    feature ``id`` identifies a prompt's row; other rows stay untouched when one changes.
    :meth:`Session.object_for_box` decides which object a new box or lasso belongs to, and
    :meth:`Session.object_for_stroke` that of a stroke. If several boxes are added at once, each
    after the first starts a new object. A stroke drawn with the right button has the opposite
    sign.

    Parameters
    ----------
    session, layer, plane, sign, refused
        As for :class:`~napari_sam.gui.clicks.ClickEditor`.
    """

    def __init__(
        self,
        session: Session,
        layer: Shapes,
        plane: Callable[[], Plane],
        sign: Callable[[], int],
        refused: Callable[[Exception], None],
    ) -> None:
        self.layer = layer
        self._session = session
        self._plane = plane
        self._sign = sign
        self._refused = refused
        self._writing = False
        self._only_clicked = False
        self._is_refused = False
        self._continues = False
        self._ending = Delay(0, self._end_short)
        self._next_sign = ""
        self._width = float(layer.current_edge_width)
        self._shown = ShapeRows.of(PromptBook())
        layer.mouse_drag_callbacks.insert(0, self._watch_drag)
        layer.events.data.connect(self._edited)
        session.prompts_changed.connect(self._show)
        session.object_changed.connect(self._set_defaults)
        self._show_all()

    def close(self) -> None:
        """Disconnect from the layer and the session."""
        if self._watch_drag in self.layer.mouse_drag_callbacks:
            self.layer.mouse_drag_callbacks.remove(self._watch_drag)
        self._ending.close()
        self.layer.events.data.disconnect(self._edited)
        self._session.prompts_changed.disconnect(self._show)
        self._session.object_changed.disconnect(self._set_defaults)

    @property
    def tool(self) -> Kind | None:
        """The kind of prompt that the next drag draws; None while shapes are edited."""
        return _TOOLS.get(str(self.layer.mode))

    def draw(self, kind: Kind) -> None:
        """Let the next drag in the layer draw a box, a stroke or a lasso."""
        self.layer.mode = _MODES[kind]

    def flip_selected(self) -> bool:
        """Turn the selected strokes from inside to outside, or back; return whether any are."""
        layer, ids = self.layer, self._layer_ids()
        if str(layer.mode) not in ("select", "direct") or ids is None:
            return False
        book, chosen = self._session.prompts, ids[sorted(layer.selected_data)]
        found = [book.find(int(number)) for number in chosen.tolist()]
        strokes = [one for one in found if isinstance(one, Stroke)]
        if not strokes:
            return False
        flipped = [replace(stroke, label=1 - stroke.label) for stroke in strokes]
        self._session.prompts = book.with_changed(*flipped)
        layer.selected_data = set(np.flatnonzero(np.isin(self._shown.ids, chosen)).tolist())
        return True

    def _watch_drag(self, layer: Shapes, event: Any) -> Iterator[None]:
        """Find out the sign of a drag, and whether it is only a click.

        napari draws alike with either button.
        """
        kind, mode = self.tool, str(layer.mode)
        if kind is None or getattr(layer, "_is_creating", False):
            return  # the first corner of a polygon has set the sign
        self._continues = "Shift" in event.modifiers
        sign = self._sign() if event.button != 2 else 1 - self._sign()
        self._set_defaults(sign=SIGNS[sign] if kind == "stroke" else "")
        self._is_refused = kind == "lasso" and event.button == 2
        event.handled = True  # or a drag with the right button would zoom
        start, is_dragged = np.asarray(event.pos), False
        self._only_clicked = mode in _BY_DRAGGING
        yield
        while event.type == "mouse_move":
            event.handled = True
            far = np.abs(event.pos - start) >= _LEAST_DRAG
            is_dragged = bool(np.all(far) if kind == "box" else is_dragged or np.any(far))
            self._only_clicked = mode in _BY_DRAGGING and not is_dragged
            yield
        if mode in ("add_path", "add_polygon_lasso"):
            self._ending.start()

    def _end_short(self) -> None:
        """End a stroke that is too short for napari, which would go on drawing it."""
        layer = self.layer
        if not getattr(layer, "_is_creating", False) or not layer.nshapes:
            return
        short, is_stroke = np.array(layer.data[-1]), self.tool == "stroke"
        only_clicked = self._only_clicked
        self._writing = True
        try:
            layer._finish_drawing()  # which removes it
        finally:
            self._writing = False
        if is_stroke and not only_clicked:
            layer.add(short, shape_type="path")
        else:
            self._only_clicked = False
            self._refused(
                ValueError(f"expected {_DRAWN[self.tool or 'stroke']}, or press G to click")
            )

    def _edited(self, event: Any) -> None:
        if self._writing or event.action not in _DONE:
            return
        only_clicked, self._only_clicked = self._only_clicked, False
        if event.action == ActionType.ADDED:
            self.layer._is_creating = False  # napari sets it only after it has emitted the event
        try:
            if event.action == ActionType.ADDED and only_clicked and self.tool is not None:
                raise ValueError(f"expected {_DRAWN[self.tool]}, or press G to click")
            if event.action == ActionType.ADDED and self._is_refused:
                self._is_refused = False
                raise ValueError(
                    "expected a lasso drawn with the left button, around the object, got one drawn "
                    "with the right; draw a stroke with the right button along the background"
                )
            before = self._session.prompts
            book, newest = self._read(before)
            if book != before:
                self._session.prompts = book  # which shows them
                if newest is not None:
                    self._session.object_id = newest
                return
        except ValueError as error:
            self._refused(error)
        self._show_all()

    def _read(self, book: PromptBook) -> tuple[PromptBook, int | None]:
        """Return the session's prompts with the layer's shapes, and the object of a new one."""
        kept = self._kept_rows() if book is self._shown.book else None
        if kept is None:
            return self._read_all(book)
        data, shown = self.layer.data, self._shown
        count = len(kept)
        changed = []
        for row in shown.edited(data[:count], kept):
            old = book.find(int(shown.ids[kept[row]]))
            assert isinstance(old, Shape), "a row of a shape that there isn't"
            changed.append(moved(old, data[row]))
        gone = np.delete(shown.ids, kept).tolist()
        book = book.without(gone) if gone else book
        book = book.with_changed(*changed) if changed else book
        return self._with_fresh(book, range(count, len(data)))

    def _kept_rows(self) -> NDArray[np.intp] | None:
        """Return which of the rows shown last are the first rows of the layer, in their order.

        None if the layer begins with other rows, or if its rows can't be identified any more.
        """
        ids, shown = self._layer_ids(), self._shown.ids
        if ids is None:
            return None
        none_gone = len(ids) >= len(shown)
        kept = np.arange(len(shown)) if none_gone else np.flatnonzero(np.isin(shown, ids))
        return kept if np.array_equal(ids[: len(kept)], shown[kept]) else None

    def _layer_ids(self) -> NDArray[Any] | None:
        """Return the identifier of each row; None if the column was removed or has gaps."""
        table = self.layer.features
        if "id" not in table or len(table) != self.layer.nshapes or table["id"].isna().any():
            return None
        return table["id"].to_numpy()

    def _read_all(self, book: PromptBook) -> tuple[PromptBook, int | None]:
        """Do the same as :meth:`_read` for rows in any order."""
        changed, fresh, seen = [], [], set()
        for row, (vertices, number) in enumerate(zip(self.layer.data, self._ids(), strict=True)):
            old = book.find(int(number))
            if isinstance(old, Shape) and old.id not in seen:
                seen.add(old.id)
                after = moved(old, vertices)
                changed += [after] if after != old else []
            else:
                fresh.append(row)
        gone = [number for number in ShapeRows.of(book).ids.tolist() if number not in seen]
        book = book.without(gone) if gone else book
        return self._with_fresh(book.with_changed(*changed) if changed else book, fresh)

    def _with_fresh(self, book: PromptBook, rows: Sequence[int]) -> tuple[PromptBook, int | None]:
        """Return a book with shapes that were drawn, and the object of the first of them."""
        newest, first = None, True
        data, types = (self.layer.data, self.layer.shape_type) if len(rows) else ([], [])
        for row in rows:
            kind = kind_of(types[row])
            plane, points = plane_and_points(data[row], self._plane())
            plane = self._session.source.plane_of(plane)
            if kind == "stroke":
                sign = int(self._drawn_sign(row) != NEGATIVE)
                parts = clip_path(points, self._session.source.plane_shape(plane))
                if not parts:
                    raise ValueError("expected a stroke on the image, got one beside it")
                middle = max(parts, key=len)
                owner = self._session.object_for_stroke(plane, middle, sign, self._continues)
                for part in parts:
                    book = book.with_stroke((owner, plane), part, sign)
            else:
                owner = self._session.object_for_box(plane, bounds(points))
                if not first:
                    owner = max(self._session.highest_object, book.highest_object) + 1
                first = False
                key = owner, plane
                if kind == "box":
                    book = book.with_box(key, bounds(points))
                else:
                    book = book.with_lasso(key, points)
            newest = owner if newest is None else newest
        return book, newest

    def _drawn_sign(self, row: int) -> Any:
        table = self.layer.features
        return table["sign"].iloc[row] if "sign" in table else ""

    def _ids(self) -> list[Any]:
        """Return the identifier of each row; by their order if the column was removed."""
        ids = self._layer_ids()
        if ids is not None:
            return ids.tolist()
        self._refused(
            ValueError(
                "expected the columns object, id and sign in the features of the shapes, which "
                "say what each means; they were removed, and are put back"
            )
        )
        count = self.layer.nshapes
        return (self._shown.ids.tolist() + [0] * count)[:count]

    def _show(self, *_: object) -> None:
        """Update the layer's rows for shapes that have changed since the last call."""
        book, table, kept = self._session.prompts, self.layer.features, self._kept_rows()
        changes = ShapeChanges.between(self._shown.book, book)
        count = len(changes.changed) + len(changes.gone)
        if kept is None or count > _MANY or any(name not in table for name in self._shown.columns):
            self._show_all()
            return
        drawn = self.layer.nshapes - len(kept)
        if not count and not drawn and len(kept) == len(self._shown.ids):
            self._shown = replace(self._shown, book=book)
        else:
            self._writing = True
            try:
                self._show_rows(book, kept, changes)
            finally:
                self._writing = False
        if not self._is_table_current():
            self._show_all()
        self._set_defaults()

    def _show_rows(self, book: PromptBook, kept: NDArray[np.intp], changes: ShapeChanges) -> None:
        """Show some shapes: in their rows if they have one, else in new rows at the end."""
        layer, count = self.layer, len(kept)
        data, types = layer.data, layer.shape_type
        rows = self._shown.kept(kept, len(data) - count)
        stays = ~np.isin(rows.ids, [*changes.gone, 0])
        places = {int(i): row for row, i in enumerate(rows.ids) if i in changes.changed}
        drawn, added = iter(range(count, len(data))), []
        for number, shape in sorted(changes.changed.items()):
            row, is_there = places.get(number), True
            if row is not None:
                is_there = rows.signs[row] == sign_of(shape)
            else:
                row = next(drawn, None)
                is_there = row is not None and has_style(layer, row, sign_of(shape))
            is_there = is_there and is_drawn(data[row], types[row], shape)
            if row is not None:
                rows.ids[row], rows.vertices[row], stays[row] = number, data[row], is_there
            if not is_there:
                added.append(shape)
        if not stays.all():
            layer.remove(np.flatnonzero(~stays).tolist())
        self._add(added)
        rows = rows.kept(np.flatnonzero(stays), len(added))
        for row, shape in enumerate(added, len(rows.ids) - len(added)):
            rows.ids[row], rows.vertices[row] = shape.id, vertices_of(shape)
        self._shown = replace(rows, book=book)
        self._put_features(np.flatnonzero(np.isin(rows.ids, [*changes.changed])), changes.changed)

    def _add(self, shapes: Sequence[Shape]) -> None:
        if shapes:
            self.layer.add(
                [vertices_of(shape) for shape in shapes],
                shape_type=[shape_type_of(shape) for shape in shapes],
                edge_color=[SHAPE_COLOURS[sign_of(shape)] for shape in shapes],
                edge_width=[width_of_shape(sign_of(shape), self._width) for shape in shapes],
            )

    def _put_features(self, rows: NDArray[np.intp], shapes: Mapping[int, Shape]) -> None:
        """Write object, id and sign of some rows into the layer's table."""
        table, shown = self.layer.features, self._shown
        for row in rows.tolist():
            shape = shapes[int(shown.ids[row])]
            shown.objects[row], shown.signs[row] = shape.object_id, sign_of(shape)
            for name, values in shown.columns.items():
                table.iat[row, table.columns.get_loc(name)] = values[row]
        self.layer.events.properties()
        self.layer.events.features()
        write_signs(self.layer, shown.signs.tolist())

    def _is_table_current(self) -> bool:
        """Whether the layer's table has the right object, id and sign in every row."""
        table = self.layer.features
        return all(
            name in table and np.array_equal(table[name], values)
            for name, values in self._shown.columns.items()
        )

    def _show_all(self) -> None:
        """Fill the layer anew with all shapes of the session."""
        rows = ShapeRows.of(self._session.prompts)
        found = [self._session.prompts.find(number) for number in rows.ids.tolist()]
        shapes = [one for one in found if isinstance(one, Shape)]
        layer = self.layer
        there = zip(layer.data, layer.shape_type, shapes, strict=False)
        same = layer.nshapes == len(shapes) and all(is_drawn(*row) for row in there)
        features = with_users_columns(rows.columns, layer.features)
        self._writing = True
        try:
            if not same:
                layer.selected_data = set()
                layer.data = []
                self._add(shapes)
            table = layer.features
            if any(not np.array_equal(table.get(k), v) for k, v in rows.columns.items()):
                layer.features = features
            write_signs(layer, rows.signs.tolist())
        finally:
            self._writing = False
        self._shown = replace(rows, vertices=[np.asarray(one, float) for one in layer.data])
        self._set_defaults()

    def _set_defaults(self, *_: object, sign: str | None = None) -> None:
        """Set the features and the style that napari gives to the next shape drawn."""
        shown = self.layer.feature_defaults
        self._next_sign = self._next_sign if sign is None else sign
        if any(name not in shown for name in self._shown.columns):
            return  # they are put back when shapes are shown next
        values = {"object": self._session.object_id, "id": 0, "sign": self._next_sign}
        if any(shown[name].iloc[0] != value for name, value in values.items()):
            self.layer.feature_defaults = {**dict.fromkeys(shown), **values}
        style_next_shape(self.layer, self._next_sign, self._width)
