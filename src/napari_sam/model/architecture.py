"""Infer a network's configuration from the names and shapes of its tensors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from napari_sam.model.config import PRESETS, Encoder, SamConfig, TinyViTConfig, ViTConfig

if TYPE_CHECKING:
    from torch import Tensor

_Shapes = Mapping[str, tuple[int, ...]]

INSTANCES = "instance_decoder."
"""Beginning of the names of a decoder for instances among the tensors of a whole network."""

# Beginnings of tensor names by which architectures other than SAM's are recognised.
_RELATIVES = {
    "image_encoder.trunk.": "SAM 2",
    "vision_encoder.": "transformers' SamModel; take the original .pth file instead",
    "detector.": "SAM 3",
}
# MobileSAM's files hold the head that classified whole images when its encoder was first trained.
_UNUSED_BY_TINY_VIT = tuple(
    f"image_encoder.{layer}.{kind}"
    for layer in ("norm_head", "head")
    for kind in ("weight", "bias")
)


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged, or not of a supported kind."""


def infer_config(state: Mapping[str, Tensor]) -> SamConfig:
    """Infer the configuration of a SAM or a MobileSAM from its tensors.

    All but the decoder's number of heads, which leaves no trace and is taken as SAM's 8, follows
    from shapes: heads from the width of the relative-position tables; windows and global blocks
    from their lengths, 2·14 − 1 and 2·64 − 1 in SAM. A TinyViT leaves no trace of the size of its
    input, which is taken as MobileSAM's 1024.

    Parameters
    ----------
    state
        Tensors by SAM's names.

    Returns
    -------
    config
        A preset where one fits, otherwise named ``"custom"``.

    Raises
    ------
    CheckpointError
        If the tensors are of another architecture.
    """
    return config_of_shapes({name: tuple(value.shape) for name, value in state.items()})


