"""Masks and their time against PyPI's `segment-anything`, both with the same trained weights.

    python benchmarks/masks_against_reference.py --output masks_against_reference.json

The weights are those of a small network of exactly SAM's architecture, trained on drawn nuclei;
see `configs/sam_small.toml`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from against_reference import alternate, conclude, trained
from drawn_nuclei import draw_nuclei
from reference import SamAutomaticMaskGenerator, SamPredictor

from napari_sam import Prompts, generate_masks
from napari_sam.masks import decode_rle, iou
from napari_sam.segmentation.network import SamSegmenter

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
    plane = np.repeat(draw_nuclei()[0][..., None], 3, 2)
    embedding = segmenter.embed(plane)
    predictor.set_image(plane)
    clicks = random_clicks(plane, args.clicks)

    def reference(click: Prompts) -> np.ndarray:
        masks, scores, _ = predictor.predict(click.points[:, ::-1], click.point_labels)
        best: np.ndarray = masks[scores.argmax()]
        return best

    exact = segmenter.decode_many(embedding, clicks)
    ours = [p.best() for p in exact]
    agreement = [iou(m, reference(c)) for m, c in zip(ours, clicks, strict=True)]
    half, _ = trained(args.weights, "bfloat16")
    rough = half.decode_many(half.embed(plane), clicks)
    same = [iou(a.best(), b.mask(a.best_index)) for a, b in zip(exact, rough, strict=True)]
    figures = {
        "least IoU of a click's mask with the reference's": min(agreement),
        "mean IoU of bfloat16 masks with float32's": float(
            np.mean([iou(a, b.best()) for a, b in zip(ours, rough, strict=True)])
        ),
        "the same of the candidate that float32 chooses": float(np.mean(same)),
        "mean share of the plane in a mask": float(np.mean(ours)),
    }
    settings = {
        "points_per_side": args.points_per_side,
        "pred_iou_thresh": args.pred_iou_thresh,
        "stability_score_thresh": args.stability_score_thresh,
    }
    generator = SamAutomaticMaskGenerator(original, **settings)
    theirs = [one["segmentation"] for one in generator.generate(plane)]
    figures["masks of everything, reference"] = len(theirs)
    figures |= compare_everything(segmenter, theirs, plane, settings)
    figures |= {
        f"{name}, bfloat16": figure
        for name, figure in compare_everything(half, theirs, plane, settings).items()
    }
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
        "the same in bfloat16": alternate(
            lambda: generate_masks(half, plane, **settings),
            lambda: generator.generate(plane),
            args.generations,
            "bfloat16",
        ),
    }
    conclude(
        f"{segmenter.traits.name}, {plane.shape[0]} × {plane.shape[1]}", rows, args.output, figures
    )


def random_clicks(plane: np.ndarray, count: int) -> list[Prompts]:
    """Click bright places of a plane at random."""
    grey = plane.mean(2)
    places = np.argwhere(grey > 80)
    chosen = np.random.default_rng(0).choice(len(places), count, replace=False)
    return [Prompts([tuple(places[i])], [1]) for i in chosen]


def compare_everything(
    segmenter: SamSegmenter, theirs: list[np.ndarray], plane: np.ndarray, settings: dict[str, Any]
) -> dict[str, float]:
    """Count our masks and match the reference's with them."""
    ours = [decode_rle(one.mask) for one in generate_masks(segmenter, plane, **settings)]
    matched = [max((iou(a, b) for b in ours), default=0.0) for a in theirs]
    return {
        "masks of everything, ours": len(ours),
        "mean IoU of the reference's masks with ours": float(np.mean(matched)) if matched else 0.0,
    }


if __name__ == "__main__":
    main()
