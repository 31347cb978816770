"""Judging masks that another model found again, with the present model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from napari_sam.engine import BACKGROUND, Executor, Outcome, Report
from napari_sam.geometry import Region
from napari_sam.masks import stability_score
from napari_sam.planes import Plane, plane_axes
from napari_sam.prompts import Prompts, tight_box
from napari_sam.segmentation.protocol import Embedding, MaskPrediction, Segmenter
from napari_sam.session.canvas import LabelCanvas
from napari_sam.session.doubt import Expectation
from napari_sam.session.embeddings import Embeddings, prepare
from napari_sam.session.journal import Entry, ObjectFacts
from napari_sam.session.read_ahead import ReadAhead
from napari_sam.session.state import State

Rectangle = tuple[int, int, int, int]
"""(first row, first column, last row, last column)."""

# Masks are judged in batches of about this time, which a click waits at most; the number of masks
# of the first batch, and the largest number.
_SECONDS, _FIRST, _MOST = 0.05, 2, 16
_OFFSET = 1.0  # logits: stability compares the masks so far above and below the threshold


def finders(entries: Iterable[Entry]) -> dict[int, str]:
    """Return the keys of the models that found objects, by object, as far as they are known.

    Parameters
    ----------
    entries
        The entries of a journal, in order.
    """
    found: dict[int, str] = {}
    runs: dict[int, str] = {}
    for entry in entries:
        if entry.kind == "found":
            model = entry.details.get("model", runs.get(entry.part_of or 0, ""))
            runs[entry.first_number] = model
        scored = [c for c in entry.facts if _expected(c.after) not in (None, _expected(c.before))]
        if entry.kind == "found":
            found |= {change.key: model for change in scored}
        elif scored:  # objects were renumbered
            before = {_expected(c.before): found.get(c.key, "") for c in entry.facts}
            found |= {c.key: before.get(_expected(c.after), "") for c in scored}
    return {object_id: model for object_id, model in found.items() if model}


def _expected(facts: ObjectFacts) -> tuple[float, float | None] | None:
    return None if facts.score is None else (facts.score, facts.stability)


@dataclass(slots=True, eq=False)
class _Part:
    """Masks of a plane that are being judged; `outdated` ones have changed meanwhile."""

    plane: Plane
    boxes: dict[int, Rectangle]
    outdated: set[int] = field(default_factory=set)


class Rejudging:
    """Estimates the quality of masks with the present model, in small batches.

    Masks are decoded while no other decode waits, and only on planes that are embedded already. Of
    a large plane on screen, the tiles of the masks are encoded in idle time. The result of a mask
    that changes is dropped, and the mask is judged again.

    Parameters
    ----------
    state
        The state of the session.
    embeddings
        The embeddings of the planes, and the model.
    read_ahead
        Knows which plane is on screen, and whether more of it is encoded than clicks need.
    executor
        Runs the decodes.
    region_of
        Returns a rectangle around an object's pixels on a plane, or None if it isn't known.
    is_wanted
        Returns whether an object is still to be judged.
    judged
        Called with the objects whose expectation changed.
    failed
        Called with the exception if the model or the labels fail; judging stops then.
    """

    def __init__(
        self,
        state: State,
        embeddings: Embeddings,
        read_ahead: ReadAhead,
        executor: Executor,
        region_of: Callable[[int, Plane], Region | None],
        is_wanted: Callable[[int], bool],
        judged: Callable[[Iterable[int]], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._state = state
        self._embeddings = embeddings
        self._ahead = read_ahead
        self._executor = executor
        self._region_of = region_of
        self._is_wanted = is_wanted
        self._judged = judged
        self._failed = failed
        self._waiting: dict[Plane, dict[int, Rectangle]] = {}
        self._resting: dict[Plane, dict[int, Rectangle]] = {}  # whose tiles aren't encoded
        self._boxes: dict[Plane, dict[int, Rectangle]] = {}  # of those that were judged
        self._expected: dict[int, dict[Plane, Expectation]] = {}
        self._part: _Part | None = None
        self._seconds: float | None = None  # per mask
        self._encoding: object = None  # token of the tile that is being encoded
        self._encoded: set[tuple[Plane, int]] = set()  # masks for which a tile was encoded
        state.applied.connect(self._follow)
        embeddings.arrived.connect(self._embedded)

    @property
    def model(self) -> str:
        """Key of the present model; empty if there is none."""
        segmenter = self._embeddings.segmenter
        return "" if segmenter is None else segmenter.model_key

    @property
    def is_busy(self) -> bool:
        """Whether masks are being judged."""
        return self._part is not None

    def expectations(self, object_id: int) -> Mapping[Plane, Expectation]:
        """Return the expectations of an object, by plane."""
        return self._expected.get(object_id, {})

    def ask(self, object_id: int, plane: Plane, box: Rectangle) -> None:
        """Queue a mask to be judged; :meth:`go_on` starts."""
        if plane not in self.expectations(object_id) and object_id not in self._resting.get(
            plane, {}
        ):
            self._waiting.setdefault(plane, {})[object_id] = box

    @property
    def judged_ids(self) -> tuple[int, ...]:
        """The objects with an expectation."""
        return tuple(self._expected)

    def clear(self) -> None:
        """Stop, and drop all expectations."""
        self._waiting, self._resting, self._boxes, self._expected = {}, {}, {}, {}
        self._part = self._seconds = None
        self._encoded.clear()
        self.stop_encoding()

    def stop_encoding(self) -> None:
        """Stop encoding tiles until :meth:`go_on`."""
        if self._encoding is not None:
            self._encoding = None
            self._executor.cancel(self._key)

    def go_on(self) -> None:
        """Judge the next few masks, unless some are being judged."""
        segmenter, canvas = self._embeddings.segmenter, self._state.canvas
        if self._part is not None or segmenter is None or canvas is None:
            return
        embedded = {*self._embeddings.planes} if self._waiting else ()
        for plane in [plane for plane in self._waiting if plane in embedded]:
            embedding, boxes = self._embeddings.peek(plane), self._next_on(plane)
            if embedding is None or not boxes:
                del self._waiting[plane]
                continue
            self._part = _Part(plane, boxes)
            work = partial(_expectations, segmenter, embedding, canvas, plane, boxes)
            done = partial(self._done, self._part)
            self._executor.decode(self._key, work, done, background=True)
            return
        self._encode_next(segmenter)

    @property
    def _key(self) -> tuple[object, ...]:
        return "judged", self

    def _encode_next(self, segmenter: Segmenter) -> None:
        """Have the tile of the next mask on screen encoded that isn't encoded yet."""
        plane = self._ahead.shown
        if self._encoding is not None or plane is None or not self._ahead.reads_all:
            return
        resting, embedding = self._resting.get(plane, {}), self._embeddings.peek(plane)
        boxes = {i: box for i, box in resting.items() if self._is_wanted(i)}
        if embedding is None or not boxes:
            return
        self._resting[plane] = boxes
        self._encoding = object()
        work = partial(_encode, segmenter, embedding, dict(boxes))
        done = partial(self._tile_encoded, self._encoding, plane, next(iter(boxes)))
        self._executor.embed(self._key, work, done, BACKGROUND)

    def _tile_encoded(self, encoding: object, plane: Plane, first: int, outcome: Outcome) -> None:
        if encoding is not self._encoding:
            return
        self._encoding = None
        if outcome.error is not None:
            self._resting.pop(plane, None)
            if not outcome.cancelled:
                self._failed(outcome.error)
            return
        self._encoded.add((plane, first))
        resting = self._resting.get(plane, {})
        for object_id in (first, *outcome.value):
            if object_id in resting:
                self._waiting.setdefault(plane, {})[object_id] = resting.pop(object_id)
        self.go_on()

    def _next_on(self, plane: Plane) -> dict[int, Rectangle]:
        """Take the next batch of masks of a plane from those that wait."""
        waiting = self._waiting[plane]
        taken: dict[int, Rectangle] = {}
        most = _FIRST if self._seconds is None else int(_SECONDS / max(self._seconds, 1e-6))
        while waiting and len(taken) < max(1, min(most, _MOST)):
            object_id = next(iter(waiting))
            box = waiting.pop(object_id)
            if self._is_wanted(object_id):
                region = self._region_of(object_id, plane)
                taken[object_id] = box if region is None else _box_of(region)
        return taken

    def _done(self, part: _Part, outcome: Outcome) -> None:
        if part is not self._part:
            return
        self._part = None
        if outcome.error is not None:
            self._waiting.clear()
            if not outcome.cancelled:
                self._failed(outcome.error)
            self._judged(())
            return
        expected, seconds = outcome.value
        self._seconds = seconds or self._seconds
        plane = part.plane
        for object_id, box in part.boxes.items():
            if object_id in part.outdated:
                self._waiting.setdefault(plane, {})[object_id] = box
            elif (one := expected[object_id]) is None:
                if (plane, object_id) in self._encoded:
                    continue  # no tile shows it
                self._resting.setdefault(plane, {})[object_id] = box
            else:
                self._expected.setdefault(object_id, {})[plane] = one
                self._boxes.setdefault(plane, {})[object_id] = box
        self.go_on()
        self._judged([i for i in part.boxes if plane in self.expectations(i)])

    def _embedded(self, plane: Plane) -> None:
        if plane in self._resting:
            self._waiting.setdefault(plane, {}).update(self._resting.pop(plane))
        self.go_on()

    def _follow(self, entry: Entry, backwards: bool) -> None:
        """Drop the expectations of masks that have changed, and judge these again."""
        part = self._part
        for change in entry.pixels if self._boxes or part is not None else ():
            row, column, height, width = change.region
            rows, columns = slice(row, row + height), slice(column, column + width)
            for plane, boxes in self._boxes.items():
                crosses = plane_axes(plane) != plane_axes(change.plane)
                if not crosses and plane != change.plane:
                    continue
                for i in [i for i, box in boxes.items() if crosses or _meet(box, rows, columns)]:
                    del self._expected[i][plane]
                    self._waiting.setdefault(plane, {})[i] = boxes.pop(i)
            if part is not None and part.plane == change.plane:
                part.outdated |= {i for i, b in part.boxes.items() if _meet(b, rows, columns)}
            elif part is not None and plane_axes(part.plane) != plane_axes(change.plane):
                part.outdated |= part.boxes.keys()


