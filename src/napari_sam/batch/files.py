"""Batches over image files, from paths to result files; finished results are skipped."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from napari_sam.automask import AutomaskSettings
from napari_sam.batch.cluster import ClusterModel
from napari_sam.batch.inputs import (
    Source,
    check_request,
    find_images,
    is_label_file,
    plan,
)
from napari_sam.batch.labelling import (
    Everything,
    FromPrompts,
    Labelling,
    Method,
    Opening,
    labelling_job,
)
from napari_sam.batch.manifest import Manifest
from napari_sam.batch.model_input import InputReader
from napari_sam.batch.run import BatchProgress, BatchSummary, Job, Part, run
from napari_sam.image import Limits
from napari_sam.io import ImageFile
from napari_sam.segmentation.cached import embeddings_home
from napari_sam.segmentation.protocol import Progress, Segmenter, part_of

# Planes that a process of a cluster encodes at a time: a stack is shared out, and little is lost
# with a process.
_PLANES = 8


def embed_files(
    segmenter: Segmenter | ClusterModel,
    images: Source | Iterable[Source],
    contrast_limits: Limits | None = None,
    progress: BatchProgress | None = None,
    axes: str | None = None,
    channel: int | None = None,
) -> BatchSummary:
    """Encode every plane of images into a cache, so that they open without waiting.

    Parameters
    ----------
    segmenter
        A :class:`~napari_sam.CachedSegmenter`, whose cache is filled; planes in the cache are
        only read. Or a model on a cluster, from :func:`on_cluster`, whose workers each encode
        some planes of a stack.
    images
        Files, folders or patterns, as for :func:`find_images`.
    contrast_limits
        Values that become black and white. ``None`` means robust limits: on a stack, one pair for
        all planes of a channel. The viewer uses those of the image layer.
    progress
        Called with the image and the finished fraction; it may raise
        :class:`~napari_sam.Cancelled`.
    axes, channel
        As in :func:`~napari_sam.io.read_image`, for every image.

    Returns
    -------
    summary
        The images that were encoded, and those that failed with the reason.
    """
    opening, found = Opening(axes, channel), find_images(images)
    if isinstance(segmenter, ClusterModel):
        jobs = [_shared_embedding(path, opening, contrast_limits) for path in found]
        home = embeddings_home()
        with segmenter.sharing([home], found, embeddings=home) as run_shared:
            return run_shared(jobs, progress)
    wholes = [EmbeddingPart(path, opening, contrast_limits) for path in found]
    return run(
        [Job(one.image, _never, partial(one.work, segmenter, notify=_nobody)) for one in wholes],
        progress,
    )


@dataclass(frozen=True, slots=True)
class EmbeddingPart:
    """Planes of an image to be encoded; all of them if no numbers are given."""

    image: Path
    opening: Opening
    contrast_limits: Limits | None
    planes: range | None = None

    def work(self, segmenter: Segmenter, report: Progress, notify: Callable[[str], None]) -> None:
        """Do it."""
        image = self.opening.read(self.image)
        reader = InputReader(image, self.contrast_limits)
        planes = range(_count_planes(image)) if self.planes is None else self.planes
        indexes = list(image.plane_indices())
        for i, number in enumerate(planes):
            part = part_of(report, i / len(planes), (i + 1) / len(planes))
            shown = reader.read(indexes[number])
            embedding = segmenter.embed(shown.pixels, shown.limits, part)
            segmenter.prepare(embedding, None, part)


def _count_planes(image: ImageFile) -> int:
    return int(np.prod(image.stack_shape))


def _shared_embedding(path: Path, opening: Opening, contrast_limits: Limits | None) -> Job:
    def parts() -> list[Part]:
        count = _count_planes(opening.read(path))
        whole = EmbeddingPart(path.absolute(), opening, contrast_limits)
        return [
            replace(whole, planes=range(start, min(start + _PLANES, count)))
            for start in range(0, count, _PLANES)
        ]

    return Job(path, _never, parts=parts)


def segment_files(
    segmenter: Segmenter | ClusterModel,
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
        The model, or one on a cluster, from :func:`on_cluster`.
    images
        Files, folders or patterns, as for :func:`find_images`.
    output
        A folder for ``NAME_labels.tif`` of each image, in which results that are finished and
        whose inputs are unchanged are skipped. Or, for one image, the label file itself.
    prompts
        A prompts file or a session for all images, or a folder with ``NAME.csv`` or
        ``NAME.napari-sam`` for each; by default they lie beside the image.
    contrast_limits, overwrite
        As in :func:`label_objects`.
    overlay
        Whether to draw ``NAME_overlay.png``, too: the labels over the image; for a stack, over
        the plane with most objects.
    measurements
        Whether to write ``NAME_measurements.csv``, too: a row for each object, as from
        :func:`measure_labels`.
    suffix
        Format of label files in a folder: ``".tif"`` or ``".zarr"``.
    progress
        Called with the image and the finished fraction; it may raise
        :class:`~napari_sam.Cancelled`.
    axes, channel
        As in :func:`~napari_sam.io.read_image`, for every image.
    boxes
        A boxes file for all images, as napari saves it for a Shapes layer, or a folder with
        ``NAME.csv`` for those that have boxes.

    Returns
    -------
    summary
        The images that were finished, skipped, or failed, which doesn't stop the others; and
        notes about inputs that the prompts don't record, and those used instead.

    Raises
    ------
    FileNotFoundError, ValueError
        If an image or the one prompts file doesn't exist or can't be read, or if the results
        can't have the requested names.
    """
    found = check_request(images, output, prompts, suffix, needs_prompts=True, boxes=boxes)
    method = FromPrompts(prompts, boxes, contrast_limits, overwrite)
    opening, extras = Opening(axes, channel), (overlay, measurements)
    return _label_files(segmenter, found, output, suffix, opening, method, extras, progress)


