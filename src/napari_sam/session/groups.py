"""The kinds of prompts, and the group of prompts of one object on one plane."""

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
"""An object and a plane: the key of a mask and its prompts."""


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
        """The object and the plane."""
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
        """The object and the plane."""
        return self.object_id, self.plane


@dataclass(frozen=True, slots=True)
class Stroke:
    """A stroke: `path` of (row, column) in pixels of the plane; `label` 1 inside, 0 outside.

    The model gets it as the clicks that :func:`~napari_sam.strokes.spread_points` returns.
    """

    id: int
    object_id: int
    plane: Plane
    path: tuple[tuple[float, float], ...]
    label: int

    @property
    def key(self) -> ObjectPlane:
        """The object and the plane."""
        return self.object_id, self.plane


@dataclass(frozen=True, slots=True)
class Lasso:
    """A region drawn around an object, as vertices (row, column): a mask and a box in one."""

    id: int
    object_id: int
    plane: Plane
    polygon: tuple[tuple[float, float], ...]

    @property
    def key(self) -> ObjectPlane:
        """The object and the plane."""
        return self.object_id, self.plane

    @property
    def patch(self) -> Patch:
        """Its pixels, including those outside of the plane."""
        return _filled(self.polygon)


@dataclass(frozen=True, slots=True, eq=False)
class MaskPrompt:
    """A mask that is taken as it is, until later prompts change it.

    Parameters
    ----------
    id, object_id, plane
        As for the other prompts.
    patch
        The mask.
    is_first
        Whether it is the mask that the labels had before any prompt: it comes before all other
        prompts of its group, whatever its identifier.
    """

    id: int
    object_id: int
    plane: Plane
    patch: Patch
    is_first: bool = False

    @property
    def key(self) -> ObjectPlane:
        """The object and the plane."""
        return self.object_id, self.plane

    def __eq__(self, other: object) -> bool:
        """Whether another prompt is equal, with the same mask."""
        if self is other or not isinstance(other, MaskPrompt):
            return self is other
        mine, its = (
            (one.id, one.object_id, one.plane, one.is_first, one.patch.origin)
            for one in (self, other)
        )
        return mine == its and self.patch.equals(other.patch)

    def __hash__(self) -> int:
        """Return a hash that is the same for equal prompts."""
        return hash((self.id, self.object_id, self.plane))


Prompt = Click | BoxPrompt | Stroke | Lasso | MaskPrompt
"""A prompt of any kind."""

SINGLE = ("box", "lasso", "mask")
"""Fields of :class:`Group` that hold one prompt each."""


@dataclass(frozen=True)
class Group:
    """The prompts of one object on one plane.

    Parameters
    ----------
    clicks
        The clicks in the order in which they were added, which is that of their identifiers.
    box
        The box, if there is one.
    candidate
        Index of the candidate of the first click that a user chose; None leaves it to
        `granularity`.
    granularity
        The chosen candidate of the first click by area; empty leaves it to the model.
    strokes
        The strokes in the order in which they were added.
    lasso, mask
        The lasso and the mask prompt, if there are any.
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
        """The chosen candidate of the first click; None leaves it to the model."""
        return self.candidate if self.candidate is not None else self.granularity or None

    @property
    def is_empty(self) -> bool:
        """Whether there is no prompt; a chosen candidate alone doesn't count."""
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
        """The mask prompt, if it is the last step and therefore the object's mask; else None."""
        if self.mask is None or not self.steps.is_exact(len(self.steps) - 1):
            return None
        return self.mask.patch

    @property
    def prompts(self) -> Prompts:
        """All prompts at once; the model decodes them step by step, see :attr:`steps`."""
        return self.steps.everything

    @cached_property
    def steps(self) -> Steps:
        """The steps in which the prompts are decoded: one for each, in the order of adding them.

        A box comes before the clicks and strokes, whenever it was drawn, since it locates the
        object; but after a lasso or a mask that was added before it.
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
        """Estimated side of the object, from its box, lasso or mask; None if there is none."""
        prompt = self.box or self.lasso or self.mask
        if prompt is None:
            return None
        r0, c0, r1, c1 = prompt.box if isinstance(prompt, BoxPrompt) else prompt.patch.box
        return float(((r1 - r0 + 1) * (c1 - c0 + 1)) ** 0.5)


NOTHING = Group()


def _in_order(members: Iterable[Prompt]) -> list[Prompt]:
    """Return prompts in the order in which they are decoded; see :attr:`Group.steps`."""
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
    """Return the step of a prompt for an object of a size."""
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


@lru_cache(maxsize=256)  # the pixels of lassos are needed at every change
def _filled(polygon: tuple[tuple[float, float], ...]) -> Patch:
    return fill_polygon(polygon)
