"""Embedding a stack plane by plane: time per plane, memory, and what the cache saves.

    python benchmarks/embed_stack.py --model nano --planes 20 --output embed_stack.json

The time per plane and the memory should not grow along the stack; found embeddings should cost
next to nothing.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from against_reference import machine, peak_memory, picture
from rich.console import Console
from rich.table import Table

from napari_sam import CachedSegmenter, Segmenter, load_segmenter
from napari_sam.model.config import PRESETS
from napari_sam.model.sam import build
from napari_sam.segmentation.network import SamSegmenter


def main() -> None:
    """Embed, embed again, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="nano", help="SAM's presets get random weights")
    parser.add_argument("--planes", type=int, default=20)
    parser.add_argument("--side", type=int, default=512, help="of a plane, in pixels")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, help="JSON file for the results")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    plane = picture(args.side)
    planes = [np.roll(plane, 7 * z, axis=0) for z in range(args.planes)]
    segmenter = load(args.model)
    segmenter.embed(plane)  # warm up
    before = peak_memory()
    with tempfile.TemporaryDirectory() as folder:
        # Without room in memory, so that the disk is measured.
        cached = CachedSegmenter(segmenter, folder, max_memory=0)
        missed, found = seconds(cached, planes), seconds(cached, planes)
        size = sum(p.stat().st_size for p in Path(folder).rglob("*.safetensors"))
    half = args.planes // 2
    rows = {
        "embed and store, first half (ms per plane)": 1e3 * float(np.median(missed[:half])),
        "embed and store, second half (ms per plane)": 1e3 * float(np.median(missed[half:])),
        "found on disk (ms per plane)": 1e3 * float(np.median(found)),
        "found is so many times faster": float(np.median(missed) / np.median(found)),
        "on disk (MB per plane)": size / args.planes / 1e6,
        "growth of peak memory over the stack (MB)": (peak_memory() - before) / 1e6,
    }
    table = Table("", args.model, title=f"{args.planes} planes of {args.side}²")
    for name, value in rows.items():
        table.add_row(name, f"{value:.1f}")
    console = Console()
    console.print(table)
    console.print("\n".join(f"{key}: {value}" for key, value in machine().items()))
    if args.output is not None:
        content = {"model": args.model, "machine": machine(), "results": rows}
        args.output.write_text(json.dumps(content, indent=2) + "\n")


def load(model: str) -> Segmenter:
    """Load a model, or build a SAM preset with random weights: the arithmetic is the same."""
    if model == "nano" or model not in PRESETS:
        return load_segmenter(model, device="cpu", cache=False)
    return SamSegmenter(build(PRESETS[model]), "cpu")


def seconds(segmenter: Segmenter, planes: list[np.ndarray]) -> list[float]:
    """Seconds to embed each plane."""
    times = []
    for plane in planes:
        start = time.perf_counter()
        segmenter.embed(plane)
        times.append(time.perf_counter() - start)
    return times


if __name__ == "__main__":
    main()
