"""Random and filtered fields: the textures, warps and blurs every family is painted with.

All filters reflect at the border, so that an object cut by one edge never glows on the other.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import scipy.fft
from numpy.typing import NDArray

Field = NDArray[np.float32]

_FINE = 4
"""Samples per pixel of a fibre bundle's cross-section."""


def blur(field: Field, sigma: float) -> Field:
    """Gaussian blur in the cosine domain: its cost doesn't depend on ``sigma``.

    Parameters
    ----------
    field
        ``(H, W)`` or ``(H, W, C)`` float32; channels are blurred alike.
    sigma
        Standard deviation in pixels; 0 or less returns the field unchanged.
    """
    if sigma <= 0:
        return field
    spectrum = scipy.fft.dctn(field, axes=(0, 1), norm="ortho")
    rows = _gaussian_response(field.shape[0], round(float(sigma), 3))[:, None]
    columns = _gaussian_response(field.shape[1], round(float(sigma), 3))[None, :]
    response = rows * columns
    spectrum *= response if field.ndim == 2 else response[..., None]
    return scipy.fft.idctn(spectrum, axes=(0, 1), norm="ortho", overwrite_x=True)


def smooth_noise(rng: np.random.Generator, size: int, scale: float) -> Field:
    """Gaussian random field of zero mean and unit variance, ``(size, size)`` float32.

    ``scale`` is the standard deviation in pixels of the Gaussian that white noise would have
    been blurred with; only the coefficients that survive it are drawn.
    """
    kept = int(np.clip(np.ceil(1.3 * size / max(scale, 0.1)), 2, size))
    response = _gaussian_response(size, round(float(scale), 3))[:kept]
    return _synthesise(rng, size, response[:, None] * response[None, :])


def fibres(
    rng: np.random.Generator, size: int, width: float, angle: float, waviness: float
) -> Field:
    """Bundle of wavy fibres about ``width`` pixels wide; zero mean, about unit variance.

    They run along ``angle`` (radians, from the column axis towards increasing rows) and stray
    from it by ``waviness`` times their spacing; they fade in and out on their way.
    """
    axis = np.arange(size, dtype=np.float32)
    total = np.zeros((size, size), np.float32)
    profile = smooth_line(rng, 4096, max(width, 0.5) * _FINE)
    for turn in (0.0, rng.normal(0, 0.5)):
        cos, sin = np.float32(np.cos(angle + turn)), np.float32(np.sin(angle + turn))
        across = axis[:, None] * cos - axis[None, :] * sin
        across = across + np.float32(waviness * width * 6) * smooth_noise(rng, size, 12 * width)
        at = ((across + np.float32(rng.uniform(0, 1000))) * np.float32(_FINE)).astype(np.int32)
        strength = np.maximum(smooth_noise(rng, size, 8 * width) + np.float32(0.6), 0)
        total += strength * profile[at & 4095]
    return total


def smooth_line(rng: np.random.Generator, length: int, scale: float) -> Field:
    """Periodic 1-D Gaussian noise of zero mean, unit variance, blurred by ``scale`` samples."""
    frequency = np.fft.rfftfreq(length).astype(np.float32)
    response = np.exp(-2 * (np.float32(np.pi * scale) * frequency) ** 2)
    response[0] = 0
    white = rng.standard_normal(len(frequency)) + 1j * rng.standard_normal(len(frequency))
    line = scipy.fft.irfft((white * response).astype(np.complex64), n=length)
    return line / np.float32(max(float(line.std()), 1e-9))


def shift_difference(field: Field, dy: float, dx: float) -> Field:
    """Differentiate ``field`` along ``(dy, dx)`` (central differences, same shape)."""
    padded = np.pad(field, 1, mode="edge")
    down = padded[2:, 1:-1] - padded[:-2, 1:-1]
    right = padded[1:-1, 2:] - padded[1:-1, :-2]
    return np.float32(0.5 * dy) * down + np.float32(0.5 * dx) * right


def borders(labels: NDArray[np.int32]) -> Field:
    """1.0 on pixels whose right or lower neighbour carries another label, 0.0 elsewhere."""
    edge = np.zeros(labels.shape, np.float32)
    edge[:-1] = labels[:-1] != labels[1:]
    np.maximum(edge[:, :-1], labels[:, :-1] != labels[:, 1:], out=edge[:, :-1])
    return edge


def soft_step(field: Field, sharpness: float = 1.0) -> Field:
    """Logistic step of ``field``: 0.5 at zero, steeper with ``sharpness``."""
    return 1.0 / (1.0 + np.exp(np.clip(-np.float32(sharpness) * field, -30, 30)))


def _synthesise(rng: np.random.Generator, size: int, response: Field) -> Field:
    coefficients = rng.standard_normal(response.shape, dtype=np.float32) * response
    coefficients[0, 0] = 0
    coefficients *= size / max(float(np.sqrt(np.sum(coefficients**2))), 1e-12)
    # One axis after the other: the columns that were cut off are never transformed.
    tall = scipy.fft.idct(coefficients, n=size, axis=0, norm="ortho")
    return scipy.fft.idct(tall, n=size, axis=1, norm="ortho")


@lru_cache(maxsize=512)
def _gaussian_response(length: int, sigma: float) -> Field:
    frequency = np.arange(length) / (2 * length)
    return np.exp(-2 * (np.pi * sigma * frequency) ** 2).astype(np.float32)
