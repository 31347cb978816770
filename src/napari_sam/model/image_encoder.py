"""SAM's image encoder: a ViT with windowed attention and decomposed relative positions.

Source: Kirillov et al., Segment Anything (2023), after Li et al., Exploring Plain Vision
Transformer Backbones for Object Detection (2022).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_sam.model.attention import attend, attend_in_windows, get_rel_pos
from napari_sam.model.config import ViTConfig
from napari_sam.model.layers import LayerNorm2d, MLPBlock, add_mlp, cut_windows, join_windows

Step = Callable[[float], None]


class ImageEncoderViT(nn.Module):
    """Image `(B, 3, S, S)` to embedding `(B, out_chans, S/16, S/16)`.

    Parameters
    ----------
    config
        The transformer's sizes.
    img_size
        Side of the model input in model pixels: sets the length of the position tables.
    out_chans
        Channels of the embedding.
    """

    def __init__(self, config: ViTConfig, img_size: int = 1024, out_chans: int = 256) -> None:
        super().__init__()
        grid = img_size // config.patch_size
        self.img_size = img_size
        self.patch_embed = PatchEmbed(config.patch_size, config.embed_dim)
        self.pos_embed = nn.Parameter(torch.zeros(1, grid, grid, config.embed_dim))
        self.blocks = nn.ModuleList(
            Block(
                config,
                window_size=0 if i in config.global_attn_indexes else config.window_size,
                input_size=grid,
            )
            for i in range(config.depth)
        )
        self.neck = nn.Sequential(
            nn.Conv2d(config.embed_dim, out_chans, 1, bias=False),
            LayerNorm2d(out_chans),
            nn.Conv2d(out_chans, out_chans, 3, padding=1, bias=False),
            LayerNorm2d(out_chans),
        )

    def forward(self, x: Tensor, step: Step | None = None) -> tuple[Tensor, ...]:
        """Encode a batch of preprocessed images.

        Parameters
        ----------
        x
            `(B, 3, S, S)`, normalised and padded; a smaller `S` than the model's for training.
        step
            Called with the finished fraction after each block; it may raise to stop the work.

        Returns
        -------
        features
            One level, `(B, out_chans, S/16, S/16)`.
        """
        x = self.patch_embed(x)  # (B, 64, 64, C)
        x = x + self.pos_embed[:, : x.shape[1], : x.shape[2]]
        for i, block in enumerate(self.blocks):
            x = block(x)
            if step is not None:
                step((i + 1) / len(self.blocks))
        return (self.neck(x.permute(0, 3, 1, 2)),)


class PatchEmbed(nn.Module):
    """Non-overlapping patches to vectors: `(B, 3, H, W)` to `(B, H/16, W/16, C)`."""

    def __init__(self, patch_size: int, embed_dim: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.proj = nn.Conv2d(3, embed_dim, patch_size, stride=patch_size)

    def forward(self, x: Tensor) -> Tensor:
        """Embed the patches: patches don't overlap, so that one matrix product does it."""
        rows = x.unflatten(3, (-1, self.patch_size)).unflatten(2, (-1, self.patch_size))
        patches = rows.permute(0, 2, 4, 1, 3, 5).flatten(3)  # (B, H/16, W/16, 3·16·16)
        return F.linear(patches, self.proj.weight.flatten(1), self.proj.bias)


class Block(nn.Module):
    """Transformer block; attention in windows of `window_size`, or global where that is 0."""

    def __init__(self, config: ViTConfig, window_size: int, input_size: int) -> None:
        super().__init__()
        dim = config.embed_dim
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(
            dim,
            config.num_heads,
            qkv_bias=config.qkv_bias,
            use_rel_pos=config.use_rel_pos,
            input_size=window_size or input_size,
        )
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = MLPBlock(dim, int(dim * config.mlp_ratio))
        self.window_size = window_size

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, H, W, C)` to the same shape."""
        x = (x + self.attn(self.norm1(x), self.window_size)).contiguous()
        return add_mlp(x, x, self.norm2, self.mlp)


class Attention(nn.Module):
    """Multi-head attention over a map, with decomposed relative positions."""

    def __init__(
        self, dim: int, num_heads: int, qkv_bias: bool, use_rel_pos: bool, input_size: int
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        head_dim = dim // num_heads
        self.qkv = nn.Linear(dim, dim * 3, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self.use_rel_pos = use_rel_pos
        if use_rel_pos:
            self.rel_pos_h = nn.Parameter(torch.zeros(2 * input_size - 1, head_dim))
            self.rel_pos_w = nn.Parameter(torch.zeros(2 * input_size - 1, head_dim))

    def forward(self, x: Tensor, window_size: int = 0) -> Tensor:
        """Map `(B, H, W, C)` to the same shape; in windows, or globally where that is 0.

        Padding comes after the projection to queries, keys and values: a cell of it has their
        biases, as if the map had been padded with zeros before, and costs nothing.
        """
        qkv, size = self.qkv(x), (x.shape[1], x.shape[2])
        if not window_size:
            parts = qkv.unflatten(3, (3, self.num_heads, -1)).flatten(1, 2).permute(2, 0, 3, 1, 4)
            y = self._attend(parts, size)
            return self.proj(y.transpose(1, 2).reshape(x.shape))
        if self.use_rel_pos:
            tables = self.rel_pos_h, self.rel_pos_w
            fused = attend_in_windows(qkv, self.qkv.bias, *tables, window_size, self.num_heads)
            if fused is not None:
                return self.proj(fused)
        parts = cut_windows(qkv, self.qkv.bias, window_size, self.num_heads)
        y = self._attend(parts, (window_size, window_size))
        # in order, too: a linear layer projects a map with gaps row by row and copies its weights
        # for each
        out: Tensor = self.proj(join_windows(y, window_size, size))
        return out

    def _attend(self, parts: Tensor, size: tuple[int, int]) -> Tensor:
        """Attend within maps: `(3, B, heads, H·W, D)` to `(B, heads, H·W, D)`."""
        q, k, v = parts.unbind(0)
        if not self.use_rel_pos:
            return F.scaled_dot_product_attention(q, k, v)
        h, w = size
        rel_h, rel_w = get_rel_pos(h, h, self.rel_pos_h), get_rel_pos(w, w, self.rel_pos_w)
        return attend(q, k, v, rel_h, rel_w, size)
