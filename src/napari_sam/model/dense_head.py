"""A head that reads every object of a plane at once from the embedding."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from napari_sam.model.layers import LayerNorm2d


class DenseHead(nn.Module):
    """Embedding and skip features to foreground and centre distance at stride 2.

    In training it supervises the encoder in every pixel; afterwards its peaks propose objects.

    Parameters
    ----------
    embed_dim, skip_channels, channels
        Channels of the embedding, of the skip features (strides 4 and 2) and of the head.
    """

    def __init__(self, embed_dim: int, skip_channels: tuple[int, ...], channels: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(embed_dim, channels, 1)
        self.skips = nn.ModuleList(nn.Conv2d(c, channels, 1) for c in skip_channels)
        self.mix = nn.Sequential(
            LayerNorm2d(channels), nn.GELU(), nn.Conv2d(channels, channels, 3, padding=1)
        )
        self.predict = nn.Sequential(
            LayerNorm2d(channels), nn.GELU(), nn.Conv2d(channels, 2, 3, padding=1)
        )

    def forward(self, features: tuple[Tensor, ...]) -> Tensor:
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
        """
        x = self.reduce(features[0])
        x = F.interpolate(x, scale_factor=2.0, mode="bilinear") + self.skips[0](features[1])
        x = self.mix(x)
        x = F.interpolate(x, scale_factor=2.0, mode="bilinear") + self.skips[1](features[2])
        out: Tensor = self.predict(x)
        return out
