"""Section of the dock with the table of objects, and actions on the selected ones; collapsed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from qtpy.QtCore import QItemSelectionModel, Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QLabel,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from napari_sam.gui.annotation import Annotation
from napari_sam.gui.classes_section import ClassesSection
from napari_sam.gui.controller import Controller
from napari_sam.gui.controls import Fold, button, check, combo, fill, line, quietly, rule
from napari_sam.gui.delay import Delay
from napari_sam.gui.key_table import with_key
from napari_sam.gui.mask_style import COLOURS, Colours, colour_masks, colours_of, outline_masks
from napari_sam.gui.object_model import ObjectModel
from napari_sam.gui.outlines import move_outlines
from napari_sam.gui.section import Section
from napari_sam.planes import plane_axes
from napari_sam.prompts import Box
from napari_sam.session import Plane, Session

_COLOURS_MS = 150  # so that several classes assigned in a row recolour the masks once
_ROWS, _ROW = 9, 20  # rows on screen, and height of each in pixels
_WIDTHS = (46, 60, 78, 56, 50, 52, 56, 48, 52)


@dataclass(frozen=True, slots=True)
class ObjectsState:
    """The state of the section, apart from the rows of the table.

    Parameters
    ----------
    visible
        Whether an image is chosen.
    count
        Number of objects; None while the section is collapsed.
    counting
        Whether labels are still being counted, so that there may be more objects.
    chosen
        Number of selected rows.
    unlock
        Whether all selected objects are locked.
    hides_others, outlined
        Whether only the current object's mask is shown, and whether masks are outlines.
    has_masks
        Whether there is a layer of masks.
    cutting
        Whether the next drag cuts the current object.
    colours
        What gives masks their colours.
    """

    visible: bool = False
    count: int | None = None
    counting: bool = False
    chosen: int = 0
    unlock: bool = False
    hides_others: bool = False
    outlined: bool = False
    has_masks: bool = False
    cutting: bool = False
    colours: Colours = "by number"


class ObjectTableView(QTableView):
    """The table of objects.

    Attributes
    ----------
    went
        Signal: the user went to a row with mouse or keys; emits the row.
    deleted
        Signal: the user pressed Delete.
    chose
        Signal: the selection changed.
    """

    went = Signal(int)
    deleted = Signal()
    chose = Signal()

    def __init__(self, model: ObjectModel) -> None:
        super().__init__()
        self.setModel(model)
        self.setAccessibleName("objects")
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.DoubleClicked)
        self.setWordWrap(False)
        self.setShowGrid(False)
        self.setTabKeyNavigation(False)
        self.setFixedHeight((_ROWS + 1) * _ROW + 8)
        rows, columns = self.verticalHeader(), self.horizontalHeader()
        assert rows is not None
        assert columns is not None
        rows.setVisible(False)
        rows.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        rows.setDefaultSectionSize(_ROW)
        for column, width in enumerate(_WIDTHS):
            self.setColumnWidth(column, width)
        columns.setStretchLastSection(True)
        columns.setHighlightSections(False)
        self.sortByColumn(0, Qt.SortOrder.AscendingOrder)
        self.setSortingEnabled(True)
        self.clicked.connect(lambda index: self.went.emit(index.row()))
        selection = self.selectionModel()
        assert selection is not None
        selection.selectionChanged.connect(lambda *_: self.chose.emit())

    @property
    def rows(self) -> list[int]:
        """The selected rows, from the top."""
        selection = self.selectionModel()
        assert selection is not None
        rows: set[int] = set()
        parts: Any = selection.selection()  # ranges: few, even of fifty thousand rows
        for part in parts:
            rows.update(range(part.top(), part.bottom() + 1))
        return sorted(rows)

    def select(self, row: int | None) -> None:
        """Select a single row and scroll to it, or with None clear the selection."""
        selection = self.selectionModel()
        model = self.model()
        assert selection is not None
        assert model is not None
        if row is None:
            selection.clear()
            return
        if row in self.rows:
            return
        flags = QItemSelectionModel.SelectionFlag
        index = model.index(row, 0)
        selection.setCurrentIndex(index, flags.ClearAndSelect | flags.Rows)
        self.scrollTo(index)

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Emit `deleted` for Delete, and `went` if another key moves to another row."""
        before = self.currentIndex().row()
        editing = self.state() == QAbstractItemView.State.EditingState
        if event is not None and event.key() == Qt.Key.Key_Delete and not editing:
            self.deleted.emit()
            return
        super().keyPressEvent(event)
        after = self.currentIndex().row()
        if after not in (before, -1):
            self.went.emit(after)


