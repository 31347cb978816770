"""Measure how well one prompt becomes a 3-D object, against plain projection of the box.

    python benchmarks/propagation.py --data DATA --objects 8 --json propagation.json

The largest objects on at least five planes, those over 30 % of the stack left out, are prompted on
the middle one of their planes: by one click on the deepest point, and by the label's tight box.
Plain projection decodes, with the same model and embeddings, the box of the last mask on the next
plane, and ends where the masks of two planes have an IoU below 0.5. Reported are 3-D IoU, mSA
(the mean over thresholds 0.5 to 0.95 of the share of objects above each), the share of objects
whose planes found are within 20 % of those there, and Spearman's correlation of the quality with
the true IoU over all carried planes.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr

from napari_sam import Embedding, Prompts, Segmenter, load_segmenter
from napari_sam.masks import iou
from napari_sam.prompts import deepest_point, tight_box
from napari_sam.propagate import Anchor, StackPlanes, follow

Bool = NDArray[np.bool_]
Masks = dict[int, Bool]
Run = Callable[[StackPlanes, int, Prompts], tuple[Masks, dict[int, float]]]

# Packed array, and which planes of it are held out.
VOLUMES = {
    "embryo nuclei": ("qcanet3d.npz", "qcanet_8_cell_stage", slice(None)),
    "ovule nuclei": ("plantseg3d.npz", "ps_1135_mini", slice(None)),
    "ovule walls": ("plantseg3d.npz", "ps_sample_ovule", slice(None)),
    "synthetic nuclei": ("stardist_synth3d.npz", "sd_synth3d", slice(None)),
    "FIB-SEM": ("em_fib25.npz", "fib25_z140-249", slice(-20, None)),
}
_FEWEST_PLANES = 5
_LARGEST_SHARE = 0.3


class KeptPlanes(StackPlanes):
    """Planes that are encoded once for all objects and recipes."""

    def __init__(self, segmenter: Segmenter, stack: NDArray[np.generic]) -> None:
        super().__init__(segmenter, stack)
        self._all: dict[int, Embedding] = {}

    def embedding(self, z: int) -> Embedding:
        """Return a kept embedding."""
        if z not in self._all:
            self._all[z] = super().embedding(z)
        return self._all[z]


def choose(labels: NDArray[np.int64], most: int) -> list[int]:
    """Return the largest objects that are on enough planes."""
    ids, counts = np.unique(labels[labels > 0], return_counts=True)
    chosen = []
    for i in ids[np.argsort(-counts, kind="stable")].tolist():
        planes = (labels == i).any((1, 2)).sum()
        share = np.count_nonzero(labels == i) / labels.size
        if planes >= _FEWEST_PLANES and share <= _LARGEST_SHARE:
            chosen.append(i)
    return chosen[:most]


def march(planes: StackPlanes, z: int, prompts: Prompts) -> tuple[Masks, dict[int, float]]:
    """Follow one object with the product's recipe."""
    anchors: dict[int, dict[int, Anchor]] = {1: {z: prompts}}
    whole = slice(0, planes.shape[0]), slice(0, planes.shape[1])
    masks, quality = {}, {}
    for plane in follow(planes, anchors):
        if (one := plane.objects.get(1)) is not None:
            masks[plane.index] = one.patch.within(whole)
            quality[plane.index] = one.quality
    return masks, quality


def project(planes: StackPlanes, z: int, prompts: Prompts) -> tuple[Masks, dict[int, float]]:
    """Follow one object by the box of the last mask alone."""
    masks = {z: planes.segmenter.decode(planes.embedding(z), prompts).best()}
    for indexes in (range(z + 1, planes.count), range(z - 1, -1, -1)):
        last = masks[z]
        for at in indexes:
            if not last.any():
                break
            found = planes.segmenter.decode(planes.embedding(at), Prompts(box=tight_box(last)))
            mask = found.best()
            if iou(mask, last) < 0.5:
                break
            masks[at] = last = mask
    return masks, dict.fromkeys(masks, 0.0)


def measure(
    planes: StackPlanes, labels: NDArray[np.int64], ids: list[int], by: str, run: Run
) -> dict[str, float]:
    """Follow each object from the middle of its planes, and compare with its labels."""
    scores, ends, qualities, true = [], [], [], []
    began, steps = time.perf_counter(), 0
    for i in ids:
        truth = labels == i
        there = np.flatnonzero(truth.any((1, 2)))
        z = int(there[len(there) // 2])
        if by == "box":
            prompts = Prompts(box=tight_box(truth[z]))
        else:
            prompts = Prompts([deepest_point(truth[z])], [1])
        masks, quality = run(planes, z, prompts)
        found = np.zeros_like(truth)
        for at, mask in masks.items():
            found[at] = mask
            if at != z:
                qualities.append(quality[at])
                true.append(iou(mask, truth[at]))
        steps += len(masks)
        scores.append(iou(found, truth))
        ends.append(abs(int(found.any((1, 2)).sum()) - len(there)) <= 0.2 * len(there))
    varied = len(set(qualities)) > 1
    return {
        "iou": float(np.mean(scores)),
        "msa": float(np.mean([np.mean(np.array(scores) >= t) for t in np.arange(0.5, 1, 0.05)])),
        "ends": float(np.mean(ends)),
        "rank": float(spearmanr(qualities, true).statistic) if varied else float("nan"),
        "ms": 1000 * (time.perf_counter() - began) / max(steps, 1),
    }


RECIPES: dict[str, Run] = {"projection": project, "follow": march}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--objects", type=int, default=8, help="at most, of each volume")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    segmenter = load_segmenter(options.model, cache=False)
    rows: dict[str, dict[str, float]] = {}
    for name, (file, item, part) in VOLUMES.items():
        packed = np.load(options.data / file)
        stack = packed[f"{item}.image"][part]
        labels = packed[f"{item}.label"][part].astype(np.int64)
        planes = KeptPlanes(segmenter, stack)
        for z in range(planes.count):
            planes.embedding(z)
        ids = choose(labels, options.objects)
        for by in ("click", "box"):
            for recipe, run in RECIPES.items():
                rows[f"{name} / {by} / {recipe}"] = measure(planes, labels, ids, by, run)
                print(name, by, recipe, rows[f"{name} / {by} / {recipe}"], flush=True)
    for by in ("click", "box"):
        for recipe in RECIPES:
            of = [r for key, r in rows.items() if key.endswith(f"/ {by} / {recipe}")]
            rows[f"mean / {by} / {recipe}"] = {k: float(np.mean([r[k] for r in of])) for k in of[0]}
    table = Table("", "3-D IoU", "mSA", "planes ±20 %", "rank of quality", "ms a plane")
    for key, row in rows.items():
        table.add_row(key, *(f"{row[k]:.3f}" for k in ("iou", "msa", "ends", "rank", "ms")))
    Console().print(table)
    if options.json is not None:
        kept = {  # projection has no quality, and JSON no NaN
            key: {k: v for k, v in row.items() if np.isfinite(v)} for key, row in rows.items()
        }
        options.json.write_text(json.dumps(kept, indent=1))


if __name__ == "__main__":
    main()
