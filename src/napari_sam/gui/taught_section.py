"""Section of the dock about the taught model in use, to rename, save and delete it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtGui import QAction, QKeyEvent  # type: ignore[attr-defined]
from qtpy.QtWidgets import QFileDialog, QLabel, QLineEdit, QMenu, QToolButton, QVBoxLayout, QWidget

from napari_sam.gui.controller import Controller
from napari_sam.gui.controls import button, line, reachable, tool
from napari_sam.gui.section import Section
from napari_sam.model import taught_library
from napari_sam.model.lesson_facts import day_of, facts_of, taught_on
from napari_sam.model.registry import REGISTRY
from napari_sam.model.taught_library import TaughtFile


@dataclass(frozen=True, slots=True)
class TaughtState:
    """The state of the section.

    Parameters
    ----------
    name
        Name of the taught model; empty if another model is in use.
    summary, facts
        What it was taught, in one line and in full.
    is_kept
        Whether it is in the user's list, so that it can be renamed and deleted.
    """

    name: str = ""
    summary: str = ""
    facts: str = ""
    is_kept: bool = False


def taught_state_of(controller: Controller) -> TaughtState:
    """Return the section's state."""
    found = taught_in_use(controller)
    if found is None or found.card is None:
        return TaughtState()
    lesson = found.card.lesson
    summary = f"{found.name}: {lesson.parent}, taught on {taught_on(lesson)} ({day_of(found)})"
    facts = "\n".join(f"{name}: {value}" for name, value in facts_of(found).items())
    return TaughtState(found.name, summary, facts, found.name in taught_library.names())


def taught_in_use(controller: Controller) -> TaughtFile | None:
    """Return the taught model in use; None if another model is in use."""
    if controller.segmenter is None or controller.loading is not None:
        return None
    model = controller.model
    if model in REGISTRY:
        return None
    for one in taught_library.listed():
        if model in (one.name, str(one.path)):
            return one
    return None


class TaughtSection(Section[TaughtState]):
    """Shows what the taught model in use was taught; hidden if another model is in use."""

    def __init__(self, controller: Controller) -> None:
        super().__init__(controller)
        self.summary = QLabel()
        self.summary.setWordWrap(True)
        self.summary.setAccessibleName("what the model in use was taught")
        self.more = tool("⋯", "rename, save or delete the taught model")
        self.more.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.more.setStyleSheet("QToolButton::menu-indicator { image: none; }")
        menu = QMenu(self.more)
        self.rename, self.save, self.delete = (
            QAction(text, menu) for text in ("Rename", "Save as file…", "Delete")
        )
        menu.addActions([self.rename, self.save, self.delete])
        self.more.setMenu(menu)
        self.name = reachable(QLineEdit(), "new name of the taught model")
        self.accept = button("Rename", "give the taught model this name")
        self.asked = QLabel()
        self.asked.setWordWrap(True)
        self.yes = button("Delete", "delete its file, and use the model that it was taught from")
        self.no = button("Keep", "keep the taught model")
        self._naming, self._asking = QWidget(), QWidget()
        row = line(self.name, self.accept)
        row.setStretch(0, 1)
        self._naming.setLayout(row)
        row = line(self.asked, self.yes, self.no)
        row.setStretch(0, 1)
        self._asking.setLayout(row)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        row = line(self.summary, self.more)
        row.setStretch(0, 1)
        column.addLayout(row)
        column.addWidget(self._naming)
        column.addWidget(self._asking)
        self.rename.triggered.connect(self._ask_for_name)
        self.save.triggered.connect(self._save)
        self.delete.triggered.connect(self._ask)
        self.accept.clicked.connect(self._rename)
        self.name.returnPressed.connect(self._rename)
        self.yes.clicked.connect(self._delete)
        self.no.clicked.connect(self.redraw)

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Cancel renaming or deleting with Escape, and go back to the canvas."""
        if event is not None and event.key() == Qt.Key.Key_Escape:
            self._naming.hide()
            self._asking.hide()
        super().keyPressEvent(event)

    def _state(self) -> TaughtState:
        return taught_state_of(self._controller)

    def _draw(self, state: TaughtState) -> None:
        self.setVisible(bool(state.name))
        self.summary.setText(state.summary)
        self.summary.setToolTip(state.facts)
        self._naming.hide()
        self._asking.hide()
        self.rename.setEnabled(state.is_kept)
        self.delete.setEnabled(state.is_kept)

    def _ask_for_name(self) -> None:
        self.name.setText(self.shown.name)
        self._naming.show()
        self.name.setFocus()

    def _rename(self) -> None:
        self._attempt(
            partial(self._controller.rename_model, self.shown.name, self.name.text().strip())
        )

    def _save(self) -> None:
        found = taught_in_use(self._controller)
        if found is None:
            return
        path, _ = QFileDialog.getSaveFileName(
            self, "Save the taught model", f"{found.name}.safetensors", "Models (*.safetensors)"
        )
        if path:
            self._attempt(partial(save_as, found, Path(path)))

    def _ask(self) -> None:
        self.asked.setText("Delete it? Sessions that used it keep it.")
        self._asking.show()

    def _delete(self) -> None:
        self._attempt(partial(self._controller.delete_model, self.shown.name))


def save_as(found: TaughtFile, path: Path) -> None:
    """Write a taught model to a file that the user chose.

    Raises
    ------
    CheckpointError, OSError
        If the model can't be read or written.
    """
    from napari_sam.model.taught import save

    save(found.read(), path.with_suffix(taught_library.SUFFIX))
