"""How prompts get their answers: what waits, and what is embedded, encoded and decoded for it."""

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
    Chain,
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
# What an answer takes.
_Work = tuple[Segmenter, Embedding, Steps, Candidate | None, Chain | None, _Finish]


class Answering:
    """Has the prompts of each object on each plane answered, and keeps what comes of them.

    Prompts wait for a model and for the embedding of their plane. Then what is encoded is
    decoded: that is the mask, or a draft of it while the tiles it needs are encoded. What comes
    for prompts that have changed since is dropped.

    Parameters
    ----------
    executor
        Where embeds and decodes run.
    embeddings, read_ahead
        Those of the planes, and what has them made before anybody clicks.
    results
        Where masks and drafts are kept.
    group_of
        Returns what is said about an object on a plane at present.
    post_processing
        Returns what is done to masks before they are written, at present.
    deliver
        Takes the answer to an object's prompts, and the steps to it, if there were any.

    Attributes
    ----------
    draft_changed
        There is another draft of a mask, or none any more: (object, plane).
    changed
        Something was started, finished, cancelled or failed, or is further on.
    failed
        A plane or prompts could not be embedded, encoded or decoded: the error.
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
        deliver: Callable[[ObjectPlane, Answer, Chain | None], object],
    ) -> None:
        self._executor = executor
        self._embeddings = embeddings
        self._ahead = read_ahead
        self._results = results
        self._group_of = group_of
        self._post_processing = post_processing
        self._deliver = deliver
        self._decoding = Decoding(executor, self.changed.emit)
        # What has no answer yet, in the order it was asked for. It waits for a model or its plane,
        # or since it was cancelled; or is being decoded, or encoded for; or failed, as was told.
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
        """Whether prompts wait for a model, an embedding, or a closer look at a draft."""
        return any(stage in ("waiting", "encoding") for stage in self._unanswered.values())

    @property
    def is_stopped(self) -> bool:
        """Whether work was cancelled and not asked for again."""
        return self._stopped

    @property
    def backlog(self) -> Backlog | None:
        """How far many prompts are decoded; None if there are none or few."""
        return self._decoding.backlog

    @property
    def foreseen(self) -> Foreseen:
        """What need not be decoded any more: previews put there what they have seen."""
        return self._decoding.foreseen

    @property
    def prompted_objects(self) -> set[int]:
        """The objects that have prompts or had some."""
        return {object_id for object_id, _ in self._revisions}

    def use(self, segmenter: Segmenter | None, source: PlaneSource) -> None:
        """Answer with another segmenter or image from now on; finished masks stay."""
        self._results.forget_chains()
        self._embeddings.use(segmenter, source)
        for key in list(self._unanswered):
            self._drop_draft(key)
            self.note_change(key)
            self.answer(key)
        self._show_again()

    def note_change(self, key: ObjectPlane) -> None:
        """Count an object's prompts on a plane as not answered; what is under way is too late."""
        self.forget(key)
        if not self._group_of(key).is_empty:
            self._unanswered[key] = "waiting"

    def forget(self, key: ObjectPlane) -> None:
        """Ask nothing about an object on a plane any more; what is under way is too late."""
        if self._unanswered.pop(key, None) == "encoding":
            self._executor.cancel(self._encoding(key))
        self._decoding.drop(key)
        self._revisions[key] += 1

    def answer(self, key: ObjectPlane) -> None:
        """Answer an object's prompts on a plane, if they have no answer."""
        if key in self._unanswered:
            self._resume()
            self._advance(key)
        else:
            self._drop_draft(key)

    def show(
        self, plane: Plane, focus: tuple[float, float] | None = None, view: Box | None = None
    ) -> None:
        """Go on with the plane on screen first, also with what was cancelled or failed there.

        Parameters
        ----------
        plane, focus, view
            As of :meth:`ReadAhead.show`.
        """
        if self._closed:
            return
        self._stopped = False
        self._retry(plane)
        answered_first = {key[1] for key, stage in self._unanswered.items() if stage == "waiting"}
        self._ahead.show(plane, focus, view, answered_first)
        self._advance_all()

    def look(self, focus: tuple[float, float], view: Box) -> None:
        """Take note that the screen shows another part of the plane; what was cancelled stays so.

        Parameters
        ----------
        focus, view
            As of :meth:`ReadAhead.look`.
        """
        if self._stopped:
            self._ahead.focus, self._ahead.view = focus, view  # for when it goes on
        else:
            self._ahead.look(focus, view)

    def cancel(self) -> None:
        """Stop embedding and decoding; what has no answer waits until it is asked for again."""
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
        """Stop for good: what has no answer never will have one."""
        self._closed = True
        self.cancel()
        for key in list(self._unanswered):
            self._revisions[key] += 1
            self._drop_draft(key)
        self._unanswered.clear()
        self._embeddings.clear()

    def wait(self, timeout: float | None = None, background: bool = False) -> bool:
        """Wait until all is done; return whether everything has an answer then.

        See :meth:`napari_sam.session.Session.wait`; with `background`, for what nobody waits for,
        too.
        """
        return (
            self._executor.wait(timeout, background)
            and not self._unanswered
            and not self._lacks_shown()
        )

    def _lacks_shown(self) -> bool:
        """Whether the plane shown was not embedded; one that had to make room for others was."""
        if self._ahead.shown is None:
            return False
        state = self._embeddings.state(self._ahead.shown)
        undone = state == "none" and (self._stopped or self._embeddings.segmenter is None)
        return undone or state in ("queued", "failed")

    # What is asked for, and again

    def _resume(self) -> None:
        """Go on after :meth:`cancel`."""
        if self._stopped and self._ahead.shown is not None:
            self._show_again()
        elif self._stopped:
            self._stopped = False
            self._advance_all()

    def _show_again(self) -> None:
        """Go on with the plane on screen, if there is one."""
        shown = self._ahead.shown
        if shown is not None:  # an image may have other axes on screen now
            plane = self._embeddings.source.plane_of(shown)
            self.show(plane, self._ahead.focus, self._ahead.view)

    def _retry(self, plane: Plane) -> None:
        """Let what failed on a plane wait again."""
        for key, stage in self._unanswered.items():
            if key[1] == plane and stage == "failed":
                self._unanswered[key] = "waiting"

    def _advance_all(self) -> None:
        """Ask for everything that prompts wait for: it may have been cancelled."""
        for key in list(self._unanswered):
            self._advance(key)

    def _advance(self, key: ObjectPlane) -> None:
        """Embed, encode or decode, whatever comes next for prompts that wait for it."""
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
        chain: Chain | None = None,
    ) -> _Work:
        """Have an object's prompts decoded with what is encoded, from a chain of its steps."""
        group, chain = self._group_of(key), chain or self._results.chain(key)
        finish = partial(finished, group, self._post_processing())
        about = group.steps, group.choice, chain, finish
        work = segmenter, embedding, *about
        done = partial(self._drafted, key, self._revisions[key], work)
        self._decoding.ask(key, segmenter, embedding, Drafting(embedding, *about), done)
        return work

    def _encoding(self, key: ObjectPlane) -> tuple[object, ...]:
        """Name what is being encoded for prompts."""
        return "encoding", self, key, self._revisions[key]

    # What comes of it

    def _embedded(self, plane: Plane) -> None:
        self._retry(plane)
        for key in [key for key in self._unanswered if key[1] == plane]:
            self._advance(key)
        self._ahead.go_on(plane)

    def _embed_failed(self, plane: Plane, error: Exception) -> None:
        for key, stage in self._unanswered.items():
            if key[1] == plane and stage == "waiting":
                self._unanswered[key] = "failed"  # until the plane is asked for again
        self.failed.emit(error)

    def _prepared(self, key: ObjectPlane, revision: int, work: _Work, outcome: Outcome) -> None:
        """Decode anew with the tile that was encoded for prompts."""
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
        """Take in what can be said at once; if that isn't final, have the rest encoded."""
        if revision != self._revisions[key] or key not in self._unanswered:
            return
        if outcome.cancelled:
            if self._unanswered[key] == "decoding":
                self._unanswered[key] = "waiting"
            if not self._stopped:
                self._advance(key)  # asked for again since
            return
        if outcome.error is not None:
            self._fail(key, outcome.error)
            return
        drafted = outcome.value
        if drafted is not None and drafted.is_final:
            if self._is_outdated(key, drafted.answer):
                self._decode(key, *work[:2], drafted.chain)
                return
            self._settle(key, drafted.answer, drafted.chain)
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
        if drafted is not None:  # what a listener raises loses no answer
            self.draft_changed.emit(*key)
        if was_decoding:
            self.changed.emit()

    def _answered(self, key: ObjectPlane, revision: int, work: _Work, outcome: Outcome) -> None:
        if not self._awaits(key, revision, outcome):
            return
        if outcome.error is not None:
            self._fail(key, outcome.error)
            return
        found, chain = outcome.value
        embedding = chain.embedding()
        if embedding is None or not self._is_outdated(key, found):
            self._settle(key, found, chain)
            return
        self._unanswered[key] = "decoding"
        self._decode(key, work[0], embedding, chain)
        self.changed.emit()

    def _is_outdated(self, key: ObjectPlane, answer: Answer) -> bool:
        """Whether other things are done to masks since it was asked for."""
        how = self._post_processing()
        return how != answer.post_processing and self._group_of(key).exact_mask is None

    def _awaits(self, key: ObjectPlane, revision: int, outcome: Outcome) -> bool:
        """Whether what was encoded for prompts is still of use."""
        is_latest = revision == self._revisions[key] and self._unanswered.get(key) == "encoding"
        return is_latest and not outcome.cancelled

    def _fail(self, key: ObjectPlane, error: Exception) -> None:
        self._unanswered[key] = "failed"
        self._drop_draft(key)
        self.changed.emit()
        self.failed.emit(error)

    def _settle(self, key: ObjectPlane, answer: Answer, chain: Chain) -> None:
        """Keep the mask of an object's prompts; it takes the place of any draft."""
        encoded = self._unanswered.pop(key) == "encoding"
        segmenter, group = self._embeddings.segmenter, self._group_of(key)
        answer = replace(
            answer,
            model="" if segmenter is None else segmenter.model_key,
            given=self._embeddings.input_of(chain.embedding()),
        )
        if encoded:
            self.changed.emit()
        self._deliver(key, answer, chain)
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
    before: Chain | None,
    finish: _Finish,
    report: Report,
) -> tuple[Answer, Chain]:
    """Answer prompts, encoding what that takes."""
    report(0.0)
    found, chain = answer(segmenter, embedding, prompts, candidate, before, report)
    return finish(found), chain
