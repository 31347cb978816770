"""Tracking of objects in movies without a viewer, with a table of the tracks."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam.atomic import heal, replaced
from napari_sam.automask import AutomaskSettings
from napari_sam.batch.files import manifest_of
from napari_sam.batch.image import label_everything
from napari_sam.batch.inputs import Source, Task, check_request, plan, stem_of
from napari_sam.batch.labelling import Opening, keys_of, read_labels
from napari_sam.batch.manifest import Manifest, fingerprint
from napari_sam.batch.run import BatchProgress, BatchSummary, Job, run
from napari_sam.image import Limits
from napari_sam.io import IMAGE_FORMATS, LABEL_FORMATS, ImageFile, write_labels
from napari_sam.io.exports import ExportedObjects
from napari_sam.io.exports.ctc import TRACK_FILE, write_ctc
from napari_sam.measurements import Table, table_to_csv
from napari_sam.segmentation.protocol import Progress, Segmenter, part_of
from napari_sam.tracking import Division, LinkSettings, link, suggest_divisions
from napari_sam.tracking.seen import Key, Seen, observe

# Of the time for an image, to find its objects takes about so much.
_FINDING = 0.95


@dataclass(frozen=True, slots=True)
class _Tracked:
    """Labels with a number for each track, with the objects and parents of the tracks."""

    labels: NDArray[Any]
    objects: Mapping[Key, Seen]  # by frame and track
    parents: Mapping[int, int]


def track_files(
    segmenter: Segmenter | None,
    images: Source | Iterable[Source],
    output: Source,
    labels: Source | None = None,
    settings: LinkSettings | None = None,
    contrast_limits: Limits | None = None,
    ctc: bool = False,
    suffix: str = ".tif",
    progress: BatchProgress | None = None,
    axes: str | None = None,
    channel: int | None = None,
    **automask: Any,
) -> BatchSummary:
    """Find the objects of each frame of movies, and link them to tracks.

    For each image two files are written: ``NAME_labels.tif``, in which an object has the same
    number on all frames, and ``NAME_tracks.csv``, with a row for each object of each frame:
    track, frame, position, area and the parent track.

    Parameters
    ----------
    segmenter
        The model; not needed if labels are given.
    images
        Files, folders or patterns, as for :func:`find_images`, with an axis T, and possibly Z.
    output
        As in :func:`segment_files`.
    labels
        Existing objects: the label file of the one image, or a folder with ``NAME_labels.tif`` or
        ``NAME.tif`` for each. Their numbers are independent between frames.
    settings
        Settings of the linking, with distances in the image's unit if it has pixel sizes.
    contrast_limits
        As in :func:`~napari_sam.automask.segment_all`.
    ctc
        Whether to write the folder ``NAME_ctc`` as well, in the format of the Cell Tracking
        Challenge.
    suffix, progress, axes, channel
        As in :func:`segment_files`.
    **automask
        As in :func:`~napari_sam.automask.segment_all`.

    Returns
    -------
    summary
        As in :func:`segment_files`.

    Raises
    ------
    FileNotFoundError, ValueError, TypeError
        As in :func:`segment_files`, and for settings that don't exist or are out of range.
    """
    settings = settings or LinkSettings()
    tasks = plan(check_request(images, output, suffix=suffix), output, suffix)
    AutomaskSettings(**automask)  # refuse wrong ones before any work
    if segmenter is None and labels is None:
        raise ValueError("expected a model, or labels of objects to link, got neither")
    if labels is not None:
        _check_labels(tasks, Path(labels))
    parameters: dict[str, object] = {"tracks": settings}
    if labels is None and segmenter is not None:
        parameters |= keys_of(segmenter, finds=True)
        parameters |= {
            "contrast": contrast_limits,
            "settings": sorted(automask.items()),
        }
    opening = Opening(axes, channel)
    parameters |= opening.given()

    def found(task: Task, image: ImageFile, report: Progress | None) -> NDArray[Any]:
        if labels is not None:
            return read_labels(labels_of(task.image, Path(labels)), image)
        assert segmenter is not None
        return label_everything(segmenter, image, contrast_limits, report, **automask)

    def about(task: Task) -> Mapping[str, object]:
        if labels is None:
            return parameters
        return parameters | {"labels": fingerprint(labels_of(task.image, Path(labels)), {})}

    with manifest_of(output) as manifest:
        jobs = [_job(task, opening, found, about, settings, ctc, manifest) for task in tasks]
        return run(jobs, progress)


def _job(
    task: Task,
    opening: Opening,
    find: Callable[[Task, ImageFile, Progress | None], NDArray[Any]],
    about: Callable[[Task], Mapping[str, object]],
    settings: LinkSettings,
    ctc: bool,
    manifest: Manifest | None,
) -> Job:
    def is_labelled() -> bool:
        heal(task.labels)
        mark = fingerprint(task.image, about(task))
        return manifest is not None and manifest.is_done(task.labels, mark)

    def is_done() -> bool:
        has_tracks = task.tracks.exists() and (not ctc or (task.ctc / TRACK_FILE).exists())
        return is_labelled() and has_tracks

    def work(report: Progress) -> None:
        image, mark = opening.read(task.image), fingerprint(task.image, about(task))
        check_movie(image)
        if is_labelled():  # perhaps edited since: only what goes beside them is missing
            known = _parents_in(task.tracks) if task.tracks.exists() else None
            labels = read_labels(task.labels, image)
            tracked = _kept(labels, image, settings, known, part_of(report, 0, _FINDING))
        else:
            labels = find(task, image, part_of(report, 0, _FINDING))
            tracked = _linked(labels, image, settings, part_of(report, _FINDING, 1))
            if manifest is not None:
                manifest.begin(task.labels)
            axes = image.axes.removesuffix("S")
            write_labels(task.labels, tracked.labels, axes, image.pixel_size, image.unit)
        with replaced(task.tracks) as path:
            path.write_text(table_to_csv(_table(tracked, image)), "utf-8")
        if ctc:
            whole = ExportedObjects(tracked.labels, image.axes.removesuffix("S"), task.image.name)
            write_ctc(whole, task.ctc, parents=tracked.parents)
        if manifest is not None:
            manifest.add(task.labels, mark)

    return Job(task.image, is_done, work)


def check_movie(image: ImageFile) -> None:
    """Raise an error for an image whose planes are not frames of a movie, or planes of frames.

    Raises
    ------
    ValueError
        If it has no time axis, or channels.
    """
    if "T" not in image.plane_axes:
        raise ValueError(
            f"expected a movie with a time axis T, got the axes {image.axes}; if one of them is "
            "time, name them in the file's order, such as --axes TYX"
        )
    if set(image.plane_axes) - set("TZ"):
        raise ValueError(
            f"expected a movie of one channel, with the axes T, Z, Y and X, got {image.axes}; "
            "choose a channel (--channel)"
        )


def labels_of(image: Path, labels: Path) -> Path:
    """Find the labels of an image.

    Parameters
    ----------
    image
        The image.
    labels
        Its labels, or a folder with labels of each image's name.

    Raises
    ------
    FileNotFoundError
        If there are none.
    """
    if not labels.is_dir() or labels.suffix.lower() == ".zarr":
        if not labels.exists():
            raise FileNotFoundError(f"expected labels at {labels}, found nothing there")
        return labels
    stem = stem_of(image)
    for name in (f"{stem}_labels", stem):
        for suffix in dict.fromkeys((*LABEL_FORMATS, *IMAGE_FORMATS)):
            if (path := labels / f"{name}{suffix}").exists() and path.resolve() != image.resolve():
                return path
    raise FileNotFoundError(
        f"expected labels of {image.name} in {labels}, such as {stem}_labels.tif, found none"
    )


def _check_labels(tasks: list[Task], labels: Path) -> None:
    if len(tasks) > 1 and not (labels.is_dir() and labels.suffix.lower() != ".zarr"):
        raise ValueError(
            f"expected a folder with the labels of {len(tasks)} images, got the file {labels}"
        )
    if len(tasks) == 1:
        labels_of(tasks[0].image, labels)
    elif not labels.exists():
        raise FileNotFoundError(f"expected a folder of labels at {labels}, found nothing there")
    for task in tasks:
        try:
            given = labels_of(task.image, labels).resolve()
        except FileNotFoundError:  # reported when its turn comes
            continue
        if given == task.labels.resolve():
            raise ValueError(
                f"the result {task.labels} would replace the labels that are linked; choose "
                "another output folder"
            )


def _linked(
    labels: NDArray[Any], image: ImageFile, settings: LinkSettings, report: Progress | None
) -> _Tracked:
    frames = _frames_first(labels, image)
    tracks = link(frames, settings, _spacing(image), part_of(report, 0, 0.8))
    relabelled = tracks.relabelled(frames, part_of(report, 0.8, 1))
    objects = {(t, tracks.numbers[t][label]): one for (t, label), one in tracks.objects.items()}
    at = image.axes.index("T")
    return _Tracked(np.moveaxis(relabelled, 0, at), objects, tracks.parents)


def _kept(
    labels: NDArray[Any],
    image: ImageFile,
    settings: LinkSettings,
    parents: Mapping[int, int] | None,
    report: Progress | None,
) -> _Tracked:
    """Use the numbers of labels as tracks; parents are suggested if none are known."""
    frames, spacing = _frames_first(labels, image), _spacing(image)
    seen = observe(frames, spacing, report=report)
    if parents is None:
        found: tuple[Division, ...] = ()
        if settings.divisions:
            found = suggest_divisions(frames, spacing, settings.reach, settings.max_gap)
        parents = {child: one.parent for one in found for child in one.daughters}
    present = {track for _, track in seen.objects}
    ends = {track: frame for frame, track in sorted(seen.objects)}
    starts = {track: frame for frame, track in sorted(seen.objects, reverse=True)}
    kept = {
        child: parent
        for child, parent in parents.items()
        if {child, parent} <= present and ends[parent] < starts[child]
    }
    return _Tracked(labels, seen.objects, kept)


def _frames_first(labels: NDArray[Any], image: ImageFile) -> NDArray[Any]:
    if labels.dtype.kind == "b":
        labels = labels.astype(np.uint8)
    return np.moveaxis(labels, image.axes.index("T"), 0)


def _spacing(image: ImageFile) -> tuple[float, ...] | None:
    """Return pixel sizes along Z, Y and X; None where the image doesn't give all of them."""
    sizes, space = image.pixel_size or {}, _space(image)
    return tuple(sizes[axis] for axis in space) if set(space) <= set(sizes) else None


