"""The training loop: deterministic given its seed, resumable, with averaged weights."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from napari_sam.atomic import replaced
from napari_sam.model import taught_library, weights
from napari_sam.model.checkpoint import read_tensors
from napari_sam.model.sam import Sam, build
from napari_sam.model.tensor_file import saved_by_trainer
from napari_sam.segmentation.devices import choose_device, warn_if_emulated
from napari_sam.special_files import refuse_special
from napari_sam.training.aim import aim_at_clicks
from napari_sam.training.config import TrainConfig
from napari_sam.training.data import Batch, CropStream, Plane, read_planes
from napari_sam.training.log import LogRows, draw_log
from napari_sam.training.objective import batch_losses
from napari_sam.training.protocol import validate, validation_planes

log = logging.getLogger(__name__)

# They read what the rest has made and change no mask.
_HEADS = (
    "mask_decoder.iou_prediction_head.",
    "mask_decoder.iou_mask_head.",
    "dense_head.",
    "roi_head.",
)


@dataclass(slots=True)
class TrainState:
    """Everything a run needs to go on: written to and read from one file."""

    model: Sam
    average: Sam
    optimizer: torch.optim.Optimizer
    iteration: int = 0
    best: float = -1.0

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.model.pixel_mean.device


def train(config: TrainConfig, stop_after: float | None = None) -> Path:
    """Run or resume a training.

    The averaged weights are validated by the click protocol now and then, and the best of them
    are kept as `best.pt`.

    Parameters
    ----------
    config
        The run's settings. A checkpoint in its output folder is resumed.
    stop_after
        Stop with a checkpoint after so many seconds.

    Returns
    -------
    path
        Averaged weights at the end of the run, `average.pt` in the output folder.
    """
    output = Path(config.output)
    output.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(config.threads)
    state = start(config)
    resume(state, output / "checkpoint.pt")
    log.info("training %s from iteration %d", config.model, state.iteration)
    stream = CropStream(config, read_planes(config.data, "train"), state.iteration)
    held_out: list[Plane] = []
    if config.validate_every:
        held_out = validation_planes(read_planes(config.data, "val"), config.validate_planes)
    began = time.perf_counter()
    encoder: nn.Module = state.model.image_encoder
    if config.compile:
        encoder = torch.compile(encoder, dynamic=False)  # type: ignore[assignment]
    length, finishing = config.iterations + config.score_iterations, False
    rows = LogRows(output / "log.csv")
    for batch in _batches(config, stream, pinned=state.device.type == "cuda"):
        if state.iteration >= length:
            break
        if state.iteration >= config.iterations and not finishing:
            encoder, finishing = only_heads(state), True
        figures: dict[str, Tensor | float] = dict(train_step(state, encoder, batch, config))
        done = state.iteration >= length
        late = stop_after is not None and time.perf_counter() - began > stop_after
        validates = config.validate_every and (done or state.iteration % config.validate_every == 0)
        if validates:
            figures["score"] = score = validate(state.average, held_out)
            if score > state.best:
                state.best = score
                _save(output / "best.pt", state.average.state_dict())
        rows.add(state.iteration, figures)
        if done or late or state.iteration % config.checkpoint_every == 0:
            checkpoint(state, output / "checkpoint.pt")
            _save(output / "average.pt", state.average.state_dict())
            rows.write()
        if late:
            break
    if (output / "log.csv").exists():
        draw_log(output / "log.csv", output / "log.png")
    return output / "average.pt"


def start(config: TrainConfig) -> TrainState:
    """Build the networks and the optimizer of a new run."""
    device = choose_device(config.device)
    warn_if_emulated(config.precision, device)
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    torch.manual_seed(config.seed)
    model = build(config.network)
    if config.click_width:
        aim_at_clicks(model, config.click_width)
    if config.initial:
        _take_fitting(model, _initial_weights(config.initial))
    for name, part in model.named_children():
        part.requires_grad_(name not in config.freeze)
    model.to(device)
    model.image_encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = build(config.network).to(device)
    average.load_state_dict(model.state_dict())
    decayed = [p for p in model.parameters() if p.ndim > 1]
    kept = [p for p in model.parameters() if p.ndim <= 1]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": kept, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98))
    return TrainState(model, average.eval(), optimizer)


def train_step(
    state: TrainState, encoder: nn.Module, batch: Batch, config: TrainConfig
) -> dict[str, Tensor]:
    """Do one optimizer step; return what the log shows, which a GPU may still be working out."""
    rng = np.random.default_rng((config.seed, batch.index, 1))
    scoring = state.iteration >= config.iterations
    for group in state.optimizer.param_groups:
        group["lr"] = config.learning_rate * learning_rate_share(state.iteration, config)
    state.optimizer.zero_grad(set_to_none=True)
    losses = batch_losses(state.model, encoder, batch.to(state.device), config, rng)
    torch.stack(list(losses.values())).sum().backward()
    norm = nn.utils.clip_grad_norm_(state.model.parameters(), 1.0)
    state.optimizer.step()
    state.iteration += 1
    decay = 0.0 if scoring else min(config.ema, (1 + state.iteration) / (10 + state.iteration))
    # get_ema_multi_avg_fn moves all of them in a few launches
    kept, new = (list(net.parameters()) for net in (state.average, state.model))
    get_ema_multi_avg_fn(decay)(kept, new, state.iteration)
    return {name: value.detach() for name, value in losses.items()} | {"norm": norm}


def only_heads(state: TrainState) -> nn.Module:
    """Let only the heads that change no mask learn, on what the averaged weights make.

    While masks change, a score runs after them, and the averaged score lags behind both.

    Returns
    -------
    encoder
        To call from now on: it needs no gradients any more.
    """
    state.model.load_state_dict(state.average.state_dict())
    for name, parameter in state.model.named_parameters():
        parameter.requires_grad_(parameter.requires_grad and name.startswith(_HEADS))
    return state.model.image_encoder


def learning_rate_share(iteration: int, config: TrainConfig) -> float:
    """Learning rate as a share of the largest: up, flat, then down to zero.

    The flat part makes a run extensible: resumed with more `iterations`, it goes on as if it
    had been planned so. Scores have a fall of their own.
    """
    if iteration >= config.iterations:
        return max(1 - (iteration - config.iterations) / max(config.score_iterations, 1), 1e-3)
    progress = iteration / config.iterations
    rise = progress / config.warmup if config.warmup else 1.0
    fall = (1 - progress) / config.decay if config.decay else 1.0
    return max(min(1.0, rise, fall), 1e-3)


def checkpoint(state: TrainState, path: Path) -> None:
    """Write the state of a run; an interrupted write leaves the earlier file."""
    content = {
        "model": state.model.state_dict(),
        "average": state.average.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "iteration": state.iteration,
        "best": state.best,
    }
    _save(path, content)


def resume(state: TrainState, path: Path) -> None:
    """Read a state written by :func:`checkpoint`, if there is one."""
    refuse_special(path)
    if not path.exists():
        return
    content = saved_by_trainer(path)
    state.model.load_state_dict(content["model"])
    state.average.load_state_dict(content["average"])
    state.optimizer.load_state_dict(content["optimizer"])
    state.iteration, state.best = content["iteration"], content["best"]


def _batches(config: TrainConfig, stream: CropStream, pinned: bool) -> Iterator[Batch]:
    loader = DataLoader(
        stream,
        batch_size=None,
        num_workers=config.workers,
        prefetch_factor=4 if config.workers else None,
        pin_memory=pinned,
    )
    return iter(loader)


def _initial_weights(initial: str) -> dict[str, Tensor]:
    if taught_library.find(initial) is not None:
        return weights.load(initial).state_dict()
    known = initial in weights.REGISTRY
    return read_tensors(weights.path_of(initial) if known else Path(initial))


def _take_fitting(model: Sam, given: dict[str, Tensor]) -> None:
    own = model.state_dict()
    fitting = {n: w for n, w in given.items() if n in own and own[n].shape == w.shape}
    model.load_state_dict(fitting, strict=False)
    log.info("took %d of %d tensors", len(fitting), len(own))


def _save(path: Path, content: Any) -> None:
    with replaced(path) as temporary:
        torch.save(content, temporary)
