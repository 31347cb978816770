"""A head that reads every object of a plane at once from the embedding."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F

from napari_sam.model.layers import ConvBlock, LayerNorm2d

# Distance to a side, in model pixels, that an untrained head says.
_USUAL_SIDE = 16.0


class DenseHead(nn.Module):
    """Embedding and skip features to foreground, centre distance and bounding boxes.

    In training it supervises the encoder in every pixel; afterwards its peaks propose objects.
    Each cell also says how far the sides of its object's box are, as in Tian et al., FCOS: Fully
    Convolutional One-Stage Object Detection (2019): unlike a distance map, boxes jump where
    objects touch, and they tell an object's scale.

    Parameters
    ----------
    embed_dim, skip_channels, channels
        Channels of the embedding, of the skip features (strides 4 and 2) and of the head.
    depth
        Convolutional blocks at the embedding's resolution, twice as wide as the rest.
    """

    def __init__(
        self, embed_dim: int, skip_channels: tuple[int, ...], channels: int, depth: int
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
        self.sides = nn.Sequential(LayerNorm2d(channels), nn.GELU(), nn.Conv2d(channels, 4, 1))
        self.predict = nn.Sequential(
            LayerNorm2d(channels), nn.GELU(), nn.Conv2d(channels, 2, 3, padding=1)
        )

    def forward(self, features: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Predict dense maps.

        Parameters
        ----------
        features
            As returned by the image encoder: strides 8, 4 and 2.

        Returns
        -------
        maps
            `(B, 2, H/2, W/2)`: foreground logit; distance to the object's border over the
            object's largest such distance, as a logit.
        sides
            `(B, 4, H/4, W/4)`: model pixels from a cell's centre to the top, left, bottom and
            right side of its object's bounding box.
        """
        x = self.reduce(self.context(features[0]))
        x = F.interpolate(x, scale_factor=2.0, mode="bilinear") + self.skips[0](features[1])
        x = self.mix(x)
        sides = _USUAL_SIDE * self.sides(x).clamp(max=math.log(64.0)).exp()
        x = F.interpolate(x, scale_factor=2.0, mode="bilinear") + self.skips[1](features[2])
        maps: Tensor = self.predict(x)
        return maps, sides
