"""Measure a model by the click protocol on held-out planes.

    python benchmarks/clicks.py --data DATA --model nano --output clicks.json

DATA is the folder of the packed data set. Volumes count with up to `--slices` planes each.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from napari_sam import load_segmenter
from napari_sam.training.data import read_planes
from napari_sam.training.protocol import (
    PlaneScores,
    evaluate_plane,
    group_scores,
    summarise,
    thin_out,
)

COLUMNS = ("objects", "iou_1", "iou_3", "iou_5", "iou_7", "share_1", "share_3", "clicks_to_85",
           "box", "jittered_box", "calibration")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Report:
    """Scores per group and per modality."""

    groups: dict[str, dict[str, float]]
    modalities: dict[str, dict[str, float]]


def measure(model: str, data: str, slices: int, stride: int) -> Report:
    """Measure a model on every `stride`-th held-out plane."""
    segmenter = load_segmenter(model, device="cpu", precision="float32", cache=False)
    planes = thin_out(read_planes(data, "val"), slices)[::stride]
    scores: list[PlaneScores] = []
    for plane in track(planes, "planes", console=Console(stderr=True)):
        one = evaluate_plane(segmenter, plane)
        if one is not None:
            scores.append(one)
    modalities = {
        f"{source}: {modality}": summarise(
            [s for s in scores if (s.plane.source, s.plane.modality) == (source, modality)]
        )
        for source, modality in sorted({(s.plane.source, s.plane.modality) for s in scores})
    }
    return Report(group_scores(scores), modalities)


def show(title: str, rows: dict[str, dict[str, float]]) -> None:
    """Print a table."""
    table = Table(title=title)
    table.add_column("")
    for column in COLUMNS:
        table.add_column(column, justify="right")
    for name, row in rows.items():
        table.add_row(
            name, *(f"{row[c]:.0f}" if c == "objects" else f"{row[c]:.3f}" for c in COLUMNS)
        )
    Console(width=170).print(table)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", required=True, help="folder of the packed data set")
    parser.add_argument("--model", default="nano", help="registry name or checkpoint")
    parser.add_argument("--slices", type=int, default=4, help="planes per volume")
    parser.add_argument("--stride", type=int, default=1, help="every so many planes only")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", help="write the figures as JSON")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    began = time.perf_counter()
    report = measure(options.model, options.data, options.slices, options.stride)
    show("groups", report.groups)
    show("modalities", report.modalities)
    print(f"torch {torch.__version__}, {options.threads} threads, "
          f"{time.perf_counter() - began:.0f} s")  # fmt: skip
    if options.output:
        with open(options.output, "w") as file:
            json.dump({"model": options.model, "groups": report.groups,
                       "modalities": report.modalities}, file, indent=1)  # fmt: skip


if __name__ == "__main__":
    main()
