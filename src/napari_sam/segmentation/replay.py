"""Ordered prompts to masks, step by step, each step starting from the one before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from napari_sam.geometry import Frame
from napari_sam.prompts import Candidate, Prompts
from napari_sam.segmentation.protocol import (
    Embedding,
    MaskPrediction,
    Progress,
    Segmenter,
    part_of,
)
from napari_sam.segmentation.refining import correction, given_mask, refine
from napari_sam.steps import Steps

# Clicks that a step of a replay decodes at most, the first one and the latest: with every click
# so far, the cost of an object would grow with their square.
_MOST_CLICKS = 64
# Objects that are replayed side by side: as many as one pass of a decoder takes.
_TOGETHER = 32


class Replay:
    """The prediction of an object from its prompts, step by step.

    Parameters
    ----------
    steps
        What each prompt adds.
    frame
        Of the plane's embedding.
    candidate
        Candidate that a user chose in the first step, by its index or by its area; by default
        that of the highest predicted IoU.
    earlier
        Predictions of leading steps whose prompts are unchanged: they are not decoded again.
    kept
        How many of the latest predictions are kept, besides the first; by default all.

    Attributes
    ----------
    predictions
        One for each step so far. Those that are not kept are replaced by the first one.

    Raises
    ------
    ValueError
        If there are no prompts.
    """

    def __init__(
        self,
        steps: Steps,
        frame: Frame,
        candidate: Candidate | None = None,
        earlier: Sequence[MaskPrediction] = (),
        kept: int | None = None,
    ) -> None:
        count_steps(steps)  # refuses none
        self.steps = steps
        self._frame, self._candidate, self._kept = frame, candidate, kept
        self.predictions = list(earlier[: len(steps)])
        self._take_given()

    @property
    def steps_left(self) -> int:
        """How many steps are still to be decoded."""
        return len(self.steps) - len(self.predictions)

    def next_prompts(self) -> Prompts:
        """Return what the next step decodes: the prompts so far, and a mask to start from.

        That is the step's own mask, or else the logits of the step before.
        """
        step = len(self.predictions)
        if (given := self.steps.exact_before(step)) is not None:
            clicks = self.steps.clicks_since(given, step, _MOST_CLICKS)
            return correction(self.predictions[-1], clicks)
        current = self.steps.so_far(step, _MOST_CLICKS)
        if step in self.steps.masks:
            return current.with_mask_of(self.steps.masks[step])
        if not step or self.predictions[-1].exact is not None:
            return current  # a box after a given mask replaces it
        before = self.predictions[-1]
        chosen = before.index_of(self._candidate if step == 1 else None)
        return current.with_logits(before.logits[chosen], before.frame)

    def go_on_from(self, predictions: Sequence[MaskPrediction]) -> None:
        """Use the predictions of leading steps that were made elsewhere."""
        self.predictions = list(predictions[: len(self.steps)])
        self._take_given()

    def take(self, prediction: MaskPrediction) -> None:
        """Add the segmenter's prediction for :meth:`next_prompts`."""
        step = len(self.predictions)
        if (given := self.steps.exact_before(step)) is not None:
            clicks, seen = self.steps[step], prediction
            every = self.steps.clicks_since(given, step, _MOST_CLICKS)
            prediction = self.predictions[-1]
            for point, label in zip(clicks.points, clicks.point_labels, strict=True):
                prediction = refine(prediction, seen, point, int(label), every)
        self._append(prediction)
        self._take_given()

    def _take_given(self) -> None:
        """Add the steps whose mask is exact, which need no decode."""
        while self.steps_left and self.steps.is_exact(step := len(self.predictions)):
            patch = self.steps.masks[step].mask_patch
            assert patch is not None, "an exact mask"
            self._append(given_mask(patch, self._frame))

    def _append(self, prediction: MaskPrediction) -> None:
        self.predictions.append(prediction)
        if self._kept is not None and len(self.predictions) > self._kept + 1:
            self.predictions[-self._kept - 1] = self.predictions[0]


