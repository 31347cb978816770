"""Measure what is found by looking for more objects like five that are accepted.

    python benchmarks/similar.py --data DATA --model nano --json similar.json

Five objects of a held-out plane are accepted as they are labelled, evenly chosen of those of the
click protocol (labels of some sources are sorted by size); planes with fewer than eight objects are
left out. What is found is compared
with all other labels: right at an IoU of 0.5. Labels of fewer than 25 pixels count on neither side,
nor does what lies mostly in one. Precision and recall are over all objects of a group.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from napari_sam import load_segmenter
from napari_sam.automask import ObjectMask, SimilarSettings, examples_of, find_similar
from napari_sam.segmentation.protocol import Segmenter
from napari_sam.training.data import Plane, read_planes
from napari_sam.training.protocol import GROUPS, select_objects, thin_out

COLUMNS = ("planes", "objects", "found", "precision", "recall", "F1", "seconds a plane")
_ACCEPTED = 5
_FEWEST = 8
_LEAST_PIXELS = 25
_RIGHT = 0.5


@dataclass(frozen=True, slots=True)
class Score:
    """Of one plane: objects that are right, found and there, and seconds of work."""

    right: int
    found: int
    there: int
    seconds: float


def compare(
    found: list[ObjectMask], labels: NDArray[np.int64], accepted: NDArray[np.bool_]
) -> tuple[int, int, int]:
    """Count objects that are right, those that were found, and those that are there."""
    areas = np.bincount(labels.ravel())
    own = np.unique(labels[accepted])
    wanted = areas >= _LEAST_PIXELS
    wanted[0] = False
    wanted[own] = False
    right: set[int] = set()
    counted = 0
    for one in found:
        inside = labels[one.region][one.crop()]
        shares = np.bincount(inside, minlength=len(areas))
        overlaps = shares / np.maximum(one.area + areas - shares, 1)
        overlaps[~wanted] = 0
        best = int(overlaps.argmax())
        if overlaps[best] >= _RIGHT and best not in right:
            right.add(best)
            counted += 1
            continue
        main = int(shares.argmax())
        counted += not (main > 0 and not wanted[main])
    return len(right), counted, int(np.count_nonzero(wanted))


def measure(segmenter: Segmenter, plane: Plane, settings: SimilarSettings) -> Score | None:
    """Look for more of the first objects of a plane; None where there are too few."""
    targets = select_objects(plane.labels)
    labels = plane.labels.astype(np.int64)
    if len(targets) < _FEWEST:
        return None
    places = np.linspace(0, len(targets) - 1, _ACCEPTED).round().astype(int)
    accepted = [targets[place] for place in places]
    taken = np.any(accepted, axis=0)
    embedding = segmenter.embed(plane.image)
    segmenter.prepare(embedding)
    began = time.process_time()
    examples = examples_of(segmenter, embedding, accepted)
    found = find_similar(segmenter, embedding, examples, taken, settings)
    seconds = time.process_time() - began
    return Score(*compare(found, labels, taken), seconds)


def summarise(scores: list[Score]) -> dict[str, float]:
    """Add up the planes of a group."""
    right = sum(one.right for one in scores)
    found = sum(one.found for one in scores)
    there = sum(one.there for one in scores)
    return {
        "planes": len(scores),
        "objects": there,
        "found": found,
        "precision": right / max(found, 1),
        "recall": right / max(there, 1),
        "F1": 2 * right / max(found + there, 1),
        "seconds a plane": float(np.mean([one.seconds for one in scores])),
    }


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", required=True, help="folder of the packed data set")
    parser.add_argument("--model", default="nano", help="registry name or checkpoint")
    parser.add_argument("--slices", type=int, default=2, help="planes per volume")
    parser.add_argument("--planes", type=int, default=3, help="planes per group; 0 for all")
    parser.add_argument("--likeness", type=float, default=SimilarSettings().likeness)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", help="write the figures as JSON")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    began = time.perf_counter()
    segmenter = load_segmenter(options.model, device="cpu", precision="float32", cache=False)
    settings = SimilarSettings(likeness=options.likeness)
    scores: dict[str, list[Score]] = defaultdict(list)
    planes = some_of_each(read_planes(options.data, "val"), options.slices, options.planes)
    for plane in track(planes, "planes", console=Console(stderr=True)):
        group = next(name for name, of in GROUPS.items() if of(plane.source, plane.modality))
        if (score := measure(segmenter, plane, settings)) is not None:
            scores[group].append(score)
    rows = {group: summarise(ones) for group, ones in scores.items()}
    table = Table(title=f"more like {_ACCEPTED} accepted objects")
    for column in ("", *COLUMNS):
        table.add_column(column, justify="right")
    for name, row in rows.items():
        counts = (f"{row[c]:.0f}" for c in COLUMNS[:3])
        table.add_row(name, *counts, *(f"{row[c]:.2f}" for c in COLUMNS[3:]))
    Console(width=120).print(table)
    print(f"torch {torch.__version__}, {options.threads} threads, "
          f"{time.perf_counter() - began:.0f} s")  # fmt: skip
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"model": options.model, "groups": rows}, file, indent=1)


def some_of_each(planes: list[Plane], slices: int, count: int) -> list[Plane]:
    """Choose `count` planes with enough objects of each group, evenly; 0 is all of them."""
    chosen: list[Plane] = []
    for belongs in GROUPS.values():
        group = [plane for plane in planes if belongs(plane.source, plane.modality)]
        group = [one for one in thin_out(group, slices) if _has_enough(one)]
        places = np.linspace(0, len(group) - 1, min(count or len(group), len(group)))
        chosen += [group[int(place)] for place in np.unique(places.round())]
    return chosen


def _has_enough(plane: Plane) -> bool:
    return len(select_objects(plane.labels)) >= _FEWEST


if __name__ == "__main__":
    main()
