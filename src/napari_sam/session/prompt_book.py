"""All prompts of a session, by plane and object."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal, assert_never
from weakref import ref

from napari_sam.patches import Patch
from napari_sam.planes import Plane
from napari_sam.prompts import Box, Candidate, Granularity, Prompts
from napari_sam.session.groups import (
    NOTHING,
    SINGLE,
    BoxPrompt,
    Click,
    Group,
    Lasso,
    MaskPrompt,
    ObjectPlane,
    Prompt,
    Stroke,
)

__all__ = [
    "NOTHING",
    "BoxPrompt",
    "Click",
    "Group",
    "Lasso",
    "MaskPrompt",
    "ObjectPlane",
    "Prompt",
    "PromptBook",
    "Stroke",
    "changed_keys",
]

_FEW = 16  # groups changed at once for which cached properties are updated, not recomputed


@dataclass(frozen=True)
class PromptBook:
    """All prompts of a session, immutable: a change returns another book.

    Prompts are stored by plane and object, and books share what is unchanged, so that adding a
    click takes as long in a book of ten prompts as in one of ten thousand. Properties of the whole
    book (:attr:`clicks`, :attr:`boxes`, :attr:`keys`) are computed when they are accessed.

    Parameters
    ----------
    planes
        Groups by plane and object, none of them empty; :meth:`of` makes a book from prompts.
    next_id
        Identifier of the next prompt; identifiers are never used twice.
    """

    planes: Mapping[Plane, Mapping[int, Group]] = field(default_factory=dict)
    next_id: int = 1

    @classmethod
    def of(
        cls, clicks: Iterable[Click] = (), boxes: Iterable[BoxPrompt] = (), next_id: int = 1
    ) -> PromptBook:
        """Return a book of prompts, whose next identifier is higher than all of theirs.

        Raises
        ------
        ValueError
            If two prompts have the same identifier, or an object has two boxes on a plane.
        """
        return cls(next_id=next_id).with_all_clicks(clicks).with_all_boxes(boxes)

    # Access

    def group(self, key: ObjectPlane) -> Group:
        """Return the prompts of an object on a plane; :data:`NOTHING` if there are none."""
        object_id, plane = key
        return self.planes.get(plane, {}).get(object_id, NOTHING)

    def prompts_of(self, key: ObjectPlane) -> Prompts:
        """Return the prompts of an object on a plane as the model gets them."""
        return self.group(key).prompts

    def box_of(self, key: ObjectPlane) -> BoxPrompt | None:
        """Return the box of an object on a plane, or None."""
        return self.group(key).box

    def ids_of(self, key: ObjectPlane) -> tuple[int, ...]:
        """Return the identifiers of all prompts of an object on a plane."""
        return tuple(prompt.id for prompt in self.group(key).members)

    def find(self, prompt_id: int) -> Prompt | None:
        """Return the prompt with an identifier; None if there is none."""
        key = self._places.get(prompt_id)
        if key is not None:
            for prompt in self.group(key).members:
                if prompt.id == prompt_id:
                    return prompt
        return self._by_id.get(prompt_id)

    def click(self, click_id: int) -> Click:
        """Find a click.

        Raises
        ------
        KeyError
            If there is none with that identifier.
        """
        click = self.find(click_id)
        if not isinstance(click, Click):
            raise KeyError(
                f"expected the identifier of one of {self.click_count} clicks, got {click_id}; "
                "it may have been removed"
            )
        return click

    def by_key(self) -> dict[ObjectPlane, Group]:
        """Return the group of every object and plane."""
        return {key: self.group(key) for key in self.keys}

    # The whole book

    @cached_property
    def clicks(self) -> tuple[Click, ...]:
        """All clicks, in the order in which they were added."""
        clicks = (click for group in self._groups() for click in group.clicks)
        return tuple(sorted(clicks, key=lambda click: click.id))

    @cached_property
    def boxes(self) -> tuple[BoxPrompt, ...]:
        """All boxes, in the order in which they were added."""
        boxes = (group.box for group in self._groups() if group.box is not None)
        return tuple(sorted(boxes, key=lambda box: box.id))

    @cached_property
    def strokes(self) -> tuple[Stroke, ...]:
        """All strokes, in the order in which they were added."""
        strokes = (stroke for group in self._groups() for stroke in group.strokes)
        return tuple(sorted(strokes, key=lambda stroke: stroke.id))

    @cached_property
    def lassos(self) -> tuple[Lasso, ...]:
        """All lassos, in the order in which they were added."""
        lassos = (group.lasso for group in self._groups() if group.lasso is not None)
        return tuple(sorted(lassos, key=lambda lasso: lasso.id))

    @cached_property
    def keys(self) -> tuple[ObjectPlane, ...]:
        """Every (object, plane) that has a prompt, in the order of the first ones."""
        firsts = [
            (group.first_id, (object_id, plane))
            for plane, groups in self.planes.items()
            for object_id, group in groups.items()
        ]
        return tuple(key for _, key in sorted(firsts, key=lambda first: first[0]))

    @cached_property
    def object_ids(self) -> tuple[int, ...]:
        """Objects that have a prompt, ascending."""
        return tuple(sorted(set().union(*self.planes.values())))

    @property
    def highest_object(self) -> int:
        """The highest object that has a prompt; 0 if there is none."""
        return self.object_ids[-1] if self.object_ids else 0

    @cached_property
    def click_count(self) -> int:
        """Number of clicks."""
        return sum(len(group.clicks) for group in self._groups())

    @cached_property
    def box_count(self) -> int:
        """Number of boxes."""
        return sum(group.box is not None for group in self._groups())

    def _groups(self) -> Iterator[Group]:
        for groups in self.planes.values():
            yield from groups.values()

    @cached_property
    def _by_id(self) -> dict[int, Prompt]:
        return {prompt.id: prompt for group in self._groups() for prompt in group.members}

    @cached_property
    def _places(self) -> dict[int, ObjectPlane]:
        """Where a prompt probably is: shared by all books made from one, and right for most."""
        return {prompt_id: prompt.key for prompt_id, prompt in self._by_id.items()}

    @cached_property
    def _origin(self) -> tuple[ref[PromptBook], tuple[ObjectPlane, ...]] | None:
        """The book from which this one was made, and the changed keys; None if there is none."""
        return None

    # Changes

    def with_groups(self, groups: Mapping[ObjectPlane, Group]) -> PromptBook:
        """Return a book with other groups for some objects and planes.

        Empty groups are removed; without a click or stroke a chosen candidate is dropped.

        Raises
        ------
        ValueError
            If a prompt belongs to another object or plane than its group, or has the identifier
            of another prompt of the book.
        """
        changed: dict[ObjectPlane, Group] = {}
        for key, given in groups.items():
            group = _settled(key, given)
            if group != self.group(key):
                changed[key] = group
        if not changed:
            return self
        ids = [prompt.id for group in changed.values() for prompt in group.members]
        self._check_ids(ids, changed)
        fresh = {plane: dict(self.planes.get(plane, {})) for _, plane in changed}
        for (object_id, plane), group in changed.items():
            fresh[plane][object_id] = group
            if group.is_empty:
                del fresh[plane][object_id]
        planes = {**self.planes, **fresh}
        for plane, inner in fresh.items():
            if not inner:
                del planes[plane]
        book = PromptBook(planes, max(self.next_id, max(ids, default=0) + 1))
        self._hand_on(book, changed)
        return book

    def _check_ids(self, ids: Sequence[int], changed: Mapping[ObjectPlane, Group]) -> None:
        """Raise an error if two prompts would have the same identifier."""
        twice = [number for number, count in Counter(ids).items() if count > 1]
        for number in ids:
            key = self._places.get(number)
            if key is not None and key not in changed and number in self.ids_of(key):
                twice.append(number)
        if twice:
            raise ValueError(
                f"expected prompts with identifiers of their own, got {twice[0]} twice; give new "
                f"ones identifiers from {self.next_id} on"
            )

    def _hand_on(self, book: PromptBook, changed: Mapping[ObjectPlane, Group]) -> None:
        """Set cached properties of a book made from this one, without computing them again."""
        pairs = [(self.group(key), group) for key, group in changed.items()]
        for group in changed.values():
            self._places.update((prompt.id, prompt.key) for prompt in group.members)
        differ = {
            key[0] for key, (a, b) in zip(changed, pairs, strict=True) if a.is_empty != b.is_empty
        }
        clicks = sum(len(b.clicks) - len(a.clicks) for a, b in pairs)
        boxes = sum((b.box is not None) - (a.box is not None) for a, b in pairs)
        book.__dict__.update(
            click_count=self.click_count + clicks,
            box_count=self.box_count + boxes,
            _places=self._places,
            _origin=(ref(self), tuple(changed)),
        )
        if len(differ) <= _FEW:
            ids = self.object_ids
            for object_id in differ:
                ids = _with_member(ids, object_id, book._has_prompts(object_id))
            book.__dict__["object_ids"] = ids

    def _has_prompts(self, object_id: int) -> bool:
        return any(object_id in groups for groups in self.planes.values())

    def with_click(
        self,
        key: ObjectPlane,
        point: tuple[float, float],
        label: int,
        granularity: Granularity | Literal[""] = "",
    ) -> PromptBook:
        """Add a click at the end; see :meth:`with_clicks`."""
        return self.with_clicks([Click(self.next_id, *key, point, label)], granularity)

    def reserving(self, next_id: int) -> PromptBook:
        """Return a book with the same prompts, whose next identifier is at least `next_id`."""
        if next_id <= self.next_id:
            return self
        book = PromptBook(self.planes, next_id)
        book.__dict__.update({**self.__dict__, "next_id": next_id})
        return book

    def with_clicks(
        self, clicks: Iterable[Click], granularity: Granularity | Literal[""] = ""
    ) -> PromptBook:
        """Add clicks that have identifiers, from :attr:`next_id` on.

        Parameters
        ----------
        clicks
            The clicks.
        granularity
            The candidate to choose for a positive click that is the first prompt of its object on
            the plane.
        """
        groups: dict[ObjectPlane, Group] = {}
        for click in clicks:
            _put(groups, self, click)
            group = groups[click.key]
            if granularity and click.label and len(group.members) == 1:
                groups[click.key] = replace(group, granularity=granularity)
        return self.with_groups(groups)

    def with_stroke(
        self, key: ObjectPlane, path: Sequence[tuple[float, float]], label: int
    ) -> PromptBook:
        """Add a stroke at the end."""
        group = self.group(key)
        stroke = Stroke(self.next_id, *key, tuple(path), label)
        return self.with_groups({key: replace(group, strokes=(*group.strokes, stroke))})

    def with_lasso(self, key: ObjectPlane, polygon: Sequence[tuple[float, float]]) -> PromptBook:
        """Add a lasso of an object at the end, in the place of an earlier one."""
        lasso = Lasso(self.next_id, *key, tuple(polygon))
        return self.with_groups({key: replace(self.group(key), lasso=lasso)})

    def with_drawn(
        self,
        strokes: Mapping[ObjectPlane, Sequence[Sequence[tuple[float, float]]]],
        lassos: Mapping[ObjectPlane, Sequence[tuple[float, float]]],
    ) -> PromptBook:
        """Add positive strokes and lassos of many objects at once.

        Parameters
        ----------
        strokes, lassos
            The paths of strokes, and the vertices of the lasso, by (object, plane).
        """
        number = self.next_id
        groups: dict[ObjectPlane, Group] = {}
        for key in dict.fromkeys((*strokes, *lassos)):
            group = self.group(key)
            drawn = list(group.strokes)
            for path in strokes.get(key, ()):
                drawn.append(Stroke(number, *key, tuple(path), 1))
                number += 1
            lasso = group.lasso
            if key in lassos:
                lasso = Lasso(number, *key, tuple(lassos[key]))
                number += 1
            groups[key] = replace(group, strokes=tuple(drawn), lasso=lasso)
        return self.with_groups(groups)

    def with_mask(self, key: ObjectPlane, patch: Patch, is_first: bool = False) -> PromptBook:
        """Add a mask prompt at the end or, with `is_first`, before all; it replaces another."""
        mask = MaskPrompt(self.next_id, *key, patch, is_first)
        return self.with_groups({key: replace(self.group(key), mask=mask)})

    def with_changed(self, *changed: Prompt) -> PromptBook:
        """Replace the prompts with the same identifiers.

        Raises
        ------
        KeyError
            If there is no prompt of the same kind with that identifier.
        """
        olds = [self.find(prompt.id) for prompt in changed]
        for old, new in zip(olds, changed, strict=True):
            if type(old) is not type(new):
                raise KeyError(
                    f"expected the identifier of a prompt of this kind, got {new.id}; it may have "
                    "been removed"
                )
        groups = self._groups_without(olds)
        for new in changed:
            _put(groups, self, new)
        return self.with_groups(groups)

    def with_box(self, key: ObjectPlane, box: Box | None) -> PromptBook:
        """Set or remove the box of an object on a plane; it keeps the old one's identifier."""
        group = self.group(key)
        if box is None:
            new = None
        elif group.box is not None:
            new = replace(group.box, box=box)
        else:
            new = BoxPrompt(self.next_id, *key, box)
        return self.with_groups({key: replace(group, box=new)})

    def with_candidate(self, key: ObjectPlane, candidate: Candidate | None) -> PromptBook:
        """Choose a candidate of an object's first click on a plane; None for the model's best."""
        return self.with_groups({key: _choosing(self.group(key), candidate)})

    def with_prompts(
        self,
        prompts: Mapping[ObjectPlane, Prompts],
        candidates: Mapping[ObjectPlane, Candidate] | None = None,
    ) -> PromptBook:
        """Add the clicks of many objects at the end, and their boxes in the place of old ones.

        Parameters
        ----------
        prompts
            The prompts by (object, plane).
        candidates
            The chosen candidates by (object, plane); by default earlier choices stay.
        """
        candidates = candidates or {}
        number = self.next_id
        groups: dict[ObjectPlane, Group] = {}
        for key, one in prompts.items():
            group = self.group(key)
            box, clicks = group.box, list(group.clicks)
            if one.box is not None:
                box = BoxPrompt(number, *key, one.box)
                number += 1
            for (row, column), label in zip(one.points.tolist(), one.point_labels, strict=True):
                clicks.append(Click(number, *key, (row, column), int(label)))
                number += 1
            extended = replace(group, clicks=tuple(clicks), box=box)
            groups[key] = _choosing(extended, candidates.get(key, group.choice))
        return self.with_groups(groups)

    def without(self, prompt_ids: Iterable[int]) -> PromptBook:
        """Remove prompts by identifier; unknown ones are ignored."""
        return self.with_groups(self._groups_without(map(self.find, {*prompt_ids})))

    def with_all_clicks(self, clicks: Iterable[Click]) -> PromptBook:
        """Replace all clicks; boxes stay, and so do candidates of objects with clicks."""
        groups: dict[ObjectPlane, list[Click]] = {}
        for click in clicks:
            groups.setdefault(click.key, []).append(click)
        changed = {
            key: replace(self.group(key), clicks=tuple(given)) for key, given in groups.items()
        }
        for key in self.keys:
            if key not in groups and self.group(key).clicks:
                changed[key] = replace(self.group(key), clicks=())
        return self.with_groups(changed)

    def with_all_boxes(self, boxes: Iterable[BoxPrompt]) -> PromptBook:
        """Replace all boxes; clicks and candidates stay.

        Raises
        ------
        ValueError
            If an object has two boxes on a plane.
        """
        changed = {
            key: replace(group, box=None)
            for key, group in self.by_key().items()
            if group.box is not None
        }
        for box in boxes:
            _put(changed, self, box)
        return self.with_groups(changed)

    def _groups_without(self, prompts: Iterable[Prompt | None]) -> dict[ObjectPlane, Group]:
        """Return the groups of some prompts without these prompts."""
        gone: dict[ObjectPlane, set[int]] = {}
        for prompt in prompts:
            if prompt is not None:
                gone.setdefault(prompt.key, set()).add(prompt.id)
        groups = {}
        for key, ids in gone.items():
            group = self.group(key)
            left: dict[str, Any] = {}
            for name in SINGLE:
                one = getattr(group, name)
                left[name] = None if one is None or one.id in ids else one
            groups[key] = replace(
                group,
                clicks=tuple(click for click in group.clicks if click.id not in ids),
                strokes=tuple(stroke for stroke in group.strokes if stroke.id not in ids),
                **left,
            )
        return groups


