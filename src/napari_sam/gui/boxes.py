"""The Shapes layer as an editor of a session's boxes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from napari.layers import Shapes
from napari.layers.base import ActionType
from napari.layers.shapes._shapes_constants import Mode
from numpy.typing import NDArray

from napari_sam.gui.planes import coordinates_of
from napari_sam.gui.prompt_columns import with_users_columns
from napari_sam.prompts import Box
from napari_sam.session import BoxPrompt, Plane, PromptBook, Session, plane_axes
from napari_sam.session.prompt_book import changed_keys

_DONE = (ActionType.ADDED, ActionType.REMOVED, ActionType.CHANGED)
_DRAWN_BY_DRAGGING = (Mode.ADD_RECTANGLE, Mode.ADD_ELLIPSE)
_LEAST_DRAG = 3  # pixels of the screen, in both directions
_MANY = 200  # rows changed at once: then the layer is filled anew


class BoxEditor:
    """Turns edits of a Shapes layer into commands of a session, and shows the session's boxes.

    A box's row is known by the feature ``id``; rows of others are left alone when one changes.
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
        self._shown = _Rows(
            PromptBook(), np.empty(0, int), np.empty(0, np.uint64), np.empty((0, 4, layer.ndim))
        )
        layer.mouse_drag_callbacks.insert(0, self._watch_drag)
        layer.events.data.connect(self._edited)
        session.prompts_changed.connect(self._show)
        session.object_changed.connect(self._set_defaults)
        self._show_all()

    def close(self) -> None:
        """Let go of the layer."""
        if self._watch_drag in self.layer.mouse_drag_callbacks:
            self.layer.mouse_drag_callbacks.remove(self._watch_drag)
        self.layer.events.data.disconnect(self._edited)
        self._session.prompts_changed.disconnect(self._show)
        self._session.object_changed.disconnect(self._set_defaults)

    @property
    def tool(self) -> Literal["", "box"]:
        """What is drawn next; nothing while shapes are edited."""
        return "box" if str(self.layer.mode).startswith("add") else ""

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
        """Return the session's prompts with the layer's boxes, and the object of a new one."""
        kept = self._kept_rows() if book is self._shown.book else None
        if kept is None:
            return self._read_all(book)
        data, shown = self.layer.data, self._shown
        count = len(kept)
        changed = []
        for row in _differing(data[:count], shown.corners[kept]):
            old = book.find(int(shown.ids[kept[row]]))
            assert isinstance(old, BoxPrompt), "a row of a box that there isn't"
            plane, box = _plane_and_box(data[row], old.plane)
            changed.append(replace(old, plane=plane, box=box))
        gone = np.delete(shown.ids, kept).tolist()
        book = book.without(gone) if gone else book
        book = book.with_changed(*changed) if changed else book
        return self._with_fresh(book, data[count:])

    def _kept_rows(self) -> NDArray[np.intp] | None:
        """Return which of the rows that were shown come first in the layer, in their order.

        None where others come first, or it isn't known any more which they are.
        """
        ids, shown = self._layer_ids(), self._shown.ids
        if ids is None:
            return None
        none_gone = len(ids) >= len(shown)
        kept = np.arange(len(shown)) if none_gone else np.flatnonzero(np.isin(shown, ids))
        return kept if np.array_equal(ids[: len(kept)], shown[kept]) else None

    def _layer_ids(self) -> NDArray[Any] | None:
        """Return the identifier of each row; None where the column was removed or has gaps."""
        table = self.layer.features
        if "id" not in table or len(table) != self.layer.nshapes or table["id"].isna().any():
            return None
        return table["id"].to_numpy()

    def _read_all(self, book: PromptBook) -> tuple[PromptBook, int | None]:
        """Return the same, wherever the rows are by now."""
        known = {box.id: box for box in book.boxes}
        old, fresh = {}, []
        for corners, box_id in zip(self.layer.data, self._ids(), strict=True):
            if box_id in known and box_id not in old:
                plane, box = _plane_and_box(corners, known[box_id].plane)
                old[box_id] = replace(known[box_id], plane=plane, box=box)
                continue
            fresh.append(corners)
        boxes: tuple[BoxPrompt, ...] = tuple(old[i] for i in known if i in old)
        return self._with_fresh(book.with_all_boxes(boxes), fresh)

    def _with_fresh(self, book: PromptBook, fresh: Sequence[Any]) -> tuple[PromptBook, int | None]:
        """Return a book with boxes that were drawn, and the object of the first of them."""
        newest = None
        for corners in fresh:
            plane, box = _plane_and_box(corners, self._plane())
            plane = self._session.source.plane_of(plane)
            if newest is None:
                newest = self._session.object_for_box(plane, box)
            else:
                newest = max(self._session.highest_object, book.highest_object) + 1
            book = book.with_box((newest, plane), box)
        return book, newest

    def _ids(self) -> list[Any]:
        """Return the identifier of each row; where the column was removed, by place."""
        ids = self._layer_ids()
        if ids is not None:
            return ids.tolist()
        self._refused(
            ValueError(
                "expected the columns object and id in the features of the boxes, which say what "
                "each means; they were removed, and are put back"
            )
        )
        count = self.layer.nshapes
        return (self._shown.ids.tolist() + [0] * count)[:count]

    def _show(self, *_: object) -> None:
        """Show what has changed since boxes were shown last."""
        book, table, kept = self._session.prompts, self.layer.features, self._kept_rows()
        keys = changed_keys(self._shown.book, book)
        pairs = [(self._shown.book.box_of(key), book.box_of(key)) for key in keys]
        changed = {new.id: new for old, new in pairs if new is not None and new != old}
        gone = {old.id for old, _ in pairs if old is not None}
        gone -= {new.id for _, new in pairs if new is not None}
        if kept is None or "object" not in table or len(changed) + len(gone) > _MANY:
            self._show_all()
            return
        ids = self._shown.ids[kept]
        drawn = range(len(ids), self.layer.nshapes)
        if not changed and not gone and not drawn and len(kept) == len(self._shown.ids):
            self._shown = replace(self._shown, book=book)
        else:
            self._writing = True
            try:
                self._show_rows(book, kept, changed, gone)
            finally:
                self._writing = False
        if len(self._shown.ids) != book.box_count or not self._is_told():
            self._show_all()
        self._set_defaults()

    def _show_rows(
        self,
        book: PromptBook,
        kept: NDArray[np.intp],
        changed: dict[int, BoxPrompt],
        gone: set[int],
    ) -> None:
        """Show some boxes: in the rows where they are already, else in new ones at the end."""
        layer, count = self.layer, len(kept)
        data = layer.data
        ids = np.concatenate([self._shown.ids[kept], np.zeros(len(data) - count, int)])
        objects = np.concatenate(
            [self._shown.objects[kept], np.zeros(len(data) - count, np.uint64)]
        )
        corners = np.concatenate(
            [self._shown.corners[kept], np.zeros((len(data) - count, 4, layer.ndim))]
        )
        stays = ~np.isin(ids, [*gone, 0])
        places = {int(i): int(row) for row, i in enumerate(ids) if i in changed}
        drawn, added = iter(range(count, len(data))), []
        for box_id in sorted(changed):
            row = places.get(box_id)
            if row is None:
                row = next(drawn, None)
            is_there = row is not None and _is_box(data[row], changed[box_id])
            if not is_there:
                added.append(box_id)
            if row is not None:
                ids[row], stays[row] = box_id, is_there
                corners[row] = data[row] if is_there else 0.0
        if not stays.all():
            layer.remove(np.flatnonzero(~stays).tolist())
        fresh = [_corners(changed[i]) for i in added]
        if fresh:
            layer.add(fresh, shape_type="rectangle")
        ids = np.concatenate([ids[stays], np.array(added, int)])
        corners = np.concatenate([corners[stays], np.reshape(fresh, (-1, 4, layer.ndim))])
        objects = np.concatenate([objects[stays], np.zeros(len(added), np.uint64)])
        table = layer.features
        for row in np.flatnonzero(np.isin(ids, [*changed])).tolist():
            objects[row] = changed[int(ids[row])].object_id
            table.iat[row, table.columns.get_loc("object")] = objects[row]
            table.iat[row, table.columns.get_loc("id")] = ids[row]
        self._shown = _Rows(book, ids, objects, corners)
        layer.events.properties()
        layer.events.features()

    def _is_told(self) -> bool:
        """Whether the layer's table says what its rows are."""
        table, shown = self.layer.features, self._shown
        return all(
            name in table and np.array_equal(table[name], values)
            for name, values in (("id", shown.ids), ("object", shown.objects))
        )

    def _show_all(self) -> None:
        """Put everything in the layer that should be there."""
        boxes, shown = self._session.prompts.boxes, self.layer.data
        same = len(shown) == len(boxes) and all(map(_is_box, shown, boxes))
        columns = {
            "object": np.array([b.object_id for b in boxes], np.uint64),
            "id": np.array([b.id for b in boxes], int),
        }
        features = with_users_columns(columns, self.layer.features)
        self._writing = True
        try:
            if not same:
                self.layer.selected_data = set()
                self.layer.data = [(_corners(box), "rectangle") for box in boxes]
            table = self.layer.features
            if any(k not in table or not np.array_equal(v, table[k]) for k, v in columns.items()):
                self.layer.features = features
        finally:
            self._writing = False
        corners = np.reshape([*self.layer.data], (-1, 4, self.layer.ndim))
        self._shown = _Rows(self._session.prompts, columns["id"], columns["object"], corners)
        self._set_defaults()

    def _set_defaults(self, *_: object) -> None:
        """Say which object napari gives to a row of its own, until it is read."""
        values, shown = {"object": self._session.object_id, "id": 0}, self.layer.feature_defaults
        if any(name not in shown for name in values):
            return  # they are put back when boxes are shown next
        if any(shown[name].iloc[0] != value for name, value in values.items()):
            self.layer.feature_defaults = {**dict.fromkeys(shown), **values}


