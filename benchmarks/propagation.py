"""Measure how well one prompt becomes a 3-D object, and how well corrections are asked for.

    python benchmarks/propagation.py --data DATA --json propagation.json

Of each volume the largest objects on at least five planes, those over 30 % of the stack left out,
are prompted on one of their planes, each object for itself: on the middle one by a click on the
deepest point and by the label's tight box, and by a click at a fifth of their extent. Then the
plane that the tool itself ranks worst is corrected by one click on the deepest point of the larger
error, or marked as without the object; twice. The same is done on random planes. Plain
projection decodes, with the same model and embeddings, the box of the last mask on the next plane,
and ends where the masks of two planes have an IoU below 0.5.

Reported are 3-D IoU, mSA (the mean over thresholds 0.5 to 0.95 of the share of objects above each),
the share of objects whose planes found are within 20 % of those there, Spearman's correlation of
the quality with the true IoU over all carried planes, and the share of planes below IoU 0.6 that
are among the worst fifth by quality. *together* follows all objects of a volume at once.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr

from napari_sam import Embedding, Prompts, Segmenter, load_segmenter, replay
from napari_sam.patches import Patch, cut
from napari_sam.prompts import deepest_point, tight_box
from napari_sam.propagate import Anchor, Followed, NotHere, StackPlanes, follow, plane_to_check

Bool = NDArray[np.bool_]
Labels = NDArray[np.int64]
Anchors = dict[int, dict[int, Anchor]]
Found = dict[int, dict[int, Followed]]  # object to plane

# Packed array, and which planes of it are held out.
VOLUMES = {
    "embryo nuclei": ("qcanet3d.npz", "qcanet_8_cell_stage", slice(None)),
    "ovule nuclei": ("plantseg3d.npz", "ps_1135_mini", slice(None)),
    "ovule walls": ("plantseg3d.npz", "ps_sample_ovule", slice(None)),
    "synthetic nuclei": ("stardist_synth3d.npz", "sd_synth3d", slice(None)),
    "FIB-SEM": ("em_fib25.npz", "fib25_z140-249", slice(-20, None)),
}
MOVIES = {
    "nuclei movie": ("nuclei_timelapse.npz", None, slice(None)),
    "phase movie": ("usiigaci_t98g_timeseries.npz", None, slice(None)),
}
COLUMNS = {
    "iou": "3-D IoU",
    "msa": "mSA",
    "ends": "planes ±20 %",
    "rank": "rank of quality",
    "caught": "bad in worst fifth",
    "objects": "objects",
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


def choose(labels: Labels, most: int) -> list[int]:
    """Return the largest objects that are on enough planes."""
    ids, counts = np.unique(labels[labels > 0], return_counts=True)
    chosen = []
    for i in ids[np.argsort(-counts, kind="stable")].tolist():
        planes = (labels == i).any((1, 2)).sum()
        share = np.count_nonzero(labels == i) / labels.size
        if planes >= _FEWEST_PLANES and share <= _LARGEST_SHARE:
            chosen.append(i)
    return chosen[:most]


@dataclass
class Case:
    """A volume with its truth."""

    planes: KeptPlanes
    labels: Labels
    ids: list[int]
    extents: dict[int, NDArray[np.int64]] = field(init=False)

    def __post_init__(self) -> None:
        self.extents = {i: np.flatnonzero((self.labels == i).any((1, 2))) for i in self.ids}

    def start(self, by: str, at: float) -> Anchors:
        """Prompt each object on one plane of its extent."""
        anchors: Anchors = {}
        for i, there in self.extents.items():
            z = int(there[min(int(len(there) * at), len(there) - 1)])
            truth = self.labels[z] == i
            if by == "box":
                anchors[i] = {z: Prompts(box=tight_box(truth))}
            else:
                anchors[i] = {z: Prompts([deepest_point(truth)], [1])}
        return anchors

    def true(self, i: int, z: int) -> Patch:
        """Return where an object is on a plane."""
        return cut(self.labels[z] == i)

    def measure(self, found: Found, anchors: Anchors) -> dict[str, float]:
        """Compare what was found with the truth."""
        ious, ends, quality, true = [], [], [], []
        for i, there in self.extents.items():
            size = int(np.count_nonzero(self.labels == i))
            shared = area = planes = 0
            for z, one in found[i].items():
                both = shared_area(one.patch, self.true(i, z))
                shared, area = shared + both, area + one.patch.area
                planes += one.patch.area > 0
                if z not in anchors[i]:
                    union = one.patch.area + self.true(i, z).area - both
                    quality.append(one.quality)
                    true.append(both / union if union else 1.0)
            ious.append(shared / (area + size - shared))
            ends.append(abs(planes - len(there)) <= 0.2 * len(there))
        return {
            "iou": float(np.mean(ious)),
            "msa": float(np.mean([np.mean(np.array(ious) >= t) for t in np.arange(0.5, 1, 0.05)])),
            "ends": float(np.mean(ends)),
            "objects": len(ious),
            **_ranking(np.array(quality), np.array(true)),
        }


def _ranking(quality: NDArray[np.float64], true: NDArray[np.float64]) -> dict[str, float]:
    if len(set(quality.tolist())) < 2:
        return {}
    kept = {"rank": float(spearmanr(quality, true).statistic)}
    bad = true < 0.6
    if bad.any():
        worst = np.argsort(quality, kind="stable")[: len(quality) // 5]
        kept["caught"] = float(bad[worst].sum() / bad.sum())
    return kept


def shared_area(one: Patch, other: Patch) -> int:
    """Return how many pixels two masks share."""
    return int(np.count_nonzero(one.pixels & other.within(one.region))) if one.pixels.size else 0


def march(case: Case, anchors: Anchors, together: bool = False) -> Found:
    """Follow all objects with the product's recipe."""
    found: Found = {i: {} for i in anchors}
    for plane in follow(case.planes, anchors, may_overlap=not together):
        for i, one in plane.objects.items():
            found[i][plane.index] = one
    return found


