"""From a click on an embedded plane to its mask at full resolution: nano, and vit_b against
PyPI's `segment-anything`.

    python benchmarks/click_to_mask.py --output click_to_mask.json

nano is compared with the reference's vit_b too: that is what a user of either waits for. It looks
at a square around the click first, so that a large object takes longer than a small one.
"""  # noqa: D205

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from against_reference import alternate, conclude, networks, picture
from drawn_nuclei import draw_nuclei

from napari_sam import Prompts, load_segmenter
from napari_sam.prompts import deepest_point

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

    rows = {
        "vit_b, click to mask": alternate(
            lambda: segmenter.decode(embedding, click).best(), reference, args.repetitions
        )
    }
    nano = load_segmenter("nano", device="cpu", cache=False)
    for number in (8, 1):  # nuclei in a row
        drawn, labels = draw_nuclei(number, args.side)
        nucleus = labels == labels.max()
        small, inside = nano.embed(drawn), Prompts([deepest_point(nucleus)], [1])
        nano.prepare(small, inside)
        across = 2 * np.sqrt(np.count_nonzero(nucleus) / np.pi)
        rows[f"nano, a nucleus {across:.0f} pixels across (reference: vit_b)"] = alternate(
            lambda small=small, inside=inside: nano.decode(small, inside).best(),
            reference,
            args.repetitions,
        )
    conclude(f"click to mask, {args.side}²", rows, args.output)


if __name__ == "__main__":
    main()
