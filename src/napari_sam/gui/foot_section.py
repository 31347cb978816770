"""The foot of the dock: a hint, undo and redo with what they would change, and help."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QGridLayout, QLabel

from napari_sam.gui.controller import Controller
from napari_sam.gui.controls import ElidedButton, tool
from napari_sam.gui.help_overlay import toggle_help
from napari_sam.gui.hint import FootState, foot_state_of
from napari_sam.gui.key_table import with_key
from napari_sam.gui.section import Section


class FootSection(Section[FootState]):
    """A hint, undo and redo with what they would change, and help."""

    def __init__(self, controller: Controller) -> None:
        super().__init__(controller)
        self.hint = QLabel()
        self.hint.setWordWrap(True)
        self.hint.setEnabled(False)
        self.undo = ElidedButton()
        self.redo = ElidedButton()
        self.keys = tool("?", with_key("all keys and mouse gestures", "show_help"))
        self.keys.setAccessibleName("help: keys and mouse")
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setVerticalSpacing(2)
        grid.setColumnStretch(0, 1)
        self.enough = tool("✕", "hide the hints for good")
        grid.addWidget(self.hint, 0, 0)
        grid.addWidget(self.enough, 0, 1, Qt.AlignmentFlag.AlignTop)
        grid.addWidget(self.undo, 1, 0)
        grid.addWidget(self.redo, 2, 0)
        grid.addWidget(self.keys, 1, 1, 2, 1, Qt.AlignmentFlag.AlignBottom)
        self.undo.clicked.connect(self._undo)
        self.redo.clicked.connect(self._redo)
        self.keys.clicked.connect(self._help)
        self.enough.clicked.connect(self._end_hints)

    def _state(self) -> FootState:
        return foot_state_of(self._controller)

    def _draw(self, state: FootState) -> None:
        self.hint.setText(state.hint)
        self.hint.setVisible(bool(state.hint))
        self.enough.setVisible(bool(state.first_steps))
        if state.first_steps is None:
            self._controller.first_steps.end()
        self.undo.set_text(f"“{state.undo}”", "↶ Ctrl+Z  undo: ")
        self.undo.setVisible(bool(state.undo))
        self.redo.set_text(f"“{state.redo}”", "↷ Ctrl+Shift+Z  redo: ")
        self.redo.setVisible(bool(state.redo))

    def _undo(self) -> None:
        if self._controller.annotation:
            self._controller.annotation.session.undo()

    def _redo(self) -> None:
        if self._controller.annotation:
            self._controller.annotation.session.redo()

    def _help(self) -> None:
        toggle_help(self._controller.viewer, self._controller.refused.emit)

    def _end_hints(self) -> None:
        self._controller.first_steps.end()
        self.refresh()
