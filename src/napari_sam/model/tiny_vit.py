"""MobileSAM's image encoder: TinyViT, convolutions first and windowed attention after them.

Source: Wu et al., TinyViT: Fast Pretraining Distillation for Small Vision Transformers (2022), as
Zhang et al., Faster Segment Anything: Towards Lightweight SAM for Mobile Applications (2023), use
it: at 1024 pixels, the last stage at the resolution of the one before, with SAM's neck.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_sam.model.config import TinyViTConfig
from napari_sam.model.layers import LayerNorm2d, add_mlp, cut_windows, join_windows

Step = Callable[[float], None]


class ImageEncoderTinyViT(nn.Module):
    """Image `(B, 3, H, W)` to embedding `(B, out_chans, H/16, W/16)`; H and W multiples of 16.

    Parameters
    ----------
    config
        The encoder's sizes.
    out_chans
        Channels of the embedding.
    """

    def __init__(self, config: TinyViTConfig, out_chans: int = 256) -> None:
        super().__init__()
        dims = config.embed_dims
        self.parts = sum(config.depths) + 1  # steps of the progress: the blocks and the neck
        self.patch_embed = PatchEmbed(dims[0])
        stages = [
            Stage(
                [
                    MBConv(dims[0], int(dims[0] * config.expand_ratio))
                    for _ in range(config.depths[0])
                ],
                PatchMerging(dims[0], dims[1], stride=2),
            )
        ]
        # (strides 8, 16, 16) of the image; nothing follows the last stage but the neck
        merging = (PatchMerging(dims[1], dims[2], 2), PatchMerging(dims[2], dims[3], 1), None)
        sizes = zip(
            dims[1:], config.depths[1:], config.num_heads, config.window_sizes, merging, strict=True
        )
        for dim, depth, heads, window, after in sizes:
            blocks = [Block(dim, heads, window, config) for _ in range(depth)]
            stages.append(Stage(blocks, after))
        self.layers = nn.ModuleList(stages)
        self.neck = nn.Sequential(
            nn.Conv2d(dims[3], out_chans, 1, bias=False),
            LayerNorm2d(out_chans),
            nn.Conv2d(out_chans, out_chans, 3, padding=1, bias=False),
            LayerNorm2d(out_chans),
        )

    def forward(self, x: Tensor, step: Step | None = None) -> tuple[Tensor, ...]:
        """Encode a batch of preprocessed images.

        Parameters
        ----------
        x
            `(B, 3, H, W)`, normalised and padded.
        step
            Called with the finished fraction after each block; it may raise to stop the work.

        Returns
        -------
        features
            One level, `(B, out_chans, H/16, W/16)`.
        """
        done = itertools.count(1)

        def report() -> None:
            if step is not None:
                step(next(done) / self.parts)

        x = self.patch_embed(x)  # (B, C, H/4, W/4)
        for stage in self.layers:
            x = stage(x, report)
        x = self.neck(x)
        report()
        return (x,)


class Stage(nn.Module):
    """Blocks at one resolution, and the downsampling to the next."""

    def __init__(self, blocks: Sequence[nn.Module], downsample: nn.Module | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample

    def forward(self, x: Tensor, report: Callable[[], None]) -> Tensor:
        """Map `(B, C, H, W)` to the next stage's map, calling `report` after each block."""
        for block in self.blocks:
            x = block(x)
            report()
        return x if self.downsample is None else self.downsample(x)


class BatchNorm(nn.Module):
    """Normalisation by statistics of a training's batches, over `(B, C, H, W)`.

    It doesn't count the batches, as torch's does: a count is no weight.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise by the batch's own statistics in training, by the running ones otherwise."""
        statistics = self.running_mean, self.running_var
        return F.batch_norm(
            x, *statistics, self.weight, self.bias, training=self.training, eps=self.eps
        )