def _space(image: ImageFile) -> str:
    return image.axes.removesuffix("S").replace("T", "")


def _table(tracked: _Tracked, image: ImageFile) -> Table:
    """Return a row for each track and frame."""
    order = sorted(tracked.objects, key=lambda key: (key[1], key[0]))
    seen = [tracked.objects[key] for key in order]
    space = _space(image).lower()
    unit = (image.unit or "unknown") if _spacing(image) else "pixel"
    table: Table = {
        "track": np.array([track for _, track in order], np.int64),
        "frame": np.array([frame for frame, _ in order], np.int64),
    }
    if seconds := (image.pixel_size or {}).get("T"):
        table["seconds"] = table["frame"] * seconds
    for i, axis in enumerate(space):
        table[f"centroid_{axis}"] = np.array([one.centroid[i] for one in seen], float)
    table["volume" if "z" in space else "area"] = np.array([one.area for one in seen], float)
    table["unit"] = np.full(len(order), unit, object)
    parents = [str(tracked.parents.get(track, "")) for _, track in order]
    table["parent"] = np.array(parents, object)
    return table


def _parents_in(path: Path) -> dict[int, int]:
    """Read the parents of a table of tracks, perhaps edited since.

    Raises
    ------
    ValueError
        If it isn't such a table.
    """
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        try:
            return {int(row["track"]): int(row["parent"]) for row in rows if row["parent"]}
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"expected a table with whole numbers in the columns track and parent in {path}; "
                "move it away to have it made again"
            ) from error