class ObjectsSection(Section[ObjectsState]):
    """The table of objects, and actions on the selected ones.

    Labels are counted when the section is opened for the first time.
    """

    def __init__(self, controller: Controller) -> None:
        super().__init__(controller)
        self._followed: Session | None = None
        self.model = ObjectModel(self._renumber)
        self.table = ObjectTableView(self.model)
        self.cut = controller.cut
        self._soon = Delay(0, self.refresh, self)
        self.accept = button("Accept", "mark the selected objects as right")
        self.delete = button(
            "Delete", "delete the selected objects, on all planes (Delete in the table)"
        )
        self.delete_here = button(
            "Delete here", "delete the selected objects on the plane shown only"
        )
        self.merge = button("Merge", "merge two selected objects into the upper one")
        self.split = button("Split", with_key("cut the current object by a stroke", "cut_object"))
        self.split.setCheckable(True)
        self.lock = button("Lock", "")
        self.narrow = button(
            "Narrow",
            with_key("move their outlines inwards by a pixel on the plane shown", "narrow_object"),
        )
        self.widen = button(
            "Widen",
            with_key(
                "move their outlines outwards by a pixel on the plane shown, into the background",
                "widen_object",
            ),
        )
        self.hide_others = check("hide others", "show only the current object's mask")
        self.outlines = check("outlines", with_key("show masks as outlines", "toggle_outlines"))
        self.colours = combo("what gives masks their colours")
        self.classes = ClassesSection(controller, lambda: self.selected)
        self._recolouring = Delay(_COLOURS_MS, self._colour_by_class, self)
        inside = QWidget()
        column = QVBoxLayout(inside)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.table)
        column.addLayout(line(self.accept, self.delete, self.delete_here))
        column.addLayout(line(self.merge, self.split, self.lock))
        column.addLayout(line(self.narrow, self.widen))
        column.addLayout(line(self.hide_others, self.outlines))
        column.addLayout(line(QLabel("Colours"), self.colours))
        column.addWidget(self.classes)
        self.fold = Fold("Objects", inside)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(rule())
        outer.addWidget(self.fold)
        self.fold.toggled.connect(self._toggled)
        self.table.went.connect(self._go)
        self.table.deleted.connect(self._delete)
        self.table.chose.connect(self.refresh)
        self.accept.clicked.connect(self._accept)
        self.delete.clicked.connect(self._delete)
        self.delete_here.clicked.connect(self._delete_here)
        self.merge.clicked.connect(self._merge)
        self.lock.clicked.connect(self._lock)
        self.split.clicked.connect(self._cut)
        self.narrow.clicked.connect(partial(self._move_outlines, -1))
        self.widen.clicked.connect(partial(self._move_outlines, 1))
        self.hide_others.toggled.connect(self._hide_others)
        self.outlines.toggled.connect(self._outline)
        self.colours.activated.connect(self._colour)
        self.cut.changed.connect(self.redraw)

    # What is shown

    def _state(self) -> ObjectsState:
        annotation = self._controller.annotation
        if annotation is None:
            return ObjectsState()
        session, masks = annotation.session, annotation.labels
        is_open = self.fold.is_expanded
        self._follow(annotation if is_open else None)
        ids = self.selected if is_open else []
        return ObjectsState(
            True,
            len(session.object_ids) if is_open else None,
            is_open and session.is_counting,
            len(ids),
            bool(ids) and all(session.facts(i).locked for i in ids),
            masks is not None and bool(masks.show_selected_label),
            masks is not None and masks.contour > 0,
            masks is not None,
            self.cut.is_waiting,
            "by number" if masks is None else colours_of(masks),
        )

    def refresh(self) -> None:
        """Update the section, and that of the classes in it."""
        super().refresh()
        self.classes.refresh()

    def _draw(self, state: ObjectsState) -> None:
        self.setVisible(state.visible)
        count = "" if state.count is None else f" ({state.count}{'…' * state.counting})"
        self.fold.set_title(f"Objects{count}")
        for control in (
            self.accept, self.delete, self.delete_here, self.lock, self.narrow, self.widen,
        ):  # fmt: skip
            control.setEnabled(state.chosen > 0)
        self.merge.setEnabled(state.chosen == 2)
        self.lock.setText("Unlock" if state.unlock else "Lock")
        self.lock.setToolTip(
            "allow changes to the selected objects"
            if state.unlock
            else "protect the selected objects from changes"
        )
        with quietly(self.hide_others, self.outlines, self.split):
            self.hide_others.setChecked(state.hides_others)
            self.outlines.setChecked(state.outlined)
            self.split.setChecked(state.cutting)
        self.split.setText("draw across…" if state.cutting else "Split")
        fill(self.colours, [(one, one) for one in COLOURS], state.colours)
        self.colours.setEnabled(state.has_masks)
        self.hide_others.setEnabled(state.has_masks)
        self.outlines.setEnabled(state.has_masks)

    @property
    def selected(self) -> list[int]:
        """The ids of the selected objects, from the top."""
        return [self.model.object_at(row) for row in self.table.rows]

    def _follow(self, annotation: Annotation | None) -> None:
        """Show the objects of an annotation's session; None disconnects from the last one."""
        session = None if annotation is None else annotation.session
        if session is self._followed:
            return
        for verb, one in (("disconnect", self._followed), ("connect", session)):
            if one is not None:
                getattr(one.objects_changed, verb)(self._objects_changed)
                getattr(one.object_changed, verb)(self._show_current)
                getattr(one.classes_changed, verb)(self._classes_changed)
                getattr(one.facts_changed, verb)(self._recolouring.start)
        self._followed = session
        if annotation is None:
            self.model.use(None)
        else:
            self.model.use(session, *_pixel_of(annotation))
            self._show_current()

    def _objects_changed(self, changed: tuple[int, ...] | None) -> None:
        self.model.follow(changed)
        if changed is None:
            self._show_current()
        self._soon.start()

    def _classes_changed(self) -> None:
        self.model.list_anew()
        self._show_current()
        self._recolouring.start()
        self._soon.start()

    def _show_current(self, *_: object) -> None:
        """Select the current object's row, unless it is one of those selected."""
        if self._followed is not None:
            self.table.select(self.model.row_of(self._followed.object_id))

    def _toggled(self, expanded: bool) -> None:
        self.refresh()

    # Actions of the user

    def _go(self, row: int) -> None:
        """Make a row's object current, and show it."""
        annotation = self._controller.annotation
        if annotation is not None:
            self._attempt(partial(go_to, annotation, self.model.object_at(row)))

    def _do(self, command: Callable[[Session, list[int]], Any]) -> None:
        """Call a function with the session and the ids of the selected objects."""
        annotation, ids = self._controller.annotation, self.selected
        if annotation is not None and ids:
            self._attempt(lambda: command(annotation.session, ids))

    def _accept(self) -> None:
        self._do(lambda session, ids: session.accept(ids))

    def _delete(self) -> None:
        self._do(lambda session, ids: session.delete_objects(ids))

    def _delete_here(self) -> None:
        annotation = self._controller.annotation
        if annotation is not None:
            self._do(lambda s, ids: s.delete_objects(ids, annotation.plane_to_prompt()))

    def _merge(self) -> None:
        self._do(lambda session, ids: session.merge_objects(*ids[:2]))

    def _lock(self) -> None:
        unlock = self.shown.unlock
        self._do(lambda session, ids: session.lock(ids, not unlock))

    def _move_outlines(self, pixels: int, *_: object) -> None:
        annotation = self._controller.annotation
        if annotation is not None:
            self._do(lambda _, ids: move_outlines(annotation, pixels, ids))

    def _renumber(self, object_id: int, new: int) -> None:
        annotation = self._controller.annotation
        if annotation is not None:
            self._attempt(partial(annotation.session.renumber, object_id, new))

    def _cut(self) -> None:
        annotation = self._controller.annotation
        if annotation is not None:
            self.cut.toggle(annotation)

    def _colour(self, *_: object) -> None:
        annotation = self._controller.annotation
        if annotation is not None:
            colour_masks(annotation, self.colours.currentData(), self._controller.engine)
        self.redraw()

    def _colour_by_class(self) -> None:
        """Update the colours of masks if they show the classes."""
        annotation = self._controller.annotation
        masks = None if annotation is None else annotation.labels
        if annotation is not None and masks is not None and colours_of(masks) == "by class":
            colour_masks(annotation, "by class", self._controller.engine)

    def _hide_others(self, on: bool) -> None:
        annotation = self._controller.annotation
        if annotation is not None and annotation.labels is not None:
            annotation.labels.show_selected_label = on
        self.redraw()

    def _outline(self, on: bool) -> None:
        annotation = self._controller.annotation
        if annotation is not None and annotation.labels is not None:
            outline_masks(annotation, on)
        self.redraw()


