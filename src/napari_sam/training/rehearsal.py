"""Crops of many kinds that a model rehearses while it is taught one: it would forget the others."""

from __future__ import annotations

import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_sam.atomic import replaced
from napari_sam.model.weights import home
from napari_sam.special_files import SpecialFileError, refuse_special
from napari_sam.training.synthetic import KINDS, generate

Crop = tuple[NDArray[np.uint8], NDArray[np.int32]]
"""Image `(S, S, 3)` and labels `(S, S)`, in which everything is labelled."""

# Another number where the generator draws other pictures.
_EDITION = 2
_SIDE, _OF_EACH_KIND = 256, 1
_REAL = Path(__file__).parents[1] / "data/rehearsal.npz"


def real_crops() -> list[Crop]:
    """Return the crops of real images that the package holds; see `data/rehearsal.md`."""
    with open(_REAL, "rb") as file, np.load(file, allow_pickle=False) as archive:
        pairs = [
            (archive[f"image.{i}"], archive[f"labels.{i}"]) for i in range(len(archive.files) // 2)
        ]
    return [
        (np.broadcast_to(image, (*labels.shape, 3)).copy(), labels.astype(np.int32))
        for image, labels in pairs
    ]


def drawn_crops(folder: Path | None = None) -> list[Crop]:
    """Return drawn crops of every kind, made at the first call on this machine and kept.

    Parameters
    ----------
    folder
        Where they are kept; the program's cache by default.
    """
    path = (folder or home()) / f"rehearsal-{_EDITION}.npz"
    kept = _read(path)
    if kept is None:
        kept = _drawn()
        with suppress(OSError):  # a full or read-only disk costs the time again, nothing else
            path.parent.mkdir(parents=True, exist_ok=True)
            with replaced(path) as temporary, open(temporary, "wb") as file:
                images, labels = (np.stack(part) for part in zip(*kept, strict=True))
                np.savez_compressed(file, images=images, labels=labels)
    return kept


def _drawn() -> list[Crop]:
    samples = [
        generate(np.random.default_rng((number, _EDITION)), _SIDE, kind)
        for number, kind in enumerate(KINDS * _OF_EACH_KIND)
    ]
    return [(one.image, one.labels) for one in samples]


def _read(path: Path) -> list[Crop] | None:
    """Read crops that were kept; None where there are none, or other ones than expected."""
    expected = len(KINDS) * _OF_EACH_KIND
    try:
        refuse_special(path)
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            images, labels = archive["images"], archive["labels"]
    except (OSError, ValueError, LookupError, EOFError, zipfile.BadZipFile, SpecialFileError):
        return None
    fits = images.shape == (expected, _SIDE, _SIDE, 3) and labels.shape == images.shape[:3]
    if not fits or images.dtype != np.uint8 or labels.dtype != np.int32:
        return None
    return list(zip(images, labels, strict=True))
