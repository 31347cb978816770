"""Measure how masks of another program are corrected by one click.

    python benchmarks/adopt.py --data DATA --model nano --json adopt.json

Held-out objects get a wrong mask: eroded, dilated, merged with a neighbour, or cut. It is taken as
it is, then one click corrects it by the rule of the click protocol. `given` is the mask's IoU,
`click` that after the click as the product does it, `decoder` that of the decoder's own answer to
the same prompts, `click alone` that of its answer to mask and click without the click inside, and
`next` that after a second click.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy import ndimage

from napari_sam import Prompts, load_segmenter
from napari_sam.masks import iou
from napari_sam.prompts import corrective_click
from napari_sam.segmentation.protocol import Embedding, Segmenter
from napari_sam.segmentation.refining import correction, given_mask, refine
from napari_sam.training.data import Plane, read_planes
from napari_sam.training.protocol import GROUPS, select_objects, thin_out

Mask = NDArray[np.bool_]
COLUMNS = ("objects", "given", "click", "better", "next", "decoder", "click alone")
# An eroded or dilated mask has this IoU with its object.
_WRONG = 0.7
# A cut leaves this share of an object, along its longer axis.
_LEFT = 0.6


def eroded(target: Mask, labels: NDArray[np.integer]) -> Mask | None:
    """Take pixels from the outline; None where nothing would be left."""
    mask = target
    while iou(mask, target) > _WRONG:
        mask = ndimage.binary_erosion(mask)
    return mask if mask.any() else None


def dilated(target: Mask, labels: NDArray[np.integer]) -> Mask | None:
    """Add pixels around the outline."""
    mask = target
    while iou(mask, target) > _WRONG:
        mask = ndimage.binary_dilation(mask)
    return mask


def merged(target: Mask, labels: NDArray[np.integer]) -> Mask | None:
    """Join the nearest object, and what lies between; None where none is near."""
    own = labels[target][0]
    others = np.where(labels == own, 0, labels)
    distance, nearest = ndimage.distance_transform_edt(others == 0, return_indices=True)
    distance = np.where(target, distance, np.inf)
    at = np.unravel_index(int(np.argmin(distance)), distance.shape)
    gap = float(distance[at])
    other = labels == labels[nearest[0][at], nearest[1][at]]
    area = np.count_nonzero(target)
    if gap > max(3.0, 0.5 * area**0.5) or not 20 <= np.count_nonzero(other) <= 4 * area:
        return None
    joined = target | other
    between = ndimage.binary_closing(joined, iterations=int(np.ceil(gap / 2)) + 1)
    return joined | (between & (labels == 0))


def cut(target: Mask, labels: NDArray[np.integer]) -> Mask | None:
    """Cut an object across its longer axis and keep the larger part."""
    pixels = np.argwhere(target)
    centred = pixels - pixels.mean(0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    along = centred @ axes[:, -1]
    mask = np.zeros_like(target)
    mask[tuple(pixels[along < np.quantile(along, _LEFT)].T)] = True
    return mask


ERRORS: dict[str, Callable[[Mask, NDArray[np.integer]], Mask | None]] = {
    "eroded": eroded,
    "dilated": dilated,
    "merged": merged,
    "cut": cut,
}


def corrected(
    segmenter: Segmenter, embedding: Embedding, target: Mask, mask: Mask
) -> dict[str, float]:
    """Correct a mask by two clicks; return the IoU of every answer."""
    step = given_mask(mask, embedding.frame)
    clicks, scores = Prompts(), {"given": iou(step.best(), target)}
    for name in ("click", "next"):
        click = corrective_click(target, step.best())
        if click is not None:
            clicks = clicks.with_point(*click)
            if name == "click":
                bare = segmenter.decode(embedding, clicks.with_logits(mask))
                scores["click alone"] = iou(bare.best(), target)
            answer = segmenter.decode(embedding, correction(step, clicks))
            if name == "click":
                scores["decoder"] = iou(answer.best(), target)
            step = refine(step, answer, *click)
        scores[name] = iou(step.best(), target)
    scores["better"] = float(scores["click"] > scores["given"])
    return scores


def measure(
    segmenter: Segmenter, planes: list[Plane], objects: int
) -> dict[str, dict[str, list[dict[str, float]]]]:
    """Correct objects of planes; return their scores by the group of the plane, and by error."""
    scores: dict[str, dict[str, list[dict[str, float]]]] = defaultdict(lambda: defaultdict(list))
    for plane in track(planes, "planes", console=Console(stderr=True)):
        group = next(name for name, of in GROUPS.items() if of(plane.source, plane.modality))
        targets = select_objects(plane.labels)[:objects]
        embedding = segmenter.embed(plane.image) if targets else None
        for target in targets:
            for error, spoil in ERRORS.items():
                mask = spoil(target, plane.labels.astype(np.int64))
                if mask is not None and embedding is not None:
                    scores[group][error].append(corrected(segmenter, embedding, target, mask))
    return scores


def summarise(scores: list[dict[str, float]]) -> dict[str, float]:
    """Average scores."""
    means = {name: float(np.mean([one[name] for one in scores])) for name in scores[0]}
    return {"objects": float(len(scores)), **means}


def show(title: str, rows: dict[str, dict[str, float]]) -> None:
    """Print a table."""
    table = Table(title=title)
    for column in ("", *COLUMNS):
        table.add_column(column, justify="right")
    for name, row in rows.items():
        values = (f"{row[c]:.0f}" if c == "objects" else f"{row[c]:.3f}" for c in COLUMNS)
        table.add_row(name, *values)
    Console(width=120).print(table)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", required=True, help="folder of the packed data set")
    parser.add_argument("--model", default="nano", help="registry name or checkpoint")
    parser.add_argument("--slices", type=int, default=2, help="planes per volume")
    parser.add_argument("--planes", type=int, default=5, help="planes per group; 0 for all")
    parser.add_argument("--objects", type=int, default=6, help="objects per plane")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", help="write the figures as JSON")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    began = time.perf_counter()
    segmenter = load_segmenter(options.model, device="cpu", precision="float32", cache=False)
    planes = thin_out(read_planes(options.data, "val"), options.slices)
    scores = measure(segmenter, some_of_each(planes, options.planes), options.objects)
    every = {
        error: summarise([one for group in scores.values() for one in group[error]])
        for error in ERRORS
    }
    show("all planes", every)
    groups = {
        group: {error: summarise(ones) for error, ones in errors.items()}
        for group, errors in scores.items()
    }
    for group, rows in groups.items():
        show(group, rows)
    print(f"torch {torch.__version__}, {options.threads} threads, "
          f"{time.perf_counter() - began:.0f} s")  # fmt: skip
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"model": options.model, "all": every, "groups": groups}, file, indent=1)


def some_of_each(planes: list[Plane], count: int) -> list[Plane]:
    """Choose `count` planes of each group, evenly; 0 is all of them."""
    chosen: list[Plane] = []
    for belongs in GROUPS.values():
        group = [plane for plane in planes if belongs(plane.source, plane.modality)]
        places = np.linspace(0, len(group) - 1, min(count or len(group), len(group)))
        chosen += [group[int(place)] for place in np.unique(places.round())]
    return chosen


if __name__ == "__main__":
    main()
