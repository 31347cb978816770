"""Qt's dialogs that ask for the file of a session."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import QFileDialog, QWidget

from napari_sam.io import LABEL_FORMATS
from napari_sam.io.exports import FORMATS, ExportFormat, proposed_name
from napari_sam.io.imports import IMPORT_SUFFIXES

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


def ask_where_to_export(parent: QWidget | None, image: str) -> tuple[str, Path] | None:
    """Ask for the file that objects are exported to, and its format; None if the dialog was left.

    Parameters
    ----------
    parent
        The window it belongs to.
    image
        Name of the image, after which a file is proposed.
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
    if target.suffix.lower() not in to.suffixes:  # proposed for another format
        target = target.with_name(proposed_name(to, image))
    return to.key, target


def ask_which_to_import(parent: QWidget | None) -> Path | None:
    """Ask for a file of objects; None if the dialog was left."""
    kind = f"Objects ({' '.join(f'*{suffix}' for suffix in IMPORT_SUFFIXES)})"
    path, _ = QFileDialog.getOpenFileName(parent, "Import objects", "", kind)
    return Path(path) if path else None


def _kind(to: ExportFormat) -> str:
    """Spell a format for a dialog; a folder by how its name ends, so that no two are alike."""
    return f"{to.title} ({' '.join(f'*{end}' for end in to.suffixes or (to.ending,))})"
