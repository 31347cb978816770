"""Whole cells by a cytoplasmic stain, and thread-like objects, in fluorescence and brightfield."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_sam.training.synthetic.fields import Field, blur, fibres, smooth_noise
from napari_sam.training.synthetic.optics import (
    digitise,
    expose,
    illumination,
    log_uniform,
    tint,
    to_rgb,
)
from napari_sam.training.synthetic.scene import Box, Scene, open_scene, scatter, thin
from napari_sam.training.synthetic.shapes import blob, rod, spread_cell

Painted = tuple[NDArray[np.uint8], NDArray[np.int32]]


def cytoplasm_cells(rng: np.random.Generator, size: int) -> Painted:
    """Cells filled by a cytoplasmic stain, with or without a nuclear one; whole cells labelled.

    Some are grey (one channel), some in two colours as merged pictures show them.
    """
    radius = log_uniform(rng, 8, 70)
    scene = open_scene(rng, size, radius * 0.6, radius * rng.uniform(0.02, 0.14))
    nuclei = Scene(size, scene.rows, scene.columns, scene.sway)
    spacing = radius * rng.uniform(1.5, 2.6)
    points = scatter(rng, size, spacing, jitter=0.42, margin=radius)
    points = thin(rng, points, size, spacing * rng.uniform(1, 4), rng.uniform(0.25, 1.0))
    spreading = rng.random() if rng.random() < 0.5 else 0.0
    lobes, nuclear = rng.uniform(0.03, 0.14), rng.uniform(0.3, 0.5)
    for y, x in points:
        r = radius * np.exp(np.clip(0.22 * rng.standard_normal(), -0.6, 0.6))
        shape = _cell(rng, scene, (y, x), r, spreading, lobes)
        if shape is None or scene.taken(*shape) > 0.4:
            continue
        label = scene.claim(*shape)
        k = radius * nuclear * np.exp(0.1 * rng.standard_normal())
        centre = (y + rng.normal(0, 0.12) * r, x + rng.normal(0, 0.12) * r)
        aspect = np.sqrt(rng.uniform(1, 1.6))
        kernel = blob(rng, nuclei, centre, (k * aspect, k / aspect), rng.uniform(0, np.pi), 0.04)
        if kernel is not None:
            nuclei.claim(*kernel, "over", label)
    scene.prune(30)
    # A nucleus stays inside its own cell, wherever contacts have pushed the outline.
    kernel_mask = ((nuclei.labels == scene.labels) & (scene.labels > 0)).astype(np.float32)
    cytoplasm = _cytoplasm(rng, scene, radius)
    mottle = smooth_noise(rng, size, max(radius * 0.06, 0.8))
    gain = np.exp(0.3 * rng.standard_normal(scene.count + 1)).astype(np.float32)
    nuclear_light = kernel_mask * gain[scene.labels] * np.maximum(1 + 0.15 * mottle, 0)
    focus = rng.uniform(0.5, 1.2) + 0.02 * radius * rng.random()
    light = illumination(rng, size, rng.uniform(0, 0.5))
    background = np.float32(log_uniform(rng, 0.005, 0.2))
    photons, read = log_uniform(rng, 30, 2000), log_uniform(rng, 0.002, 0.03)
    if rng.random() < 0.3:
        channels = [blur(cytoplasm, focus), blur(nuclear_light, focus)]
        grey = [expose(rng, (c + background) * light, photons, read) for c in channels]
        return _merge(rng, [digitise(rng, g) for g in grey]), scene.labels
    shine = rng.choice([-0.85, 0.0, 0.6, 1.5])
    signal = cytoplasm * (1 + np.float32(min(shine, 0)) * kernel_mask)
    signal = blur(signal + np.float32(max(shine, 0)) * nuclear_light, focus)
    exposed = expose(rng, (signal + background) * light, photons, read)
    return tint(rng, digitise(rng, exposed, saturate=0.01), 0.15), scene.labels


def threads(rng: np.random.Generator, size: int) -> Painted:
    """Bent filaments: hyphae, filamentous bacteria, worms, elongated mitochondria."""
    radius = log_uniform(rng, 2.2, 10)
    scene = open_scene(rng, size)
    area = size * size
    length = radius * rng.uniform(6, 40)
    most = max(area / (2 * radius * length) * rng.uniform(0.08, 0.4), 4)
    number = int(min(most, 40 * area / 256**2))
    stiffness = log_uniform(rng, 0.01, 0.16)
    for y, x in rng.uniform(-0.1 * size, 1.1 * size, (number, 2)):
        _thread(rng, scene, (y, x), radius, length * rng.uniform(0.4, 1.3), stiffness)
    scene.prune(20)
    depth = np.minimum(scene.depth, 1)
    inside = (scene.labels > 0).astype(np.float32)
    gain = np.exp(0.3 * rng.standard_normal(scene.count + 1)).astype(np.float32)[scene.labels]
    beads = 1 + np.float32(rng.uniform(0, 0.3)) * smooth_noise(rng, size, max(radius * 0.5, 0.9))
    body = inside * np.maximum(beads, 0.1) * gain
    focus = rng.uniform(0.5, 1.2) + 0.08 * radius * rng.random()
    if rng.random() < 0.5:
        signal = blur(body * (1 - np.float32(rng.uniform(0.1, 0.8)) * depth**2), focus)
        signal = signal + np.float32(rng.uniform(0, 0.2)) * blur(signal, radius * 3)
        signal = signal + np.float32(log_uniform(rng, 0.01, 0.3))
        signal = signal * illumination(rng, size, rng.uniform(0, 0.5))
        exposed = expose(rng, signal, log_uniform(rng, 20, 1500), 0.01)
        return tint(rng, digitise(rng, exposed), 0.1), scene.labels
    rim = depth**4 * inside
    image = np.float32(rng.uniform(-0.5, 0.3)) * body - np.float32(rng.uniform(0.2, 1)) * rim
    image = image + np.float32(rng.uniform(0.1, 0.9)) * blur(inside, radius * 0.5) * (1 - inside)
    image = blur(image, focus) + np.float32(rng.uniform(1, 2.5))
    image = image * illumination(rng, size, rng.uniform(0, 0.3))
    noise = np.float32(log_uniform(rng, 0.005, 0.08))
    image = image + noise * rng.standard_normal((size, size), dtype=np.float32)
    return to_rgb(digitise(rng, image, saturate=0.003)), scene.labels


def _cell(
    rng: np.random.Generator,
    scene: Scene,
    centre: tuple[float, float],
    radius: float,
    spreading: float,
    lobes: float,
) -> tuple[Box, Field] | None:
    if rng.random() < spreading:
        arms, stretch = int(rng.integers(2, 6)), rng.uniform(1, 2.5)
        return spread_cell(rng, scene, centre, radius * 0.8, arms, stretch, rng.uniform(1.2, 2.2))
    aspect = np.sqrt(rng.uniform(1, 1.8))
    radii = (radius * aspect, radius / aspect)
    return blob(rng, scene, centre, radii, rng.uniform(0, np.pi), lobes, rng.choice([2.0, 2.6]))


def _cytoplasm(rng: np.random.Generator, scene: Scene, radius: float) -> Field:
    """Stain of the cell bodies: brighter in the middle, grainy or fibrous, cell by cell."""
    size = scene.size
    spread = rng.uniform(0.1, 0.6)
    gain = np.exp(np.clip(spread * rng.standard_normal(scene.count + 1), -1.5, 1)).astype(
        np.float32
    )
    gain[0] = 0
    flat = np.float32(rng.uniform(0.15, 0.9))
    profile = flat + (1 - flat) * np.maximum(1 - scene.depth, 0)
    grain = smooth_noise(rng, size, max(radius * rng.uniform(0.03, 0.12), 0.8))
    texture = 1 + np.float32(rng.uniform(0.05, 0.35)) * grain
    if rng.random() < 0.3:
        bundle = fibres(rng, size, max(0.06 * radius, 1.0), rng.uniform(0, np.pi), 2.0)
        texture = texture + np.float32(rng.uniform(0.1, 0.5)) * bundle
    cytoplasm = profile * gain[scene.labels] * np.maximum(texture, 0.1)
    if rng.random() < 0.3:
        edge = scene.depth**8 * (scene.labels > 0)
        cytoplasm = cytoplasm + np.float32(rng.uniform(0.2, 1)) * edge
    return cytoplasm


def _merge(rng: np.random.Generator, channels: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Two grey channels overlaid in colours: the second usually blue, the first green or red."""
    first = np.array([[0.1, 1, 0.1], [1, 0.1, 0.1], [0.9, 0.9, 0.2], [0.8, 0.8, 0.8]])
    colours = np.stack([first[rng.integers(len(first))], [0.15, 0.25, 1.0]])
    picture = np.empty((*channels[0].shape, 3), np.uint8)
    for index in range(3):
        total = sum(
            np.float32(colour[index]) * channel
            for colour, channel in zip(colours, channels, strict=True)
        )
        picture[..., index] = np.minimum(total, 255)
    return picture


def _thread(
    rng: np.random.Generator,
    scene: Scene,
    start: tuple[float, float],
    radius: float,
    length: float,
    stiffness: float,
) -> None:
    """Claim one filament: short rods end to end along a path whose curvature wanders."""
    y, x = start
    angle, curvature = rng.uniform(0, 2 * np.pi), 0.0
    step = radius * 1.5
    label = None
    for _ in range(max(2, int(length / step))):
        curvature = 0.8 * curvature + stiffness * rng.standard_normal()
        angle += curvature
        y, x = y + step * np.sin(angle), x + step * np.cos(angle)
        piece = rod(scene, (y, x), step * 0.75 + radius, radius, angle)
        if piece is not None:
            label = scene.claim(*piece, "nearest", label)
