"""The prompts of a session: clicks, scribbles, boxes, lassos and masks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from napari_sam.patches import cut, fill_polygon
from napari_sam.prompts import Box, Candidate, Prompts
from napari_sam.session.adopting import Adoption, with_adopted
from napari_sam.session.groups import BoxPrompt, Click, Lasso, ObjectPlane, Prompt, Stroke
from napari_sam.session.prompt_book import PromptBook, changed_keys
from napari_sam.session.prompt_words import describe
from napari_sam.session.readable import Readable
from napari_sam.session.state import Touched

_LARGEST_NUMBER = 2**64 - 1


class Prompting(Readable, ABC):
    """The part of a session that takes prompts."""

    _adoption: Adoption

    @property
    def prompts(self) -> PromptBook:
        """All prompts, immutable. Assign another book to change many prompts in one step."""
        return self._state.book

    @prompts.setter
    def prompts(self, book: PromptBook) -> None:
        before = self.prompts
        keys = self._check(book)
        if keys:
            book = with_adopted(self._state, book, keys, self.embeddings.source)
            self._follow(self._state.edit(book, keys, describe(before, book, keys)))

    def add_point(
        self,
        plane: object,
        point: Sequence[float],
        label: int = 1,
        object_id: int | None = None,
    ) -> int:
        """Add a click, as one step; the object's mask on the plane is predicted again.

        Parameters
        ----------
        plane
            Index of the plane, such as ``4`` or ``(t, z)``; ``()`` in a 2-D image.
        point
            (row, column) in pixels of the plane; the centre of a pixel has integer coordinates.
        label
            1 if the point belongs to the object, 0 if not.
        object_id
            The object; the current one by default.

        Returns
        -------
        id
            Identifier of the click, for :meth:`move_point`, :meth:`remove_point` and
            :meth:`flip_point`.

        Raises
        ------
        ValueError
            If the plane doesn't exist, the point lies outside it or is not finite, or the object
            is locked.
        """
        key = self._key(object_id, plane)
        click_id = self.prompts.next_id
        self.prompts = self.prompts.with_click(
            key, as_point(point), int(label), self._state.granularity
        )
        return click_id

    def add_prompts(
        self,
        prompts: Mapping[tuple[int, Any], Prompts],
        candidates: Mapping[tuple[int, Any], Candidate] | None = None,
    ) -> None:
        """Add the prompts of many objects, as one step.

        The masks are the same as if the prompts had been added one after the other;
        :meth:`cancel` stops the predictions that are left.

        Parameters
        ----------
        prompts
            The clicks and the box of each (object, plane); the plane as for :meth:`add_point`.
        candidates
            The candidate of the first click for each (object, plane): its index, ``"whole"``,
            ``"part"`` or ``"sub-part"``; by default the model's best.

        Raises
        ------
        ValueError
            If a plane doesn't exist, a prompt lies outside it or contains a mask, or an object is
            locked. No prompt is added then.
        """
        given: dict[ObjectPlane, Prompts] = {}
        for (object_id, plane), one in prompts.items():
            if one.mask is not None:
                raise ValueError(
                    f"expected clicks and a box of object {object_id}, got a mask; give its "
                    "pixels as a label or its outline as a box"
                )
            given[int(object_id), self.embeddings.source.plane_of(plane)] = one
        chosen = {
            (int(object_id), self.embeddings.source.plane_of(plane)): candidate
            for (object_id, plane), candidate in (candidates or {}).items()
        }
        self.prompts = self.prompts.with_prompts(given, chosen)

    def move_point(self, click_id: int, point: Sequence[float]) -> None:
        """Move a click; its object is predicted again.

        Parameters
        ----------
        click_id
            Identifier of the click, from :meth:`add_point`.
        point
            The new (row, column), in pixels of the click's plane.
        """
        click = replace(self.prompts.click(click_id), point=as_point(point))
        self.prompts = self.prompts.with_changed(click)

    def flip_point(self, click_id: int) -> None:
        """Make a positive click negative, or a negative one positive."""
        click = self.prompts.click(click_id)
        self.prompts = self.prompts.with_changed(replace(click, label=1 - click.label))

    def remove_point(self, click_id: int) -> None:
        """Remove a click; its object is predicted again from the others."""
        self.prompts.click(click_id)
        self.prompts = self.prompts.without([click_id])

    def set_box(self, plane: object, box: Box | None, object_id: int | None = None) -> None:
        """Set the box of an object on a plane, or remove it.

        Parameters
        ----------
        plane
            As for :meth:`add_point`.
        box
            (row 0, column 0, row 1, column 1) in pixels of the plane, ends inclusive; None
            removes the box.
        object_id
            As for :meth:`add_point`.

        Raises
        ------
        ValueError
            If the plane doesn't exist, the box lies outside it or is empty, or the object is
            locked.
        """
        self.prompts = self.prompts.with_box(self._key(object_id, plane), box)

    def add_scribble(
        self,
        plane: object,
        path: ArrayLike,
        label: int = 1,
        object_id: int | None = None,
    ) -> int:
        """Add a scribble: a stroke on the object, or on the background.

        The stroke is stored as it was drawn; the model gets up to five clicks spread along it,
        see :func:`~napari_sam.strokes.spread_points`.

        Parameters
        ----------
        plane
            As for :meth:`add_point`.
        path
            `(N, 2)` vertices as (row, column) in pixels of the plane.
        label
            1 if the stroke lies on the object, 0 if not.
        object_id
            As for :meth:`add_point`.

        Returns
        -------
        id
            Identifier of the stroke, for :meth:`move_prompt` and :meth:`remove_prompt`.

        Raises
        ------
        ValueError
            If the plane doesn't exist, the stroke leaves it or is not finite.
        """
        stroke_id = self.prompts.next_id
        key = self._key(object_id, plane)
        self.prompts = self.prompts.with_stroke(key, _as_path(path, 1), _as_sign(label))
        return stroke_id

    def add_lasso(self, plane: object, polygon: ArrayLike, object_id: int | None = None) -> int:
        """Add a lasso: a rough outline, which the model gets as a mask and a box.

        An object has one lasso on a plane; another one replaces it.

        Parameters
        ----------
        plane
            As for :meth:`add_point`.
        polygon
            `(N, 2)` vertices as (row, column) in pixels of the plane; parts outside the plane are
            ignored.
        object_id
            As for :meth:`add_point`.

        Returns
        -------
        id
            Identifier of the lasso, for :meth:`move_prompt` and :meth:`remove_prompt`.

        Raises
        ------
        ValueError
            If the plane doesn't exist, or the region has no pixel on it.
        """
        lasso_id = self.prompts.next_id
        key = self._key(object_id, plane)
        self.prompts = self.prompts.with_lasso(key, self._as_region(key, polygon))
        return lasso_id

    def add_mask(self, plane: object, mask: ArrayLike, object_id: int | None = None) -> int:
        """Add a mask prompt, which becomes the object's mask until another prompt changes it.

        A later click changes the mask around the error that the click points at. An object has
        one mask prompt on a plane; another one replaces it.

        Parameters
        ----------
        plane
            As for :meth:`add_point`.
        mask
            `(H, W)` bool, of the plane's shape.
        object_id
            As for :meth:`add_point`.

        Returns
        -------
        id
            Identifier of the mask prompt, for :meth:`remove_prompt`.

        Raises
        ------
        ValueError
            If the plane doesn't exist, or the mask has another shape or no pixel.
        """
        key = self._key(object_id, plane)
        given, shape = np.asarray(mask), self.embeddings.source.plane_shape(key[1])
        if given.dtype != bool or given.shape != shape or not given.any():
            raise ValueError(
                f"expected a mask (bool) of the plane's shape {shape} with at least one pixel, got "
                f"{given.dtype} of shape {given.shape}; for a label use labels == label_id"
            )
        mask_id = self.prompts.next_id
        self.prompts = self.prompts.with_mask(key, cut(given))
        return mask_id

    def adopt(self, plane: object, label_id: int) -> None:
        """Turn an existing label into an object, so that the next click corrects its mask.

        The pixels of the label on the plane become a mask prompt of the object with the same
        number, which becomes the current one, as one step. Nothing is predicted, and no pixel
        changes. The first prompt on an object that was found, adopted by :meth:`adopt_labels`, or
        present in the labels before the session, does the same automatically.

        Parameters
        ----------
        plane
            As for :meth:`add_point`.
        label_id
            The value of the label.

        Raises
        ------
        ValueError
            If there are no labels, or the label is locked or has no pixels on the plane.
        OSError
            If the labels can't be read.
        """
        self._check_open()
        check_number(label_id)
        self._adoption.adopt((int(label_id), self.embeddings.source.plane_of(plane)))

    def adopt_labels(self, planes: Iterable[object] | None = None) -> None:
        """Turn every label into an object, as one step; in the background if labels are large.

        Labels that have no prompts and were neither painted nor found by a run get the origin
        *adopted*. They get no prompts; the first prompt on one of them corrects its mask.

        Parameters
        ----------
        planes
            Indices of the planes, as for :meth:`add_point`; all by default.

        Raises
        ------
        ValueError
            If a plane doesn't exist, or there are no labels.
        """
        self._check_open()
        canvas, source = self._state.canvas, self.embeddings.source
        if planes is None:
            planes = () if canvas is None else canvas.planes()
        self._adoption.adopt_labels([source.plane_of(plane) for plane in planes])

    def move_prompt(self, prompt_id: int, path: ArrayLike) -> None:
        """Move or reshape a prompt; its object is predicted again.

        Parameters
        ----------
        prompt_id
            Identifier of a click, a stroke, a box or a lasso.
        path
            Its new coordinates, in pixels of the plane: (row, column) of a click, the `(N, 2)`
            vertices of a stroke or a lasso, or (row 0, column 0, row 1, column 1) of a box.

        Raises
        ------
        KeyError
            If there is no prompt with that identifier.
        ValueError
            If it is a mask prompt, or the coordinates are not valid.
        """
        prompt = self._prompt(prompt_id)
        if isinstance(prompt, Lasso):
            self._as_region(prompt.key, path)
        self.prompts = self.prompts.with_changed(_moved(prompt, path))

    def remove_prompt(self, prompt_id: int) -> None:
        """Remove a prompt of any kind; its object is predicted again from the others."""
        self._prompt(prompt_id)
        self.prompts = self.prompts.without([prompt_id])

    def _prompt(self, prompt_id: int) -> Prompt:
        prompt = self.prompts.find(prompt_id)
        if prompt is None:
            raise KeyError(
                f"expected the identifier of a prompt, got {prompt_id}; it may have been removed"
            )
        return prompt

    def _as_region(self, key: ObjectPlane, polygon: ArrayLike) -> tuple[tuple[float, float], ...]:
        """Return the vertices of a lasso; raise an error if it has no pixel on the plane."""
        corners = _as_path(polygon, 3)
        shape = self.embeddings.source.plane_shape(key[1])
        if fill_polygon(corners, shape).is_empty:
            raise ValueError(
                f"expected a region with pixels of the plane of {shape[0]} x {shape[1]} pixels, "
                "got none; draw it around the object"
            )
        return corners

    def clear(self, plane: object, object_id: int | None = None) -> None:
        """Remove an object's prompts on a plane, and with them its predicted pixels.

        An object that had a mask before its first prompt, because it was found, adopted or
        made by another program, gets that mask back, without the pixels that were erased
        since. To remove such an object, use :meth:`delete_object`.

        Parameters
        ----------
        plane, object_id
            As for :meth:`add_point`.

        Raises
        ------
        ValueError
            If the plane doesn't exist, or the object is locked.
        """
        key = self._key(object_id, plane)
        group = self.prompts.group(key)
        kept = group.mask.id if group.mask is not None and group.mask.is_first else None
        gone = [prompt.id for prompt in group.members if prompt.id != kept]
        if kept is not None and not gone:
            self._state.check_unlocked([key[0]])
            self._state.noticed.emit(
                f"Object {key[0]} is as it was before any prompt: delete it to take it away"
            )
            return
        self.prompts = self.prompts.without(gone)

    def _check(self, book: PromptBook) -> list[ObjectPlane]:
        self._check_open()
        changed = changed_keys(self.prompts, book)
        self._state.check_unlocked(object_id for object_id, _ in changed)
        for key in changed:
            check_number(key[0])
            book.prompts_of(key).check(self.embeddings.source.plane_shape(key[1]))
        return changed

    def _check_open(self) -> None:
        if self._closed is not None:
            raise self._closed

    @abstractmethod
    def _follow(self, touched: Touched | None) -> None:
        """Emit the signals of a change, and request masks for prompts without an answer."""


def check_number(object_id: int) -> None:
    """Raise an error if a number can't be that of an object."""
    if not 1 <= object_id <= _LARGEST_NUMBER:
        raise ValueError(
            f"expected an object number from 1 to 2^64 - 1, got {object_id}; labels hold no other"
        )


