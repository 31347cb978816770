"""What a click would take, before it is made: never recorded, never waited for."""

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

_MOST_STEPS = 3  # that are decoded for one; an object whose answer is still to come has more
_TIMED = 5  # previews whose times are remembered


@dataclass(frozen=True, slots=True, eq=False)
class Preview:
    """What a click would do.

    Parameters
    ----------
    plane, point
        Where: (row, column) in pixels of the plane.
    object_id
        The object that the click is about.
    action
        ``new``: it would be the first prompt of an object. ``refine``: a further prompt of the
        current object. ``go to``: it would make that object current, and add nothing.
    candidates
        The masks that the click may mean; of an object that it would go to, its pixels as far as
        they are known.
    scores
        The predicted IoU of each, 0 to 1; empty for an object that it would go to.
    chosen
        Which of them the click would take.
    granularity
        What that one is among the others, by its area; empty where there is no choice.
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
        """The mask that the click would take; empty where nothing is known."""
        return self.candidates[self.chosen] if self.candidates else Patch()


class Previews:
    """Has previews decoded while nobody waits for a decode; the latest place wins.

    Parameters
    ----------
    executor
        Where they are decoded.
    foreseen
        Takes what is decoded, for the click that may follow.
    show
        Called with every preview, and with None when there is none any more.

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
        self._asked = 0  # what was asked before the last `clear` comes too late
        self._latest: object = None  # that was asked for
        self._seconds: deque[float] = deque(maxlen=_TIMED)
        self._timed: Segmenter | None = None
        self._prediction: MaskPrediction | None = None  # of the one that is shown
        self.shown: Preview | None = None

    @property
    def seconds(self) -> float | None:
        """How long decoding one takes, of the latest few the fastest; None before there are any."""
        return min(self._seconds) if len(self._seconds) == _TIMED else None

    def clear(self) -> None:
        """Show none, also not those that are being decoded."""
        self._asked += 1
        self._put(None)

    def put(self, preview: Preview) -> None:
        """Show one that needs no decode."""
        self._asked += 1
        self._put(preview)

    def ask(
        self,
        preview: Preview,
        group: Group,
        segmenter: Segmenter,
        embedding: Embedding,
        drafting: Drafting,
    ) -> None:
        """Have one decoded and shown, unless another is asked for before it begins.

        Parameters
        ----------
        preview
            What is known of it already.
        group
            What would be said about the object after the click.
        segmenter, embedding
            What to decode with.
        drafting
            The group's prompts.
        """
        if drafting.steps_left > _MOST_STEPS:
            self.clear()
            return
        told = preview.action, preview.object_id, preview.plane
        if self.shown and told != (self.shown.action, self.shown.object_id, self.shown.plane):
            self.clear()  # until it is decoded, it would say something else
        if segmenter is not self._timed:
            self._timed = segmenter
            self._seconds.clear()
        work = _Decode(segmenter, embedding, group, drafting, self._foreseen)
        self._latest = work
        self._start(preview, work, work.has_first_look)

    def _start(self, preview: Preview, work: _Decode, at_first_look: bool) -> None:
        self._executor.decode(
            ("preview", self),
            partial(work, at_first_look),
            partial(self._decoded, preview, work, self._asked),
            background=True,
        )

    def choose(self, granularity: Granularity | None) -> None:
        """Take another of the masks that the click may mean; None leaves it to the model."""
        if self.shown is not None and self.shown.action == "new" and self._prediction is not None:
            self._put(_choosing(self.shown, self._prediction, granularity), self._prediction)

    def _decoded(self, preview: Preview, work: _Decode, asked: int, outcome: Outcome) -> None:
        if asked != self._asked:
            return
        if outcome.error is not None or outcome.value is None:  # the click itself will tell
            self._put(None)
            return
        seen: _Seen = outcome.value
        if seen.is_first_look and work is self._latest:  # else the mouse has moved on
            self._start(preview, work, at_first_look=False)
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
    """What was decoded: every candidate of the last step, which is the answer's, time per step."""

    prediction: MaskPrediction
    masks: tuple[Patch, ...]
    chosen: int
    seconds: float | None
    is_first_look: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Decode:
    """Decodes what a click would take; None where that would begin with a run of the encoder."""

    segmenter: Segmenter
    embedding: Embedding
    group: Group
    drafting: Drafting
    foreseen: Foreseen

    @property
    def has_first_look(self) -> bool:
        """Whether what a model sees at a first look is shown before it has looked twice."""
        return self.segmenter.traits.refines_first_click and self.group.prompts.is_single_click

    def __call__(self, at_first_look: bool) -> _Seen | None:
        if not self.segmenter.is_ready(self.embedding, self.group.prompts):
            return None
        start, drafting = time.perf_counter(), self.drafting
        self.foreseen.give(self.segmenter, [drafting])  # the mouse may have moved back
        if at_first_look and drafting.steps_left:
            draft = self.segmenter.draft(self.embedding, self.group.prompts, True)
            return None if draft is None else _first_look(draft.prediction, self.group, start)
        decodes = drafting.steps_left
        while drafting.steps_left:
            draft_steps(self.segmenter, self.embedding, [drafting])
        drafted = drafting.result
        if drafted is None:
            return None
        seconds = (time.perf_counter() - start) / decodes if decodes else None
        if drafted.is_final:
            self.foreseen.keep(self.segmenter, drafted.chain)
        last, answer = drafted.chain.steps[-1], drafted.answer
        masks = [
            answer.patch if i == answer.chosen else last.patch(i) for i in range(len(last.scores))
        ]
        return _Seen(last, tuple(masks), answer.chosen, seconds)


def _first_look(prediction: MaskPrediction, group: Group, start: float) -> _Seen:
    masks = tuple(prediction.patch(i) for i in range(len(prediction.scores)))
    seconds = time.perf_counter() - start
    return _Seen(prediction, masks, prediction.index_of(group.choice), seconds, is_first_look=True)


def _choosing(preview: Preview, prediction: MaskPrediction, choice: Candidate | None) -> Preview:
    """Return a preview of which another candidate is chosen."""
    chosen, by_area = prediction.index_of(choice), prediction.by_area[: len(GRANULARITIES)]
    told = GRANULARITIES[by_area.index(chosen)] if chosen in by_area else None
    return replace(preview, chosen=chosen, granularity=told)
