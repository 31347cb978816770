"""Qt's dialogs that ask for the images of a list."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import QFileDialog, QWidget

from napari_sam.io import IMAGE_FORMATS


def ask_for_folder(parent: QWidget | None) -> Path | None:
    """Ask for a folder of images; None if the dialog was left.

    Parameters
    ----------
    parent
        The window it belongs to.
    """
    path = QFileDialog.getExistingDirectory(parent, "Open a folder of images")
    return Path(path) if path else None


def ask_where_to_export_all(parent: QWidget | None) -> Path | None:
    """Ask for the folder that objects of many images are exported to; None if it was left.

    Parameters
    ----------
    parent
        The window it belongs to.
    """
    path = QFileDialog.getExistingDirectory(parent, "Export the objects of all images to")
    return Path(path) if path else None


def ask_for_images(parent: QWidget | None) -> list[Path]:
    """Ask for images; none if the dialog was left.

    Parameters
    ----------
    parent
        The window it belongs to.
    """
    kinds = f"Images ({' '.join(f'*{suffix}' for suffix in IMAGE_FORMATS)})"
    paths, _ = QFileDialog.getOpenFileNames(parent, "Open images", "", kinds)
    return [Path(path) for path in paths]
