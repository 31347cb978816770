"""The prompts of one object on one plane, step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import overload

import numpy as np
from numpy.typing import NDArray

from napari_sam.prompts import Box, Prompts


@dataclass(frozen=True, slots=True, eq=False)
class Steps(Sequence[Prompts]):
    """Prompts of one object on one plane in the order in which they were given.

    Clicks accumulate, the latest box counts, and a mask is what the steps after it start from.

    Parameters
    ----------
    everything
        All clicks, in their order, with the latest box and the latest mask.
    ends
        `(S,)`: how many clicks were given up to and with each step.
    boxes, masks
        What the steps brought that have a box or a mask.
    """

    everything: Prompts = field(default_factory=Prompts)
    ends: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    boxes: Mapping[int, Box] = field(default_factory=dict)
    masks: Mapping[int, Prompts] = field(default_factory=dict)

    @classmethod
    def of(cls, prompts: Prompts | Sequence[Prompts]) -> Steps:
        """Return prompts as steps.

        Parameters
        ----------
        prompts
            What each step adds. Or all in one: then its box and mask are the first step, and
            each click is another one.
        """
        if isinstance(prompts, Steps):
            return prompts
        if isinstance(prompts, Prompts):
            first = prompts.box is not None or prompts.mask is not None
            ends = np.arange(0 if first else 1, len(prompts.points) + 1)
            boxes = {} if prompts.box is None else {0: prompts.box}
            masks = {} if prompts.mask is None else {0: prompts.first(0).with_mask_of(prompts)}
            return cls(prompts, ends, boxes, masks)
        boxes = {i: one.box for i, one in enumerate(prompts) if one.box is not None}
        masks = {i: one for i, one in enumerate(prompts) if one.mask is not None}
        everything = Prompts(
            np.concatenate([np.empty((0, 2)), *(one.points for one in prompts)]),
            np.concatenate([np.empty(0, np.int64), *(one.point_labels for one in prompts)]),
        )
        ends = np.cumsum([len(one.points) for one in prompts], dtype=np.int64)
        steps = cls(everything, ends, boxes, masks)
        return replace(steps, everything=steps._all_with_latest())

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, index: int) -> Prompts: ...
    @overload
    def __getitem__(self, index: slice) -> Steps: ...
    def __getitem__(self, index: int | slice) -> Prompts | Steps:
        """Return what a step adds, or some steps."""
        if isinstance(index, slice):
            return Steps.of([self[i] for i in range(len(self))[index]])
        step = range(len(self))[index]
        given = slice(int(self.ends[step - 1]) if step else 0, int(self.ends[step]))
        points = self.everything.points[given], self.everything.point_labels[given]
        added = Prompts(*points, self.boxes.get(step))
        return added.with_mask_of(self.masks[step]) if step in self.masks else added

    def so_far(self, step: int, most: int | None = None) -> Prompts:
        """Return the clicks up to a step and the box that counts there, without a mask.

        Parameters
        ----------
        step
            Number of the step, from 0.
        most
            As of :meth:`Prompts.first`.
        """
        given = self.everything.first(int(self.ends[step]), most)
        box = self._latest_box(step)
        return given if given.box == box else given.with_box(box)

    def clicks_since(self, earlier: int, step: int, most: int) -> Prompts:
        """Return the clicks that were given after a step, up to and with another one.

        Of more than `most`, the first one and the latest.
        """
        start, stop = int(self.ends[earlier]), int(self.ends[step])
        points, labels = self.everything.points, self.everything.point_labels
        return Prompts(points[start:stop], labels[start:stop]).first(stop - start, most)

    def exact_before(self, step: int) -> int | None:
        """Return the step that gave the very mask which a step changes by clicks; None if none did.

        It is the latest one with an exact mask, unless a box or another mask came since.
        """
        latest = max((i for i in (*self.boxes, *self.masks) if i <= step), default=None)
        return latest if latest is not None and self.is_exact(latest) else None

    def is_exact(self, step: int) -> bool:
        """Whether a step brings a mask that is the answer as it is."""
        return step in self.masks and self.masks[step].is_exact

    def count_same(self, other: Steps) -> int:
        """Return how many leading steps are the same as another's."""
        count = min(len(self), len(other))
        different = np.flatnonzero(self.ends[:count] != other.ends[:count])
        count = int(different[0]) if len(different) else count
        if not count:
            return 0
        clicks = int(min(self.ends[count - 1], other.ends[count - 1]))
        same = (self.everything.points[:clicks] == other.everything.points[:clicks]).all(1)
        same &= self.everything.point_labels[:clicks] == other.everything.point_labels[:clicks]
        if not same.all():
            count = int(np.searchsorted(self.ends[:count], np.argmin(same), "right"))
        for step in sorted({*self.boxes, *self.masks, *other.boxes, *other.masks}):
            if step >= count:
                break
            if self.boxes.get(step) != other.boxes.get(step) or not _same_mask(
                self.masks.get(step), other.masks.get(step)
            ):
                return step
        return count

    def _latest_box(self, step: int) -> Box | None:
        """Return the box that counts at a step: the latest one since an exact mask."""
        given = max((i for i in self.boxes if i <= step), default=None)
        exact = max((i for i in self.masks if i <= step and self.is_exact(i)), default=-1)
        return None if given is None or given < exact else self.boxes[given]

    def _all_with_latest(self) -> Prompts:
        if not len(self):
            return self.everything
        everything = self.everything.with_box(self._latest_box(len(self) - 1))
        if not self.masks:
            return everything
        return everything.with_mask_of(self.masks[max(self.masks)])


def _same_mask(one: Prompts | None, other: Prompts | None) -> bool:
    if one is None or other is None or one.mask is other.mask:
        return one is other or (one is not None and other is not None)
    patches = one.mask_patch, other.mask_patch
    if patches[0] is None or patches[1] is None:
        same = patches == (None, None) and one.mask_frame == other.mask_frame
        return same and np.array_equal(one.mask, other.mask)  # type: ignore[arg-type]
    return one.is_exact == other.is_exact and patches[0].equals(patches[1])
