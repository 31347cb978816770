"""Bacteria and yeast in brightfield, phase contrast and fluorescence."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_sam.training.synthetic.fields import Field, blur, smooth_noise
from napari_sam.training.synthetic.optics import digitise, expose, illumination, log_uniform, to_rgb
from napari_sam.training.synthetic.scene import Scene, open_scene, scatter, thin
from napari_sam.training.synthetic.shapes import blob, rod

Painted = tuple[NDArray[np.uint8], NDArray[np.int32]]


def rods(rng: np.random.Generator, size: int) -> Painted:
    """Rod-shaped bacteria, alone, in chains and in micro-colonies."""
    radius = log_uniform(rng, 3.0, 14)
    scene = open_scene(rng, size, radius * 4, radius * rng.uniform(0, 0.3))
    longest = rng.uniform(2.2, 6)
    points = scatter(rng, size, radius * rng.uniform(3, 9), jitter=0.45, margin=radius)
    points = thin(rng, points, size, radius * rng.uniform(4, 15), rng.uniform(0.15, 0.7))
    alignment = smooth_noise(rng, size, radius * 8) * np.float32(rng.uniform(0.3, 2.5))
    chaining = rng.uniform(0, 0.7)
    limit = int(300 * size / 256)
    for y, x in points:
        row, column = min(max(int(y), 0), size - 1), min(max(int(x), 0), size - 1)
        angle = float(alignment[row, column])
        while scene.count < limit:
            half = radius * rng.uniform(0.55, 1) * longest
            bend, waist = rng.normal(0, 0.06) * half, 0.3 * (rng.random() < 0.2)
            shape = rod(scene, (y, x), half, radius * rng.uniform(0.9, 1.1), angle, bend, waist)
            if shape is not None and scene.taken(*shape) < 0.2:
                scene.claim(*shape, "under")
            if rng.random() > chaining:
                break
            angle += rng.normal(0, 0.15)
            y, x = y + 2 * half * np.sin(angle), x + 2 * half * np.cos(angle)
    scene.prune(10)
    return _image(rng, scene, radius), scene.labels


def yeast(rng: np.random.Generator, size: int) -> Painted:
    """Round to oval yeast with buds; a bud that is still small belongs to its mother."""
    radius = log_uniform(rng, 5, 30)
    scene = open_scene(rng, size, radius * 2, radius * rng.uniform(0, 0.08))
    points = scatter(rng, size, radius * rng.uniform(2.0, 3), jitter=0.4, margin=radius)
    points = thin(rng, points, size, radius * rng.uniform(2, 8), rng.uniform(0.15, 0.9))
    for y, x in points:
        r = radius * np.exp(0.15 * rng.standard_normal())
        angle = rng.uniform(0, np.pi)
        mother = blob(rng, scene, (y, x), (r * rng.uniform(1, 1.3), r), angle, 0.02)
        if mother is None or scene.taken(*mother) > 0.3:
            continue
        label = scene.claim(*mother, "nearest")
        if rng.random() < 0.35:
            share = rng.uniform(0.3, 0.8)
            turn = rng.uniform(0, 2 * np.pi)
            gap = r * (1 + share * 0.85)
            centre = (y + gap * np.sin(turn), x + gap * np.cos(turn))
            bud = blob(rng, scene, centre, (r * share, r * share * 0.9), turn, 0.02)
            if bud is not None and scene.taken(*bud) < 0.4:
                scene.claim(*bud, "under", label if share < 0.5 else None)
    scene.prune(12)
    return _image(rng, scene, radius, rings=True), scene.labels


def _image(
    rng: np.random.Generator, scene: Scene, radius: float, rings: bool = False
) -> NDArray[np.uint8]:
    size = scene.size
    depth = np.minimum(scene.depth, 1)
    inside = (scene.labels > 0).astype(np.float32)
    gain = np.exp(0.2 * rng.standard_normal(scene.count + 1)).astype(np.float32)[scene.labels]
    texture = 1 + np.float32(rng.uniform(0, 0.25)) * smooth_noise(rng, size, max(radius * 0.2, 0.9))
    rim = np.exp(-(((depth - np.float32(0.88)) / np.float32(rng.uniform(0.08, 0.2))) ** 2)) * inside
    mode = rng.choice(["bright", "phase", "fluorescence"], p=[0.45, 0.3, 0.25])
    if mode == "fluorescence":
        hollow = np.float32(rng.uniform(0, 0.9) if rng.random() < 0.4 else 0)
        signal = gain * texture * (inside * (1 - hollow) + hollow * rim)
        light = blur(signal, rng.uniform(0.5, 1.2))
        light = light + np.float32(rng.uniform(0, 0.2)) * blur(light, radius * 2)
        light = (light + np.float32(rng.uniform(0.01, 0.2))) * illumination(rng, size, 0.4)
        exposed = expose(rng, light, log_uniform(rng, 30, 1500), 0.01)
        return to_rgb(digitise(rng, exposed))
    body = inside * gain * texture
    if mode == "phase":
        image = -body + np.float32(rng.uniform(0.8, 1.2)) * blur(body, radius * rng.uniform(0.4, 1))
    else:
        fill = np.float32(rng.uniform(-0.4, 0.5))
        image = fill * body - np.float32(rng.uniform(0.3, 1.0)) * rim
        glow = blur(inside, max(radius * rng.uniform(0.1, 0.35), 0.8))
        image = image + np.float32(rng.uniform(0.2, 1.0)) * glow * (1 - inside)
    if rings or rng.random() < 0.2:
        vacuole = np.clip((np.float32(0.5) - depth) * 8, 0, 1) * inside
        image = image + np.float32(rng.uniform(-0.3, 0.3)) * vacuole
    image = blur(image, rng.uniform(0.5, 1.3)) + np.float32(rng.uniform(1.0, 2.5))
    image = image * illumination(rng, size, rng.uniform(0, 0.3))
    noise = np.float32(log_uniform(rng, 0.005, 0.12))
    grain: Field = rng.standard_normal((size, size), dtype=np.float32)
    return to_rgb(digitise(rng, image + noise * grain, saturate=0.003, fill=(0.5, 1.0)))
