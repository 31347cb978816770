"""A small network whose decoder for instances was really trained, on drawn nuclei.

Its file is made in a minute by

    PYTHONPATH=src python tests/trained_decoder.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from napari_sam.model.checkpoint import save
from napari_sam.model.config import SamConfig, ViTConfig
from napari_sam.model.sam import Sam, build

FILE = Path(__file__).parent / "core" / "data" / "finds_nuclei.safetensors"
CONFIG = SamConfig(
    "small vit that finds nuclei",
    image_size=64,
    encoder=ViTConfig(48, 1, 2, (0,), window_size=4, mlp_ratio=2.0),
    embed_dim=48,
    mask_in_chans=8,
    decoder_heads=4,
    decoder_mlp_dim=16,
    iou_head_hidden_dim=16,
    instance_channels=(48, 24, 12, 6),
)


def draw(
    side: int, rng: np.random.Generator, count: int = 8
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Draw bright nuclei, some of which touch, on a noisy background; return labels, too."""
    rows, columns = np.mgrid[:side, :side]
    nearest = np.full((side, side), np.inf)
    labels = np.zeros((side, side), np.int32)
    middles: list[NDArray[np.float64]] = []
    for _ in range(40 * count):
        if len(middles) == count:
            break
        middle, radii = rng.uniform(5, side - 5, 2), rng.uniform(6, 9, 2)
        if any(np.hypot(*(middle - other)) < 13 for other in middles):
            continue
        middles.append(middle)
        away = np.hypot((rows - middle[0]) / radii[0], (columns - middle[1]) / radii[1])
        here = (away < 1) & (away < nearest)
        labels[here], nearest[here] = len(middles), away[here]
    bright = ndimage.gaussian_filter(np.where(labels > 0, 150.0 - 90 * nearest.clip(0, 1), 20), 1)
    image = (bright + rng.normal(0, 6, bright.shape)).clip(0, 255).astype(np.uint8)
    return image, labels


def targets(labels: NDArray[np.int32]) -> NDArray[np.float32]:
    """Return the maps `(3, H, W)` that a decoder should say of labels."""
    maps = np.ones((3, *labels.shape), np.float32)
    maps[0] = labels > 0
    for number, region in enumerate(ndimage.find_objects(labels), 1):
        if region is None:
            continue
        mask = labels[region] == number
        deep = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
        middle = np.argwhere(mask).mean(0)
        away = np.hypot(*(np.argwhere(mask) - middle).T)
        maps[1][region][mask] = away / max(away.max(), 1)
        maps[2][region][mask] = 1 - deep[mask] / deep.max()
    return maps


def train(steps: int = 600, batch: int = 4, seed: int = 0) -> Sam:
    """Train encoder and decoder on drawn nuclei; return the network in eval mode."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    sam = build(CONFIG).train()
    decoder = sam.instance_decoder
    assert decoder is not None
    drawn = [draw(CONFIG.image_size, rng) for _ in range(64)]
    pixels = torch.stack([_as_input(sam, image) for image, _ in drawn])
    wanted = torch.stack([torch.from_numpy(targets(labels)) for _, labels in drawn])
    weights = [*sam.image_encoder.parameters(), *decoder.parameters()]
    optimiser = torch.optim.AdamW(weights, 3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps)
    for _ in range(steps):
        chosen = torch.from_numpy(rng.choice(len(drawn), batch, replace=False))
        x, y = pixels[chosen], wanted[chosen]
        for axis in (2, 3):
            if rng.random() < 0.5:
                x, y = x.flip(axis), y.flip(axis)
        loss = F.mse_loss(decoder(sam.image_encoder(x)[0]), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return sam.eval()


def _as_input(sam: Sam, image: NDArray[np.uint8]) -> Tensor:
    grey = torch.from_numpy(image).float()
    return sam.preprocess(grey.expand(3, *grey.shape))


if __name__ == "__main__":
    save(train(), FILE)
