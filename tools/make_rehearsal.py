"""Cut the crops that a model rehearses while it is taught: a few real ones of several kinds.

    python tools/make_rehearsal.py --data DATA

DATA is the folder of the packed data set; crops are of its training split, those with the most
whole objects of planes spread over each kind. Written is `src/napari_sam/data/rehearsal.npz`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_sam.image import normalise
from napari_sam.training.data import Plane, read_planes
from napari_sam.training.protocol import select_objects

SIDE = 256
COUNTS = {
    "fluorescence_small": 2,
    "fluorescence_medium": 2,
    "fluorescence_large": 2,
    "histology_purple": 1,
    "histology_purple_on_white": 1,
    "brightfield_grey_cytology": 1,
    "phase_contrast_cells": 2,
    "EM_FIB-SEM_neuropil_3D": 1,
}
TARGET = Path(__file__).parents[1] / "src/napari_sam/data/rehearsal.npz"


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", required=True, help="folder of the packed data set")
    planes = read_planes(parser.parse_args().data, "train")
    arrays: dict[str, NDArray[np.generic]] = {}
    for modality, count in COUNTS.items():
        own = [plane for plane in planes if plane.modality == modality]
        for at in np.linspace(0, len(own) - 1, count + 2)[1:-1].round().astype(int):
            number = len(arrays) // 2
            arrays[f"image.{number}"], arrays[f"labels.{number}"] = fullest(own[at])
    np.savez_compressed(TARGET, **arrays)
    print(f"{len(arrays) // 2} crops, {TARGET.stat().st_size / 1e3:.0f} kB")


def fullest(plane: Plane) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """Cut the part of a plane with the most objects; grey ones keep one channel."""
    height, width = plane.labels.shape
    places = [
        (slice(r, r + SIDE), slice(c, c + SIDE))
        for r in range(0, max(height - SIDE, 0) + 1, 64)
        for c in range(0, max(width - SIDE, 0) + 1, 64)
    ]
    best = max(places, key=lambda place: len(select_objects(plane.labels[place], 1000)))
    pixels = normalise(plane.image)[best]
    grey = (pixels == pixels[..., :1]).all()
    labels = plane.labels[best].astype(np.uint16)
    return np.ascontiguousarray(pixels[..., :1] if grey else pixels), labels


if __name__ == "__main__":
    main()
