"""Many image files at once, from paths to files; nothing is done twice."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from napari_sam.atomic import heal, replaced
from napari_sam.automask import AutomaskSettings
from napari_sam.batch.image import Labels, label_everything, label_objects
from napari_sam.batch.inputs import (
    Source,
    Task,
    check_request,
    files_of_prompts,
    find_images,
    is_label_file,
    plan,
    saved_prompts,
)
from napari_sam.batch.manifest import Manifest, fingerprint
from napari_sam.batch.model_input import InputReader, image_of_prompts, objects_in_words
from napari_sam.batch.run import BatchProgress, BatchSummary, Job, run
from napari_sam.image import Limits
from napari_sam.io import (
    ImageFile,
    PlaneObject,
    SavedPrompts,
    read_image,
    write_labels,
    write_overlay,
)
from napari_sam.io.measured import measure_labels
from napari_sam.measurements import table_to_csv
from napari_sam.prompts import Prompts
from napari_sam.segmentation.protocol import Progress, Segmenter, part_of

_Label = Callable[[ImageFile, Progress, Callable[[str], None]], Labels]


def embed_files(
    segmenter: Segmenter,
    images: Source | Iterable[Source],
    contrast_limits: Limits | None = None,
    progress: BatchProgress | None = None,
    axes: str | None = None,
    channel: int | None = None,
) -> BatchSummary:
    """Encode every plane of images, so that they are ready when they are opened.

    Parameters
    ----------
    segmenter
        A :class:`~napari_sam.CachedSegmenter`: its cache is what gets filled.
        Planes it already has cost only their reading.
    images
        As :func:`find_images` takes them.
    contrast_limits
        Values that become black and white. ``None``: robust limits, on a stack one pair for all
        planes of a channel. The viewer uses those of the image layer.
    progress
        Called with the image and the finished fraction; it may raise
        :class:`~napari_sam.Cancelled`.
    axes, channel
        As in :func:`~napari_sam.io.read_image`, for every image.
    """

    def work(path: Path, report: Progress) -> None:
        image = read_image(path, axes, channel)
        reader = InputReader(image, contrast_limits)
        count = int(np.prod(image.stack_shape))
        for i, index in enumerate(image.plane_indices()):
            part = part_of(report, i / count, (i + 1) / count)
            shown = reader.read(index)
            embedding = segmenter.embed(shown.pixels, shown.limits, part)
            segmenter.prepare(embedding, None, part)

    jobs = [Job(path, _never, partial(work, path)) for path in find_images(images)]
    return run(jobs, progress)


def segment_files(
    segmenter: Segmenter,
    images: Source | Iterable[Source],
    output: Source,
    prompts: Source | None = None,
    contrast_limits: Limits | None = None,
    overwrite: bool = False,
    overlay: bool = False,
    measurements: bool = False,
    suffix: str = ".tif",
    progress: BatchProgress | None = None,
    axes: str | None = None,
    channel: int | None = None,
    boxes: Source | None = None,
) -> BatchSummary:
    """Segment images from saved prompts, exactly as they were given in the viewer.

    Parameters
    ----------
    segmenter
        The model.
    images
        As :func:`find_images` takes them.
    output
        A folder for ``NAME_labels.tif`` of each image; there, what is done and unchanged is
        skipped. Or, for one image, the label file itself.
    prompts
        A prompts file or a session for all images, or a folder with ``NAME.csv`` or
        ``NAME.napari-sam`` of each; by default it lies beside the image.
    contrast_limits, overwrite
        As in :func:`label_objects`.
    overlay
        Whether to draw ``NAME_overlay.png`` too: the labels over the image, of a stack over the
        plane with most objects.
    measurements
        Whether to write ``NAME_measurements.csv`` too: a line for each object, as
        :func:`measure_labels` gives them.
    suffix
        Format of label files in a folder: ``".tif"`` or ``".zarr"``.
    progress
        Called with the image and the finished fraction; it may raise
        :class:`~napari_sam.Cancelled`.
    axes, channel
        As in :func:`~napari_sam.io.read_image`, for every image.
    boxes
        A boxes file for all images, as napari saves it for a Shapes layer, or a folder with
        ``NAME.csv`` of those that have boxes.

    Returns
    -------
    summary
        Also of images that failed: they don't stop the rest; and notes about what the prompts
        don't say and what was used instead.

    Raises
    ------
    FileNotFoundError, ValueError
        If an image or the one prompts file isn't there or can't be read, or if the results
        can't have the names asked for.
    """
    found = check_request(images, output, prompts, suffix, needs_prompts=True, boxes=boxes)
    tasks = plan(found, output, suffix)
    parameters: dict[str, object] = {
        "model": (segmenter.model_key, segmenter.precision),
        "contrast": contrast_limits,
        "overwrite": overwrite,
    }
    opening = Opening(axes, channel)
    parameters |= opening.given()

    def job(task: Task, manifest: Manifest | None) -> Job:
        def clicks() -> SavedPrompts:
            return saved_prompts(task.image, prompts, boxes)

        def read(path: Path) -> ImageFile:
            return image_of_prompts(opening.read(path), clicks())

        def label(image: ImageFile, report: Progress, tell: Callable[[str], None]) -> Labels:
            given = clicks()
            for note in (*given.notes, *_missing_boxes(given)):
                tell(note)
            return label_objects(segmenter, image, given, contrast_limits, overwrite, report, tell)

        def about() -> Mapping[str, object]:
            files = files_of_prompts(task.image, prompts, boxes)
            return parameters | {"prompts": b"".join(path.read_bytes() for path in files)}

        extras = _Extras(clicks if overlay else None, measurements, contrast_limits)
        return _labelling(task, read, label, about, extras, manifest)

    with manifest_of(output) as manifest:
        return run([job(task, manifest) for task in tasks], progress)


def segment_all_files(
    segmenter: Segmenter,
    images: Source | Iterable[Source],
    output: Source,
    contrast_limits: Limits | None = None,
    overlay: bool = False,
    measurements: bool = True,
    suffix: str = ".tif",
    progress: BatchProgress | None = None,
    link_iou: float = 0.3,
    axes: str | None = None,
    channel: int | None = None,
    **settings: Any,
) -> BatchSummary:
    """Segment everything in images.

    Parameters
    ----------
    segmenter, images, output, overlay, measurements, suffix, progress, axes, channel
        As in :func:`segment_files`.
    contrast_limits, link_iou, **settings
        As in :func:`~napari_sam.automask.segment_all`.

    Returns
    -------
    summary
        As in :func:`segment_files`.

    Raises
    ------
    FileNotFoundError, ValueError, TypeError
        As in :func:`segment_files`, and for settings that don't exist or make no sense.
    """
    tasks = plan(check_request(images, output, suffix=suffix), output, suffix)
    AutomaskSettings(**settings)  # refuse wrong ones before any work
    settings["link_iou"] = link_iou
    parameters: dict[str, object] = {
        "model": (segmenter.model_key, segmenter.precision),
        "contrast": contrast_limits,
        "settings": sorted(settings.items()),
    }
    opening = Opening(axes, channel)
    parameters |= opening.given()

    def label(image: ImageFile, report: Progress, tell: Callable[[str], None]) -> Labels:
        return label_everything(segmenter, image, contrast_limits, report, **settings)

    extras = _Extras(_no_prompts if overlay else None, measurements, contrast_limits)
    with manifest_of(output) as manifest:
        jobs = [
            _labelling(task, opening.read, label, lambda: parameters, extras, manifest)
            for task in tasks
        ]
        return run(jobs, progress)


@dataclass(frozen=True, slots=True)
class Opening:
    """How images are opened, where they don't say it themselves."""

    axes: str | None
    channel: int | None

    def given(self) -> dict[str, object]:
        """Return what decides the labels; nothing by default."""
        asked = {"axes": self.axes and self.axes.upper(), "channel": self.channel}
        return {name: value for name, value in asked.items() if value is not None}

    def read(self, path: Path) -> ImageFile:
        """Open an image."""
        return read_image(path, self.axes, self.channel)


