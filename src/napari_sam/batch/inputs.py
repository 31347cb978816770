"""Which images a batch works on, and where its results go."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from napari_sam.batch.manifest import ENDINGS
from napari_sam.io import (
    IMAGE_FORMATS,
    LABEL_FORMATS,
    SavedPrompts,
    read_boxes,
    read_prompts,
    with_boxes,
)
from napari_sam.io.session_file import SUFFIX as SESSION
from napari_sam.special_files import refuse_special

Source = str | Path


@dataclass(frozen=True, slots=True)
class Task:
    """One image of a batch.

    Parameters
    ----------
    image
        The file, or the folder of a Zarr image.
    labels, overlay, measurements, tracks, ctc
        Where its results go; not all of them are made by every batch.
    """

    image: Path
    labels: Path
    overlay: Path
    measurements: Path
    tracks: Path
    ctc: Path

    def absolute(self) -> Task:
        """Return the same task for processes that work in another folder."""
        return Task(*(getattr(self, one.name).absolute() for one in fields(self)))


def check_request(
    images: Source | Iterable[Source],
    output: Source | None = None,
    prompts: Source | None = None,
    suffix: str = ".tif",
    needs_prompts: bool = False,
    boxes: Source | None = None,
) -> list[Path]:
    """Check paths and tables of a batch for errors before a model is loaded.

    Parameters
    ----------
    images, output, prompts, suffix
        As for :func:`~napari_sam.batch.segment_files`; ``None`` as output where nothing is
        written.
    needs_prompts
        Whether images are segmented from prompts: the one file given must be good, and of files
        beside images or in a folder at least one must be there.
    boxes
        As for :func:`~napari_sam.batch.segment_files`; they may take the place of prompts.

    Returns
    -------
    images
        From :func:`find_images`.

    Raises
    ------
    FileNotFoundError, NotADirectoryError, PermissionError, ValueError
        If an image, a prompts file or a place for the results isn't there or can't be used.
    """
    found = find_images(images)
    if output is not None:
        for folder in {task.labels.parent for task in plan(found, output, suffix)}:
            check_writable(folder)
    if needs_prompts:
        if prompts is not None and not Path(prompts).is_dir():
            _read(prompts_of(found[0], prompts))
        elif not any(_has_prompts(image, prompts, boxes) for image in found):
            prompts_of(found[0], prompts)  # raises, with what is missing
        if boxes is not None and not Path(boxes).is_dir():
            read_boxes(boxes_of(found[0], boxes) or boxes)
    return found


def check_writable(folder: Path) -> None:
    """Refuse a folder that can't be made or written to.

    Raises
    ------
    OSError
        If it can't, with the reason.
    """
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        raise NotADirectoryError(
            f"expected a folder for the results at {there}, found a file; choose another output"
        )
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(
            f"the folder {there} can't be written to; choose another output or ask its owner"
        )


@dataclass(frozen=True, slots=True)
class PromptCount:
    """How much there is to decode; time grows in proportion to the clicks.

    Parameters
    ----------
    planes
        To be embedded.
    objects
        Those of each plane.
    clicks
        And boxes.
    """

    planes: int = 0
    objects: int = 0
    clicks: int = 0


def count_prompts(
    images: Iterable[Path], prompts: Source | None = None, boxes: Source | None = None
) -> PromptCount:
    """Count what :func:`~napari_sam.batch.segment_files` would decode, without a model.

    Parameters
    ----------
    images
        From :func:`find_images`.
    prompts, boxes
        As for :func:`~napari_sam.batch.segment_files`. Files that are missing or broken count
        nothing: they are reported when their image's turn comes.
    """
    planes = objects = clicks = 0
    for image in images:
        try:
            given = saved_prompts(image, prompts, boxes)
        except (OSError, ValueError):
            continue
        planes += len({plane for plane, _ in given})
        objects += len(given)
        clicks += sum(len(one.points) + (one.box is not None) for one in given.values())
    return PromptCount(planes, objects, clicks)


def find_images(sources: Source | Iterable[Source]) -> list[Path]:
    """List the images that files, folders and patterns name.

    Parameters
    ----------
    sources
        Image files; folders, of which every image directly inside is taken; patterns such as
        ``"day*/*.tif"``. Or several of them.

    Returns
    -------
    images
        In the order given, those of a folder or pattern by name; each once.

    Raises
    ------
    FileNotFoundError
        If there is nothing under a name.
    ValueError
        If a folder or pattern has no images.
    """
    given = [sources] if isinstance(sources, str | Path) else list(sources)
    found: dict[Path, None] = {}
    for source in given:
        found.update(dict.fromkeys(_expand(source)))
    if not found:
        raise ValueError("expected at least one image, got none")
    return list(found)


def plan(images: Sequence[Path], output: Source, suffix: str) -> list[Task]:
    """Decide where the results of each image go.

    Parameters
    ----------
    images
        From :func:`find_images`.
    output
        A folder, made when needed; or, for a single image, the label file itself.
    suffix
        Format of label files in a folder, one of :data:`~napari_sam.io.LABEL_FORMATS`.

    Raises
    ------
    ValueError
        If the format is unknown, two images would have the same result, or a result would
        replace an image.
    """
    output = Path(output).expanduser()
    if is_label_file(output) and not (output.is_dir() and output.suffix.lower() != ".zarr"):
        if len(images) > 1:
            raise ValueError(
                f"expected a folder for the results of {len(images)} images, got the file {output}"
            )
        tasks = [_task(images[0], output, output.parent / stem_of(output))]
    else:
        if suffix not in LABEL_FORMATS:
            raise ValueError(
                f"expected a label format among {', '.join(LABEL_FORMATS)}, got {suffix!r}"
            )
        names = [output / stem_of(image) for image in images]
        tasks = [
            _task(image, name.with_name(f"{name.name}_labels{suffix}"), name)
            for image, name in zip(images, names, strict=True)
        ]
    _refuse_collisions(tasks)
    return tasks


def is_label_file(output: Source) -> bool:
    """Whether an output path names a label file rather than a folder."""
    return Path(output).suffix.lower() in LABEL_FORMATS


def prompts_of(image: Path, prompts: Source | None) -> Path:
    """Find the prompts file of an image.

    Parameters
    ----------
    image
        The image.
    prompts
        One prompts file for every image; a folder with one of each image's name; or ``None``,
        for prompts beside the images. Sessions (``.napari-sam``) are prompts files, too.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    if prompts is not None and not Path(prompts).is_dir():
        path = Path(prompts)
        advice = "give the file that napari saves for a Points layer, or a session"
    else:
        folder = image.parent if prompts is None else Path(prompts)
        path = folder / f"{stem_of(image)}.csv"
        if not path.is_file() and (session := path.with_suffix(SESSION)).is_file():
            path = session
        advice = "name prompts files after their images, or give one with --prompts"
    refuse_special(path)
    if not path.is_file():
        raise FileNotFoundError(f"expected a prompts file at {path}, found none; {advice}")
    return path


