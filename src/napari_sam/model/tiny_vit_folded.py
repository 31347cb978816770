"""A TinyViT put to use: the same embeddings sooner, from a copy that is neither taught nor saved.

Batch norms are part of the convolutions before them, each table of biases is gathered once, 1 × 1
convolutions are matrix products over channels, and a CPU takes the layers that are wider than the
map a few rows at a time: coming by new memory for them takes longer than computing them.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_sam.model.tiny_vit import (
    Attention,
    ConvNorm,
    ImageEncoderTinyViT,
    MBConv,
    Mlp,
    PatchEmbed,
    PatchMerging,
    attend_in_windows,
)

# Bytes of the widest layer that a CPU works on at a time: about what its caches hold.
_CACHE_BYTES = 1 << 21


def fold(encoder: ImageEncoderTinyViT) -> ImageEncoderTinyViT:
    """Return a copy to be put to use; it shares no tensor with the encoder."""
    folded = copy.deepcopy(encoder).eval().requires_grad_(False)
    for module in list(folded.modules()):
        for name, child in module.named_children():
            if (made := _folded(child)) is not None:
                setattr(module, name, made)
    return folded


def _folded(layer: nn.Module) -> nn.Module | None:
    match layer:
        case MBConv():
            return FoldedBottleneck(layer.conv1, layer.conv2, layer.conv3, residual=True)
        case PatchMerging():
            return FoldedBottleneck(layer.conv1, layer.conv2, layer.conv3, residual=False)
        case PatchEmbed():
            return FoldedStem(layer)
        case Attention():
            return FoldedAttention(layer)
        case Mlp():
            return FoldedMlp(layer)
        case ConvNorm():
            return fold_convolution(layer)
    return None


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


@torch.no_grad()
def fold_pointwise(layer: ConvNorm) -> nn.Linear:
    """Return a linear layer over channels that does what a 1 × 1 convolution and its norm do."""
    convolution = fold_convolution(layer)
    folded = nn.Linear(convolution.in_channels, convolution.out_channels).to(convolution.weight)
    assert convolution.bias is not None
    folded.weight.copy_(convolution.weight.flatten(1))
    folded.bias.copy_(convolution.bias)
    return folded.requires_grad_(False)


class FoldedStem(nn.Module):
    """The stem, whose activation takes the place of what it is computed from."""

    def __init__(self, stem: PatchEmbed) -> None:
        super().__init__()
        first, _, second = stem.seq
        assert isinstance(first, ConvNorm)
        assert isinstance(second, ConvNorm)
        self.first, self.second = fold_convolution(first), fold_convolution(second)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, 3, H, W)` to `(B, C, H/4, W/4)`."""
        x = self.first(x)
        out: Tensor = self.second(_gelu_(x))
        return out


class FoldedBottleneck(nn.Module):
    """Channels wider, a depth-wise 3 × 3 convolution there, and narrow again."""

    def __init__(
        self, widen: ConvNorm, depthwise: ConvNorm, narrow: ConvNorm, residual: bool
    ) -> None:
        super().__init__()
        self.widen, self.narrow = fold_pointwise(widen), fold_pointwise(narrow)
        self.depthwise = fold_convolution(depthwise)
        self.stride = self.depthwise.stride[0]
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, C, H, W)` to `(B, C', H/stride, W/stride)`; H and W multiples of the stride."""
        cells = x.permute(0, 2, 3, 1)  # (B, H, W, C)
        if x.device.type == "cpu":
            (b, h, w, _), stride = cells.shape, self.stride
            y = cells.new_empty(b, h // stride, w // stride, self.narrow.out_features)
            for one, out in zip(cells.contiguous(), y, strict=True):
                self._by_strips(one, out)
            return y.permute(0, 3, 1, 2)
        wide = F.gelu(self.widen(cells)).permute(0, 3, 1, 2)
        y = self.narrow(F.gelu(self.depthwise(wide)).permute(0, 2, 3, 1))
        if self.residual:
            y = F.gelu(cells + y)
        return y.permute(0, 3, 1, 2)

    def _by_strips(self, cells: Tensor, out: Tensor) -> None:
        """Map `(H, W, C)` a few rows at a time into `(H/stride, W/stride, C')`."""
        (h, w, _), width = cells.shape, self.widen.out_features
        row = w * width * cells.element_size()
        strip = max(2, _CACHE_BYTES // row // 2 * 2)  # even: whole steps of the stride
        again = 3 - self.stride  # rows that the next strip's convolution reads, too
        # begins with a row of zeros: what the convolution takes for the one above the map
        wide, kept, done = cells.new_zeros(strip + 3, w, width), 1, 0
        for start in range(0, h, strip):
            rows = cells[start : start + strip]
            end = kept + len(rows)
            _linear(self.widen, rows, wide[kept:end])
            _gelu_(wide[kept:end])
            if start + strip >= h:  # and one below it
                wide[end] = 0
                end += 1
            y = F.conv2d(
                wide[None, :end].permute(0, 3, 1, 2),
                self.depthwise.weight,
                self.depthwise.bias,
                self.stride,
                (0, 1),
                groups=width,
            )
            y = _gelu_(y).permute(0, 2, 3, 1)[0]
            part = out[done : done + len(y)]
            _linear(self.narrow, y, part)
            if self.residual:
                _gelu_(part.add_(cells[done : done + len(y)]))
            done += len(y)
            wide[:again] = wide[end - again : end].clone()
            kept = again


class FoldedMlp(nn.Module):
    """Two linear layers, whose activation takes the place of what it is computed from."""

    def __init__(self, mlp: Mlp) -> None:
        super().__init__()
        self.norm, self.fc1, self.fc2 = mlp.norm, mlp.fc1, mlp.fc2

    def forward(self, x: Tensor) -> Tensor:
        """Map `(..., C)` to `(..., C)`."""
        out: Tensor = self.fc2(_gelu_(self.fc1(x)))
        return out


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


def _linear(layer: nn.Linear, x: Tensor, out: Tensor) -> None:
    """Map `(..., C)` into `(..., C')`, both contiguous."""
    flat = out.view(-1, out.shape[-1])
    torch.addmm(layer.bias, x.reshape(-1, x.shape[-1]), layer.weight.t(), out=flat)


def _gelu_(x: Tensor) -> Tensor:
    """Activate in place."""
    return F.gelu(x, out=x)  # type: ignore[call-arg]  # undocumented there
