"""From an ideal signal to what a camera hands over: light, blur, noise, eight bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam.training.synthetic.fields import Field, smooth_noise


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """One value whose logarithm is uniform between those of ``low`` and ``high``."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def illumination(rng: np.random.Generator, size: int, strength: float) -> Field:
    """Uneven light: a tilt, a vignette and slow drift, ``(size, size)`` around 1.

    ``strength`` is about the relative difference between the brightest and darkest corner.
    """
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    y, x = axis[:, None], axis[None, :]
    angle = rng.uniform(0, 2 * np.pi)
    tilt = np.float32(np.cos(angle)) * x + np.float32(np.sin(angle)) * y
    cy, cx = rng.uniform(-0.5, 0.5, 2).astype(np.float32)
    vignette = (y - cy) ** 2 + (x - cx) ** 2
    weights = rng.dirichlet([1.0, 1.0, 1.0]) * strength
    light = 1 + np.float32(weights[0] * 0.5) * tilt - np.float32(weights[1] * 0.5) * vignette
    light = light + np.float32(weights[2] * 0.25) * smooth_noise(rng, size, size / 4)
    return np.maximum(light, 0.15)


def expose(
    rng: np.random.Generator, signal: Field, photons: float, read_noise: float = 0.0
) -> Field:
    """Add shot noise for ``photons`` counts at signal 1 and read noise (in signal units).

    Counts are drawn exactly where they are few; above 15 their normal limit is used.
    """
    if photons < 15:
        exposed = rng.poisson(np.maximum(signal, 0) * photons).astype(np.float32) / np.float32(
            photons
        )
        scale = np.float32(read_noise)
        return exposed + scale * rng.standard_normal(signal.shape, dtype=np.float32)
    variance = np.maximum(signal, 0) * np.float32(1 / photons) + np.float32(read_noise**2)
    return signal + np.sqrt(variance) * rng.standard_normal(signal.shape, dtype=np.float32)


def digitise(
    rng: np.random.Generator,
    signal: Field,
    saturate: float = 0.002,
    fill: tuple[float, float] = (0.6, 1.0),
) -> NDArray[np.uint8]:
    """Stretch a grey ``(H, W)`` signal to eight bits, as acquisition software does.

    About ``saturate`` of the pixels clip at either end; the brightest reach a random share
    ``fill`` of the range.
    """
    sample = np.sort(signal[::3, ::3], axis=None)
    cut = int(rng.uniform(0, saturate) * len(sample))
    low, high = float(sample[cut]), float(sample[-1 - cut])
    scale = 255 * rng.uniform(*fill) / max(high - low, 1e-6)
    lift = rng.uniform(0, 12)
    return np.clip((signal - low) * np.float32(scale) + np.float32(lift), 0, 255).astype(np.uint8)


def to_rgb(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Repeat a grey ``(H, W)`` image in three channels."""
    return np.repeat(grey[..., None], 3, axis=2)


def tint(rng: np.random.Generator, grey: NDArray[np.uint8], share: float) -> NDArray[np.uint8]:
    """Turn ``(H, W)`` to RGB, in a ``share`` of cases through a one-colour fluorescence map."""
    if rng.random() >= share:
        return to_rgb(grey)
    weights = rng.uniform(0, 0.5, 3)
    weights[rng.integers(3)] = 1
    table = (np.arange(256)[:, None] * weights).astype(np.uint8)
    return table[grey]


def photograph(
    rng: np.random.Generator,
    densities: list[Field],
    stains: NDArray[np.float32],
    white: NDArray[np.floating[Any]],
    noise: float,
) -> NDArray[np.uint8]:
    """Picture ``(H, W, 3)`` of light absorbed by stains (Beer-Lambert), with camera noise.

    Parameters
    ----------
    densities
        One ``(H, W)`` amount per stain.
    stains
        ``(len(densities), 3)`` absorbance of a unit amount in red, green and blue.
    white
        ``(3,)`` colour of the empty field, 0…1.
    noise
        Standard deviation, in units of full scale; mostly grey, a little coloured.
    """
    shape = densities[0].shape
    grain = np.float32(255 * noise) * rng.standard_normal(shape, dtype=np.float32)
    hue = np.float32(255 * 0.5 * noise) * rng.standard_normal(shape, dtype=np.float32)
    picture = np.empty((*shape, 3), np.uint8)
    for channel in range(3):
        total: Field = np.zeros(shape, np.float32)
        for density, stain in zip(densities, stains, strict=True):
            total = total - np.float32(stain[channel]) * density
        light = np.exp(total) * np.float32(255 * white[channel])
        light = light + grain + np.float32(1 - channel) * hue
        picture[..., channel] = np.minimum(np.maximum(light, 0), 255)
    return picture
