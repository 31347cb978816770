"""What defines a network: frozen configurations and the presets by name."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from napari_sam.model.tuning import Tuning

Resize = Literal["sam", "own"]
Upsampling = Literal["bilinear", "transposed"]
"""How maps get twice as fine: by interpolation, or by a convolution that was trained."""

_LONGEST_TEXT = 10_000  # six times what a configuration needs


@dataclass(frozen=True, slots=True)
class ViTConfig:
    """Plain vision transformer with windowed and global attention.

    Parameters
    ----------
    embed_dim, depth, num_heads
        Width, number of blocks and heads of each block.
    global_attn_indexes
        Blocks that attend over the whole image; the others attend in windows.
    window_size
        Side of an attention window, in patches.
    patch_size
        Side of a patch, in model pixels.
    """

    embed_dim: int
    depth: int
    num_heads: int
    global_attn_indexes: tuple[int, ...]
    window_size: int = 14
    patch_size: int = 16
    mlp_ratio: float = 4.0
    qkv_bias: bool = True
    use_rel_pos: bool = True

    @property
    def stride(self) -> int:
        """Model pixels per cell of the embedding."""
        return self.patch_size


@dataclass(frozen=True, slots=True)
class HybridConfig:
    """Convolutional pyramid (strides 4, 8, 16, 32) with attention at the coarse levels.

    Parameters
    ----------
    stem_channels
        Channels at stride 2.
    channels, depths
        Channels and number of convolutional blocks of the strides 4, 8, 16, 32.
    attention_depths
        Number of global attention blocks after the convolutional ones, per stride.
    """

    stem_channels: int
    channels: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]
    attention_depths: tuple[int, int, int, int]
    head_dim: int = 32
    mlp_ratio: float = 4.0

    @property
    def stride(self) -> int:
        """Model pixels per cell of the embedding."""
        return 8


@dataclass(frozen=True, slots=True)
class TinyViTConfig:
    """MobileSAM's encoder: a convolutional stage, then three of attention in windows.

    The stages are at the strides 4, 8, 16 and 16 of the image.

    Parameters
    ----------
    embed_dims, depths
        Channels and number of blocks of the four stages.
    num_heads, window_sizes
        Heads and side of a window, in cells, of the three stages with attention.
    mlp_ratio
        Width of the MLP of a block with attention, in its channels.
    expand_ratio
        Width of a convolutional block, in its channels.
    """

    embed_dims: tuple[int, int, int, int] = (64, 128, 160, 320)
    depths: tuple[int, int, int, int] = (2, 2, 6, 2)
    num_heads: tuple[int, int, int] = (4, 5, 10)
    window_sizes: tuple[int, int, int] = (7, 14, 7)
    mlp_ratio: float = 4.0
    expand_ratio: float = 4.0

    @property
    def stride(self) -> int:
        """Model pixels per cell of the embedding."""
        return 16


Encoder = ViTConfig | HybridConfig | TinyViTConfig
# By the name that a checkpoint's metadata has for each.
_ENCODERS: dict[str, type[Encoder]] = {
    "vit": ViTConfig,
    "hybrid": HybridConfig,
    "tiny_vit": TinyViTConfig,
}


@dataclass(frozen=True, slots=True)
class SamConfig:
    """Everything needed to build a :class:`~napari_sam.model.sam.Sam`.

    Parameters
    ----------
    name
        Name shown to people.
    image_size
        Side of the square model input, in model pixels.
    encoder
        Configuration of the image encoder; its type chooses the class.
    embed_dim
        Channels of the image embedding and of the prompt tokens.
    mask_in_chans
        Hidden channels of the mask prompt's downscaling.
    decoder_depth, decoder_heads, decoder_mlp_dim
        Layers, heads and MLP width of the two-way transformer.
    num_multimask_outputs
        Number of candidates for an ambiguous prompt.
    iou_head_depth, iou_head_hidden_dim
        Layers and width of the head that predicts IoU.
    mask_aware_iou
        Whether the predicted IoU also depends on the mask's own logits; False in SAM.
    raster_sigmas
        Standard deviations, in model pixels, of the bumps that draw clicks into the dense
        prompt; empty leaves clicks to the tokens alone, as in SAM.
    decoder_pooling
        The two-way transformer and the fusion blocks before it work on the embedding pooled by
        this factor; 1 in SAM.
    fusion_depth
        Convolutional blocks that mix the image embedding with the dense prompt before the
        two-way transformer; 0 in SAM.
    refine_depth
        Convolutional blocks after the two-way transformer, at the embedding's resolution; 0 in
        SAM.
    skip_channels
        Channels of the high-resolution features (strides 1/2 and 1/4 of the embedding's) that
        the mask upscaling adds; empty in SAM.
    dense_channels
        Width of the dense head, 0 where there is none.
    dense_depth
        Convolutional blocks of the dense head at the embedding's resolution.
    box_depth
        Convolutional blocks of the dense head that read boxes, at stride 4.
    roi_channels
        Width of the head that judges those boxes region by region, 0 where there is none.
    instance_channels, instance_upsampling
        Channels of the four stages of the decoder for instances, empty where there is none, and
        how it makes maps finer; see :class:`~napari_sam.model.instance_decoder.InstanceDecoder`.
    pixel_mean, pixel_std
        Normalisation of the three channels, in 0-255 grey values.
    resize
        ``"sam"``: the longest side becomes `image_size`, zero padding to the square, coordinates
        x·s. ``"own"``: never shrinks or grows a plane beyond `image_size` and `max_upscale`,
        padding to a multiple of 32, coordinates (x + 0.5)·s − 0.5.
    max_upscale
        Largest magnification of a small plane under ``"own"``.
    tuning
        Numbers tuned for this model; they build no part of the network.
    """

    name: str
    image_size: int
    encoder: Encoder
    embed_dim: int = 256
    mask_in_chans: int = 16
    decoder_depth: int = 2
    decoder_heads: int = 8
    decoder_mlp_dim: int = 2048
    num_multimask_outputs: int = 3
    iou_head_depth: int = 3
    iou_head_hidden_dim: int = 256
    mask_aware_iou: bool = False
    raster_sigmas: tuple[float, ...] = ()
    decoder_pooling: int = 1
    fusion_depth: int = 0
    refine_depth: int = 0
    skip_channels: tuple[int, ...] = ()
    dense_channels: int = 0
    dense_depth: int = 0
    box_depth: int = 0
    roi_channels: int = 0
    instance_channels: tuple[int, ...] = ()
    instance_upsampling: Upsampling = "bilinear"
    pixel_mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    pixel_std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    resize: Resize = "sam"
    max_upscale: float = 2.0
    tuning: Tuning = field(default_factory=Tuning)

    @property
    def stride(self) -> int:
        """Model pixels per cell of the embedding."""
        return self.encoder.stride

    @property
    def mask_stride(self) -> int:
        """Model pixels per cell of the low-resolution logits."""
        return self.stride // 4

    @property
    def cell(self) -> int:
        """Model pixels per cell of the dense head's boxes."""
        return self.stride // 2

    @property
    def decodes_windows(self) -> bool:
        """Whether masks can be decoded from a part of an embedding: it was trained on crops."""
        return self.resize == "own"

    @property
    def refines_first_click(self) -> bool:
        """Whether a first click's best candidate is decoded once more, from its own logits."""
        return self.resize == "own"

    def to_json(self) -> str:
        """Return the configuration as JSON, as stored in a checkpoint's metadata."""
        kind = next(name for name, one in _ENCODERS.items() if isinstance(self.encoder, one))
        return json.dumps(asdict(self) | {"encoder": {"kind": kind} | asdict(self.encoder)})

    @classmethod
    def from_json(cls, text: str) -> SamConfig:
        """Read a configuration written by :meth:`to_json`.

        Raises
        ------
        ValueError
            If the text is no such configuration.
        """
        if len(text) > _LONGEST_TEXT:
            raise ValueError(
                f"expected the JSON of a SamConfig of at most {_LONGEST_TEXT} letters, got "
                f"{len(text)}; the checkpoint was written by another program"
            )
        try:
            values = json.loads(text)
            tuning = values.pop("tuning", {})
            encoder = dict(values.pop("encoder"))
            kind = _ENCODERS[encoder.pop("kind")]
            config = cls(encoder=kind(**_tuples(encoder)), **_tuples(values))
        except (LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
            raise ValueError(
                f"expected the JSON of a SamConfig, got {text[:80]!r} ({error}); "
                "the checkpoint was written by another program or version"
            ) from error
        return replace(config, tuning=Tuning.from_values(tuning))

    def renamed(self, name: str) -> SamConfig:
        """Return the same configuration under another name."""
        return replace(self, name=name)


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}


PRESETS: dict[str, SamConfig] = {
    "vit_b": SamConfig("vit_b", 1024, ViTConfig(768, 12, 12, (2, 5, 8, 11))),
    "vit_l": SamConfig("vit_l", 1024, ViTConfig(1024, 24, 16, (5, 11, 17, 23))),
    "vit_h": SamConfig("vit_h", 1024, ViTConfig(1280, 32, 16, (7, 15, 23, 31))),
    "vit_t": SamConfig("vit_t", 1024, TinyViTConfig()),  # MobileSAM
    # not for users: SAM's architecture, small enough to be trained and measured on a CPU
    "sam_small": SamConfig(
        "sam_small",
        1024,
        ViTConfig(192, 6, 3, (2, 5), mlp_ratio=2.0),
        embed_dim=128,
        decoder_mlp_dim=512,
        iou_head_hidden_dim=128,
    ),
    "nano": SamConfig(
        "nano",
        512,
        HybridConfig(24, (48, 96, 192, 256), (2, 2, 4, 1), (0, 0, 1, 2)),
        embed_dim=128,
        mask_in_chans=64,
        decoder_mlp_dim=512,
        iou_head_hidden_dim=128,
        mask_aware_iou=True,
        raster_sigmas=(3.0, 12.0, 48.0),
        decoder_pooling=2,
        fusion_depth=2,
        refine_depth=1,
        skip_channels=(32, 16),
        dense_channels=32,
        dense_depth=2,
        box_depth=3,
        roi_channels=64,
        resize="own",
    ),
}
