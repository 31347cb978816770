"""Prompts by kind, and what a user says about one object on one plane."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

from napari_sam.patches import Patch, fill_polygon
from napari_sam.planes import Plane
from napari_sam.prompts import Box, Candidate, Granularity, Prompts
from napari_sam.steps import Steps
from napari_sam.strokes import spread_points

ObjectPlane = tuple[int, Plane]
"""What one mask belongs to: an object on a plane."""


@dataclass(frozen=True, slots=True)
class Click:
    """A click: `point` (row, column) in pixels of the plane; `label` 1 inside, 0 outside."""

    id: int
    object_id: int
    plane: Plane
    point: tuple[float, float]
    label: int

    @property
    def key(self) -> ObjectPlane:
        """What it speaks of."""
        return self.object_id, self.plane


@dataclass(frozen=True, slots=True)
class BoxPrompt:
    """A box (row 0, column 0, row 1, column 1) in pixels of the plane, ends inclusive."""

    id: int
    object_id: int
    plane: Plane
    box: Box

    @property
    def key(self) -> ObjectPlane:
        """What it speaks of."""
        return self.object_id, self.plane


@dataclass(frozen=True, slots=True)
class Stroke:
    """A stroke: `path` of (row, column) in pixels of the plane; `label` 1 inside, 0 outside.

    It counts as the clicks that :func:`~napari_sam.strokes.spread_points` returns.
    """

    id: int
    object_id: int
    plane: Plane
    path: tuple[tuple[float, float], ...]
    label: int

    @property
    def key(self) -> ObjectPlane:
        """What it speaks of."""
        return self.object_id, self.plane


@dataclass(frozen=True, slots=True)
class Lasso:
    """A region drawn around an object, as corners (row, column): a mask and a tight box at once."""

    id: int
    object_id: int
    plane: Plane
    polygon: tuple[tuple[float, float], ...]

    @property
    def key(self) -> ObjectPlane:
        """What it speaks of."""
        return self.object_id, self.plane

    @property
    def patch(self) -> Patch:
        """Its pixels, also those beyond the plane's last row and column."""
        return _filled(self.polygon)


@dataclass(frozen=True, slots=True, eq=False)
class MaskPrompt:
    """A mask that is the object as it is, until further prompts change it.

    Parameters
    ----------
    id, object_id, plane
        As of the other prompts.
    patch
        The mask.
    is_first
        Whether it is what the labels had before anything was said: it comes before all other
        prompts of its group, whatever its identifier.
    """

    id: int
    object_id: int
    plane: Plane
    patch: Patch
    is_first: bool = False

    @property
    def key(self) -> ObjectPlane:
        """What it speaks of."""
        return self.object_id, self.plane

    def __eq__(self, other: object) -> bool:
        """Whether another prompt says the same."""
        if self is other or not isinstance(other, MaskPrompt):
            return self is other
        mine, its = (
            (one.id, one.object_id, one.plane, one.is_first, one.patch.origin)
            for one in (self, other)
        )
        return mine == its and self.patch.equals(other.patch)

    def __hash__(self) -> int:
        """Agree with equality."""
        return hash((self.id, self.object_id, self.plane))


Prompt = Click | BoxPrompt | Stroke | Lasso | MaskPrompt
"""Anything that a user says about an object on a plane."""


