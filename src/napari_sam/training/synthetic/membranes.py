"""Whole cells that fill the plane: epithelia and plant tissue with stained borders."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_sam.training.synthetic.fields import Field, blur, borders, smooth_noise
from napari_sam.training.synthetic.optics import digitise, expose, illumination, log_uniform, tint
from napari_sam.training.synthetic.scene import Scene, bricks, open_scene, scatter
from napari_sam.training.synthetic.shapes import blob

Painted = tuple[NDArray[np.uint8], NDArray[np.int32]]


def membrane_cells(rng: np.random.Generator, size: int) -> Painted:
    """Epithelium with stained membranes; labels reach to the middle of the membranes."""
    radius = log_uniform(rng, 8, 75)
    scene = tessellate(rng, size, radius, rng.uniform(0.05, 0.35), rng.uniform(1, 1.8))
    wall = wall_of(scene.labels, max(0.7, radius * rng.uniform(0.015, 0.08)))
    patchy = 1 + np.float32(rng.uniform(0, 0.5)) * smooth_noise(rng, size, radius * 0.5)
    each = np.exp(rng.uniform(0, 0.5) * rng.standard_normal(scene.count + 1)).astype(np.float32)
    membrane = wall * np.maximum(patchy, 0.15) * each[scene.labels]
    level = rng.uniform(0, rng.uniform(0.02, 0.5), scene.count + 1).astype(np.float32)
    grain = smooth_noise(rng, size, max(radius * rng.uniform(0.04, 0.15), 0.9))
    cytoplasm = level[scene.labels] * np.maximum(1 + 0.4 * grain, 0)
    if rng.random() < 0.4:
        # The nucleus excludes, or less often collects, what stains the cytoplasm.
        core = np.clip((np.float32(rng.uniform(0.15, 0.25)) - scene.depth) * 15, 0, 1)
        cytoplasm = cytoplasm * (1 - np.float32(rng.choice([0.85, -0.8])) * core)
    if rng.random() < 0.3:
        speckles = np.maximum(smooth_noise(rng, size, rng.uniform(0.7, 1.5)) - 1.9, 0)
        cytoplasm = cytoplasm + np.float32(rng.uniform(0.2, 1)) * speckles
    return _image(rng, membrane + cytoplasm * (1 - wall), size), scene.labels


def plant_walls(rng: np.random.Generator, size: int) -> Painted:
    """Plant tissue: files of boxy cells, or rounder ones, with thick and even walls."""
    radius = log_uniform(rng, 8, 75)
    files = rng.random() < 0.6
    scene = tessellate(rng, size, radius, rng.uniform(0.02, 0.25), rng.uniform(1, 2.2), files)
    wall = wall_of(scene.labels, max(0.8, radius * rng.uniform(0.02, 0.1)))
    patchy = 1 + np.float32(rng.uniform(0, 0.35)) * smooth_noise(rng, size, radius)
    specks = np.maximum(smooth_noise(rng, size, rng.uniform(0.9, 2)) - 1.8, 0)
    signal = wall * np.maximum(patchy, 0.2) + np.float32(rng.uniform(0, 0.15))
    return _image(rng, signal + np.float32(rng.uniform(0, 0.4)) * specks, size), scene.labels


def tessellate(
    rng: np.random.Generator,
    size: int,
    radius: float,
    spread: float,
    stretch: float,
    files: bool = False,
    warp: float = 0.15,
) -> Scene:
    """Partition of the plane into cells of mean radius ``radius`` (pixels).

    Sizes vary by ``spread`` (log standard deviation), aspects reach ``stretch``, outlines wander
    by ``warp`` radii; ``files`` lines the cells up in rows. Scraps too small to be cells stay 0.
    """
    scene = open_scene(rng, size, radius * rng.uniform(0.6, 1.2), radius * warp * rng.random())
    scene.depth[:] = 9
    base = rng.uniform(0, np.pi)
    length = rng.uniform(1, stretch)
    if files:
        points = bricks(
            rng, size, 1.8 * radius / np.sqrt(length), 1.8 * radius * np.sqrt(length), base
        )
    else:
        points = scatter(
            rng, size, radius * 1.9, jitter=rng.uniform(0.15, 0.45), margin=1.6 * radius
        )
    reach = 1.8 + 0.6 * spread
    for y, x in points:
        r = radius * np.exp(np.clip(spread * rng.standard_normal(), -1.2, 1.2))
        aspect = np.sqrt(length if files else rng.uniform(1, stretch))
        angle = base if files else rng.uniform(0, np.pi)
        shape = blob(rng, scene, (y, x), (reach * r * aspect, reach * r / aspect), angle)
        if shape is not None:
            scene.claim(*shape)
    scene.partition(16)
    return scene


def wall_of(labels: NDArray[np.int32], half_width: float) -> Field:
    """1 in the middle of the borders between labels, falling off over ``half_width`` pixels."""
    line = blur(borders(labels), half_width)
    return 1 - np.exp(np.float32(-2.2 * half_width) * np.maximum(line, 0))


def _image(rng: np.random.Generator, signal: Field, size: int) -> NDArray[np.uint8]:
    light = blur(signal, rng.uniform(0.4, 1.2))
    light = light + np.float32(rng.uniform(0, 0.3)) * blur(light, rng.uniform(3, 15))
    light = light + np.float32(rng.uniform(0.0, 0.1))
    light = light * illumination(rng, size, rng.uniform(0, 0.7))
    exposed = expose(rng, light, log_uniform(rng, 12, 1500), log_uniform(rng, 0.002, 0.05))
    if rng.random() < 0.4:
        exposed = blur(exposed, rng.uniform(0.3, 0.9))
    return tint(rng, digitise(rng, exposed, saturate=rng.choice([0.002, 0.02])), 0.1)
