"""Draw what a model makes of one click on held-out planes: typical planes and its failures.

    python benchmarks/pictures.py --data DATA --output docs/models

Green is the outline of the label, red that of the mask, the dot is the click.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from napari_sam import Prompts, load_segmenter
from napari_sam.image import normalise
from napari_sam.masks import iou
from napari_sam.prompts import deepest_point
from napari_sam.segmentation.protocol import Segmenter
from napari_sam.training.data import Plane, read_planes
from napari_sam.training.protocol import select_objects, thin_out

matplotlib.use("agg")
import matplotlib.pyplot as plt

MODALITIES = (
    "fluorescence_large",
    "fluorescence_small",
    "histology_purple",
    "brightfield_grey_cytology",
    "phase_contrast_cells",
    "EM_FIB-SEM_neuropil_3D",
    "EM_SEM_myelinated_axons",
    "brightfield_bacteria",
)
MARGIN = 0.6  # of an object's size, around it in the pictures of failures


@dataclass(frozen=True, slots=True, eq=False)
class Clicked:
    """One object, clicked once."""

    plane: Plane
    point: tuple[int, int]
    target: NDArray[np.bool_]
    mask: NDArray[np.bool_]
    iou: float


def click_objects(segmenter: Segmenter, plane: Plane) -> list[Clicked]:
    """Click every object of a plane once."""
    targets = select_objects(plane.labels)
    if not targets:
        return []
    points = [deepest_point(t) for t in targets]
    embedding = segmenter.embed(plane.image)
    predictions = segmenter.decode_many(embedding, [Prompts([p], [1]) for p in points])
    masks = [p.best() for p in predictions]
    return [
        Clicked(plane, p, t, m, iou(t, m)) for p, t, m in zip(points, targets, masks, strict=True)
    ]


def draw(axes: Axes, objects: list[Clicked], window: tuple[slice, slice]) -> None:
    """Draw a part of a plane with its objects."""
    top, left = window[0].start, window[1].start
    axes.imshow(normalise(objects[0].plane.image)[window])
    axes.autoscale(False)  # clicks outside the window don't widen it
    for one in objects:
        for mask, colour in ((one.target, "lime"), (one.mask, "red")):
            if mask[window].any():
                axes.contour(mask[window], [0.5], colors=colour, linewidths=0.9)
        axes.plot(one.point[1] - left, one.point[0] - top, "o", color="yellow", markersize=2.5)
    axes.set_axis_off()


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True, help="folder of the packed data set")
    parser.add_argument("--model", default="nano")
    parser.add_argument("--output", type=Path, default=Path("docs/models"))
    options = parser.parse_args()
    segmenter = load_segmenter(options.model, device="cpu", cache=False)
    planes = thin_out(read_planes(options.data, "val"), 1)
    chosen = [next(p for p in planes if p.modality == m) for m in MODALITIES]
    clicked = [click_objects(segmenter, p) for p in chosen]
    figure, panels = plt.subplots(2, 4, figsize=(13, 7), layout="constrained")
    for axes, objects in zip(panels.flat, clicked, strict=True):
        h, w = objects[0].target.shape
        r, c = objects[0].point
        top, left = (max(0, min(p - 180, s - 360)) for p, s in ((r, h), (c, w)))
        draw(axes, objects, (slice(top, min(h, top + 360)), slice(left, min(w, left + 360))))
        mean = np.mean([o.iou for o in objects])
        axes.set_title(f"{objects[0].plane.modality}\nmean IoU {mean:.2f}", fontsize=8)
    figure.savefig(options.output / "nano_one_click.png", dpi=90)
    worst = [min(objects, key=lambda o: o.iou) for objects in clicked]
    figure, panels = plt.subplots(2, 4, figsize=(13, 7), layout="constrained")
    for axes, one in zip(panels.flat, worst, strict=True):
        rows, columns = np.nonzero(one.target | one.mask)
        window = []
        for at, size in zip((rows, columns), one.target.shape, strict=True):
            margin = int(MARGIN * (at.max() - at.min())) + 8
            window.append(slice(max(0, at.min() - margin), min(size, at.max() + margin)))
        draw(axes, [one], (window[0], window[1]))
        axes.set_title(f"{one.plane.modality}\nIoU {one.iou:.2f}", fontsize=8)
    figure.savefig(options.output / "nano_failures.png", dpi=90)


if __name__ == "__main__":
    main()