@dataclass(frozen=True, eq=False)
class _Rows:
    """What the layer shows.

    Parameters
    ----------
    book
        Whose boxes.
    ids
        `(N,)` identifier of each row.
    objects
        `(N,)` object of each row.
    corners
        `(N, 4, ndim)` coordinates of each row.
    """

    book: PromptBook
    ids: NDArray[np.int64]
    objects: NDArray[np.uint64]
    corners: NDArray[np.float64]


def _differing(data: Sequence[Any], corners: NDArray[np.float64]) -> list[int]:
    """Return which shapes have other corners than these `(N, 4, ndim)`."""
    differs = np.fromiter((len(shape) != 4 for shape in data), bool, len(data))
    same = np.flatnonzero(~differs)
    if len(same):
        now = np.concatenate([data[row] for row in same.tolist()]).reshape(corners[same].shape)
        differs[same] = (now != corners[same]).any((1, 2))
    return np.flatnonzero(differs).tolist()


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


def _is_box(corners: Any, box: BoxPrompt) -> bool:
    """Whether a shape has the corners of a box, from whichever it begins."""
    wanted = _corners(box)
    return np.array_equal(corners, wanted) or np.array_equal(_ordered(corners), _ordered(wanted))


def _ordered(corners: Any) -> np.ndarray:
    corners = np.asarray(corners, float)
    return corners[np.lexsort(corners.T)]
