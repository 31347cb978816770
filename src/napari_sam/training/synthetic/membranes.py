"""Whole cells that fill the plane: membranes and walls in fluorescence, neuropil in EM."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_sam.training.synthetic.fields import Field, blur, borders, smooth_noise
from napari_sam.training.synthetic.optics import digitise, expose, illumination, log_uniform, to_rgb
from napari_sam.training.synthetic.scene import Scene, open_scene, scatter
from napari_sam.training.synthetic.shapes import blob

Painted = tuple[NDArray[np.uint8], NDArray[np.int32]]


def membrane_cells(rng: np.random.Generator, size: int) -> Painted:
    """Epithelium with stained membranes; labels reach to the middle of the membranes."""
    radius = log_uniform(rng, 6, 60)
    scene = _tessellation(rng, size, radius, rng.uniform(0.05, 0.35), rng.uniform(1, 1.8))
    wall = _wall(scene.labels, max(0.7, radius * rng.uniform(0.02, 0.09)))
    patchy = 1 + np.float32(rng.uniform(0, 0.5)) * smooth_noise(rng, size, radius * 0.6)
    level = rng.uniform(0, rng.uniform(0.02, 0.35), scene.count + 1).astype(np.float32)
    grain = smooth_noise(rng, size, max(radius * 0.08, 1))
    cytoplasm = level[scene.labels] * np.maximum(1 + 0.4 * grain, 0)
    signal = wall * np.maximum(patchy, 0.15) + cytoplasm * (1 - wall)
    return _fluorescence(rng, signal, size), scene.labels


def plant_walls(rng: np.random.Generator, size: int) -> Painted:
    """Plant tissue: files of boxy cells with thick, even walls."""
    radius = log_uniform(rng, 8, 60)
    scene = _tessellation(rng, size, radius, rng.uniform(0.05, 0.3), rng.uniform(1, 2.6), True)
    wall = _wall(scene.labels, max(0.9, radius * rng.uniform(0.03, 0.12)))
    patchy = 1 + np.float32(rng.uniform(0, 0.3)) * smooth_noise(rng, size, radius)
    speck = np.maximum(smooth_noise(rng, size, 1.2) - 1.8, 0) * np.float32(rng.uniform(0, 0.5))
    signal = wall * np.maximum(patchy, 0.2) + speck + np.float32(rng.uniform(0, 0.15))
    return _fluorescence(rng, signal, size), scene.labels


def neuropil(rng: np.random.Generator, size: int) -> Painted:
    """EM section: pale profiles of all sizes in dark membranes, with mitochondria and vesicles."""
    radius = log_uniform(rng, 7, 30)
    scene = _tessellation(rng, size, radius, 0.75, 2.8, warp=0.45)
    membrane = _wall(scene.labels, rng.uniform(0.8, 2.0))
    tone = rng.uniform(0.62, 1.0, scene.count + 1).astype(np.float32)
    dark = rng.random(scene.count + 1) < 0.08
    tone[dark] *= np.float32(rng.uniform(0.5, 0.8))
    mottle = smooth_noise(rng, size, rng.uniform(1.0, 2.2))
    coarse = smooth_noise(rng, size, radius * 0.3)
    profile = tone[scene.labels] * (1 + np.float32(rng.uniform(0.05, 0.16)) * mottle)
    profile = profile + np.float32(0.04) * coarse
    organelles = _organelles(rng, scene, radius)
    grey = profile * (1 - organelles)
    grey = grey * (1 - np.float32(rng.uniform(0.6, 0.9)) * membrane)
    grey = blur(grey, rng.uniform(0.5, 1.1)) * illumination(rng, size, rng.uniform(0, 0.2))
    noise = np.float32(rng.uniform(0.02, 0.12))
    grey = grey + noise * smooth_noise(rng, size, rng.uniform(0.3, 0.7))
    return to_rgb(digitise(rng, grey, saturate=0.01, fill=(0.75, 1.0))), scene.labels


def _tessellation(
    rng: np.random.Generator,
    size: int,
    radius: float,
    spread: float,
    stretch: float,
    boxy: bool = False,
    warp: float = 0.15,
) -> Scene:
    """Partition of the plane into cells of mean radius ``radius`` (pixels).

    Sizes vary by ``spread`` (log standard deviation), outlines wander by ``warp`` radii.
    """
    scene = open_scene(rng, size, radius * rng.uniform(0.6, 1.2), radius * warp * rng.random())
    points = scatter(rng, size, radius * 1.9, jitter=rng.uniform(0.15, 0.45), margin=2.5 * radius)
    scene.depth[:] = 9
    base = rng.uniform(0, np.pi)
    reach = 2.1 + spread
    for y, x in points:
        r = radius * np.exp(np.clip(spread * rng.standard_normal(), -1.2, 1.2))
        aspect = np.sqrt(rng.uniform(1, stretch))
        angle = base + rng.normal(0, 0.08) if boxy else rng.uniform(0, np.pi)
        radii = (reach * r * aspect, reach * r / aspect)
        shape = blob(rng, scene, (y, x), radii, angle, squareness=3.2 if boxy else 2.0)
        if shape is not None:
            scene.claim(*shape, "nearest")
    scene.prune(20)
    return scene


def _wall(labels: NDArray[np.int32], half_width: float) -> Field:
    """1 in the middle of the borders between labels, falling off over ``half_width`` pixels."""
    line = blur(borders(labels), half_width)
    return 1 - np.exp(np.float32(-2.2 * half_width) * np.maximum(line, 0))


def _organelles(rng: np.random.Generator, scene: Scene, radius: float) -> Field:
    """Darkness 0…1 of mitochondria and vesicles inside the profiles."""
    size = scene.size
    inner = open_scene(rng, size, radius * 0.5, 1.0)
    number = int(size * size / radius**2 * rng.uniform(0.02, 0.2))
    darkness = np.zeros((size, size), np.float32)
    for y, x in rng.uniform(0, size, (number, 2)):
        r = radius * rng.uniform(0.2, 0.5)
        shape = blob(rng, inner, (y, x), (r * rng.uniform(1, 2), r), rng.uniform(0, np.pi))
        if shape is None:
            continue
        box, depth = shape
        host = scene.labels[box] == scene.labels[int(y), int(x)]
        np.copyto(darkness[box], np.float32(rng.uniform(0.3, 0.7)), where=host & (depth < 1))
    cristae = smooth_noise(rng, size, max(radius * 0.05, 0.9))
    darkness *= np.maximum(1 + 0.35 * cristae, 0)
    vesicles = np.clip(smooth_noise(rng, size, 1.3) - 1.2, 0, 0.5)
    field = np.maximum(smooth_noise(rng, size, radius * 0.7), 0)
    return np.clip(darkness + np.float32(rng.uniform(0, 0.6)) * vesicles * field, 0, 0.9)


def _fluorescence(rng: np.random.Generator, signal: Field, size: int) -> NDArray[np.uint8]:
    light = blur(signal, rng.uniform(0.4, 1.2))
    light = light + np.float32(rng.uniform(0, 0.3)) * blur(light, rng.uniform(3, 15))
    light = (light + np.float32(rng.uniform(0.0, 0.1))) * illumination(
        rng, size, rng.uniform(0, 0.7)
    )
    exposed = expose(rng, light, log_uniform(rng, 12, 1500), log_uniform(rng, 0.002, 0.05))
    if rng.random() < 0.4:
        exposed = blur(exposed, rng.uniform(0.3, 0.9))
    return to_rgb(digitise(rng, exposed, saturate=rng.choice([0.002, 0.02])))
