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

_KEPT = 64  # latest steps of an object that are kept, for another click or after an undone one


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """A predicted mask, with the scores of its candidates and how it was made.

    Parameters
    ----------
    patch
        The mask.
    scores
        Predicted IoU of each candidate of the last step, clipped to 0-1.
    chosen
        Index of the candidate that is the mask.
    model
        Key of the model that predicted it.
    given
        The channels and contrast of the plane with which it was predicted.
    prompts
        The prompts from which it was predicted.
    post_processing
        The post-processing that was applied to the mask.
    """

    patch: Patch
    scores: tuple[float, ...]
    chosen: int
    model: str = ""
    given: PlaneInput | None = None
    prompts: Group = NOTHING
    post_processing: PostProcessing = OFF

    def processed(self, how: PostProcessing) -> Answer:
        """Return the answer after post-processing, unless it was applied already."""
        if self.prompts.exact_mask is not None:
            return self  # a mask prompt is not changed
        if how == self.post_processing:
            return self
        patch = how.apply(self.patch, self.prompts.prompts)
        return replace(self, patch=patch, post_processing=how)


@dataclass(frozen=True, slots=True, eq=False)
class DecodeHistory:
    """The decoded steps that led to an answer, so that another click decodes one step only.

    Of many steps only the first and the latest are kept; the others, from 1 to before `kept_from`,
    are filled with the first.

    Parameters
    ----------
    embedding
        The embedding from which the steps were decoded.
    prompts
        The steps' prompts.
    candidate
        The chosen candidate of the first step.
    steps
        The prediction of each step.
    kept_from
        Index of the first of the latest steps.
    """

    embedding: weakref.ReferenceType[Embedding]
    prompts: Steps
    candidate: Candidate | None
    steps: tuple[MaskPrediction, ...]
    kept_from: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Drafted:
    """An answer that was decoded from the tiles encoded so far.

    Parameters
    ----------
    answer, history
        As :func:`answer` returns them.
    is_final
        Whether they equal what :func:`answer` returns; otherwise they are only for display.
    """

    answer: Answer
    history: DecodeHistory
    is_final: bool


def finished(group: Group, how: PostProcessing, answer: Answer) -> Answer:
    """Return an answer with the prompts that it belongs to, after post-processing."""
    return replace(answer, prompts=group).processed(how)


def given_answer(group: Group) -> Answer | None:
    """Return the answer to prompts that end with a mask prompt: that mask, without a score.

    None if the prompts have to be decoded.
    """
    mask = group.exact_mask
    return None if mask is None else Answer(mask, (), 0, prompts=group)


def answer(
    segmenter: Segmenter,
    embedding: Embedding,
    prompts: Steps,
    candidate: Candidate | None = None,
    before: DecodeHistory | None = None,
    progress: Progress | None = None,
) -> tuple[Answer, DecodeHistory]:
    """Decode an object's prompts step by step, from the first that changed.

    Parameters
    ----------
    segmenter, embedding, prompts, candidate
        As for :func:`~napari_sam.replay`.
    before
        The history of an earlier answer for the same object and plane.
    progress
        As for :meth:`~napari_sam.segmentation.protocol.Segmenter.decode`.

    Returns
    -------
    answer, history
        The answer and the steps that led to it.
    """
    earlier = _unchanged(before, embedding, prompts, candidate) if before else ()
    steps = replay(segmenter, embedding, prompts, candidate, earlier, progress)
    return _answer_of(embedding, prompts, candidate, steps)


class Drafting:
    """Decodes an object's prompts from the tiles encoded so far, step by step.

    Parameters
    ----------
    embedding, prompts, candidate, before
        As for :func:`answer`.
    finish
        Applied to the final answer, such as post-processing; by default nothing.

    Attributes
    ----------
    is_possible
        Whether the tiles encoded so far contain the object; otherwise there is no draft.
    """

    def __init__(
        self,
        embedding: Embedding,
        prompts: Steps,
        candidate: Candidate | None = None,
        before: DecodeHistory | None = None,
        finish: Callable[[Answer], Answer] | None = None,
    ) -> None:
        self.is_possible = True
        self._finish = finish
        self._embedding, self._candidate = embedding, candidate
        earlier = _unchanged(before, embedding, prompts, candidate) if before else ()
        # bounded memory, however many clicks there are
        self._replay = Replay(prompts, embedding.frame, candidate, earlier, _KEPT)
        self._is_final = True

    def go_on_from(self, history: DecodeHistory) -> None:
        """Reuse the steps of another history of final steps, as far as the prompts are equal."""
        replay = self._replay
        steps = _unchanged(history, self._embedding, replay.steps, self._candidate)
        if len(steps) > len(replay.predictions) and self._is_final and self.is_possible:
            replay.go_on_from(steps)

    @property
    def steps_left(self) -> int:
        """How many steps are still to be decoded."""
        return self._replay.steps_left if self.is_possible else 0

    @property
    def result(self) -> Drafted | None:
        """The draft when no step is left; None if the encoded tiles don't contain the object."""
        if not self.is_possible:
            return None
        steps, predictions = self._replay.steps, self._replay.predictions
        found, history = _answer_of(self._embedding, steps, self._candidate, predictions)
        if self._is_final and self._finish is not None:
            found = self._finish(found)
        return Drafted(found, history, self._is_final)

    def next_prompts(self) -> Prompts:
        """Return the prompts of the next step."""
        return self._replay.next_prompts()

    def take(self, draft: Draft | None) -> None:
        """Add the prediction of a step; None if the encoded tiles don't contain the object."""
        if draft is None:
            self.is_possible = False
            return
        self._is_final = self._is_final and draft.is_final
        self._replay.take(draft.prediction)


class Foreseen:
    """The decode history of the latest preview, for the click that may follow.

    A click at the place of a preview then needs no decode. This also holds while the preview is
    still being decoded, since both run one after the other in the decode lane. Only that lane may
    use this class.
    """

    def __init__(self) -> None:
        self._segmenter: Segmenter | None = None
        self._history: DecodeHistory | None = None

    def keep(self, segmenter: Segmenter, history: DecodeHistory) -> None:
        """Keep the history of a preview, whose steps are all final."""
        self._segmenter, self._history = segmenter, history

    def give(self, segmenter: Segmenter, going: Sequence[Drafting]) -> None:
        """Let drafts reuse the steps that were decoded for a preview of the same prompts."""
        if self._history is not None and segmenter is self._segmenter:
            for one in going:
                one.go_on_from(self._history)


def draft_steps(segmenter: Segmenter, embedding: Embedding, going: Sequence[Drafting]) -> int:
    """Decode the next step of each of many objects; return the number of steps decoded."""
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
) -> tuple[Answer, DecodeHistory]:
    last = steps[-1]
    chosen = last.index_of(candidate if len(steps) == 1 else None)
    scores = tuple(np.clip(last.scores, 0, 1).tolist())
    result = Answer(last.patch(chosen), scores, chosen)
    kept_from = max(0, len(steps) - _KEPT)
    kept = (*[steps[0]] * kept_from, *steps[kept_from:])
    return result, DecodeHistory(weakref.ref(embedding), prompts, candidate, kept, kept_from)


def _unchanged(
    history: DecodeHistory, embedding: Embedding, prompts: Steps, candidate: Candidate | None
) -> tuple[MaskPrediction, ...]:
    """Return the leading steps of a history that are also those of these prompts."""
    if history.embedding() is not embedding:
        return ()
    steps = history.prompts.count_same(prompts)
    if candidate != history.candidate or steps <= history.kept_from:
        steps = min(steps, 1)
    return history.steps[:steps]
