"""Follow an object through a stack, from the planes where it was prompted to its ends."""

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
        Predicted IoU of the mask, 0-1: 1 for a mask that was given. With a model that predicts
        whether the object is on the plane, multiplied by that probability.
    quality
        How far the mask can be trusted, 0-1: the planes to check first have the lowest. It
        includes what was lost on the planes between the prompts and this plane.
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
    """Follow an object from prompted planes through a stack.

    From the first and the last prompted plane the object is followed outward until it ends: on
    each plane the model is prompted with the box and the mask of the plane before, and the object
    has ended where the predicted IoU is low and its features differ from those where it was
    prompted. Between two prompted planes it is followed from both, and the two masks are averaged,
    weighted by their nearness.

    Parameters
    ----------
    segmenter
        The model. With a :class:`~napari_sam.CachedSegmenter` the planes aren't encoded again for
        the next object.
    stack
        `(..., H, W)` or `(..., H, W, 3)` with one axis besides those of the plane; anything with
        `shape` that is read by indexing (numpy, dask, zarr). One plane is read at a time.
    prompts
        Plane index to the object's prompts there, or to its mask `(H, W)` of bool, which is kept
        as it is. With :class:`NotHere`, or with negative points alone, the object is not on this
        plane and following stops there.
    axis
        Axis of the stack along which the object is followed.
    contrast_limits
        Values that become black and white. ``None`` means one pair for the whole stack.
    progress
        Called between the encoder's blocks and between clicks with the finished fraction of one
        plane; it may raise :class:`~napari_sam.Cancelled`.
    judge
        Decides where the object ends; by default with the numbers fitted for the model.
    memory
        Whether a model with a memory, such as SAM 2.1, finds the object by its memory of the
        prompted planes and of the planes passed, instead of by the box and mask of the plane
        before. The memory is not used on planes that are encoded in tiles.

    Yields
    ------
    step
        The prompted planes first, then those above them upwards, then the rest downwards; each
        plane at most once. Planes on which the object was not found are left out. A plane that
        could not be read has an empty mask and the reason; the object is followed on behind it.

    Raises
    ------
    ValueError
        If there are no prompts, an index lies outside the stack, or a mask is empty or of another
        shape than the planes. If no prompted plane can be read, also what
        :meth:`Segmenter.embed` and :func:`replay` raise.
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
