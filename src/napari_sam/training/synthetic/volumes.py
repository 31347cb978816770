"""Procedural stacks: objects in three dimensions, with exact labels, for following them.

What makes following hard is in them: objects that begin and end on any plane, touch, divide, and
lie above each other; thin tubes and sheets; planes far apart; blur along the axis; noise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from napari_sam.training.synthetic.fields import Field
from napari_sam.training.synthetic.optics import digitise, expose, illumination, log_uniform
from napari_sam.training.synthetic.solids import (
    Block,
    Points,
    Shape,
    curve,
    noise,
    open_block,
    spaced,
    turned,
)

__all__ = ["VOLUME_KINDS", "Volume", "generate_volume"]

_SMALLEST = (4, 32, 32)


@dataclass(frozen=True, slots=True)
class Volume:
    """One procedural stack and its truth.

    Attributes
    ----------
    image
        ``(Z, H, W)`` uint8.
    labels
        ``(Z, H, W)`` int32; 0 is background, objects are 1…n without gaps and each is one
        connected piece.
    kind
        The family, one of ``VOLUME_KINDS``.
    step
        Distance of two planes, in pixels of a plane.
    """

    image: NDArray[np.uint8]
    labels: NDArray[np.int32]
    kind: str
    step: float


def generate_volume(
    rng: np.random.Generator, shape: Shape = (32, 128, 128), kind: str | None = None
) -> Volume:
    """Draw one stack with its instance labels.

    Parameters
    ----------
    rng
        Source of all randomness; its state afterwards depends only on its state before.
    shape
        ``(Z, H, W)``, square planes, at least (4, 32, 32).
    kind
        One of ``VOLUME_KINDS``; ``None`` picks one at random, all alike.

    Raises
    ------
    ValueError
        For an unknown ``kind``, or a shape that is too small or not square.
    """
    if kind is None:
        kind = VOLUME_KINDS[int(rng.integers(len(VOLUME_KINDS)))]
    if kind not in _PAINTERS:
        raise ValueError(f"expected kind to be one of {', '.join(VOLUME_KINDS)}, got {kind!r}")
    if any(n < least for n, least in zip(shape, _SMALLEST, strict=True)) or shape[1] != shape[2]:
        raise ValueError(f"expected a shape (Z, N, N) of at least {_SMALLEST}, got {shape}")
    image, block = _PAINTERS[kind](rng, shape)
    return Volume(image, block.labels, kind, block.step)


Painted = tuple[NDArray[np.uint8], Block]


def _nuclei(rng: np.random.Generator, shape: Shape) -> Painted:
    """Nuclei at random, some touching, some just divided, some with two lobes."""
    radius, block = _roundish(rng, shape, (6, 16))
    distance = radius * rng.uniform(1.5, 2.6)
    for centre in spaced(rng, block.extent, distance, radius * 0.5, 60):
        _nucleus(rng, block, centre, radius)
    block.prune()
    return _fluorescence(rng, block, _dome(rng, block, radius)), block


def _stacked_nuclei(rng: np.random.Generator, shape: Shape) -> Painted:
    """Columns of nuclei one above the other, parted by no more than a dip in the light."""
    radius, block = _roundish(rng, shape, (6, 14))
    block.step = min(block.step, radius / 4)
    columns = spaced(rng, block.extent * [0, 1, 1], radius * rng.uniform(1.9, 3), 0, 40)
    for column in columns:
        z = rng.uniform(-radius, radius)
        while z < block.extent[0] + radius:
            size = radius * rng.uniform(0.75, 1.15)
            shift = rng.normal(0, 0.25 * radius, 3) * [0, 1, 1]
            radii = size * np.array([rng.uniform(0.7, 1.2), 1, rng.uniform(0.8, 1.2)])
            block.claim(column * [0, 1, 1] + shift + [z, 0, 0], radii, _upright(rng))
            z += radius * rng.uniform(1.5, 2.5)
    block.prune()
    return _fluorescence(rng, block, _dome(rng, block, radius)), block


def _cells(rng: np.random.Generator, shape: Shape) -> Painted:
    """Whole cells, pressed together, with darker nuclei and rough cytoplasm."""
    radius, block = _roundish(rng, shape, (9, 22))
    nuclei = np.zeros(shape, np.float32)
    for centre in spaced(rng, block.extent, radius * rng.uniform(1.3, 1.7), radius * 0.5, 40):
        size = radius * np.exp(np.clip(0.2 * rng.standard_normal(), -0.5, 0.5))
        block.claim(centre, size * rng.uniform(0.8, 1.4, 3), turned(rng))
    block.prune(200)
    gain = rng.uniform(0.35, 1, block.count + 1).astype(np.float32)
    nuclei = (block.depth < rng.uniform(0.3, 0.5)).astype(np.float32)
    grain = noise(rng, shape, _alike(block, 1.5))
    signal = gain[block.labels] * (1 + np.float32(rng.uniform(0, 0.3)) * grain)
    signal = signal * (1 - np.float32(rng.uniform(-0.3, 0.8)) * nuclei) * (block.labels > 0)
    signal = signal * (1 - np.float32(rng.uniform(0.1, 0.7)) * block.wall(1.2))
    return _fluorescence(rng, block, signal), block


def _walls(rng: np.random.Generator, shape: Shape) -> Painted:
    """Tissue whose cells fill the space, with bright walls."""
    radius, block = _roundish(rng, shape, (8, 22))
    points = spaced(rng, block.extent, radius * 1.5, radius, 220)
    block.partition(points, np.arange(1, len(points) + 1), _stretch(rng, 1.8))
    outside = noise(rng, shape, _alike(block, 3 * radius)) > rng.uniform(1.0, 2.5)
    block.labels[outside] = 0
    block.prune(150)
    wall = block.wall(rng.uniform(0.7, 0.1 * radius + 0.5))
    within = np.float32(rng.uniform(0, 0.25)) * (block.labels > 0)
    strength = 1 + np.float32(rng.uniform(0, 0.4)) * noise(rng, shape, _alike(block, radius))
    signal = wall * np.maximum(strength, 0.2) + within
    return _fluorescence(rng, block, signal), block


def _neuropil(rng: np.random.Generator, shape: Shape) -> Painted:
    """Winding processes that fill the space, in dark membranes: electron microscopy."""
    radius = log_uniform(rng, 5, 22)
    step = rng.uniform(1, 3)
    block = open_block(rng, shape, step, radius, radius * rng.uniform(0.1, 0.3))
    points, owners = [], []
    length = int(block.extent.max() * 1.3)
    number = int(np.clip(block.extent.prod() / (radius**2 * length), 12, 120))
    for i in range(number):
        start = rng.uniform(0, 1, 3) * block.extent
        heading = rng.standard_normal(3) * [1.5, 1, 1]
        line = curve(rng, start, heading, rng.uniform(0, 0.25), length)[:: max(1, int(radius / 3))]
        line = line[: int(len(line) * rng.uniform(0.3, 1))]
        points.append(line)
        owners.append(np.full(len(line), i + 1))
    block.partition(np.concatenate(points), np.concatenate(owners), np.eye(3))
    block.prune(150)
    membrane = block.wall(rng.uniform(0.7, 1.6))
    tone = rng.uniform(rng.uniform(0.6, 0.9), 1, block.count + 1).astype(np.float32)
    grey = tone[block.labels] * (
        1 + np.float32(rng.uniform(0.02, 0.12)) * noise(rng, shape, _alike(block, 1.2))
    )
    blobs = noise(rng, shape, _alike(block, radius * rng.uniform(0.25, 0.5)))
    organelles = np.clip((blobs - rng.uniform(1.2, 2.2)) * 4, 0, 1) * (membrane < 0.1)
    grey = grey * (1 - np.float32(rng.uniform(0.2, 0.7)) * organelles)
    grey = grey * (1 - np.float32(rng.uniform(0.5, 0.9)) * membrane)
    blur = rng.uniform(0.4, 0.9)
    grey = gaussian_filter(grey, (0.3 * blur, blur, blur))
    grey = grey + np.float32(log_uniform(rng, 0.01, 0.08)) * noise(rng, shape, (0.1, 0.5, 0.5))
    return _digitised(rng, grey), block


def _tubes(rng: np.random.Generator, shape: Shape) -> Painted:
    """Vessels or hyphae that wind through the planes and fork; a fork is the same object."""
    radius = log_uniform(rng, 3, 8)
    step = rng.uniform(1, max(1.2, min(3, radius / 2)))
    block = open_block(rng, shape, step, 3 * radius, radius * 0.2)
    for _ in range(int(rng.integers(8, 24))):
        heading = rng.standard_normal(3) * [rng.uniform(0.6, 2), 1, 1]
        start = rng.uniform(0.1, 0.9, 3) * block.extent
        length = int(block.extent.max() * rng.uniform(0.3, 1))
        line = curve(rng, start, np.abs(heading) * np.sign(block.extent / 2 - start), 0.15, length)
        wide = radius * rng.uniform(0.7, 1.4)
        label = _tube(block, line, wide, None)
        if label is not None and rng.random() < 0.4:
            fork = line[len(line) // 2]
            branch = curve(rng, fork, heading + rng.standard_normal(3), 0.15, length // 2)
            _tube(block, branch, wide * 0.8, label)
    block.prune(80)
    gain = rng.uniform(0.4, 1, block.count + 1).astype(np.float32)
    lumen = np.where(block.depth < 0.6, np.float32(rng.choice([1.0, 0.3])), np.float32(1))
    signal = gain[block.labels] * (block.labels > 0) * lumen
    return _fluorescence(rng, block, signal), block


def _sheets(rng: np.random.Generator, shape: Shape) -> Painted:
    """Curved layers, as of membranes or epithelia, that cross the planes at a slant."""
    thick = log_uniform(rng, 3, 10)
    step = rng.uniform(1, 2.5)
    block = open_block(rng, shape, step, 4 * thick, thick * rng.uniform(0.2, 1))
    box = (slice(0, shape[0]), slice(0, shape[1]), slice(0, shape[2]))
    normal = rng.standard_normal(3)
    normal = (normal / np.linalg.norm(normal)).astype(np.float32)
    along = np.tensordot(normal, block.coordinates(box), 1)
    gap = thick * rng.uniform(1.1, 2.5)
    place = along / np.float32(thick + gap) + np.float32(rng.uniform(0, 1))
    sheet = np.floor(place).astype(np.int32)
    off = np.abs(place - sheet - 0.5) * np.float32(2 * (thick + gap) / thick)
    # Layers have edges: each is there where its own field is high.
    hole = noise(rng, shape, _alike(block, 20))
    inside = (off < 1) & (hole * np.where(sheet % 2, 1, -1) > rng.uniform(-2.5, -0.5))
    block.labels = np.where(inside, sheet - sheet.min() + 1, 0).astype(np.int32)
    block.depth = np.where(inside, off, np.float32(1))
    block.prune(150)
    gain = rng.uniform(0.4, 1, block.count + 1).astype(np.float32)
    grain = noise(rng, shape, _alike(block, 1.5))
    signal = gain[block.labels] * (1 + np.float32(rng.uniform(0, 0.3)) * grain)
    return _fluorescence(rng, block, signal * (block.labels > 0)), block


Painter = Callable[[np.random.Generator, Shape], Painted]

_PAINTERS: Mapping[str, Painter] = MappingProxyType(
    {
        "nuclei": _nuclei,
        "stacked_nuclei": _stacked_nuclei,
        "cells": _cells,
        "walls": _walls,
        "neuropil": _neuropil,
        "tubes": _tubes,
        "sheets": _sheets,
    }
)

VOLUME_KINDS: tuple[str, ...] = tuple(_PAINTERS)
"""Names of the families, in the order in which ``generate_volume`` numbers them."""


def _roundish(
    rng: np.random.Generator, shape: Shape, radii: tuple[float, float]
) -> tuple[float, Block]:
    """Draw a radius, and open a block in which it takes at least five planes."""
    radius = log_uniform(rng, *radii)
    step = log_uniform(rng, 1, max(1.05, min(5, 2 * radius / 5)))
    return radius, open_block(rng, shape, step, radius, radius * rng.uniform(0.02, 0.12))


def _nucleus(rng: np.random.Generator, block: Block, centre: Points, radius: float) -> None:
    """Claim one nucleus; now and then two daughters instead, or one with two lobes."""
    size = radius * np.exp(np.clip(0.2 * rng.standard_normal(), -0.6, 0.6))
    radii, turn = size * rng.uniform(0.75, 1.3, 3), turned(rng)
    chance = rng.random()
    if chance > 0.25:
        block.claim(centre, radii, turn)
        return
    apart = turn[0] * radii[0]
    halves = radii * [0.6, 0.9, 0.9]
    if chance < 0.12:  # just divided
        apart = apart * rng.uniform(0.65, 1)
        block.claim(centre - apart, halves, turn)
        block.claim(centre + apart, halves, turn)
        return
    label = block.claim(centre - apart * 0.6, halves, turn)
    if label is not None:
        block.claim(centre + apart * 0.6, halves * [1.4, 0.8, 0.8], turn, label)


def _tube(block: Block, line: Points, radius: float, label: int | None) -> int | None:
    for point in line[:: max(1, int(radius / 2))]:
        label = block.claim(point, np.full(3, radius), np.eye(3), label) or label
    return label


def _upright(rng: np.random.Generator) -> Points:
    """Rotation about the axis of the stack."""
    angle = rng.uniform(0, np.pi)
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])


def _stretch(rng: np.random.Generator, most: float) -> Points:
    turn = turned(rng)
    return turn.T @ np.diag(rng.uniform(1 / most, 1, 3)) @ turn


def _alike(block: Block, scale: float) -> tuple[float, float, float]:
    """Scale in voxels along each axis of what is alike in all directions."""
    return scale / block.step, scale, scale


def _dome(rng: np.random.Generator, block: Block, radius: float) -> Field:
    """Emission of nuclei: brightest in their middle, mottled with chromatin."""
    gain = np.exp(np.clip(rng.uniform(0.05, 0.5) * rng.standard_normal(block.count + 1), -1.5, 1))
    gain = gain.astype(np.float32)
    gain[0] = 0
    steepness = np.float32(rng.uniform(2, 8))
    dome = np.float32(0.55) + np.float32(0.45) * (1 - np.minimum(block.depth, 1) ** steepness)
    mottle = noise(rng, block.shape, _alike(block, max(radius * rng.uniform(0.08, 0.2), 0.8)))
    texture = np.maximum(1 + np.float32(rng.uniform(0, 0.4)) * mottle, 0.1)
    return dome * texture * gain[block.labels]


def _fluorescence(rng: np.random.Generator, block: Block, signal: Field) -> NDArray[np.uint8]:
    """Blur more along the axis than in the plane, light that fades with depth, photons."""
    wide = rng.uniform(0.5, 1.4)
    tall = wide * rng.uniform(1.5, 4) / block.step
    light = gaussian_filter(signal, (tall, wide, wide))
    if rng.random() < 0.5:  # out of focus, as in wide field
        light = light + np.float32(rng.uniform(0, 0.35)) * gaussian_filter(
            light, (4 * tall, 5 * wide, 5 * wide)
        )
    planes = block.shape[0]
    fading = np.exp(-np.linspace(0, rng.uniform(0, 1.2), planes, dtype=np.float32))
    if rng.random() < 0.5:
        fading = fading[::-1]
    light = light * fading[:, None, None] + np.float32(log_uniform(rng, 0.005, 0.25))
    light = light * illumination(rng, block.shape[1], rng.uniform(0, 0.5))
    exposed = expose(rng, light, log_uniform(rng, 8, 1500), log_uniform(rng, 0.001, 0.06))
    return _digitised(rng, exposed)


def _digitised(rng: np.random.Generator, signal: Field) -> NDArray[np.uint8]:
    """Stretch the whole stack to eight bits at once."""
    planes, height, width = signal.shape
    flat = digitise(rng, signal.reshape(planes * height, width), saturate=0.005)
    return flat.reshape(signal.shape)
