"""Qt's dialogs that ask for the file of a session."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import QFileDialog, QWidget

from napari_sam.io import LABEL_FORMATS
from napari_sam.io.exports import FORMATS, ExportFormat, proposed_name
from napari_sam.io.imports import IMPORT_SUFFIXES

_KIND = "Sessions (*.napari-sam)"


def ask_where_to_save(parent: QWidget | None, proposed: str) -> Path | None:
    """Ask for a file to save a session to; return None if the dialog was cancelled.

    Parameters
    ----------
    parent
        Parent window of the dialog.
    proposed
        Proposed name of the file.
    """
    path, _ = QFileDialog.getSaveFileName(parent, "Save session", proposed, _KIND)
    return Path(path) if path else None


def ask_which_to_open(parent: QWidget | None) -> Path | None:
    """Ask for the file of a session; return None if the dialog was cancelled."""
    path, _ = QFileDialog.getOpenFileName(parent, "Open session", "", _KIND)
    return Path(path) if path else None


def ask_where_to_export(parent: QWidget | None, image: str) -> tuple[str, Path] | None:
    """Ask for a format and a file to export objects to; return None if it was cancelled.

    Parameters
    ----------
    parent
        Parent window of the dialog.
    image
        Name of the image, from which the file's name is proposed.
    """
    kinds = {_kind(one): one for one in FORMATS.values()}
    proposed = proposed_name(FORMATS["labels"], image)
    path, kind = QFileDialog.getSaveFileName(parent, "Export objects", proposed, ";;".join(kinds))
    if not path:
        return None
    to, target = kinds[kind], Path(path)
    if not to.suffixes:
        stem = target.with_suffix("") if target.suffix.lower() in LABEL_FORMATS else target
        is_proposed = target.name == proposed
        return to.key, target.with_name(proposed_name(to, image)) if is_proposed else stem
    if target.suffix.lower() not in to.suffixes:  # the name was proposed for another format
        target = target.with_name(proposed_name(to, image))
    return to.key, target


def ask_which_to_import(parent: QWidget | None) -> Path | None:
    """Ask for a file of objects to import; return None if the dialog was cancelled."""
    kind = f"Objects ({' '.join(f'*{suffix}' for suffix in IMPORT_SUFFIXES)})"
    path, _ = QFileDialog.getOpenFileName(parent, "Import objects", "", kind)
    return Path(path) if path else None


def _kind(to: ExportFormat) -> str:
    """Return a format's line in the dialog; formats that are folders show their usual ending."""
    return f"{to.title} ({' '.join(f'*{end}' for end in to.suffixes or (to.ending,))})"
