"""Previews: the mask that a click would give, decoded before the click is made."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from napari_sam.engine import Executor, Outcome
from napari_sam.patches import Patch
from napari_sam.planes import Plane
from napari_sam.prompts import GRANULARITIES, Candidate, Granularity
from napari_sam.segmentation.prediction import MaskPrediction
from napari_sam.segmentation.protocol import Embedding, Segmenter
from napari_sam.session.answers import Drafting, Foreseen, draft_steps
from napari_sam.session.pointing import ClickAction
from napari_sam.session.prompt_book import Group

_MOST_STEPS = 3  # steps that a preview may decode; an object that waits for its answer has more
_TIMED = 5  # latest previews whose times are kept


@dataclass(frozen=True, slots=True, eq=False)
class Preview:
    """What a click would do.

    Parameters
    ----------
    plane
        The plane: for every axis its index, or None for the two that it spans.
    point
        The place of the click, (row, column) in pixels of the plane.
    object_id
        The object that the click would prompt or make current.
    action
        ``new``: the click would be the first prompt of a new object. ``refine``: it would be
        another prompt of the current object. ``go to``: it would make the object current and add
        no prompt.
    candidates
        The candidate masks of the click; with ``go to`` the mask of that object, as far as it is
        known.
    scores
        The predicted IoU (0-1) of each candidate; empty with ``go to``.
    chosen
        Index of the candidate that the click would take.
    granularity
        The rank of that candidate by its area; None if there is only one.
    """

    plane: Plane
    point: tuple[float, float]
    object_id: int
    action: ClickAction
    candidates: tuple[Patch, ...] = ()
    scores: tuple[float, ...] = ()
    chosen: int = 0
    granularity: Granularity | None = None

    @property
    def mask(self) -> Patch:
        """The mask that the click would give; an empty patch if it is not known."""
        return self.candidates[self.chosen] if self.candidates else Patch()


class Previews:
    """Decodes previews while no other decode is waiting; of several requests the latest counts.

    Parameters
    ----------
    executor
        Runs the decodes.
    foreseen
        Keeps decoded predictions for the click that may follow.
    show
        Called with each preview, and with None when there is none any more.

    Attributes
    ----------
    shown
        The latest preview; None when there is none.
    """

    def __init__(
        self, executor: Executor, foreseen: Foreseen, show: Callable[[Preview | None], None]
    ) -> None:
        self._executor = executor
        self._foreseen = foreseen
        self._show = show
        self._requests = 0  # results of requests before the last `clear` are dropped
        self._latest: object = None  # the latest request
        self._seconds: deque[float] = deque(maxlen=_TIMED)
        self._timed: Segmenter | None = None
        self._prediction: MaskPrediction | None = None  # of the preview that is shown
        self.shown: Preview | None = None

    @property
    def seconds(self) -> float | None:
        """Seconds of the fastest of the latest few decodes; None before there are enough."""
        return min(self._seconds) if len(self._seconds) == _TIMED else None

    def clear(self) -> None:
        """Show no preview, and drop those that are being decoded."""
        self._requests += 1
        self._put(None)

    def put(self, preview: Preview) -> None:
        """Show a preview that needs no decode."""
        self._requests += 1
        self._put(preview)

    def ask(
        self,
        preview: Preview,
        group: Group,
        segmenter: Segmenter,
        embedding: Embedding,
        drafting: Drafting,
    ) -> None:
        """Have a preview decoded and shown, unless another is requested before that starts.

        Parameters
        ----------
        preview
            The preview, still without masks.
        group
            The prompts that the object would have after the click.
        segmenter, embedding
            What to decode with.
        drafting
            The steps of these prompts that are still to be decoded.
        """
        if drafting.steps_left > _MOST_STEPS:
            self.clear()
            return
        subject = preview.action, preview.object_id, preview.plane
        if self.shown and subject != (self.shown.action, self.shown.object_id, self.shown.plane):
            self.clear()  # the preview that is shown is about something else
        if segmenter is not self._timed:
            self._timed = segmenter
            self._seconds.clear()
        work = _Decode(segmenter, embedding, group, drafting, self._foreseen)
        self._latest = work
        self._start(preview, work, work.has_first_pass)

    def _start(self, preview: Preview, work: _Decode, first_pass: bool) -> None:
        self._executor.decode(
            ("preview", self),
            partial(work, first_pass),
            partial(self._decoded, preview, work, self._requests),
            background=True,
        )

    def choose(self, granularity: Granularity | None) -> None:
        """Choose another candidate of the click; None leaves it to the model."""
        if self.shown is not None and self.shown.action == "new" and self._prediction is not None:
            self._put(_choosing(self.shown, self._prediction, granularity), self._prediction)

    def _decoded(self, preview: Preview, work: _Decode, request: int, outcome: Outcome) -> None:
        if request != self._requests:
            return
        if outcome.error is not None or outcome.value is None:  # the click reports the error
            self._put(None)
            return
        seen: _Seen = outcome.value
        if seen.is_first_pass and work is self._latest:  # else the mouse has moved on
            self._start(preview, work, first_pass=False)
        if seen.seconds is not None:
            self._seconds.append(seen.seconds)
        scores = tuple(float(min(max(x, 0.0), 1.0)) for x in seen.prediction.scores)
        preview = replace(preview, candidates=seen.masks, scores=scores, chosen=seen.chosen)
        if len(scores) > 1:
            preview = _choosing(preview, seen.prediction, work.group.choice)
        self._put(preview, seen.prediction)

    def _put(self, preview: Preview | None, prediction: MaskPrediction | None = None) -> None:
        self._prediction = prediction
        if preview is not self.shown:
            self.shown = preview
            self._show(preview)


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """A decoded preview: the candidates of the last step, the chosen one, and time per step."""

    prediction: MaskPrediction
    masks: tuple[Patch, ...]
    chosen: int
    seconds: float | None
    is_first_pass: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Decode:
    """Decodes the mask that a click would give; None if the encoder would have to run first."""

    segmenter: Segmenter
    embedding: Embedding
    group: Group
    drafting: Drafting
    foreseen: Foreseen

    @property
    def has_first_pass(self) -> bool:
        """Whether the mask is shown once before the model refines it in a second decode."""
        return self.segmenter.traits.refines_first_click and self.group.prompts.is_single_click

    def __call__(self, first_pass: bool) -> _Seen | None:
        if not self.segmenter.is_ready(self.embedding, self.group.prompts):
            return None
        start, drafting = time.perf_counter(), self.drafting
        self.foreseen.give(self.segmenter, [drafting])  # the mouse may have moved back
        if first_pass and drafting.steps_left:
            draft = self.segmenter.draft(self.embedding, self.group.prompts, True)
            return None if draft is None else _first_pass(draft.prediction, self.group, start)
        decodes = drafting.steps_left
        while drafting.steps_left:
            draft_steps(self.segmenter, self.embedding, [drafting])
        drafted = drafting.result
        if drafted is None:
            return None
        seconds = (time.perf_counter() - start) / decodes if decodes else None
        if drafted.is_final:
            self.foreseen.keep(self.segmenter, drafted.history)
        last, answer = drafted.history.steps[-1], drafted.answer
        masks = [
            answer.patch if i == answer.chosen else last.patch(i) for i in range(len(last.scores))
        ]
        return _Seen(last, tuple(masks), answer.chosen, seconds)


def _first_pass(prediction: MaskPrediction, group: Group, start: float) -> _Seen:
    masks = tuple(prediction.patch(i) for i in range(len(prediction.scores)))
    seconds = time.perf_counter() - start
    return _Seen(prediction, masks, prediction.index_of(group.choice), seconds, is_first_pass=True)


def _choosing(preview: Preview, prediction: MaskPrediction, choice: Candidate | None) -> Preview:
    """Return a preview with another candidate chosen."""
    chosen, by_area = prediction.index_of(choice), prediction.by_area[: len(GRANULARITIES)]
    granularity = GRANULARITIES[by_area.index(chosen)] if chosen in by_area else None
    return replace(preview, chosen=chosen, granularity=granularity)
