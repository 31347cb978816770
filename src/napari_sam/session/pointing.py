"""What a click in the image does: go to an object, start a new one, or refine the current one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from napari_sam.session.prompting import Prompting, as_point
from napari_sam.session.proofreading import Queue

_REACHES = 8, 32, 128  # pixels to each side in which the nearest object is searched

ClickAction = Literal["new", "refine", "go to"]


@dataclass(frozen=True, slots=True)
class ClickMeaning:
    """What a click does.

    Parameters
    ----------
    action
        ``new``: it is the first prompt of a new object. ``refine``: it is another prompt of the
        current object. ``go to``: it makes another object current and adds no prompt.
    object_id
        The object that it prompts or makes current.
    """

    action: ClickAction
    object_id: int


class Pointing(Prompting):
    """The part of a session that decides what a click means, by what it points at.

    Attributes
    ----------
    new_each_click
        Whether each positive click on the background starts a new object. It is not saved, and
        does not apply to an object of the queue while it is corrected (:meth:`Queue.fix`).
    """

    new_each_click: bool = False
    _queue: Queue

    def object_at(self, plane: object, point: Sequence[float]) -> int:
        """Return the object that has the pixel at a point; 0 for the background.

        Parameters
        ----------
        plane
            Index of the plane, as for :meth:`add_point`.
        point
            (row, column) in pixels of the plane.

        Raises
        ------
        ValueError
            If the plane doesn't exist, or the point is not two numbers.
        OSError
            If the labels can't be read.
        """
        at = self.embeddings.source.plane_of(plane)
        row, column = (round(x) for x in as_point(point))
        height, width = self.embeddings.source.plane_shape(at)
        if self._state.canvas is None or not (0 <= row < height and 0 <= column < width):
            return 0
        pixel = self._state.canvas.read(at, (slice(row, row + 1), slice(column, column + 1)))
        return max(int(pixel[0, 0]), 0)

    def object_near(self, plane: object, point: Sequence[float]) -> int:
        """Return the object at a point, or else the nearest within 128 pixels; 0 if none is near.

        Parameters
        ----------
        plane
            Index of the plane, as for :meth:`add_point`.
        point
            (row, column) in pixels of the plane.

        Raises
        ------
        ValueError
            If the plane doesn't exist, or the point is not two numbers.
        OSError
            If the labels can't be read.
        """
        if (there := self.object_at(plane, point)) or self._state.canvas is None:
            return there
        at = self.embeddings.source.plane_of(plane)
        row, column = (round(x) for x in as_point(point))
        height, width = self.embeddings.source.plane_shape(at)
        for reach in _REACHES:
            rows = slice(max(0, row - reach), min(height, row + reach + 1))
            columns = slice(max(0, column - reach), min(width, column + reach + 1))
            if rows.start >= rows.stop or columns.start >= columns.stop:
                continue
            labels = self._state.canvas.read(at, (rows, columns))
            r, c = np.nonzero(labels > 0)
            far = np.hypot(r + rows.start - row, c + columns.start - column)
            if len(far) and far.min() <= reach:
                nearest = int(np.argmin(far))
                return int(labels[r[nearest], c[nearest]])
        return 0

    def correct(self, plane: object, point: Sequence[float], label: int = 1) -> int:
        """Add a click to the object that it points at, and make that object current.

        Parameters
        ----------
        plane
            Index of the plane, as for :meth:`add_point`.
        point
            (row, column) in pixels of the plane.
        label
            1: the point belongs to the object nearest to it. 0: the point does not belong to the
            object whose mask covers it.

        Returns
        -------
        object_id
            The object that was corrected.

        Raises
        ------
        ValueError
            If there is no object at or near the point, the plane doesn't exist, the point lies
            outside of it, or the object is locked.
        OSError
            If the labels can't be read.
        """
        self._check_open()
        object_id = (self.object_near if label else self.object_at)(plane, point)
        if not object_id:
            raise ValueError(
                f"expected an object to correct, got the background{' far from any' * label}; "
                "point at a mask, or click without a modifier to begin one"
            )
        self.add_point(plane, point, label, object_id)
        self.object_id = object_id
        return object_id

    def go_to(self, plane: object, point: Sequence[float]) -> int:
        """Make the object at a point current.

        Parameters
        ----------
        plane
            Index of the plane, as for :meth:`add_point`.
        point
            (row, column) in pixels of the plane.

        Returns
        -------
        object_id
            The number of the object.

        Raises
        ------
        ValueError
            If the plane doesn't exist, or there is no object at the point.
        OSError
            If the labels can't be read.
        """
        there = self.object_at(plane, point)
        if not there:
            raise ValueError(
                "expected an object to go to, got the background; point at a mask, or find all "
                "objects first"
            )
        self.object_id = there
        return there

    def click_meaning(
        self, plane: object, point: Sequence[float], label: int = 1, continues: bool = False
    ) -> ClickMeaning:
        """Return what :meth:`click` would do, without doing it.

        Parameters
        ----------
        plane, point, label, continues
            As for :meth:`click`.

        Raises
        ------
        ValueError
            If the plane doesn't exist, or the point is not two numbers.
        OSError
            If the labels can't be read.
        """
        current = self.object_id
        is_begun = current <= self.highest_object
        is_plain = bool(label) and not continues
        there = self.object_at(plane, point) if is_plain else 0
        if there not in (0, current):
            return ClickMeaning("go to", there)
        if not is_begun:
            return ClickMeaning("new", current)
        if is_plain and self.new_each_click and not self._queue.is_fixing and there != current:
            return ClickMeaning("new", self.highest_object + 1)
        return ClickMeaning("refine", current)

    def object_for_stroke(
        self,
        plane: object,
        path: Sequence[Sequence[float]],
        label: int = 1,
        continues: bool = False,
    ) -> int:
        """Return the object that a stroke drawn on a plane belongs to.

        This is a new object if a click at the middle of the stroke would start one, otherwise the
        current object, even where the stroke crosses the masks of others.

        Parameters
        ----------
        plane
            As for :meth:`click`.
        path
            `(N, 2)` vertices of the stroke, (row, column) in pixels of the plane.
        label, continues
            As for :meth:`click`.

        Returns
        -------
        object_id
            The number of the object; nothing is changed.

        Raises
        ------
        ValueError
            If the plane doesn't exist.
        OSError
            If the labels can't be read.
        """
        meaning = self.click_meaning(plane, path[len(path) // 2], label, continues)
        return self.object_id if meaning.action == "go to" else meaning.object_id

    def click(
        self, plane: object, point: Sequence[float], label: int = 1, continues: bool = False
    ) -> ClickMeaning:
        """Handle a click in the image as the dock does.

        A positive click on the mask of another object makes that object current and adds no
        prompt. Any other click becomes a prompt of the current object; with
        :attr:`new_each_click`, a positive click on the background starts a new object, unless
        an object of the queue is being corrected.

        Parameters
        ----------
        plane
            Index of the plane, as for :meth:`add_point`.
        point
            (row, column) in pixels of the plane.
        label
            1 if the point belongs to the object, 0 if not.
        continues
            Whether the click is a prompt of the current object wherever it points.

        Returns
        -------
        meaning
            What the click did.

        Raises
        ------
        ValueError
            If the plane doesn't exist, the point lies outside of it, or the object is locked.
        OSError
            If the labels can't be read.
        """
        self._check_open()
        meaning, before = self.click_meaning(plane, point, label, continues), self.object_id
        self.object_id = meaning.object_id
        if meaning.action != "go to":
            try:
                self.add_point(plane, point, label)
            except ValueError:
                self.object_id = before
                raise
        return meaning
