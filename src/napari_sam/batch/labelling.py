"""The work of a batch on one image: read it, label it, write the results.

Every class here can be pickled and sent to another process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from napari_sam.atomic import heal, replaced
from napari_sam.batch.cluster import ClusterModel
from napari_sam.batch.image import Labels, label_everything, label_objects
from napari_sam.batch.inputs import Source, Task, files_of_prompts, saved_prompts
from napari_sam.batch.manifest import Manifest, fingerprint
from napari_sam.batch.model_input import InputReader, image_of_prompts, objects_in_words
from napari_sam.batch.run import Job, Part
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
from napari_sam.segmentation.protocol import Progress, Segmenter

Notify = Callable[[str], None]
"""Called with each sentence about something that was done otherwise than asked for."""


@dataclass(frozen=True, slots=True)
class Opening:
    """Options of opening images, which override what their files record."""

    axes: str | None
    channel: int | None

    def given(self) -> dict[str, object]:
        """Return what decides the labels; nothing by default."""
        asked = {"axes": self.axes and self.axes.upper(), "channel": self.channel}
        return {name: value for name, value in asked.items() if value is not None}

    def read(self, path: Path) -> ImageFile:
        """Open an image."""
        return read_image(path, self.axes, self.channel)


class Method(Protocol):
    """A way to make the labels of an image."""

    @property
    def contrast_limits(self) -> Limits | None:
        """Values that become black and white."""
        ...

    def absolute(self) -> Method:
        """Return the same for processes that work in another folder."""
        ...

    def read(self, task: Task, opening: Opening) -> ImageFile:
        """Open the part of an image that the labels belong to."""
        ...

    def label(
        self, segmenter: Segmenter, task: Task, image: ImageFile, report: Progress, notify: Notify
    ) -> Labels:
        """Make the labels."""
        ...

    def clicks(self, task: Task) -> Mapping[PlaneObject, Prompts]:
        """Return what an overlay shows beside the labels."""
        ...

    def about(self, task: Task) -> Mapping[str, object]:
        """Return what decides the labels, beside the image and the model."""
        ...


@dataclass(frozen=True, slots=True)
class FromPrompts:
    """Objects from saved prompts; parameters as of :func:`~napari_sam.batch.segment_files`."""

    prompts: Source | None
    boxes: Source | None
    contrast_limits: Limits | None
    overwrite: bool

    def absolute(self) -> FromPrompts:
        """Return the same with absolute paths."""
        return replace(self, prompts=_absolute(self.prompts), boxes=_absolute(self.boxes))

    def read(self, task: Task, opening: Opening) -> ImageFile:
        """Open the image, or its channel that the prompts were given on."""
        return image_of_prompts(opening.read(task.image), self.clicks(task))

    def label(
        self, segmenter: Segmenter, task: Task, image: ImageFile, report: Progress, notify: Notify
    ) -> Labels:
        """Replay each object's prompts."""
        given = self.clicks(task)
        for note in (*given.notes, *_missing_boxes(given)):
            notify(note)
        limits, overwrite = self.contrast_limits, self.overwrite
        return label_objects(segmenter, image, given, limits, overwrite, report, notify)

    def clicks(self, task: Task) -> SavedPrompts:
        """Read the image's prompts."""
        return saved_prompts(task.image, self.prompts, self.boxes)

    def about(self, task: Task) -> Mapping[str, object]:
        """Return the options and the prompts themselves."""
        files = files_of_prompts(task.image, self.prompts, self.boxes)
        return {
            "contrast": self.contrast_limits,
            "overwrite": self.overwrite,
            "prompts": b"".join(path.read_bytes() for path in files),
        }


@dataclass(frozen=True, slots=True)
class Everything:
    """Every object; parameters as of :func:`~napari_sam.batch.segment_all_files`.

    `settings` are pairs of a name and a value, `link_iou` among them.
    """

    contrast_limits: Limits | None
    settings: tuple[tuple[str, Any], ...]

    def absolute(self) -> Everything:
        """Return itself, which has no paths."""
        return self

    def read(self, task: Task, opening: Opening) -> ImageFile:
        """Open the image."""
        return opening.read(task.image)

    def label(
        self, segmenter: Segmenter, task: Task, image: ImageFile, report: Progress, notify: Notify
    ) -> Labels:
        """Find all objects."""
        limits = self.contrast_limits
        return label_everything(segmenter, image, limits, report, **dict(self.settings))

    def clicks(self, task: Task) -> Mapping[PlaneObject, Prompts]:
        """Return no prompts."""
        return {}

    def about(self, task: Task) -> Mapping[str, object]:
        """Return the settings."""
        return {"contrast": self.contrast_limits, "settings": sorted(self.settings)}


