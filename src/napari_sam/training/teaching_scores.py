"""How good a model is on what was held back: by clicks, by a box, and at finding everything."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_sam.automask import ObjectMask, generate_masks
from napari_sam.examples import Example
from napari_sam.image import normalise
from napari_sam.model.taught import HeldBack
from napari_sam.prompts import tight_box
from napari_sam.segmentation.protocol import Embedding, Segmenter
from napari_sam.training.average_precision import Counts, add_up, count_matches
from napari_sam.training.examples import ObjectOf
from napari_sam.training.protocol import box_scores, click_scores
from napari_sam.training.views import session_scale

_Result = TypeVar("_Result")
Work = Generator[float, None, _Result]
"""Something done bit by bit: it gives the finished fraction now and then, and the result."""

CLICKED = ("click", "clicks", "box")
"""Names of the figures of prompts: after one click, after three, and by a tight box."""

CLICKS = 3
# Everything is found in so much around the objects, in pixels; a whole large plane takes too long.
_AROUND, _LARGEST = 96, 768


@dataclass(frozen=True, slots=True, eq=False)
class Figures:
    """How good a model is on some objects.

    Parameters
    ----------
    click, clicks, box
        `(N,)` IoU of each object after one click, after three, and by a tight box.
    everything
        Matches of the objects among everything that is found; None for a model without heads.
    """

    click: NDArray[np.float64]
    clicks: NDArray[np.float64]
    box: NDArray[np.float64]
    everything: Counts | None = None

    def compared(self, after: Figures) -> dict[str, HeldBack]:
        """Set these figures beside later ones of the same objects."""
        count = len(self.click)
        compared = {
            name: HeldBack(
                float(np.mean(getattr(self, name))), float(np.mean(getattr(after, name))), count
            )
            for name in CLICKED
        }
        if self.everything is not None and after.everything is not None:
            found = self.everything.mean, after.everything.mean
            compared["everything"] = HeldBack(*found, count)
        return compared


class Examiner:
    """Scores models by the same objects; planes are embedded once an encoder.

    Parameters
    ----------
    examples, withheld
        The planes, and the objects in them that no model was taught.
    """

    def __init__(self, examples: Sequence[Example], withheld: Sequence[ObjectOf]) -> None:
        self._examples = examples
        self._labels: dict[int, list[int]] = {}
        for number, label in withheld:
            self._labels.setdefault(number, []).append(label)
        self._embeddings: dict[tuple[str, int], Embedding] = {}

    def figures(self, segmenter: Segmenter) -> Work[Figures]:
        """Click and box the objects; with a model that has heads, find everything as well."""
        has_heads = segmenter.traits.proposes
        figures = yield from _part_of(self.clicked(segmenter), 0.0, 0.5 if has_heads else 1.0)
        if not has_heads:
            return figures
        found = yield from _part_of(self.found(segmenter), 0.5, 1.0)
        return replace(figures, everything=found)

    def clicked(self, segmenter: Segmenter) -> Work[Figures]:
        """Click and box the objects."""
        rows: list[tuple[float, float, float]] = []
        total = sum(map(len, self._labels.values()))
        for number, labels in self._labels.items():
            example = self._examples[number]
            embedding = self._embedding(segmenter, number)
            for label in labels:
                yield len(rows) / total
                rows.append(_prompted(segmenter, embedding, example.mask(label)))
        click, clicks, box = np.array(rows).T
        return Figures(click, clicks, box)

    def found(self, segmenter: Segmenter) -> Work[Counts]:
        """Find everything around the objects.

        Only what lies in a held back object or where everything is labelled can be wrong: nobody
        knows what else there is.
        """
        counts: list[Counts] = []
        for number, labels in self._labels.items():
            yield len(counts) / len(self._labels)
            counts.append(_found(segmenter, self._examples[number], labels))
        return add_up(counts)

    def _embedding(self, segmenter: Segmenter, number: int) -> Embedding:
        key = segmenter.encoder_key, number
        if key not in self._embeddings:
            example = self._examples[number]
            part = example.plane_shape not in (None, example.labels.shape)
            scale = session_scale(example, segmenter.traits.geometry) if part else None
            self._embeddings[key] = segmenter.embed(
                example.image, example.contrast_limits, scale=scale
            )
        return self._embeddings[key]


def _part_of(work: Work[_Result], begin: float, end: float) -> Work[_Result]:
    """Do some work that is a part of other work."""
    while True:
        try:
            share = next(work)
        except StopIteration as stop:
            result: _Result = stop.value
            return result
        yield begin + (end - begin) * share


def _prompted(
    segmenter: Segmenter, embedding: Embedding, target: NDArray[np.bool_]
) -> tuple[float, float, float]:
    """Return IoU after one click, after three, and by a box."""
    scores, _ = click_scores(segmenter, embedding, [target], CLICKS)
    (by_box,) = box_scores(segmenter, embedding, [tight_box(target)], [target])
    return scores[0, 0], scores[0, -1], by_box


def _found(segmenter: Segmenter, example: Example, labels: Sequence[int]) -> Counts:
    wanted = np.isin(example.labels, list(labels))
    cut = _part(wanted)
    wanted, truth = wanted[cut], np.where(wanted, example.labels, 0)[cut]
    others = (example.labels[cut] > 0) & ~wanted
    known = wanted.copy()
    if example.complete is not None:
        known |= example.complete[cut] & ~others
    pixels = normalise(example.image, example.contrast_limits)[cut]
    counted = [
        one
        for one in generate_masks(segmenter, pixels)
        if np.count_nonzero(known[one.region] & one.crop()) * 2 >= one.area
    ]
    return count_matches(painted(counted, truth.shape), truth)


def painted(objects: Iterable[ObjectMask], shape: tuple[int, ...]) -> NDArray[np.int32]:
    """Paint masks into labels `(H, W)`: what comes first is surest, and keeps its pixels."""
    labels = np.zeros(shape, np.int32)
    for number, one in enumerate(objects, 1):
        part = labels[one.region]
        part[one.crop() & (part == 0)] = number
    return labels


def _part(wanted: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Surroundings of some objects, no larger than is found in a moment."""
    slices = []
    for axis in (1, 0):
        used = np.flatnonzero(wanted.any(axis))
        low, high = max(0, int(used[0]) - _AROUND), int(used[-1]) + 1 + _AROUND
        high = min(high, low + _LARGEST, wanted.shape[1 - axis])
        slices.append(slice(low, high))
    return slices[0], slices[1]
