"""Carry an object through a stack, from the planes where it was prompted to its ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam.image import Limits
from napari_sam.prompts import Prompts
from napari_sam.propagate.anchors import Anchor, NotHere, simplified
from napari_sam.propagate.follow import follow
from napari_sam.propagate.judge import Judge
from napari_sam.propagate.march import Followed
from napari_sam.propagate.planes import StackPlanes
from napari_sam.segmentation.protocol import Progress, Segmenter, part_of

Bool = NDArray[np.bool_]

_OBJECT = 1


@dataclass(frozen=True, slots=True, eq=False)
class PropagationStep:
    """An object on one plane of a stack.

    Parameters
    ----------
    index
        Position of the plane along the stack's axis.
    mask
        `(H, W)`; empty on a plane that could not be read.
    score
        Predicted IoU of the mask, 0-1: 1 for a mask that was given. Of a model that tells whether
        the object is there, times the probability of that.
    quality
        How far the mask can be trusted, 0-1: the planes to look at first have the lowest. It
        also tells what was lost on the way to this plane.
    failed
        Why the plane could not be read; empty where it could.
    """

    index: int
    mask: Bool
    score: float
    quality: float
    failed: str = ""


def propagate(
    segmenter: Segmenter,
    stack: Any,
    prompts: Mapping[int, Prompts | Bool | NotHere],
    axis: int = 0,
    contrast_limits: Limits | None = None,
    progress: Progress | None = None,
    judge: Judge | None = None,
    memory: bool = True,
) -> Iterator[PropagationStep]:
    """Carry an object from prompted planes through a stack.

    From the first and last prompted plane the object is followed outward until it ends: on each
    plane the model gets its box and its mask on the last one, and the object has ended where the
    predicted IoU is low and it doesn't look as it did where it was prompted. Between two prompted
    planes it is followed from both, and the two results are averaged, each weighted by its
    nearness.

    Parameters
    ----------
    segmenter
        The model. A :class:`~napari_sam.CachedSegmenter` saves encoding the
        planes again for the next object.
    stack
        `(..., H, W)` or `(..., H, W, 3)` with one axis besides those of the plane; anything with
        `shape` that is read by indexing (numpy, dask, zarr). One plane is read at a time.
    prompts
        Plane index to the object's prompts there, or to its mask `(H, W)` of bool, which is kept
        as it is. :class:`NotHere`, or negative points alone: the object isn't on this plane, and
        is followed no farther.
    axis
        Axis of the stack to move along.
    contrast_limits
        Values that become black and white. ``None`` means one pair for the whole stack.
    progress
        Called between the blocks of each encoding and between clicks, so that it can raise
        :class:`~napari_sam.Cancelled`; its fraction is that of one plane.
    judge
        Tells where the object ends.
    memory
        Whether a model that remembers objects, such as SAM 2.1, finds this one by what it is and
        looked like where it was prompted and on the planes passed, instead of by its box and mask
        on the last one. Planes that the model sees in tiles are passed without.

    Yields
    ------
    step
        The prompted planes first, then upwards what lies above them, then downwards the rest;
        each plane at most once. Planes on which the object was not found are left out. A plane
        that could not be read comes with an empty mask and the reason, and the object is followed
        on behind it.

    Raises
    ------
    ValueError
        If there are no prompts, an index lies outside the stack, a mask is empty or of another
        shape than the planes; or as :meth:`Segmenter.embed` and :func:`replay` do, where no
        prompted plane can be read.
    """
    planes = StackPlanes(segmenter, stack, axis, contrast_limits, progress)
    if not prompts:
        raise ValueError("expected prompts on at least one plane, got none")
    for z in prompts:
        planes.check(int(z))
    anchors: dict[int, Anchor] = {
        int(z): simplified(one, int(z), planes.shape) for z, one in prompts.items()
    }
    done = part_of(progress, 1, 1)  # a plane is always whole here
    for plane in follow(
        planes, {_OBJECT: anchors}, None, progress=done, judge=judge, memory=memory
    ):
        if plane.failed:
            empty = np.zeros(planes.shape, bool)
            yield PropagationStep(plane.index, empty, 0.0, 0.0, plane.failed)
        elif (one := plane.objects.get(_OBJECT)) is not None:
            yield _step_of(plane.index, one, planes.shape)


def _step_of(z: int, one: Followed, shape: tuple[int, int]) -> PropagationStep:
    mask = one.patch.within((slice(0, shape[0]), slice(0, shape[1])))
    return PropagationStep(z, mask, one.score, one.quality)
