"""What can be asked of a session: what there is, what is going on, and what happened."""

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
    """The part of a session that changes nothing.

    Attributes
    ----------
    embeddings
        Those of the planes.
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
        """The highest number that has a prompt or is reserved; 0 at the start."""
        return max(self._reserved, self._state.book.highest_object)

    def facts(self, object_id: int) -> ObjectFacts:
        """Return what is known of an object beside its prompts and pixels."""
        return self._state.facts(object_id)

    def object_for_box(self, plane: object, box: Box) -> int:
        """Return the object that a box drawn on a plane belongs to.

        That is the current one, if it has no prompts on the plane yet or if the box contains one
        of its positive clicks or most of its mask there; a new one otherwise.

        Parameters
        ----------
        plane
            Index of the plane.
        box
            (row 0, column 0, row 1, column 1) in pixels of the plane, ends inclusive.
        """
        key = self._key(None, plane)
        prompts, answer = self._state.book.prompts_of(key), self._results.answer(key)
        if prompts.is_empty or _contains_click(box, prompts):
            return self._state.object_id
        if answer is not None and answer.patch.share_within(box) > 0.5:
            return self._state.object_id
        return max(self.highest_object, self._state.object_id) + 1

    def mask(self, object_id: int, plane: object) -> NDArray[np.bool_]:
        """Return the mask of an object on a plane, `(H, W)`; empty where it has no prompts.

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
        """Return a picture of the mask that is being made; None where nothing is.

        It is what can be said from what is encoded so far. Nothing is built on it: masks, scores
        and further clicks are those of the mask that :attr:`mask_changed` announces.
        """
        return self._results.draft(self._key(object_id, plane))

    def scores(self, object_id: int, plane: object) -> tuple[float, ...]:
        """Return the predicted IoU of each candidate of an object on a plane, 0 to 1."""
        result = self._results.answer(self._key(object_id, plane))
        return result.scores if result else ()

    def candidate(self, object_id: int, plane: object) -> int:
        """Return which candidate is the mask; 0 where there is none."""
        result = self._results.answer(self._key(object_id, plane))
        return result.chosen if result else 0

    def input_of(self, object_id: int, plane: object) -> PlaneInput:
        """Say what the model was given of a plane when an object was last predicted there.

        Before that, what it is given now, as far as it is known without reading the plane.
        """
        ((given, _),) = self.facts_of([self._key(object_id, plane)])
        return given

    def facts_of(
        self, keys: Iterable[ObjectPlane]
    ) -> Iterator[tuple[PlaneInput, Candidate | None]]:
        """Yield, of many objects, what :meth:`input_of` says and the candidate that was chosen.

        The candidate is None where it is the model's best.
        """
        now: dict[Plane, PlaneInput] = {}
        for key in keys:
            answer = self._results.answer(key)
            given = (answer and answer.given) or now.get(key[1])
            if given is None:
                given = now[key[1]] = self.embeddings.source.describe(key[1])
            yield given, self._state.book.group(key).choice

    def made_of_other_input(self, plane: object) -> tuple[int, ...]:
        """Return the objects whose masks on a plane come of another input than is embedded now.

        Their masks stay as they are: the next prompt of each is answered from what is shown now.
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
            and answer.given is not now  # told for each of thousands, after every click
            and answer.given not in (None, now)
        )

    # What happened

    @property
    def journal(self) -> Journal:
        """Everything that happened, in order."""
        return self._state.journal

    @property
    def can_undo(self) -> bool:
        """Whether something can be taken back."""
        return self.journal.last_step is not None

    @property
    def can_redo(self) -> bool:
        """Whether something that was taken back can be made again."""
        return bool(self.journal.next_redo)

    @property
    def next_undo(self) -> str:
        """What :meth:`undo` would take back, in a few words; empty if nothing."""
        step = self.journal.last_step
        return step.text if step else ""

    @property
    def next_redo(self) -> str:
        """What :meth:`redo` would make again, in a few words; empty if nothing."""
        group = self.journal.next_redo
        return group[0].text if group else ""

    # What is going on

    @property
    def is_waiting(self) -> bool:
        """Whether clicks wait for a model, an embedding, or a closer look at a draft."""
        return self._answering.is_waiting

    @property
    def is_stopped(self) -> bool:
        """Whether work was cancelled and not asked for again."""
        return self._answering.is_stopped

    @property
    def backlog(self) -> Backlog | None:
        """How far many prompts are decoded; None if there are none or few."""
        return self._answering.backlog

    @property
    def shown(self) -> Plane | None:
        """The plane on screen."""
        return self._ahead.shown

    @property
    def focus(self) -> tuple[float, float] | None:
        """(row, column) in the middle of the screen; None where it isn't known."""
        return self._ahead.focus

    @property
    def is_view_ready(self) -> bool:
        """Whether any click on screen is answered at once, with a draft at least."""
        return self._ahead.is_view_ready

    @property
    def view_fraction(self) -> float | None:
        """How far that is (0-1) while it is being encoded; None if nothing is."""
        return self._ahead.fraction

    @property
    def read_progress(self) -> ReadProgress | None:
        """How far :meth:`read_all` is; None while it reads nothing."""
        return self._ahead.all.progress

    @property
    def run(self) -> RunProgress | None:
        """How far the run over planes is; None while there is none."""
        return self._runs.progress

    @property
    def closed(self) -> ValueError | None:
        """Why prompts can't be changed any more; None if they can."""
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
