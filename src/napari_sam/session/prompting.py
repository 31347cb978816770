"""What a user says about objects: clicks and boxes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from napari_sam.prompts import Box, Candidate, Prompts
from napari_sam.session.prompt_book import ObjectPlane, PromptBook, changed_keys, describe
from napari_sam.session.readable import Readable
from napari_sam.session.state import Touched

_LARGEST_NUMBER = 2**64 - 1


class Prompting(Readable, ABC):
    """The part of a session that takes prompts."""

    @property
    def prompts(self) -> PromptBook:
        """All prompts. Assign another book to change many at once."""
        return self._state.book

    @prompts.setter
    def prompts(self, book: PromptBook) -> None:
        before = self.prompts
        keys = self._check(book)
        if keys:
            self._follow(self._state.edit(book, keys, describe(before, book, keys)))

    def add_point(
        self,
        plane: object,
        point: Sequence[float],
        label: int = 1,
        object_id: int | None = None,
    ) -> int:
        """Add a click.

        Parameters
        ----------
        plane
            Index of the plane, such as ``4`` or ``(t, z)``; ``()`` in a 2-D image.
        point
            (row, column) in pixels of the plane.
        label
            1 if the point belongs to the object, 0 if not.
        object_id
            The object; the current one by default.

        Returns
        -------
        id
            For :meth:`move_point`, :meth:`remove_point` and :meth:`flip_point`.

        Raises
        ------
        ValueError
            If the plane doesn't exist, the point lies outside it or is not finite.
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
        """Add the prompts of many objects at once, as one change that :meth:`undo` takes back.

        Masks arrive as if the prompts had been given one after the other; :meth:`cancel` stops
        that.

        Parameters
        ----------
        prompts
            (object, plane) to its clicks and its box there, a plane as for :meth:`add_point`.
        candidates
            Which masks were chosen, from 0 or by area; where none is given, the model chooses.

        Raises
        ------
        ValueError
            If a plane doesn't exist, or a prompt lies outside it or holds a mask. Nothing is
            added then.
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
        """Move a click within its plane; its object is predicted again."""
        click = replace(self.prompts.click(click_id), point=as_point(point))
        self.prompts = self.prompts.with_changed(click)

    def flip_point(self, click_id: int) -> None:
        """Make a positive click negative, or the other way round."""
        click = self.prompts.click(click_id)
        self.prompts = self.prompts.with_changed(replace(click, label=1 - click.label))

    def remove_point(self, click_id: int) -> None:
        """Remove a click; its object is predicted again from the others."""
        self.prompts.click(click_id)
        self.prompts = self.prompts.without([click_id])

    def set_box(self, plane: object, box: Box | None, object_id: int | None = None) -> None:
        """Give an object a box (row 0, column 0, row 1, column 1) on a plane, or take it away."""
        self.prompts = self.prompts.with_box(self._key(object_id, plane), box)

    def clear(self, plane: object, object_id: int | None = None) -> None:
        """Remove every prompt of an object on a plane, and with them its predicted pixels."""
        key = self._key(object_id, plane)
        self.prompts = self.prompts.without(self.prompts.ids_of(key))

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
        """Tell what has changed, and have answered what has no answer."""


def check_number(object_id: int) -> None:
    """Refuse what is no number of an object."""
    if not 1 <= object_id <= _LARGEST_NUMBER:
        raise ValueError(
            f"expected an object number from 1 to 2^64 - 1, got {object_id}; labels hold no other"
        )


def as_point(point: Sequence[float]) -> tuple[float, float]:
    """Return a point as two numbers, or say what was needed."""
    try:
        row, column = (float(x) for x in point)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"expected a point (row, column) in pixels of the plane, got {point!r}; the plane's "
            "own indices go into the first argument"
        ) from error
    return row, column
