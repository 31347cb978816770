"""Layers that several parts of the network share."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Rows whose MLP a CPU computes at a time: the wider layer between stays in its caches.
_ROWS = 1024


class LayerNorm2d(nn.Module):
    """Layer normalisation over the channels of a `(B, C, H, W)` tensor."""

    def __init__(self, num_channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `(B, C, H, W)`; the memory format is kept."""
        x = x.permute(0, 2, 3, 1)  # a view; contiguous where x is channels-last
        return F.layer_norm(x, x.shape[-1:], self.weight, self.bias, self.eps).permute(0, 3, 1, 2)


class MLPBlock(nn.Module):
    """Two linear layers with an activation between them."""

    def __init__(self, embedding_dim: int, mlp_dim: int, act: type[nn.Module] = nn.GELU) -> None:
        super().__init__()
        self.lin1 = nn.Linear(embedding_dim, mlp_dim)
        self.lin2 = nn.Linear(mlp_dim, embedding_dim)
        self.act = act()

    def forward(self, x: Tensor) -> Tensor:
        """Map `(..., C)` to `(..., C)`."""
        out: Tensor = self.lin2(self.act(self.lin1(x)))
        return out


class ConvBlock(nn.Module):
    """Depth-wise 7×7 convolution, then an MLP over channels, with a residual path."""

    def __init__(self, channels: int, mlp_ratio: float) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = MLPBlock(channels, int(channels * mlp_ratio))

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, C, H, W)` to the same shape."""
        y = self.dwconv(x).permute(0, 2, 3, 1)  # (B, H, W, C)
        y = add_mlp(x.permute(0, 2, 3, 1), y, self.norm, self.mlp)
        return y.permute(0, 3, 1, 2)


def add_mlp(x: Tensor, y: Tensor, norm: nn.LayerNorm, mlp: nn.Module) -> Tensor:
    """Return `x + mlp(norm(y))`.

    A CPU without gradients computes it part by part and writes it over `y`: at a fine stride, new
    memory for the wider layer takes as long to come by as the layer itself.

    Parameters
    ----------
    x, y
        `(..., C)` of the same shape; `y` may be `x`, and isn't needed afterwards.
    norm, mlp
        Over the last axis.
    """
    few = y.numel() <= _ROWS * y.shape[-1]
    mixed = x.dtype != y.dtype  # under autocast: y couldn't hold the sum
    if few or mixed or y.device.type != "cpu" or torch.is_grad_enabled():
        out: Tensor = x + mlp(norm(y))
        return out
    y = y.contiguous()
    rows = (z.reshape(-1, z.shape[-1]).split(_ROWS) for z in (x, y))
    for before, after in zip(*rows, strict=True):
        torch.add(before, mlp(norm(after)), out=after)
    return y


class MLP(nn.Module):
    """Fully connected layers with ReLU between them."""

    def __init__(self, input_dim: int, hidden_dim: int, output_dim: int, num_layers: int) -> None:
        super().__init__()
        dims = [input_dim] + [hidden_dim] * (num_layers - 1) + [output_dim]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(dims))

    def forward(self, x: Tensor) -> Tensor:
        """Map `(..., input_dim)` to `(..., output_dim)`."""
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        out: Tensor = self.layers[-1](x)
        return out


def cut_windows(qkv: Tensor, padding: Tensor | None, window: int, heads: int) -> Tensor:
    """Cut a map of queries, keys and values into windows that don't overlap.

    Parameters
    ----------
    qkv
        `(B, H, W, 3·heads·D)`.
    padding
        `(3·heads·D,)` what cells beyond the map hold; zeros by default.
    window
        Side of a window, in cells.
    heads
        Number of heads.

    Returns
    -------
    windows
        `(3, B · number of windows, heads, window², D)`, contiguous.
    """
    b, h, w, channels = qkv.shape
    cells = qkv.unflatten(3, (3, heads, -1))
    rows, columns, dim = -(-h // window), -(-w // window), channels // (3 * heads)
    out = qkv.new_empty(3, b, rows, columns, heads, window, window, dim)
    beyond = padding if padding is not None else qkv.new_zeros(channels)
    beyond = beyond.view(3, 1, 1, heads, 1, 1, dim)
    if h % window:
        out[:, :, -1, :, :, h % window :] = beyond
    if w % window:
        out[:, :, :, -1, :, :, w % window :] = beyond
    for row, y, high in _strips(h, window):
        for column, x, wide in _strips(w, window):
            part = cells[:, y, x].unflatten(2, (-1, wide)).unflatten(1, (-1, high))
            out[:, :, row, column, :, :high, :wide] = part.permute(5, 0, 1, 3, 6, 2, 4, 7)
    return out.flatten(5, 6).flatten(1, 3)


def join_windows(y: Tensor, window: int, size: tuple[int, int]) -> Tensor:
    """Put windows back together and drop the padding.

    Parameters
    ----------
    y
        `(B · number of windows, heads, window², D)`, in the order of :func:`cut_windows`.
    window
        Side of a window, in cells.
    size
        (H, W) of the map.

    Returns
    -------
    x
        `(B, H, W, heads·D)`, contiguous.
    """
    h, w = size
    rows, columns = -(-h // window), -(-w // window)
    y = y.unflatten(2, (window, window)).unflatten(0, (-1, rows, columns))
    out = y.new_empty(y.shape[0], h, w, y.shape[3], y.shape[6])
    for row, at, high in _strips(h, window):
        for column, x, wide in _strips(w, window):
            part = out[:, at, x].unflatten(2, (-1, wide)).unflatten(1, (-1, high))
            part.copy_(y[:, row, column, :, :high, :wide].permute(0, 1, 4, 2, 5, 3, 6))
    return out.flatten(3)


def _strips(length: int, window: int) -> list[tuple[slice, slice, int]]:
    """Whole windows along an axis and the cut one at its end: windows, cells, cells of each."""
    whole = length // window
    strips = [(slice(0, whole), slice(0, whole * window), window)] if whole else []
    if rest := length % window:
        strips.append((slice(whole, whole + 1), slice(whole * window, length), rest))
    return strips