def _moved(prompt: Prompt, path: ArrayLike) -> Prompt:
    if isinstance(prompt, Click):
        return replace(prompt, point=as_point(np.asarray(path).tolist()))
    if isinstance(prompt, Stroke):
        return replace(prompt, path=_as_path(path, 1))
    if isinstance(prompt, Lasso):
        return replace(prompt, polygon=_as_path(path, 3))
    if isinstance(prompt, BoxPrompt):
        box = Prompts(box=np.asarray(path).tolist()).box
        assert box is not None, "a box was given"
        return replace(prompt, box=box)
    raise ValueError(
        f"expected a click, stroke, box or lasso to move, got prompt {prompt.id}, which is a mask; "
        "give another mask in its place"
    )


def _as_path(path: ArrayLike, least: int) -> tuple[tuple[float, float], ...]:
    """Return vertices as pairs of floats; raise an error if they are too few or not finite."""
    vertices = np.asarray(path, np.float64)
    if vertices.ndim != 2 or vertices.shape[1] != 2 or len(vertices) < least:
        raise ValueError(
            f"expected {least} or more vertices (row, column) in pixels of the plane, shape "
            f"(N, 2), got shape {vertices.shape}"
        )
    if not np.isfinite(vertices).all():
        raise ValueError("expected finite vertices, got NaN or infinity; leave them out")
    return tuple((row, column) for row, column in vertices.tolist())


def _as_sign(label: int) -> int:
    if label not in (0, 1):
        raise ValueError(f"expected the label 1 (positive) or 0 (negative), got {label}")
    return int(label)


def as_point(point: Sequence[float]) -> tuple[float, float]:
    """Return a point as two floats; raise an error if it isn't one."""
    try:
        row, column = (float(x) for x in point)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"expected a point (row, column) in pixels of the plane, got {point!r}; the plane's "
            "own indices go into the first argument"
        ) from error
    return row, column
