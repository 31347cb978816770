"""Generated masks as labels, of a plane or of a stack whose planes are linked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from napari_sam.automask.generate import generate_masks
from napari_sam.automask.objects import ObjectMask
from napari_sam.image import Limits
from napari_sam.planes import ArraySource
from napari_sam.segmentation.protocol import Progress, Segmenter, part_of

Labels = NDArray[np.int32]
_Int = TypeVar("_Int", bound=np.integer[Any])

# Least share of a mask that other masks leave over for it to become a label.
_LEAST_LEFT = 0.5


def segment_all(
    segmenter: Segmenter,
    plane_or_stack: Any,
    contrast_limits: Limits | None = None,
    progress: Progress | None = None,
    link_iou: float = 0.3,
    **settings: Any,
) -> Labels:
    """Label every object of a plane, or of a stack plane by plane along its first axis.

    Parameters
    ----------
    segmenter
        The model.
    plane_or_stack
        `(H, W)`, `(H, W, 3)`, `(Z, H, W)` or `(Z, H, W, 3)`; anything with `shape` that is read
        by indexing. A stack is read one plane at a time.
    contrast_limits
        Values that become black and white. ``None`` on a stack means one pair for all planes.
    progress
        Called with the finished fraction; it may raise :class:`~napari_sam.Cancelled`.
    link_iou
        Least IoU of objects on neighbouring planes that get the same label.
    **settings
        Fields of :class:`AutomaskSettings`.

    Returns
    -------
    labels
        `(H, W)` or `(Z, H, W)`; 0 is background.

    Raises
    ------
    TypeError, ValueError
        As :func:`generate_masks` does, and for other shapes.
    """
    stack = plane_or_stack if hasattr(plane_or_stack, "shape") else np.asarray(plane_or_stack)
    shape = tuple(stack.shape)
    colour = len(shape) > 2 and shape[-1] in (3, 4)
    if len(shape) - colour == 2:
        return label_plane(segmenter, stack[...], contrast_limits, progress, **settings)
    if len(shape) - colour != 3:
        raise ValueError(
            "expected a plane (H, W), a stack (Z, H, W), or either with 3 colours, got shape "
            f"{shape}; pick a channel or a time point first"
        )
    source = ArraySource(stack, colour, contrast_limits=contrast_limits)
    labels = np.zeros(shape[:3], np.int32)
    for z in range(shape[0]):
        report = part_of(progress, z / shape[0], (z + 1) / shape[0])
        pixels, limits = source.read(source.plane_of(z))
        labels[z] = label_plane(segmenter, pixels, limits, report, **settings)
    return link_planes(labels, link_iou)


def label_plane(
    segmenter: Segmenter,
    plane: ArrayLike,
    contrast_limits: Limits | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> Labels:
    """Label every object of a plane.

    Parameters and errors are those of :func:`generate_masks`.

    Returns
    -------
    labels
        `(H, W)`, numbered from 1, the highest score first; 0 is background.
    """
    objects = generate_masks(segmenter, plane, contrast_limits, progress, **settings)
    height, width = np.shape(plane)[:2]
    return merge_objects(objects, (height, width))


def merge_objects(
    objects: Iterable[ObjectMask],
    plane_shape: tuple[int, int],
    taken: NDArray[np.bool_] | None = None,
) -> Labels:
    """Paint masks into one label image; :func:`place_objects` also returns which were placed."""
    return place_objects(objects, plane_shape, taken)[0]


def place_objects(
    objects: Iterable[ObjectMask],
    plane_shape: tuple[int, int],
    taken: NDArray[np.bool_] | None = None,
) -> tuple[Labels, list[ObjectMask]]:
    """Paint masks into one label image, the highest score first.

    A pixel belongs to the best mask that covers it. A mask of which others leave less than half
    is dropped.

    Parameters
    ----------
    objects
        Masks of one plane.
    plane_shape
        (H, W).
    taken
        `(H, W)` pixels that already belong to something else; by default none do.

    Returns
    -------
    labels
        `(H, W)`; 0 is background.
    placed
        The masks that have pixels: the first has those of 1, and so on.
    """
    labels = np.zeros(plane_shape, np.int32)
    placed = Placement(plane_shape, taken).place(objects)
    for number, (one, own) in enumerate(placed, 1):
        labels[one.region][own] = number
    return labels, [one for one, _ in placed]


class Placement:
    """Pixels of a plane that are given to masks, some masks at a time.

    Parameters
    ----------
    plane_shape, taken
        As of :func:`place_objects`.
    """

    def __init__(
        self, plane_shape: tuple[int, int], taken: NDArray[np.bool_] | None = None
    ) -> None:
        self._taken = np.zeros(plane_shape, bool) if taken is None else taken.copy()

    def place(self, objects: Iterable[ObjectMask]) -> list[tuple[ObjectMask, NDArray[np.bool_]]]:
        """Give pixels to masks, the highest score first.

        Returns
        -------
        placed
            The masks of which enough is left, and what each gets of its region. Together they are
            those of :func:`place_objects` if no mask comes before a better one that it overlaps.
        """
        placed = []
        for one in sorted(objects, key=lambda one: -one.score):
            here = self._taken[one.region]
            free = one.crop() & ~here
            if np.count_nonzero(free) >= _LEAST_LEFT * one.area:
                here |= free
                placed.append((one, free))
        return placed


def link_planes(labels: NDArray[_Int], least_iou: float = 0.3) -> NDArray[_Int]:
    """Give objects of neighbouring planes that overlap the same number.

    Each object continues in at most one object of the next plane: pairs are matched so that the
    sum of their IoUs is largest.

    Parameters
    ----------
    labels
        `(Z, H, W)` whole numbers of any type, given in each plane by itself.
    least_iou
        Pairs of less overlap are not linked.

    Returns
    -------
    labels
        `(Z, H, W)`, numbered from 1 over the whole stack.
    """
    linked = np.zeros_like(labels)
    for z, plane in enumerate(linked_planes(labels, least_iou)):
        linked[z] = plane
    return linked


def linked_planes(
    planes: Iterable[NDArray[_Int]], least_iou: float = 0.3
) -> Iterator[NDArray[_Int]]:
    """Yield what :func:`link_planes` makes of each plane, holding two of them at a time."""
    before: NDArray[_Int] | None = None
    count = 0
    for plane in planes:
        present, places = np.unique(np.maximum(plane, 0), return_inverse=True)
        numbers = np.zeros(len(present), plane.dtype)
        if before is not None:
            for number, here in _matches(before, plane, least_iou):
                numbers[np.searchsorted(present, here)] = number
        fresh = np.flatnonzero((present > 0) & (numbers == 0))
        numbers[fresh] = count + 1 + np.arange(len(fresh))
        count += len(fresh)
        before = numbers[places.reshape(plane.shape)]
        yield before


def _matches(before: NDArray[Any], here: NDArray[Any], least_iou: float) -> list[tuple[int, int]]:
    # the dock need not wait for it when it opens: a third of a second for one function
    from scipy.optimize import linear_sum_assignment

    a_numbers, a = np.unique(before, return_inverse=True)
    b_numbers, b = np.unique(here, return_inverse=True)
    ones = np.ones(a.size, np.int64)
    shape = (len(a_numbers), len(b_numbers))
    table = sparse.coo_array((ones, (a.ravel(), b.ravel())), shape).toarray()
    union = table.sum(1)[:, None] + table.sum(0)[None, :] - table
    iou = table / union
    iou[a_numbers == 0] = 0
    iou[:, b_numbers == 0] = 0
    pairs = zip(*linear_sum_assignment(-np.where(iou >= least_iou, iou, 0)), strict=True)
    return [(int(a_numbers[i]), int(b_numbers[j])) for i, j in pairs if iou[i, j] >= least_iou]