def project(case: Case, anchors: Anchors) -> Found:
    """Follow all objects by the box of the last mask alone."""
    planes, found = case.planes, {}
    for i, of_object in anchors.items():
        ((z, prompts),) = of_object.items()
        assert isinstance(prompts, Prompts)
        start = _projected(planes, z, prompts)
        found[i] = {z: start}
        for indexes in (range(z + 1, planes.count), range(z - 1, -1, -1)):
            last = start.patch
            for at in indexes:
                if last.is_empty:
                    break
                one = _projected(planes, at, Prompts(box=last.box))
                both = shared_area(one.patch, last)
                if both < 0.5 * (one.patch.area + last.area - both):
                    break
                found[i][at], last = one, one.patch
    return found


def _projected(planes: KeptPlanes, z: int, prompts: Prompts) -> Followed:
    prediction = planes.segmenter.decode(planes.embedding(z), prompts)
    return Followed(prediction.patch(prediction.best_index), 1.0, 1.0)


Choice = Callable[[Mapping[int, Followed], Collection[int]], int]


def worst(carried: Mapping[int, Followed], anchors: Collection[int]) -> int:
    """Return the plane of the lowest quality."""
    return min(carried, key=lambda z: carried[z].quality)


def best_look(carried: Mapping[int, Followed], anchors: Collection[int]) -> int:
    """Return the plane that the tool asks for."""
    z = plane_to_check(carried, anchors)
    assert z is not None, "something was carried"
    return z


def at_random(rng: np.random.Generator) -> Choice:
    """Return a choice among the carried planes that knows nothing."""
    return lambda carried, anchors: int(rng.choice(sorted(carried)))


def correct(case: Case, anchors: Anchors, found: Found, choice: Choice) -> Anchors:
    """Correct one carried plane of each object by one click."""
    corrected: Anchors = {}
    for i, of_object in anchors.items():
        corrected[i] = dict(of_object)
        carried = {z: one for z, one in found[i].items() if z not in of_object}
        if not carried:
            continue
        z = choice(carried, of_object)
        truth = case.labels[z] == i
        if not truth.any():
            corrected[i][z] = NotHere()
            continue
        rows, columns = (slice(0, n) for n in truth.shape)
        mask = carried[z].patch.within((rows, columns))
        missed, spilled = truth & ~mask, mask & ~truth
        if not missed.any() and not spilled.any():
            corrected[i][z] = carried[z].patch
            continue
        points = [(deepest_point(error), error) for error in (missed, spilled) if error.any()]
        at, error = max(points, key=lambda one: np.count_nonzero(one[1]))
        # As a click of a user on a mask that was carried: it stays, but for the error clicked.
        steps = [Prompts([at], [int(error is missed)])]
        if mask.any():
            steps.insert(0, Prompts(mask=carried[z].patch, is_exact=True))
        answer = replay(case.planes.segmenter, case.planes.embedding(z), steps)[-1]
        corrected[i][z] = answer.patch(answer.best_index)
    return corrected


def run(case: Case, rows: dict[str, dict[str, float]], name: str, corrections: int) -> None:
    """Measure all recipes on a volume."""

    def keep(key: str, found: Found, anchors: Anchors) -> None:
        rows[f"{name} / {key}"] = case.measure(found, anchors)
        print(name, key, rows[f"{name} / {key}"], flush=True)

    for by in ("click", "box"):
        start = case.start(by, 0.5)
        keep(f"{by} / projection", project(case, start), start)
        found = march(case, start)
        keep(f"{by} / follow", found, start)
        keep(f"{by} / together", march(case, start, together=True), start)
        if by == "box":
            continue
        fifth = case.start(by, 0.2)
        keep(f"{by} at 20 % / projection", project(case, fifth), fifth)
        keep(f"{by} at 20 % / follow", march(case, fifth), fifth)
        random = at_random(np.random.default_rng(0))
        for how, choice in (("asked", best_look), ("worst", worst), ("random", random)):
            anchors, now = start, found
            for n in range(1, corrections + 1):
                anchors = correct(case, anchors, now, choice)
                now = march(case, anchors)
                keep(f"{by} + {n} {how} / follow", now, anchors)


