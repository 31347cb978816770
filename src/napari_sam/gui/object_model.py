"""The objects of a session as a Qt table model, which computes only the cells on screen."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt
from qtpy.QtGui import QColor

from napari_sam.session import ObjectRow, Session

COLUMNS = ("id", "class", "state", "area", "quality", "prompts", "origin", "plane", "seconds")
"""Headings of the columns."""

_TIPS = {
    "id": "number of the object, also its label; double-click to change it",
    "state": "proposed: found by the model, or not finished; accepted; locked",
    "quality": "the IoU that the model predicts, 0 to 1",
    "seconds": "time that you spent on it, without pauses of more than a minute",
}
_SIGNS = {"proposed": "○ proposed", "accepted": "● accepted", "locked": "▣ locked"}
_RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
_CELL = Qt.ItemFlag.ItemIsSelectable | Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemNeverHasChildren
_NUMBER = _CELL | Qt.ItemFlag.ItemIsEditable
_TOP = QModelIndex()


class ObjectModel(QAbstractTableModel):
    """A row for each object, in the order of the last sorting; new objects come at the end.

    When an object changes, its row changes but the table isn't sorted again, so that rows stay in
    place while the user works.

    Parameters
    ----------
    renumber
        Called with an object's id and the new one that the user typed.
    """

    def __init__(self, renumber: Any) -> None:
        super().__init__()
        self._renumber = renumber
        self._session: Session | None = None
        self._ids: list[int] = []
        self._places: dict[int, int] | None = None
        self._sorting = 0, Qt.SortOrder.AscendingOrder
        self._pixel, self._unit = 1.0, "px"
        self._colours: dict[str, str] = {}

    def use(self, session: Session | None, pixel: float = 1.0, unit: str = "px") -> None:
        """Show the objects of a session, or none.

        Parameters
        ----------
        session
            The session whose objects are shown.
        pixel, unit
            Area of a pixel, and the unit of that area.
        """
        self._session, self._pixel, self._unit = session, pixel, unit
        self.list_anew()

    def list_anew(self) -> None:
        """List all objects again, and sort them."""
        self.beginResetModel()
        self._ids = self._sorted()
        self._places = None
        self._colours = {} if self._session is None else _colours(self._session)
        self.endResetModel()

    def follow(self, changed: tuple[int, ...] | None) -> None:
        """Update the rows of objects that changed, are new or are gone; None lists all again."""
        if self._session is None:
            return
        if changed is None:
            self.list_anew()
            return
        for object_id in changed:
            row, exists = self.row_of(object_id), self._row(object_id) is not None
            if row is not None and exists:
                last = len(COLUMNS) - 1
                self.dataChanged.emit(self.index(row, 0), self.index(row, last))
            elif row is not None:
                self.beginRemoveRows(_TOP, row, row)
                del self._ids[row]
                self._places = None
                self.endRemoveRows()
            elif exists:
                end = len(self._ids)
                self.beginInsertRows(_TOP, end, end)
                self._ids.append(object_id)
                if self._places is not None:
                    self._places[object_id] = end
                self.endInsertRows()

    def object_at(self, row: int) -> int:
        """Return the id of the object in a row."""
        return self._ids[row]

    def row_of(self, object_id: int) -> int | None:
        """Return the row of an object; None if it has none."""
        if self._places is None:
            self._places = {object_id: row for row, object_id in enumerate(self._ids)}
        return self._places.get(object_id)

    # Methods that Qt calls

    def rowCount(self, parent: QModelIndex = _TOP) -> int:
        """Return the number of objects."""
        return 0 if parent.isValid() else len(self._ids)

    def columnCount(self, parent: QModelIndex = _TOP) -> int:
        """Return the number of columns."""
        return 0 if parent.isValid() else len(COLUMNS)

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        """Return the heading of a column, or its tooltip."""
        if orientation != Qt.Orientation.Horizontal or section >= len(COLUMNS):
            return None
        name = COLUMNS[section]
        if role == Qt.ItemDataRole.DisplayRole:
            return f"area {self._unit}" if name == "area" and self._unit != "px" else name
        return _TIPS.get(name) if role == Qt.ItemDataRole.ToolTipRole else None

    def flags(self, index: QModelIndex) -> Qt.ItemFlag:
        """Make the ids editable."""
        return (
            _NUMBER if index.column() == 0 else _CELL
        )  # asked of every cell when all are selected

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return the content of a cell for a role, such as its text or its tooltip."""
        row = self._row(self._ids[index.row()]) if index.isValid() else None
        if row is None:
            return None
        name = COLUMNS[index.column()]
        if role == Qt.ItemDataRole.EditRole and name == "id":
            return str(row.id)
        if role == Qt.ItemDataRole.DisplayRole:
            return self.cell_text(row, name)
        if role == Qt.ItemDataRole.TextAlignmentRole and name not in ("class", "state", "origin"):
            return _RIGHT
        if role == Qt.ItemDataRole.DecorationRole and name == "class" and row.class_name:
            return QColor(self._colours.get(row.class_name, "#ffffff"))
        if role == Qt.ItemDataRole.ToolTipRole and name in ("plane", "area"):
            return f"{row.area} pixels on {len(row.planes)} plane{'s' * (len(row.planes) > 1)}"
        return None

    def setData(self, index: QModelIndex, value: Any, role: int = Qt.ItemDataRole.EditRole) -> bool:
        """Give an object the id that the user typed."""
        text = str(value).strip()
        if role != Qt.ItemDataRole.EditRole or index.column() != 0 or not text.isdecimal():
            return False
        self._renumber(self._ids[index.row()], int(text))
        return True

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Sort by a column."""
        self._sorting = column, order
        self.layoutAboutToBeChanged.emit()
        before = self.persistentIndexList()
        objects = [self._ids[index.row()] for index in before]
        self._ids = self._sorted()
        self._places = None
        after = [
            _TOP if (row := self.row_of(object_id)) is None else self.index(row, index.column())
            for object_id, index in zip(objects, before, strict=True)
        ]
        self.changePersistentIndexList(before, after)
        self.layoutChanged.emit()

    def cell_text(self, row: ObjectRow, column: str) -> str:
        """Return the text of an object's cell in a column."""
        if column == "id":
            return str(row.id)
        if column == "class":
            return row.class_name
        if column == "state":
            return _SIGNS[row.state]
        if column == "area":
            return str(row.area) if self._unit == "px" else f"{row.area * self._pixel:.4g}"
        if column == "quality":
            return "" if row.score is None else f"{row.score:.2f}"
        if column == "prompts":
            return str(row.prompts or "")
        if column == "origin":
            return row.origin or ("prompts" if row.prompts else "")
        if column == "seconds":
            return f"{row.seconds:.0f}" if row.seconds >= 0.5 else ""
        first = ",".join(str(i) for i in row.planes[0] if i is not None)
        return first if len(row.planes) == 1 else f"{first} +{len(row.planes) - 1}"

    def _row(self, object_id: int) -> ObjectRow | None:
        return None if self._session is None else self._session.object_row(object_id)

    def _sorted(self) -> list[int]:
        if self._session is None:
            return []
        column, order = self._sorting
        backwards = order == Qt.SortOrder.DescendingOrder
        if column == 0:  # ids need no rows
            ids = list(self._session.object_ids)
            return ids[::-1] if backwards else ids
        name = COLUMNS[column]
        rows = sorted(self._session.objects, key=lambda row: _value(row, name), reverse=backwards)
        return [row.id for row in rows]


def _value(row: ObjectRow, column: str) -> Any:
    """Return the key by which a column is sorted."""
    if column == "class":
        return row.class_name.lower()
    if column == "state":
        return ("proposed", "accepted", "locked").index(row.state)
    if column == "area":
        return row.area
    if column == "quality":
        return -1.0 if row.score is None else row.score
    if column == "prompts":
        return row.prompts
    if column == "origin":
        return row.origin
    if column == "seconds":
        return row.seconds
    return [tuple(-1 if i is None else i for i in plane) for plane in row.planes]


def _colours(session: Session) -> dict[str, str]:
    return {one.name: one.colour for one in session.classes}
