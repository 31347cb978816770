"""The click protocol by which quality is measured: simulated users on held-out planes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_sam.masks import iou
from napari_sam.model.sam import Sam, build
from napari_sam.prompts import Prompts, corrective_click, deepest_point, tight_box
from napari_sam.segmentation.network import SamSegmenter
from napari_sam.segmentation.protocol import Embedding, MaskPrediction, Segmenter
from napari_sam.training.data import Plane

MIN_OBJECT_PIXELS = 40
MAX_OBJECTS = 16
BOX_JITTER = 0.05

# How the sources are grouped in tables: name -> test of (source, modality).
GROUPS: dict[str, Callable[[str, str], bool]] = {
    "fluorescence nuclei": lambda s, m: s == "dsb2018" and m.startswith("fluorescence"),
    "histology and grey cytology": lambda s, m: s == "dsb2018" and not m.startswith("fluor"),
    "phase-contrast cells": lambda s, m: m == "phase_contrast_cells",
    "FIB-SEM neuropil": lambda s, m: s == "fib25_sample2",
    "never trained on": lambda s, m: (
        s not in ("dsb2018", "fib25_sample2", "usiigaci") or m == "phase_contrast_cells_timelapse"
    ),
}


@dataclass(frozen=True, slots=True, eq=False)
class PlaneScores:
    """Scores of the objects of one plane.

    Parameters
    ----------
    plane
        The plane.
    clicks
        `(N, K)` IoU of each object after 1 … K clicks.
    box, jittered_box
        `(N,)` IoU from a tight box alone, and from one whose sides are off by 5 %.
    predicted
        `(N, K)` IoU that the model predicted.
    """

    plane: Plane
    clicks: NDArray[np.float64]
    box: NDArray[np.float64]
    jittered_box: NDArray[np.float64]
    predicted: NDArray[np.float64]


def select_objects(labels: NDArray[np.integer], most: int = MAX_OBJECTS) -> list[NDArray[np.bool_]]:
    """Choose the objects of a plane that are scored, lowest ids first.

    They have at least 40 pixels, and at no side of the plane does the object lie along the
    border over more than half of its bounding box's side. At most so many are taken.
    """
    chosen = []
    for label in np.unique(labels[labels > 0]):
        mask = labels == label
        if np.count_nonzero(mask) < MIN_OBJECT_PIXELS:
            continue
        r0, c0, r1, c1 = tight_box(mask)
        height, width = r1 - r0 + 1, c1 - c0 + 1
        along_rows = max(np.count_nonzero(mask[:, 0]), np.count_nonzero(mask[:, -1]))
        along_columns = max(np.count_nonzero(mask[0]), np.count_nonzero(mask[-1]))
        if along_rows > height / 2 or along_columns > width / 2:
            continue
        chosen.append(mask)
        if len(chosen) == most:
            break
    return chosen


def evaluate_plane(
    segmenter: Segmenter, plane: Plane, clicks: int = 10, boxes: bool = True
) -> PlaneScores | None:
    """Click the objects of a plane according to the protocol.

    Parameters
    ----------
    segmenter
        What is measured; the plane goes to it as a user's would.
    plane
        A labelled plane.
    clicks
        Number of clicks on each object.
    boxes
        Whether boxes are measured too; without them both box scores are NaN.

    Returns
    -------
    scores
        ``None`` where the plane has no object to score.
    """
    targets = select_objects(plane.labels)
    if not targets:
        return None
    embedding = segmenter.embed(plane.image)
    results, predicted = click_scores(segmenter, embedding, targets, clicks)
    box = jittered = np.full(len(targets), np.nan)
    if boxes:
        rng = np.random.default_rng(len(targets))
        tight = [tight_box(t) for t in targets]
        box = box_scores(segmenter, embedding, tight, targets)
        sides = [(b[2] - b[0] + 1, b[3] - b[1] + 1) * 2 for b in tight]
        noise = rng.uniform(-BOX_JITTER, BOX_JITTER, (len(tight), 4)) * sides
        jittered = box_scores(segmenter, embedding, np.add(tight, noise).tolist(), targets)
    return PlaneScores(plane, results, box, jittered, predicted)


def click_scores(
    segmenter: Segmenter,
    embedding: Embedding,
    targets: Sequence[NDArray[np.bool_]],
    clicks: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Click objects of a plane, and correct each in the larger of its errors.

    Returns
    -------
    iou, predicted
        `(N, K)` after 1 … K clicks: of the masks, and what the model predicted.
    """
    results, predicted = (np.zeros((len(targets), clicks)) for _ in range(2))
    prompts = [Prompts([deepest_point(t)], [1]) for t in targets]
    for k in range(clicks):
        predictions = segmenter.decode_many(embedding, prompts)
        masks = [p.best() for p in predictions]
        results[:, k] = [iou(m, t) for m, t in zip(masks, targets, strict=True)]
        predicted[:, k] = [p.scores.max() for p in predictions]
        prompts = [
            _corrected(*one) for one in zip(prompts, predictions, masks, targets, strict=True)
        ]
    return results, predicted


