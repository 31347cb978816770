"""Planes of a session that objects are followed through, one step after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_sam.engine import Report
from napari_sam.geometry import Region
from napari_sam.plane_input import PlaneInput
from napari_sam.planes import Plane
from napari_sam.segmentation.protocol import Embedding, Segmenter
from napari_sam.session.canvas import LabelCanvas
from napari_sam.session.follow_anchors import read_anchors
from napari_sam.session.journal import PlaneFacts
from napari_sam.session.known_planes import Line
from napari_sam.session.post_processing import PostProcessing

if TYPE_CHECKING:
    from napari_sam.propagate import Followed, FollowedPlane, Upcoming


class HeldPlanes:
    """Planes whose embeddings are put here before they are asked for.

    Parameters
    ----------
    segmenter
        The model.
    count
        Number of planes.

    Attributes
    ----------
    given
        What the model was given of each plane that was looked at.
    """

    def __init__(self, segmenter: Segmenter, count: int) -> None:
        self.segmenter = segmenter
        self.count = count
        self.given: dict[int, PlaneInput | None] = {}
        self._held: tuple[int, Embedding | Exception, bool] | None = None

    def hold(self, z: int, embedding: Embedding, is_blank: bool, given: PlaneInput | None) -> None:
        """Have the embedding of a plane at hand, in the place of the one before."""
        self._held = z, embedding, is_blank
        self.given[z] = given

    def fail(self, z: int, error: Exception) -> None:
        """Have a plane count as one that can't be read."""
        if not isinstance(error, OSError | ValueError | RuntimeError):
            error = RuntimeError(f"{type(error).__name__}: {error}")
        self._held = z, error, False

    def embedding(self, z: int) -> Embedding:
        """Return the embedding of the plane at hand, or raise why there is none."""
        assert self._held is not None, "a plane is announced before it is asked for"
        at, held, _ = self._held
        assert at == z, f"plane {z} was not announced"
        if isinstance(held, Exception):
            raise held
        return held

    def is_blank(self, z: int) -> bool:
        """Whether the plane at hand shows nothing."""
        self.embedding(z)
        return self._held is not None and self._held[2]


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """What came of a step.

    Parameters
    ----------
    planes
        Those that are done.
    upcoming
        What is asked for next; None at the end.
    """

    planes: Sequence[FollowedPlane]
    upcoming: Upcoming | None


@dataclass(slots=True, eq=False)
class Walk:
    """Objects on their way through planes, step by step, on whatever thread.

    Parameters
    ----------
    planes
        Their embeddings.
    line
        What they lie on.
    canvas
        The labels, where others are.
    is_carried
        Whether an object's mask on a plane follows from others along an axis.
    object_ids
        The objects.
    first, last
        The outermost planes.
    post_processing
        What is done to masks.
    open_ends
        (object, index) where an object is, whatever the judge says.

    Attributes
    ----------
    fraction
        Share that is done.
    """

    planes: HeldPlanes
    line: Line
    canvas: LabelCanvas
    is_carried: Callable[[int, Plane, int], bool]
    object_ids: tuple[int, ...]
    first: int
    last: int
    shape: tuple[int, int]
    post_processing: PostProcessing
    open_ends: AbstractSet[tuple[int, int]] = frozenset()
    fraction: float = 0.0
    steps: Iterator[FollowedPlane | Upcoming] | None = field(default=None)

    def start(self, known: Mapping[int, Mapping[int, Region | None]], report: Report) -> Step:
        """Read where objects are known, and come to the first plane.

        Raises
        ------
        OSError
            If labels can't be read.
        ValueError
            If an object is nowhere.
        """
        from napari_sam.propagate import Ends, follow_steps

        report(0.0)
        anchors = read_anchors(self.canvas, self.line, known)
        ends = Ends(self.first, self.last, frozenset(self.open_ends))
        self.steps = follow_steps(self.planes, anchors, self._taken, ends, self._progress)
        return self._next()

    def go(self, upcoming: Upcoming, report: Report) -> Step:
        """Go through a plane, whose embedding is held; what it takes may be interrupted."""
        report(0.0)
        try:
            embedding = self.planes.embedding(upcoming.index)
        except (OSError, ValueError, RuntimeError):
            embedding = None
        if embedding is not None and not embedding.features:  # a large plane: all of its tiles
            self.planes.segmenter.prepare(embedding, None, report)
        return self._next()

    def _next(self) -> Step:
        from napari_sam.propagate import Upcoming

        assert self.steps is not None, "it was started"
        done: list[FollowedPlane] = []
        for one in self.steps:
            if isinstance(one, Upcoming):
                return Step(done, one)
            done.append(self._processed(one))
        return Step(done, None)

    def _progress(self, fraction: float) -> None:
        self.fraction = fraction

    def _taken(self, z: int) -> NDArray[Any] | None:
        """Return the labels of a plane without what was carried there and is made anew."""
        plane = self.line.at(z)
        labels = self.canvas.read(plane, (slice(0, self.shape[0]), slice(0, self.shape[1])))
        axis = self.line.axis
        mine = [i for i in self.object_ids if self.is_carried(i, plane, axis)]
        if mine:
            labels[np.isin(labels, mine)] = 0
        return labels if labels.any() else None

    def _processed(self, plane: FollowedPlane) -> FollowedPlane:
        """Return a plane with its masks as they are written."""
        if self.post_processing.is_off:
            return plane
        process = self.post_processing.apply
        objects = {
            i: one if one.patch.is_empty else replace(one, patch=process(one.patch))
            for i, one in plane.objects.items()
        }
        return replace(plane, objects=objects)


def facts_of(one: Followed, axis: int, before: PlaneFacts) -> PlaneFacts:
    """Return what is known of a mask that was carried."""
    return PlaneFacts(float(one.quality), float(one.score), axis, one.causes, before.said)
