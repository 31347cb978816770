"""The decoder for instances, which predicts every object of a plane at once.

It is that of micro-sam's models: a U-Net's decoder after Hatamizadeh et al., UNETR (2022), on the
embedding alone, as described in Archit et al., Segment Anything for Microscopy (2025). Parameters
are named as in its checkpoints.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_sam.model.config import Upsampling
from napari_sam.model.tiny_vit import BatchNorm

MAPS = 3


class InstanceDecoder(nn.Module):
    """Embedding to foreground, distance to the centre and distance to the boundary.

    A series of upsampling stages makes maps of ever finer levels from the embedding. They take
    the place of an encoder's levels as the skip connections of the U-Net.

    Parameters
    ----------
    embed_dim
        Channels of the embedding.
    channels
        Of the four stages, from coarse to fine; each has half of the one before.
    upsampling
        How maps get finer.
    """

    def __init__(
        self, embed_dim: int, channels: tuple[int, ...], upsampling: Upsampling = "bilinear"
    ) -> None:
        super().__init__()
        widths = embed_dim, *channels
        self.deconv1, self.deconv2, self.deconv3, self.deconv4 = (
            FinerStage(a, b, upsampling) for a, b in pairwise(widths)
        )
        self.base = NormedConvs(embed_dim, channels[0])
        self.decoder = UNetDecoder(channels, upsampling)
        self.deconv_out = finer(channels[-1], channels[-1], upsampling)
        self.decoder_head = NormedConvs(2 * channels[-1], channels[-1])
        self.out_conv = nn.Conv2d(channels[-1], MAPS, 1)

    def forward(self, embedding: Tensor) -> Tensor:
        """Map `(B, embed_dim, h, w)` to `(B, 3, 16·h, 16·w)`, each value from 0 to 1.

        The first map is the probability of foreground. The second is 0 at an object's centre,
        the third 0 deep inside of it; both are 1 at its boundary and on the background.
        """
        levels = []
        level = embedding
        for stage in (self.deconv1, self.deconv2, self.deconv3):
            level = stage(level)
            levels.append(level)
        x = self.deconv_out(self.decoder(self.base(embedding), levels))
        x = self.decoder_head(torch.cat([x, self.deconv4(level)], 1))
        out: Tensor = self.out_conv(x)
        return out.sigmoid()


class UNetDecoder(nn.Module):
    """Maps that get finer step by step, and take in a level of the same size at each."""

    def __init__(self, channels: tuple[int, ...], upsampling: Upsampling) -> None:
        super().__init__()
        steps = list(pairwise(channels))
        self.blocks = nn.ModuleList(NormedConvs(a, b) for a, b in steps)
        self.samplers = nn.ModuleList(finer(a, b, upsampling) for a, b in steps)

    def forward(self, x: Tensor, levels: list[Tensor]) -> Tensor:
        """Map `(B, C, h, w)` and levels, twice as fine each, to `(B, C/8, 8·h, 8·w)`."""
        for block, sampler, level in zip(self.blocks, self.samplers, levels, strict=True):
            x = sampler(x)
            # a level has more channels than there is room for: those in its middle are taken
            first = (level.shape[1] - x.shape[1]) // 2
            x = block(torch.cat([x, level[:, first : first + x.shape[1]]], 1))
        return x


class NormedConvs(nn.Module):
    """Twice: each map of each image to mean 0 and deviation 1, a convolution, ReLU."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.InstanceNorm2d(a),
            nn.Conv2d(a, b, 3, padding=1),
            nn.ReLU(),
            nn.InstanceNorm2d(b),
            nn.Conv2d(b, b, 3, padding=1),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, a, H, W)` to `(B, b, H, W)`."""
        out: Tensor = self.block(x)
        return out


class FinerStage(nn.Module):
    """Maps get twice as fine, then a convolution, batch norm and ReLU."""

    def __init__(self, a: int, b: int, upsampling: Upsampling) -> None:
        super().__init__()
        self.block = nn.Sequential(finer(a, b, upsampling), PlainConv(b), BatchNorm(b), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, a, H, W)` to `(B, b, 2·H, 2·W)`."""
        out: Tensor = self.block(x)
        return out


class PlainConv(nn.Module):
    """A convolution of side 3, in a module of its own as checkpoints name it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, C, H, W)` to the same shape."""
        out: Tensor = self.block(x)
        return out


class Interpolated(nn.Module):
    """Mix channels, then interpolate.

    The other way round, as those who train these models do, gives the same: weights of an
    interpolation add up to 1. It takes four times the work.
    """

    def __init__(self, a: int, b: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(a, b, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, a, H, W)` to `(B, b, 2·H, 2·W)`."""
        return F.interpolate(self.conv(x), scale_factor=2.0, mode="bilinear")


class Transposed(nn.Module):
    """A convolution that makes a square of 2 × 2 of each cell."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__()
        self.block = nn.ConvTranspose2d(a, b, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, a, H, W)` to `(B, b, 2·H, 2·W)`."""
        out: Tensor = self.block(x)
        return out


def finer(a: int, b: int, upsampling: Upsampling) -> nn.Module:
    """Return what makes maps `(B, a, H, W)` twice as fine, `(B, b, 2·H, 2·W)`."""
    return Interpolated(a, b) if upsampling == "bilinear" else Transposed(a, b)
