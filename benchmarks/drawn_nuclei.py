"""Planes of drawn nuclei, to measure on without data.

    python benchmarks/drawn_nuclei.py --output runs/drawn

writes other such planes as a packed data set: what `configs/sam_small.toml` trains on.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from scipy import ndimage

# Rows of the planes of a data set, in turn.
ROWS = range(7, 13)


def main() -> None:
    """Draw a data set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--planes", type=int, default=60)
    parser.add_argument("--held-out", type=int, default=4, help="of them, for validation")
    parser.add_argument("--output", type=Path, required=True, help="folder for the data set")
    args = parser.parse_args()
    arrays, items = {}, []
    for seed in range(1, args.planes + 1):  # the benchmarks' own planes have seed 0
        plane, labels = draw_nuclei(ROWS[seed % len(ROWS)], seed=seed)
        name = f"drawn_{seed:03d}"
        arrays |= {f"{name}.image": plane, f"{name}.label": labels}
        items.append(
            {
                "id": name,
                "file": "drawn.npz",
                "source": "drawn",
                "modality": "fluorescence_drawn",
                "split": "train" if seed <= args.planes - args.held_out else "val",
                "dims": "YX",
            }
        )
    args.output.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(args.output / "drawn.npz", **arrays)
    (args.output / "manifest.json").write_text(json.dumps({"items": items}, indent=1) + "\n")


def draw_nuclei(rows: int = 10, side: int = 1024, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw `rows`² round nuclei of different sizes, light and texture on dark ground.

    Returns
    -------
    plane, labels
        `(side, side)` uint8 and int32.
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    grey, labels = np.full((side, side), 12.0), np.zeros((side, side), np.int32)
    pitch = side / rows
    for number, (row, column) in enumerate(np.ndindex(rows, rows), 1):
        cy, cx = (np.array([row, column]) + 0.5 + rng.uniform(-0.12, 0.12, 2)) * pitch
        angle, axes = rng.uniform(0, np.pi), pitch * rng.uniform(0.26, 0.36, 2)
        u = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
        v = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
        inside = 1 - np.hypot(u / axes[0], v / axes[1])  # 1 in the middle, 0 at the outline
        grey += rng.uniform(110, 200) / (1 + np.exp(-inside * axes.mean() / 3))
        labels[inside > 0] = number
    coarse = rng.normal(1, 0.12, (side // 16, side // 16))
    texture = ndimage.gaussian_filter(np.kron(coarse, np.ones((16, 16))), 6)
    return (grey * texture).clip(0, 255).astype(np.uint8), labels


if __name__ == "__main__":
    main()
