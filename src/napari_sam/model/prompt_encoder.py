"""SAM's prompt encoder: clicks, boxes and masks to sparse tokens and a dense map."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from napari_sam.model.config import SamConfig
from napari_sam.model.layers import LayerNorm2d

# Labels of prompt tokens, as in SAM.
PADDING, NEGATIVE, POSITIVE = -1, 0, 1


class PromptEncoder(nn.Module):
    """Encode prompts in model pixels.

    With `config.raster_sigmas`, clicks and boxes are also drawn as maps (positive bumps, negative
    bumps, box interior) and added to the dense prompt: in a small model clicks are learned several
    times faster that way than from tokens alone.
    """

    def __init__(self, config: SamConfig) -> None:
        super().__init__()
        dim, hidden = config.embed_dim, config.mask_in_chans
        self.image_size = config.image_size
        self.stride = config.stride
        self.raster_sigmas = config.raster_sigmas
        self.pe_layer = PositionEmbeddingRandom(dim // 2)
        # negative point, positive point, first and second box corner
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, dim) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, dim)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, hidden // 4, 2, stride=2),
            LayerNorm2d(hidden // 4),
            nn.GELU(),
            nn.Conv2d(hidden // 4, hidden, 2, stride=2),
            LayerNorm2d(hidden),
            nn.GELU(),
            nn.Conv2d(hidden, dim, 1),
        )
        self.no_mask_embed = nn.Embedding(1, dim)
        if config.raster_sigmas:
            self.raster_downscaling = nn.Sequential(
                nn.Conv2d(2 * len(config.raster_sigmas) + 1, hidden, 2, stride=2),
                LayerNorm2d(hidden),
                nn.GELU(),
                nn.Conv2d(hidden, dim, 1),
            )

    def forward(
        self,
        points: Tensor | None,
        point_labels: Tensor | None,
        boxes: Tensor | None,
        masks: Tensor | None,
        grid: tuple[int, int],
        origin: tuple[float, float] = (0.0, 0.0),
    ) -> tuple[Tensor, Tensor]:
        """Encode the prompts of B objects, each with the same number of points.

        Parameters
        ----------
        points
            `(B, N, 2)` as (x, y) in model pixels, or ``None``.
        point_labels
            `(B, N)`: 1 positive, 0 negative, −1 padding.
        boxes
            `(B, 4)` as (x0, y0, x1, y1) in model pixels, or ``None``.
        masks
            `(B, 1, 4·h, 4·w)` logits, or ``None``.
        grid
            (h, w) of the image embedding.
        origin
            (x, y) in model pixels of the embedding's corner: training on crops places them
            anywhere in the model's square, so that all positions are learned.

        Returns
        -------
        sparse, dense
            `(B, T, C)` tokens and a `(B, C, h, w)` map (expanded, not copied, where possible).
        """
        batch = next((len(x) for x in (points, boxes, masks) if x is not None), 1)
        sparse = self._embed_sparse(points, point_labels, boxes, batch, origin)
        if masks is None:
            dense = self.no_mask_embed.weight.view(1, -1, 1, 1).expand(batch, -1, *grid)
        else:
            dense = self.mask_downscaling(masks)
        if self.raster_sigmas:
            drawn = self._draw(points, point_labels, boxes, grid, sparse)
            dense = dense + self.raster_downscaling(drawn)
        return sparse, dense

    def get_dense_pe(
        self, grid: tuple[int, int], origin: tuple[float, float] = (0.0, 0.0), pooling: int = 1
    ) -> Tensor:
        """Position embedding of the image cells, `(1, C, h // pooling, w // pooling)`.

        Parameters
        ----------
        grid, origin
            As in :meth:`forward`.
        pooling
            Cells of the embedding per side of a cell of the result.
        """
        device = self.not_a_point_embed.weight.device
        stride = self.stride * pooling
        y, x = (
            ((torch.arange(n // pooling, device=device) + 0.5) * stride + start) / self.image_size
            for n, start in zip(grid, origin[::-1], strict=True)
        )
        xy = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)  # (h, w, 2)
        return self.pe_layer(xy).permute(2, 0, 1)[None]

    def _embed_sparse(
        self,
        points: Tensor | None,
        point_labels: Tensor | None,
        boxes: Tensor | None,
        batch: int,
        origin: tuple[float, float],
    ) -> Tensor:
        weight = self.not_a_point_embed.weight
        kinds = [cast(nn.Embedding, kind).weight for kind in self.point_embeddings]
        tokens = [weight.new_zeros(batch, 0, weight.shape[1])]
        if points is not None and point_labels is not None:
            points, labels = self._placed(points, origin), point_labels
            if boxes is None:
                pad = points.new_zeros(points.shape[0], 1, 2)
                points = torch.cat([points, pad], 1)
                labels = torch.cat([labels, labels.new_full((len(labels), 1), PADDING)], 1)
            embedded = self.pe_layer(points / self.image_size)
            known = (labels != PADDING)[..., None]
            embedded = torch.where(known, embedded, weight)
            for label in (NEGATIVE, POSITIVE):
                chosen = (labels == label)[..., None].to(embedded.dtype)
                embedded = embedded + chosen * kinds[label]
            tokens.append(embedded)
        if boxes is not None:
            corners = self.pe_layer(self._placed(boxes.view(-1, 2, 2), origin) / self.image_size)
            tokens.append(corners + torch.cat(kinds[2:]))
        return torch.cat(tokens, 1)

    @staticmethod
    def _placed(xy: Tensor, origin: tuple[float, float]) -> Tensor:
        """Move `(..., 2)` from a crop to the model's square, to the centres of its pixels."""
        return torch.stack(
            [at + (start + 0.5) for at, start in zip(xy.unbind(-1), origin, strict=True)], -1
        )

    def _draw(
        self,
        points: Tensor | None,
        point_labels: Tensor | None,
        boxes: Tensor | None,
        grid: tuple[int, int],
        like: Tensor,
    ) -> Tensor:
        """Clicks as Gaussian bumps and boxes as filled rectangles, `(B, 2·S + 1, 2·h, 2·w)`."""
        h, w, step = 2 * grid[0], 2 * grid[1], self.stride / 2
        y = (torch.arange(h, device=like.device) + 0.5) * step  # model pixels, edges at integers
        x = (torch.arange(w, device=like.device) + 0.5) * step
        count = len(self.raster_sigmas)
        drawn = torch.zeros(like.shape[0], h, w, 2 * count + 1, device=like.device)
        drawn = drawn.permute(0, 3, 1, 2)  # channels-last, as the convolutions want it
        if points is not None and point_labels is not None and points.shape[1]:
            at = points.float() + 0.5
            sigmas = torch.tensor(self.raster_sigmas, device=like.device).view(-1, 1, 1, 1)
            # a bump is separable: one product per click and width, kept by maximum
            gx = torch.exp(-0.5 * ((x - at[..., :1]) / sigmas) ** 2)  # (S, B, N, W)
            gy = torch.exp(-0.5 * ((y - at[..., 1:]) / sigmas) ** 2)  # (S, B, N, H)
            for first, label in ((0, POSITIVE), (count, NEGATIVE)):
                rows = gy * (point_labels == label)[..., None]
                channels = drawn[:, first : first + count]
                for n in range(points.shape[1]):
                    bump = rows[:, :, n, :, None] * gx[:, :, n, None, :]
                    torch.maximum(channels, bump.transpose(0, 1), out=channels)
        if boxes is not None:
            box = boxes.float() + 0.5
            in_x = (x >= box[:, 0:1] - 0.5) & (x <= box[:, 2:3] + 0.5)
            in_y = (y >= box[:, 1:2] - 0.5) & (y <= box[:, 3:4] + 0.5)
            drawn[:, -1] = (in_y[:, :, None] & in_x[:, None, :]).float()
        return drawn.to(like.dtype)


class PositionEmbeddingRandom(nn.Module):
    """Random Fourier features of positions in the unit square.

    Source: Tancik et al., Fourier Features Let Networks Learn High Frequency Functions (2020).
    """

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, num_pos_feats: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, num_pos_feats))

    def forward(self, xy: Tensor) -> Tensor:
        """Map `(..., 2)` positions (x, y) in 0-1 to `(..., 2 · num_pos_feats)`."""
        matrix = self.positional_encoding_gaussian_matrix
        # phases reach hundreds of radians: half precision would destroy them
        phase = 2 * math.pi * ((2 * xy.float() - 1) @ matrix.float())
        return torch.cat([phase.sin(), phase.cos()], -1).to(matrix.dtype)