def mean_rows(rows: dict[str, dict[str, float]], names: list[str]) -> dict[str, dict[str, float]]:
    """Average each recipe over volumes."""
    keys = dict.fromkeys(key.split(" / ", 1)[1] for key in rows)
    means = {}
    for key in keys:
        of = [rows[f"{name} / {key}"] for name in names]
        shared = [k for k in COLUMNS if all(k in row for row in of)]
        means[f"mean / {key}"] = {k: float(np.mean([row[k] for row in of])) for k in shared}
    return means


def measure_time(segmenter: Segmenter) -> dict[str, float]:
    """Time 20 objects on 100 planes of 1024 x 1024 whose embeddings are ready."""
    size, count = 1024, 100
    rng = np.random.default_rng(0)
    at = [(r, c) for r in range(110, size, 200) for c in range(110, size, 230)][:20]
    rows, columns = np.indices((size, size))
    labels = np.zeros((size, size), np.int64)
    for i, (r, c) in enumerate(at, 1):
        labels[(rows - r) ** 2 / 30**2 + (columns - c) ** 2 / 38**2 <= 1] = i
    plane = 40 + 120 * (labels > 0) + rng.normal(0, 12, labels.shape)
    one = np.clip(plane, 0, 255).astype(np.uint8)
    planes = KeptPlanes(segmenter, np.broadcast_to(one, (count, size, size)))
    embedding = planes.embedding(0)
    prompts = [Prompts(box=tight_box(labels == i)) for i in range(1, len(at) + 1)]
    segmenter.decode_many(embedding, prompts)  # encodes the tiles
    for z in range(count):
        planes._all[z] = embedding
    masks: Anchors = {i: {count // 2: labels == i} for i in range(1, len(at) + 1)}
    began = time.perf_counter()
    steps = sum(len(done.objects) for done in follow(planes, masks))
    whole = time.perf_counter() - began
    carried = [Prompts(box=one.box, mask=cut(labels == i)) for i, one in enumerate(prompts, 1)]
    batches = []
    for _ in range(20):
        began = time.perf_counter()
        segmenter.decode_many(embedding, carried)
        batches.append(time.perf_counter() - began)
    decode = float(np.median(batches)) / len(carried)
    return {
        "seconds for 100 planes": whole,
        "objects on planes": steps,
        "ms an object and plane": 1000 * whole / steps,
        "ms a decode in a batch": 1000 * decode,
        "decodes' time an object and plane": whole / steps / decode,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--cache", type=Path, help="where embeddings are kept between runs")
    parser.add_argument("--objects", type=int, default=25, help="at most, of each volume")
    parser.add_argument("--corrections", type=int, default=2)
    parser.add_argument("--only", action="append", help="a volume or movie; may be repeated")
    parser.add_argument("--movies", action="store_true", help="movies along t beside the volumes")
    parser.add_argument("--time", action="store_true", help="also 100 planes of 1024 x 1024")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    segmenter = load_segmenter(options.model, cache=options.cache or False)
    rows: dict[str, dict[str, float]] = {}
    stacks = VOLUMES | (MOVIES if options.movies or options.only else {})
    names = [name for name in stacks if not options.only or name in options.only]
    for name in names:
        file, item, part = stacks[name]
        packed = np.load(options.data / file)
        item = item or next(k for k in packed.files if k.endswith(".image")).removesuffix(".image")
        labels = packed[f"{item}.label"][part].astype(np.int64)
        planes = KeptPlanes(segmenter, packed[f"{item}.image"][part])
        run(Case(planes, labels, choose(labels, options.objects)), rows, name, options.corrections)
    of_table = [name for name in names if name in VOLUMES]
    if len(of_table) > 1:
        rows |= mean_rows(rows, of_table)
    table = Table()
    table.add_column(no_wrap=True)
    for title in COLUMNS.values():
        table.add_column(title)
    for key, row in rows.items():
        table.add_row(key, *(f"{row[k]:.3f}" if k in row else "" for k in COLUMNS))
    Console().print(table)
    seconds = measure_time(segmenter) if options.time else {}
    print(seconds)
    if options.json is not None:
        about = {
            "machine": platform.platform(),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "model": options.model,
        }
        kept = {"about": about, "rows": rows, "time": seconds}
        options.json.write_text(json.dumps(kept, indent=1))


if __name__ == "__main__":
    main()