def segment_all_files(
    segmenter: Segmenter | ClusterModel,
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
    """Segment every object of images.

    Parameters
    ----------
    segmenter, images, output
        As in :func:`segment_files`.
    contrast_limits
        As in :func:`~napari_sam.automask.segment_all`.
    overlay, measurements, suffix, progress
        As in :func:`segment_files`.
    link_iou
        As in :func:`~napari_sam.automask.segment_all`.
    axes, channel
        As in :func:`segment_files`.
    **settings
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
    found = check_request(images, output, suffix=suffix)
    AutomaskSettings(**settings)  # refuse wrong ones before any work
    settings["link_iou"] = link_iou
    method = Everything(contrast_limits, tuple(settings.items()))
    opening, extras = Opening(axes, channel), (overlay, measurements)
    return _label_files(segmenter, found, output, suffix, opening, method, extras, progress)


def _label_files(
    segmenter: Segmenter | ClusterModel,
    images: list[Path],
    output: Source,
    suffix: str,
    opening: Opening,
    method: Method,
    extras: tuple[bool, bool],
    progress: BatchProgress | None,
) -> BatchSummary:
    """Label images here or on a cluster; `extras` are an overlay and measurements."""
    tasks = plan(images, output, suffix)
    on_cluster = isinstance(segmenter, ClusterModel)
    if on_cluster:
        method = method.absolute()
    with manifest_of(output) as manifest:
        jobs = []
        for task in tasks:
            there = task.absolute() if on_cluster else task
            labelling = Labelling(there, opening, method, *extras)
            jobs.append(replace(labelling_job(labelling, manifest, segmenter), image=task.image))
        if isinstance(segmenter, ClusterModel):
            folders = {task.labels.absolute().parent for task in tasks}
            with segmenter.sharing(folders, images) as run_shared:
                return run_shared(jobs, progress)
        return run(jobs, progress)


def manifest_of(output: Source) -> AbstractContextManager[Manifest | None]:
    """Return the manifest of a folder of results; None for a single file."""
    return nullcontext() if is_label_file(output) else Manifest(Path(output).expanduser())


def _never() -> bool:
    return False


def _nobody(_: str) -> None:
    pass
