"""A SAM 2 of the library transformers, small enough for tests, and the library's own pipeline."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel, Sam2Config, Sam2Model, Sam2VideoConfig, Sam2VideoModel

from napari_sam.segmentation.sam2 import Sam2Segmenter
from napari_sam.segmentation.sam2_memory import MemoryNetwork

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


def small_video_config() -> Sam2VideoConfig:
    """Return a configuration of a network that remembers three planes, and four pointers."""
    config = small_config(Sam2VideoConfig).to_dict()
    config["vision_config"]["fpn_hidden_size"] = 128
    for part in ("prompt_encoder_config", "mask_decoder_config"):
        config[part]["hidden_size"] = 128
    config |= {
        "image_size": SIDE,
        "num_maskmem": 4,
        "max_object_pointers_in_encoder": 5,
        "memory_attention_hidden_size": 128,
        "memory_attention_num_layers": 2,
        "memory_attention_feed_forward_hidden_size": 48,
        "memory_attention_rope_feat_sizes": [4, 4],
        "memory_encoder_hidden_size": 128,
        "mask_downsampler_embed_dim": 128,
        "memory_fuser_embed_dim": 128,
        "memory_fuser_intermediate_dim": 48,
    }
    return Sam2VideoConfig(**config)


def small_video() -> Any:
    """Build the network that remembers, with weights that are never zero."""
    return small_network(Sam2VideoModel, small_video_config())


def remembering(network: Any, **options: Any) -> Sam2Segmenter:
    """Return a segmenter with the weights of a video model."""
    parts = {name: of for name, of in network.config.to_dict().items() if name.endswith("_config")}
    image, memory = Sam2Model(Sam2Config(**parts)), MemoryNetwork(network.config)
    state = network.state_dict()
    for one in (image, memory):
        one.load_state_dict({name: state[name] for name in one.state_dict()})
    return Sam2Segmenter(image, "small", memory=memory, **({"device": "cpu"} | options))


def small_network(kind: type[PreTrainedModel] = Sam2Model, config: Any = None) -> Any:
    """Build the network, with weights that are never zero."""
    network = kind(config or small_config()).eval()
    generator = torch.Generator().manual_seed(7)
    kept = network.state_dict()  # what else there is, such as frequencies, is worked out
    with torch.no_grad():
        for value in (
            *network.parameters(),
            *(value for name, value in network.named_buffers() if name in kept),
        ):
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