def box_scores(
    segmenter: Segmenter,
    embedding: Embedding,
    boxes: Sequence[Sequence[float]],
    targets: Sequence[NDArray[np.bool_]],
) -> NDArray[np.float64]:
    """Return `(N,)` IoU of objects of a plane, each prompted by a box alone."""
    prompts = [Prompts(box=b) for b in boxes]
    predictions = segmenter.decode_many(embedding, prompts)
    return np.array([iou(p.best(), t) for p, t in zip(predictions, targets, strict=True)])


def thin_out(planes: Iterable[Plane], per_item: int) -> list[Plane]:
    """Keep at most so many evenly spaced planes of each image or volume."""
    items: dict[str, list[Plane]] = defaultdict(list)
    for plane in planes:
        items[plane.name.partition("/")[0]].append(plane)
    kept = []
    for group in items.values():
        picked = np.unique(np.linspace(0, len(group) - 1, min(per_item, len(group))).round())
        kept += [group[int(i)] for i in picked]
    return kept


def summarise(scores: Sequence[PlaneScores]) -> dict[str, float]:
    """Summarise scores of the objects of one group of planes."""
    clicks = np.concatenate([s.clicks for s in scores])
    predicted = np.concatenate([s.predicted for s in scores])
    reached = clicks >= 0.85
    needed = np.where(reached.any(1), reached.argmax(1) + 1, clicks.shape[1])
    summary = {"objects": float(len(clicks))}
    for k in (1, 3, 5, 7):
        if k <= clicks.shape[1]:
            summary[f"iou_{k}"] = float(clicks[:, k - 1].mean())
            summary[f"share_{k}"] = float((clicks[:, k - 1] >= 0.8).mean())
    summary["clicks_to_85"] = float(needed.mean())
    summary["box"] = float(np.concatenate([s.box for s in scores]).mean())
    summary["jittered_box"] = float(np.concatenate([s.jittered_box for s in scores]).mean())
    summary["calibration"] = float(np.abs(clicks - predicted).mean())
    return summary


def group_scores(scores: Iterable[PlaneScores]) -> dict[str, dict[str, float]]:
    """Summarise each group of `GROUPS`; a group of several sources is the mean over them."""
    result = {}
    scores = list(scores)
    for name, belongs in GROUPS.items():
        members = [s for s in scores if belongs(s.plane.source, s.plane.modality)]
        by_source: dict[str, list[PlaneScores]] = defaultdict(list)
        for s in members:
            by_source[s.plane.source].append(s)
        if by_source:
            parts = [summarise(group) for group in by_source.values()]
            result[name] = {key: float(np.mean([p[key] for p in parts])) for key in parts[0]}
            result[name]["objects"] = sum(p["objects"] for p in parts)
    return result


def validation_planes(planes: Iterable[Plane], count: int) -> list[Plane]:
    """Choose `count` planes (0: all of them), the same number from every group."""
    planes = list(planes)
    if count <= 0:
        return planes
    chosen = []
    share = -(-count // len(GROUPS))
    for belongs in GROUPS.values():
        group = [p for p in planes if belongs(p.source, p.modality)]
        picked = np.unique(np.linspace(0, len(group) - 1, min(share, len(group))).round())
        chosen += [group[int(i)] for i in picked]
    return chosen


def validate(model: Sam, planes: Sequence[Plane], clicks: int = 3) -> float:
    """Score a network in training: IoU after one and after several clicks, mean over groups.

    Parameters
    ----------
    model
        The network; a copy of it is measured.
    planes
        Held-out planes.
    clicks
        Number of clicks on each object.
    """
    copy = build(model.config)
    copy.load_state_dict(model.state_dict())
    segmenter = SamSegmenter(copy, "cpu", "float32")
    scores = [evaluate_plane(segmenter, p, clicks, boxes=False) for p in planes]
    groups = group_scores(s for s in scores if s is not None)
    return float(np.mean([(g["iou_1"] + g[f"iou_{clicks}"]) / 2 for g in groups.values()]))


def _corrected(
    prompts: Prompts,
    prediction: MaskPrediction,
    mask: NDArray[np.bool_],
    target: NDArray[np.bool_],
) -> Prompts:
    click = corrective_click(target, mask)
    if click is not None:
        prompts = prompts.with_point(*click)
    return prompts.with_logits(prediction.logits[prediction.best_index], prediction.frame)