def boxes_of(image: Path, boxes: Source | None) -> Path | None:
    """Find the boxes file of an image.

    Parameters
    ----------
    image
        The image.
    boxes
        One boxes file for every image; a folder, where images without a file of their name have
        no boxes; or ``None``, for none.

    Raises
    ------
    FileNotFoundError
        If the one file isn't there.
    """
    if boxes is None:
        return None
    path = Path(boxes)
    if path.is_dir():
        path = path / f"{stem_of(image)}.csv"
        return path if path.is_file() else None
    if not path.is_file():
        raise FileNotFoundError(
            f"expected a boxes file at {path}, found none; give the file that napari saves for a "
            "Shapes layer"
        )
    return path


def saved_prompts(image: Path, prompts: Source | None, boxes: Source | None) -> SavedPrompts:
    """Read what was saved for an image: its points, and its boxes where they are given.

    Raises
    ------
    FileNotFoundError, ValueError
        If something that was asked for isn't there or can't be read. Points are not needed where
        boxes are given alone.
    """
    where = boxes_of(image, boxes)
    try:
        saved = _read(prompts_of(image, prompts))
    except FileNotFoundError:
        if prompts is not None or where is None:
            raise
        saved = SavedPrompts({})
    if where is None:
        return saved
    if saved.has_boxes:
        raise ValueError(
            f"expected boxes or a session, got both, {where} and {prompts_of(image, prompts)}; "
            "the session has its boxes: leave the others out"
        )
    return with_boxes(saved, read_boxes(where))


def _read(path: Path) -> SavedPrompts:
    """Read a table of prompts, or the prompts of a session."""
    if path.suffix.lower() != SESSION:
        return read_prompts(path)
    from napari_sam.batch.replay import prompts_of_session  # takes torch, for which tables needn't

    return prompts_of_session(path)


def files_of_prompts(image: Path, prompts: Source | None, boxes: Source | None) -> list[Path]:
    """Return the files that :func:`saved_prompts` reads, as far as they are there."""
    where = boxes_of(image, boxes)
    try:
        found = [prompts_of(image, prompts)]
    except FileNotFoundError:
        found = []
    return found + ([] if where is None else [where])


def _has_prompts(image: Path, prompts: Source | None, boxes: Source | None) -> bool:
    return bool(files_of_prompts(image, prompts, boxes))


def _expand(source: Source) -> list[Path]:
    path = Path(source).expanduser()
    if path.is_dir() and path.suffix.lower() != ".zarr":
        found = sorted(p for p in path.iterdir() if _is_image(p))
        if not found:
            raise ValueError(
                f"expected images ({', '.join(IMAGE_FORMATS)}) in the folder {path}, found none"
            )
        return found
    if path.exists():
        return [path]
    if glob.has_magic(str(source)):
        found = [Path(p) for p in sorted(glob.glob(str(path), recursive=True))]
        if not found:
            raise ValueError(f"expected images that match {source}, found none")
        return found
    raise FileNotFoundError(f"expected an image or a folder at {path}, found nothing there")


def _is_image(path: Path) -> bool:
    if path.name.startswith(".") or path.suffix.lower() not in IMAGE_FORMATS:
        return False
    return path.is_file() or path.suffix.lower() == ".zarr"


def stem_of(path: Path) -> str:
    """Return an image's name as its results have it: without its suffix, and without ``.ome``."""
    return path.stem.removesuffix(".ome")


def _task(image: Path, labels: Path, name: Path) -> Task:
    return Task(image, labels, *(name.with_name(name.name + ending) for ending in ENDINGS))


def _refuse_collisions(tasks: Sequence[Task]) -> None:
    owners: dict[Path, Path] = {}
    for task in tasks:
        other = owners.setdefault(task.labels, task.image)
        if other != task.image:
            raise ValueError(
                f"the labels of {other} and {task.image} would both be {task.labels}; give "
                "them in separate runs with different output folders"
            )
    images = {task.image.resolve() for task in tasks}
    for task in tasks:
        for result in (task.labels, task.overlay, task.measurements, task.tracks, task.ctc):
            if result.resolve() in images:
                raise ValueError(
                    f"the result {result} would replace an image; choose another output folder"
                )
