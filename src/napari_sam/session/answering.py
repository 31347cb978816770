"""Predicting masks from prompts: the queue of unanswered prompts, encoding and decoding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Literal

from psygnal import Signal

from napari_sam.engine import CLICK, Executor, Outcome, Report
from napari_sam.planes import Plane, PlaneSource
from napari_sam.prompts import Box, Candidate
from napari_sam.segmentation.protocol import Embedding, Segmenter
from napari_sam.session.answers import (
    Answer,
    DecodeHistory,
    Drafting,
    Foreseen,
    answer,
    finished,
    given_answer,
)
from napari_sam.session.decoding import Backlog, Decoding
from napari_sam.session.embeddings import Embeddings, prepare
from napari_sam.session.post_processing import PostProcessing
from napari_sam.session.prompt_book import Group, ObjectPlane
from napari_sam.session.read_ahead import ReadAhead
from napari_sam.session.results import Results
from napari_sam.steps import Steps

_Stage = Literal["waiting", "decoding", "encoding", "failed"]
_Finish = Callable[[Answer], Answer]
# The arguments of `_answer`.
_Work = tuple[Segmenter, Embedding, Steps, Candidate | None, DecodeHistory | None, _Finish]


class Answering:
    """Predicts a mask from the prompts of each object on each plane.

    Prompts wait for a model and for the embedding of their plane. Then they are decoded from the
    tiles that are encoded: the result is the mask, or a draft while the tiles that it needs are
    being encoded. Results for prompts that have changed meanwhile are dropped.

    Parameters
    ----------
    executor
        Runs embeds and decodes.
    embeddings, read_ahead
        The embeddings of the planes, and what embeds planes before they are clicked on.
    results
        Stores masks and drafts.
    group_of
        Returns the present prompts of an object on a plane.
    post_processing
        Returns the present post-processing of masks.
    deliver
        Called with the answer to an object's prompts, and its decode history if there is one.

    Attributes
    ----------
    draft_changed
        Signal: a draft of a mask changed or was removed; with the object and the plane.
    changed
        Signal: work was started, progressed, finished, failed or was cancelled.
    failed
        Signal: a plane or prompts could not be embedded, encoded or decoded; with the exception.
    """

    draft_changed = Signal(int, object)
    changed = Signal()
    failed = Signal(object)

    def __init__(
        self,
        executor: Executor,
        embeddings: Embeddings,
        read_ahead: ReadAhead,
        results: Results,
        group_of: Callable[[ObjectPlane], Group],
        post_processing: Callable[[], PostProcessing],
        deliver: Callable[[ObjectPlane, Answer, DecodeHistory | None], object],
    ) -> None:
        self._executor = executor
        self._embeddings = embeddings
        self._ahead = read_ahead
        self._results = results
        self._group_of = group_of
        self._post_processing = post_processing
        self._deliver = deliver
        self._decoding = Decoding(executor, self.changed.emit)
        # Prompts without an answer, in the order of the requests. "waiting": for a model or the
        # embedding of the plane, or after a cancel. "encoding": for a tile. "failed": the error
        # was emitted.
        self._unanswered: dict[ObjectPlane, _Stage] = {}
        self._revisions: Counter[ObjectPlane] = Counter()
        self._stopped = False
        self._closed = False
        embeddings.arrived.connect(self._embedded)
        embeddings.failed.connect(self._embed_failed)
        embeddings.changed.connect(self.changed.emit)
        read_ahead.failed.connect(self.failed.emit)
        read_ahead.changed.connect(self.changed.emit)

    @property
    def is_waiting(self) -> bool:
        """Whether prompts wait for a model, for an embedding, or for a draft to be refined."""
        return any(stage in ("waiting", "encoding") for stage in self._unanswered.values())

    @property
    def is_stopped(self) -> bool:
        """Whether work was cancelled and not requested again."""
        return self._stopped

    @property
    def backlog(self) -> Backlog | None:
        """The progress of decoding many prompts; None if there are none or only a few."""
        return self._decoding.backlog

    @property
    def foreseen(self) -> Foreseen:
        """The decode history of the latest preview, which a click reuses."""
        return self._decoding.foreseen

    @property
    def prompted_objects(self) -> set[int]:
        """The objects that have prompts or had some."""
        return {object_id for object_id, _ in self._revisions}

    def use(self, segmenter: Segmenter | None, source: PlaneSource) -> None:
        """Use another segmenter or image from now on; existing masks stay."""
        self._results.forget_histories()
        self._embeddings.use(segmenter, source)
        for key in list(self._unanswered):
            self._drop_draft(key)
            self.note_change(key)
            self.answer(key)
        self._show_again()

    def note_change(self, key: ObjectPlane) -> None:
        """Mark an object's prompts on a plane as not answered, and drop work in progress."""
        self.forget(key)
        if not self._group_of(key).is_empty:
            self._unanswered[key] = "waiting"

    def forget(self, key: ObjectPlane) -> None:
        """Drop the request and the work in progress for an object on a plane."""
        if self._unanswered.pop(key, None) == "encoding":
            self._executor.cancel(self._encoding(key))
        self._decoding.drop(key)
        self._revisions[key] += 1

    def answer(self, key: ObjectPlane) -> None:
        """Start predicting the mask of an object's prompts on a plane, if they have no answer."""
        if key in self._unanswered:
            self._resume()
            self._advance(key)
        else:
            self._drop_draft(key)

    def show(
        self, plane: Plane, focus: tuple[float, float] | None = None, view: Box | None = None
    ) -> None:
        """Give the plane on screen precedence, and retry what was cancelled or failed there.

        Parameters
        ----------
        plane, focus, view
            As for :meth:`ReadAhead.show`.
        """
        if self._closed:
            return
        self._stopped = False
        self._retry(plane)
        answered_first = {key[1] for key, stage in self._unanswered.items() if stage == "waiting"}
        self._ahead.show(plane, focus, view, answered_first)
        self._advance_all()

    def set_view(self, focus: tuple[float, float], view: Box) -> None:
        """Set which part of the plane is on screen; work that was cancelled is not resumed.

        Parameters
        ----------
        focus, view
            As for :meth:`ReadAhead.move_view`.
        """
        if self._stopped:
            self._ahead.focus, self._ahead.view = focus, view  # for when it is resumed
        else:
            self._ahead.move_view(focus, view)

    def cancel(self) -> None:
        """Stop embedding and decoding; prompts without an answer wait for another request."""
        self._stopped = True
        self._ahead.all.stop()
        self._ahead.cancel()
        self._embeddings.cancel()
        for key, stage in self._unanswered.items():
            if stage == "encoding":
                self._executor.cancel(self._encoding(key))
                self._unanswered[key] = "waiting"
        self._decoding.stop()
        self.changed.emit()

    def close(self) -> None:
        """Stop permanently: prompts without an answer are dropped."""
        self._closed = True
        self.cancel()
        for key in list(self._unanswered):
            self._revisions[key] += 1
            self._drop_draft(key)
        self._unanswered.clear()
        self._embeddings.clear()

    def wait(self, timeout: float | None = None, background: bool = False) -> bool:
        """Wait until all work is done; return whether all prompts have an answer then.

        See :meth:`napari_sam.session.Session.wait`; with `background`, also wait for background
        work.
        """
        return (
            self._executor.wait(timeout, background)
            and not self._unanswered
            and not self._lacks_shown()
        )

    def _lacks_shown(self) -> bool:
        """Whether the plane shown was not embedded; False if its embedding was evicted since."""
        if self._ahead.shown is None:
            return False
        state = self._embeddings.state(self._ahead.shown)
        undone = state == "none" and (self._stopped or self._embeddings.segmenter is None)
        return undone or state in ("queued", "failed")

    # Requests

    def _resume(self) -> None:
        """Resume after :meth:`cancel`."""
        if self._stopped and self._ahead.shown is not None:
            self._show_again()
        elif self._stopped:
            self._stopped = False
            self._advance_all()

    def _show_again(self) -> None:
        """Show the plane on screen again, if there is one."""
        shown = self._ahead.shown
        if shown is not None:  # the planes of another image may span other axes
            plane = self._embeddings.source.plane_of(shown)
            self.show(plane, self._ahead.focus, self._ahead.view)

    def _retry(self, plane: Plane) -> None:
        """Mark the failed prompts on a plane as waiting."""
        for key, stage in self._unanswered.items():
            if key[1] == plane and stage == "failed":
                self._unanswered[key] = "waiting"

    def _advance_all(self) -> None:
        """Request everything that prompts wait for: it may have been cancelled."""
        for key in list(self._unanswered):
            self._advance(key)

    def _advance(self, key: ObjectPlane) -> None:
        """Start the next stage of waiting prompts: embed, encode or decode."""
        if self._unanswered.get(key) != "waiting":
            return
        if (given := given_answer(self._group_of(key))) is not None:
            del self._unanswered[key]
            self._deliver(key, given, None)
            self._drop_draft(key)
            return
        segmenter, embedding = self._embeddings.segmenter, self._embeddings.get(key[1])
        if segmenter is None or embedding is None:
            self._embeddings.request(key[1], CLICK)
            return
        prompts, revision = self._group_of(key).prompts, self._revisions[key]
        is_ready = segmenter.is_ready(embedding, prompts)
        self._unanswered[key] = "decoding" if is_ready else "encoding"
        work = self._decode(key, segmenter, embedding)
        if not is_ready and revision == self._revisions[key]:
            self._executor.embed(
                self._encoding(key),
                partial(prepare, segmenter, embedding, prompts),
                partial(self._prepared, key, revision, work),
                CLICK,
            )
            self.changed.emit()

    def _decode(
        self,
        key: ObjectPlane,
        segmenter: Segmenter,
        embedding: Embedding,
        history: DecodeHistory | None = None,
    ) -> _Work:
        """Have an object's prompts decoded from the tiles encoded so far, after its history."""
        group, history = self._group_of(key), history or self._results.history(key)
        finish = partial(finished, group, self._post_processing())
        about = group.steps, group.choice, history, finish
        work = segmenter, embedding, *about
        done = partial(self._drafted, key, self._revisions[key], work)
        self._decoding.ask(key, segmenter, embedding, Drafting(embedding, *about), done)
        return work

    def _encoding(self, key: ObjectPlane) -> tuple[object, ...]:
        """Return the executor's key of the encoding for prompts."""
        return "encoding", self, key, self._revisions[key]

    # Results

    def _embedded(self, plane: Plane) -> None:
        self._retry(plane)
        for key in [key for key in self._unanswered if key[1] == plane]:
            self._advance(key)
        self._ahead.go_on(plane)

    def _embed_failed(self, plane: Plane, error: Exception) -> None:
        for key, stage in self._unanswered.items():
            if key[1] == plane and stage == "waiting":
                self._unanswered[key] = "failed"  # until the plane is requested again
        self.failed.emit(error)

    def _prepared(self, key: ObjectPlane, revision: int, work: _Work, outcome: Outcome) -> None:
        """Decode again with the tile that was encoded for prompts."""
        if not self._awaits(key, revision, outcome):
            return
        if outcome.error is not None:
            self._fail(key, outcome.error)
        else:
            self._embeddings.note_seconds(outcome.value)
            self._revisions[key] += 1  # an earlier draft is too late
            self._unanswered[key] = "decoding"
            self._decode(key, *work[:2])
        self.changed.emit()

    def _drafted(self, key: ObjectPlane, revision: int, work: _Work, outcome: Outcome) -> None:
        """Take a draft; if it isn't final, have the tiles that are missing encoded."""
        if revision != self._revisions[key] or key not in self._unanswered:
            return
        if outcome.cancelled:
            if self._unanswered[key] == "decoding":
                self._unanswered[key] = "waiting"
            if not self._stopped:
                self._advance(key)  # it was requested again
            return
        if outcome.error is not None:
            self._fail(key, outcome.error)
            return
        drafted = outcome.value
        if drafted is not None and drafted.is_final:
            if self._is_outdated(key, drafted.answer):
                self._decode(key, *work[:2], drafted.history)
                return
            self._settle(key, drafted.answer, drafted.history)
            return
        if drafted is not None:
            self._results.put_draft(key, drafted.answer.patch)
        was_decoding = self._unanswered[key] == "decoding"
        if was_decoding:  # otherwise its first tile is being encoded, or was cancelled
            self._unanswered[key] = "waiting" if self._stopped else "encoding"
        if was_decoding and not self._stopped:
            self._executor.embed(
                self._encoding(key),
                partial(_answer, *work),
                partial(self._answered, key, revision, work),
                CLICK,
            )
        if drafted is not None:  # last, so that an error of a listener loses no answer
            self.draft_changed.emit(*key)
        if was_decoding:
            self.changed.emit()

    def _answered(self, key: ObjectPlane, revision: int, work: _Work, outcome: Outcome) -> None:
        if not self._awaits(key, revision, outcome):
            return
        if outcome.error is not None:
            self._fail(key, outcome.error)
            return
        found, history = outcome.value
        embedding = history.embedding()
        if embedding is None or not self._is_outdated(key, found):
            self._settle(key, found, history)
            return
        self._unanswered[key] = "decoding"
        self._decode(key, work[0], embedding, history)
        self.changed.emit()

    def _is_outdated(self, key: ObjectPlane, answer: Answer) -> bool:
        """Whether the post-processing has changed since the request."""
        how = self._post_processing()
        return how != answer.post_processing and self._group_of(key).exact_mask is None

    def _awaits(self, key: ObjectPlane, revision: int, outcome: Outcome) -> bool:
        """Whether the result of encoding for prompts is still of use."""
        is_latest = revision == self._revisions[key] and self._unanswered.get(key) == "encoding"
        return is_latest and not outcome.cancelled

    def _fail(self, key: ObjectPlane, error: Exception) -> None:
        self._unanswered[key] = "failed"
        self._drop_draft(key)
        self.changed.emit()
        self.failed.emit(error)

    def _settle(self, key: ObjectPlane, answer: Answer, history: DecodeHistory) -> None:
        """Store the mask of an object's prompts, in the place of any draft."""
        encoded = self._unanswered.pop(key) == "encoding"
        segmenter, group = self._embeddings.segmenter, self._group_of(key)
        answer = replace(
            answer,
            model="" if segmenter is None else segmenter.model_key,
            given=self._embeddings.input_of(history.embedding()),
        )
        if encoded:
            self.changed.emit()
        self._deliver(key, answer, history)
        self._drop_draft(key)
        prompts = group.prompts
        if prompts.is_single_click and not self._stopped:
            self._ahead.note_click(key[1], prompts)

    def _drop_draft(self, key: ObjectPlane) -> None:
        if self._results.drop_draft(key):
            self.draft_changed.emit(*key)


def _answer(
    segmenter: Segmenter,
    embedding: Embedding,
    prompts: Steps,
    candidate: Candidate | None,
    before: DecodeHistory | None,
    finish: _Finish,
    report: Report,
) -> tuple[Answer, DecodeHistory]:
    """Answer prompts, and encode the tiles that this needs."""
    report(0.0)
    found, history = answer(segmenter, embedding, prompts, candidate, before, report)
    return finish(found), history
