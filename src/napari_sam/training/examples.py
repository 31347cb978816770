"""What somebody teaches: finished objects of a few planes, of which some are held back."""

from __future__ import annotations

from collections.abc import Sequence

from napari_sam.examples import Example

LEAST_OBJECTS = 3
"""Fewer objects can't be taught: two are held back."""

_HELD_BACK = 1 / 5
_LEAST_HELD_BACK, _MOST_HELD_BACK = 2, 8


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
