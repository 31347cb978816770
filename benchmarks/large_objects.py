"""Measure clicks and boxes on large objects: held-out planes as at a higher magnification.

    python benchmarks/large_objects.py --data DATA --output large_objects.json

DATA is the folder of the packed data set. The middle of each plane is enlarged, so that its
objects are as large as at a higher magnification, if less sharp. Prints the mean IoU after one
click and after three, and of a tight box, by the objects' size: the root of their area, in pixels.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from skimage.transform import resize

from napari_sam import load_segmenter
from napari_sam.training.data import Plane, read_planes
from napari_sam.training.protocol import evaluate_plane, select_objects, thin_out

SIZES = (0, 50, 100, 160, 250, 400, 2000)
SIDE = 1024


def magnify(plane: Plane, factor: float) -> Plane:
    """Enlarge the middle of a plane to at most 1024² pixels."""
    rows, columns = (_middle(length, int(SIDE // factor)) for length in plane.labels.shape)
    image, labels = plane.image[rows, columns], plane.labels[rows, columns]
    shape = tuple(round(length * factor) for length in labels.shape)
    larger = resize(image.astype(np.float32), shape + image.shape[2:], 1, preserve_range=True)
    named = resize(
        labels.astype(np.float64), shape, 0, preserve_range=True, anti_aliasing=False
    )  # fmt: skip
    return replace(plane, image=larger.astype(image.dtype), labels=named.astype(np.int32))


def measure(
    model: str, planes: Sequence[Plane], factors: Sequence[float]
) -> Iterator[tuple[float, float, float, float]]:
    """Click the objects of magnified planes; yield size, IoU of a click, of three, of a box."""
    segmenter = load_segmenter(model, device="cpu", precision="float32", cache=False)
    work = [(plane, factor) for factor in factors for plane in planes]
    for plane, factor in track(work, "planes", console=Console(stderr=True)):
        larger = magnify(plane, factor)
        scores = evaluate_plane(segmenter, larger, 3)
        if scores is None:
            continue
        sizes = [float(np.count_nonzero(one)) ** 0.5 for one in select_objects(larger.labels)]
        for size, clicks, box in zip(sizes, scores.clicks, scores.box, strict=True):
            yield size, float(clicks[0]), float(clicks[2]), float(box)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder of the packed data set")
    parser.add_argument("--model", default="nano", help="registry name or checkpoint")
    parser.add_argument("--factors", type=float, nargs="+", default=[4.0, 8.0])
    parser.add_argument("--slices", type=int, default=1, help="planes per image or volume")
    parser.add_argument("--stride", type=int, default=2, help="every so many planes only")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", help="write the figures as JSON")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    planes = thin_out(read_planes(options.data, "val"), options.slices)[:: options.stride]
    groups: dict[str, list[tuple[float, ...]]] = defaultdict(list)
    for size, *scores in measure(options.model, planes, options.factors):
        at = int(np.searchsorted(SIZES, size, "right"))
        groups[f"{SIZES[at - 1]} to {SIZES[at]}"].append(tuple(scores))
    table = Table(title=f"objects of planes magnified {options.factors} times")
    for column in ("size", "objects", "1 click", "3 clicks", "box"):
        table.add_column(column, justify="right")
    rows = {}
    for name in sorted(groups, key=lambda name: int(name.split()[0])):
        means = np.mean(groups[name], axis=0).tolist()
        rows[name] = {"objects": len(groups[name]), "clicks": means[:2], "box": means[2]}
        table.add_row(name, str(len(groups[name])), *(f"{x:.3f}" for x in means))
    Console(width=100).print(table)
    if options.output:
        with open(options.output, "w") as file:
            json.dump({"model": options.model, "factors": options.factors, "rows": rows}, file)


def _middle(length: int, wanted: int) -> slice:
    start = max(0, (length - wanted) // 2)
    return slice(start, start + wanted)


if __name__ == "__main__":
    main()
