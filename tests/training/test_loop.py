"""The training loop."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from napari_sam.training.config import TrainConfig
from napari_sam.training.data import CropStream, read_planes
from napari_sam.training.loop import schedule, start, train, train_step


def _weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path / "checkpoint.pt", weights_only=True)["model"]


def test_a_resumed_run_equals_an_uninterrupted_one(tiny_run: TrainConfig, tmp_path: Path) -> None:
    train(tiny_run)
    parts = replace(tiny_run, output=str(tmp_path / "parts"))
    train(parts, stop_after=0.0)  # one iteration
    assert not (tmp_path / "parts" / "best.pt").exists()
    train(parts)
    whole, resumed = _weights(Path(tiny_run.output)), _weights(tmp_path / "parts")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    with open(tmp_path / "parts" / "log.csv") as file:
        rows = list(csv.DictReader(file))
    assert [r["iteration"] for r in rows] == ["1", "2"]
    assert 0 <= float(rows[-1]["score"]) <= 1


def test_training_lowers_the_loss(tiny_run: TrainConfig) -> None:
    config = replace(tiny_run, iterations=1000, warmup=0, rounds=(1.0,), box_share=1.0)
    state = start(config)
    batch = CropStream(config, read_planes(config.data, "train")).batch(0)
    losses = [
        train_step(state, state.model.image_encoder, batch, config)["mask"] for _ in range(12)
    ]
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize(
    ("progress", "share"), [(0.0, 1e-3), (0.01, 0.5), (0.5, 1.0), (0.85, 0.5), (1.0, 1e-3)]
)
def test_learning_rate_rises_stays_and_falls(
    tiny_run: TrainConfig, progress: float, share: float
) -> None:
    assert schedule(progress, tiny_run) == pytest.approx(share)
