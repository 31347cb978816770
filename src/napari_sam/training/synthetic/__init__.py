"""Procedural microscopy: endless images with exact instance labels, for training.

Every image is drawn from a seeded generator: the same state gives the same sample, bit for bit.
The families stand in for modalities of which few images may be redistributed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from napari_sam.training.synthetic import (
    cells,
    electron,
    membranes,
    microbes,
    nuclei,
    phase,
    smears,
    tissue,
)
from napari_sam.training.synthetic.scene import renumber

__all__ = ["KINDS", "Sample", "generate"]

Painter = Callable[[np.random.Generator, int], tuple[NDArray[np.uint8], NDArray[np.int32]]]

_PAINTERS: Mapping[str, Painter] = MappingProxyType(
    {
        "nuclei": nuclei.sparse_nuclei,
        "nuclei_crowded": nuclei.crowded_nuclei,
        "nuclei_noisy": nuclei.noisy_nuclei,
        "membrane_cells": membranes.membrane_cells,
        "plant_walls": membranes.plant_walls,
        "em_neuropil": electron.neuropil,
        "em_axons": electron.myelinated_axons,
        "cytoplasm_cells": cells.cytoplasm_cells,
        "filaments": cells.threads,
        "phase_cells": phase.phase_cells,
        "dic_cells": phase.dic_cells,
        "bacteria": microbes.rods,
        "yeast": microbes.yeast,
        "he_tissue": tissue.pink_tissue,
        "purple_on_white": tissue.purple_on_white,
        "grey_cytology": smears.grey_cytology,
        "blood_smear": smears.blood_smear,
    }
)

KINDS: tuple[str, ...] = tuple(_PAINTERS)
"""Names of the families, in the order in which ``generate`` numbers them."""

_SMALLEST = 32


@dataclass(frozen=True, slots=True)
class Sample:
    """One procedural image and its truth.

    Attributes
    ----------
    image
        ``(size, size, 3)`` uint8; grey modalities have three equal channels.
    labels
        ``(size, size)`` int32; 0 is background, objects are 1…n without gaps and each is one
        4-connected piece.
    kind
        The family, one of ``KINDS``.
    """

    image: NDArray[np.uint8]
    labels: NDArray[np.int32]
    kind: str


def generate(rng: np.random.Generator, size: int = 256, kind: str | None = None) -> Sample:
    """Draw one image with its instance labels.

    Parameters
    ----------
    rng
        Source of all randomness; its state afterwards depends only on its state before.
    size
        Side of the square image in pixels, at least 32. Objects keep their size in pixels: a
        larger image shows more of them.
    kind
        One of ``KINDS``; ``None`` picks one at random, all alike.

    Raises
    ------
    ValueError
        For an unknown ``kind`` or a ``size`` below 32.
    """
    if kind is None:
        kind = KINDS[int(rng.integers(len(KINDS)))]
    if kind not in _PAINTERS:
        raise ValueError(f"expected kind to be one of {', '.join(KINDS)}, got {kind!r}")
    if size < _SMALLEST:
        raise ValueError(f"expected size to be at least {_SMALLEST} pixels, got {size}")
    image, labels = _PAINTERS[kind](rng, size)
    return Sample(image, renumber(labels), kind)
