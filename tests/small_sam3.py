"""A SAM 3 of the library transformers, small enough for tests, with a tokenizer of few words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import Sam3VideoConfig, Sam3VideoModel

SIDE, PATCH = 56, 14  # an embedding of 4 x 4 cells, and logits of 16 x 16: 3.5 pixels a cell
WORDS = ("nuclei", "cell", "membrane", "bright", "visual")


def small_vision() -> dict[str, Any]:
    """Return a configuration of an encoder with windowed and global attention."""
    backbone = {
        "model_type": "sam3_vit_model",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "image_size": SIDE,
        "patch_size": PATCH,
        "window_size": 2,
        "global_attn_indexes": [1],
        "pretrain_image_size": 28,
    }
    cells = SIDE // PATCH
    return {
        "model_type": "sam3_vision_model",
        "backbone_config": backbone,
        "fpn_hidden_size": 32,
        "backbone_feature_sizes": [[4 * cells] * 2, [2 * cells] * 2, [cells] * 2],
    }


def small_config() -> Sam3VideoConfig:
    """Return a configuration of both of its networks, as the published folder has them."""
    part = {"hidden_size": 32, "num_attention_heads": 4}
    deep = part | {"num_layers": 2, "intermediate_size": 48}
    text = {
        "vocab_size": 493,
        "hidden_size": 24,
        "intermediate_size": 32,
        "projection_dim": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 32,
        "bos_token_id": 491,
        "eos_token_id": 492,
        "pad_token_id": 492,
    }
    detector = {
        "model_type": "sam3",
        "vision_config": small_vision(),
        "text_config": text,
        "geometry_encoder_config": deep | {"roi_size": 3},
        "detr_encoder_config": deep,
        "detr_decoder_config": deep | {"num_queries": 12},
        "mask_decoder_config": part,
    }
    tracker = {
        "model_type": "sam3_tracker_video",
        "image_size": SIDE,
        "vision_config": small_vision(),
        "prompt_encoder_config": {
            "hidden_size": 32,
            "image_size": SIDE,
            "patch_size": PATCH,
            "mask_input_channels": 8,
        },
        "mask_decoder_config": {
            "hidden_size": 32,
            "mlp_dim": 48,
            "num_attention_heads": 4,
            "iou_head_hidden_dim": 24,
        },
        "memory_attention_hidden_size": 32,
        "memory_attention_num_layers": 1,
        "memory_attention_feed_forward_hidden_size": 48,
        "memory_attention_rope_feat_sizes": [4, 4],
        "memory_encoder_hidden_size": 32,
        "memory_encoder_output_channels": 16,
        "mask_downsampler_embed_dim": 32,
        "memory_fuser_embed_dim": 32,
        "memory_fuser_intermediate_dim": 32,
    }
    return Sam3VideoConfig(
        detector_config=detector, tracker_config=tracker, low_res_mask_size=4 * SIDE // PATCH
    )


def small_network() -> Any:
    """Build them, with weights that are never zero."""
    network = Sam3VideoModel(small_config()).eval()
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for name, value in network.named_parameters():
            drawn = torch.randn(value.shape, generator=generator)
            if value.ndim < 2:
                drawn = 0.1 * drawn + ("norm" in name and name.endswith("weight"))
            else:
                drawn *= 1.2 / value[0].numel() ** 0.5
            value.copy_(drawn)
        network.detector_model.detr_decoder.query_embed.weight *= 5  # or all find the same
    return network


def write_tokenizer(folder: Path) -> None:
    """Write a tokenizer that knows some words, and every letter."""
    letters = [chr(i) for i in range(33, 127)] + [chr(i) for i in range(161, 300)]
    pieces = letters + [f"{letter}</w>" for letter in letters]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    merges = []
    for word in WORDS:
        parts = [*word[:-1], f"{word[-1]}</w>"]
        while len(parts) > 1:
            merges.append(f"{parts[0]} {parts[1]}")
            parts[:2] = ["".join(parts[:2])]
            vocabulary.setdefault(parts[0], len(vocabulary))
    for special in ("<|startoftext|>", "<|endoftext|>"):
        vocabulary[special] = len(vocabulary)
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]), encoding="utf-8")


def roi_align(features: Tensor, boxes: Sequence[Tensor], size: int) -> Tensor:
    """Stand in for torchvision's: look at the middle of each bin of each box."""
    height, width = features.shape[-2:]
    found = []
    for one, own in zip(features, boxes, strict=True):
        steps = (torch.arange(size) + 0.5) / size
        x = own[:, :1] + (own[:, 2:3] - own[:, :1]) * steps
        y = own[:, 1:2] + (own[:, 3:] - own[:, 1:2]) * steps
        x, y = (2 * x / width - 1)[:, None].expand(-1, size, -1), (2 * y / height - 1)[..., None]
        grid = torch.stack([x, y.expand(-1, -1, size)], -1)
        looked_at = one[None].expand(len(own), -1, -1, -1)
        found.append(F.grid_sample(looked_at, grid, align_corners=False))
    return torch.cat(found)
