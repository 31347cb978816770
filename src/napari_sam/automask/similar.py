"""Find more objects like accepted ones: clicks are placed where the features are similar."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_sam.automask.objects import ObjectMask, encode_region
from napari_sam.geometry import region_of
from napari_sam.masks import stability_score
from napari_sam.prompts import Prompts, deepest_point
from napari_sam.segmentation.protocol import (
    Embedding,
    MaskPrediction,
    Progress,
    Segmenter,
    part_of,
)

# Examples used per plane: more add little.
_MOST_EXAMPLES = 32
# Prompts that are decoded in one pass.
_BATCH = 32
# A mask whose size is off by this, as the logarithm of a factor, has its score weighted by 0.6.
_SIZES = 0.7


@dataclass(frozen=True, slots=True)
class SimilarSettings:
    """Thresholds of :func:`find_similar`.

    Parameters
    ----------
    likeness
        Least similarity to the examples of a place that is clicked and of a mask that is kept: 0
        is the average of the plane, 1 the median of the examples.
    score_drop
        How far the predicted IoU of a mask may lie below the median of the examples' own.
    least_score
        Masks of a lower predicted IoU are dropped, whatever that of the examples.
    size_factor
        Masks more than this many times larger than the largest example, or smaller than the
        smallest, are dropped.
    overlap
        Largest share of a mask that may lie in existing objects and in better masks.
    spacing
        Distance between clicks, as a share of the diameter of a small example.
    most_clicks
        Number of places that are clicked at most, the most similar ones.

    Raises
    ------
    ValueError
        If a number is out of range.
    """

    likeness: float = 0.4
    score_drop: float = 0.2
    least_score: float = 0.4
    size_factor: float = 5.0
    overlap: float = 0.3
    spacing: float = 0.7
    most_clicks: int = 1000

    def __post_init__(self) -> None:
        for name, low, high in (
            ("likeness", -1.0, 1.0),
            ("score_drop", 0.0, 1.0),
            ("least_score", 0.0, 1.0),
            ("size_factor", 1.0, np.inf),
            ("overlap", 0.0, 1.0),
            ("spacing", 0.05, np.inf),
            ("most_clicks", 1, np.inf),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"expected {name} between {low:g} and {high:g}, got {value}")


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Features, sizes and scores of example objects of one kind.

    Parameters
    ----------
    accepted, rejected
        `(N, C)` mean features of objects of the wanted kind, and of objects that are not.
    planes
        `(P, C)` mean features of the planes that they lie in.
    areas
        `(N,)` areas of the accepted objects, in pixels.
    scores
        `(N,)` IoU that the model predicts for each accepted object from a single click.
    """

    accepted: NDArray[np.float32]
    rejected: NDArray[np.float32]
    planes: NDArray[np.float32]
    areas: NDArray[np.float64]
    scores: NDArray[np.float32]

    @property
    def diameter(self) -> float:
        """Diameter, in pixels, of a disk as large as a small one of the accepted objects."""
        return float(2 * np.sqrt(np.quantile(self.areas, 0.25) / np.pi))


def examples_of(
    segmenter: Segmenter,
    embedding: Embedding,
    accepted: Sequence[NDArray[np.bool_]],
    rejected: Sequence[NDArray[np.bool_]] = (),
) -> Examples:
    """Measure the features, sizes and scores of example objects on a plane.

    Parameters
    ----------
    segmenter, embedding
        The model, and its embedding of the plane.
    accepted, rejected
        `(H, W)` masks of objects of the wanted kind, and of objects that are not. Of many masks,
        an evenly spaced selection is used.

    Returns
    -------
    examples
        For :func:`find_similar`, on this plane or on others.
    """
    accepted = _some([mask for mask in accepted if mask.any()])
    rejected = _some([mask for mask in rejected if mask.any()])
    whole = np.ones(embedding.frame.plane_shape, bool)
    clicks = [Prompts([deepest_point(mask)], [1]) for mask in accepted]
    answers = segmenter.decode_many(embedding, clicks)
    return Examples(
        segmenter.mean_features(embedding, accepted),
        segmenter.mean_features(embedding, rejected),
        segmenter.mean_features(embedding, [whole]),
        np.array([np.count_nonzero(mask) for mask in accepted], np.float64),
        np.array([one.scores.max() for one in answers], np.float32),
    )


