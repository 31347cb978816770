"""Qt's dialogs that ask for the images of a list."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import QFileDialog, QWidget

from napari_sam.io import IMAGE_FORMATS


def ask_for_folder(parent: QWidget | None) -> Path | None:
    """Ask for a folder of images; return None if the dialog was cancelled.

    Parameters
    ----------
    parent
        Parent window of the dialog.
    """
    path = QFileDialog.getExistingDirectory(parent, "Open a folder of images")
    return Path(path) if path else None


def ask_where_to_export_all(parent: QWidget | None) -> Path | None:
    """Ask for a folder to export many images' objects to; return None if it was cancelled.

    Parameters
    ----------
    parent
        Parent window of the dialog.
    """
    path = QFileDialog.getExistingDirectory(parent, "Export the objects of all images to")
    return Path(path) if path else None


def ask_for_images(parent: QWidget | None) -> list[Path]:
    """Ask for image files; return an empty list if the dialog was cancelled.

    Parameters
    ----------
    parent
        Parent window of the dialog.
    """
    kinds = f"Images ({' '.join(f'*{suffix}' for suffix in IMAGE_FORMATS)})"
    paths, _ = QFileDialog.getOpenFileNames(parent, "Open images", "", kinds)
    return [Path(path) for path in paths]
