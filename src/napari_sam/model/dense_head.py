"""A head that reads every object of a plane at once from the embedding."""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from napari_sam.model.layers import ConvBlock, LayerNorm2d

# Distance to a side, in model pixels, that an untrained head predicts.
_USUAL_SIDE = 16.0
# Logit of a box's quality that an untrained head predicts: most cells have no object.
_USUAL_SCORE = -2.0


class DenseOutput(NamedTuple):
    """The head's predictions for each cell of a batch.

    Parameters
    ----------
    maps
        `(B, 2, H/2, W/2)`: foreground logit; distance to the object's border over the object's
        largest such distance, as a logit.
    sides
        `(B, 4, H/4, W/4)`: model pixels from a cell's centre to the top, left, bottom and right
        side of its object's bounding box.
    scores
        `(B, H/4, W/4)`: IoU of that box with the object's own as a logit, 0 on the background.
    """

    maps: Tensor
    sides: Tensor
    scores: Tensor


class DenseHead(nn.Module):
    """Embedding and skip features to foreground, centre distance and bounding boxes.

    In training it supervises the encoder in every pixel; afterwards it proposes objects.

    Parameters
    ----------
    embed_dim, skip_channels, channels
        Channels of the embedding, of the skip features (strides 4 and 2) and of the maps' part.
    depth
        Convolutional blocks at the embedding's resolution, twice as wide as the maps' part.
    box_depth
        Convolutional blocks at stride 4 that read the boxes, twice as wide as the maps' part.
    """

    def __init__(
        self,
        embed_dim: int,
        skip_channels: tuple[int, ...],
        channels: int,
        depth: int,
        box_depth: int,
    ) -> None:
        super().__init__()
        wide = 2 * channels
        self.context = nn.Sequential(
            nn.Conv2d(embed_dim, wide, 1), *(ConvBlock(wide, 2.0) for _ in range(depth))
        )
        self.reduce = nn.Conv2d(wide, channels, 1)
        self.skips = nn.ModuleList(nn.Conv2d(c, channels, 1) for c in skip_channels)
        self.mix = nn.Sequential(
            LayerNorm2d(channels), nn.GELU(), nn.Conv2d(channels, channels, 3, padding=1)
        )
        self.predict = nn.Sequential(
            LayerNorm2d(channels), nn.GELU(), nn.Conv2d(channels, 2, 3, padding=1)
        )
        self.boxes = BoxHead(embed_dim, skip_channels[0], wide, box_depth)

    def forward(self, features: tuple[Tensor, ...]) -> DenseOutput:
        """Read features as returned by the image encoder: strides 8, 4 and 2."""
        x = self.reduce(self.context(features[0]))
        x = F.interpolate(x, scale_factor=2.0, mode="bilinear") + self.skips[0](features[1])
        x = self.mix(x)
        x = F.interpolate(x, scale_factor=2.0, mode="bilinear") + self.skips[1](features[2])
        return DenseOutput(self.predict(x), *self.boxes(features))


class BoxHead(nn.Module):
    """Embedding and skip features to the box of each cell's object.

    Each cell predicts the distances to the sides of its object's box, as in Tian et al., FCOS:
    Fully Convolutional One-Stage Object Detection (2019), and the quality of that box, as in Zhang
    et al., VarifocalNet (2020). Unlike a distance map, boxes change abruptly where objects touch.

    Parameters
    ----------
    embed_dim, skip_channels, channels
        Channels of the embedding, of the skip features at stride 4 and of the head.
    depth
        Convolutional blocks at stride 4.
    """

    def __init__(self, embed_dim: int, skip_channels: int, channels: int, depth: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(embed_dim, channels, 1)
        self.skip = nn.Conv2d(skip_channels, channels, 1)
        self.blocks = nn.Sequential(*(ConvBlock(channels, 2.0) for _ in range(depth)))
        self.sides = nn.Conv2d(channels, 4, 1)
        self.score = nn.Conv2d(channels, 1, 1)
        self.norm = nn.Sequential(LayerNorm2d(channels), nn.GELU())
        assert self.score.bias is not None
        nn.init.constant_(self.score.bias, _USUAL_SCORE)

    def forward(self, features: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Return sides and scores as in :class:`DenseOutput`."""
        x = F.interpolate(self.reduce(features[0]), scale_factor=2.0, mode="bilinear")
        x = self.norm(self.blocks(x + self.skip(features[1])))
        sides = _USUAL_SIDE * self.sides(x).clamp(max=math.log(64.0)).exp()
        return sides, self.score(x)[:, 0]
