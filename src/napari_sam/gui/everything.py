"""Everything at once: all objects of the plane on screen, or of the whole stack.

What finds them is imported on the threads that do it, so that the window opens at once.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from napari_sam.engine import SOON, Engine, Outcome, Report
from napari_sam.gui.annotation import Annotation
from napari_sam.gui.layers import new_labels
from napari_sam.gui.mask_writer import highest_label
from napari_sam.gui.planes import channel_axis
from napari_sam.segmentation.protocol import Segmenter
from napari_sam.session import Plane, PlaneSource, plane_axes

if TYPE_CHECKING:
    from napari.layers import Labels

    from napari_sam.automask import ObjectMask


@dataclass(slots=True, eq=False)
class _Run:
    """One request: its planes, and what was found in those that are done."""

    annotation: Annotation
    segmenter: Segmenter
    source: PlaneSource
    planes: list[Plane]
    axis: int | None
    linked: bool
    labels: Labels | None = None  # the masks in which numbers were looked up
    found: list[list[ObjectMask]] = field(default_factory=list)

    @property
    def next(self) -> Plane:
        return self.planes[len(self.found)]


class Everything:
    """Finds all objects, plane by plane, on the thread that embeds; clicks go first.

    Objects of a plane go into the masks of the image, where nothing is yet, as one step of
    napari's undo. Those of a stack, linked along it, become a layer of their own.

    Parameters
    ----------
    engine
        Where it runs.

    Attributes
    ----------
    changed
        It began, went on, or ended.
    finished
        It ended well: a sentence.
    refused
        It could not be done: the error.
    """

    changed = Signal()
    finished = Signal(str)
    refused = Signal(object)

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._run: _Run | None = None
        self._within = 0.0

    @property
    def fraction(self) -> float | None:
        """Share that is done; None while nothing runs."""
        if self._run is None:
            return None
        return min(1.0, (len(self._run.found) + self._within) / len(self._run.planes))

    @property
    def annotation(self) -> Annotation | None:
        """Whose image is being worked on."""
        return self._run.annotation if self._run else None

    def start(
        self, annotation: Annotation, segmenter: Segmenter, plane: Plane, axis: int | None = None
    ) -> None:
        """Find everything on a plane, or on all planes along an axis.

        Parameters
        ----------
        annotation
            Whose image, and whose masks.
        segmenter
            The model.
        plane
            A plane of the image.
        axis
            The axis to go along; None for the one plane alone. Objects that overlap from plane to
            plane become one, except along channels.
        """
        self.cancel()
        planes = [plane]
        source = annotation.session.source
        if axis is not None:
            length = source.shape[axis]
            planes = [(*plane[:axis], i, *plane[axis + 1 :]) for i in range(length)]
        linked = axis is not None and axis != channel_axis(annotation.image)
        self._run = _Run(annotation, segmenter, source, planes, axis, linked)
        self._go_on()

    def cancel(self) -> None:
        """Stop; what was found so far is dropped."""
        if self._run is not None:
            run, self._run = self._run, None
            self._engine.cancel(_key(run))
            self._engine.cancel(_linking(run))
            self.changed.emit()

    def _go_on(self) -> None:
        run, self._within = self._run, 0.0
        assert run is not None
        # One task a plane: between two of them what is more urgent gets its turn.
        self._engine.embed(
            _key(run),
            partial(_find, run.segmenter, run.source, run.next),
            partial(self._plane_done, run),
            SOON,
            partial(self._plane_progress, run),
        )
        self.changed.emit()

    def _plane_progress(self, run: _Run, fraction: float) -> None:
        if run is self._run:
            self._within = fraction
            self.changed.emit()

    def _plane_done(self, run: _Run, outcome: Outcome) -> None:
        if run is not self._run:
            return
        error = run.annotation.session.closed or outcome.error
        if error is not None:
            self._stop(None if outcome.cancelled else error)
            return
        run.found.append(outcome.value)
        if len(run.found) < len(run.planes):
            self._go_on()
            return
        run.labels = run.annotation.labels
        try:
            if run.labels is not None:
                run.annotation.masks.layer_for(0, run.planes[0] if run.axis is None else None)
        except (ValueError, MemoryError) as error:
            self._stop(error)
        else:
            label, done = partial(_label, run), partial(self._labelled, run)
            self._engine.chore(_linking(run), label, done, awaited=False)

    def _stop(self, error: Exception | None) -> None:
        self._run = None
        if error is not None:
            self.refused.emit(error)
        self.changed.emit()

    def _labelled(self, run: _Run, outcome: Outcome) -> None:
        if run is not self._run:
            return
        self._run = None
        try:
            if (error := run.annotation.session.closed or outcome.error) is not None:
                raise error
            found, highest = outcome.value
            if run.axis is None:
                _write_plane(run, found, highest)
            elif found.any():
                _write_stack(run, found, highest)
        except (ValueError, MemoryError, RuntimeError, OSError) as error:
            self.refused.emit(error)
        else:
            self.finished.emit(_told(int(found.max(initial=0))))
        self.changed.emit()


def _key(run: _Run) -> tuple[object, ...]:
    return "everything", run, len(run.found)


def _linking(run: _Run) -> tuple[object, ...]:
    return "linking", run


def _find(
    segmenter: Segmenter, source: PlaneSource, plane: Plane, report: Report
) -> list[ObjectMask]:
    from napari_sam.automask import generate_masks

    pixels, limits = source.read(plane)
    return generate_masks(segmenter, pixels, limits, report)


def _label(run: _Run, report: Report) -> tuple[NDArray[np.int32], int]:
    """Make labels of what was found, and look up the highest number that the masks hold.

    The labels are `(H, W)`, or one plane behind the other.
    """
    from napari_sam.automask import link_planes, merge_objects

    shape = run.source.plane_shape(run.planes[0])
    layer = run.labels
    highest = 0 if layer is None else highest_label(layer.data, report)
    if run.axis is not None:
        stack = np.empty((len(run.found), *shape), np.int32)
        for i, found in enumerate(run.found):
            report(i / len(run.found))
            stack[i] = merge_objects(found, shape)
        return link_planes(stack) if run.linked else _number_on(stack), highest
    taken = None
    if layer is not None:
        at = tuple(slice(None) if i is None else i for i in run.planes[0])
        taken = np.asarray(layer.data[at]) != 0
    return merge_objects(run.found[0], shape, taken), highest


def _number_on(stack: NDArray[np.int32]) -> NDArray[np.int32]:
    """Give the objects of each plane numbers above those of the plane before."""
    counts = stack.max(axis=(1, 2), initial=0)
    above = np.cumsum(counts) - counts
    return np.where(stack > 0, stack + above[:, None, None], 0).astype(np.int32)


def _write_plane(run: _Run, found: NDArray[np.int32], highest: int) -> None:
    session = run.annotation.session
    first = max(highest, session.highest_object)
    run.annotation.masks.write(found, first, run.planes[0])
    run.annotation.masks.reserve(first + int(found.max(initial=0)))


def _write_stack(run: _Run, found: NDArray[np.int32], highest: int) -> None:
    """Fill the masks if they are empty, or else a new layer, with a stack of labels."""
    annotation, axis, plane = run.annotation, run.axis, run.planes[0]
    assert axis is not None
    masks = annotation.labels
    empty = masks is run.labels and highest == 0  # not those that were picked since
    fills = masks is not None and empty and masks.dtype.itemsize >= found.itemsize
    layer = masks if fills and masks is not None else new_labels(annotation.image)
    spanned = (axis, *plane_axes(plane))
    at: list[Any] = [slice(None) if i in spanned else n for i, n in enumerate(plane)]
    at[axis] = slice(len(run.planes))  # there may be more by now
    arranged = found.transpose(np.argsort(spanned))
    channel = run.source.channel_axis
    if channel is not None and channel not in spanned:  # the same for all of them
        at[channel] = slice(None)
        arranged = np.expand_dims(arranged, sum(i < channel for i in spanned))
    try:
        layer.data[tuple(at)] = arranged
    except Exception as error:  # whatever a disk or a store does: empty as before, and said
        with suppress(Exception):
            layer.data[tuple(at)] = 0
        layer.refresh()
        raise OSError(
            f"expected to write labels into '{layer.name}', got {type(error).__name__}: {error}; "
            "free the disk, or pick other labels under 'Masks in'"
        ) from error
    if fills:
        layer.refresh()
        annotation.masks.reserve(int(found.max()))
    else:
        layer.name = f"{annotation.image.name} · everything"
        annotation.add_labels(layer)


def _told(count: int) -> str:
    if not count:
        return "Nothing was found; a higher contrast or another model may help"
    return f"{count} object{'s' if count > 1 else ''} found"
