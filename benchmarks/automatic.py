"""Measure segment-everything on held-out planes: average precision and time.

    python benchmarks/automatic.py --data DATA --model nano --output automatic.json

DATA is the folder of the packed data set. Prints TP / (TP + FP + FN) at IoU 0.5 and 0.75 and the
mean over 0.5:0.05:0.95 for each modality, and the median time of a plane once it is loaded. A
drawn plane of 1024 × 1024 pixels with 196 nuclei is timed besides, without DATA that alone.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict

import numpy as np
import torch
from drawn_nuclei import draw_nuclei
from rich.console import Console
from rich.progress import track
from rich.table import Table

from napari_sam import load_segmenter, segment_all
from napari_sam.training.average_precision import Counts, add_up, count_matches
from napari_sam.training.data import read_planes
from napari_sam.training.protocol import GROUPS, thin_out


def measure(model: str, data: str, slices: int, stride: int) -> dict[str, dict[str, float]]:
    """Segment every `stride`-th held-out plane; return scores by modality and by group."""
    segmenter = load_segmenter(model, device="cpu", precision="float32", cache=False)
    counts: dict[str, list[Counts]] = defaultdict(list)
    seconds: dict[str, list[float]] = defaultdict(list)
    planes = thin_out(read_planes(data, "val"), slices)[::stride]
    for plane in track(planes, "planes", console=Console(stderr=True)):
        began = time.perf_counter()
        labels = segment_all(segmenter, plane.image)
        spent = time.perf_counter() - began
        found = count_matches(labels, plane.labels)
        names = [name for name, fits in GROUPS.items() if fits(plane.source, plane.modality)]
        for name in (*names, f"{plane.source}: {plane.modality}"):
            counts[name].append(found)
            seconds[name].append(spent)
    return {
        name: {
            "planes": len(parts),
            "objects": int((add_up(parts).true + add_up(parts).missed)[0]),
            "ap_50": add_up(parts).at(0.5),
            "ap_75": add_up(parts).at(0.75),
            "msa": add_up(parts).mean,
            "seconds": float(np.median(seconds[name])),
        }
        for name, parts in sorted(counts.items())
    }


def time_drawn(model: str, repetitions: int = 5) -> str:
    """Segment a drawn plane of many nuclei repeatedly; return the time it took."""
    segmenter = load_segmenter(model, device="cpu", precision="float32", cache=False)
    plane, truth = draw_nuclei(rows=14)
    segment_all(segmenter, plane)
    seconds = []
    for _ in range(repetitions):
        began = time.perf_counter()
        labels = segment_all(segmenter, plane)
        seconds.append(time.perf_counter() - began)
    found = count_matches(labels, truth)
    return (
        f"drawn plane of 1024 x 1024, {truth.max()} nuclei: {np.median(seconds):.2f} s "
        f"({min(seconds):.2f}-{max(seconds):.2f}), AP {found.at(0.5):.2f} at 0.5"
    )


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", help="folder of the packed data set")
    parser.add_argument("--model", default="nano", help="registry name or checkpoint")
    parser.add_argument("--slices", type=int, default=4, help="planes per volume")
    parser.add_argument("--stride", type=int, default=1, help="every so many planes only")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", help="write the figures as JSON")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(time_drawn(options.model))
    if not options.data:
        return
    rows = measure(options.model, options.data, options.slices, options.stride)
    table = Table(title="everything in a plane")
    for column in ("", "planes", "objects", "AP 0.5", "AP 0.75", "mSA", "s / plane"):
        table.add_column(column, justify="right" if column else "left")
    for name, row in rows.items():
        figures = (row["ap_50"], row["ap_75"], row["msa"])
        table.add_row(
            name, str(row["planes"]), str(row["objects"]),
            *(f"{x:.3f}" for x in figures), f"{row['seconds']:.2f}",
        )  # fmt: skip
    Console(width=120).print(table)
    print(f"torch {torch.__version__}, {options.threads} threads")
    if options.output:
        with open(options.output, "w") as file:
            json.dump({"model": options.model, "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()