def go_to(annotation: Annotation, object_id: int) -> None:
    """Make an object current, and bring it into view."""
    session, shown = annotation.session, annotation.displayed()
    session.object_id = object_id
    place = session.object_place(object_id, shown)
    if place is not None:
        plane, box = place
        annotation.bring_into_view(*_along(plane, box, shown))


def _along(plane: Plane, box: Box, shown: Plane | None) -> tuple[Plane, Box]:
    """Return the plane and box of an object for a plane that spans the axes on screen."""
    if shown is None or plane_axes(plane) == plane_axes(shown):
        return plane, box
    middle = {
        axis: round((low + high) / 2)
        for axis, low, high in zip(plane_axes(plane), box[:2], box[2:], strict=True)
    }
    at = [middle.get(axis, 0 if i is None else i) for axis, i in enumerate(plane)]
    other = tuple(None if i is None else at[axis] for axis, i in enumerate(shown))
    row, column = (at[axis] for axis in plane_axes(shown))
    return other, (row, column, row, column)


def _pixel_of(annotation: Annotation) -> tuple[float, str]:
    """Return the area of a pixel, and its unit."""
    plane = annotation.displayed()
    if plane is None:
        return 1.0, "px"
    image = annotation.image
    sizes = [abs(float(image.scale[axis])) for axis in plane_axes(plane)]
    units = {str(image.units[axis]) for axis in plane_axes(plane)}
    if units == {"pixel"} or len(units) > 1:
        return 1.0, "px"
    unit = {"micrometer": "µm", "nanometer": "nm", "millimeter": "mm"}.get(*units, *units)
    return sizes[0] * sizes[1], f"{unit}²"
