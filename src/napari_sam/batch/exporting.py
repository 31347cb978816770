"""Sessions to the formats that other programs read, and back, without a viewer."""

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
    proposed_name,
    write_export,
)
from napari_sam.io.imports import ImportTarget, read_objects
from napari_sam.io.imports.objects import Tell
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
    tell: Tell | None = None,
) -> ExportedObjects:
    """Read what leaves of a session: its labels, and what is known of every object.

    Parameters
    ----------
    session
        The session's file, which is only read.
    image
        Its image; None takes the file that lies beside the session, where there is one.
    labels
        Where the session wrote into labels on disk, which it doesn't keep: their file, or an
        array of the image's shape.
    tell
        Called with each sentence about what could not be had.

    Raises
    ------
    SessionFileError
        If the file is no session, or is damaged or newer, or of another image.
    FileNotFoundError
        If the image or the labels are not there.
    ValueError, OSError
        If they can't be read, or are of another image.
    """
    tell = tell or _ignore
    saved = session if isinstance(session, SavedSession) else read_without_image(session)
    source: PlaneSource = stand_in(saved.about)
    opened = _open_image(saved, image, tell)
    if opened is not None:
        opened, source = source_of_file(saved, opened)
        check_image(saved.about, source)
    elif image is None:
        tell("the image isn't beside the session: nothing is measured or cut out of its pixels")
    array = labels
    if isinstance(labels, str | Path):
        array = read_image(labels).data
    elif labels is None and not saved.labels:
        tell("the session keeps no labels: if they are in a file of their own, name it (--labels)")
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
    tell: Tell | None = None,
) -> list[Path]:
    """Write the objects of sessions in a format.

    Parameters
    ----------
    sessions
        Their files.
    to
        The format, one of :data:`~napari_sam.io.exports.FORMATS`.
    output
        The file; or a folder, in which files are called after the images. Several sessions come
        into one file only as COCO or CSV. Cut-outs and tracks make a folder, or one in a folder
        that is there.
    image, labels
        As of :func:`objects_of_session`, for a single session; or the image of each, in their
        order.
    only_accepted
        Whether objects that are only proposed are left out.
    overwrite
        Whether files that are there are replaced.
    options
        What the format leaves open.
    report
        Called with the finished fraction; it may raise to cancel.
    tell
        Called with each sentence about what could not be had.

    Returns
    -------
    written
        The files.

    Raises
    ------
    FileExistsError
        If a file is there already.
    ValueError, OSError
        If something can't be read or written.
    """
    format_, target, tell = format_of(to), Path(output), tell or _ignore
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
        objects = objects_of_session(session, its_image, labels, tell)
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
    """Whether a target is what is written itself, rather than a folder for it."""
    if not to.suffixes:  # a folder for each image
        return not target.is_dir()
    if target.suffix.lower() in to.suffixes:
        return True
    if target.suffix and not target.is_dir():
        check_target(to, target)  # says which suffixes there are
    return False


def import_session(
    file: str | Path,
    image: str | Path | ImageFile,
    output: str | Path,
    axes: str | None = None,
    channel: int | None = None,
    overwrite: bool = False,
    report: Report | None = None,
    tell: Tell | None = None,
) -> int:
    """Make a session of the objects that another program, or we, have written.

    Parameters
    ----------
    file
        COCO, GeoJSON, ImageJ's regions or a label image.
    image
        The image that they are of.
    output
        The session's file.
    axes, channel
        Of the image, as of :func:`~napari_sam.io.read_image`.
    overwrite
        Whether a file that is there is replaced.
    report
        Called with the finished fraction; it may raise to cancel.
    tell
        Called with each sentence about what is left out.

    Returns
    -------
    count
        Number of objects.

    Raises
    ------
    FileExistsError
        If the session is there already.
    ValueError, OSError
        If something can't be read or written, or doesn't belong to the image.
    """
    target, told = Path(output), tell or _ignore
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
    session.noticed.connect(told)
    letters = opened.axes.removesuffix("S")
    about = ImportTarget(letters, source.shape, "" if path is None else path.name)

    def read(progress: Report) -> Any:
        found = read_objects(Path(file), about, told)
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
    save_session(session, target, facts, {"identity": content.identity().spell()})
    return len(session.objects)


def _open_image(
    saved: SavedSession, image: str | Path | ImageFile | None, tell: Tell
) -> ImageFile | None:
    if isinstance(image, ImageFile):
        return image
    if image is not None:
        opened = read_image(image)
        if is_image_of(saved, opened) is False:
            tell(f"{image} has other pixels than the image of the session")
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
            tell(f"{path.name} beside the session has other pixels than its image: not used")
            return None
    except (ValueError, OSError) as error:
        tell(f"{path.name} beside the session can't be used: {error}")
        return None
    return opened


def _ignore(text: str) -> None:
    pass
