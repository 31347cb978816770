"""A row of the dock that asks for a number, in place of a dialog in the way of everything."""

from __future__ import annotations

from qtpy.QtCore import QRegularExpression, Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtGui import QKeyEvent, QRegularExpressionValidator
from qtpy.QtWidgets import QLabel, QLineEdit, QWidget

from napari_sam.gui.controls import button, line, tool


class NumberRow(QWidget):
    """Asks for a whole number; Enter gives it, Escape leaves the row.

    Attributes
    ----------
    given
        The number, as text: it may be larger than what Qt calls a number.
    left
        None was given.
    """

    given = Signal(str)
    left = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._asked = "", ""
        self.question = QLabel()
        self.number = QLineEdit()
        self.number.setValidator(QRegularExpressionValidator(QRegularExpression(r"\d{1,20}")))
        self.number.setPlaceholderText("number")
        self.go = button("", "")
        self.leave = tool("✕", "leave it as it is (Esc)")
        row = line(self.question, self.number, self.go, self.leave)
        row.setStretch(1, 1)
        self.setLayout(row)
        self.number.returnPressed.connect(self._give)
        self.number.textChanged.connect(self._typed)
        self.go.clicked.connect(self._give)
        self.leave.clicked.connect(self.left)

    def ask(self, question: str, verb: str) -> None:
        """Ask, with the keyboard in the field; what is typed already stays when asked again.

        Parameters
        ----------
        question
            Stands before the field.
        verb
            What the button says.
        """
        if (question, verb) == self._asked:
            return
        self._asked = question, verb
        self.question.setText(question)
        self.number.setAccessibleName(question)
        self.go.setText(verb)
        self.go.setEnabled(False)
        self.number.clear()
        self.show()
        self.number.setFocus()

    def stop(self) -> None:
        """Go away, and leave the keyboard to the canvas."""
        self._asked = "", ""
        self.number.clearFocus()
        self.hide()

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Leave the row with Escape."""
        if event is not None and event.key() == Qt.Key.Key_Escape:
            self.left.emit()
        else:
            super().keyPressEvent(event)

    def _typed(self, text: str) -> None:
        self.go.setEnabled(bool(text))

    def _give(self) -> None:
        if self.number.text():
            self.given.emit(self.number.text())
