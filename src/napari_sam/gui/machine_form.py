"""A form in the dock that asks for the address and the token of another machine."""

from __future__ import annotations

from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QLineEdit, QVBoxLayout, QWidget

from napari_sam.gui.controls import button, line, reachable


class MachineForm(QWidget):
    """Two fields and two buttons; hidden until :meth:`ask` is called.

    Attributes
    ----------
    given
        Signal: the user gave an address and a token.
    left
        Signal: the user cancelled.
    """

    given = Signal(str, str)
    left = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.address = reachable(QLineEdit(), "address of the other machine")
        self.address.setPlaceholderText("ws://127.0.0.1:8765")
        self.address.setToolTip(
            "the address that 'napari-sam serve' prints on that machine, or that of your tunnel"
        )
        self.token = reachable(QLineEdit(), "token of the other machine")
        self.token.setEchoMode(QLineEdit.EchoMode.Password)
        self.token.setPlaceholderText("token")
        self.token.setToolTip(
            "the token that 'napari-sam serve' printed there; it is never written to a file. Leave "
            "it empty if NAPARI_SAM_TOKEN or NAPARI_SAM_TOKEN_FILE is set"
        )
        self.use = button("Connect", "run the model on that machine")
        self.leave = button("Not now", "keep running the model as now")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.address)
        column.addWidget(self.token)
        row = line(self.use, self.leave)
        row.setStretch(0, 1)
        column.addLayout(row)
        self.use.clicked.connect(self._give)
        self.address.returnPressed.connect(self._give)
        self.token.returnPressed.connect(self._give)
        self.leave.clicked.connect(self._leave)
        self.hide()

    def ask(self, address: str = "") -> None:
        """Show the form, with the address filled in if it is known."""
        self.address.setText(address)
        self.token.clear()
        self.show()
        (self.token if address else self.address).setFocus()

    def put_away(self) -> None:
        """Hide the form, and clear the token."""
        self.token.clear()
        self.hide()

    def _give(self) -> None:
        self.given.emit(self.address.text(), self.token.text())

    def _leave(self) -> None:
        self.put_away()
        self.left.emit()