def changed_keys(before: PromptBook, after: PromptBook) -> list[ObjectPlane]:
    """Return the objects and planes whose prompts differ, in the order of their first prompts.

    Groups that two books share are not compared.
    """
    keys = _known_change(before, after) or _known_change(after, before)
    if keys is None:
        keys = [key for key in _differing(before, after) if before.group(key) != after.group(key)]
    return sorted(keys, key=lambda key: after.group(key).first_id or before.group(key).first_id)


def _known_change(before: PromptBook, after: PromptBook) -> Sequence[ObjectPlane] | None:
    """Return the changed keys if `after` was made from `before`; otherwise None."""
    origin = after._origin
    return origin[1] if origin is not None and origin[0]() is before else None


def _differing(before: PromptBook, after: PromptBook) -> Iterator[ObjectPlane]:
    """Yield the keys of groups that two books don't share."""
    for plane in {**before.planes, **after.planes}:
        old, new = before.planes.get(plane, {}), after.planes.get(plane, {})
        if old is not new:
            for object_id in {**old, **new}:
                if old.get(object_id) is not new.get(object_id):
                    yield object_id, plane


def _settled(key: ObjectPlane, group: Group) -> Group:
    """Return a group with its prompts sorted, and without a candidate if there is no click."""
    for prompt in group.members:
        if prompt.key != key:
            raise ValueError(
                f"expected prompts of object {key[0]} on plane {key[1]}, got prompt {prompt.id} "
                f"of object {prompt.object_id} on plane {prompt.plane}; give it the object and "
                "plane of its group"
            )
    clicks, strokes = group.clicks, group.strokes
    if any(a.id > b.id for a, b in pairwise(clicks)):
        group = replace(group, clicks=tuple(sorted(clicks, key=lambda click: click.id)))
    if any(a.id > b.id for a, b in pairwise(strokes)):
        group = replace(group, strokes=tuple(sorted(strokes, key=lambda stroke: stroke.id)))
    if group.choice is not None and not (group.clicks or group.strokes):
        group = _choosing(group, None)
    return group


