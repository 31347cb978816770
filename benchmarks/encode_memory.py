"""Memory that encoding a plane takes above the weights, against PyPI's `segment-anything`.

    python benchmarks/encode_memory.py --model vit_b --output encode_memory.json

Each runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from against_reference import machine, peak_memory, picture
from reference import SamPredictor, reference_sam

from napari_sam.model.config import PRESETS
from napari_sam.model.sam import build
from napari_sam.segmentation.network import SamSegmenter

SIDES = ("ours", "ours, bfloat16", "reference")


def main() -> None:
    """Measure each side, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="vit_b", help="a SAM preset: vit_b, vit_l, vit_h")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, help="JSON file for the results")
    parser.add_argument("--side", choices=SIDES, help="measure this one in this process")
    args = parser.parse_args()
    if args.side:
        torch.set_num_threads(args.threads)
        print(measure(args.model, args.side))
        return
    command = [sys.executable, __file__, "--model", args.model, "--threads", str(args.threads)]
    results = {}
    for side in SIDES:
        out = subprocess.check_output([*command, "--side", side], text=True)
        results[side] = int(out.split()[-1]) / 1e6
    for side, megabytes in results.items():
        ratio = results["reference"] / megabytes
        print(f"{side}: {megabytes:.0f} MB above the weights, 1/{ratio:.1f} of the reference's")
    if args.output is not None:
        content = {"model": args.model, "machine": machine(), "megabytes": results}
        args.output.write_text(json.dumps(content, indent=2) + "\n")


def measure(model: str, side: str) -> int:
    """Bytes by which the peak of one encode lies above what the loaded network takes."""
    encode = prepare(model, side)
    plane = picture()
    before = resident_memory()
    encode(plane)
    return peak_memory() - before


def prepare(model: str, side: str) -> Callable[..., object]:
    """Load one side's network; return what encodes a plane."""
    if side == "reference":
        return SamPredictor(reference_sam(PRESETS[model])).set_image  # type: ignore[no-any-return]
    precision = "bfloat16" if side.endswith("bfloat16") else "float32"
    return SamSegmenter(build(PRESETS[model]), "cpu", precision).embed


def resident_memory() -> int:
    """Memory this process has now, in bytes, as Linux reports it."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


if __name__ == "__main__":
    main()