class ConvNorm(nn.Module):
    """Convolution without bias, then batch norm."""

    def __init__(self, a: int, b: int, side: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.c = nn.Conv2d(a, b, side, stride, side // 2, groups=groups, bias=False)
        self.bn = BatchNorm(b)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, a, H, W)` to `(B, b, H/stride, W/stride)`."""
        out: Tensor = self.bn(self.c(x))
        return out


class PatchEmbed(nn.Module):
    """Stem: `(B, 3, H, W)` to `(B, dim, H/4, W/4)` by two convolutions."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.seq = nn.Sequential(
            ConvNorm(3, dim // 2, 3, stride=2), nn.GELU(), ConvNorm(dim // 2, dim, 3, stride=2)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Embed."""
        out: Tensor = self.seq(x)
        return out


class MBConv(nn.Module):
    """Inverted bottleneck: wider, a depth-wise convolution there, narrow again; residual."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(dim, hidden, 1)
        self.conv2 = ConvNorm(hidden, hidden, 3, groups=hidden)
        self.conv3 = ConvNorm(hidden, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, C, H, W)` to the same shape."""
        y = self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x)))))
        return F.gelu(x + y)


class PatchMerging(nn.Module):
    """`(B, dim, H, W)` to `(B, out_dim, H/stride, W/stride)`."""

    def __init__(self, dim: int, out_dim: int, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(dim, out_dim, 1)
        self.conv2 = ConvNorm(out_dim, out_dim, 3, stride, groups=out_dim)
        self.conv3 = ConvNorm(out_dim, out_dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Merge."""
        out: Tensor = self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x)))))
        return out


class Block(nn.Module):
    """Attention in windows, a depth-wise convolution across their borders, an MLP."""

    def __init__(self, dim: int, heads: int, window: int, config: TinyViTConfig) -> None:
        super().__init__()
        self.attn = Attention(dim, heads, window)
        self.local_conv = ConvNorm(dim, dim, 3, groups=dim)
        self.mlp = Mlp(dim, int(dim * config.mlp_ratio))

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, C, H, W)` to the same shape."""
        cells = x.permute(0, 2, 3, 1)  # (B, H, W, C)
        x = (cells + self.attn(cells)).permute(0, 3, 1, 2)
        y = self.local_conv(x).permute(0, 2, 3, 1)
        return add_mlp(y, y, self.mlp.norm, self.mlp).permute(0, 3, 1, 2)


class Mlp(nn.Module):
    """Two linear layers; the norm before them is applied by who calls them."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(..., C)` to `(..., C)`."""
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class Attention(nn.Module):
    """Multi-head attention in windows, with a learned bias for each distance between cells."""

    index: Tensor

    def __init__(self, dim: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)  # of each head its queries, its keys, its values
        self.proj = nn.Linear(dim, dim)
        self.attention_biases = nn.Parameter(torch.zeros(heads, window**2))
        at = torch.arange(window)
        apart = (at[:, None] - at[None, :]).abs()
        # of (row, column, row, column): how many rows and columns two cells are apart
        index = window * apart[:, None, :, None] + apart[None, :, None, :]
        self.register_buffer("index", index.flatten(2).flatten(0, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, H, W, C)` to the same shape."""
        cells = self.norm(x)
        y = attend_in_windows(cells, self.norm.bias, *self.projection(), self.bias(), self.window)
        out: Tensor = self.proj(y)
        return out

    def projection(self) -> tuple[Tensor, Tensor]:
        """Weight and bias that give all heads' queries first, then keys, then values."""
        return _by_kind(self.qkv.weight, self.heads), _by_kind(self.qkv.bias, self.heads)

    def bias(self) -> Tensor:
        """Bias `(heads, window², window²)` of every pair of cells."""
        return self.attention_biases[:, self.index]


def attend_in_windows(
    cells: Tensor, beyond: Tensor, weight: Tensor, bias: Tensor, biases: Tensor, window: int
) -> Tensor:
    """Attend within windows that don't overlap.

    Parameters
    ----------
    cells
        `(B, H, W, C)`, normalised.
    beyond
        `(C,)` what cells beyond the map hold, which are attended to like any other: TinyViT pads
        with zeros, and they are normalised, too.
    weight, bias
        `(3·C, C)` and `(3·C,)` of the projection to queries, keys and values.
    biases
        `(heads, window², window²)`.
    window
        Side of a window, in cells.

    Returns
    -------
    y
        `(B, H, W, C)`.
    """
    padding, size = F.linear(beyond, weight, bias), (cells.shape[1], cells.shape[2])
    parts = cut_windows(F.linear(cells, weight, bias), padding, window, len(biases))
    q, k, v = parts.unbind(0)
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=biases[None])
    return join_windows(y, window, size)


def _by_kind(values: Tensor, heads: int) -> Tensor:
    return values.unflatten(0, (heads, 3, -1)).transpose(0, 1).flatten(0, 2)