def join_examples(parts: Sequence[Examples]) -> Examples:
    """Join the examples of several planes.

    Parameters
    ----------
    parts
        From :func:`examples_of`, by the same model.

    Returns
    -------
    examples
        All of them, as if they came from one plane.
    """
    return Examples(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("accepted", "rejected", "planes", "areas", "scores")
        )
    )


@dataclass(frozen=True, slots=True, eq=False)
class Likeness:
    """How similar each place of a plane is to some examples.

    Parameters
    ----------
    values
        `(h, w)` on an even grid over the plane: 0 is the plane's average, 1 the median example.
    plane_shape
        (H, W).
    """

    values: NDArray[np.float32]
    plane_shape: tuple[int, int]

    @classmethod
    def to(cls, segmenter: Segmenter, embedding: Embedding, examples: Examples) -> Likeness:
        """Compare a plane with examples."""
        shape = embedding.frame.plane_shape
        here = segmenter.mean_features(embedding, [np.ones(shape, bool)])
        others = here[0]
        if len(examples.rejected):
            others = (others + examples.rejected.mean(0)) / 2
        contrast = examples.accepted.mean(0) - others
        low = float(others @ contrast)
        high = float(np.median(examples.accepted @ contrast))
        (values,) = segmenter.similarity(embedding, contrast[None])
        return cls((values - low) / max(high - low, 1e-6), shape)

    def at(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the values of the cells that pixels lie in."""
        (h, w), (height, width) = self.values.shape, self.plane_shape
        return self.values[rows * h // height, columns * w // width]


def find_similar(
    segmenter: Segmenter,
    embedding: Embedding,
    examples: Examples,
    taken: NDArray[np.bool_] | None = None,
    settings: SimilarSettings = SimilarSettings(),
    progress: Progress | None = None,
) -> list[ObjectMask]:
    """Find objects of a plane that are similar to examples.

    Parameters
    ----------
    segmenter, embedding
        The model, and its embedding of the plane.
    examples
        From :func:`examples_of`, of this plane or of others like it.
    taken
        `(H, W)` bool: pixels that belong to an object already.
    settings
        Thresholds that decide what is clicked and kept.
    progress
        Called with the finished fraction; it may raise :class:`~napari_sam.Cancelled`.

    Returns
    -------
    objects
        The best first. They overlap `taken` and each other by a small share at most.

    Raises
    ------
    ValueError
        If `examples` has no accepted object.
    """
    if not len(examples.accepted):
        raise ValueError("expected at least one accepted object to look for more of, got none")
    segmenter.prepare(embedding, progress=part_of(progress, 0.0, 0.4))
    likeness = Likeness.to(segmenter, embedding, examples)
    covered = np.zeros(embedding.frame.plane_shape, bool) if taken is None else taken
    proposed = _proposed(segmenter, embedding, likeness, covered, settings)

    def candidates(prompts: Sequence[Prompts], report: Progress | None) -> list[Candidate]:
        found: list[Candidate] = []
        for start in range(0, len(prompts), _BATCH):
            batch = prompts[start : start + _BATCH]
            # all masks of a click, and none of the coarser passes of an unsure one:
            # places that show no object are the most unsure
            single = batch[0].box is None
            for answer in segmenter.decode_many(embedding, batch, single):
                found += _candidate(answer, examples, likeness)
            if report is not None:
                report((start + len(batch)) / len(prompts))
        return found

    found = candidates(proposed, part_of(progress, 0.4, 0.6))
    shown = covered.copy()
    _kept(found, shown, examples, settings)
    # only objects without a box are clicked: a box describes an object better than a click
    clicks = _clicks(likeness, shown, examples.diameter, settings)
    found += candidates(clicks, part_of(progress, 0.6, 1.0))
    if progress is not None:
        progress(1.0)
    return [one.found for one in _kept(found, covered.copy(), examples, settings)]


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A mask with its score.

    Parameters
    ----------
    found
        The mask; its score is the predicted IoU.
    likeness
        Mean of the plane's likeness in it.
    size
        How far its size is from the examples', as the logarithm of a factor.
    """

    found: ObjectMask
    likeness: float
    size: float

    @property
    def worth(self) -> float:
        """By which of masks that overlap one is chosen."""
        return self.found.score * float(np.exp(-((self.size / _SIZES) ** 2) / 2))


def _proposed(
    segmenter: Segmenter,
    embedding: Embedding,
    likeness: Likeness,
    taken: NDArray[np.bool_],
    settings: SimilarSettings,
) -> list[Prompts]:
    """Return the boxes of a model's dense head whose middles are like the examples."""
    proposals = segmenter.propose(embedding)
    if proposals is None or not len(proposals.boxes):
        return []
    rows, columns = np.rint(proposals.centres).astype(np.int64).T
    wanted = (likeness.at(rows, columns) >= settings.likeness) & ~taken[rows, columns]
    return [Prompts(box=box) for box in proposals.boxes[wanted].tolist()]


def _clicks(
    likeness: Likeness, taken: NDArray[np.bool_], diameter: float, settings: SimilarSettings
) -> list[Prompts]:
    """Click the places that are like the examples, at some distance from each other."""
    values = likeness.values
    cell = np.divide(taken.shape, values.shape)
    smooth = ndimage.gaussian_filter(values, settings.spacing / 2 * diameter / cell)
    rows, columns = np.unravel_index(np.argsort(-smooth, axis=None), values.shape)
    middles = np.stack([(rows + 0.5) * cell[0] - 0.5, (columns + 0.5) * cell[1] - 0.5], -1)
    inside = np.rint(middles).astype(np.int64).clip(0, np.subtract(taken.shape, 1))
    wanted = smooth[rows, columns] >= settings.likeness
    wanted &= ~taken[inside[:, 0], inside[:, 1]]
    reach = max(1.0, settings.spacing * diameter)
    near = np.zeros(taken.shape, bool)
    chosen: list[Prompts] = []
    for (r, c), (row, column) in zip(inside[wanted], middles[wanted].tolist(), strict=True):
        if near[r, c]:
            continue
        chosen.append(Prompts([(row, column)], [1]))
        if len(chosen) == settings.most_clicks:
            break
        low = np.maximum(np.subtract((r, c), int(reach)), 0)
        part = near[low[0] : r + int(reach) + 1, low[1] : c + int(reach) + 1]
        y, x = np.ogrid[: part.shape[0], : part.shape[1]]
        part |= (y + low[0] - r) ** 2 + (x + low[1] - c) ** 2 < reach**2
    return chosen


def _candidate(
    answer: MaskPrediction, examples: Examples, likeness: Likeness
) -> Iterator[Candidate]:
    """Take of an answer's candidates the one whose size is most like the examples', if any."""
    best: Candidate | None = None
    frame = answer.frame
    for index, score in enumerate(answer.scores.tolist()):
        origin, logits = answer.part_logits(index, -1.0)
        mask = logits > 0
        region = region_of(mask)
        if region is None:
            continue
        low = origin[0] + region[0].start, origin[1] + region[1].start
        rows, columns = np.nonzero(mask[region])
        like = float(likeness.at(rows + low[0], columns + low[1]).mean())
        size = float(np.abs(np.log(len(rows) / examples.areas)).min())
        box, rle = encode_region(mask[region], low, frame.plane_shape)
        point = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        seen = (*frame.origin, *np.add(frame.origin, frame.shape).tolist())
        stability = float(stability_score(logits))
        one = Candidate(ObjectMask(box, rle, score, stability, point, seen), like, size)
        if best is None or one.worth > best.worth:
            best = one
    if best is not None:
        yield best


def _kept(
    found: Iterable[Candidate],
    covered: NDArray[np.bool_],
    examples: Examples,
    settings: SimilarSettings,
) -> list[Candidate]:
    """Keep what is like the examples, the best of what overlaps."""
    least = max(settings.least_score, float(np.median(examples.scores)) - settings.score_drop)
    most = np.log(settings.size_factor)
    kept = []
    for one in sorted(found, key=lambda one: -one.worth):
        if one.found.score < least or one.likeness < settings.likeness or one.size > most:
            continue
        crop, here = one.found.crop(), covered[one.found.region]
        if np.count_nonzero(crop & here) <= settings.overlap * one.found.area:
            here |= crop
            kept.append(one)
    return kept


def _some(masks: list[NDArray[np.bool_]]) -> list[NDArray[np.bool_]]:
    places = np.linspace(0, len(masks) - 1, min(len(masks), _MOST_EXAMPLES)).round().astype(int)
    return [masks[i] for i in places]
