"""SAM's image encoder: a ViT with windowed attention and decomposed relative positions.

Source: Kirillov et al., Segment Anything (2023), after Li et al., Exploring Plain Vision
Transformer Backbones for Object Detection (2022).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_sam.model.config import ViTConfig
from napari_sam.model.layers import LayerNorm2d, MLPBlock, window_partition, window_unpartition

Step = Callable[[float], None]

# Up to this many bias elements are built at once (64 MB in float32); beyond it attention goes
# head by head, so that the 4096 x 4096 biases of a global block never exist for all heads.
_MAX_BIAS_ELEMENTS = 2**24


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
            `(B, 3, S, S)`, normalised and padded.
        step
            Called with the finished fraction after each block; it may raise to stop the work.

        Returns
        -------
        features
            One level, `(B, out_chans, S/16, S/16)`.
        """
        x = self.patch_embed(x)  # (B, 64, 64, C)
        x = x + self.pos_embed
        for i, block in enumerate(self.blocks):
            x = block(x)
            if step is not None:
                step((i + 1) / len(self.blocks))
        return (self.neck(x.permute(0, 3, 1, 2)),)


class PatchEmbed(nn.Module):
    """Non-overlapping patches to vectors: `(B, 3, H, W)` to `(B, H/16, W/16, C)`."""

    def __init__(self, patch_size: int, embed_dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, embed_dim, patch_size, stride=patch_size)

    def forward(self, x: Tensor) -> Tensor:
        """Embed the patches."""
        out: Tensor = self.proj(x)
        return out.permute(0, 2, 3, 1)


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
        h, w = x.shape[1:3]
        y = self.norm1(x)
        if self.window_size:
            y, padded = window_partition(y, self.window_size)
            y = window_unpartition(self.attn(y), self.window_size, padded, (h, w))
        else:
            y = self.attn(y)
        x = x + y
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


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

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, H, W, C)` to the same shape."""
        b, h, w, c = x.shape
        qkv = self.qkv(x).view(b, h * w, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)  # each (B, heads, H·W, head_dim)
        if not self.use_rel_pos:
            y = F.scaled_dot_product_attention(q, k, v)
        else:
            rel_h, rel_w = get_rel_pos(h, h, self.rel_pos_h), get_rel_pos(w, w, self.rel_pos_w)
            if b * self.num_heads * (h * w) ** 2 <= _MAX_BIAS_ELEMENTS:
                y = _attend(q, k, v, rel_h, rel_w, (h, w))
            else:
                y = torch.empty_like(q)
                for i in range(b):
                    for j in range(self.num_heads):
                        at = slice(i, i + 1), slice(j, j + 1)
                        y[at] = _attend(q[at], k[at], v[at], rel_h, rel_w, (h, w))
        out: Tensor = self.proj(y.transpose(1, 2).reshape(b, h, w, c))
        return out


def _attend(
    q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor, size: tuple[int, int]
) -> Tensor:
    bias = add_decomposed_rel_pos(None, q, rel_h, rel_w, size, size)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)


def get_rel_pos(q_size: int, k_size: int, rel_pos: Tensor) -> Tensor:
    """Relative-position vectors for every pair of a query and a key coordinate.

    Parameters
    ----------
    q_size, k_size
        Number of query and key positions along the axis. The shorter axis is stretched to the
        longer one.
    rel_pos
        `(L, C)` learned table; linearly interpolated where L is not 2·max(q, k) − 1.

    Returns
    -------
    vectors
        `(q_size, k_size, C)`.
    """
    length = 2 * max(q_size, k_size) - 1
    if rel_pos.shape[0] != length:
        # interpolate in float32: half-precision tables would otherwise be refused on CPU
        table = F.interpolate(rel_pos.float().t()[None], size=length, mode="linear")
        rel_pos = table[0].t().to(rel_pos.dtype)
    q = torch.arange(q_size, device=rel_pos.device)[:, None] * max(k_size / q_size, 1.0)
    k = torch.arange(k_size, device=rel_pos.device)[None, :] * max(q_size / k_size, 1.0)
    return rel_pos[(q - k + (k_size - 1) * max(q_size / k_size, 1.0)).long()]


def add_decomposed_rel_pos(
    attn: Tensor | None,
    q: Tensor,
    rel_h: Tensor,
    rel_w: Tensor,
    q_size: tuple[int, int],
    k_size: tuple[int, int],
) -> Tensor:
    """Attention bias q·Rh + q·Rw of the decomposed relative positions.

    Parameters
    ----------
    attn
        `(..., q_h·q_w, k_h·k_w)` scores to add to, or ``None`` for the bias alone.
    q
        `(..., q_h·q_w, C)` queries, unscaled.
    rel_h, rel_w
        `(q_h, k_h, C)` and `(q_w, k_w, C)` from :func:`get_rel_pos`.
    q_size, k_size
        (height, width) of the query and key maps.

    Returns
    -------
    scores
        `(..., q_h·q_w, k_h·k_w)`.
    """
    q_map = q.reshape(*q.shape[:-2], *q_size, q.shape[-1])  # (..., q_h, q_w, C)
    bias_h = torch.einsum("...hwc,hkc->...hwk", q_map, rel_h)
    bias_w = torch.einsum("...hwc,wkc->...hwk", q_map, rel_w)
    bias = bias_h[..., :, None] + bias_w[..., None, :]  # (..., q_h, q_w, k_h, k_w)
    flat = bias.reshape(*q.shape[:-1], k_size[0] * k_size[1])
    return flat if attn is None else attn + flat
