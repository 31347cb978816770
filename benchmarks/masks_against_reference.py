"""Masks and their time against PyPI's `segment-anything`, both with the same trained weights.

    python benchmarks/masks_against_reference.py --output masks_against_reference.json

The weights are those of a small network of exactly SAM's architecture, trained on magnified
fluorescence nuclei by `configs/sam_small_crops.toml` and `configs/sam_small.toml`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from against_reference import alternate, conclude, trained
from reference import SamAutomaticMaskGenerator, SamPredictor
from scipy import ndimage

from napari_sam import Prompts, generate_masks
from napari_sam.masks import decode_rle, iou
from napari_sam.sam_segmenter import SamSegmenter

WEIGHTS = Path(__file__).with_name("sam_small.safetensors")


def main() -> None:
    """Compare, time, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--clicks", type=int, default=200)
    parser.add_argument("--repetitions", type=int, default=10)
    parser.add_argument("--generations", type=int, default=1, help="timed runs of generate_masks")
    parser.add_argument("--points-per-side", type=int, default=32)
    parser.add_argument("--pred-iou-thresh", type=float, default=0.88)
    parser.add_argument("--stability-score-thresh", type=float, default=0.95)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, help="JSON file for the results")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    segmenter, original = trained(args.weights)
    predictor = SamPredictor(original)
    plane = nuclei()
    embedding = segmenter.embed(plane)
    predictor.set_image(plane)
    clicks = random_clicks(plane, args.clicks)

    def reference(click: Prompts) -> np.ndarray:
        masks, scores, _ = predictor.predict(click.points[:, ::-1], click.point_labels)
        best: np.ndarray = masks[scores.argmax()]
        return best

    ours = [p.best() for p in segmenter.decode_many(embedding, clicks)]
    agreement = [iou(m, reference(c)) for m, c in zip(ours, clicks, strict=True)]
    half, _ = trained(args.weights, "bfloat16")
    rough = [p.best() for p in half.decode_many(half.embed(plane), clicks)]
    figures = {
        "least IoU of a click's mask with the reference's": min(agreement),
        "mean IoU of bfloat16 masks with float32's": float(
            np.mean([iou(a, b) for a, b in zip(ours, rough, strict=True)])
        ),
        "mean share of the plane in a mask": float(np.mean(ours)),
    }
    settings = {
        "points_per_side": args.points_per_side,
        "pred_iou_thresh": args.pred_iou_thresh,
        "stability_score_thresh": args.stability_score_thresh,
    }
    generator = SamAutomaticMaskGenerator(original, **settings)
    figures |= compare_everything(segmenter, generator, plane, settings)
    rows = {
        "click, best mask at full resolution": alternate(
            lambda: segmenter.decode(embedding, clicks[0]).best(),
            lambda: reference(clicks[0]),
            args.repetitions,
        ),
        "every object of a plane": alternate(
            lambda: generate_masks(segmenter, plane, **settings),
            lambda: generator.generate(plane),
            args.generations,
        ),
    }
    conclude(
        f"{segmenter.config.name}, {plane.shape[0]} × {plane.shape[1]}", rows, args.output, figures
    )


def nuclei(rows: int = 10, side: int = 1024) -> np.ndarray:
    """Draw `rows`² bright, round nuclei of different sizes, light and texture on dark ground."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side]
    grey = np.full((side, side), 12.0)
    pitch = side / rows
    for row, column in np.ndindex(rows, rows):
        cy, cx = (np.array([row, column]) + 0.5 + rng.uniform(-0.12, 0.12, 2)) * pitch
        angle, axes = rng.uniform(0, np.pi), pitch * rng.uniform(0.26, 0.36, 2)
        u = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
        v = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
        inside = 1 - np.hypot(u / axes[0], v / axes[1])  # 1 in the middle, 0 at the outline
        grey += rng.uniform(110, 200) / (1 + np.exp(-inside * axes.mean() / 3))
    coarse = rng.normal(1, 0.12, (side // 16, side // 16))
    texture = ndimage.gaussian_filter(np.kron(coarse, np.ones((16, 16))), 6)
    return np.repeat((grey * texture).clip(0, 255).astype(np.uint8)[..., None], 3, 2)


def random_clicks(plane: np.ndarray, count: int) -> list[Prompts]:
    """Click bright places of a plane at random."""
    grey = plane.mean(2)
    places = np.argwhere(grey > 80)
    chosen = np.random.default_rng(0).choice(len(places), count, replace=False)
    return [Prompts([tuple(places[i])], [1]) for i in chosen]


def compare_everything(
    segmenter: SamSegmenter, generator: Any, plane: np.ndarray, settings: dict[str, Any]
) -> dict[str, float]:
    """Count the masks of both and match them."""
    ours = [decode_rle(one.mask) for one in generate_masks(segmenter, plane, **settings)]
    theirs = [one["segmentation"] for one in generator.generate(plane)]
    matched = [max((iou(a, b) for b in ours), default=0.0) for a in theirs]
    return {
        "masks of everything, ours": len(ours),
        "masks of everything, reference": len(theirs),
        "mean IoU of the reference's masks with ours": float(np.mean(matched)) if matched else 0.0,
    }


if __name__ == "__main__":
    main()
