"""The RoI head: it rescores and refines a dense head's boxes region by region."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Cells of a region along each side, and the region's size as a multiple of its box.
_GRID, _CONTEXT = 12, 1.35
# The least side of a box, in model pixels: the head's refinements are relative to the side.
_LEAST_SIDE = 2.0
# Regions per batch.
_CHUNK = 128
# Differences between a cell's box and the region's, in units of its size, are clipped at this.
_FAR = 2.0


class RoiHead(nn.Module):
    """Features and a dense head's cells in a region of interest to the quality of its box.

    The second stage of Ren et al., Faster R-CNN (2015). The cell that proposes a box only sees its
    own surroundings; this head sees the whole box, with the predictions of all cells in it. Two
    touching objects and one large object are alike to a cell, but not to their regions.

    Parameters
    ----------
    embed_dim, skip_channels
        Channels of the embedding and of the skip features (strides 4 and 2).
    channels
        Width of the convolutions, a multiple of 8.
    cell
        Model pixels per cell of the dense head's boxes.
    """

    def __init__(
        self, embed_dim: int, skip_channels: tuple[int, ...], channels: int, cell: int
    ) -> None:
        super().__init__()
        self.cell = cell
        widths = (3 * channels // 4, 3 * channels // 8, channels // 4)
        self.reduce = nn.ModuleList(
            nn.Conv2d(given, width, 1)
            for given, width in zip((embed_dim, *skip_channels), widths, strict=True)
        )
        wide = 2 * channels
        self.body = nn.Sequential(
            *_block(sum(widths) + 5, channels),
            *_block(channels, channels),
            *_block(channels, wide, stride=2),
            *_block(wide, wide),
        )
        self.mlp = nn.Sequential(
            nn.Linear(wide * (_GRID // 2) ** 2, 3 * channels),
            nn.GELU(),
            nn.Linear(3 * channels, 3 * channels),
            nn.GELU(),
        )
        self.out = nn.Linear(3 * channels, 5)
        nn.init.zeros_(self.out.weight)  # untrained, it changes nothing
        nn.init.zeros_(self.out.bias)

    def forward(
        self,
        features: tuple[Tensor, ...],
        cells: tuple[Tensor, Tensor],
        boxes: Tensor,
        scores: Tensor,
        planes: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Judge boxes.

        Parameters
        ----------
        features
            As returned by the image encoder: strides 8, 4 and 2, B planes.
        cells
            Sides `(B, 4, h, w)` and scores `(B, h, w)` as in :class:`DenseOutput`.
        boxes
            `(N, 4)` edges as (y0, x0, y1, x1) in model pixels.
        scores
            `(N,)` their scores so far, as logits.
        planes
            `(N,)` which of the B planes each box is on, in ascending order.

        Returns
        -------
        boxes, scores
            `(N, 4)` refined edges, and `(N,)` logits of their IoU with an object's box.
        """
        maps = [reduce(x) for reduce, x in zip(self.reduce, features, strict=True)]
        edges = self._edges(*cells)
        answers = [self.out(boxes.new_empty(0, self.out.in_features))]
        for plane in planes.unique().tolist():
            here = [x[plane : plane + 1] for x in (*maps, edges)]
            answers += [self._judge(here, part) for part in boxes[planes == plane].split(_CHUNK)]
        answer = torch.cat(answers)
        return boxes + answer[:, 1:] * _extent(boxes).repeat(1, 2), scores + answer[:, 0]

    def _judge(self, maps: list[Tensor], boxes: Tensor) -> Tensor:
        """Return what to add to scores and, in units of the boxes, to their edges: `(n, 5)`."""
        *features, edges = maps
        height, width = (self.cell * n for n in edges.shape[2:])
        middle, extent = (boxes[:, :2] + boxes[:, 2:]) / 2, _extent(boxes)
        steps = (torch.arange(_GRID, device=boxes.device) + 0.5) / _GRID - 0.5
        y = middle[:, :1] + steps * extent[:, :1] * _CONTEXT  # (n, grid)
        x = middle[:, 1:] + steps * extent[:, 1:] * _CONTEXT
        places = torch.stack(
            torch.broadcast_tensors(2 * x[:, None] / width - 1, 2 * y[:, :, None] / height - 1), -1
        ).flatten(0, 1)[None]  # all regions below each other
        shape = (len(boxes), _GRID, _GRID)
        seen = [
            F.grid_sample(one, places, align_corners=False)[0].unflatten(1, shape[:2])
            for one in features
        ]
        cells = F.grid_sample(edges, places, "nearest", "border", align_corners=False)[0]
        cells = cells.unflatten(1, shape[:2])
        size = extent.repeat(1, 2).T[..., None, None]
        beyond = (cells[:4] - boxes.T[..., None, None]) / size
        seen += [beyond.clamp(-_FAR, _FAR), cells[4:] / 4]
        answer: Tensor = self.out(self.mlp(self.body(torch.cat(seen).transpose(0, 1)).flatten(1)))
        return answer

    def _edges(self, sides: Tensor, scores: Tensor) -> Tensor:
        """Return the edges of each cell's box in model pixels, and its score: `(B, 5, h, w)`."""
        h, w = scores.shape[1:]
        y = ((torch.arange(h, device=sides.device) + 0.5) * self.cell)[:, None]
        x = ((torch.arange(w, device=sides.device) + 0.5) * self.cell)[None]
        top, left, bottom, right = sides.unbind(1)
        return torch.stack([y - top, x - left, y + bottom, x + right, scores], 1)


def _block(given: int, channels: int, stride: int = 1) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(given, channels, 3, stride, padding=1),
        nn.GroupNorm(8, channels),
        nn.GELU(),
    )


def _extent(boxes: Tensor) -> Tensor:
    """Height and width of boxes `(N, 4)`, at least two model pixels."""
    return (boxes[:, 2:] - boxes[:, :2]).clamp_min(_LEAST_SIDE)
