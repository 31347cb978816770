"""Electron microscopy: neuropil as a partition, and myelinated axons."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_sam.training.synthetic.fields import Field, blur, smooth_noise
from napari_sam.training.synthetic.membranes import tessellate, wall_of
from napari_sam.training.synthetic.optics import digitise, illumination, log_uniform, to_rgb
from napari_sam.training.synthetic.scene import Scene, open_scene, scatter, thin
from napari_sam.training.synthetic.shapes import blob

Painted = tuple[NDArray[np.uint8], NDArray[np.int32]]


def neuropil(rng: np.random.Generator, size: int) -> Painted:
    """Profiles of all sizes in dark membranes, with mitochondria, vesicles and grainy cytoplasm.

    Every profile is labelled, up to the middle of its membrane.
    """
    radius = log_uniform(rng, 10, 50)
    stretch = rng.uniform(1.8, 4.5)
    scene = tessellate(rng, size, radius, rng.uniform(0.4, 0.85), stretch, warp=0.5)
    membrane = wall_of(scene.labels, min(rng.uniform(0.9, 2.2), 0.12 * radius))
    tone = rng.uniform(rng.uniform(0.5, 0.9), 1.0, scene.count + 1).astype(np.float32)
    tone[rng.random(scene.count + 1) < rng.uniform(0, 0.15)] *= np.float32(rng.uniform(0.4, 0.8))
    grain = smooth_noise(rng, size, rng.uniform(0.9, 2.4))
    coarse = smooth_noise(rng, size, radius * 0.3)
    profile = tone[scene.labels] * (1 + np.float32(rng.uniform(0.03, 0.16)) * grain)
    # Filaments and ribosomes: dark grains on a pale ground rather than symmetric noise.
    dots = np.maximum(smooth_noise(rng, size, rng.uniform(0.8, 1.5)) - 1.0, 0)
    profile = profile - np.float32(rng.uniform(0, 0.3)) * dots + np.float32(0.04) * coarse
    grey = profile * (1 - _organelles(rng, scene, radius))
    grey = grey * (1 - np.float32(rng.uniform(0.5, 0.95)) * membrane)
    return _scan(rng, grey, size), scene.labels


def myelinated_axons(rng: np.random.Generator, size: int) -> Painted:
    """Cross-sections of nerve fibres: pale axons in dark rings, each labelled with its ring.

    In a third of the images only the axon inside the ring is labelled.
    """
    radius = log_uniform(rng, 6, 55)
    scene = open_scene(rng, size, radius * rng.uniform(0.5, 1), radius * rng.uniform(0.03, 0.13))
    points = scatter(rng, size, radius * rng.uniform(1.7, 2.6), jitter=0.4, margin=radius)
    points = thin(rng, points, size, radius * 3, rng.uniform(0.5, 1.0))
    spread = rng.uniform(0.15, 0.5)
    for y, x in points:
        r = radius * np.exp(np.clip(spread * rng.standard_normal(), -1.2, 0.9))
        aspect = np.sqrt(rng.uniform(1, 1.8))
        shape = blob(rng, scene, (y, x), (r * aspect, r / aspect), rng.uniform(0, np.pi), 0.1)
        if shape is not None and scene.taken(*shape) < 0.35:
            scene.claim(*shape)
    scene.prune(20)
    # The g-ratio: inner over outer diameter of the sheath.
    ratio = np.clip(rng.normal(rng.uniform(0.5, 0.85), 0.08, scene.count + 1), 0.3, 0.92)
    inner = ratio.astype(np.float32)[scene.labels]
    inside = (scene.labels > 0).astype(np.float32)
    axon = inside * (scene.depth < inner)
    grain = smooth_noise(rng, size, rng.uniform(0.8, 2))
    coarse = smooth_noise(rng, size, radius * 0.4)
    level = rng.uniform(0.65, 1.0)
    brightness = rng.uniform(0.6, 1.0, scene.count + 1).astype(np.float32)[scene.labels]
    around = level * (1 + np.float32(rng.uniform(0.03, 0.2)) * grain) + np.float32(0.1) * coarse
    around = around * (1 - np.float32(rng.uniform(0, 0.5)) * _web(rng, size, radius))
    within = brightness * (1 + np.float32(rng.uniform(0.02, 0.15)) * grain)
    within = within * (1 - 0.6 * _organelles(rng, scene, radius))
    lamellae = rng.uniform(0.05, 0.3) * (1 + np.float32(0.2) * grain)
    grey = around * (1 - inside) + within * axon + lamellae * (inside - axon)
    labels = scene.labels
    if rng.random() < 1 / 3:
        scene.labels = np.where(axon > 0, scene.labels, 0)
        scene.prune()
        labels = scene.labels
    return _scan(rng, grey, size), labels


def _web(rng: np.random.Generator, size: int, radius: float) -> Field:
    """Dark thin outlines of unlabelled processes between the axons."""
    valley = np.abs(smooth_noise(rng, size, radius * rng.uniform(0.15, 0.4)))
    return np.exp(-((valley / np.float32(0.15)) ** 2))


def _organelles(rng: np.random.Generator, scene: Scene, radius: float) -> Field:
    """Darkness 0…1 of mitochondria and vesicles inside the profiles."""
    size = scene.size
    number = min(int(size * size / radius**2 * rng.uniform(0.01, 0.15)), size // 8)
    darkness = np.zeros((size, size), np.float32)
    deep = rng.uniform(0.2, 0.85)
    for y, x in rng.uniform(0, size, (number, 2)):
        r = radius * rng.uniform(0.15, 0.45)
        shape = blob(rng, scene, (y, x), (r * rng.uniform(1, 2.2), r), rng.uniform(0, np.pi), 0.08)
        host = scene.labels[int(y), int(x)]
        if shape is None or host == 0:
            continue
        box, depth = shape
        body = (scene.labels[box] == host) & (depth < 1)
        edge = np.float32(deep) * (np.float32(0.75) + np.float32(0.25) * depth**6)
        np.copyto(darkness[box], edge, where=body)
    cristae = smooth_noise(rng, size, max(radius * 0.05, 1.0))
    darkness = darkness * np.maximum(1 + np.float32(rng.uniform(0.05, 0.4)) * cristae, 0)
    vesicles = np.clip(smooth_noise(rng, size, 1.3) - 1.2, 0, 0.6)
    clusters = np.maximum(smooth_noise(rng, size, radius * 0.7), 0)
    return np.clip(darkness + np.float32(rng.uniform(0, 0.5)) * vesicles * clusters, 0, 0.92)


def _scan(rng: np.random.Generator, grey: Field, size: int) -> NDArray[np.uint8]:
    """Beam blur, uneven detector, correlated scan noise, eight bits."""
    grey = blur(grey, rng.uniform(0.5, 1.1)) * illumination(rng, size, rng.uniform(0, 0.25))
    noise = np.float32(log_uniform(rng, 0.01, 0.1))
    grey = grey + noise * smooth_noise(rng, size, rng.uniform(0.25, 0.7))
    return to_rgb(digitise(rng, grey, saturate=0.015, fill=(0.75, 1.0)))
