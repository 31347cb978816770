"""Fluorescent nuclei: sparse, crowded, out of focus, and noisy as in deep tissue."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_sam.training.synthetic.fields import Field, blur, smooth_noise
from napari_sam.training.synthetic.optics import digitise, expose, illumination, log_uniform, tint
from napari_sam.training.synthetic.scene import Rule, Scene, open_scene, scatter, thin
from napari_sam.training.synthetic.shapes import blob

Painted = tuple[NDArray[np.uint8], NDArray[np.int32]]


def sparse_nuclei(rng: np.random.Generator, size: int) -> Painted:
    """Separate nuclei on a dark field, some of them touching, with debris between."""
    radius = log_uniform(rng, 4, 70)
    scene = open_scene(rng, size, radius * 1.2, radius * rng.uniform(0, 0.12))
    spacing = radius * rng.uniform(2.0, 3.6)
    points = scatter(rng, size, spacing, jitter=0.45, margin=radius)
    points = thin(rng, points, size, spacing * rng.uniform(0.7, 2.5), rng.uniform(0.15, 0.8))
    _place(rng, scene, points, radius, rng.uniform(0.05, 0.4), "nearest")
    return _finish(rng, scene, radius, haze=rng.uniform(0, 0.5))


def crowded_nuclei(rng: np.random.Generator, size: int) -> Painted:
    """Nuclei packed until they touch and overlap, as in confluent cultures and spheroids."""
    radius = log_uniform(rng, 5, 55)
    scene = open_scene(rng, size, radius * 1.2, radius * rng.uniform(0, 0.14))
    spacing = radius * rng.uniform(1.45, 2.1)
    points = scatter(rng, size, spacing, jitter=rng.uniform(0.2, 0.45), margin=radius)
    points = thin(rng, points, size, spacing * rng.uniform(1, 4), rng.uniform(0.5, 1.0))
    rule: Rule = "over" if rng.random() < 0.15 else "nearest"
    _place(rng, scene, points, radius, rng.uniform(0.05, 0.25), rule)
    return _finish(rng, scene, radius, haze=rng.uniform(0, 1))


def noisy_nuclei(rng: np.random.Generator, size: int) -> Painted:
    """One slice of a volume: dim, grainy nuclei with light leaking in from other planes."""
    radius = log_uniform(rng, 6, 30)
    scene = open_scene(rng, size, radius, radius * rng.uniform(0, 0.1))
    spacing = radius * rng.uniform(1.7, 2.6)
    points = scatter(rng, size, spacing, jitter=0.4, margin=radius)
    points = thin(rng, points, size, spacing * 2, rng.uniform(0.4, 1.0))
    _place(rng, scene, points, radius, 0.25, "nearest")
    scene.prune()
    signal = _glow(rng, scene, radius, spread=rng.uniform(0.1, 0.4), texture=rng.uniform(0, 0.3))
    below: Field = np.maximum(smooth_noise(rng, size, radius * 0.9), 0)
    signal = signal + np.float32(rng.uniform(0, 0.3)) * below
    signal = blur(signal, rng.uniform(0.6, 0.18 * radius))
    signal = signal + np.float32(rng.uniform(0.02, 0.5))
    signal = signal * illumination(rng, size, rng.uniform(0, 0.5))
    exposed = expose(rng, signal, log_uniform(rng, 3, 60), rng.uniform(0, 0.25))
    if rng.random() < 0.6:
        exposed = blur(exposed, rng.uniform(0.4, 1.2))
    return tint(rng, digitise(rng, exposed, saturate=0.02), 0.1), scene.labels


def _place(
    rng: np.random.Generator,
    scene: Scene,
    points: NDArray[np.float64],
    radius: float,
    spread: float,
    rule: Rule,
) -> None:
    """Claim one nucleus per point; their sizes vary by ``spread`` (log standard deviation)."""
    slenderness = rng.uniform(1.0, 1.9)
    lobes = 0.09 * rng.random() ** 1.5 if rng.random() < 0.8 else rng.uniform(0.1, 0.18)
    aligned = rng.uniform(0, np.pi)
    disorder = rng.uniform(0.2, 2.0)
    for y, x in points:
        r = radius * np.exp(np.clip(spread * rng.standard_normal(), -1, 1))
        aspect = np.sqrt(1 + (slenderness - 1) * rng.uniform(0.3, 1.3))
        angle = aligned + disorder * rng.standard_normal()
        shape = blob(rng, scene, (y, x), (r * aspect, r / aspect), angle, lobes)
        if shape is not None and scene.taken(*shape) < 0.45:
            scene.claim(*shape, rule)


def _glow(
    rng: np.random.Generator, scene: Scene, radius: float, spread: float, texture: float
) -> Field:
    """Emission of the claimed nuclei: a dome each, mottled with chromatin and nucleoli."""
    size = scene.size
    gain = np.exp(np.clip(spread * rng.standard_normal(scene.count + 1), -2.0, 1.3))
    gain = gain.astype(np.float32)
    gain[0] = 0
    steepness = np.float32(rng.uniform(2, 8))
    depth = np.minimum(scene.depth, 1)
    dome = np.float32(0.55) + np.float32(0.45) * (1 - depth**steepness)
    mottle = smooth_noise(rng, size, max(radius * rng.uniform(0.05, 0.16), 0.7))
    signal = dome * np.maximum(1 + np.float32(texture) * mottle, 0.1)
    if rng.random() < 0.5 and radius > 6:
        spots = smooth_noise(rng, size, max(radius * rng.uniform(0.1, 0.2), 0.8))
        bright = np.float32(rng.uniform(0, 1.2)) * np.maximum(spots - 1.3, 0)
        dark = np.float32(rng.uniform(0, 0.9)) * np.clip(-spots - 1.1, 0, 0.8)
        signal = signal * np.maximum(1 + bright - dark, 0.15)
    signal = signal * gain[scene.labels]
    hidden = np.maximum(scene.cover - 1, 0) * (scene.labels > 0)
    return signal + np.float32(rng.uniform(0, 0.35)) * np.minimum(hidden, 2) * signal


def _finish(rng: np.random.Generator, scene: Scene, radius: float, haze: float) -> Painted:
    """Image and labels of a scene of nuclei under a widefield or confocal microscope."""
    size = scene.size
    scene.prune()
    spread = rng.uniform(0.05, 0.35) if rng.random() < 0.6 else rng.uniform(0.35, 0.8)
    signal = _glow(rng, scene, radius, spread, rng.uniform(0, 0.28))
    focus = rng.uniform(0.4, 0.9) + rng.random() ** 3 * 0.12 * radius
    sharp = blur(signal, focus)
    if rng.random() < 0.4:
        # Some nuclei lie above or below the plane of focus.
        away = (rng.random(scene.count + 1) < rng.uniform(0.1, 0.5)).astype(np.float32)
        far = signal * away[scene.labels]
        sharp = blur(signal - far, focus) + blur(far, focus + rng.uniform(0.06, 0.2) * radius)
    light = sharp + np.float32(0.12 * haze) * blur(sharp, radius * rng.uniform(0.8, 3))
    light = light + _debris(rng, size, radius)
    if rng.random() < 0.4:
        ghosts = np.maximum(smooth_noise(rng, size, radius * rng.uniform(1, 3)) - 0.5, 0)
        light = light + np.float32(rng.uniform(0.01, 0.12)) * ghosts
    background = log_uniform(rng, 0.004, 0.25)
    light = (light + np.float32(background)) * illumination(rng, size, rng.uniform(0, 0.6))
    exposed = expose(rng, light, log_uniform(rng, 40, 3000), log_uniform(rng, 0.001, 0.03))
    return tint(rng, digitise(rng, exposed, saturate=rng.choice([0.001, 0.01])), 0.1), scene.labels


def _debris(rng: np.random.Generator, size: int, radius: float) -> Field | np.float32:
    """Unlabelled specks, far smaller than a nucleus."""
    if rng.random() < 0.5:
        return np.float32(0)
    specks = np.zeros((size, size), np.float32)
    number = rng.integers(1, 2 + int(size * size / 6000))
    at = rng.integers(0, size, (2, number))
    specks[at[0], at[1]] = rng.exponential(1, number)
    sigma = min(max(0.08 * radius, 0.6), 1.4)
    return blur(specks, sigma) * np.float32(2 * np.pi * sigma**2 * rng.uniform(0.1, 0.8))
