"""A SAM 2 of the library transformers, small enough for tests, and the library's own pipeline."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel, Sam2Config, Sam2Model

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIDE = 64


def small_config(kind: type[Any] = Sam2Config) -> Any:
    """Return a configuration of a network of 0.2 million weights with every kind of block."""
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 12,
        "num_attention_heads": 1,
        "image_size": [SIDE, SIDE],
        "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [12, 24, 48, 96],
        "num_attention_heads_per_stage": [1, 2, 2, 4],
        "window_size_per_stage": [4, 2, 2, 2],
        "global_attention_blocks": [3],
        "window_positional_embedding_background_size": [3, 3],
    }
    vision = {
        "model_type": "sam2_vision_model",
        "backbone_config": backbone,
        "backbone_channel_list": [96, 48, 24, 12],
        "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
        "fpn_hidden_size": 32,
    }
    prompts = {"hidden_size": 32, "image_size": SIDE, "mask_input_channels": 8}
    decoder = {
        "hidden_size": 32,
        "mlp_dim": 48,
        "num_attention_heads": 4,
        "iou_head_hidden_dim": 24,
    }
    return kind(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder)


def small_network(kind: type[PreTrainedModel] = Sam2Model, config: Any = None) -> Any:
    """Build the network, with weights that are never zero."""
    network = kind(config or small_config()).eval()
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for value in (*network.parameters(), *network.buffers()):
            if value.is_floating_point():
                spread = (
                    1.0
                    if value.ndim < 2
                    else 1.5 / nn.init._calculate_correct_fan(value, "fan_in") ** 0.5
                )
                value.copy_(torch.randn(value.shape, generator=generator) * min(spread, 0.5))
    return network


@cache
def small_state() -> dict[str, Tensor]:
    """Return its weights."""
    return small_network().state_dict()


def input_of(pixels: np.ndarray) -> Tensor:
    """Return what the library's processor makes of `(h, w, 3)` grey values with torchvision."""
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    x = F.interpolate(x, (SIDE, SIDE), mode="bilinear", antialias=True)  # in uint8
    mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (MEAN, STD))
    return (x.float() / 255 - mean) / std


def masks_of(logits: Tensor, shape: tuple[int, int]) -> np.ndarray:
    """Return what the library's processor makes of logits `(M, h, w)` at the end."""
    return (F.interpolate(logits[None], shape, mode="bilinear", align_corners=False)[0] > 0).numpy()
