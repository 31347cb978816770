"""micro-sam's decoder for instances once more, by plain functions, and tensors to give it.

Independent of ours: as those who train these models put it together, channel by channel.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F


def decoder_tensors(
    embed_dim: int, wide: int, upsampling: str = "bilinear", seed: int = 0
) -> dict[str, Tensor]:
    """Return random tensors of the names and shapes of a checkpoint's, statistics included."""
    generator = torch.Generator().manual_seed(seed)
    widths = [wide, wide // 2, wide // 4, wide // 8]
    state: dict[str, Tensor] = {}

    def conv(name: str, a: int, b: int, side: int) -> None:
        state[f"{name}.weight"] = torch.randn(b, a, side, side, generator=generator) / (
            side * a**0.5
        )
        state[f"{name}.bias"] = torch.randn(b, generator=generator) / 2

    def finer(name: str, a: int, b: int) -> None:
        if upsampling == "bilinear":
            conv(f"{name}.conv", a, b, 1)
        else:
            conv(f"{name}.block", b, a, 2)
            state[f"{name}.block.bias"] = torch.randn(b, generator=generator) / 2

    def convs(name: str, a: int, b: int) -> None:
        conv(f"{name}.block.1", a, b, 3)
        conv(f"{name}.block.4", b, b, 3)

    for i, (a, b) in enumerate(zip([embed_dim, *widths], widths, strict=False), 1):
        finer(f"deconv{i}.block.0", a, b)
        conv(f"deconv{i}.block.1.block", b, b, 3)
        norm = f"deconv{i}.block.2"
        state[f"{norm}.weight"] = torch.rand(b, generator=generator) + 0.5
        state[f"{norm}.bias"] = torch.randn(b, generator=generator) / 2
        state[f"{norm}.running_mean"] = torch.randn(b, generator=generator) / 2
        state[f"{norm}.running_var"] = torch.rand(b, generator=generator) + 0.5
        state[f"{norm}.num_batches_tracked"] = torch.tensor(1234)
    convs("base", embed_dim, wide)
    for i, (a, b) in enumerate(pairwise(widths)):
        convs(f"decoder.blocks.{i}", a, b)
        finer(f"decoder.samplers.{i}", a, b)
    finer("deconv_out", widths[3], widths[3])
    convs("decoder_head", 2 * widths[3], widths[3])
    conv("out_conv", widths[3], 3, 1)
    return state


def decode(state: dict[str, Tensor], embedding: Tensor) -> Tensor:
    """Map `(1, C, h, w)` to `(1, 3, 16·h, 16·w)`."""

    def conv(x: Tensor, name: str) -> Tensor:
        weight = state[f"{name}.weight"]
        return F.conv2d(x, weight, state[f"{name}.bias"], padding=weight.shape[-1] // 2)

    def finer(x: Tensor, name: str) -> Tensor:
        if f"{name}.conv.weight" in state:
            size = [2 * side for side in x.shape[2:]]
            x = F.interpolate(x, size=size, mode="bilinear", align_corners=False)
            return conv(x, f"{name}.conv")
        weight, bias = state[f"{name}.block.weight"], state[f"{name}.block.bias"]
        return F.conv_transpose2d(x, weight, bias, stride=2)

    def centred(x: Tensor) -> Tensor:
        mean = x.mean((2, 3), keepdim=True)
        variance = (x - mean).square().mean((2, 3), keepdim=True)
        return (x - mean) / (variance + 1e-5).sqrt()

    def convs(x: Tensor, name: str) -> Tensor:
        for place in (1, 4):
            x = conv(centred(x), f"{name}.block.{place}").clamp_min(0)
        return x

    def stage(x: Tensor, name: str) -> Tensor:
        x = conv(finer(x, f"{name}.block.0"), f"{name}.block.1.block")
        norm = f"{name}.block.2"
        parts = ("running_mean", "running_var", "weight", "bias")
        mean, variance, weight, bias = (state[f"{norm}.{one}"][:, None, None] for one in parts)
        return ((x - mean) / (variance + 1e-5).sqrt() * weight + bias).clamp_min(0)

    levels = [embedding]
    for i in range(1, 5):
        levels.append(stage(levels[-1], f"deconv{i}"))
    x = convs(embedding, "base")
    for i in range(3):
        x = finer(x, f"decoder.samplers.{i}")
        spare = (levels[i + 1].shape[1] - x.shape[1]) // 2
        x = convs(torch.cat([x, levels[i + 1][:, spare:-spare]], 1), f"decoder.blocks.{i}")
    x = torch.cat([finer(x, "deconv_out"), levels[4]], 1)
    return torch.sigmoid(conv(convs(x, "decoder_head"), "out_conv"))
