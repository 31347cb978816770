"""A row of the dock that asks for a number without a dialog that blocks the window."""

from __future__ import annotations

from qtpy.QtCore import QRegularExpression, Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtGui import QKeyEvent, QRegularExpressionValidator
from qtpy.QtWidgets import QLabel, QLineEdit, QWidget

from napari_sam.gui.controls import button, line, tool


class NumberRow(QWidget):
    """Asks for a whole number; Enter confirms it, Escape cancels.

    Attributes
    ----------
    given
        Signal: the user gave a number; emits it as text, since it may exceed Qt's integers.
    left
        Signal: the user cancelled.
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
        self.leave = tool("✕", "cancel (Esc)")
        row = line(self.question, self.number, self.go, self.leave)
        row.setStretch(1, 1)
        self.setLayout(row)
        self.number.returnPressed.connect(self._give)
        self.number.textChanged.connect(self._typed)
        self.go.clicked.connect(self._give)
        self.leave.clicked.connect(self.left)

    def ask(self, question: str, verb: str) -> None:
        """Show the row, with the keyboard in the field; the same question keeps the typed text.

        Parameters
        ----------
        question
            Text before the field.
        verb
            Text of the button.
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
        """Hide the row, and give up keyboard focus."""
        self._asked = "", ""
        self.number.clearFocus()
        self.hide()

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Cancel with Escape."""
        if event is not None and event.key() == Qt.Key.Key_Escape:
            self.left.emit()
        else:
            super().keyPressEvent(event)

    def _typed(self, text: str) -> None:
        self.go.setEnabled(bool(text))

    def _give(self) -> None:
        if self.number.text():
            self.given.emit(self.number.text())
