"""A packed data set of a few drawn planes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from skimage.draw import disk

from napari_sam.training.config import TrainConfig
from napari_sam.training.loop import train


def _disks(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    labels = np.zeros((size, size), np.uint16)
    for label in range(1, 7):
        rows, columns = disk(rng.uniform(8, size - 8, 2), rng.uniform(5, 9), shape=labels.shape)
        labels[rows, columns] = label
    image = rng.normal(20, 4, labels.shape) + 120 * (labels > 0)
    return image.clip(0, 255).astype(np.uint8), labels


@pytest.fixture(scope="session")
def packed_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with two training planes, a training volume of 30 slices and a held-out plane."""
    folder = tmp_path_factory.mktemp("packed")
    rng = np.random.default_rng(0)
    arrays, items = {}, []
    for name, split in (("a", "train"), ("b", "train"), ("c", "val")):
        arrays[f"{name}.image"], arrays[f"{name}.label"] = _disks(rng, 96)
        items.append({"id": name, "dims": "YX", "split": split, "modality": "fluorescence_x"})
    slices = [_disks(rng, 48) for _ in range(30)]
    arrays["v.image"] = np.stack([image for image, _ in slices])
    arrays["v.label"] = np.stack([labels for _, labels in slices])
    items.append({"id": "v", "dims": "ZYX", "split": "train", "modality": "volume"})
    np.savez(folder / "disks.npz", **arrays)
    items = [i | {"file": "disks.npz", "source": "dsb2018"} for i in items]
    (folder / "manifest.json").write_text(json.dumps({"items": items}))
    return folder


@pytest.fixture
def tiny_run(packed_data: Path, tmp_path: Path) -> TrainConfig:
    """A run of two iterations that takes a second or two."""
    return _tiny_run(packed_data, tmp_path)


@pytest.fixture(scope="module")
def finished_run(packed_data: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    """That run, finished once for all tests that only read it or go on with a copy."""
    config = _tiny_run(packed_data, tmp_path_factory.mktemp("finished"))
    train(config)
    return config


def _tiny_run(packed_data: Path, tmp_path: Path) -> TrainConfig:
    return TrainConfig(
        model="nano",
        data=str(packed_data),
        output=str(tmp_path / "run"),
        iterations=2,
        planes=2,
        objects=2,
        crop=64,
        rounds=(0, 1.0),
        validate_every=2,
        validate_planes=1,
        checkpoint_every=1,
        threads=1,
        workers=0,
    )
