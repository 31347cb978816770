"""Export and import of session files without a viewer."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_sam.batch.model_input import PixelsOfFile
from napari_sam.batch.replay import find_image, is_image_of, source_of_file
from napari_sam.io import ImageFile, read_image
from napari_sam.io.exports import (
    ExportedObjects,
    ExportFormat,
    ExportOptions,
    Report,
    check_target,
    format_of,
    is_exported_folder,
    proposed_name,
    write_export,
)
from napari_sam.io.imports import ImportTarget, read_objects
from napari_sam.io.imports.objects import Notify
from napari_sam.io.session_file import SUFFIX
from napari_sam.planes import ArraySource, PlaneSource
from napari_sam.segmentation.protocol import part_of
from napari_sam.session.canvas import ArrayCanvas
from napari_sam.session.exporting import exported_objects
from napari_sam.session.image_identity import ImageContent
from napari_sam.session.interactive import Session
from napari_sam.session.keeping import ImageFacts, save_session
from napari_sam.session.saved import SavedSession, check_image, read_without_image, stand_in


def objects_of_session(
    session: str | Path | SavedSession,
    image: str | Path | ImageFile | None = None,
    labels: Any = None,
    notify: Notify | None = None,
) -> ExportedObjects:
    """Read the objects of a session for export: its labels, and the record of each object.

    Parameters
    ----------
    session
        The session's file, which is not changed.
    image
        Its image; None takes the image file beside the session, if there is one.
    labels
        The labels, if the session wrote them into a file of their own and doesn't contain them:
        that file, or an array of the image's shape.
    notify
        Called with a message about each thing that is missing.

    Returns
    -------
    objects
        For :func:`~napari_sam.io.exports.write_export`.

    Raises
    ------
    SessionFileError
        If the file is not a session, is damaged, was written by a newer version, or belongs to
        another image.
    FileNotFoundError
        If the image or the labels don't exist.
    ValueError, OSError
        If they can't be read, or belong to another image.
    """
    notify = notify or _ignore
    saved = session if isinstance(session, SavedSession) else read_without_image(session)
    source: PlaneSource = stand_in(saved.about)
    opened = _open_image(saved, image, notify)
    if opened is not None:
        opened, source = source_of_file(saved, opened)
        check_image(saved.about, source)
    elif image is None:
        notify("the image isn't beside the session: nothing is measured or cut out of its pixels")
    array = labels
    if isinstance(labels, str | Path):
        array = read_image(labels).data
    elif labels is None and not saved.labels:
        notify(
            "the session keeps no labels: if they are in a file of their own, name it (--labels)"
        )
    return exported_objects(saved, source, opened, array)


def export_sessions(
    sessions: Sequence[str | Path],
    to: str,
    output: str | Path,
    image: str | Path | Sequence[str | Path] | None = None,
    labels: str | Path | None = None,
    only_accepted: bool = False,
    overwrite: bool = False,
    options: ExportOptions | None = None,
    report: Report | None = None,
    notify: Notify | None = None,
) -> list[Path]:
    """Write the objects of sessions in a format.

    Parameters
    ----------
    sessions
        The session files.
    to
        The format, a key of :data:`~napari_sam.io.exports.FORMATS`.
    output
        The file; or a folder, in which files are named after the images. Only COCO, YOLO
        and CSV can hold several sessions in one. YOLO, cut-outs and tracks are written as a
        folder: this one, or a new one in it if there is one that no export wrote.
    image, labels
        As in :func:`objects_of_session`, for a single session; or a sequence with the image of
        each session.
    only_accepted
        Whether objects that are only proposed are left out.
    overwrite
        Whether existing files are replaced.
    options
        Options of the format.
    report
        Called with the finished fraction; it may raise an exception to cancel.
    notify
        Called with a message about each thing that is missing.

    Returns
    -------
    written
        The files.

    Raises
    ------
    FileExistsError
        If a file exists already.
    ValueError, OSError
        If something can't be read or written.
    """
    format_, target, notify = format_of(to), Path(output), notify or _ignore
    images: Sequence[str | Path | None]
    if image is None or isinstance(image, str | Path):
        if len(sessions) > 1 and (image is not None or labels is not None):
            raise ValueError("expected one session with an image or labels by name, got several")
        images = [image] * len(sessions)
    else:
        images = image
    is_file = _is_file(format_, target)
    if is_file and len(sessions) > 1 and not format_.joins:
        raise ValueError(
            f"expected a folder for {len(sessions)} sessions in the format {to}, got the file "
            f"{target}"
        )
    if is_file:
        check_target(format_, target, overwrite)
    several: list[ExportedObjects] = []
    for session, its_image in zip(sessions, images, strict=True):
        objects = objects_of_session(session, its_image, labels, notify)
        if format_.needs_image and objects.image is None:
            raise FileNotFoundError(
                f"expected the image of {session} for the format {to}, found none; put it beside "
                "the session, or name it (--image)"
            )
        several.append(objects.accepted() if only_accepted else objects)
    if is_file:
        write_export(format_, several, target, options, report)
        return [target]
    paths: list[Path] = []
    for session, objects in zip(sessions, several, strict=True):
        path = target / proposed_name(format_, objects.name)
        if path in paths:  # images of one name, in different folders
            path = path.with_name(f"{Path(session).stem}_{path.name}")
        check_target(format_, path, overwrite)
        paths.append(path)
    count = len(several)
    for i, (objects, path) in enumerate(zip(several, paths, strict=True)):
        write_export(format_, [objects], path, options, part_of(report, i / count, (i + 1) / count))
    return paths


def _is_file(to: ExportFormat, target: Path) -> bool:
    """Whether a target is the file or folder to write, rather than a folder to write it in."""
    if not to.suffixes:  # a folder for each image, or one that was exported before
        return not target.is_dir() or is_exported_folder(to, target)
    if target.suffix.lower() in to.suffixes:
        return True
    if target.suffix and not target.is_dir():
        check_target(to, target)  # raises, with the suffixes that are possible
    return False


def import_session(
    file: str | Path,
    image: str | Path | ImageFile,
    output: str | Path,
    axes: str | None = None,
    channel: int | None = None,
    overwrite: bool = False,
    report: Report | None = None,
    notify: Notify | None = None,
) -> int:
    """Make a session of objects in a file of this or another program.

    Parameters
    ----------
    file
        Any file that :func:`~napari_sam.io.imports.read_objects` reads, such as COCO, GeoJSON,
        ImageJ regions or a label image.
    image
        The image that the objects belong to.
    output
        The session's file.
    axes, channel
        Of the image, as in :func:`~napari_sam.io.read_image`.
    overwrite
        Whether an existing session is replaced.
    report
        Called with the finished fraction; it may raise an exception to cancel.
    notify
        Called with a message for each kind of content that is left out.

    Returns
    -------
    count
        Number of objects.

    Raises
    ------
    FileExistsError
        If the session exists already.
    ValueError, OSError
        If something can't be read or written, or doesn't belong to the image.
    """
    target, notify = Path(output), notify or _ignore
    if target.suffix.lower() != SUFFIX:
        raise ValueError(f"expected a session's file, ending in {SUFFIX}, got {target.name}")
    if target.exists() and not overwrite:
        raise FileExistsError(
            f"{target} is there already and was left as it is; choose another name, or allow it "
            "to be overwritten"
        )
    path = None if isinstance(image, ImageFile) else Path(image)
    opened = image if isinstance(image, ImageFile) else read_image(image, axes, channel)
    pixels: Any = PixelsOfFile(opened)
    source = ArraySource(pixels, opened.is_rgb)
    canvas = ArrayCanvas(np.zeros(source.shape, np.int32))
    session = Session(None, source, canvas=canvas)
    errors: list[Exception] = []
    session.failed.connect(errors.append)
    session.noticed.connect(notify)
    letters = opened.axes.removesuffix("S")
    about = ImportTarget(letters, source.shape, "" if path is None else path.name)

    def read(progress: Report) -> Any:
        found = read_objects(Path(file), about, notify)
        if report is None:
            return found
        planes = found.planes
        return type(found)(lambda _: planes(report), found.records, found.classes)

    session.import_objects(read, Path(file).name)
    if errors:
        raise errors[0]
    sizes = opened.pixel_size or {}
    units = {axis: ("s" if axis == "T" else opened.unit or "pixel") for axis in letters}
    facts = ImageFacts(
        "" if path is None else path.stem,
        path,
        tuple(letters.lower()),
        tuple(sizes.get(axis, 1.0) for axis in letters),
        tuple(units[axis] if axis in sizes else "pixel" for axis in letters),
    )
    content = ImageContent(opened.data, opened.is_rgb, facts.name, path)
    save_session(session, target, facts, {"identity": content.identity().to_json()})
    return len(session.objects)


def _open_image(
    saved: SavedSession, image: str | Path | ImageFile | None, notify: Notify
) -> ImageFile | None:
    if isinstance(image, ImageFile):
        return image
    if image is not None:
        opened = read_image(image)
        if is_image_of(saved, opened) is False:
            notify(f"{image} has other pixels than the image of the session")
        return opened
    try:
        path = find_image(saved)
    except FileNotFoundError:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            opened = read_image(path)
        if is_image_of(saved, opened) is False:
            notify(f"{path.name} beside the session has other pixels than its image: not used")
            return None
    except (ValueError, OSError) as error:
        notify(f"{path.name} beside the session can't be used: {error}")
        return None
    return opened


def _ignore(text: str) -> None:
    pass
