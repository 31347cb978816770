"""Fit the numbers by which objects are followed to their ends, for any model.

    python benchmarks/fit_judge.py --model nano --write

Objects of procedural stacks are followed far beyond their ends, from a click or a box on the middle
plane. Two logistic regressions are fitted, in which each stack has the weight of the root of its
number of planes: that an object ends on a plane (its mask has an IoU below 0.3 with the truth from
there on) given that it was there before, from the signs in `napari_sam.propagate.judge.SIGNS`; and
the true IoU of its masks, from presence times lowest predicted IoU. Objects that were missed at the
start (IoU below 0.5) teach only the second.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass, replace
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from napari_sam import Prompts, load_segmenter
from napari_sam.patches import cut
from napari_sam.prompts import deepest_point, tight_box
from napari_sam.propagate import Anchor, Causes, Judge, StackPlanes, follow
from napari_sam.propagate.judge import SIGNS, signs_of
from napari_sam.propagate.march import overlap
from napari_sam.segmentation.protocol import Segmenter
from napari_sam.training.synthetic.volumes import VOLUME_KINDS, generate_volume

Array = NDArray[np.float64]

_THERE = 0.3
_MET = 0.5
_BEYOND = 8  # planes behind the true end


@dataclass
class March:
    """An object followed in one direction."""

    start_iou: float
    seen: list[Causes]  # from the start outward
    ious: list[float]  # of all but the start


def marches(
    segmenter: Segmenter, stack: NDArray[np.generic], labels: NDArray[np.int64], by: str, most: int
) -> list[March]:
    """Follow the largest objects of a stack far beyond their ends."""
    ids, counts = np.unique(labels[labels > 0], return_counts=True)
    extents = {i: np.flatnonzero((labels == i).any((1, 2))) for i in ids[np.argsort(-counts)]}
    most_area = 0.3 * labels.size
    extents = {
        int(i): one
        for i, one in extents.items()
        if len(one) >= 5 and np.count_nonzero(labels == i) <= most_area
    }
    anchors: dict[int, dict[int, Anchor]] = {}
    for i, there in list(extents.items())[:most]:
        z = int(there[len(there) // 2])
        truth = labels[z] == i
        if by == "box":
            anchors[i] = {z: Prompts(box=tight_box(truth))}
        else:
            anchors[i] = {z: Prompts([deepest_point(truth)], [1])}
    endless = replace(Judge(), least_presence=0.0)
    planes = StackPlanes(segmenter, stack)
    found: dict[int, dict[int, tuple[Causes, float]]] = {i: {} for i in anchors}
    for plane in follow(planes, anchors, judge=endless, may_overlap=True):
        for i, one in plane.objects.items():
            truth = cut(labels[plane.index] == i)
            found[i][plane.index] = one.causes, overlap(one.patch, truth)
    out = []
    for i, of_object in anchors.items():
        (z,) = of_object
        first, last = int(extents[i][0]), int(extents[i][-1])
        for indexes in (range(z + 1, last + _BEYOND), range(z - 1, first - _BEYOND, -1)):
            steps = []
            for at in indexes:
                if at not in found[i]:
                    break
                steps.append(found[i][at])
            start, start_iou = found[i][z]
            out.append(March(start_iou, [start, *(c for c, _ in steps)], [u for _, u in steps]))
    return out


def logistic_fit(signs: Array, target: Array, weight: Array) -> tuple[Array, float]:
    """Return the weights and the bias of a logistic regression, a little shrunk."""
    mean = np.average(signs, axis=0, weights=weight)
    spread = np.sqrt(np.average((signs - mean) ** 2, axis=0, weights=weight)) + 1e-6
    z = np.column_stack([(signs - mean) / spread, np.ones(len(signs))])
    weight = weight / weight.sum()
    shrink = np.append(np.full(signs.shape[1], 2e-3), 0)

    def loss(b: Array) -> tuple[float, Array]:
        logit = z @ b
        value = (weight * (np.logaddexp(0, logit) - target * logit)).sum()
        slope = z.T @ (weight * (1 / (1 + np.exp(-logit)) - target))
        return value + (shrink * b**2).sum() / 2, slope + shrink * b

    b = minimize(loss, np.zeros(z.shape[1]), jac=True).x
    weights = b[:-1] / spread
    return weights, float(b[-1] - weights @ mean)


def fit_end(groups: list[list[March]], ahead: int) -> tuple[Array, float]:
    """Fit the end of objects."""
    signs, target, weight = [], [], []
    for group in groups:
        rows: list[NDArray[np.float32]] = []
        ended: list[float] = []
        for one in group:
            if one.start_iou < _MET:
                continue
            for at, value in enumerate(one.ious, 1):
                is_end = value < _THERE and max(one.ious[at - 1 :]) < _MET
                rows.append(signs_of(one.seen, at, ahead))
                ended.append(float(is_end))
                if is_end:
                    break
        if rows:
            signs.append(np.array(rows, float))
            target.append(np.array(ended))
            weight.append(np.full(len(rows), len(rows) ** -0.5))
    return logistic_fit(np.concatenate(signs), np.concatenate(target), np.concatenate(weight))


def fit_quality(groups: list[list[March]], judge: Judge) -> tuple[Array, float]:
    """Fit the IoU of what the judge keeps."""
    signs, target, weight = [], [], []
    for group in groups:
        rows, ious = [], []
        for one in group:
            present, lowest = 1.0, one.seen[0].expected_iou
            for at, value in enumerate(one.ious, 1):
                present *= 1 - judge.end(one.seen, at)
                lowest = min(lowest, one.seen[at].expected_iou)
                if present < judge.least_presence:
                    break
                rows.append([present * lowest])
                ious.append(value)
        if rows:
            signs.append(np.array(rows))
            target.append(np.array(ious))
            weight.append(np.full(len(rows), len(rows) ** -0.5))
    return logistic_fit(np.concatenate(signs), np.concatenate(target), np.concatenate(weight))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="nano")
    parser.add_argument("--cache", type=Path, help="where embeddings are kept between runs")
    parser.add_argument("--stacks", type=int, default=3, help="of each family")
    parser.add_argument("--objects", type=int, default=10, help="at most, of each stack")
    parser.add_argument("--em", type=Path, help="a packed array of electron microscopy to add")
    parser.add_argument("--em-item", default="fib25_z140-249")
    parser.add_argument("--write", action="store_true", help="into the package")
    options = parser.parse_args()
    segmenter = load_segmenter(options.model, cache=options.cache or False)
    groups = []
    for seed in range(options.stacks):
        for index, kind in enumerate(VOLUME_KINDS):
            rng = np.random.default_rng((seed, index, 77))
            volume = generate_volume(rng, (24, 128, 128), kind)
            labels = volume.labels.astype(np.int64)
            for by in ("box", "click")[index % 2 if seed else 0 :: 2 if seed else 1]:
                groups.append(marches(segmenter, volume.image, labels, by, options.objects))
                print(seed, kind, by, len(groups[-1]), flush=True)
    if options.em is not None:
        packed = np.load(options.em)
        for first, by in ((0, "box"), (0, "click"), (32, "click"), (62, "box")):
            part = slice(first, first + 24)  # the last planes are held out
            stack = packed[f"{options.em_item}.image"][part]
            labels = packed[f"{options.em_item}.label"][part].astype(np.int64)
            groups.append(marches(segmenter, stack, labels, by, options.objects))
    judge = Judge()
    weights, bias = fit_end(groups, judge.ahead)
    judge = replace(judge, end_weights=tuple(np.round(weights, 3)), end_bias=round(bias, 3))
    (slope,), bias = fit_quality(groups, judge)
    judge = replace(judge, quality_weight=round(float(slope), 3), quality_bias=round(bias, 3))
    entry = {"model": options.model, "encoder_key": segmenter.encoder_key, **asdict(judge)}
    entry["end_weights"] = dict(zip(SIGNS, map(float, judge.end_weights), strict=True))
    print(json.dumps(entry, indent=1))
    if options.write:
        path = Path(str(files("napari_sam").joinpath("propagate", "judges.json")))
        known = json.loads(path.read_text("utf-8"))["judges"]
        others = [one for one in known if one["encoder_key"] != entry["encoder_key"]]
        path.write_text(json.dumps({"judges": [*others, entry]}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
