"""A TinyViT put to use: the same embeddings sooner, from a copy that is neither taught nor saved.

Batch norms are part of the convolutions before them, each table of biases is gathered once.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from napari_sam.model.tiny_vit import (
    Attention,
    ConvNorm,
    ImageEncoderTinyViT,
    attend_in_windows,
)


def fold(encoder: ImageEncoderTinyViT) -> ImageEncoderTinyViT:
    """Return a copy to be put to use; it shares no tensor with the encoder."""
    folded = copy.deepcopy(encoder).eval().requires_grad_(False)
    for module in list(folded.modules()):
        for name, child in module.named_children():
            if isinstance(child, ConvNorm):
                setattr(module, name, fold_convolution(child))
            elif isinstance(child, Attention):
                setattr(module, name, FoldedAttention(child))
    return folded


@torch.no_grad()
def fold_convolution(layer: ConvNorm) -> nn.Conv2d:
    """Return one convolution, with a bias, that does the same outside training."""
    c, norm = layer.c, layer.bn
    folded = nn.Conv2d(
        c.in_channels,
        c.out_channels,
        c.kernel_size,  # type: ignore[arg-type]  # pairs
        c.stride,  # type: ignore[arg-type]
        c.padding,  # type: ignore[arg-type]
        groups=c.groups,
    ).to(c.weight)
    assert folded.bias is not None
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    folded.weight.copy_(c.weight.double() * scale[:, None, None, None])
    folded.bias.copy_(norm.bias.double() - norm.running_mean.double() * scale)
    return folded.requires_grad_(False)


class FoldedAttention(nn.Module):
    """Attention in windows whose biases are gathered, and whose projection is in our order."""

    weight: Tensor
    bias: Tensor
    biases: Tensor

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.window = attention.window
        self.norm, self.proj = attention.norm, attention.proj
        weight, bias = attention.projection()
        self.register_buffer("weight", weight.detach().clone())
        self.register_buffer("bias", bias.detach().clone())
        self.register_buffer("biases", attention.bias().detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, H, W, C)` to the same shape."""
        cells, beyond = self.norm(x), self.norm.bias
        y = attend_in_windows(cells, beyond, self.weight, self.bias, self.biases, self.window)
        out: Tensor = self.proj(y)
        return out
