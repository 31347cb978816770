"""Time *find all* by a decoder for instances against a grid of points: same network, same plane.

    python benchmarks/instances.py --model vit_t --threads 2

Weights are random: time doesn't depend on them, but for the watershed, which gets the maps that a
perfect decoder would say of the drawn nuclei. Both ways begin with the same embedding. On a CPU
times are those of the processor, which other programs don't change, summed over the threads.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import numpy as np
import torch
from drawn_nuclei import draw_nuclei
from numpy.typing import NDArray
from scipy import ndimage

from napari_sam.automask import AutomaskSettings, generate_masks
from napari_sam.automask.instances import objects_of_maps
from napari_sam.model.config import PRESETS
from napari_sam.model.sam import build
from napari_sam.segmentation.instance_maps import instance_maps
from napari_sam.segmentation.network import SamSegmenter


def perfect_maps(labels: NDArray[np.integer]) -> NDArray[np.float32]:
    """Return foreground and distances `(3, H, W)` of labels `(H, W)`."""
    maps = np.ones((3, *labels.shape), np.float32)
    maps[0] = labels > 0
    for number, region in enumerate(ndimage.find_objects(labels), 1):
        if region is None:
            continue
        mask = labels[region] == number
        deep = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
        away = np.hypot(*(np.argwhere(mask) - np.argwhere(mask).mean(0)).T)
        maps[1][region][mask] = away / max(away.max(), 1.0)
        maps[2][region][mask] = 1 - deep[mask] / deep.max()
    return maps


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="vit_t", choices=("vit_t", "vit_b", "vit_l"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    clock = time.process_time if args.device == "cpu" else time.perf_counter
    torch.manual_seed(0)
    config = replace(PRESETS[args.model], instance_channels=(512, 256, 128, 64))
    segmenter = SamSegmenter(build(config), args.device, args.precision)
    plane, truth = draw_nuclei(rows=14)
    maps = perfect_maps(truth)

    began = clock()
    embedding = segmenter.embed(plane)
    encode = clock() - began
    began = clock()
    instance_maps(segmenter, embedding)
    decode = clock() - began
    began = clock()
    found = objects_of_maps(maps, AutomaskSettings())
    part = clock() - began
    print(
        f"{args.model}, {args.device}, {args.precision}, {args.threads} threads, plane of "
        f"{' x '.join(map(str, plane.shape))} with {truth.max()} nuclei\n"
        f"encode {encode:.2f} s; then by the decoder {decode + part:.2f} s (maps {decode:.2f}, "
        f"watershed {part:.2f}: {len(found)} objects)",
        flush=True,
    )
    began = clock()
    generate_masks(segmenter, plane, proposals=False)
    grid = clock() - began - encode
    print(f"by a grid of 32 x 32 points {grid:.2f} s: {grid / (decode + part):.1f} times as long")


if __name__ == "__main__":
    main()
