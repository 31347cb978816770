"""SAM's mask decoder: a two-way transformer between prompt tokens and the image embedding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_sam.model.config import SamConfig
from napari_sam.model.layers import MLP, ConvBlock, LayerNorm2d
from napari_sam.model.two_way import FirstLayer, Positions, TwoWayTransformer, parts


class MaskDecoder(nn.Module):
    """Prompts and image embedding to mask logits and predicted IoUs."""

    def __init__(self, config: SamConfig) -> None:
        super().__init__()
        dim = config.embed_dim
        self.num_mask_tokens = config.num_multimask_outputs + 1
        self.pooling = config.decoder_pooling
        # spreads a drawn click over its surroundings before any attention
        self.fusion = _conv_blocks(dim, config.fusion_depth, 1.0)
        self.transformer = TwoWayTransformer(
            config.decoder_depth, dim, config.decoder_heads, config.decoder_mlp_dim
        )
        self.refine = _conv_blocks(dim, config.refine_depth, 0.5)
        self.iou_token = nn.Embedding(1, dim)
        self.mask_tokens = nn.Embedding(self.num_mask_tokens, dim)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(dim, dim // 4, 2, stride=2),
            LayerNorm2d(dim // 4),
            nn.GELU(),
            nn.ConvTranspose2d(dim // 4, dim // 8, 2, stride=2),
            # an eighth of a small model's time would go into a GELU of this large map
            nn.ReLU() if config.skip_channels else nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(
            MLP(dim, dim, dim // 8, 3) for _ in range(self.num_mask_tokens)
        )
        self.iou_prediction_head = MLP(
            dim, config.iou_head_hidden_dim, self.num_mask_tokens, config.iou_head_depth
        )
        # a quarter of the model's square, whatever part of it is decoded
        self.large_mask = (config.image_size // (2 * config.mask_stride)) ** 2
        # a small model's tokens know little of how a mask came out: the mask itself does
        self.iou_mask_head = MLP(3 + dim // 8, 32, 1, 3) if config.mask_aware_iou else None

    def forward(
        self,
        features: tuple[Tensor, ...],
        positions: Positions,
        sparse: Tensor,
        dense: Tensor,
        multimask_output: bool,
        first: FirstLayer | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Decode B objects, all on one plane or each on its own.

        Features and `positions` are in the decoder's own number format, prompts in any.

        Parameters
        ----------
        features
            Image embedding `(1 or B, C, h, w)`, then skip features at 2× and 4× its resolution
            where the model has them.
        positions
            From :meth:`positions`.
        sparse, dense
            `(B, T, C)` and `(B, C, h, w)` from the prompt encoder.
        multimask_output
            Return the candidates for an ambiguous prompt rather than the single mask.
        first
            From :meth:`first_layer`, for prompts without a mask; it spares most of the first
            layer's work.

        Returns
        -------
        logits, iou
            `(B, M, 4·h, 4·w)` and `(B, M)`.
        """
        b = sparse.shape[0]
        sparse, dense = sparse.to(self.dtype), dense.to(self.dtype)
        tokens = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        tokens = torch.cat([tokens.expand(b, -1, -1), sparse], 1)
        wanted = range(1, self.num_mask_tokens) if multimask_output else range(1)
        read = [0, *(1 + i for i in wanted)]
        src: Tensor | None = None
        if self.mixes_maps:
            hs, src = self._attend(features[0] + dense, positions, tokens, read)
        else:
            given = _as_cells(features[0] + dense) if first is None else first.cells
            hs, cells = self.transformer(given, positions, tokens, read, first)
            if len(features) > 1 or self.iou_mask_head is not None:
                src = _as_map(cells, features[0])
        hs = hs.float()
        hyper = torch.stack(
            [self.output_hypernetworks_mlps[i](hs[:, 1 + n]) for n, i in enumerate(wanted)], 1
        )  # (B, M, C/8)
        iou: Tensor = self.iou_prediction_head(hs[:, 0])[:, wanted.start : wanted.stop]
        if src is None:
            return self._masks(cells, hyper.to(self.dtype), features[0].shape[2:]), iou
        upscaled = self._upscale(src, features[1:])  # (B, C/8, 4h, 4w)
        logits = (hyper @ upscaled.flatten(2)).unflatten(2, upscaled.shape[2:])
        if self.iou_mask_head is not None:
            seen = mask_statistics(logits.detach(), upscaled.detach(), self.large_mask)
            iou = iou + self.iou_mask_head(seen)[..., 0]
        return logits, iou

    def positions(self, image_pe: Tensor) -> Positions:
        """Prepare a grid's position embedding `(1, C, h, w)`, pooled where the decoder pools."""
        return self.transformer.positions(image_pe.to(self.dtype))

    @property
    def mixes_maps(self) -> bool:
        """Whether cells are mixed with their neighbours before or after they meet the tokens."""
        return self.pooling > 1 or len(self.fusion) > 0 or len(self.refine) > 0

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the cells and tokens."""
        return self.iou_token.weight.dtype

    def compute_in(self, dtype: torch.dtype) -> None:
        """Compute in a number format, except for the predictions from tokens, which are float32.

        Predicted IoUs of candidates are often closer to each other than bfloat16 can represent.
        """
        self.to(dtype)
        self.output_hypernetworks_mlps.float()
        self.iou_prediction_head.float()

    def first_layer(
        self, features: tuple[Tensor, ...], positions: Positions, dense: Tensor
    ) -> FirstLayer | None:
        """Prepare a plane for prompts whose dense map is `dense`, `(1, C, h, w)`.

        ``None`` where cells are mixed before they meet the tokens.
        """
        if self.mixes_maps:
            return None
        cells = _as_cells(features[0] + dense.to(self.dtype))
        return self.transformer.first_layer(cells.contiguous(), positions)

    def _attend(
        self, src: Tensor, positions: Positions, tokens: Tensor, read: list[int]
    ) -> tuple[Tensor, Tensor]:
        """Mix the map `(B, C, h, w)` and the tokens, the attention at its own resolution."""
        pooling = self.pooling
        coarse = self.fusion(src if pooling == 1 else F.avg_pool2d(src, pooling))
        hs, cells = self.transformer(_as_cells(coarse), positions, tokens, read)
        mixed = _as_map(cells, coarse)
        if pooling > 1:  # repeated, not interpolated
            b, c, h, w = src.shape
            fine = src.permute(0, 2, 3, 1).reshape(
                b, h // pooling, pooling, w // pooling, pooling, c
            )
            fine = fine + mixed.permute(0, 2, 3, 1)[:, :, None, :, None]
            mixed = fine.view(b, h, w, c).permute(0, 3, 1, 2)
        return hs, self.refine(mixed)

    def _masks(self, cells: list[Tensor], hyper: Tensor, grid: tuple[int, ...]) -> Tensor:
        """Upscale the cells `(B, h·w, C)` of a grid (h, w) and multiply them by `(B, M, C/8)`.

        A transposed convolution whose stride is its kernel's side makes four cells of each one,
        whatever its neighbours: a matrix product per cell. Cells are put in order at the very
        end, when there are M numbers to each and no longer C/8.
        """
        layers: tuple[Any, ...] = tuple(self.output_upscaling)
        first, norm, act, second, _ = layers
        four = torch.eye(4, dtype=hyper.dtype, device=hyper.device)
        product = torch.einsum("bmc,ij->bicjm", hyper, four).flatten(3).flatten(1, 2)
        to_four, to_sixteen = _FourOfEach.of(first), _FourOfEach.of(second)
        products = []
        for part in cells:
            for at in parts(part.shape[1]):
                x = to_four(part[:, at].flatten(0, 1))  # (B·n·4, C/4)
                x = act(F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps))
                x = act(to_sixteen(x)).view(len(hyper), -1, product.shape[1])  # (B, n·4, 4·C/8)
                products.append((x @ product).view(len(hyper), -1, 4 * product.shape[2]))
        x = torch.cat([one.transpose(1, 2) for one in products], 2)
        x = x.view(len(hyper), 2, 2, 2, 2, -1, *grid)  # (B, i, j, i', j', M, h, w)
        return F.pixel_shuffle(x.permute(0, 5, 1, 3, 2, 4, 6, 7).flatten(1, 5), 4)

    def _upscale(self, src: Tensor, skips: tuple[Tensor, ...]) -> Tensor:
        first, norm, act, second, _ = self.output_upscaling
        if not skips:
            out: Tensor = self.output_upscaling(src)
            return out
        out = act(norm(first(src).add_(skips[0])))
        # in place: the largest maps of a small model, whose time is that of writing them
        out = F.relu_(second(out).add_(skips[1]))
        return out


def _as_cells(x: Tensor) -> Tensor:
    """View a map `(B, C, h, w)` as `(B, h·w, C)`."""
    return x.flatten(2).transpose(1, 2)


def _as_map(cells: list[Tensor], like: Tensor) -> Tensor:
    """View parts of cells `(B, h·w, C)` as a map `(B, C, h, w)`, as high and wide as another."""
    joined = cells[0] if len(cells) == 1 else torch.cat(cells, 1)
    return joined.transpose(1, 2).unflatten(2, like.shape[2:])


@dataclass(frozen=True, slots=True, eq=False)
class _FourOfEach:
    """A 2×2 transposed convolution of stride 2 for cells: `(N, C)` to `(4·N, C')`."""

    weight: Tensor
    bias: Tensor
    channels: int

    @classmethod
    def of(cls, layer: nn.ConvTranspose2d) -> _FourOfEach:
        assert layer.bias is not None
        weight = layer.weight.permute(0, 2, 3, 1).flatten(1)  # (C, 4·C')
        return cls(weight, layer.bias.repeat(4), layer.out_channels)

    def __call__(self, x: Tensor) -> Tensor:
        return torch.addmm(self.bias, x, self.weight).view(-1, self.channels)


def mask_statistics(logits: Tensor, features: Tensor, large: int) -> Tensor:
    """Describe how sure masks are of themselves, and what they cover.

    Parameters
    ----------
    logits
        `(B, M, h, w)`.
    features
        `(B, C, h, w)`.
    large
        Cells of a large mask.

    Returns
    -------
    statistics
        `(B, M, 3 + C)`: the IoU that the logits expect of the thresholded mask, the mask's mean
        probability, the fourth root of its size (1 for a large one), and the mean features
        inside it.
    """
    probability = logits.flatten(2).sigmoid()  # (B, M, h·w)
    mask = (logits.flatten(2) > 0).to(logits.dtype)
    total, area = probability.sum(2), mask.sum(2)
    inside = (probability * mask).sum(2)
    expected = inside / (area + total - inside).clamp_min(1e-6)
    size = area.clamp_min(1)
    scalars = torch.stack([expected, inside / size, (area / large) ** 0.25], -1)
    covered = mask @ features.flatten(2).transpose(1, 2) / size[..., None]
    return torch.cat([scalars, covered], -1)


def _conv_blocks(channels: int, depth: int, mlp_ratio: float) -> nn.Sequential:
    return nn.Sequential(*(ConvBlock(channels, mlp_ratio) for _ in range(depth)))
