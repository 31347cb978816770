"""Geometric and photometric augmentation of labelled planes."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from skimage import measure
from torch.nn import functional as F

Rng = np.random.Generator


def to_rgb(image: NDArray[Any], rng: Rng) -> NDArray[np.float32]:
    """Stretch a plane to `(H, W, 3)` grey values 0-255, as the viewer would, give or take.

    RGB uint8 passes through; grey planes are stretched between random robust percentiles.
    """
    if image.ndim == 3:
        return image.astype(np.float32)
    sample = image[:: max(1, image.shape[0] // 128), :: max(1, image.shape[1] // 128)]
    low, high = map(float, np.percentile(sample, [rng.uniform(0, 2), rng.uniform(99, 100)]))
    stretched = (image.astype(np.float32) - low) * (255 / max(high - low, 1e-6))
    return np.repeat(np.clip(stretched, 0, 255)[..., None], 3, 2)


def crop_warped(
    image: NDArray[np.float32],
    labels: NDArray[Any],
    size: int,
    magnification: float,
    rng: Rng,
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Cut a square around a random object, scaled, rotated, flipped and elastically warped.

    Parameters
    ----------
    image, labels
        `(H, W, 3)` and `(H, W)`.
    size
        Side of the result in pixels.
    magnification
        Result pixels per plane pixel.

    Returns
    -------
    image, labels
        `(size, size, 3)` uint8 and `(size, size)` int32. Beyond the plane's border both are
        mirrored; mirror images that don't touch their object have labels of their own. A rotated
        crop stays within the plane where that is possible.
    """
    h, w = labels.shape
    reach = size / magnification / 2
    centre = _centre(labels, reach, rng)
    # one grid for both: positions in plane pixels of every result pixel
    angle = rng.uniform(0, 2 * np.pi) if rng.random() < 0.5 else rng.integers(4) * np.pi / 2
    flip = -1.0 if rng.random() < 0.5 else 1.0
    stretch = np.exp(rng.normal(0, 0.08))
    t = (np.arange(size, dtype=np.float32) - (size - 1) / 2) / magnification
    y, x = np.meshgrid(t * stretch, t * flip / stretch, indexing="ij")
    if rng.random() < 0.3:
        amplitude = rng.uniform(0, 4) / magnification
        y, x = y + amplitude * _smooth_noise(size, rng), x + amplitude * _smooth_noise(size, rng)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    rows, columns = centre[0] + cos * y - sin * x, centre[1] + sin * y + cos * x
    inside = (rows >= 0) & (rows <= h - 1) & (columns >= 0) & (columns <= w - 1)
    rows, columns = _mirror(rows, h), _mirror(columns, w)
    r0, r1 = int(rows.min()), int(rows.max()) + 2
    c0, c1 = int(columns.min()), int(columns.max()) + 2
    crop = torch.from_numpy(np.ascontiguousarray(image[r0:r1, c0:c1].transpose(2, 0, 1)))[None]
    if magnification < 0.7:  # grid sampling alone would alias
        sigma = 0.4 / magnification
        crop = torch.from_numpy(ndimage.gaussian_filter(crop.numpy(), (0, 0, sigma, sigma)))
    ch, cw = crop.shape[2:]
    grid = np.stack([(columns - c0 + 0.5) / cw * 2 - 1, (rows - r0 + 0.5) / ch * 2 - 1], -1)
    warped = F.grid_sample(
        crop,
        torch.from_numpy(grid.astype(np.float32))[None],
        padding_mode="border",
        align_corners=False,
    )[0]
    picked = labels[
        np.rint(rows).astype(int).clip(0, h - 1), np.rint(columns).astype(int).clip(0, w - 1)
    ].astype(np.int32)
    if not inside.all():
        pieces = measure.label(picked, background=0, connectivity=1)
        images = (picked > 0) & ~np.isin(pieces, pieces[inside])
        picked[images] = picked.max() + pieces[images]
    out = warped.numpy().transpose(1, 2, 0).clip(0, 255)
    return np.ascontiguousarray(out.astype(np.uint8)), picked


def augment_colours(image: NDArray[np.uint8], rng: Rng) -> NDArray[np.uint8]:
    """Vary contrast, colours, sharpness, light and noise of an `(S, S, 3)` uint8 image."""
    x = image.astype(np.float32) / 255
    size = x.shape[0]
    if rng.random() < 0.3:
        x = np.repeat((x @ rng.dirichlet([2, 2, 2]).astype(np.float32))[..., None], 3, 2)
    elif rng.random() < 0.3:
        x = x[..., rng.permutation(3)]
    if rng.random() < 0.12:
        tint = rng.uniform(0, 1, 3).astype(np.float32)
        x = x * (tint / max(float(tint.max()), 1e-3))
    if rng.random() < 0.15:
        x = 1 - x
    if rng.random() < 0.4:
        x = x.clip(0) ** np.float32(np.exp(rng.normal(0, 0.35)))  # inverted white is just below 0
    if rng.random() < 0.4:
        x = (x - 0.5) * np.float32(rng.uniform(0.4, 1.3)) + np.float32(0.5 + rng.normal(0, 0.1))
    if rng.random() < 0.2:
        light = 1 + 0.4 * rng.random() * _smooth_noise(size, rng, 2)
        x = x * light[..., None]
    if rng.random() < 0.2:
        sigma = rng.uniform(0.4, 2.0)
        x = ndimage.gaussian_filter(x, (sigma, sigma, 0))
    if rng.random() < 0.35:
        grey = rng.random() < 0.6
        noise = rng.standard_normal((size, size, 1 if grey else 3), np.float32)
        x = x + noise * np.float32(rng.uniform(0.01, 0.12))
    out = (np.clip(x, 0, 1) * 255).astype(np.uint8)
    if rng.random() < 0.1:
        buffer = io.BytesIO()
        Image.fromarray(out).save(buffer, "JPEG", quality=int(rng.integers(25, 90)))
        out = np.array(Image.open(buffer))
    return out


def _centre(labels: NDArray[Any], reach: float, rng: Rng) -> tuple[float, float]:
    h, w = labels.shape
    # a random object of a sampled grid, so that large and small ones both come
    sampled = labels[:: max(1, h // 64), :: max(1, w // 64)]
    ids = np.unique(sampled[sampled > 0])
    if len(ids) and rng.random() < 0.8:
        r, c = np.argwhere(sampled == ids[rng.integers(len(ids))]).mean(0)
        r, c = r * max(1, h // 64), c * max(1, w // 64)
        r, c = r + rng.uniform(-0.6, 0.6) * reach, c + rng.uniform(-0.6, 0.6) * reach
    else:
        r, c = rng.uniform(0, h), rng.uniform(0, w)
    return _keep_inside(r, reach, h), _keep_inside(c, reach, w)


def _keep_inside(position: float, reach: float, length: int) -> float:
    if 2 * reach >= length:
        return (length - 1) / 2
    return float(np.clip(position, reach, length - 1 - reach))


def _mirror(position: NDArray[np.float32], length: int) -> NDArray[np.float32]:
    period = 2 * max(length - 1, 1)
    folded = np.mod(position, period)
    return np.minimum(folded, period - folded)


def _smooth_noise(size: int, rng: Rng, cells: int = 6) -> NDArray[np.float32]:
    coarse = torch.from_numpy(rng.standard_normal((1, 1, cells, cells), np.float32))
    return F.interpolate(coarse, (size, size), mode="bicubic", align_corners=True)[0, 0].numpy()