@dataclass(frozen=True)
class Group:
    """What a user says about one object on one plane.

    Parameters
    ----------
    clicks
        In the order they were given, which is that of their identifiers.
    box
        At most one.
    candidate
        Which mask of the first click a user chose, from 0; None leaves it to `granularity`.
    granularity
        The same by area: which of the masks a user prefers. Empty leaves it to the model.
    strokes
        In the order they were given.
    lasso, mask
        At most one of each.
    """

    clicks: tuple[Click, ...] = ()
    box: BoxPrompt | None = None
    candidate: int | None = None
    granularity: Granularity | Literal[""] = ""
    strokes: tuple[Stroke, ...] = ()
    lasso: Lasso | None = None
    mask: MaskPrompt | None = None

    @property
    def choice(self) -> Candidate | None:
        """Which mask of the first click is the object's; None leaves it to the model."""
        return self.candidate if self.candidate is not None else self.granularity or None

    @property
    def is_empty(self) -> bool:
        """Whether there is no prompt; a candidate alone says nothing."""
        return not (self.clicks or self.box or self.strokes or self.lasso or self.mask)

    @property
    def members(self) -> tuple[Prompt, ...]:
        """Its clicks, then its box, its strokes, its lasso and its mask."""
        single = (self.box, *self.strokes, self.lasso, self.mask)
        if single == (None, None, None):
            return self.clicks
        return (*self.clicks, *(one for one in single if one is not None))

    @property
    def first_id(self) -> int:
        """Identifier of its earliest prompt; 0 if it is empty."""
        return min((prompt.id for prompt in self.members), default=0)

    @property
    def exact_mask(self) -> Patch | None:
        """The mask that is the answer as it is; None where there are prompts after it, or none."""
        if self.mask is None or not self.steps.is_exact(len(self.steps) - 1):
            return None
        return self.mask.patch

    @property
    def prompts(self) -> Prompts:
        """All of it at once; what the model is asked are the :attr:`steps`."""
        return self.steps.everything

    @cached_property
    def steps(self) -> Steps:
        """What each prompt adds, in the order they were given.

        A box tells where the object is: it comes before the clicks and strokes, whenever it is
        drawn, but not before a lasso or mask that was there already.
        """
        if not (self.strokes or self.lasso or self.mask):
            return Steps.of(
                Prompts(
                    [click.point for click in self.clicks],
                    [click.label for click in self.clicks],
                    self.box.box if self.box else None,
                )
            )
        size = self._size
        return Steps.of([_step(prompt, size) for prompt in _in_order(self.members)])

    @property
    def _size(self) -> float | None:
        """Side of the object as its box, lasso or mask tells it; None where there is none."""
        told = self.box or self.lasso or self.mask
        if told is None:
            return None
        r0, c0, r1, c1 = told.box if isinstance(told, BoxPrompt) else told.patch.box
        return float(((r1 - r0 + 1) * (c1 - c0 + 1)) ** 0.5)


NOTHING = Group()


def _in_order(members: Iterable[Prompt]) -> list[Prompt]:
    """Return prompts in the order of the steps that they are; see :attr:`Group.steps`."""
    ordered = sorted(members, key=lambda one: (not _is_first(one), one.id))
    box = next((one for one in ordered if isinstance(one, BoxPrompt)), None)
    if box is not None:
        at = ordered.index(box)
        while at and not isinstance(ordered[at - 1], Lasso | MaskPrompt):
            at -= 1
        ordered.remove(box)
        ordered.insert(at, box)
    return ordered


def _is_first(prompt: Prompt) -> bool:
    return isinstance(prompt, MaskPrompt) and prompt.is_first


def _step(prompt: Prompt, size: float | None) -> Prompts:
    """Return what a prompt adds, of an object of some size."""
    if isinstance(prompt, Click):
        return Prompts([prompt.point], [prompt.label])
    if isinstance(prompt, Stroke):
        points = spread_points(prompt.path, size)
        return Prompts(points, [prompt.label] * len(points))
    if isinstance(prompt, BoxPrompt):
        return Prompts(box=prompt.box)
    if isinstance(prompt, Lasso):
        return Prompts(box=prompt.patch.box, mask=prompt.patch)
    return Prompts(mask=prompt.patch, is_exact=True)


@lru_cache(maxsize=256)  # the latest lassos are asked for at every change
def _filled(polygon: tuple[tuple[float, float], ...]) -> Patch:
    return fill_polygon(polygon)
