"""Export and import of a viewer's objects as files of other programs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Image

from napari_sam.engine import Report
from napari_sam.gui.label_canvas import LayerCanvas
from napari_sam.gui.placement import finest
from napari_sam.io.image_file import ImageFile
from napari_sam.io.session_file import SUFFIX
from napari_sam.io.units import pixel_sizes
from napari_sam.session.exporting import axes_of

if TYPE_CHECKING:
    from napari_sam.io.exports import ExportFormat
    from napari_sam.io.imports import ImportedObjects
    from napari_sam.session import Session

Save = Callable[[Path], None]
"""Writes a session into a file; it may be called on any thread."""


def image_file_of(layer: Image) -> ImageFile:
    """Return a layer as an image file in memory, with its axes and pixel sizes."""
    data = finest(layer)
    shape = tuple(int(n) for n in data.shape)[: layer.ndim]
    axes = axes_of(list(layer.axis_labels), shape)
    sizes = {
        axis: (float(size), str(unit))
        for axis, size, unit in zip(axes, layer.scale, layer.units, strict=True)
        if axis in "ZYX" and (float(size) != 1 or str(unit) != "pixel")
    }
    pixel_size, unit = pixel_sizes(sizes)
    return ImageFile(data, axes + ("S" if layer.rgb else ""), pixel_size, unit)


def export_chore(
    save: Save, session: Session, layer: Image, to: ExportFormat, path: Path, only_accepted: bool
) -> Callable[[Report], Path]:
    """Return a function for any thread that saves a session and exports its objects.

    Parameters
    ----------
    save
        Saves the session to a file.
    session, layer
        The session with the labels, and its image layer.
    to, path
        The format, and its file; an existing file is replaced.
    only_accepted
        Whether objects that are only proposed are left out.

    Returns
    -------
    write
        Takes a function to report progress, and returns `path`.
    """
    image, canvas = image_file_of(layer), session.canvas
    on_disk = None
    if isinstance(canvas, LayerCanvas) and canvas.is_kept and canvas.layer is not None:
        on_disk = canvas.layer.data

    def write(report: Report) -> Path:
        from napari_sam.batch.exporting import objects_of_session
        from napari_sam.io.exports import write_export
        from napari_sam.session.saved import read_without_image

        with tempfile.TemporaryDirectory() as folder:  # the session may change meanwhile
            copy = Path(folder) / f"session{SUFFIX}"
            save(copy)
            saved = read_without_image(copy)
        objects = objects_of_session(saved, image, on_disk)
        chosen = objects.accepted() if only_accepted else objects
        write_export(to, [chosen], path, report=report)
        return path

    return write


def import_file(session: Session, layer: Image, path: Path) -> None:
    """Import the objects of a file into a session; see ``Session.import_objects``.

    Raises
    ------
    ValueError
        If the view shows other axes of the image than its rows and columns.
    """
    source = session.source
    colours = source.channel_axis
    leading = [axis for axis in range(len(source.shape)) if axis != colours]
    if tuple(leading[-2:]) != source.spanned:
        raise ValueError(
            "expected the image's own rows and columns on screen, got others; roll the axes back"
        )
    axes = axes_of(list(layer.axis_labels), source.shape)
    letters = "".join(axes[axis] for axis in leading)
    shape = tuple(source.shape[axis] for axis in leading)
    name = Path(layer.source.path).name if layer.source.path else layer.name
    session.import_objects(partial(_read, path, letters, shape, name), path.name)


def _read(
    path: Path, letters: str, shape: tuple[int, ...], name: str, report: Report
) -> ImportedObjects:
    from napari_sam.io.imports import ImportTarget, read_objects

    notes: list[Any] = []
    found = read_objects(path, ImportTarget(letters, shape, name), notes.append)
    return replace(found, notes=notes)  # reading the planes adds some of them
