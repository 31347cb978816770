"""From an object's ordered prompts to its mask, decoding only what has changed."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from napari_sam.patches import Patch
from napari_sam.plane_input import PlaneInput
from napari_sam.prompts import Candidate, Prompts
from napari_sam.segmentation.protocol import Draft, Embedding, MaskPrediction, Progress, Segmenter
from napari_sam.segmentation.replay import Replay, replay
from napari_sam.session.post_processing import OFF, PostProcessing
from napari_sam.session.prompt_book import NOTHING, Group
from napari_sam.steps import Steps

_KEPT = 64  # latest steps of an object that one more click, or one taken back, may build on


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """A mask and where it stands among its candidates.

    Parameters
    ----------
    patch
        The mask.
    scores
        Predicted IoU of each candidate of the last step; what a network predicts beyond 0 and 1
        is clipped.
    chosen
        Which of them is the mask.
    model
        Key of the model that gave it.
    given
        What that model was given of the plane.
    prompts
        What it answers.
    post_processing
        What was done to the mask since.
    """

    patch: Patch
    scores: tuple[float, ...]
    chosen: int
    model: str = ""
    given: PlaneInput | None = None
    prompts: Group = NOTHING
    post_processing: PostProcessing = OFF

    def processed(self, how: PostProcessing) -> Answer:
        """Return it with what is done to masks before they are written, unless it was done."""
        if self.prompts.exact_mask is not None:
            return self  # as it was given
        if how == self.post_processing:
            return self
        patch = how.apply(self.patch, self.prompts.prompts)
        return replace(self, patch=patch, post_processing=how)


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """The steps that led to an answer: they hold as long as their prompts are not touched.

    Of many, only the very first and the latest are kept: those between 0 and `kept_from` are not
    what they were.
    """

    embedding: weakref.ReferenceType[Embedding]
    prompts: Steps
    candidate: Candidate | None
    steps: tuple[MaskPrediction, ...]
    kept_from: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Drafted:
    """An answer from what is encoded.

    Parameters
    ----------
    answer, chain
        As :func:`answer` gives them.
    is_final
        Whether it is what :func:`answer` gives; no other may be built upon.
    """

    answer: Answer
    chain: Chain
    is_final: bool


def finished(group: Group, how: PostProcessing, answer: Answer) -> Answer:
    """Return an answer to the prompts of a group, with what is done before it is written."""
    return replace(answer, prompts=group).processed(how)


def given_answer(group: Group) -> Answer | None:
    """Return the answer to prompts that end with the very mask; None where something is decoded.

    It takes no model, and has no score.
    """
    mask = group.exact_mask
    return None if mask is None else Answer(mask, (), 0, prompts=group)


def answer(
    segmenter: Segmenter,
    embedding: Embedding,
    prompts: Steps,
    candidate: Candidate | None = None,
    before: Chain | None = None,
    progress: Progress | None = None,
) -> tuple[Answer, Chain]:
    """Replay an object's prompts from the first that changed.

    Parameters
    ----------
    segmenter, embedding, prompts, candidate
        As in :func:`~napari_sam.replay`.
    before
        The chain of an earlier answer about the same object and plane.
    progress
        As of :meth:`~napari_sam.segmentation.protocol.Segmenter.decode`.
    """
    earlier = _unchanged(before, embedding, prompts, candidate) if before else ()
    steps = replay(segmenter, embedding, prompts, candidate, earlier, progress)
    return _answer_of(embedding, prompts, candidate, steps)


class Drafting:
    """An object's prompts on their way to a draft; nothing is encoded for it.

    Parameters
    ----------
    embedding, prompts, candidate, before
        As of :func:`answer`.
    finish
        What is done to the final answer; by default nothing.

    Attributes
    ----------
    is_possible
        Whether what is encoded shows the object; False ends it.
    """

    def __init__(
        self,
        embedding: Embedding,
        prompts: Steps,
        candidate: Candidate | None = None,
        before: Chain | None = None,
        finish: Callable[[Answer], Answer] | None = None,
    ) -> None:
        self.is_possible = True
        self._finish = finish
        self._embedding, self._candidate = embedding, candidate
        earlier = _unchanged(before, embedding, prompts, candidate) if before else ()
        # memory that is bounded, however many clicks there are
        self._replay = Replay(prompts, embedding.frame, candidate, earlier, _KEPT)
        self._is_final = True

    def go_on_from(self, chain: Chain) -> None:
        """Take over the steps of another chain of final ones, as far as they hold."""
        replay = self._replay
        steps = _unchanged(chain, self._embedding, replay.steps, self._candidate)
        if len(steps) > len(replay.predictions) and self._is_final and self.is_possible:
            replay.go_on_from(steps)

    @property
    def steps_left(self) -> int:
        """How many steps are still to be decoded."""
        return self._replay.steps_left if self.is_possible else 0

    @property
    def result(self) -> Drafted | None:
        """The draft, when no step is left; None where nothing that is encoded shows the object."""
        if not self.is_possible:
            return None
        steps, predictions = self._replay.steps, self._replay.predictions
        found, chain = _answer_of(self._embedding, steps, self._candidate, predictions)
        if self._is_final and self._finish is not None:
            found = self._finish(found)
        return Drafted(found, chain, self._is_final)

    def next_prompts(self) -> Prompts:
        """Return what the next step decodes."""
        return self._replay.next_prompts()

    def take(self, draft: Draft | None) -> None:
        """Take in what a step says."""
        if draft is None:
            self.is_possible = False
            return
        self._is_final = self._is_final and draft.is_final
        self._replay.take(draft.prediction)


class Foreseen:
    """What a preview has decoded, for the click that may follow; for the decode lane alone.

    So a click at the place of a preview needs no decode of its own, also while that preview is
    still being decoded: one follows the other there.
    """

    def __init__(self) -> None:
        self._segmenter: Segmenter | None = None
        self._chain: Chain | None = None

    def keep(self, segmenter: Segmenter, chain: Chain) -> None:
        """Keep the steps to what a click would take, each of them final."""
        self._segmenter, self._chain = segmenter, chain

    def give(self, segmenter: Segmenter, going: Sequence[Drafting]) -> None:
        """Spare drafts what was decoded for a preview of the very same prompts."""
        if self._chain is not None and segmenter is self._segmenter:
            for one in going:
                one.go_on_from(self._chain)


def draft_steps(segmenter: Segmenter, embedding: Embedding, going: Sequence[Drafting]) -> int:
    """Decode the next step of each of many objects; return how many there were."""
    going = [one for one in going if one.steps_left]
    if going:
        drafts = segmenter.draft_many(embedding, [one.next_prompts() for one in going])
        for one, draft in zip(going, drafts, strict=True):
            one.take(draft)
    return len(going)


def _answer_of(
    embedding: Embedding,
    prompts: Steps,
    candidate: Candidate | None,
    steps: Sequence[MaskPrediction],
) -> tuple[Answer, Chain]:
    last = steps[-1]
    chosen = last.index_of(candidate if len(steps) == 1 else None)
    scores = tuple(np.clip(last.scores, 0, 1).tolist())
    result = Answer(last.patch(chosen), scores, chosen)
    kept_from = max(0, len(steps) - _KEPT)
    kept = (*[steps[0]] * kept_from, *steps[kept_from:])
    return result, Chain(weakref.ref(embedding), prompts, candidate, kept, kept_from)


def _unchanged(
    chain: Chain, embedding: Embedding, prompts: Steps, candidate: Candidate | None
) -> tuple[MaskPrediction, ...]:
    """Return the leading steps of an earlier replay that hold for these prompts too."""
    if chain.embedding() is not embedding:
        return ()
    steps = chain.prompts.count_same(prompts)
    if candidate != chain.candidate or steps <= chain.kept_from:
        steps = min(steps, 1)
    return chain.steps[:steps]
