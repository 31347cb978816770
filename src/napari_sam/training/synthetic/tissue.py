"""Stained sections in transmitted light: H&E colours and violet nuclear stains."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_sam.training.synthetic.fields import Field, blur, fibres, smooth_noise, soft_step
from napari_sam.training.synthetic.optics import log_uniform, photograph
from napari_sam.training.synthetic.scene import Scene, open_scene, scatter, thin
from napari_sam.training.synthetic.shapes import blob

Painted = tuple[NDArray[np.uint8], NDArray[np.int32]]


def pink_tissue(rng: np.random.Generator, size: int) -> Painted:
    """H&E section: purple nuclei on pink, fibrous or granular stroma with lumina."""
    radius = log_uniform(rng, 4, 40)
    angle = rng.uniform(0, np.pi)
    scene = _nuclei(rng, size, radius, rng.uniform(1.9, 3.6), angle)
    focus = rng.uniform(0.5, 1.0) + 0.03 * radius * rng.random()
    nuclear = blur(_chromatin(rng, scene, radius), focus)
    inside = blur((scene.labels > 0).astype(np.float32), focus)
    strands = fibres(rng, size, radius * rng.uniform(0.08, 0.25), angle, rng.uniform(0.3, 1.5))
    clouds = smooth_noise(rng, size, radius * rng.uniform(0.8, 3))
    grain = smooth_noise(rng, size, rng.uniform(0.8, 1.6))
    stroma = 1 + np.float32(rng.uniform(0.02, 0.18)) * strands + np.float32(0.2) * clouds
    stroma = stroma + np.float32(rng.uniform(0.04, 0.16)) * grain
    outside = 1 - inside
    if rng.random() < 0.5:
        lumen = smooth_noise(rng, size, radius * rng.uniform(1.2, 4)) - np.float32(
            rng.uniform(0.5, 1.6)
        )
        stroma = stroma * (1 - outside * soft_step(lumen, 14))
    eosin = np.maximum(stroma, 0.02) * (1 - np.float32(rng.uniform(0.2, 0.8)) * inside)
    wash = np.maximum(1 + 0.6 * clouds + 0.25 * strands, 0) * outside
    haematoxylin = np.float32(rng.uniform(0.7, 1.7)) * nuclear
    haematoxylin = haematoxylin + np.float32(rng.uniform(0.02, 0.2)) * wash
    haematoxylin = haematoxylin + _ghosts(rng, size, radius) * outside
    stains = np.array([[0.62, 0.72, 0.28], [0.10, 0.78, 0.32]], np.float32)
    stains = stains * rng.uniform(0.8, 1.25, stains.shape).astype(np.float32)
    white = rng.uniform(0.86, 0.99) * (1 - rng.uniform(0, 0.05, 3))
    amount = np.float32(rng.uniform(0.3, 0.9))
    layers = [haematoxylin, amount * eosin]
    return photograph(rng, layers, stains, white, rng.uniform(0.003, 0.025)), scene.labels


def purple_on_white(rng: np.random.Generator, size: int) -> Painted:
    """Nuclear stain on a bright field: violet nuclei, pale cytoplasm, ghosts out of focus."""
    radius = log_uniform(rng, 6, 60)
    angle = rng.uniform(0, np.pi)
    scene = _nuclei(rng, size, radius, rng.uniform(1.8, 3.6), angle)
    focus = rng.uniform(0.5, 1.1) + 0.03 * radius * rng.random()
    inside = blur((scene.labels > 0).astype(np.float32), focus)
    nuclear = blur(_chromatin(rng, scene, radius), focus)
    outside = 1 - inside
    relief = fibres(rng, size, rng.uniform(1.0, 3.0), angle, rng.uniform(0.5, 3))
    relief = relief - np.roll(relief, 2, axis=1)
    halo = np.maximum(blur(inside, radius * rng.uniform(0.15, 0.6)), 0)
    clouds = smooth_noise(rng, size, radius * rng.uniform(0.6, 2))
    pale = np.maximum(clouds - np.float32(rng.uniform(0, 1.5)), 0)
    wash = np.float32(rng.uniform(0, 0.3)) * pale + np.float32(rng.uniform(0, 0.4)) * halo
    stain = np.float32(rng.uniform(0.7, 1.9)) * nuclear + wash * outside
    stain = stain + _ghosts(rng, size, radius) * outside
    stain = stain + np.float32(rng.uniform(0.003, 0.02)) * relief * clouds
    hue = np.array([[0.62, 0.95, 0.22]], np.float32)
    hue = hue * rng.uniform(0.8, 1.2, hue.shape).astype(np.float32)
    if rng.random() < 0.5:
        white = np.array([0.76, 0.68, 0.86]) * rng.uniform(0.9, 1.1)
    else:
        white = np.full(3, rng.uniform(0.82, 0.97)) * (1 - rng.uniform(0, 0.06, 3))
    layers, white = [np.maximum(stain, -0.1)], np.minimum(white, 1)
    return photograph(rng, layers, hue, white, rng.uniform(0.002, 0.015)), scene.labels


def _nuclei(
    rng: np.random.Generator, size: int, radius: float, crowding: float, angle: float
) -> Scene:
    """Round and spindle-shaped nuclei that follow the fibres' direction ``angle``."""
    scene = open_scene(rng, size, radius, radius * rng.uniform(0.02, 0.16))
    spacing = radius * crowding
    points = scatter(rng, size, spacing, jitter=0.45, margin=radius)
    points = thin(rng, points, size, spacing * rng.uniform(0.8, 3), rng.uniform(0.2, 1.0))
    disorder = rng.uniform(0.1, 1.5)
    slender = rng.uniform(1.1, 2.4)
    spindles = rng.uniform(0, 0.8) if rng.random() < 0.4 else rng.uniform(0, 0.15)
    lobes = rng.uniform(0.02, 0.14)
    for y, x in points:
        r = radius * np.exp(np.clip(0.25 * rng.standard_normal(), -0.7, 0.7))
        aspect = np.sqrt(
            rng.uniform(2.5, 7) if rng.random() < spindles else rng.uniform(1, slender)
        )
        turn = angle + disorder * rng.standard_normal()
        shape = blob(rng, scene, (y, x), (r * aspect, r / aspect), turn, lobes)
        if shape is not None and scene.taken(*shape) < 0.5:
            scene.claim(*shape, "nearest")
    scene.prune()
    return scene