@dataclass(frozen=True, slots=True)
class Labelling:
    """The labels of one image and the files that go with them.

    Parameters
    ----------
    task
        The image, and where its results go.
    opening, method
        How it is opened and labelled.
    overlay, measurements
        Whether a picture and a table are written, too.
    """

    task: Task
    opening: Opening
    method: Method
    overlay: bool
    measurements: bool

    def fingerprint(self, segmenter: Segmenter | ClusterModel) -> str:
        """Hash the image's identity and everything that decides its labels."""
        about = keys_of(segmenter, isinstance(self.method, Everything))
        about |= self.method.about(self.task)
        return fingerprint(self.task.image, about | self.opening.given())

    def has_extras(self) -> bool:
        """Whether what goes beside the labels is there."""
        return (not self.overlay or self.task.overlay.exists()) and (
            not self.measurements or self.task.measurements.exists()
        )

    def make(
        self, segmenter: Segmenter, report: Progress, notify: Notify, begin: Callable[[], None]
    ) -> None:
        """Label the image and write everything; `begin` is called before the first is written."""
        image = self.method.read(self.task, self.opening)
        labels = self.method.label(segmenter, self.task, image, report, notify)
        begin()
        axes = image.axes.removesuffix("S")
        write_labels(self.task.labels, labels, axes, image.pixel_size, image.unit)
        self._write_extras(image, labels)

    def complete(self) -> None:
        """Write what goes beside labels that are there, perhaps edited since."""
        image = self.method.read(self.task, self.opening)
        self._write_extras(image, read_labels(self.task.labels, image))

    def _write_extras(self, image: ImageFile, labels: Labels) -> None:
        task = self.task
        if self.overlay:
            clicks, limits = self.method.clicks(task), self.method.contrast_limits
            draw_labels(task.overlay, image, labels, clicks, limits)
        if self.measurements:
            with replaced(task.measurements) as path:
                path.write_text(table_to_csv(measure_labels(image, labels)), "utf-8")


def keys_of(segmenter: Segmenter | ClusterModel, finds: bool) -> dict[str, object]:
    """Return the keys of a model that labels depend on; with its decoder's if it `finds`."""
    keys: dict[str, object] = {"model": (segmenter.model_key, segmenter.precision)}
    if finds and segmenter.traits.maps_instances:
        keys["decoder"] = segmenter.traits.instance_key
    return keys


@dataclass(frozen=True, slots=True)
class LabellingPart:
    """A labelling for another process, which has no manifest.

    `labels_are_there` if only the files that go with the labels are missing.
    """

    labelling: Labelling
    labels_are_there: bool

    def work(self, segmenter: Segmenter, report: Progress, notify: Notify) -> None:
        """Do it."""
        if self.labels_are_there:
            self.labelling.complete()
        else:
            self.labelling.make(segmenter, report, notify, _nothing)


def labelling_job(
    labelling: Labelling, manifest: Manifest | None, segmenter: Segmenter | ClusterModel
) -> Job:
    """Return the job of labelling an image, of which the manifest records what is finished.

    Parameters
    ----------
    labelling
        The image and how it is labelled.
    manifest
        The manifest of the folder; None for a single file, which is always made.
    segmenter
        The model; with one on a cluster, the job is split into parts.
    """
    task, notes = labelling.task, list[str]()
    sent: list[str] = []  # the fingerprint of labels that are made elsewhere

    def mark() -> str:
        return labelling.fingerprint(segmenter)

    def is_labelled() -> bool:
        heal(task.labels)
        return manifest is not None and manifest.is_done(task.labels, mark())

    def is_done() -> bool:
        return is_labelled() and labelling.has_extras()

    def begin() -> None:
        if manifest is not None:
            manifest.begin(task.labels)

    def work(report: Progress) -> None:
        assert not isinstance(segmenter, ClusterModel)
        if is_labelled():
            labelling.complete()
            return
        made = mark()
        labelling.make(segmenter, report, notes.append, begin)
        if manifest is not None:
            manifest.add(task.labels, made)

    def parts() -> list[Part]:
        if is_labelled():
            return [LabellingPart(labelling, labels_are_there=True)]
        sent[:] = [mark()]  # before it is read: what changes later is made again
        begin()
        return [LabellingPart(labelling, labels_are_there=False)]

    def finish() -> None:
        if manifest is not None and sent:
            manifest.add(task.labels, sent[0])

    return Job(task.image, is_done, work, notes, parts, finish)


def _nothing() -> None:
    pass


def _absolute(path: Source | None) -> Path | None:
    return None if path is None else Path(path).expanduser().absolute()


def read_labels(path: Path, image: ImageFile) -> Labels:
    """Read the labels of an image, with the image's axes of length 1, which TIFF drops."""
    labels = np.asarray(read_image(path).data[...])
    shape = image.stack_shape + image.plane_shape
    if [n for n in labels.shape if n > 1] != [n for n in shape if n > 1]:
        raise ValueError(
            f"expected labels of the image's shape {shape} in {path}, got {labels.shape}; move "
            "the file away to have it made again"
        )
    return labels.reshape(shape)


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
    """Draw labels and prompts over an image; for a stack, over the plane with most objects.

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
