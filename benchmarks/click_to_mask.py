"""From a click on an embedded plane to its mask at full resolution: nano, and vit_b against
PyPI's `segment-anything`.

    python benchmarks/click_to_mask.py --output click_to_mask.json

nano is compared with the reference's vit_b too: that is what a user of either waits for.
"""  # noqa: D205

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from against_reference import alternate, conclude, networks, picture

from napari_sam import Prompts, load_segmenter

POINT = (250, 300)


def main() -> None:
    """Compare, time, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--side", type=int, default=512, help="of the square plane, in pixels")
    parser.add_argument("--output", type=Path, help="JSON file for the results")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    plane, click = picture(args.side), Prompts([POINT], [1])

    segmenter, predictor = networks("vit_b")
    predictor.set_image(plane)
    embedding = segmenter.embed(plane)
    point, label = np.array([POINT[::-1]]), np.array([1])

    def reference() -> np.ndarray:
        masks, scores, _ = predictor.predict(point, label, multimask_output=True)
        return masks[scores.argmax()]

    mask, expected = segmenter.decode(embedding, click).best(), reference()
    agreement = np.count_nonzero(mask & expected) / max(1, np.count_nonzero(mask | expected))
    print(f"vit_b: IoU of our mask with the reference's: {agreement:.4f}")

    nano = load_segmenter("nano", device="cpu")
    small = nano.embed(plane)
    nano.prepare(small, click)
    rows = {
        "vit_b, click to mask": alternate(
            lambda: segmenter.decode(embedding, click).best(), reference, args.repetitions
        ),
        "nano, click to mask (reference: vit_b)": alternate(
            lambda: nano.decode(small, click).best(), reference, args.repetitions
        ),
    }
    conclude(f"click to mask, {args.side}²", rows, args.output)


if __name__ == "__main__":
    main()