def replay(
    segmenter: Segmenter,
    embedding: Embedding,
    prompts: Prompts | Sequence[Prompts],
    candidate: Candidate | None = None,
    earlier: Sequence[MaskPrediction] = (),
    progress: Progress | None = None,
) -> list[MaskPrediction]:
    """Predict an object from its prompts in their order, passing logits from step to step.

    Each step uses all clicks so far and the latest box. It starts from the logits of the step
    before, or from a mask of its own. An exact mask (:attr:`Prompts.is_exact`) is the prediction
    of its step, without a decode; each click after it changes only the region around the error
    that it points at, see :func:`~napari_sam.segmentation.refining.refine`, and a box after it
    replaces it.

    Parameters
    ----------
    segmenter, embedding
        The model, and its embedding of the plane.
    prompts
        What each step adds to the object's prompts on this plane, in the order in which they were
        given. Or a single `Prompts`: its first step is the box or mask, or the first click if
        there is neither, and each later step adds a click.
    candidate
        Candidate that a user chose in the first step, by its index or by its area
        (``"whole"``, ``"part"``, ``"sub-part"``); by default that of the highest predicted IoU.
    earlier
        Predictions of leading steps whose prompts are unchanged: they are not decoded again.
    progress
        Called with the finished fraction after each step, and while a step encodes something; it
        may raise :class:`~napari_sam.Cancelled`.

    Returns
    -------
    steps
        One prediction for each step; the last one is the result.

    Raises
    ------
    ValueError
        If there are no prompts.

    Notes
    -----
    A step gives the decoder the box, the first click and the 63 latest ones; the others only act
    through the logits that the step starts from. The cost of a step is therefore bounded, and the
    cost of an object grows in proportion to its clicks.
    """
    going = Replay(Steps.of(prompts), embedding.frame, candidate, earlier)
    count = len(going.steps)
    while going.steps_left:
        done = count - going.steps_left
        within = part_of(progress, done / count, (done + 1) / count)
        going.take(segmenter.decode(embedding, going.next_prompts(), progress=within))
        if progress is not None:
            progress((done + 1) / count)
    return going.predictions


def replay_many(
    segmenter: Segmenter,
    embedding: Embedding,
    prompts: Sequence[Prompts | Steps],
    progress: Progress | None = None,
    candidates: Sequence[Candidate | None] = (),
) -> Iterator[MaskPrediction]:
    """Predict many objects of one plane from their ordered prompts, some at a time.

    Parameters
    ----------
    segmenter, embedding, prompts
        As :func:`replay` takes them, of several objects.
    progress
        Called with the finished fraction of all steps after each batch of them, and while tiles
        are encoded for them; it may raise :class:`~napari_sam.Cancelled`.
    candidates
        Candidate that a user chose in the first step of each object; None and by default the
        highest predicted IoU.

    Yields
    ------
    prediction
        Of each object, in their order: the last step of :func:`replay`.

    Raises
    ------
    ValueError
        If an object has no prompts.
    """
    total, done = sum(map(count_steps, prompts)), 0
    for start in range(0, len(prompts), _TOGETHER):
        group, total_before = prompts[start : start + _TOGETHER], done
        chosen = candidates[start : start + _TOGETHER] or [None] * len(group)
        replays = [
            Replay(Steps.of(p), embedding.frame, c, kept=1)
            for p, c in zip(group, chosen, strict=True)
        ]
        for one in replays:
            here = part_of(progress, done / total, done / total)
            if one.steps_left:
                segmenter.prepare(embedding, one.next_prompts(), here)
        while going := [one for one in replays if one.steps_left]:
            found = segmenter.decode_many(embedding, [one.next_prompts() for one in going])
            for one, prediction in zip(going, found, strict=True):
                one.take(prediction)
            done = total_before + sum(len(one.predictions) for one in replays)
            if progress is not None:
                progress(done / total)
        for one in replays:
            yield one.predictions[-1]


def count_steps(prompts: Prompts | Sequence[Prompts]) -> int:
    """How many steps :func:`replay` makes of an object: its clicks, and its box or mask.

    Raises
    ------
    ValueError
        If there are no prompts.
    """
    steps = Steps.of(prompts)
    if not len(steps):
        raise ValueError("expected a click, a box or a mask, got no prompts; add one first")
    return len(steps)
