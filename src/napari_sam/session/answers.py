"""From an object's ordered prompts to its mask, decoding only what has changed."""

from __future__ import annotations

import weakref
from dataclasses import dataclass

import numpy as np

from napari_sam.prompts import Prompts
from napari_sam.segmenter import (
    DelegatingSegmenter,
    Embedding,
    MaskPrediction,
    Multimask,
    Progress,
    Segmenter,
    replay,
)
from napari_sam.session.patches import Patch, cut_prediction


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
    """

    patch: Patch
    scores: tuple[float, ...]
    chosen: int


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """The steps that led to an answer: they hold as long as their prompts are not touched."""

    embedding: weakref.ReferenceType[Embedding]
    prompts: Prompts
    candidate: int | None
    steps: tuple[MaskPrediction, ...]


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


def answer(
    segmenter: Segmenter,
    embedding: Embedding,
    prompts: Prompts,
    candidate: int | None = None,
    before: Chain | None = None,
    progress: Progress | None = None,
) -> tuple[Answer, Chain]:
    """Replay an object's prompts from the first that changed.

    Parameters
    ----------
    segmenter, embedding, prompts, candidate
        As in :func:`napari_sam.segmenter.replay`.
    before
        The chain of an earlier answer about the same object and plane.
    progress
        As of :meth:`~napari_sam.segmenter.Segmenter.decode`.
    """
    earlier = _unchanged(before, embedding, prompts, candidate) if before else ()
    steps = replay(segmenter, embedding, prompts, candidate, earlier, progress)
    last = steps[-1]
    chosen = last.best_index
    if candidate is not None and len(steps) == 1:
        chosen = min(candidate, len(last.scores) - 1)
    result = Answer(
        cut_prediction(last, chosen), tuple(np.clip(last.scores, 0, 1).tolist()), chosen
    )
    return result, Chain(weakref.ref(embedding), prompts, candidate, tuple(steps))


def draft(
    segmenter: Segmenter,
    embedding: Embedding,
    prompts: Prompts,
    candidate: int | None = None,
    before: Chain | None = None,
) -> Drafted | None:
    """Replay an object's prompts with what is encoded; None where that shows nothing of it.

    Parameters are those of :func:`answer`; the encoder never runs.
    """
    drafts = _Drafts(segmenter)
    try:
        result, chain = answer(drafts, embedding, prompts, candidate, before)
    except _NotEncoded:
        return None
    return Drafted(result, chain, drafts.are_final)


class _NotEncoded(Exception):
    """Nothing that is encoded shows the object."""


class _Drafts(DelegatingSegmenter[Segmenter]):
    """A segmenter that decodes by drafts, and knows whether all of them were final."""

    are_final = True

    def decode(
        self,
        embedding: Embedding,
        prompts: Prompts,
        multimask: Multimask = "auto",
        progress: Progress | None = None,
    ) -> MaskPrediction:
        found = self._inner.draft(embedding, prompts, multimask)
        if found is None:
            raise _NotEncoded
        self.are_final = self.are_final and found.is_final
        return found.prediction


def _unchanged(
    chain: Chain, embedding: Embedding, prompts: Prompts, candidate: int | None
) -> tuple[MaskPrediction, ...]:
    """Return the leading steps of an earlier replay that hold for these prompts too."""
    if chain.embedding() is not embedding or chain.prompts.box != prompts.box:
        return ()
    count = min(len(chain.prompts.points), len(prompts.points))
    same = (chain.prompts.points[:count] == prompts.points[:count]).all(1)
    same &= chain.prompts.point_labels[:count] == prompts.point_labels[:count]
    clicks = count if same.all() else int(np.argmin(same))
    steps = clicks + 1 if prompts.box is not None else clicks
    return chain.steps[: steps if candidate == chain.candidate else min(steps, 1)]
