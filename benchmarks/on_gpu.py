"""Encoding a plane, a click and many clicks on a GPU, with random weights.

    python benchmarks/on_gpu.py --models vit_b vit_l vit_h --output on_gpu.json

The encoder alone is timed on the device, batch 1 and batch 8, beside the rate of a large matrix
product; what a user waits for includes resizing, transfers and masks of full resolution. Random
weights write noise over the whole plane, so that the masks are disks of a usual size.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from disks import with_disk

from napari_sam import Prompts
from napari_sam.model.config import PRESETS, SamConfig, ViTConfig
from napari_sam.model.sam import build
from napari_sam.segmentation.devices import DTYPES
from napari_sam.segmentation.network import SamSegmenter

# Radius of the masks, in pixels of the plane.
_RADIUS = 50


def median_ms(work: Callable[[], object], device: torch.device, repetitions: int) -> float:
    """Time some work after three rounds of warming up, in milliseconds."""

    def once() -> float:
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - began) * 1e3

    return float(np.median([once() for _ in range(3 + repetitions)][3:]))


def product_rate(device: torch.device, dtype: torch.dtype, side: int) -> float:
    """Measure the rate of a matrix product, in TFLOP/s."""
    a, b = torch.randn(2, side, side, device=device, dtype=dtype).unbind(0)
    return 2 * side**3 / median_ms(lambda: a @ b, device, 10) / 1e9


def products_of(config: SamConfig) -> float:
    """Count the multiplications and additions of a ViT encode's products, in TFLOP."""
    encoder = config.encoder
    cells = (config.image_size // encoder.stride) ** 2
    assert isinstance(encoder, ViTConfig)
    dim, window = encoder.embed_dim, encoder.window_size**2
    linear = 2 * cells * dim**2 * (4 + 2 * encoder.mlp_ratio)
    near, far = (4 * cells * reach * dim for reach in (window, cells))
    count = len(encoder.global_attn_indexes)
    return (encoder.depth * linear + (encoder.depth - count) * near + count * far) / 1e12


def measure(name: str, device: torch.device, repetitions: int) -> dict[str, float]:
    """Measure a preset."""
    config = PRESETS[name]
    segmenter = SamSegmenter(build(config), str(device))
    dtype, side = DTYPES[segmenter.precision], config.image_size
    encoder, replays = segmenter._encoder, segmenter._replays
    row: dict[str, float] = {}
    with torch.inference_mode():
        for batch in (1, 8) if replays else (1,):
            x = torch.randn(batch, 3, side, side, device=device, dtype=dtype)
            count = max(3, repetitions // batch)
            row[f"encode unrecorded ×{batch}"] = median_ms(lambda x=x: encoder(x), device, count)
            if replays:
                replayed = median_ms(lambda x=x: replays.run(encoder, x), device, count)
                row[f"encode ×{batch}"] = replayed
    plane = np.random.default_rng(0).integers(0, 255, (side, side), np.uint8)
    embedding = segmenter.embed(plane)
    grid = range(side // 16, side, side // 8)
    many = [Prompts([(r, c)], [1]) for r in grid for c in grid]
    middle = (side / 2, side / 2)
    one = with_disk(segmenter.decode(embedding, many[0]), middle, _RADIUS)
    row["embed"] = median_ms(lambda: segmenter.embed(plane), device, repetitions)

    def click() -> None:
        segmenter.decode(embedding, many[0])
        one.best()

    row["click"] = median_ms(click, device, repetitions)
    row["mask of a click"] = median_ms(one.best, device, repetitions)

    def click_many() -> None:
        segmenter.decode_many(embedding, many)
        for _ in many:
            one.best()

    row["64 objects"] = median_ms(click_many, device, 10)
    return row


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--models", nargs="+", default=["vit_b", "vit_l", "vit_h"])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--repetitions", type=int, default=100)
    parser.add_argument("--side", type=int, default=8192, help="of the matrices of the product")
    parser.add_argument("--output", type=Path, help="JSON file for the results")
    args = parser.parse_args()
    device = torch.device(args.device)
    cuda = device.type == "cuda"
    rate = product_rate(device, torch.bfloat16 if cuda else torch.float32, args.side)
    named = torch.cuda.get_device_name(device) if cuda else "CPU"
    print(f"{named}, torch {torch.__version__}: a product runs at {rate:.1f} TFLOP/s")
    results = {}
    for name in args.models:
        row = results[name] = measure(name, device, args.repetitions)
        for what, ms in row.items():
            batch = int(what.partition("×")[2] or 0)
            share = batch * products_of(PRESETS[name]) / (ms * rate / 1e3)
            print(f"{name} {what}: {ms:.2f} ms" + (f", {share:.0%} of it" if batch else ""))
    if args.output:
        content = {"device": named, "torch": torch.__version__, "rate": rate, "ms": results}
        args.output.write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