def _box_of(region: Region) -> Rectangle:
    rows, columns = region
    return rows.start, columns.start, rows.stop - 1, columns.stop - 1


def _meet(box: Rectangle, rows: slice, columns: slice) -> bool:
    r0, c0, r1, c1 = box
    return r0 < rows.stop and r1 >= rows.start and c0 < columns.stop and c1 >= columns.start


def _encode(
    segmenter: Segmenter, embedding: Embedding, boxes: Mapping[int, Rectangle], report: Report
) -> list[int]:
    """Encode the tile of the first of some objects; return all whose tiles are encoded then."""
    first, *_ = boxes.values()
    prepare(segmenter, embedding, Prompts(box=first), report)
    return [i for i, box in boxes.items() if segmenter.is_ready(embedding, Prompts(box=box))]


def _expectations(
    segmenter: Segmenter,
    embedding: Embedding,
    canvas: LabelCanvas,
    plane: Plane,
    boxes: Mapping[int, Rectangle],
) -> tuple[dict[int, Expectation | None], float]:
    """Return the expectations of masks, and the seconds per mask.

    The expectation is None for masks whose tiles aren't encoded.
    """
    start = time.perf_counter()
    masks: dict[int, tuple[Region, NDArray[np.bool_]]] = {}
    prompts: dict[int, Prompts] = {}
    expected: dict[int, Expectation | None] = dict.fromkeys(boxes)
    for object_id, (r0, c0, r1, c1) in boxes.items():
        region = slice(r0, r1 + 1), slice(c0, c1 + 1)
        mask = canvas.read(plane, region) == object_id
        if not mask.any():
            continue
        masks[object_id] = region, mask
        top, left, bottom, right = tight_box(mask)
        box = Prompts(box=(top + r0, left + c0, bottom + r0, right + c0))
        if segmenter.is_ready(embedding, box):
            prompts[object_id] = box
    drafts = segmenter.draft_many(embedding, list(prompts.values()), False) if prompts else ()
    for object_id, draft in zip(prompts, drafts, strict=True):
        if draft is not None:
            expected[object_id] = expectation(draft.prediction, *masks[object_id])
    return expected, (time.perf_counter() - start) / len(prompts) if prompts else 0.0


def expectation(prediction: MaskPrediction, region: Region, mask: NDArray[np.bool_]) -> Expectation:
    """Return the expected quality of a mask from a prediction by its box.

    The score is the predicted IoU of the predicted mask, times its IoU with the given mask.

    Parameters
    ----------
    prediction
        The prediction from the box of the mask.
    region, mask
        A region of the plane, and the pixels of the mask in it.
    """
    best = prediction.best_index
    own = prediction.patch(best)
    shared = int(np.count_nonzero(own.within(region) & mask))
    either = own.area + int(np.count_nonzero(mask)) - shared
    _, logits = prediction.part_logits(best, -_OFFSET)
    score = float(prediction.scores[best]) * shared / max(either, 1)
    stability = float(stability_score(logits, 0.0, _OFFSET))
    return Expectation(min(max(score, 0.0), 1.0), stability)
