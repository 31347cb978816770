"""The same random weights in our network and in both references."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from reference import SMALL, randomise, reference_sam, transformers_sam

from napari_sam.model.checkpoint import load_into_new
from napari_sam.model.sam import Sam


@dataclass(frozen=True)
class Networks:
    ours: Sam
    original: Any  # segment-anything's Sam
    transformers: Any  # transformers' SamModel


@pytest.fixture(scope="session")
def networks() -> Networks:
    original = reference_sam(SMALL)
    randomise(original, seed=7)
    state = original.state_dict()
    ours = load_into_new(state, SMALL, "the reference's weights")
    return Networks(ours, original, transformers_sam(SMALL, state))
