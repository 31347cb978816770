"""Suppression of overlapping masks while they are decoded, each as soon as it is final."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_sam.automask.objects import ObjectMask

_CELL = 256  # side, in pixels, of the squares by which nearby masks are found


@dataclass(frozen=True, slots=True)
class PlanePart:
    """Objects of a plane that are final while others are still searched for.

    Parameters
    ----------
    objects
        Objects that were not in an earlier part, the highest score first.
    done, count
        Number of squares of the plane that are finished, and of all squares.
    """

    objects: Sequence[ObjectMask]
    done: int
    count: int


OnPart = Callable[[PlanePart], None]
"""Called with objects as soon as they are final."""


class Settling:
    """Keep masks of which enough lies outside better ones, each as soon as that is certain.

    A mask is decided once every better one near it is. The order of the masks doesn't matter: the
    result is the same as if all were compared at once, the highest score first.

    Parameters
    ----------
    plane_shape
        (H, W).
    scores
        `(N,)` of all masks, in their order.
    reach
        `(N, 4)` as (row 0, column 0, row 1, column 1), both inclusive: where each may have pixels.
        A mask that extends beyond loses against masks that are kept there already.
    overlap
        Largest share of a mask that may lie in better ones.
    """

    def __init__(
        self,
        plane_shape: tuple[int, int],
        scores: NDArray[np.floating],
        reach: NDArray[np.floating],
        overlap: float,
    ) -> None:
        self._taken = np.zeros(plane_shape, bool)
        self._overlap = overlap
        self._boxes = np.array(reach, np.float64).reshape(-1, 4)
        self._rank = np.empty(len(scores), np.int64)
        self._rank[np.argsort(-np.asarray(scores), kind="stable")] = np.arange(len(scores))
        self._undecided = np.ones(len(scores), bool)
        self._masks: dict[int, ObjectMask] = {}  # those that came, until they are decided
        self._waiting: defaultdict[int, list[int]] = defaultdict(list)  # for one of them each
        self._near: dict[tuple[int, int], list[int]] = {}
        for i, box in enumerate(self._boxes):
            for cell in _cells(box):
                self._near.setdefault(cell, []).append(i)
        self._kept: dict[int, ObjectMask] = {}

    @property
    def kept(self) -> list[ObjectMask]:
        """All that are kept so far, the highest score first."""
        return [self._kept[i] for i in sorted(self._kept, key=lambda i: self._rank[i])]

    def put(self, masks: Mapping[int, ObjectMask | None]) -> list[ObjectMask]:
        """Add masks by their index; None for one that has no pixels.

        Returns
        -------
        kept
            Those that have become certain to be kept, the highest score first.
        """
        to_check: list[int] = []
        for i, mask in masks.items():
            to_check += self._waiting.pop(i, ())
            if mask is None:
                self._undecided[i] = False
                continue
            self._masks[i] = mask
            self._move(i, mask)
            to_check.append(i)
        kept: list[int] = []
        while to_check:
            i = to_check.pop()
            if i not in self._masks:
                continue
            blocker = self._blocker(i)
            if blocker is not None:
                self._waiting[blocker].append(i)
                continue
            if self._decide(i):
                kept.append(i)
            to_check += self._waiting.pop(i, ())
        return [self._kept[i] for i in sorted(kept, key=lambda i: self._rank[i])]

    def _move(self, i: int, mask: ObjectMask) -> None:
        """Take note of where a mask lies."""
        before = {*_cells(self._boxes[i])}
        self._boxes[i] = mask.box
        for cell in _cells(self._boxes[i]):
            if cell not in before:
                self._near.setdefault(cell, []).append(i)

    def _blocker(self, i: int) -> int | None:
        """Return a better mask near one that isn't decided yet; None if there is none."""
        for cell in _cells(self._boxes[i]):
            near = np.array(self._near[cell])
            near = near[self._undecided[near] & (self._rank[near] < self._rank[i])]
            low = np.maximum(self._boxes[near, :2], self._boxes[i, :2])
            high = np.minimum(self._boxes[near, 2:], self._boxes[i, 2:])
            touching = near[(low <= high).all(1)]
            if len(touching):
                return int(touching[self._rank[touching].argmax()])
        return None

    def _decide(self, i: int) -> bool:
        one = self._masks.pop(i)
        self._undecided[i] = False
        crop, here = one.crop(), self._taken[one.region]
        if np.count_nonzero(crop & here) > self._overlap * one.area:
            return False
        here |= crop
        self._kept[i] = one
        return True


def _cells(box: NDArray[np.float64]) -> Iterator[tuple[int, int]]:
    r0, c0, r1, c1 = (box // _CELL).astype(int).tolist()
    return ((r, c) for r in range(r0, r1 + 1) for c in range(c0, c1 + 1))
