"""Taught models for tests: a small network, some weights of which are others."""

from __future__ import annotations

import torch
from small_models import HYBRID, network

from napari_sam.model.keys import model_key
from napari_sam.model.lesson import HeldBack, Lesson
from napari_sam.model.sam import Sam
from napari_sam.model.taught import TaughtModel


def lesson_on(parent: Sam, name: str = "parent.safetensors") -> Lesson:
    """Say what was taught to a network."""
    scores = {"click": HeldBack(0.57, 0.86, 2), "everything": HeldBack(0.4, 0.5, 2)}
    return Lesson(name, model_key(parent), 5, 2, scores=scores, parts=("mask_decoder",), steps=60)


def teach(parent: Sam, name: str = "parent.safetensors", seed: int = 0) -> TaughtModel:
    """Change a part of a network of the configuration HYBRID as teaching would."""
    pupil = network(HYBRID)
    pupil.load_state_dict(parent.state_dict())
    torch.manual_seed(seed)
    with torch.no_grad():
        for value in pupil.mask_decoder.parameters():
            value += 0.01 * torch.randn_like(value)
    return TaughtModel.between(parent, pupil, lesson_on(parent, name))
