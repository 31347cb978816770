"""Four bright discs on a dark, slightly noisy ground, as an image for the packaged model."""

import numpy as np

SHAPE = (120, 160)
DISCS = (((30, 30), 11), ((35, 100), 14), ((85, 60), 13), ((90, 130), 10))
CLICK = (85, 60)
AREA = 529  # pixels of the disc there


def four_discs(noise: float = 0.02) -> np.ndarray:
    """Make the image, `(120, 160)` float32 from 0 to 1."""
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    image = np.full(SHAPE, 0.1, np.float32)
    for (row, column), radius in DISCS:
        image[np.hypot(rows - row, columns - column) <= radius] = 0.85
    image += np.random.default_rng(22).normal(0, noise, SHAPE).astype(np.float32)
    return np.clip(image, 0, 1)
