"""Layers that several parts of the network share."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


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
        out: Tensor = x + self.mlp(self.norm(y)).permute(0, 3, 1, 2)
        return out


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


def window_partition(
    x: Tensor, window_size: int, padding: Tensor | None = None
) -> tuple[Tensor, tuple[int, int]]:
    """Cut a map into non-overlapping windows, padding it to a multiple first.

    Parameters
    ----------
    x
        `(B, H, W, C)`.
    window_size
        Side of a window.
    padding
        `(C,)` what cells of the padding hold; zeros by default.

    Returns
    -------
    windows, padded
        `(B · number of windows, window_size, window_size, C)` and the padded `(H, W)`.
    """
    b, h, w, c = x.shape
    pad_h, pad_w = -h % window_size, -w % window_size
    if pad_h or pad_w:
        x = F.pad(x, (0, 0, 0, pad_w, 0, pad_h))
        if padding is not None:
            x[:, h:] = padding
            x[:, :h, w:] = padding
    hp, wp = h + pad_h, w + pad_w
    x = x.view(b, hp // window_size, window_size, wp // window_size, window_size, c)
    return x.transpose(2, 3).reshape(-1, window_size, window_size, c), (hp, wp)


def window_unpartition(
    windows: Tensor, window_size: int, padded: tuple[int, int], size: tuple[int, int]
) -> Tensor:
    """Put windows back together and drop the padding.

    Parameters
    ----------
    windows
        As returned by :func:`window_partition`.
    padded, size
        `(H, W)` with and without the padding.

    Returns
    -------
    x
        `(B, H, W, C)`.
    """
    hp, wp = padded
    b = windows.shape[0] // (hp * wp // window_size**2)
    x = windows.view(b, hp // window_size, wp // window_size, window_size, window_size, -1)
    x = x.transpose(2, 3).reshape(b, hp, wp, -1)
    return x[:, : size[0], : size[1]]
