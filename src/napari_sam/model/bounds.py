"""What a configuration may hold: it may come from a file that anybody has made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, get_args

from napari_sam.model.config import (
    HybridConfig,
    Resize,
    SamConfig,
    TinyViTConfig,
    Upsampling,
    ViTConfig,
)

# Lowest and highest whole number; far beyond the largest network that is known to be of use.
_COUNTS = {
    "image_size": (32, 8192),
    "embed_dim": (8, 4096),
    "mask_in_chans": (4, 4096),
    "decoder_depth": (1, 64),
    "decoder_heads": (1, 256),
    "decoder_mlp_dim": (1, 65536),
    "num_multimask_outputs": (1, 64),
    "iou_head_depth": (1, 64),
    "iou_head_hidden_dim": (1, 65536),
    "decoder_pooling": (1, 16),
    "fusion_depth": (0, 64),
    "refine_depth": (0, 64),
    "dense_channels": (0, 4096),
    "dense_depth": (0, 64),
    "box_depth": (0, 64),
    "roi_channels": (0, 4096),
}
_VIT_COUNTS = {
    "embed_dim": (1, 16384),
    "depth": (1, 256),
    "num_heads": (1, 256),
    "window_size": (1, 512),
    "patch_size": (4, 128),
}
_HYBRID_COUNTS = {"stem_channels": (1, 4096), "head_dim": (1, 4096)}
_SWITCHES = ("mask_aware_iou",)
_VIT_SWITCHES = ("qkv_bias", "use_rel_pos")
_MOST_SIGMAS = 16


def check_bounds(config: SamConfig) -> None:
    """Refuse a configuration whose network would be absurd, or could not be built or run.

    Raises
    ------
    ValueError
        Naming the first setting that is out of bounds, of another type than it should be, or
        doesn't go with another one.
    """
    if not isinstance(config.name, str) or len(config.name) > 100:
        raise ValueError(_wrong("name", "a name of at most 100 letters", config.name))
    _check_counts(config, _COUNTS)
    _check_switches(config, _SWITCHES)
    if config.resize not in get_args(Resize):
        raise ValueError(_wrong("resize", f"one of {get_args(Resize)}", config.resize))
    _check_numbers("max_upscale", (config.max_upscale,), 1, 16, (1,))
    _check_numbers("raster_sigmas", config.raster_sigmas, 0.1, 8192, range(_MOST_SIGMAS + 1))
    _check_numbers("pixel_mean", config.pixel_mean, -1e6, 1e6, (3,))
    _check_numbers("pixel_std", config.pixel_std, 1e-6, 1e6, (3,))
    _check_whole("skip_channels", config.skip_channels, 1, 4096, (0, 2))
    _check_whole("instance_channels", config.instance_channels, 1, 8192, (0, 4))
    for wide, narrow in pairwise(config.instance_channels):
        if wide != 2 * narrow:
            raise ValueError(
                _wrong("instance_channels", "each half of the one before", config.instance_channels)
            )
    if config.instance_upsampling not in get_args(Upsampling):
        wanted = f"one of {get_args(Upsampling)}"
        raise ValueError(_wrong("instance_upsampling", wanted, config.instance_upsampling))
    encoder = config.encoder
    if isinstance(encoder, ViTConfig):
        _check_counts(encoder, _VIT_COUNTS)
        _check_switches(encoder, _VIT_SWITCHES)
        blocks = encoder.global_attn_indexes
        _check_whole("global_attn_indexes", blocks, 0, encoder.depth - 1, range(encoder.depth + 1))
        _check_divides("encoder.embed_dim", encoder.embed_dim, "num_heads", encoder.num_heads)
    elif isinstance(encoder, HybridConfig):
        _check_counts(encoder, _HYBRID_COUNTS)
        _check_whole("channels", encoder.channels, 1, 8192, (4,))
        _check_whole("depths", encoder.depths, 0, 64, (4,))
        _check_whole("attention_depths", encoder.attention_depths, 0, 64, (4,))
        for channels, depth in zip(encoder.channels, encoder.attention_depths, strict=True):
            if depth:
                _check_divides("channels", channels, "head_dim", encoder.head_dim)
    elif isinstance(encoder, TinyViTConfig):
        _check_whole("embed_dims", encoder.embed_dims, 2, 8192, (4,))
        _check_whole("depths", encoder.depths, 0, 64, (4,))
        _check_whole("num_heads", encoder.num_heads, 1, 256, (3,))
        _check_whole("window_sizes", encoder.window_sizes, 1, 64, (3,))
        _check_numbers("expand_ratio", (encoder.expand_ratio,), 1e-3, 64, (1,))
        for channels, heads in zip(encoder.embed_dims[1:], encoder.num_heads, strict=True):
            _check_divides("embed_dims", channels, "num_heads", heads)
    _check_numbers("mlp_ratio", (encoder.mlp_ratio,), 1e-3, 64, (1,))
    _check_divides("image_size", config.image_size, "the embedding's stride", encoder.stride)
    grid = config.image_size // encoder.stride
    _check_divides("the embedding's side", grid, "decoder_pooling", config.decoder_pooling)
    _check_divides("embed_dim", config.embed_dim, "8", 8)
    # the cells' attention is half as wide as they are
    half = config.embed_dim // 2
    _check_divides("half of embed_dim", half, "decoder_heads", config.decoder_heads)


def _check_counts(config: object, bounds: Mapping[str, tuple[int, int]]) -> None:
    for name, (lowest, highest) in bounds.items():
        _check_whole(name, (getattr(config, name),), lowest, highest, (1,))


def _check_switches(config: object, names: tuple[str, ...]) -> None:
    for name in names:
        if not isinstance(value := getattr(config, name), bool):
            raise ValueError(_wrong(name, "true or false", value))


def _check_whole(
    name: str, values: Any, lowest: int, highest: int, lengths: tuple[int, ...] | range
) -> None:
    whole = isinstance(values, tuple) and all(type(v) is int for v in values)
    if not (whole and len(values) in lengths and all(lowest <= v <= highest for v in values)):
        wanted = "a whole number" if lengths == (1,) else "whole numbers"
        raise ValueError(_wrong(name, f"{wanted} from {lowest} to {highest}", values))


def _check_numbers(
    name: str, values: Any, lowest: float, highest: float, lengths: tuple[int, ...] | range
) -> None:
    real = isinstance(values, tuple) and all(type(v) in (int, float) for v in values)
    if not (
        real
        and len(values) in lengths
        and all(math.isfinite(v) and lowest <= v <= highest for v in values)
    ):
        wanted = "a number" if lengths == (1,) else "numbers"
        raise ValueError(_wrong(name, f"{wanted} from {lowest} to {highest}", values))


def _check_divides(name: str, value: int, by_name: str, by: int) -> None:
    if value % by:
        raise ValueError(
            f"expected a network whose {name} is a multiple of {by_name}, got {value} and {by}"
        )


def _wrong(name: str, wanted: str, came: object) -> str:
    if isinstance(came, tuple):
        text = repr(came[0]) if len(came) == 1 else f"{len(came)} of them, {repr(came[:8])[:80]}"
    else:
        text = repr(came)
    return (
        f"expected a network with {name} {wanted}, got {text[:100]}; the checkpoint is damaged "
        "or was written by another program"
    )
