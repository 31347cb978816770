"""Following objects through the planes of a session, step by step."""

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
    """The planes to follow through; the embedding of one at a time is held here.

    Parameters
    ----------
    segmenter
        The model.
    count
        Number of planes.

    Attributes
    ----------
    given
        The model's input of each plane visited so far.
    """

    def __init__(self, segmenter: Segmenter, count: int) -> None:
        self.segmenter = segmenter
        self.count = count
        self.given: dict[int, PlaneInput | None] = {}
        self._held: tuple[int, Embedding | Exception, bool] | None = None

    def hold(self, z: int, embedding: Embedding, is_blank: bool, given: PlaneInput | None) -> None:
        """Hold the embedding of a plane, in the place of the previous one."""
        self._held = z, embedding, is_blank
        self.given[z] = given

    def fail(self, z: int, error: Exception) -> None:
        """Mark a plane as one that can't be read."""
        if not isinstance(error, OSError | ValueError | RuntimeError):
            error = RuntimeError(f"{type(error).__name__}: {error}")
        self._held = z, error, False

    def embedding(self, z: int) -> Embedding:
        """Return the embedding of the plane that is held, or raise the error of reading it."""
        assert self._held is not None, "a plane is announced before it is requested"
        at, held, _ = self._held
        assert at == z, f"plane {z} was not announced"
        if isinstance(held, Exception):
            raise held
        return held

    def is_blank(self, z: int) -> bool:
        """Whether the plane that is held shows nothing."""
        self.embedding(z)
        return self._held is not None and self._held[2]


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """The result of a step.

    Parameters
    ----------
    planes
        The planes that are done.
    upcoming
        The plane that is needed next; None at the end.
    """

    planes: Sequence[FollowedPlane]
    upcoming: Upcoming | None


@dataclass(slots=True, eq=False)
class Walk:
    """Follows objects through planes, step by step; may run in any thread.

    Parameters
    ----------
    planes
        The embeddings of the planes.
    line
        The line of planes.
    canvas
        The labels, with other objects.
    is_carried
        Returns whether an object's mask on a plane was followed along an axis.
    object_ids
        The objects.
    first, last
        Indices of the first and the last plane.
    shape
        (H, W) of a plane.
    post_processing
        The post-processing of masks.
    open_ends
        (object, index) of planes with the verdict that the object is there.

    Attributes
    ----------
    fraction
        Fraction (0-1) that is done.
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
        """Read the masks on known planes, and go to the first plane.

        Raises
        ------
        OSError
            If labels can't be read.
        ValueError
            If an object has no mask on any plane.
        """
        from napari_sam.propagate import Ends, follow_steps

        report(0.0)
        anchors = read_anchors(self.canvas, self.line, known)
        ends = Ends(self.first, self.last, frozenset(self.open_ends))
        self.steps = follow_steps(self.planes, anchors, self._taken, ends, self._progress)
        return self._next()

    def go(self, upcoming: Upcoming, report: Report) -> Step:
        """Predict the masks on a plane whose embedding is held; `report` may raise to cancel."""
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
        """Return the labels of a plane without the masks that are predicted again."""
        plane = self.line.at(z)
        labels = self.canvas.read(plane, (slice(0, self.shape[0]), slice(0, self.shape[1])))
        axis = self.line.axis
        mine = [i for i in self.object_ids if self.is_carried(i, plane, axis)]
        if mine:
            labels[np.isin(labels, mine)] = 0
        return labels if labels.any() else None

    def _processed(self, plane: FollowedPlane) -> FollowedPlane:
        """Return a plane with its masks after post-processing."""
        if self.post_processing.is_off:
            return plane
        process = self.post_processing.apply
        objects = {
            i: one if one.patch.is_empty else replace(one, patch=process(one.patch))
            for i, one in plane.objects.items()
        }
        return replace(plane, objects=objects)


def facts_of(one: Followed, axis: int, before: PlaneFacts) -> PlaneFacts:
    """Return the properties of a followed mask."""
    return PlaneFacts(float(one.quality), float(one.score), axis, one.causes, before.verdict)
