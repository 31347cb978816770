"""The part of a session that only reads: objects and masks, progress, and history."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from napari_sam.patches import Patch
from napari_sam.plane_input import PlaneInput
from napari_sam.planes import Plane
from napari_sam.prompts import Box, Candidate, Prompts
from napari_sam.session.answering import Answering
from napari_sam.session.decoding import Backlog
from napari_sam.session.embeddings import Embeddings
from napari_sam.session.journal import Journal, ObjectFacts
from napari_sam.session.prompt_book import ObjectPlane
from napari_sam.session.read_ahead import ReadAhead
from napari_sam.session.read_all import ReadProgress
from napari_sam.session.results import Results
from napari_sam.session.runs import RunProgress, Runs
from napari_sam.session.state import State


class Readable:
    """The part of a session that only reads.

    Attributes
    ----------
    embeddings
        The embeddings of the planes.
    """

    embeddings: Embeddings
    _state: State
    _answering: Answering
    _ahead: ReadAhead
    _runs: Runs
    _reserved: int
    _closed: ValueError | None

    # Objects and masks

    @property
    def highest_object(self) -> int:
        """The highest object number that has a prompt or is reserved; 0 if there is none."""
        return max(self._reserved, self._state.book.highest_object)

    def facts(self, object_id: int) -> ObjectFacts:
        """Return the properties of an object, such as its class and whether it is accepted."""
        return self._state.facts(object_id)

    def object_for_box(self, plane: object, box: Box) -> int:
        """Return the object that a box drawn on a plane belongs to.

        This is the current object if it has no prompts on the plane yet, or if the box contains
        one of its positive clicks or more than half of its mask there; otherwise a new object.

        Parameters
        ----------
        plane
            Index of the plane, as for :meth:`add_point`.
        box
            (row 0, column 0, row 1, column 1) in pixels of the plane, ends inclusive.

        Returns
        -------
        object_id
            The number of the object; nothing is changed.

        Raises
        ------
        ValueError
            If the plane doesn't exist.
        """
        key = self._key(None, plane)
        prompts, answer = self._state.book.prompts_of(key), self._results.answer(key)
        if prompts.is_empty or _contains_click(box, prompts):
            return self._state.object_id
        if answer is not None and answer.patch.share_within(box) > 0.5:
            return self._state.object_id
        return max(self.highest_object, self._state.object_id) + 1

    def mask(self, object_id: int, plane: object) -> NDArray[np.bool_]:
        """Return the mask of an object on a plane, as predicted from its prompts.

        Parameters
        ----------
        object_id
            The object.
        plane
            Index of the plane, as for :meth:`add_point`.

        Returns
        -------
        mask
            `(H, W)` bool; False everywhere if the object has no prompts on this plane.

        Raises
        ------
        ValueError
            If the plane doesn't exist, or the object never had a prompt.
        """
        key = self._key(object_id, plane)
        result = self._results.answer(key)
        known = {key[0]} if result else {self._state.object_id, *self._answering.prompted_objects}
        if key[0] not in known:
            raise ValueError(
                f"expected an object that was prompted ({', '.join(map(str, sorted(known)))}), "
                f"got {object_id}; pixels of other labels are in the labels layer"
            )
        mask = np.zeros(self.embeddings.source.plane_shape(key[1]), bool)
        if result:
            mask[result.patch.region] = result.patch.pixels
        return mask

    def draft(self, object_id: int, plane: object) -> Patch | None:
        """Return the draft of a mask that is still being predicted; None if there is none.

        A draft is predicted from the tiles that are encoded so far and is only for display:
        :meth:`mask`, :meth:`scores` and the next click do not use it.

        Parameters
        ----------
        object_id, plane
            As for :meth:`mask`.
        """
        return self._results.draft(self._key(object_id, plane))

    def scores(self, object_id: int, plane: object) -> tuple[float, ...]:
        """Return the predicted IoU (0-1) of each candidate of an object's mask on a plane.

        Parameters
        ----------
        object_id, plane
            As for :meth:`mask`.
        """
        result = self._results.answer(self._key(object_id, plane))
        return result.scores if result else ()

    def candidate(self, object_id: int, plane: object) -> int:
        """Return the index of the candidate that is the mask; 0 if there is no mask.

        Parameters
        ----------
        object_id, plane
            As for :meth:`mask`.
        """
        result = self._results.answer(self._key(object_id, plane))
        return result.chosen if result else 0

    def input_of(self, object_id: int, plane: object) -> PlaneInput:
        """Return the channels and contrast with which an object was last predicted on a plane.

        If it was not predicted there yet, return those that the model would get now, as far as
        they are known without reading the plane.

        Parameters
        ----------
        object_id, plane
            As for :meth:`mask`.
        """
        ((given, _),) = self.facts_of([self._key(object_id, plane)])
        return given

    def facts_of(
        self, keys: Iterable[ObjectPlane]
    ) -> Iterator[tuple[PlaneInput, Candidate | None]]:
        """Yield the result of :meth:`input_of` and the chosen candidate of many objects.

        Parameters
        ----------
        keys
            (object, plane) of each; the plane complete, as `plane_of` of the source returns it.

        Yields
        ------
        given, candidate
            The model's input, and the candidate; None for the model's best.
        """
        now: dict[Plane, PlaneInput] = {}
        for key in keys:
            answer = self._results.answer(key)
            given = (answer and answer.given) or now.get(key[1])
            if given is None:
                given = now[key[1]] = self.embeddings.source.describe(key[1])
            yield given, self._state.book.group(key).choice

    def made_of_other_input(self, plane: object) -> tuple[int, ...]:
        """Return the objects on a plane that were predicted with other channels or contrast.

        These masks stay as they are; the next prompt of such an object is answered with the
        channels and the contrast that are embedded now.
        """
        at = self.embeddings.source.plane_of(plane)
        now = self.embeddings.input_of(self.embeddings.get(at))
        if now is None:
            return ()
        answers = ((i, self._results.answer((i, at))) for i in self._state.book.planes.get(at, ()))
        return tuple(
            object_id
            for object_id, answer in answers
            if answer is not None
            and answer.given is not now  # cheap: thousands are compared after every click
            and answer.given not in (None, now)
        )

    # History

    @property
    def journal(self) -> Journal:
        """The history of all changes, in order."""
        return self._state.journal

    @property
    def can_undo(self) -> bool:
        """Whether there is a step to undo."""
        return self.journal.last_step is not None

    @property
    def can_redo(self) -> bool:
        """Whether there is a step to redo."""
        return bool(self.journal.next_redo)

    @property
    def next_undo(self) -> str:
        """A short description of the step that :meth:`undo` would undo; empty if there is none."""
        step = self.journal.last_step
        return step.text if step else ""

    @property
    def next_redo(self) -> str:
        """A short description of the step that :meth:`redo` would redo; empty if there is none."""
        group = self.journal.next_redo
        return group[0].text if group else ""

    # Progress

    @property
    def is_waiting(self) -> bool:
        """Whether prompts wait for a model, for an embedding, or for a draft to be refined."""
        return self._answering.is_waiting

    @property
    def is_stopped(self) -> bool:
        """Whether work was cancelled (:meth:`cancel`) and not requested again."""
        return self._answering.is_stopped

    @property
    def backlog(self) -> Backlog | None:
        """The progress of decoding many prompts; None if there are none or only a few."""
        return self._answering.backlog

    @property
    def shown(self) -> Plane | None:
        """The plane on screen."""
        return self._ahead.shown

    @property
    def focus(self) -> tuple[float, float] | None:
        """(row, column) at the centre of the screen; None if it is not known."""
        return self._ahead.focus

    @property
    def is_view_ready(self) -> bool:
        """Whether a click anywhere on screen gets a mask, or a draft of it, without encoding."""
        return self._ahead.is_view_ready

    @property
    def view_fraction(self) -> float | None:
        """Fraction (0-1) of the view that is encoded; None if nothing is being encoded."""
        return self._ahead.fraction

    @property
    def read_progress(self) -> ReadProgress | None:
        """The progress of :meth:`read_all`; None if it isn't embedding planes."""
        return self._ahead.all.progress

    @property
    def run(self) -> RunProgress | None:
        """The progress of the current run over planes; None if there is none."""
        return self._runs.progress

    @property
    def closed(self) -> ValueError | None:
        """The exception with which the session was closed for changes; None if it wasn't."""
        return self._closed

    def _key(self, object_id: int | None, plane: object) -> ObjectPlane:
        current = self._state.object_id
        return current if object_id is None else object_id, self.embeddings.source.plane_of(plane)

    @property
    def _results(self) -> Results:
        return self._state.results


def _contains_click(box: Box, prompts: Prompts) -> bool:
    """Whether a positive click lies in a box."""
    clicks = prompts.points[prompts.point_labels == 1]
    return bool(np.any(np.all((clicks >= box[:2]) & (clicks <= box[2:]), axis=1)))
