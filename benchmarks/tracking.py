"""Measure objects over time: links, masks carried along time, and divisions.

    python -m venv ctc && ctc/bin/pip install py-ctcmetrics==1.3.3
    python benchmarks/tracking.py --data DATA --ctc ctc/bin/ctc_evaluate --json tracking.json

TRA, DET and SEG of the Cell Tracking Challenge are computed by py-ctcmetrics, in an environment of
its own. On the nuclei movie they are those of the objects of frame 0 until each first divides,
where its area falls below 0.62 of that on the frame before, as its labels have no parents; frames
on which one of them is blanked are left out. Its objects are those that the model finds in each
frame, linked; or the labels of frame 0, carried along time. A result's object counts if its track
begins on frame 0 with one of those objects, or if it covers most of one.

On procedural movies everything counts, and every parent is known: divisions are found if parent and
both daughters cover most of the true ones, at most a frame earlier or later.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from napari_sam import Segmenter, load_segmenter
from napari_sam.batch import label_everything
from napari_sam.io import ImageFile
from napari_sam.io.exports import ExportedObjects
from napari_sam.io.exports.ctc import write_ctc
from napari_sam.propagate import Anchor, StackPlanes, follow
from napari_sam.tracking import link
from napari_sam.training.synthetic.movies import Movie, generate_movie

Labels = NDArray[np.int64]
Row = dict[str, float]

_HALVED = 0.62


@dataclass(frozen=True, slots=True)
class Result:
    """Labels by track, and the parents of tracks."""

    labels: Labels
    parents: Mapping[int, int]


def find(segmenter: Segmenter, image: NDArray[Any]) -> Result:
    """Find the objects of each frame, and link them."""
    labels = label_everything(segmenter, ImageFile(image, "TYX"))
    tracks = link(labels)
    return Result(tracks.relabelled(labels).astype(np.int64), tracks.parents)


def shuffled(labels: Labels) -> Result:
    """Give the true objects of each frame numbers at random, and link them."""
    rng = np.random.default_rng(0)
    highest = int(labels.max())
    mixed = np.stack([np.append(0, 1 + rng.permutation(highest))[frame] for frame in labels])
    tracks = link(mixed)
    return Result(tracks.relabelled(mixed).astype(np.int64), tracks.parents)


def carry(segmenter: Segmenter, image: NDArray[Any], first: Labels) -> Result:
    """Follow the objects of frame 0 along time."""
    planes = StackPlanes(segmenter, image)
    ids = np.unique(first[first > 0]).tolist()
    anchors: dict[int, dict[int, Anchor]] = {i: {0: first == i} for i in ids}
    labels = np.zeros(image.shape, np.int64)
    for plane in follow(planes, anchors):
        for i, one in plane.objects.items():
            labels[plane.index][one.patch.region][one.patch.pixels] = i
    return Result(labels, {})


def until_they_divide(labels: Labels) -> tuple[Labels, dict[int, int]]:
    """Return the objects of frame 0 up to where each first divides, and that frame of each."""
    kept = np.zeros_like(labels)
    ends: dict[int, int] = {}
    for i in np.unique(labels[0][labels[0] > 0]).tolist():
        areas = (labels == i).sum((1, 2))
        halved = [
            t + 1
            for t in range(len(labels) - 1)
            if areas[t] and areas[t + 1] and areas[t + 1] < _HALVED * areas[t]
        ]
        if halved:
            ends[i] = halved[0]
        end = ends.get(i, len(labels))
        kept[:end][labels[:end] == i] = i
    return kept, ends


def of_these(result: Result, truth: Labels, ends: Mapping[int, int]) -> Result:
    """Leave the objects that begin with those of frame 0, or cover most of one later."""
    numbers = {
        covers(result.labels[0], truth[0] == i): i for i in np.unique(truth[0]).tolist() if i
    }
    kept = np.zeros_like(result.labels)
    for t, frame in enumerate(result.labels):
        for number in np.unique(frame[frame > 0]).tolist():
            mask = frame == number
            here = truth[t]
            is_one = any(covers(frame, here == i) == number for i in np.unique(here[mask]) if i)
            origin = numbers.get(number)
            if is_one or (origin is not None and t < ends.get(origin, len(truth))):
                kept[t][mask] = number
    return Result(kept, result.parents)


def covers(frame: Labels, mask: NDArray[np.bool_]) -> int:
    """Return the object that covers most of a mask; 0 for none."""
    counts = np.bincount(frame[mask])
    best = int(counts.argmax()) if counts.size else 0
    return best if best and counts[best] > 0.5 * np.count_nonzero(mask) else 0


def metrics(result: Result, truth: Labels, parents: Mapping[int, int], evaluate: Path) -> Row:
    """Have TRA, DET and SEG computed."""
    with tempfile.TemporaryDirectory() as folder:
        res, gt, scores = Path(folder) / "01_RES", Path(folder) / "01_GT", Path(folder) / "a.csv"
        _write(res, result.labels, result.parents)
        _write(gt / "TRA", truth, parents)
        (gt / "TRA" / "res_track.txt").rename(gt / "TRA" / "man_track.txt")
        (gt / "SEG").mkdir()
        for path in sorted((gt / "TRA").glob("mask*.tif")):
            number = path.stem.removeprefix("mask")
            mask = tifffile.imread(path)
            if mask.any():
                tifffile.imwrite(gt / "SEG" / f"man_seg{number}.tif", mask)
            path.rename(path.with_name(f"man_track{number}.tif"))
        command = [str(evaluate), "--res", str(res), "--gt", str(gt), "--csv-file", str(scores)]
        command += ["--num-threads", "1", "--valid", "--tra", "--det", "--seg"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr[-2000:])
        with scores.open(newline="") as file:
            (row,) = csv.DictReader(file, delimiter=";")
    if int(float(row["Valid"])) != 1:
        raise RuntimeError("py-ctcmetrics finds the result not valid")
    return {name: float(row[name]) for name in ("TRA", "DET", "SEG")}


def _write(path: Path, labels: Labels, parents: Mapping[int, int]) -> None:
    on = {i: np.flatnonzero((labels == i).any((1, 2))) for i in np.unique(labels[labels > 0])}
    kept = {
        child: parent
        for child, parent in parents.items()
        if child in on and parent in on and on[parent][-1] < on[child][0]
    }
    write_ctc(ExportedObjects(labels.astype(np.int32), "TYX"), path, parents=kept)


def divisions(result: Result, movie: Movie) -> Row:
    """Count divisions found, missed, and made up."""
    linked: dict[int, list[int]] = {}
    for child, parent in result.parents.items():
        linked.setdefault(parent, []).append(child)
    on = {i: np.flatnonzero((result.labels == i).any((1, 2))) for i in {*linked, *result.parents}}
    found = 0
    for one in movie.divisions:
        before = int(np.flatnonzero((movie.labels == one.parent).any((1, 2)))[-1])
        mother = covers(result.labels[before], movie.labels[before] == one.parent)
        children = linked.get(mother, [])
        hits = []
        for daughter in one.daughters:
            near = range(one.frame, min(one.frame + 2, len(movie.labels)))
            seen = {covers(result.labels[t], movie.labels[t] == daughter) for t in near} - {0}
            hits.append([i for i in children if i in seen and abs(on[i][0] - one.frame) <= 1])
        found += all(hits) and hits[0] != hits[1]
    count = len(movie.divisions)
    return {
        "divisions": count,
        "found": found,
        "missed": count - found,
        "false": len(linked) - found,
    }


def nuclei(data: Path) -> tuple[NDArray[Any], Labels]:
    """Return the nuclei movie and its labels."""
    packed = np.load(data / "nuclei_timelapse.npz")
    return packed["ccm.image"], packed["ccm.label"].astype(np.int64)


def of_nuclei(segmenter: Segmenter, data: Path, evaluate: Path) -> dict[str, Row]:
    """Measure the nuclei movie."""
    image, labels = nuclei(data)
    truth, ends = until_they_divide(labels)
    first = np.unique(labels[0][labels[0] > 0]).tolist()
    left_out = set()
    for i in first:
        frames = np.flatnonzero((truth == i).any((1, 2)))
        left_out |= set(range(frames[0], frames[-1])) - set(frames.tolist())
    shown = [t for t in range(len(labels)) if t not in left_out]
    print(f"objects {first}, divide {ends}, frames left out {sorted(left_out)}", flush=True)
    rows: dict[str, Row] = {}
    results = {
        "true labels, linked": lambda: shuffled(labels),
        "found objects, linked": lambda: find(segmenter, image),
        "carried from frame 0": lambda: carry(segmenter, image, labels[0]),
    }
    for name, make in results.items():
        result = of_these(make(), truth, ends)
        result = Result(result.labels[shown], result.parents)
        rows[f"nuclei / {name}"] = metrics(result, truth[shown], {}, evaluate)
        print(name, rows[f"nuclei / {name}"], flush=True)
    return rows


def of_movies(segmenter: Segmenter, count: int, evaluate: Path) -> dict[str, Row]:
    """Measure procedural movies, all together."""
    several: dict[str, list[Row]] = {}
    for seed in range(count):
        movie = generate_movie(np.random.default_rng(1000 + seed))
        truth = movie.labels.astype(np.int64)
        shown = [t for t in range(len(truth)) if t not in movie.blank]
        for name, result in (
            ("true labels, linked", shuffled(truth)),
            ("found objects, linked", find(segmenter, movie.image)),
        ):
            row = divisions(result, movie)
            cut = Result(result.labels[shown], result.parents)
            row |= metrics(cut, truth[shown], movie.parents, evaluate)
            several.setdefault(f"procedural / {name}", []).append(row)
            print(seed, name, row, flush=True)
    counted = ("divisions", "found", "missed", "false")
    return {
        name: {
            key: float(np.sum([r[key] for r in rows]))
            if key in counted
            else float(np.mean([r[key] for r in rows]))
            for key in rows[0]
        }
        for name, rows in several.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--ctc", type=Path, required=True, help="ctc_evaluate of py-ctcmetrics")
    parser.add_argument("--model", default="nano")
    parser.add_argument("--movies", type=int, default=4, help="procedural ones")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    segmenter = load_segmenter(options.model, disk_bytes=0)
    rows = of_movies(segmenter, options.movies, options.ctc) if options.movies else {}
    rows = of_nuclei(segmenter, options.data, options.ctc) | rows
    table = Table("", "TRA", "DET", "SEG", "divisions", "found", "false")
    for name, row in rows.items():
        scores = (f"{row[key]:.3f}" for key in ("TRA", "DET", "SEG"))
        counts = (
            f"{row[key]:.0f}" if key in row else "" for key in ("divisions", "found", "false")
        )
        table.add_row(name, *scores, *counts)
    Console().print(table)
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