def config_of_shapes(shapes: _Shapes) -> SamConfig:
    """Infer a configuration as :func:`infer_config` does, from the shapes alone."""
    try:
        config = _from_shapes(shapes)
    except (LookupError, ValueError, ArithmeticError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(_unknown_architecture(shapes, error)) from error
    for name, preset in PRESETS.items():
        if config.renamed(name) == preset:
            config = preset
    decoder = {k.removeprefix(INSTANCES): v for k, v in shapes.items() if k.startswith(INSTANCES)}
    return with_instances(config, decoder) if decoder else config


def with_instances(config: SamConfig, shapes: _Shapes) -> SamConfig:
    """Return the configuration of a network to which a decoder for instances is added.

    Parameters
    ----------
    config
        The network without one.
    shapes
        Of the decoder's tensors, by the names of micro-sam's checkpoints.

    Raises
    ------
    CheckpointError
        If they are of something else, or of a decoder for another embedding.
    """
    try:
        channels = tuple(shapes[f"deconv{i}.block.1.block.weight"][0] for i in range(1, 5))
        maps, embed_dim = shapes["out_conv.weight"][0], shapes["base.block.1.weight"][1]
    except (LookupError, ValueError) as error:
        raise CheckpointError(
            "expected the tensors of micro-sam's decoder for instances, which works on the image "
            f"embedding alone, got {len(shapes)} tensors, {some(shapes)} (no {error})"
        ) from error
    if maps != 3:
        raise CheckpointError(
            "expected a decoder for instances with three maps (foreground, distance to the centre "
            f"and to the boundary), got one with {maps}; it was trained for something else"
        )
    if embed_dim != config.embed_dim:
        raise CheckpointError(
            f"expected a decoder for instances for embeddings of {config.embed_dim} channels, as "
            f"this model's are, got one for {embed_dim}; it belongs to another model"
        )
    is_bilinear = "deconv1.block.0.conv.weight" in shapes
    return replace(
        config,
        instance_channels=channels,
        instance_upsampling="bilinear" if is_bilinear else "transposed",
    )


def without_unused(state: Mapping[str, Tensor], config: SamConfig) -> dict[str, Tensor]:
    """Leave out what the files of an architecture hold and its network has no use for."""
    unused = _UNUSED_BY_TINY_VIT if isinstance(config.encoder, TinyViTConfig) else ()
    return {name: value for name, value in state.items() if name not in unused}


def some(names: Iterable[str]) -> str:
    """Return up to three names for an error message."""
    listed = list(names)
    return ", ".join(listed[:3]) + (", ..." if len(listed) > 3 else "")


def _from_shapes(shape: _Shapes) -> SamConfig:
    is_tiny = any(name.startswith("image_encoder.layers.") for name in shape)
    encoder, image_size = _tiny_vit(shape) if is_tiny else _vit(shape)
    layer = "mask_decoder.transformer.layers."
    return SamConfig(
        name="custom",
        image_size=image_size,
        encoder=encoder,
        embed_dim=shape["image_encoder.neck.0.weight"][0],
        mask_in_chans=shape["prompt_encoder.mask_downscaling.3.weight"][0],
        decoder_depth=_count(shape, layer),
        decoder_mlp_dim=shape[f"{layer}0.mlp.lin1.weight"][0],
        num_multimask_outputs=shape["mask_decoder.mask_tokens.weight"][0] - 1,
        iou_head_depth=_count(shape, "mask_decoder.iou_prediction_head.layers."),
        iou_head_hidden_dim=shape["mask_decoder.iou_prediction_head.layers.0.weight"][0],
    )


def _vit(shape: _Shapes) -> tuple[Encoder, int]:
    """Infer a ViT and the side of its input."""
    embed_dim, _, patch_size, _ = shape["image_encoder.patch_embed.proj.weight"]
    _, grid, _, _ = shape["image_encoder.pos_embed"]
    depth = _count(shape, "image_encoder.blocks.")
    block = "image_encoder.blocks.{}.attn.rel_pos_h"
    lengths = [shape[block.format(i)][0] for i in range(depth)]
    windows = {length for length in lengths if length != 2 * grid - 1}
    if len(windows) > 1:
        raise CheckpointError(
            f"expected relative-position tables of length {2 * grid - 1} (global) and one other "
            f"(windows), got {sorted(set(lengths))}"
        )
    encoder = ViTConfig(
        embed_dim=embed_dim,
        depth=depth,
        num_heads=embed_dim // shape[block.format(0)][1],
        global_attn_indexes=tuple(i for i, n in enumerate(lengths) if n == 2 * grid - 1),
        patch_size=patch_size,
        mlp_ratio=shape["image_encoder.blocks.0.mlp.lin1.weight"][0] / embed_dim,
        qkv_bias="image_encoder.blocks.0.attn.qkv.bias" in shape,
    )
    if windows:
        encoder = replace(encoder, window_size=(windows.pop() + 1) // 2)
    return encoder, grid * patch_size


def _tiny_vit(shape: _Shapes) -> tuple[Encoder, int]:
    """Infer a TinyViT and the side of its input."""
    stages = [f"image_encoder.layers.{i}.blocks." for i in range(4)]
    hidden, dim, _, _ = shape[f"{stages[0]}0.conv1.c.weight"]
    # a head's biases, one for each distance of rows and of columns within a window
    tables = [shape[f"{stage}0.attn.attention_biases"] for stage in stages[1:]]
    widths = [shape[f"{stage}0.mlp.fc1.weight"] for stage in stages[1:]]
    heads, windows = zip(*((heads, math.isqrt(n)) for heads, n in tables), strict=True)
    dims = dim, *(channels for _, channels in widths)
    depths = tuple(_count(shape, stage) for stage in stages)
    return TinyViTConfig(
        dims,  # type: ignore[arg-type]  # four stages
        depths,  # type: ignore[arg-type]
        heads,
        windows,
        mlp_ratio=widths[0][0] / widths[0][1],
        expand_ratio=hidden / dim,
    ), PRESETS["vit_t"].image_size


def _count(names: Iterable[str], prefix: str) -> int:
    """Length of the list of modules whose tensors' names start with a prefix."""
    indexes = {name.removeprefix(prefix).split(".")[0] for name in names if name.startswith(prefix)}
    return len(indexes)


def _unknown_architecture(state: Mapping[str, object], error: Exception) -> str:
    relative = next(
        (kind for part, kind in _RELATIVES.items() if any(k.startswith(part) for k in state)), None
    )
    if "deconv1.block.1.block.weight" in state:
        relative = (
            "a decoder for instances alone; give the model beside which it lies: that of "
            "NAME_decoder.pt is NAME.pt"
        )
    return (
        "expected the tensors of a Segment Anything network with a ViT or TinyViT encoder, got "
        + (f"those of {relative}" if relative else f"{len(state)} tensors, {some(state)}")
        + (f" (no {error})" if isinstance(error, KeyError) else f" ({error})")
    )
