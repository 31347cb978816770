"""Qt's dialogs that ask for the file of a session."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import QFileDialog, QWidget

_KIND = "Sessions (*.napari-sam)"


def ask_where_to_save(parent: QWidget | None, proposed: str) -> Path | None:
    """Ask for the file that a session is saved to; None if the dialog was left.

    Parameters
    ----------
    parent
        The window it belongs to.
    proposed
        The name it proposes.
    """
    path, _ = QFileDialog.getSaveFileName(parent, "Save session", proposed, _KIND)
    return Path(path) if path else None


def ask_which_to_open(parent: QWidget | None) -> Path | None:
    """Ask for the file of a session; None if the dialog was left."""
    path, _ = QFileDialog.getOpenFileName(parent, "Open session", "", _KIND)
    return Path(path) if path else None
