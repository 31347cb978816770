"""PyPI's `mobile_sam` to compare MobileSAM's encoder with.

It imports torchvision, as `segment_anything` does, and timm, of which it needs four small things
for training alone; all are stood in for, so that neither need be installed.
"""

from __future__ import annotations

from typing import Any

import torch
from reference import TORCHVISION, decoder_of, stood_in
from torch import Tensor, nn

from napari_sam.model.config import SamConfig, TinyViTConfig


class DropPath(nn.Module):
    """Leaving out whole paths at random in training: in eval mode nothing happens."""

    def __init__(self, drop_prob: float | None = None) -> None:
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x: Tensor) -> Tensor:
        """Return what came."""
        assert not self.training
        return x


TIMM: dict[str, dict[str, Any]] = {
    "timm": {},
    "timm.models": {},
    "timm.models.layers": {
        "DropPath": DropPath,
        "to_2tuple": lambda n: (n, n),
        "trunc_normal_": lambda tensor, std: nn.init.normal_(tensor, std=std),
    },
    "timm.models.registry": {"register_model": lambda function: function},
}

with stood_in(TORCHVISION | TIMM):
    import mobile_sam
    import mobile_sam.modeling

SamPredictor = mobile_sam.SamPredictor

# Small, and odd enough to reach every branch: windows that fit the maps of 14, 7 and 7 cells, that
# don't, and that are larger than the map.
SMALL = SamConfig(
    "small mobile",
    image_size=112,
    encoder=TinyViTConfig((8, 16, 24, 320), (2, 1, 2, 1), (2, 3, 4), (7, 4, 16)),
    embed_dim=256,
    mask_in_chans=16,
    decoder_mlp_dim=64,
    iou_head_hidden_dim=48,
)


def mobile_reference(config: SamConfig) -> Any:
    """Build `mobile_sam`'s Sam of a configuration, in eval mode, freshly initialised.

    Call ``eval()`` again once it has its weights: only then it gathers its biases.
    """
    encoder = config.encoder
    if not isinstance(encoder, TinyViTConfig):
        raise TypeError(f"expected a configuration with a TinyViT encoder, got {encoder!r}")
    if encoder.embed_dims[3] != 320 or config.embed_dim != 256:
        raise ValueError("mobile_sam knows only last stages of 320, and embeddings of 256 channels")
    grid = config.image_size // 16
    modeling = mobile_sam.modeling
    sam = modeling.Sam(
        image_encoder=_AnySize(
            img_size=config.image_size,
            embed_dims=list(encoder.embed_dims),
            depths=list(encoder.depths),
            num_heads=[1, *encoder.num_heads],
            window_sizes=[1, *encoder.window_sizes],
            mlp_ratio=encoder.mlp_ratio,
            mbconv_expand_ratio=encoder.expand_ratio,
            drop_path_rate=0.0,
        ),
        **decoder_of(modeling, config, grid),
    )
    return sam.eval()


class _AnySize(mobile_sam.modeling.TinyViT):  # type: ignore[misc]
    """Its TinyViT, which takes for granted that the last map is 64 by 64."""

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        for layer in self.layers:
            x = layer(x)  # (B, cells, C) after each
        side = self.img_size // 16
        out: Tensor = self.neck(x.unflatten(1, (side, side)).permute(0, 3, 1, 2))
        return out


def used(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Its tensors without the head that classified images and counts of batches."""
    heads = ("image_encoder.norm_head.", "image_encoder.head.")
    return {
        name: value
        for name, value in state.items()
        if not name.startswith(heads) and value.dtype != torch.int64
    }