@dataclass(frozen=True, slots=True)
class _Extras:
    """What is written beside the labels.

    `clicks`, where an overlay is wanted, gives what to draw in it.
    """

    clicks: Callable[[], Mapping[PlaneObject, Prompts]] | None
    measurements: bool
    contrast_limits: Limits | None

    def are_there(self, task: Task) -> bool:
        return (self.clicks is None or task.overlay.exists()) and (
            not self.measurements or task.measurements.exists()
        )

    def write(self, task: Task, image: ImageFile, labels: Labels) -> None:
        if self.clicks is not None:
            draw_labels(task.overlay, image, labels, self.clicks(), self.contrast_limits)
        if self.measurements:
            with replaced(task.measurements) as path:
                path.write_text(table_to_csv(measure_labels(image, labels)), "utf-8")


def _labelling(
    task: Task,
    read: Callable[[Path], ImageFile],
    label: _Label,
    about: Callable[[], Mapping[str, object]],
    extras: _Extras,
    manifest: Manifest | None,
) -> Job:
    """Make the job of reading an image, labelling it and writing the results.

    `about` gives what decides the labels, `read` the image that they belong to.
    """
    notes: list[str] = []

    def is_labelled() -> bool:
        heal(task.labels)
        mark = fingerprint(task.image, about())
        return manifest is not None and manifest.is_done(task.labels, mark)

    def is_done() -> bool:
        return is_labelled() and extras.are_there(task)

    def work(report: Progress) -> None:
        image, mark = read(task.image), fingerprint(task.image, about())
        if is_labelled():  # perhaps edited since: only what goes beside them is missing
            extras.write(task, image, read_labels(task.labels, image))
            return
        labels = label(image, report, notes.append)
        if manifest is not None:
            manifest.begin(task.labels)
        axes = image.axes.removesuffix("S")
        write_labels(task.labels, labels, axes, image.pixel_size, image.unit)
        extras.write(task, image, labels)
        if manifest is not None:
            manifest.add(task.labels, mark)

    return Job(task.image, is_done, work, notes)


