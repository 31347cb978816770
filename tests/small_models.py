"""Networks of each kind with random weights, small enough for tests of milliseconds."""

from __future__ import annotations

from dataclasses import replace

import torch
from reference import randomise

from napari_sam.model.config import HybridConfig, SamConfig, TinyViTConfig, ViTConfig
from napari_sam.model.sam import Sam, build
from napari_sam.segmentation.network import SamSegmenter

VIT = SamConfig(
    "small vit",
    image_size=64,
    encoder=ViTConfig(32, 2, 2, (1,), window_size=3),
    embed_dim=32,
    mask_in_chans=8,
    decoder_heads=4,
    decoder_mlp_dim=64,
    iou_head_hidden_dim=32,
)
WITH_DECODER = replace(VIT, name="small vit with a decoder", instance_channels=(16, 8, 4, 2))
TINY = SamConfig(
    "small tiny vit",
    image_size=64,
    encoder=TinyViTConfig((8, 8, 12, 16), (1, 1, 1, 1), (2, 3, 2), (3, 2, 4)),
    embed_dim=32,
    mask_in_chans=8,
    decoder_heads=4,
    decoder_mlp_dim=64,
    iou_head_hidden_dim=32,
)
HYBRID = SamConfig(
    "small hybrid",
    image_size=64,
    encoder=HybridConfig(8, (8, 16, 16, 16), (1, 1, 1, 1), (0, 0, 0, 1), head_dim=8),
    embed_dim=32,
    mask_in_chans=8,
    decoder_heads=4,
    decoder_mlp_dim=64,
    iou_head_hidden_dim=32,
    mask_aware_iou=True,
    raster_sigmas=(3.0, 9.0),
    decoder_pooling=2,
    fusion_depth=1,
    refine_depth=1,
    skip_channels=(8, 4),
    dense_channels=8,
    box_depth=1,
    roi_channels=8,
    resize="own",
)


def network(config: SamConfig, seed: int = 3) -> Sam:
    """Build a network with random weights in every parameter."""
    torch.manual_seed(seed)
    sam = build(config)
    randomise(sam, seed)
    if sam.dense_head is not None:  # sure of something, so that there are some proposals
        sam.dense_head.boxes.score.bias.data += 1
    return sam


def segmenter(config: SamConfig, seed: int = 3) -> SamSegmenter:
    """Build a plain segmenter on the CPU with random weights."""
    return SamSegmenter(network(config, seed), device="cpu", precision="float32")
