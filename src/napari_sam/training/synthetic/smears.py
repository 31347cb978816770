"""Cells spread on a slide, in transmitted light: grey cytology and blood."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_sam.training.synthetic.fields import Field, blur, fibres, smooth_noise
from napari_sam.training.synthetic.optics import (
    digitise,
    illumination,
    log_uniform,
    photograph,
    to_rgb,
)
from napari_sam.training.synthetic.scene import Scene, open_scene, scatter, thin
from napari_sam.training.synthetic.shapes import blob

Painted = tuple[NDArray[np.uint8], NDArray[np.int32]]


def grey_cytology(rng: np.random.Generator, size: int) -> Painted:
    """Squamous cells in brightfield: pale, folded sheets with dark nuclei; nuclei are labelled."""
    radius = log_uniform(rng, 20, 75)
    sheets = open_scene(rng, size, radius * 0.25, radius * rng.uniform(0.02, 0.06))
    kernels = open_scene(rng, size, radius * 0.2, radius * 0.015)
    points = scatter(rng, size, radius * rng.uniform(1.5, 2.4), jitter=0.45, margin=radius)
    points = thin(rng, points, size, radius * 2, rng.uniform(0.3, 0.9))
    absorbance = np.zeros((size, size), np.float32)
    nuclear = rng.uniform(0.1, 0.3)
    for y, x in points:
        r = radius * np.exp(0.25 * rng.standard_normal())
        aspect = np.sqrt(rng.uniform(1, 1.7))
        turn = rng.uniform(0, np.pi)
        sheet = blob(rng, sheets, (y, x), (r * aspect, r / aspect), turn, 0.14, rng.uniform(2, 4))
        if sheet is None:
            continue
        sheets.claim(*sheet, "over")
        # Overlapping sheets absorb one after the other, so their densities add.
        absorbance[sheet[0]] += (sheet[1] < 1) * np.float32(rng.uniform(0.1, 0.5))
        k = radius * nuclear * np.exp(0.25 * rng.standard_normal())
        centre = (y + rng.normal(0, 0.15) * r, x + rng.normal(0, 0.15) * r)
        kernel = blob(
            rng, kernels, centre, (k * rng.uniform(1, 1.4), k), rng.uniform(0, np.pi), 0.05
        )
        if kernel is not None and kernels.taken(*kernel) < 0.2:
            kernels.claim(*kernel, "under")
    for y, x in rng.uniform(0, size, (rng.poisson(4), 2)):
        k = radius * nuclear * rng.uniform(0.3, 0.7)
        kernel = blob(rng, kernels, (y, x), (k * rng.uniform(1, 1.5), k), rng.uniform(0, 3), 0.2)
        if kernel is not None and k > 3:
            kernels.claim(*kernel, "under")
    kernels.prune()
    sheet_edge = np.maximum(sheets.depth, 0) ** 12 * (sheets.labels > 0)
    folds = fibres(rng, size, rng.uniform(1.2, 3), rng.uniform(0, np.pi), 3.0)
    grain = smooth_noise(rng, size, rng.uniform(0.8, 1.8))
    mottled = 1 + np.float32(0.2) * smooth_noise(rng, size, radius * 0.15)
    mottled = mottled + np.float32(0.10) * grain + np.float32(rng.uniform(0.02, 0.12)) * folds
    density = absorbance * np.maximum(mottled + np.float32(0.4) * sheet_edge, 0)
    density = density + _flecks(rng, size)
    dark = rng.uniform(0.6, 1.8, kernels.count + 1).astype(np.float32)
    dark[0] = 0
    density = density + dark[kernels.labels] * np.maximum(1 + 0.2 * grain, 0.2)
    light = np.exp(-blur(density, rng.uniform(0.5, 1.2))) * illumination(rng, size, 0.15)
    noise = np.float32(log_uniform(rng, 0.003, 0.02))
    light = light + noise * rng.standard_normal((size, size), dtype=np.float32)
    return to_rgb(digitise(rng, light, saturate=0.01, fill=(0.8, 1.0))), kernels.labels


def blood_smear(rng: np.random.Generator, size: int) -> Painted:
    """Pink discs with a pale centre and a few white cells with violet nuclei, all labelled."""
    radius = log_uniform(rng, 6, 36)
    scene = open_scene(rng, size, radius, radius * rng.uniform(0, 0.08))
    points = scatter(rng, size, radius * rng.uniform(1.9, 3), jitter=0.4, margin=radius)
    points = thin(rng, points, size, radius * 4, rng.uniform(0.3, 1.0))
    white_share = rng.uniform(0, 0.12)
    eosin = np.zeros((size, size), np.float32)
    pallor, dip = rng.uniform(0, 0.85), rng.uniform(0.35, 0.6)
    whites = []
    for y, x in points:
        white = rng.random() < white_share
        r = radius * np.exp(0.08 * rng.standard_normal()) * (rng.uniform(1.2, 1.8) if white else 1)
        aspect = np.sqrt(rng.uniform(1, 1.25))
        shape = blob(rng, scene, (y, x), (r * aspect, r / aspect), rng.uniform(0, np.pi), 0.05)
        if shape is None or scene.taken(*shape) > 0.35:
            continue
        label = scene.claim(*shape, "nearest")
        box, depth = shape
        if white:
            whites.append((label, y, x, r))
        else:
            thickness = 1 - np.float32(pallor) * np.exp(-((depth / np.float32(dip)) ** 2))
            eosin[box] += thickness * (depth < 1) * np.float32(rng.uniform(0.8, 1.1))
    scene.prune()
    violet = np.zeros((size, size), np.float32)
    for label, y, x, r in whites:
        violet += _white_nucleus(rng, scene, label, (y, x), r)
    focus = rng.uniform(0.5, 1.3)
    violet = blur(violet, focus) * np.maximum(
        1 + 0.25 * smooth_noise(rng, size, radius * 0.15), 0.2
    )
    stains = np.array([[0.55, 0.95, 0.25], [0.12, 0.45, 0.35]], np.float32)
    stains = stains * rng.uniform(0.75, 1.25, stains.shape).astype(np.float32)
    white_point = rng.uniform(0.85, 0.98) * (1 - rng.uniform(0, 0.08, 3))
    background = np.float32(rng.uniform(0, 0.1)) * (1 + smooth_noise(rng, size, radius))
    amount = np.float32(rng.uniform(0.4, 1.3))
    layers = [violet, amount * np.maximum(blur(eosin, focus), 0) + background]
    return photograph(rng, layers, stains, white_point, rng.uniform(0.003, 0.02)), scene.labels


def _white_nucleus(
    rng: np.random.Generator, scene: Scene, label: int, centre: tuple[float, float], radius: float
) -> Field:
    """Violet stain of one white cell: a lobed nucleus in faint cytoplasm."""
    own = scene.labels == label
    stain = own * np.float32(rng.uniform(0.05, 0.3))
    for _ in range(rng.integers(1, 4)):
        y, x = np.asarray(centre) + rng.normal(0, 0.25 * radius, 2)
        k = radius * rng.uniform(0.35, 0.6)
        lobe = blob(rng, scene, (y, x), (k * 1.2, k), rng.uniform(0, np.pi), 0.1)
        if lobe is not None:
            stain[lobe[0]] = np.maximum(stain[lobe[0]], (lobe[1] < 1) * np.float32(1.1))
    return stain * own


def _flecks(rng: np.random.Generator, size: int) -> Field:
    """Dust and fibres on the slide, unlabelled."""
    specks = np.maximum(smooth_noise(rng, size, rng.uniform(0.8, 1.6)) - rng.uniform(2.2, 3.2), 0)
    return np.float32(rng.uniform(0.1, 0.6)) * specks
