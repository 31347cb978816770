"""Planes of drawn nuclei, to measure on without data."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def draw_nuclei(rows: int = 10, side: int = 1024) -> tuple[np.ndarray, np.ndarray]:
    """Draw `rows`² round nuclei of different sizes, light and texture on dark ground.

    Returns
    -------
    plane, labels
        `(side, side)` uint8 and int32.
    """
    rng = np.random.default_rng(0)
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
