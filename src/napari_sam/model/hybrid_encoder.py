"""A light image encoder of our own: a convolutional pyramid with attention at its coarse levels.

Blocks follow Liu et al., A ConvNet for the 2020s (2022); the top-down path follows Lin et al.,
Feature Pyramid Networks (2017).
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from napari_sam.model.config import HybridConfig
from napari_sam.model.layers import ConvBlock, LayerNorm2d, MLPBlock, add_mlp

Step = Callable[[float], None]


class ImageEncoderHybrid(nn.Module):
    """Image `(B, 3, H, W)` to `(B, out_chans, H/8, W/8)` and high-resolution skip features.

    H and W are multiples of 32.

    Parameters
    ----------
    config
        Channels and depths.
    out_chans
        Channels of the embedding.
    skip_channels
        Channels of the features at strides 4 and 2 for the mask upscaling; empty for none.
    """

    def __init__(
        self, config: HybridConfig, out_chans: int, skip_channels: tuple[int, ...] = ()
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, config.stem_channels, 3, stride=2, padding=1),
            LayerNorm2d(config.stem_channels),
            nn.GELU(),
        )
        previous = config.stem_channels
        stages = []
        for channels, depth, attention_depth in zip(
            config.channels, config.depths, config.attention_depths, strict=True
        ):
            stages.append(
                nn.Sequential(
                    nn.Conv2d(previous, channels, 3, stride=2, padding=1),
                    LayerNorm2d(channels),
                    *(ConvBlock(channels, config.mlp_ratio) for _ in range(depth)),
                    *(
                        AttentionBlock(channels, config.head_dim, config.mlp_ratio)
                        for _ in range(attention_depth)
                    ),
                )
            )
            previous = channels
        self.stages = nn.ModuleList(stages)
        self.laterals = nn.ModuleList(nn.Conv2d(c, out_chans, 1) for c in config.channels[1:])
        self.neck = nn.Sequential(
            nn.GELU(), nn.Conv2d(out_chans, out_chans, 3, padding=1), LayerNorm2d(out_chans)
        )
        inputs = (config.channels[0], config.stem_channels)
        self.skips = nn.ModuleList(
            nn.Conv2d(a, b, 1) for a, b in zip(inputs, skip_channels, strict=False)
        )

    def forward(self, x: Tensor, step: Step | None = None) -> tuple[Tensor, ...]:
        """Encode a batch of preprocessed images.

        Parameters
        ----------
        x
            `(B, 3, H, W)`, normalised; H and W multiples of 32.
        step
            Called with the finished fraction between stages; it may raise to stop the work.

        Returns
        -------
        features
            The embedding `(B, out_chans, H/8, W/8)`, then the skip features at strides 4 and 2.
        """
        fine = self.stem(x)  # (B, 24, H/2, W/2)
        levels = []
        y = fine
        for i, stage in enumerate(self.stages):
            y = stage(y)
            levels.append(y)
            if step is not None:
                step((i + 1) / len(self.stages))
        top = self.laterals[-1](levels[-1])
        for level, lateral in zip(levels[-2:0:-1], self.laterals[-2::-1], strict=True):
            top = lateral(level) + F.interpolate(top, scale_factor=2.0, mode="nearest")
        skips = tuple(
            skip(level) for skip, level in zip(self.skips, (levels[0], fine), strict=False)
        )
        return (self.neck(top), *skips)


class AttentionBlock(nn.Module):
    """Global attention over all cells; a depth-wise convolution distinguishes positions."""

    def __init__(self, channels: int, head_dim: int, mlp_ratio: float) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.position = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.norm1 = nn.LayerNorm(channels, eps=1e-6)
        self.qkv = nn.Linear(channels, channels * 3)
        self.proj = nn.Linear(channels, channels)
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = MLPBlock(channels, int(channels * mlp_ratio))

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, C, H, W)` to the same shape."""
        b, c, h, w = x.shape
        y = (x + self.position(x)).permute(0, 2, 3, 1).reshape(b, h * w, c)
        qkv = self.qkv(self.norm1(y)).view(b, h * w, 3, -1, self.head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (B, heads, H·W, head_dim)
        attended = F.scaled_dot_product_attention(q, k, v)
        y = y + self.proj(attended.transpose(1, 2).reshape(b, h * w, c))
        y = add_mlp(y, y, self.norm2, self.mlp)
        return y.view(b, h, w, c).permute(0, 3, 1, 2)
