"""The searchable list of keys and mouse gestures that ``H`` and the dock's ``?`` show."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtGui import QBrush, QColor, QKeyEvent
from qtpy.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_sam.gui.controls import tool
from napari_sam.gui.key_table import Action, found, trigger_text
from napari_sam.gui.keys import run_action

_SIZE = 520, 640  # at most
_MARGIN = 12
_NAME = "napari-sam-help"
_ROW = Qt.ItemDataRole.UserRole


class HelpOverlay(QFrame):
    """A list of keys and mouse gestures over the canvas; it doesn't block the window.

    Parameters
    ----------
    over
        The widget that it covers, with the same parent.
    run
        Called with the id of an action that the user picks in the list.
    """

    def __init__(self, over: QWidget, run: Callable[[str], None]) -> None:
        super().__init__(over.parentWidget())
        self._run, self._over = run, over
        self.setObjectName(_NAME)
        self.setAccessibleName("keys and mouse of Segment Anything")
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.setAutoFillBackground(True)
        self.search = QLineEdit()
        self.search.setPlaceholderText("search, such as box or Shift")
        self.search.setAccessibleName("search in keys and mouse")
        self.search.setClearButtonEnabled(True)
        self.shut = tool("✕", "close (Esc or H)")
        self.shut.setAccessibleName("close the help")
        self.rows = QTreeWidget()
        self.rows.setAccessibleName("keys and mouse")
        self.rows.setColumnCount(2)
        self.rows.setHeaderHidden(True)
        self.rows.setRootIsDecorated(False)
        self.rows.setIndentation(8)
        self.rows.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        header = self.rows.header()
        assert header is not None
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(1, QHeaderView.ResizeMode.ResizeToContents)
        header.setStretchLastSection(False)
        self.none = QLabel("nothing found; try a shorter word")
        self.none.setWordWrap(True)
        head = QHBoxLayout()
        head.addWidget(QLabel("Keys and mouse"))
        head.addWidget(self.search, 1)
        head.addWidget(self.shut)
        column = QVBoxLayout(self)
        column.addLayout(head)
        column.addWidget(self.rows, 1)
        column.addWidget(self.none)
        self.search.textChanged.connect(self._fill)
        self.search.returnPressed.connect(self._do_first)
        self.shut.clicked.connect(self.leave)
        self.rows.itemActivated.connect(self._do)
        over.installEventFilter(self)
        self.rows.installEventFilter(self)
        self._fill("")

    def ask(self) -> None:
        """Show the list, with the keyboard in its search field."""
        self._place()
        self.show()
        self.raise_()
        self.search.selectAll()
        self.search.setFocus()

    def leave(self) -> None:
        """Close the list, and give keyboard focus back to the canvas."""
        self.hide()
        self._over.setFocus()

    def shown(self) -> list[str]:
        """Return the lines of the list without headings, as ``text: keys``."""
        root = self.rows.invisibleRootItem()
        assert root is not None
        sections = (root.child(i) for i in range(root.childCount()))
        rows = [s.child(i) for s in sections if s is not None for i in range(s.childCount())]
        return [f"{row.text(0)}: {row.text(1)}" for row in rows if row is not None]

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Follow the canvas when it is resized; close if H is pressed in the list."""
        if watched is self._over and event is not None and event.type() == QEvent.Type.Resize:
            self._place()
        if watched is self.rows and isinstance(event, QKeyEvent) and event.key() == Qt.Key.Key_H:
            self.leave()
            return True
        return False

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Close with Escape, go to the list with Down."""
        if event is not None and event.key() == Qt.Key.Key_Escape:
            self.leave()
        elif event is not None and event.key() == Qt.Key.Key_Down:
            self.rows.setFocus()
        # other keys are not passed on: they are meant for the list, not for the image

    def _place(self) -> None:
        over = self._over.geometry().adjusted(_MARGIN, _MARGIN, -_MARGIN, -_MARGIN)
        over.setLeft(max(over.left(), over.right() - _SIZE[0]))
        over.setHeight(min(over.height(), _SIZE[1]))
        self.setGeometry(over)

    def _fill(self, words: str) -> None:
        self.rows.clear()
        heads: dict[str, QTreeWidgetItem] = {}
        for row in found(words):
            if row.section not in heads:
                head = QTreeWidgetItem([row.section, ""])
                font = head.font(0)
                font.setBold(True)
                head.setFont(0, font)
                head.setFlags(Qt.ItemFlag.ItemIsEnabled)
                self.rows.addTopLevelItem(head)
                heads[row.section] = head
            item = QTreeWidgetItem([row.text, trigger_text(row)])
            item.setToolTip(0, row.text)
            if isinstance(row, Action):
                item.setData(0, _ROW, row.id)
                item.setToolTip(0, f"{row.text}: press Enter or double-click to do it")
            else:
                item.setForeground(1, QBrush(QColor(128, 128, 128)))
            heads[row.section].addChild(item)
        self.rows.expandAll()
        self.none.setVisible(not heads)

    def _do_first(self) -> None:
        """Run the action if the search has found a single one, else go to the list."""
        names = [row.id for row in found(self.search.text()) if isinstance(row, Action)]
        if len(names) == 1:
            self._do_action(names[0])
        else:
            self.rows.setFocus()

    def _do(self, item: QTreeWidgetItem, column: int = 0) -> None:
        name = item.data(0, _ROW)
        if name:
            self._do_action(name)

    def _do_action(self, name: str) -> None:
        self.leave()
        self._run(name)


def toggle_help(viewer: Any, refused: Callable[[Exception], None]) -> HelpOverlay:
    """Show the help over the canvas of a viewer, or close it.

    Parameters
    ----------
    viewer
        The viewer, not a proxy.
    refused
        Called with the error when an action picked in the list fails.

    Returns
    -------
    overlay
        The one overlay of the viewer.
    """
    canvas = viewer.window._qt_viewer.canvas.native
    overlay = canvas.parentWidget().findChild(HelpOverlay, _NAME)
    if overlay is None:
        overlay = HelpOverlay(canvas, partial(run_action, viewer, refused))
    if overlay.isVisible():
        overlay.leave()
    else:
        overlay.ask()
    return overlay
