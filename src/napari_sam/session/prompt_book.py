"""Every prompt of a session: which object it speaks of, on which plane, in which order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from napari_sam.prompts import Box, Prompts
from napari_sam.session.planes import Plane

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
class _Group:
    """What is said about an object on a plane."""

    clicks: tuple[Click, ...] = ()
    box: BoxPrompt | None = None


_NONE = _Group()


@dataclass(frozen=True)
class PromptBook:
    """All prompts, in the order they were given. A change returns another book.

    Parameters
    ----------
    clicks, boxes
        An object has at most one box on a plane.
    next_id
        Identifier of the next prompt; never given twice.
    """

    clicks: tuple[Click, ...] = ()
    boxes: tuple[BoxPrompt, ...] = ()
    next_id: int = 1

    def click(self, click_id: int) -> Click:
        """Find a click.

        Raises
        ------
        KeyError
            If there is none with that identifier.
        """
        for click in self.clicks:
            if click.id == click_id:
                return click
        raise KeyError(f"expected one of the clicks {[c.id for c in self.clicks]}, got {click_id}")

    def box_of(self, key: ObjectPlane) -> BoxPrompt | None:
        """Return the box of an object on a plane, or None."""
        return self._groups[key].box if key in self._groups else None

    def prompts_of(self, key: ObjectPlane) -> Prompts:
        """Return what is said about an object on a plane, in order."""
        if key not in self._said:
            group = self._groups.get(key, _NONE)
            self._said[key] = Prompts(
                [click.point for click in group.clicks],
                [click.label for click in group.clicks],
                group.box.box if group.box else None,
            )
        return self._said[key]

    def by_key(self) -> dict[ObjectPlane, tuple[object, ...]]:
        """Return the ordered prompts of every object and plane, to compare books by."""
        return {
            key: (
                *((group.box.box,) if group.box else ()),
                *((click.point, click.label) for click in group.clicks),
            )
            for key, group in self._groups.items()
        }

    def ids_of(self, key: ObjectPlane) -> tuple[int, ...]:
        """Return the identifiers of all prompts of an object on a plane."""
        group = self._groups.get(key, _NONE)
        clicks = (click.id for click in group.clicks)
        return (*clicks, *((group.box.id,) if group.box else ()))

    @property
    def keys(self) -> tuple[ObjectPlane, ...]:
        """Everything that has a prompt, in order of its first one."""
        return tuple(self._groups)

    @property
    def object_ids(self) -> tuple[int, ...]:
        """Objects that have a prompt, ascending."""
        return tuple(sorted({object_id for object_id, _ in self.keys}))

    @cached_property
    def _said(self) -> dict[ObjectPlane, Prompts]:
        return {}

    @cached_property
    def _groups(self) -> dict[ObjectPlane, _Group]:
        """Everything by what it speaks of, put in order once: there may be 100,000 prompts."""
        boxes = {box.key: box for box in self.boxes}
        clicks: dict[ObjectPlane, list[Click]] = {key: [] for key in boxes}
        for click in self.clicks:
            clicks.setdefault(click.key, []).append(click)
        return {key: _Group(tuple(said), boxes.get(key)) for key, said in clicks.items()}

    def with_click(self, key: ObjectPlane, point: tuple[float, float], label: int) -> PromptBook:
        """Add a click at the end."""
        click = Click(self.next_id, *key, point, label)
        return replace(self, clicks=(*self.clicks, click), next_id=self.next_id + 1)

    def with_changed(self, changed: Click) -> PromptBook:
        """Put a click in the place of the one with its identifier."""
        clicks = tuple(changed if c.id == changed.id else c for c in self.clicks)
        return replace(self, clicks=clicks)

    def with_box(self, key: ObjectPlane, box: Box | None) -> PromptBook:
        """Give an object another box on a plane, or none; a new box keeps the old one's place."""
        old = self.box_of(key)
        if box is None:
            return replace(self, boxes=tuple(b for b in self.boxes if b is not old))
        if old is not None:
            new = replace(old, box=box)
            return replace(self, boxes=tuple(new if b is old else b for b in self.boxes))
        new = BoxPrompt(self.next_id, *key, box)
        return replace(self, boxes=(*self.boxes, new), next_id=self.next_id + 1)

    def with_prompts(self, prompts: Mapping[ObjectPlane, Prompts]) -> PromptBook:
        """Add the clicks of many objects at the end, and their boxes in the place of old ones."""
        clicks, boxes = list(self.clicks), {box.key: box for box in self.boxes}
        number = self.next_id
        for key, one in prompts.items():
            if one.box is not None:
                boxes[key] = BoxPrompt(number, *key, one.box)
                number += 1
            for (row, column), label in zip(one.points.tolist(), one.point_labels, strict=True):
                clicks.append(Click(number, *key, (row, column), int(label)))
                number += 1
        return replace(self, clicks=tuple(clicks), boxes=tuple(boxes.values()), next_id=number)

    def without(self, prompt_ids: Iterable[int]) -> PromptBook:
        """Remove clicks and boxes by identifier; unknown ones are ignored."""
        gone = set(prompt_ids)
        return replace(
            self,
            clicks=tuple(c for c in self.clicks if c.id not in gone),
            boxes=tuple(b for b in self.boxes if b.id not in gone),
        )


def changed_keys(before: PromptBook, after: PromptBook) -> list[ObjectPlane]:
    """Return which masks change: objects on planes whose ordered prompts differ."""
    old, new = before.by_key(), after.by_key()
    return [key for key in {**old, **new} if old.get(key) != new.get(key)]


def describe(before: PromptBook, after: PromptBook) -> str:
    """Say in a few words what changed, such as ``added a point to object 7``; empty if nothing."""
    old, new = _by_id(before), _by_id(after)
    added = [p for i, p in new.items() if i not in old]
    removed = [p for i, p in old.items() if i not in new]
    changed = [(old[i], p) for i, p in new.items() if i in old and old[i] != p]
    if added:
        return f"added {_count(added)} to {_objects(added)}"
    if removed:
        return f"removed {_count(removed)} of {_objects(removed)}"
    if changed:
        flipped = all(
            isinstance(a, Click) and isinstance(b, Click) and a.label != b.label for a, b in changed
        )
        touched = [p for _, p in changed]
        return f"{'flipped' if flipped else 'moved'} {_count(touched)} of {_objects(touched)}"
    return ""


def _by_id(book: PromptBook) -> dict[int, Click | BoxPrompt]:
    prompts: tuple[Click | BoxPrompt, ...] = (*book.clicks, *book.boxes)
    return {prompt.id: prompt for prompt in prompts}


def _count(prompts: Sequence[Click | BoxPrompt]) -> str:
    if len(prompts) > 1:
        return f"{len(prompts)} prompts"
    return "a point" if isinstance(prompts[0], Click) else "a box"


def _objects(prompts: Sequence[Click | BoxPrompt]) -> str:
    ids = sorted({prompt.object_id for prompt in prompts})
    return f"object {ids[0]}" if len(ids) == 1 else f"{len(ids)} objects"
