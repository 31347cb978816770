"""From an object's ordered prompts to its mask, decoding only what has changed."""

from __future__ import annotations

import weakref
from dataclasses import dataclass

import numpy as np

from napari_sam.prompts import Prompts
from napari_sam.segmenter import Embedding, MaskPrediction, Segmenter, replay
from napari_sam.session.patches import Patch, cut_prediction


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """A mask and where it stands among its candidates.

    Parameters
    ----------
    patch
        The mask.
    scores
        Predicted IoU of each candidate of the last step.
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


def answer(
    segmenter: Segmenter,
    embedding: Embedding,
    prompts: Prompts,
    candidate: int | None = None,
    before: Chain | None = None,
) -> tuple[Answer, Chain]:
    """Replay an object's prompts from the first that changed.

    Parameters
    ----------
    segmenter, embedding, prompts, candidate
        As in :func:`napari_sam.segmenter.replay`.
    before
        The chain of an earlier answer about the same object and plane.
    """
    earlier = _unchanged(before, embedding, prompts, candidate) if before else ()
    steps = replay(segmenter, embedding, prompts, candidate, earlier)
    last = steps[-1]
    chosen = last.best_index
    if candidate is not None and len(steps) == 1:
        chosen = min(candidate, len(last.scores) - 1)
    result = Answer(cut_prediction(last, chosen), tuple(last.scores.tolist()), chosen)
    return result, Chain(weakref.ref(embedding), prompts, candidate, tuple(steps))


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
