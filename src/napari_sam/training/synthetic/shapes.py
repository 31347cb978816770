"""Outlines in local boxes, as a depth: 0 at the centre, 1 on the outline, more outside."""

from __future__ import annotations

import math

import numpy as np

from napari_sam.training.synthetic.fields import Field
from napari_sam.training.synthetic.scene import Box, Scene

_TURNS = 512
_ANGLES = np.arange(_TURNS) * (2 * np.pi / _TURNS)
# Cosines and sines of orders 2…6, weaker as they get finer, over one turn; negative angles
# (-pi…0) index it from the end.
_HARMONICS = np.concatenate(
    [[np.cos(k * _ANGLES) / (k - 0.5), np.sin(k * _ANGLES) / (k - 0.5)] for k in range(2, 7)]
).astype(np.float32)


def blob(
    rng: np.random.Generator,
    scene: Scene,
    centre: tuple[float, float],
    radii: tuple[float, float],
    angle: float,
    lobes: float = 0.0,
    squareness: float = 2.0,
) -> tuple[Box, Field] | None:
    """Ellipse with half axes ``radii`` (pixels), its outline modulated by low harmonics.

    ``lobes`` is the standard deviation of the modulation (share of the radius) and
    ``squareness`` the exponent of the norm: 2 an ellipse, 4 nearly a rectangle.
    """
    long, short = radii
    cos, sin = math.cos(angle), math.sin(angle)
    # A rectangle-like norm reaches further along its diagonals than the ellipse does.
    slack = 2 ** (0.5 - 1 / squareness)
    outline = None
    if lobes * max(radii) >= 0.15:
        weights = rng.standard_normal(len(_HARMONICS), dtype=np.float32) * np.float32(lobes)
        outline = 1 - np.float32(0.45) * np.tanh(weights @ _HARMONICS / np.float32(0.45))
        slack /= float(outline.min())
    tall = slack * math.hypot(long * sin, short * cos) + 1
    wide = slack * math.hypot(long * cos, short * sin) + 1
    place = scene.local(centre, tall, wide)
    if place is None:
        return None
    box, dy, dx = place
    along = dx * np.float32(cos / long) + dy * np.float32(sin / long)
    across = dy * np.float32(cos / short) - dx * np.float32(sin / short)
    if squareness == 2.0:
        depth = np.sqrt(along * along + across * across)
    else:
        power = np.float32(squareness)
        depth = (np.abs(along) ** power + np.abs(across) ** power) ** np.float32(1 / squareness)
    if outline is not None:
        turn = np.arctan2(across, along)
        turn *= np.float32(_TURNS / (2 * np.pi))
        depth *= outline[turn.astype(np.int16)]
    return box, depth


def rod(
    scene: Scene,
    centre: tuple[float, float],
    half_length: float,
    radius: float,
    angle: float,
    bend: float = 0.0,
    waist: float = 0.0,
) -> tuple[Box, Field] | None:
    """Capsule of total length ``2 * half_length`` and half width ``radius`` (pixels).

    ``bend`` is the sagitta in pixels, ``waist`` how deep (0…1) its middle is pinched.
    """
    cos, sin = math.cos(angle), math.sin(angle)
    tall = half_length * abs(sin) + radius + abs(bend) + 2
    wide = half_length * abs(cos) + radius + abs(bend) + 2
    place = scene.local(centre, tall, wide)
    if place is None:
        return None
    box, dy, dx = place
    along = dx * cos + dy * sin
    across = dy * cos - dx * sin
    if bend:
        across = across + np.float32(bend) * ((along / np.float32(half_length)) ** 2 - 0.5)
    beyond = np.maximum(np.abs(along) - np.float32(max(half_length - radius, 0)), 0)
    width: Field | np.float32 = np.float32(radius)
    if waist:
        width = width * (1 - np.float32(waist) * np.exp(-((along / np.float32(radius)) ** 2)))
    return box, np.sqrt(beyond**2 + across**2) / width


def spread_cell(
    rng: np.random.Generator,
    scene: Scene,
    centre: tuple[float, float],
    radius: float,
    arms: int,
    stretch: float,
    length: float,
) -> tuple[Box, Field] | None:
    """Adherent cell: an elongated body with ``arms`` tapering, bent protrusions.

    ``stretch`` is the body's aspect ratio, ``length`` the protrusions' length in body radii.
    The depth is a smooth union, so that arms flow out of the body.
    """
    reach = radius * max(np.sqrt(stretch), length) * 1.25 + 3
    place = scene.local(centre, reach, reach)
    if place is None:
        return None
    box, dy, dx = place
    angle = rng.uniform(0, np.pi)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    along, across = dx * cos + dy * sin, dy * cos - dx * sin
    long, short = np.float32(radius * np.sqrt(stretch)), np.float32(radius / np.sqrt(stretch))
    sharpness = np.float32(4.0)
    total = np.exp(-sharpness * np.sqrt((along / long) ** 2 + (across / short) ** 2))
    # Bipolar cells put their first two arms at the poles; others spread them round.
    starts = rng.uniform(0, 2 * np.pi) + 2 * np.pi * np.arange(arms) / max(arms, 1)
    if stretch > 1.6:
        starts[:2] = [0.0, np.pi][: len(starts)]
    for start in starts:
        turn = start + rng.normal(0, 0.25)
        c, s = np.float32(np.cos(turn)), np.float32(np.sin(turn))
        out, side = along * c + across * s, across * c - along * s
        tip = np.float32(radius * length * rng.uniform(0.6, 1.0))
        place_along = np.clip(out / tip, 0, 1)
        side = side - np.float32(rng.normal(0, 0.15)) * tip * place_along**2
        beyond = np.maximum(out - tip, 0) + np.maximum(-out, 0)
        base = short * np.float32(rng.uniform(0.5, 0.9))
        foot = np.float32(rng.uniform(0.12, 0.3)) * short + 1
        width = foot + (base - foot) * (1 - place_along) ** 2
        total += np.exp(-sharpness * np.sqrt(side**2 + beyond**2) / width) * np.float32(0.8)
    return box, np.maximum(-np.log(total + np.float32(1e-9)) / sharpness, 0)
