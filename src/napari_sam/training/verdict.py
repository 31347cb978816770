"""Whether what was taught is worth having: all of it, half of it, or nothing."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from napari_sam.model.lesson import HeldBack
from napari_sam.model.sam import Sam
from napari_sam.training.average_precision import Counts
from napari_sam.training.teaching_scores import CLICKED, Figures

LEAST_CHANGE = 0.02
"""A taught model is offered if it is better by more than this on what was held back."""

LEAST_FOUND = 0.2
"""Taught heads are offered by themselves if the average precision rises by more than this: two
objects held back give it in steps of about 0.05, and a rise by 0.1 has been a fall elsewhere."""

DECODER = ("prompt_encoder", "mask_decoder")
"""Parts of a network that decode prompts."""

HEADS = ("dense_head", "roi_head")
"""Parts of a network that find everything."""

ENCODER = ("image_encoder",)
"""What both read."""


def mean_change(scores: Mapping[str, HeldBack]) -> float:
    """Mean change of the IoU after one click, after three, and by a box."""
    return float(np.mean([scores[name].change for name in CLICKED]))


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a taught model is worth having.

    Parameters
    ----------
    scores
        On what was held back, by name.
    offered
        Whether it is better by enough.
    parts
        Of the network, which are worth being taught.
    """

    scores: Mapping[str, HeldBack]
    offered: bool
    parts: tuple[str, ...]


def judge(before: Figures, after: Figures, found: Counts | None, parts: tuple[str, ...]) -> Verdict:
    """Compare a taught model with its parent on what was held back.

    Parameters
    ----------
    before, after
        Figures of the parent and of the taught model.
    found
        What is found by half of what was taught, see :func:`half_of`: taught heads are kept, or
        are offered by themselves, only where they find more. None where no half is possible.
    parts
        That were taught.
    """
    heads = tuple(part for part in parts if part in HEADS)
    if gains_by_prompts(before, after):
        joint = after.everything
        if found is not None and joint is not None and found.mean >= joint.mean:
            parts = tuple(part for part in parts if part not in HEADS)
            after = replace(after, everything=found)
        return Verdict(before.compared(after), True, parts)
    alone = replace(before, everything=found)
    scores = before.compared(alone)
    if "everything" in scores and scores["everything"].change > LEAST_FOUND:
        return Verdict(scores, True, heads)
    return Verdict(before.compared(after), False, parts)


def gains_by_prompts(before: Figures, after: Figures) -> bool:
    """Whether a taught model answers prompts better by enough."""
    return mean_change(before.compared(after)) > LEAST_CHANGE


def half_of(taught: Sam, parent: Sam, keeps_decoder: bool) -> Sam:
    """Return a taught model with its parent's heads, or the parent with the taught heads."""
    return with_parts_of(taught, parent, HEADS if keeps_decoder else DECODER)


def can_be_halved(parts: Sequence[str]) -> bool:
    """Whether heads and decoder can be exchanged: both read the parent's encoder."""
    return "dense_head" in parts and "image_encoder" not in parts


def with_parts_of(network: Sam, other: Sam, parts: Sequence[str]) -> Sam:
    """Return a network that has some parts of another one."""
    mixed = copy.copy(network)
    mixed._modules = dict(network._modules)
    for name in parts:
        mixed._modules[name] = other._modules[name]
    return mixed
