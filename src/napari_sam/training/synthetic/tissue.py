"""Stained sections and smears seen in transmitted light."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_sam.training.synthetic.fields import (
    Field,
    blur,
    oriented_noise,
    smooth_noise,
    soft_step,
)
from napari_sam.training.synthetic.optics import absorb, log_uniform, photograph
from napari_sam.training.synthetic.scene import Scene, open_scene, scatter, thin
from napari_sam.training.synthetic.shapes import blob

Painted = tuple[NDArray[np.uint8], NDArray[np.int32]]


def pink_tissue(rng: np.random.Generator, size: int) -> Painted:
    """H&E section: purple nuclei on pink, fibrous stroma with lumina and red cells."""
    radius = log_uniform(rng, 4, 32)
    scene = _nuclei(rng, size, radius, crowding=rng.uniform(1.9, 3.6))
    texture = _chromatin(rng, scene, radius)
    angle = rng.uniform(0, np.pi)
    fibres = oriented_noise(rng, size, radius * rng.uniform(1.5, 5), rng.uniform(0.8, 2.5), angle)
    clouds = smooth_noise(rng, size, radius * rng.uniform(0.8, 3))
    grain = smooth_noise(rng, size, 1.0)
    fibrous = rng.uniform(0.05, 0.3)
    stroma = 1 + np.float32(fibrous) * fibres + np.float32(0.2) * clouds + np.float32(0.06) * grain
    if rng.random() < 0.5:
        openness = rng.uniform(0.6, 1.8)
        gaps = soft_step(smooth_noise(rng, size, radius * rng.uniform(1.5, 4)) - openness, 12)
        stroma = stroma * (1 - gaps * (scene.labels == 0))
    eosin = np.float32(rng.uniform(0.35, 0.9)) * np.maximum(stroma, 0.02)
    inside = (scene.labels > 0).astype(np.float32)
    eosin = eosin * (1 - np.float32(rng.uniform(0.2, 0.7)) * inside)
    wash = np.float32(rng.uniform(0.02, 0.18)) * np.maximum(1 + 0.6 * clouds + 0.3 * fibres, 0)
    haematoxylin = texture * np.float32(rng.uniform(0.7, 1.6)) + wash * (1 - inside)
    focus = rng.uniform(0.5, 1.1) + 0.03 * radius * rng.random()
    stains = np.array([[0.62, 0.72, 0.28], [0.10, 0.78, 0.32]], np.float32)
    stains = stains * rng.uniform(0.8, 1.25, stains.shape).astype(np.float32)
    white = rng.uniform(0.86, 0.99) * (1 - rng.uniform(0, 0.05, 3))
    colour = absorb([haematoxylin, eosin], stains, white.astype(np.float32))
    return photograph(rng, colour, focus, rng.uniform(0.003, 0.025)), scene.labels


def purple_on_white(rng: np.random.Generator, size: int) -> Painted:
    """Nuclear stain on a bright field: violet nuclei, pale cytoplasm, ghosts out of focus."""
    radius = log_uniform(rng, 6, 45)
    scene = _nuclei(rng, size, radius, crowding=rng.uniform(1.8, 3.4))
    texture = _chromatin(rng, scene, radius)
    relief = oriented_noise(rng, size, radius * 2, rng.uniform(1, 3), rng.uniform(0, np.pi))
    clouds = np.maximum(
        smooth_noise(rng, size, radius * rng.uniform(0.6, 2)) - rng.uniform(0, 1.5), 0
    )
    inside = (scene.labels > 0).astype(np.float32)
    halo = blur(inside, radius * rng.uniform(0.15, 0.6)) * np.float32(rng.uniform(0, 0.4))
    wash = np.float32(rng.uniform(0.0, 0.35)) * clouds + halo
    stain = texture * np.float32(rng.uniform(0.7, 1.8)) + wash * (1 - inside)
    stain = stain + np.float32(rng.uniform(0.005, 0.035)) * relief
    hue = np.array([[0.62, 0.95, 0.22]], np.float32)
    hue = hue * rng.uniform(0.8, 1.2, hue.shape).astype(np.float32)
    if rng.random() < 0.5:
        white = np.array([0.76, 0.68, 0.86]) * rng.uniform(0.9, 1.1)
    else:
        white = np.full(3, rng.uniform(0.82, 0.97)) * (1 - rng.uniform(0, 0.06, 3))
    colour = absorb([np.maximum(stain, -0.1)], hue, np.minimum(white, 1).astype(np.float32))
    focus = rng.uniform(0.5, 1.2) + 0.04 * radius * rng.random()
    return photograph(rng, colour, focus, rng.uniform(0.002, 0.015)), scene.labels


def _nuclei(rng: np.random.Generator, size: int, radius: float, crowding: float) -> Scene:
    scene = open_scene(rng, size, radius, radius * rng.uniform(0.02, 0.16))
    spacing = radius * crowding
    points = scatter(rng, size, spacing, jitter=0.45, margin=radius)
    points = thin(rng, points, size, spacing * rng.uniform(0.8, 3), rng.uniform(0.35, 1.0))
    flow = smooth_noise(rng, size, size / 5) * np.float32(rng.uniform(0, 1.5))
    base = rng.uniform(0, np.pi)
    slender = rng.uniform(1.1, 2.4)
    spindle_share = rng.uniform(0, 0.4)
    for y, x in points:
        r = radius * np.exp(np.clip(0.25 * rng.standard_normal(), -0.7, 0.7))
        spindle = rng.random() < spindle_share
        aspect = np.sqrt(rng.uniform(2.5, 6) if spindle else rng.uniform(1, slender))
        row, column = min(max(int(y), 0), size - 1), min(max(int(x), 0), size - 1)
        angle = base + float(flow[row, column]) + 0.4 * rng.standard_normal()
        shape = blob(rng, scene, (y, x), (r * aspect, r / aspect), angle, rng.uniform(0.02, 0.14))
        if shape is not None:
            scene.claim(*shape, "nearest")
    scene.prune()
    return scene


def _chromatin(rng: np.random.Generator, scene: Scene, radius: float) -> Field:
    """Stain inside the nuclei: darker rim, clumps, pale or dense from one to the next."""
    size = scene.size
    density = rng.uniform(1 - rng.uniform(0.1, 0.65), 1.1, scene.count + 1).astype(np.float32)
    density[0] = 0
    vesicular = rng.uniform(0, 0.6, scene.count + 1).astype(np.float32)
    depth = np.minimum(scene.depth, 1)
    hollow = 1 - vesicular[scene.labels] * (1 - depth**3)
    clumps = smooth_noise(rng, size, max(radius * rng.uniform(0.06, 0.16), 0.8))
    mottled = np.maximum(1 + np.float32(rng.uniform(0.08, 0.35)) * clumps, 0.2)
    stain = density[scene.labels] * hollow * mottled
    if radius > 9 and rng.random() < 0.6:
        nucleoli = np.clip(smooth_noise(rng, size, radius * 0.12) - 1.6, 0, 0.7)
        stain = stain * (1 + nucleoli)
    return stain
