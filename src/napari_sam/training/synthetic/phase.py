"""Phase contrast and differential interference contrast of unstained, adherent cells."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_sam.training.synthetic.fields import Field, blur, shift_difference, smooth_noise
from napari_sam.training.synthetic.optics import digitise, illumination, log_uniform, to_rgb
from napari_sam.training.synthetic.scene import Scene, open_scene, scatter, thin
from napari_sam.training.synthetic.shapes import blob, spread_cell

Painted = tuple[NDArray[np.uint8], NDArray[np.int32]]


def phase_cells(rng: np.random.Generator, size: int) -> Painted:
    """Grey, granular cells in a grey field, each in a bright halo (large, flat, spindly)."""
    radius = log_uniform(rng, 8, 60)
    scene, rounded = _adherent(rng, size, radius)
    thickness = _thickness(rng, scene, radius)
    near = min(radius * rng.uniform(0.1, 0.3), 6) + 1.0
    inside = (scene.labels > 0).astype(np.float32)
    # The phase ring lets low frequencies leak: the halo is what a high pass leaves outside.
    halo = np.float32(rng.uniform(0.5, 1.3)) * blur(thickness, near)
    halo = halo + np.float32(rng.uniform(0, 0.4)) * blur(thickness, near * 4)
    image = halo - thickness
    # Flat cells hardly differ from the medium: what shows is their texture and their rim.
    image = image + np.float32(rng.uniform(-0.15, 0.12)) * blur(inside, 0.8)
    image = image + _rim(rng, scene, inside) + _dirt(rng, size, radius) * (1 - inside)
    image = image + _refractile(rng, scene, rounded)
    return _develop(rng, blur(image, rng.uniform(0.5, 1.0)), size), scene.labels


def dic_cells(rng: np.random.Generator, size: int) -> Painted:
    """Relief of optical thickness: one side bright, the other dark."""
    radius = log_uniform(rng, 8, 60)
    scene, _ = _adherent(rng, size, radius)
    thickness = blur(_thickness(rng, scene, radius), rng.uniform(0.6, 1.4))
    angle = rng.uniform(0, 2 * np.pi)
    relief = shift_difference(thickness, np.sin(angle), np.cos(angle))
    image = relief * np.float32(rng.uniform(1.2, 3.0) * min(radius / 12, 2.0))
    image = (
        image + np.float32(rng.uniform(-0.06, 0.06)) * thickness + 0.5 * _dirt(rng, size, radius)
    )
    return _develop(rng, image, size), scene.labels


def _adherent(rng: np.random.Generator, size: int, radius: float) -> tuple[Scene, list[int]]:
    """Cells of one culture, round, epithelial, bipolar or many-armed; the rounded-up ones."""
    scene = open_scene(rng, size, max(radius * 0.3, 4), radius * rng.uniform(0.03, 0.12))
    habit = rng.choice(["round", "polygonal", "bipolar", "spread"], p=[0.2, 0.2, 0.3, 0.3])
    crowding = rng.uniform(1.6, 3.0) if habit in ("round", "polygonal") else rng.uniform(1.8, 3.4)
    spacing = radius * crowding
    points = scatter(rng, size, spacing, jitter=0.45, margin=radius)
    points = thin(rng, points, size, spacing * rng.uniform(0.8, 3), rng.uniform(0.35, 1.0), 80)
    rounding = rng.uniform(0, 0.3) if rng.random() < 0.4 else 0.0
    rounded = []
    for y, x in points:
        r = radius * np.exp(np.clip(0.22 * rng.standard_normal(), -0.6, 0.6))
        if rng.random() < rounding:
            r = max(0.5 * r, 4.0)
            ball = blob(rng, scene, (y, x), (r, r * rng.uniform(0.8, 1)), 0.0, 0.02)
            if ball is not None:
                rounded.append(scene.claim(*ball, "over"))
            continue
        if habit == "round":
            shape = blob(rng, scene, (y, x), (r, r * rng.uniform(0.75, 1)), 0.0, 0.03)
        elif habit == "polygonal":
            aspect = np.sqrt(rng.uniform(1, 1.9))
            shape = blob(
                rng, scene, (y, x), (r * aspect, r / aspect), rng.uniform(0, np.pi), 0.16, 2.6
            )
        elif habit == "bipolar":
            shape = spread_cell(
                rng, scene, (y, x), r * 0.8, 2, rng.uniform(1.8, 5), rng.uniform(1.6, 3)
            )
        else:
            shape = spread_cell(
                rng, scene, (y, x), r * 0.8, int(rng.integers(2, 6)), rng.uniform(1, 1.8),
                rng.uniform(1.2, 2.4),
            )  # fmt: skip
        if shape is not None:
            scene.claim(*shape, "nearest")
    scene.prune(30)
    return scene, rounded


def _thickness(rng: np.random.Generator, scene: Scene, radius: float) -> Field:
    """Optical path through the cells: body, flat margin, nucleus, granules and vacuoles."""
    size = scene.size
    depth = np.minimum(scene.depth, 1)
    height = rng.uniform(0.35, 1.0, scene.count + 1).astype(np.float32)
    height[0] = 0
    inside = (scene.labels > 0).astype(np.float32)
    flatness = np.float32(rng.uniform(0.1, 0.6))
    body = flatness + (1 - flatness) * np.maximum(1 - depth, 0) ** np.float32(rng.uniform(0.5, 1.5))
    thickness = body * height[scene.labels]
    cytoplasm = smooth_noise(rng, size, max(radius * 0.12, 1.2))
    granules = np.maximum(smooth_noise(rng, size, rng.uniform(0.8, 1.6)) - rng.uniform(0.8, 1.8), 0)
    thickness = thickness * (1 + np.float32(rng.uniform(0.05, 0.25)) * cytoplasm)
    grainy = np.float32(rng.uniform(0, 0.5))
    thickness = thickness + grainy * granules * inside * np.clip(1.3 - depth, 0, 1)
    if radius > 10 and rng.random() < 0.7:
        # A nucleus shows as a smooth, slightly different disc with one or two nucleoli.
        core = np.clip((np.float32(0.35) - depth) * 12, 0, 1)
        nucleoli = np.clip(smooth_noise(rng, size, radius * 0.08) - 1.2, 0, 1)
        thickness = (
            thickness * (1 - np.float32(rng.uniform(0, 0.35)) * core) + 0.5 * core * nucleoli
        )
    return thickness


def _rim(rng: np.random.Generator, scene: Scene, inside: Field) -> Field | np.float32:
    """Thin bright or dark line along the outlines, as edges of flat cells show."""
    if rng.random() < 0.3:
        return np.float32(0)
    sigma = rng.uniform(0.6, 1.4)
    edge = blur(inside, sigma) - blur(inside, sigma * 2)
    return edge * np.float32(rng.uniform(-0.9, 0.9))


def _refractile(rng: np.random.Generator, scene: Scene, rounded: list[int]) -> Field | np.float32:
    """Glare of cells that rounded up to divide or to die: bright, with a dark edge."""
    if not rounded:
        return np.float32(0)
    glowing = np.zeros(scene.count + 1, np.float32)
    glowing[rounded] = rng.uniform(0.4, 1.5, len(rounded))
    return np.clip(1.1 - 1.5 * scene.depth, -0.6, 1) * glowing[scene.labels]


def _dirt(rng: np.random.Generator, size: int, radius: float) -> Field:
    """Medium and coverslip, unlabelled: fine texture, dark flecks, patches of debris."""
    texture = np.float32(rng.uniform(0.003, 0.03)) * smooth_noise(rng, size, rng.uniform(0.7, 2.5))
    if rng.random() < 0.5:
        flecks = smooth_noise(rng, size, rng.uniform(0.9, 2)) - np.float32(rng.uniform(2.0, 2.8))
        texture = texture - np.float32(rng.uniform(0.1, 0.5)) * np.maximum(flecks, 0)
    if rng.random() < 0.35:
        patch = smooth_noise(rng, size, radius * rng.uniform(0.2, 0.5)) - rng.uniform(1.6, 2.4)
        crumbs = smooth_noise(rng, size, rng.uniform(0.8, 1.6)) * np.clip(4 * patch, 0, 1)
        texture = texture + np.float32(rng.uniform(0.03, 0.15)) * crumbs
    return texture


def _develop(rng: np.random.Generator, image: Field, size: int) -> NDArray[np.uint8]:
    level = rng.uniform(0.8, 1.6)
    grey = (image + np.float32(level)) * illumination(rng, size, rng.uniform(0, 0.35))
    noise = log_uniform(rng, 0.004, 0.05)
    grey = grey + np.float32(noise) * rng.standard_normal(grey.shape, dtype=np.float32)
    return to_rgb(digitise(rng, grey, saturate=0.003, fill=(0.55, 1.0)))