def _chromatin(rng: np.random.Generator, scene: Scene, radius: float) -> Field:
    """Stain inside the nuclei: darker rim, clumps, pale or dense from one to the next."""
    size = scene.size
    density = rng.uniform(1 - rng.uniform(0.1, 0.65), 1.1, scene.count + 1).astype(np.float32)
    density[0] = 0
    vesicular = rng.uniform(0, rng.uniform(0.1, 0.7), scene.count + 1).astype(np.float32)
    hollow = 1 - vesicular[scene.labels] * (1 - scene.depth**4)
    clumps = smooth_noise(rng, size, max(radius * rng.uniform(0.06, 0.16), 0.8))
    mottled = np.maximum(1 + np.float32(rng.uniform(0.08, 0.35)) * clumps, 0.2)
    stain = density[scene.labels] * hollow * mottled
    if radius > 9 and rng.random() < 0.6:
        nucleoli = np.clip(smooth_noise(rng, size, radius * 0.12) - 1.6, 0, 0.7)
        stain = stain * (1 + nucleoli)
    return stain


def _ghosts(rng: np.random.Generator, size: int, radius: float) -> Field | np.float32:
    """Unlabelled smudges of nuclei far from the plane of focus."""
    if rng.random() < 0.5:
        return np.float32(0)
    smudge = np.maximum(smooth_noise(rng, size, radius * rng.uniform(0.5, 0.9)) - 1.5, 0)
    return np.float32(rng.uniform(0.03, 0.25)) * smudge