def _choosing(group: Group, candidate: Candidate | None) -> Group:
    """Return a group with another candidate of the first click."""
    if isinstance(candidate, str):
        return replace(group, candidate=None, granularity=candidate)
    return replace(group, candidate=candidate, granularity="")


def _put(groups: dict[ObjectPlane, Group], book: PromptBook, prompt: Prompt) -> None:
    """Add a prompt to groups that are being changed, which start as in a book."""
    group = groups.get(prompt.key, book.group(prompt.key))
    if isinstance(prompt, Click):
        groups[prompt.key] = replace(group, clicks=(*group.clicks, prompt))
    elif isinstance(prompt, Stroke):
        groups[prompt.key] = replace(group, strokes=(*group.strokes, prompt))
    elif isinstance(prompt, BoxPrompt):
        _check_single(group.box, "box", prompt)
        groups[prompt.key] = replace(group, box=prompt)
    elif isinstance(prompt, Lasso):
        _check_single(group.lasso, "lasso", prompt)
        groups[prompt.key] = replace(group, lasso=prompt)
    elif isinstance(prompt, MaskPrompt):
        _check_single(group.mask, "mask", prompt)
        groups[prompt.key] = replace(group, mask=prompt)
    else:
        assert_never(prompt)


def _check_single(there: Prompt | None, word: str, prompt: Prompt) -> None:
    if there is not None:
        raise ValueError(
            f"expected one {word} of object {prompt.object_id} on a plane, got another; give one "
            "of them another object"
        )


def _with_member(ids: tuple[int, ...], number: int, is_member: bool) -> tuple[int, ...]:
    """Return ascending numbers with or without one."""
    at = bisect_left(ids, number)
    was_member = at < len(ids) and ids[at] == number
    return (*ids[:at], *((number,) if is_member else ()), *ids[at + was_member :])
