"""The parts of Segment Anything put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_sam.model.config import HybridConfig, SamConfig, ViTConfig
from napari_sam.model.dense_head import DenseHead
from napari_sam.model.hybrid_encoder import ImageEncoderHybrid
from napari_sam.model.image_encoder import ImageEncoderViT
from napari_sam.model.instance_decoder import InstanceDecoder
from napari_sam.model.mask_decoder import MaskDecoder
from napari_sam.model.prompt_encoder import PromptEncoder
from napari_sam.model.roi_head import RoiHead
from napari_sam.model.tiny_vit import ImageEncoderTinyViT
from napari_sam.model.two_way import FirstLayer, Positions

if TYPE_CHECKING:
    from napari_sam.model.taught import TaughtModel


class Sam(nn.Module):
    """Image encoder, prompt encoder and mask decoder, and what finds objects where there is.

    Attributes
    ----------
    taught
        What was taught to a parent to make it; None of any other network.
    """

    pixel_mean: Tensor
    pixel_std: Tensor
    taught: TaughtModel | None = None

    def __init__(self, config: SamConfig) -> None:
        super().__init__()
        self.config = config
        self.image_encoder: ImageEncoderViT | ImageEncoderHybrid | ImageEncoderTinyViT
        if isinstance(config.encoder, ViTConfig):
            self.image_encoder = ImageEncoderViT(
                config.encoder, config.image_size, config.embed_dim
            )
        elif isinstance(config.encoder, HybridConfig):
            self.image_encoder = ImageEncoderHybrid(
                config.encoder, config.embed_dim, config.skip_channels
            )
        else:
            self.image_encoder = ImageEncoderTinyViT(config.encoder, config.embed_dim)
        self.prompt_encoder = PromptEncoder(config)
        self.mask_decoder = MaskDecoder(config)
        self.dense_head = (
            DenseHead(
                config.embed_dim,
                config.skip_channels,
                config.dense_channels,
                config.dense_depth,
                config.box_depth,
            )
            if config.dense_channels
            else None
        )
        self.roi_head = (
            RoiHead(config.embed_dim, config.skip_channels, config.roi_channels, config.cell)
            if config.roi_channels
            else None
        )
        self.instance_decoder = (
            InstanceDecoder(config.embed_dim, config.instance_channels, config.instance_upsampling)
            if config.instance_channels
            else None
        )
        for name, values in (("pixel_mean", config.pixel_mean), ("pixel_std", config.pixel_std)):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)

    def preprocess(self, pixels: Tensor, canvas: tuple[int, int] | None = None) -> Tensor:
        """Normalise grey values and pad on the right and below.

        SAM's models are used to zeros there. A model of our own never saw them: its crops are
        mirrored beyond the border of a plane, and so is what is padded here.

        Parameters
        ----------
        pixels
            `(..., 3, h, w)` grey values 0-255 at the model's scale.
        canvas
            (H, W) of the model input; the square of `image_size` by default.

        Returns
        -------
        x
            `(..., 3, H, W)`.
        """
        h, w = pixels.shape[-2:]
        canvas = canvas or (self.config.image_size, self.config.image_size)
        x = (pixels - self.pixel_mean) / self.pixel_std
        if self.config.resize == "sam":
            return F.pad(x, (0, canvas[1] - w, 0, canvas[0] - h))
        return _mirrored(_mirrored(x, canvas[0], -2), canvas[1], -1)

    def decode(
        self,
        features: tuple[Tensor, ...],
        points: Tensor | None,
        point_labels: Tensor | None,
        boxes: Tensor | None,
        masks: Tensor | None,
        multimask_output: bool,
        origin: tuple[float, float] = (0.0, 0.0),
        positions: Positions | None = None,
        first: FirstLayer | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Prompts of B objects to `(B, M, 4·h, 4·w)` logits and `(B, M)` predicted IoUs.

        Parameters
        ----------
        features
            From the image encoder, for one plane (batch 1) or one plane per object (batch B).
        points, point_labels, boxes, masks
            As :class:`PromptEncoder` takes them.
        multimask_output
            Return the candidates for an ambiguous prompt rather than the single mask.
        origin
            Where a training crop lies in the model's square; see :class:`PromptEncoder`.
        positions
            What :meth:`positions` gives, where it is at hand.
        first
            What :meth:`first_layer` gives, where it is at hand; mask prompts don't use it.
        """
        h, w = features[0].shape[2:]
        sparse, dense = self.prompt_encoder(points, point_labels, boxes, masks, (h, w), origin)
        if positions is None:
            positions = self.positions((h, w), origin)
        if masks is not None:
            first = None
        logits, iou = self.mask_decoder(features, positions, sparse, dense, multimask_output, first)
        return logits, iou

    def positions(
        self, grid: tuple[int, int], origin: tuple[float, float] = (0.0, 0.0)
    ) -> Positions:
        """Prepare the positions of an embedding's cells for the decoder."""
        pe = self.prompt_encoder.get_dense_pe(grid, origin, self.config.decoder_pooling)
        return self.mask_decoder.positions(pe)

    def first_layer(self, features: tuple[Tensor, ...], positions: Positions) -> FirstLayer | None:
        """Prepare a plane for many prompts; ``None`` where that spares nothing."""
        if self.config.raster_sigmas:
            return None
        h, w = features[0].shape[2:]
        _, dense = self.prompt_encoder(None, None, None, None, (h, w))
        return self.mask_decoder.first_layer(features, positions, dense)


def _mirrored(x: Tensor, length: int, axis: int) -> Tensor:
    """Extend an axis to a length by mirroring at its first and last element."""
    own = x.shape[axis]
    if own == length:
        return x
    period = max(2 * (own - 1), 1)
    at = torch.arange(length, device=x.device) % period
    return x.index_select(axis, at.minimum(period - at))


def build(config: SamConfig) -> Sam:
    """Build the network of a configuration with freshly initialised weights."""
    return Sam(config)
