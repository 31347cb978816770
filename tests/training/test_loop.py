"""The training loop."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_sam.model import weights
from napari_sam.model.architecture import CheckpointError
from napari_sam.model.checkpoint import read_tensors
from napari_sam.training.config import PARTS, TrainConfig
from napari_sam.training.data import CropStream, read_planes
from napari_sam.training.loop import learning_rate_share, resume, start, train, train_step
from napari_sam.training.objective import batch_losses


def _weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path / "checkpoint.pt", weights_only=True)["model"]


def test_a_damaged_checkpoint_of_a_run_is_reported(tiny_run: TrainConfig, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(CheckpointError, match="truncated, damaged or of another kind"):
        resume(start(tiny_run), path)


def test_a_resumed_run_equals_an_uninterrupted_one(
    finished_run: TrainConfig, tmp_path: Path
) -> None:
    parts = replace(finished_run, output=str(tmp_path / "parts"))
    train(parts, stop_after=0.0)  # one iteration
    assert not (tmp_path / "parts" / "best.pt").exists()
    train(parts)
    whole, resumed = _weights(Path(finished_run.output)), _weights(tmp_path / "parts")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    with open(tmp_path / "parts" / "log.csv") as file:
        rows = list(csv.DictReader(file))
    assert [r["iteration"] for r in rows] == ["1", "2"]
    assert 0 <= float(rows[-1]["score"]) <= 1


def test_a_run_in_half_precision_without_validation(tiny_run: TrainConfig) -> None:
    config = replace(tiny_run, precision="bfloat16", validate_every=0)
    average = torch.load(train(config), weights_only=True)
    assert all(value.isfinite().all() for value in average.values())
    assert {value.dtype for value in average.values()} == {torch.float32}
    assert not (Path(config.output) / "best.pt").exists()
    with open(Path(config.output) / "log.csv") as file:
        assert [row["score"] for row in csv.DictReader(file)] == ["", ""]


def test_half_precision_judges_a_batch_alike(tiny_run: TrainConfig) -> None:
    # so many that one mask, another by a pixel, doesn't decide
    config = replace(tiny_run, initial="nano", box_share=0.0, planes=8, objects=4)
    state = start(config)
    batch = CropStream(config, read_planes(config.data, "train")).batch(0)
    full, half = (
        batch_losses(
            state.model,
            state.model.image_encoder,
            batch,
            replace(config, precision=precision),
            np.random.default_rng(0),
        )
        for precision in ("float32", "bfloat16")
    )
    assert full.keys() == half.keys()
    for name, value in full.items():
        assert float(half[name].detach()) == pytest.approx(float(value.detach()), rel=0.05)


def test_training_lowers_the_loss(tiny_run: TrainConfig) -> None:
    config = replace(tiny_run, iterations=1000, warmup=0, rounds=(1.0,), box_share=1.0)
    state = start(config)
    batch = CropStream(config, read_planes(config.data, "train")).batch(0)
    losses = [
        float(train_step(state, state.model.image_encoder, batch, config)["mask"])
        for _ in range(12)
    ]
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize(
    ("progress", "share"), [(0.0, 1e-3), (0.01, 0.5), (0.5, 1.0), (0.85, 0.5), (0.999, 0.001 / 0.3)]
)
def test_learning_rate_rises_stays_and_falls(
    tiny_run: TrainConfig, progress: float, share: float
) -> None:
    run = replace(tiny_run, iterations=1000, score_iterations=100)
    assert learning_rate_share(round(1000 * progress), run) == pytest.approx(share)


def test_heads_learn_with_a_falling_rate_of_their_own(tiny_run: TrainConfig) -> None:
    run = replace(tiny_run, iterations=1000, score_iterations=100)
    shares = [learning_rate_share(i, run) for i in (1000, 1050, 1100)]
    assert shares == pytest.approx([1.0, 0.5, 1e-3])


def test_last_steps_change_the_heads_alone(finished_run: TrainConfig, tmp_path: Path) -> None:
    before = torch.load(Path(finished_run.output) / "average.pt", weights_only=True)
    copy = shutil.copytree(finished_run.output, tmp_path / "copy")
    run = replace(finished_run, output=str(copy), score_iterations=2)
    after = torch.load(train(run), weights_only=True)
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert {name.split("_")[0] for name in changed} == {"mask", "dense"}
    assert all(name.startswith(("mask_decoder.iou_", "dense_head.")) for name in changed)
    assert not any("token" in name for name in changed)


@pytest.mark.parametrize(
    ("learning", "losses"),
    [
        ({"prompt_encoder", "mask_decoder"}, {"mask", "iou"}),
        ({"dense_head"}, {"dense"}),
        ({"roi_head"}, {"regions"}),  # nothing is decoded
    ],
)
def test_frozen_parts_stay_as_they_are_and_cost_nothing(
    tiny_run: TrainConfig, learning: set[str], losses: set[str]
) -> None:
    frozen = tuple(part for part in PARTS if part not in learning)
    run = replace(tiny_run, initial="nano", freeze=frozen, score_iterations=1, learning_rate=1e-2)
    before = start(run).model.state_dict()
    after = torch.load(train(run), weights_only=True)
    changed = {name.split(".")[0] for name in after if not torch.equal(after[name], before[name])}
    assert changed == learning
    with open(Path(run.output) / "log.csv") as file:
        for row in csv.DictReader(file):
            assert {name for name in ("mask", "iou", "dense", "regions") if row.get(name)} == losses


@pytest.mark.parametrize("initial", ["nano", "a run"])
def test_a_run_starts_from_a_model_or_from_an_earlier_run(
    tiny_run: TrainConfig, finished_run: TrainConfig, initial: str
) -> None:
    if initial == "nano":
        expected = read_tensors(weights.path_of("nano"))
    else:
        initial = str(Path(finished_run.output) / "average.pt")
        expected = torch.load(initial, weights_only=True)
    begun = start(replace(tiny_run, seed=5, initial=initial)).model.state_dict()
    assert all(torch.equal(begun[name], value.float()) for name, value in expected.items())
