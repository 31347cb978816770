"""What somebody teaches: finished objects of a few planes, of which some are held back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam.image import Limits, check_plane

LEAST_OBJECTS = 3
"""Fewer objects can't be taught: two are held back."""

_LEAST_PIXELS = 12
_HELD_BACK = 1 / 5
_LEAST_HELD_BACK, _MOST_HELD_BACK = 2, 8


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """Finished objects of a plane, or of a part of one.

    Parameters
    ----------
    image
        `(H, W)` or `(H, W, 3)`, as :meth:`Segmenter.embed` takes it.
    labels
        `(H, W)` whole numbers, one of each object. 0 is whatever nobody has labelled: it may hold
        further objects.
    contrast_limits
        The grey values shown as black and white, as the plane is embedded with.
    complete
        `(H, W)` bool: where everything is labelled, so that the rest is background.
    plane_shape
        (H, W) of the plane that this is a part of; the whole plane by default.
    name
        Where it comes from, for messages; it is not kept.

    Raises
    ------
    ValueError
        If the shapes don't match, or no label is there.
    """

    image: NDArray[Any]
    labels: NDArray[np.integer]
    contrast_limits: Limits | None = None
    complete: NDArray[np.bool_] | None = None
    plane_shape: tuple[int, int] | None = None
    name: str = ""
    objects: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        image = check_plane(self.image)
        where = f" of {self.name}" if self.name else ""
        shape = image.shape[:2]
        for said, array in (("labels", self.labels), ("complete regions", self.complete)):
            if array is not None and array.shape != shape:
                raise ValueError(
                    f"expected {said}{where} of the image's shape {shape}, got {array.shape}; "
                    "give both of the same plane"
                )
        if not np.issubdtype(self.labels.dtype, np.integer):
            raise ValueError(
                f"expected labels{where} as whole numbers, got {self.labels.dtype}; convert them"
            )
        ids, counts = np.unique(self.labels, return_counts=True)
        objects = ids[(ids > 0) & (counts >= _LEAST_PIXELS)]
        if not len(objects):
            raise ValueError(
                f"expected an object of at least {_LEAST_PIXELS} pixels in the labels{where}, got "
                "none; leave the plane out, or label something in it"
            )
        object.__setattr__(self, "objects", tuple(int(one) for one in objects))

    def mask(self, label: int) -> NDArray[np.bool_]:
        """Return `(H, W)` of one object."""
        return np.asarray(self.labels == label)


ObjectOf = tuple[int, int]
"""Number of an example, and the label of an object in it."""


def all_objects(examples: Sequence[Example]) -> list[ObjectOf]:
    """Name every object, example by example."""
    return [(i, label) for i, example in enumerate(examples) for label in example.objects]


def held_back(examples: Sequence[Example], share: float = _HELD_BACK) -> list[ObjectOf]:
    """Choose the objects that a model is scored by, before it is offered.

    A fifth, at least two and at most eight; taken from the examples in turn, and within one evenly
    over its labels, so that they are spread over the planes.

    Parameters
    ----------
    examples
        With :data:`LEAST_OBJECTS` objects or more.
    share
        Of the objects.

    Raises
    ------
    ValueError
        If there are too few objects.
    """
    count = len(all_objects(examples))
    if count < LEAST_OBJECTS:
        raise ValueError(
            f"expected at least {LEAST_OBJECTS} finished objects, got {count}; finish more of them"
        )
    wanted = min(max(_LEAST_HELD_BACK, round(share * count)), _MOST_HELD_BACK)
    # each example gives its objects in an order that is even over its labels: middle first
    queues = [[(i, label) for label in _spread(one.objects)] for i, one in enumerate(examples)]
    chosen: list[ObjectOf] = []
    turn = 0
    while len(chosen) < wanted:
        if turn >= max(map(len, queues)):
            break
        # where planes are many, those in between are asked first
        for i in _spread(tuple(range(len(queues)))):
            if turn < len(queues[i]) and len(chosen) < wanted:
                chosen.append(queues[i][turn])
        turn += 1
    return sorted(chosen)


def _spread(items: tuple[int, ...]) -> list[int]:
    """Order items so that any first few of them are spread evenly: by halving, middle first."""
    order: list[int] = []
    parts = [(0, len(items))]
    while parts:
        low, high = parts.pop(0)
        if low >= high:
            continue
        middle = (low + high) // 2
        order.append(items[middle])
        parts += [(low, middle), (middle + 1, high)]
    return order
