"""Training examples from a session: its finished objects, and completely labelled regions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psygnal import SignalInstance

from napari_sam.engine import Report
from napari_sam.examples import LEAST_PIXELS, Example
from napari_sam.geometry import Region
from napari_sam.image import Limits, robust_limits
from napari_sam.planes import Plane, PlaneSource, plane_axes
from napari_sam.prompts import Box
from napari_sam.session.canvas import LabelCanvas
from napari_sam.session.complete_regions import (
    Rectangle,
    Regions,
    rectangle,
    with_rectangle,
    without_rectangle,
)
from napari_sam.session.corrections import plane_order
from napari_sam.session.embeddings import finite
from napari_sam.session.journal import Change
from napari_sam.session.object_commands import ObjectCommands

# A plane of at most this side is one example; a larger plane gives squares of this side.
_SIDE = 1024
# Longer objects are left out.
_LONGEST = 4096
# The most examples that are read: more would add little.
_MOST = 32


@dataclass(frozen=True, slots=True, eq=False)
class TeachingObjects:
    """Finished objects of a session whose pixels can be read in any thread.

    Parameters
    ----------
    source, canvas
        The image and its labels.
    boxes
        A rectangle around each object, by plane and object.
    complete
        The regions in which every object is labelled, by plane.
    """

    source: PlaneSource
    canvas: LabelCanvas
    boxes: Mapping[Plane, Mapping[int, Rectangle]]
    complete: Mapping[Plane, Regions]

    @property
    def count(self) -> int:
        """Number of objects; an object on several planes counts once."""
        return len({number for boxes in self.boxes.values() for number in boxes})

    def read(self, report: Report | None = None) -> tuple[Example, ...]:
        """Read images and masks. This may be slow, and may be called in any thread.

        Parameters
        ----------
        report
            Called with the fraction (0-1) that is done; it may raise an exception to cancel.

        Returns
        -------
        examples
            At most 32 examples. If there are more, those with complete regions are preferred, and
            the others are spread evenly over the planes. An object that is cut off by the border
            of an example is left out of it.

        Raises
        ------
        OSError
            If the image or the labels can't be read.
        """
        parts = self._parts()
        examples: list[Example] = []
        latest: Plane | None = None
        for done, (plane, part) in enumerate(parts):
            if report is not None:
                report(done / len(parts))
            if plane != latest:
                latest, (pixels, limits) = plane, self.source.read(plane)
                if limits is None and max(self.source.plane_shape(plane)) > _SIDE:
                    limits = _limits_of_all(pixels)
            image, _ = finite(np.asarray(pixels[part]), limits)
            if (one := self._example(plane, part, image, limits)) is not None:
                examples.append(one)
        return tuple(examples)

    def _parts(self) -> list[tuple[Plane, Region]]:
        """Return the parts of planes that are read, in order."""
        parts: list[tuple[Plane, Region]] = []
        others: list[tuple[Plane, Region]] = []
        planes = sorted(self.boxes, key=plane_order)
        for plane in planes:
            shape = self.source.plane_shape(plane)
            for part in windows(list(self.boxes[plane].values()), shape):
                is_complete = any(_meets(one, part) for one in self.complete.get(plane, ()))
                (parts if is_complete else others).append((plane, part))
        left = max(_MOST - len(parts), 0)
        if len(others) > left:
            chosen = np.unique(np.linspace(0, len(others) - 1, left).round().astype(int))
            others = [others[i] for i in chosen]
        key = {plane: i for i, plane in enumerate(planes)}
        return sorted([*parts[:_MOST], *others], key=lambda one: key[one[0]])

    def _example(
        self, plane: Plane, part: Region, image: NDArray[Any], limits: Limits | None
    ) -> Example | None:
        shown = self.canvas.read(plane, part)
        inside = [n for n, box in self.boxes[plane].items() if _holds(part, box)]
        numbers, places, counts = np.unique(shown, return_inverse=True, return_counts=True)
        kept = np.isin(numbers, inside) & (counts >= LEAST_PIXELS)
        if not kept.any():
            return None
        labels = np.where(kept, np.cumsum(kept), 0)[places].reshape(shown.shape).astype(np.int32)
        complete = np.zeros(shown.shape, bool)
        for r0, c0, r1, c1 in self.complete.get(plane, ()):
            top, left = part[0].start, part[1].start
            rows = slice(max(0, r0 - top), max(0, r1 + 1 - top))
            complete[rows, max(0, c0 - left) : max(0, c1 + 1 - left)] = True
        complete &= (shown == 0) | (labels > 0)  # other labels may be anything
        return Example(
            image,
            labels,
            limits,
            complete if complete.any() else None,
            self.source.plane_shape(plane),
            f"plane {', '.join(str(i) for i in plane if i is not None)}",
        )


def windows(boxes: Sequence[Rectangle], shape: tuple[int, int]) -> list[Region]:
    """Return parts of a plane such that each rectangle lies within at least one of them.

    Parameters
    ----------
    boxes
        The rectangles; those that are too long are left out.
    shape
        (H, W) of the plane; a small plane is a single part.
    """
    if max(shape) <= _SIDE:
        return [(slice(0, shape[0]), slice(0, shape[1]))]
    left = np.array([box for box in boxes if max(_sides(box)) <= _LONGEST]).reshape(-1, 4)
    found = []
    while len(left):
        r0, c0, r1, c1 = (int(i) for i in left[np.lexsort((left[:, 1], left[:, 0]))[0]])
        part = tuple(
            _around(low, high, length)
            for low, high, length in ((r0, r1, shape[0]), (c0, c1, shape[1]))
        )
        found.append((part[0], part[1]))
        inside = (left[:, 0] >= part[0].start) & (left[:, 2] < part[0].stop)
        inside &= (left[:, 1] >= part[1].start) & (left[:, 3] < part[1].stop)
        left = left[~inside]
    return found


def _around(low: int, high: int, length: int) -> slice:
    side = min(length, max(_SIDE, high + 1 - low))
    start = min(max(0, (low + high + 1 - side) // 2), length - side)
    return slice(start, start + side)


def _sides(box: Rectangle) -> tuple[int, int]:
    return box[2] + 1 - box[0], box[3] + 1 - box[1]


def _holds(part: Region, box: Rectangle) -> bool:
    (rows, columns), (r0, c0, r1, c1) = part, box
    return rows.start <= r0 and r1 < rows.stop and columns.start <= c0 and c1 < columns.stop


def _meets(box: Rectangle, part: Region) -> bool:
    (rows, columns), (r0, c0, r1, c1) = part, box
    return r0 < rows.stop and rows.start <= r1 and c0 < columns.stop and columns.start <= c1


def _limits_of_all(pixels: NDArray[Any]) -> Limits | None:
    """Return the automatic contrast limits of a whole plane, to be used for all its parts."""
    return None if pixels.dtype == np.uint8 and pixels.ndim == 3 else robust_limits(pixels)


class Teaching(ObjectCommands):
    """The part of a session that provides examples to fine-tune a model."""

    complete_changed: SignalInstance

    @property
    def finished_count(self) -> int:
        """Number of finished objects: those that were clicked, painted, corrected or accepted.

        The current object counts only if it was accepted. No pixels are read for this.
        """
        return len(self._table.finished)

    @property
    def corrections_per_object(self) -> float:
        """Mean number of prompts after the first, over the finished objects that have prompts."""
        prompts = [count for count in self._table.finished.values() if count]
        return sum(prompts) / len(prompts) - 1 if prompts else 0.0

    def teaching_examples(
        self, complete: bool = False, report: Report | None = None
    ) -> tuple[Example, ...]:
        """Read the finished objects as examples to fine-tune a model; see :meth:`teaching_objects`.

        Parameters
        ----------
        complete
            Whether every object is labelled on each plane that has a finished object.
        report
            Called with the fraction (0-1) that is done; it may raise an exception to cancel.

        Returns
        -------
        examples
            One for each plane with finished objects.

        Raises
        ------
        ValueError
            If the session has no labels.
        OSError
            If the image or the labels can't be read.
        """
        return self.teaching_objects(complete).read(report)

    def teaching_objects(self, complete: bool = False) -> TeachingObjects:
        """Return the finished objects without reading pixels, which another thread can do.

        A followed mask is left out unless it or its object was accepted. Such masks, and labels
        that are not finished objects, count as unknown, even in complete regions.

        Parameters
        ----------
        complete
            As for :meth:`teaching_examples`.

        Raises
        ------
        ValueError
            If the session has no labels.
        """
        state, source = self._state, self.embeddings.source
        canvas = state.canvas
        if canvas is None:
            raise ValueError(
                "expected labels with finished objects, got none; give the session a canvas"
            )
        boxes: dict[Plane, dict[int, Rectangle]] = {}
        for number in self._table.finished:
            is_accepted = state.facts(number).accepted
            for plane, extent in self._table.extents(number).items():
                is_carried = state.known.of((number, plane)).is_carried and not is_accepted
                if plane_axes(plane) == source.spanned and not is_carried:
                    boxes.setdefault(plane, {})[number] = extent.box
        regions = dict(state.complete)
        if complete:
            regions = {plane: (rectangle(None, source.plane_shape(plane)),) for plane in boxes}
        return TeachingObjects(source, canvas, boxes, regions)

    # Complete regions

    def complete_regions(self, plane: object = ()) -> Regions:
        """Return the regions of a plane that are marked as complete; see :meth:`mark_complete`.

        Parameters
        ----------
        plane
            Index of the plane, as for :meth:`add_point`.

        Returns
        -------
        regions
            Rectangles (row 0, column 0, row 1, column 1) in pixels, ends inclusive.
        """
        return self._state.complete.get(self.embeddings.source.plane_of(plane), ())

    def mark_complete(self, plane: object = (), box: Box | None = None, on: bool = True) -> None:
        """Mark a region as complete: every object in it is labelled. This is one step.

        When a model is fine-tuned, the unlabelled pixels of the region serve as background.

        Parameters
        ----------
        plane
            Index of the plane, as for :meth:`add_point`.
        box
            (row 0, column 0, row 1, column 1) in pixels of the plane, ends inclusive; the whole
            plane by default.
        on
            False removes the mark from the region.

        Raises
        ------
        ValueError
            If the plane doesn't exist, or the box lies outside of it.
        """
        self._check_open()
        source = self.embeddings.source
        at = source.plane_of(plane)
        region = rectangle(box, source.plane_shape(at))
        before = self._state.complete.get(at, ())
        after = (with_rectangle if on else without_rectangle)(before, region)
        if after != before:
            what = "a plane" if box is None else "a region"
            text = f"marked {what} as complete" if on else f"marked {what} as not complete"
            self._follow(
                self._state.commit("completed", text, complete=(Change(at, before, after),))
            )
