"""What memory costs: objects followed with it and without, a plane and object at a time.

    python benchmarks/remembering.py [--model FOLDER] [--device auto] [--planes 5] [--objects 1]

Without a model, the network of SAM 2.1 tiny with random weights, whose time is that of the real
one. The first plane, where masks are given, doesn't count. Masks of random weights mean nothing;
whoever has the real ones gives a folder or a name.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import torch

from napari_sam import load_segmenter
from napari_sam.patches import cut
from napari_sam.prompts import Prompts
from napari_sam.segmentation.memory import Past, memory_of
from napari_sam.segmentation.protocol import Segmenter

SIDE = 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--planes", type=int, default=5)
    parser.add_argument("--objects", type=int, default=1)
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    segmenter = (
        random_segmenter(options.device)
        if options.model is None
        else load_segmenter(options.model, options.device, cache=False)
    )
    measure(segmenter, options.planes, options.objects)


def random_segmenter(device: str) -> Segmenter:
    """Return SAM 2.1 tiny with random weights."""
    from transformers import Sam2Config, Sam2Model, Sam2VideoConfig

    from napari_sam.segmentation.sam2 import Sam2Segmenter
    from napari_sam.segmentation.sam2_memory import MemoryNetwork

    torch.manual_seed(0)
    memory = MemoryNetwork(Sam2VideoConfig())
    return Sam2Segmenter(Sam2Model(Sam2Config()), "random", device=device, memory=memory)


def measure(segmenter: Segmenter, planes: int, objects: int) -> None:
    """Print seconds of each plane."""
    rng = np.random.default_rng(0)
    rows, columns = np.indices((SIDE, SIDE))
    places = rng.uniform(60, SIDE - 60, (objects, 2))
    masks = [cut((rows - r) ** 2 + (columns - c) ** 2 < 30**2) for r, c in places]
    stack = rng.integers(0, 255, (planes, SIDE, SIDE), np.uint8)
    memory = memory_of(segmenter)
    assert memory is not None, "a model that remembers"
    seconds: dict[str, list[float]] = {"encode": [], "box and mask": [], "memory": []}
    pasts: list[list[tuple[int, Past]]] = []
    for z, plane in enumerate(stack):
        start = time.perf_counter()
        embedding = segmenter.embed(plane)
        seconds["encode"].append(time.perf_counter() - start)
        if not z:
            start = time.perf_counter()
            given = memory.remember(embedding, masks)
            print(f"remember what is given: {time.perf_counter() - start:.2f} s")
            pasts = [[(0, Past(one, 0))] for one in given]
            continue
        start = time.perf_counter()
        segmenter.decode_many(embedding, [Prompts(box=one.box, mask=one) for one in masks])
        seconds["box and mask"].append(time.perf_counter() - start)
        start = time.perf_counter()
        seen = [[Past(past.memory, z - at) for at, past in past_of] for past_of in pasts]
        found = memory.recall(embedding, seen, planes)
        seconds["memory"].append(time.perf_counter() - start)
        for past_of, one in zip(pasts, found, strict=True):
            past_of.append((z, Past(one.memory, 0)))
    for name, spent in seconds.items():
        each = ", ".join(f"{one:.2f}" for one in spent)
        print(f"{name}: median {statistics.median(spent):.2f} s a plane ({each})")


if __name__ == "__main__":
    main()
