"""Encoding a plane and decoding a click, against PyPI's `segment-anything` in the same run.

    python benchmarks/encode_decode.py --model vit_b --output encode_decode.json

Both have the same random weights; their embeddings and logits are compared before they are timed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from against_reference import alternate, conclude, networks, picture

from napari_sam import Prompts


def best_of(prediction: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
    """Choose the reference's mask of the highest score."""
    masks, scores, _ = prediction
    best: np.ndarray = masks[scores.argmax()]
    return best


def main() -> None:
    """Compare, time, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="vit_b", help="a SAM preset: vit_t, vit_b, vit_l, vit_h")
    parser.add_argument("--precision", default="float32", help="of our encoder")
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--encodes", type=int, help="repetitions of the encoder, if fewer")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, help="JSON file for the results")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    segmenter, predictor = networks(args.model, args.precision)
    plane = picture()

    embedding = segmenter.embed(plane)
    predictor.set_image(plane)
    expected = predictor.get_image_embedding()
    error = float((embedding.features[0].float() - expected).abs().max() / expected.abs().max())
    print(f"relative error of the embedding: {error:.1e}")

    one = Prompts([(500, 300)], [1])
    many = [Prompts([(r, c)], [1]) for r in range(64, 1024, 128) for c in range(64, 1024, 128)]
    points_xy = np.stack([p.points[:, ::-1] for p in many])
    xy = predictor.transform.apply_coords_torch(torch.from_numpy(points_xy), plane.shape[:2])
    labels = torch.ones(len(many), 1)

    def reference_many() -> object:
        return predictor.predict_torch(xy, labels, multimask_output=True)

    rows = {
        f"{args.model} encode": alternate(
            lambda: segmenter.embed(plane),
            lambda: predictor.set_image(plane),
            args.encodes or args.repetitions,
            args.precision,
        )
    }
    rows["click, best mask at full resolution"] = alternate(
        lambda: segmenter.decode(embedding, one).best(),
        lambda: best_of(predictor.predict(one.points[:, ::-1], one.point_labels)),
        args.repetitions,
    )
    rows["click, three masks"] = alternate(
        lambda: segmenter.decode(embedding, one).masks(),
        lambda: predictor.predict_torch(xy[:1], labels[:1], multimask_output=True),
        args.repetitions,
    )
    rows[f"{len(many)} clicks in one batch, three masks each"] = alternate(
        lambda: [prediction.masks() for prediction in segmenter.decode_many(embedding, many)],
        reference_many,
        min(args.repetitions, 3),
    )
    conclude(f"{args.model}, {args.precision}, {plane.shape[0]}²", rows, args.output)


if __name__ == "__main__":
    main()