def manifest_of(output: Source) -> AbstractContextManager[Manifest | None]:
    """Return what is known about a folder of results; nothing about a single file."""
    return nullcontext() if is_label_file(output) else Manifest(Path(output).expanduser())


def read_labels(path: Path, image: ImageFile) -> Labels:
    """Read the labels of an image, with its axes of length 1, for which TIFF has no place."""
    labels = np.asarray(read_image(path).data[...])
    shape = image.stack_shape + image.plane_shape
    if [n for n in labels.shape if n > 1] != [n for n in shape if n > 1]:
        raise ValueError(
            f"expected labels of the image's shape {shape} in {path}, got {labels.shape}; move "
            "the file away to have it made again"
        )
    return labels.reshape(shape)


def _never() -> bool:
    return False


def _no_prompts() -> Mapping[PlaneObject, Prompts]:
    return {}


def _missing_boxes(given: SavedPrompts) -> list[str]:
    if not given.boxed or given.has_boxes:
        return []
    numbers = objects_in_words(sorted({*given.boxed}))
    return [
        f"the viewer had boxes of {numbers}, which this run lacks: save the layer "
        "'... · shapes' as CSV, too, and give it with --boxes FILE"
    ]


def draw_labels(
    path: Path,
    image: ImageFile,
    labels: Labels,
    prompts: Mapping[PlaneObject, Prompts],
    contrast_limits: Limits | None = None,
) -> None:
    """Draw labels and prompts over an image; of a stack the plane with most objects.

    Parameters
    ----------
    path
        The PNG to write.
    image, labels, prompts, contrast_limits
        As in :func:`label_objects`.
    """
    index = max(image.plane_indices(), key=lambda at: len(np.unique(labels[at])))
    here = {key: one for key, one in prompts.items() if key[0] == index}
    inputs = prompts.inputs if isinstance(prompts, SavedPrompts) else {}
    given = next((inputs[key] for key in here if key in inputs), None)
    shown = InputReader(image, contrast_limits).read(index, given)
    write_overlay(path, shown.pixels, labels[index], list(here.values()), shown.limits)
