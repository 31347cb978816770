"""Squares of an embedding, one around each object, to decode masks in."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from napari_sam.model.config import SamConfig

PromptTensors = tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]
"""Points, their labels, boxes and masks, as the prompt encoder takes them."""

_NOTHING = -20.0  # logit outside of a window
_FINER = 4  # cells of the logits per side of a cell of the embedding


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """Windows of equal size in the grid of an embedding.

    Parameters
    ----------
    corners
        (row, column) of each window's first cell.
    shape
        (h, w) of a window, in cells.
    grid
        (h, w) of the embedding, in cells.
    stride
        Model pixels per cell.
    """

    corners: list[tuple[int, int]]
    shape: tuple[int, int]
    grid: tuple[int, int]
    stride: int

    @classmethod
    def around(
        cls, prompts: PromptTensors, side: int, grid: tuple[int, int], config: SamConfig
    ) -> Windows | None:
        """Place windows around prompts.

        Parameters
        ----------
        prompts
            Of B objects, in model pixels.
        side
            Side of a window, in model pixels.
        grid
            (h, w) of the embedding.
        config
            Of the model.

        Returns
        -------
        windows
            ``None`` if there is nothing to gain: the embedding is no larger than a window, or
            there are neither points nor boxes.
        """
        points, _, boxes, _ = prompts
        places = [
            x for x in (points, None if boxes is None else boxes.view(-1, 2, 2)) if x is not None
        ]
        step = config.decoder_pooling
        cells = max(step, side // config.stride // step * step)
        shape = min(cells, grid[0]), min(cells, grid[1])
        if not places or shape == grid:
            return None
        xy = torch.cat(places, 1)
        centre = (xy.amin(1) + xy.amax(1)) / 2 / config.stride  # (B, 2) as (x, y), in cells
        corners = []
        for x, y in centre.tolist():
            row, column = (
                min(max(0, round((at - n / 2) / step) * step), whole - n)
                for at, n, whole in zip((y, x), shape, grid, strict=True)
            )
            corners.append((row, column))
        return cls(corners, shape, grid, config.stride)

    def cut_features(self, features: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Cut the windows out of features `(1, C, k·h, k·w)`: `(B, C, k·h', k·w')` each."""
        cut = []
        for level in features:
            k = level.shape[2] // self.grid[0]
            h, w = k * self.shape[0], k * self.shape[1]
            cells = level[0].permute(1, 2, 0)  # where channels are last, one fast copy
            parts = [cells[k * r : k * r + h, k * c : k * c + w] for r, c in self.corners]
            cut.append(torch.stack(parts).permute(0, 3, 1, 2))
        return tuple(cut)

    def cut_prompts(self, prompts: PromptTensors) -> PromptTensors:
        """Move prompts into their windows."""
        points, labels, boxes, masks = prompts
        given = next(x for x in (points, boxes) if x is not None)
        shift = torch.tensor([(c, r) for r, c in self.corners]).to(given) * self.stride  # (B, 2)
        if masks is not None:
            parts = [one[(slice(None), *at)] for one, at in zip(masks, self._places(), strict=True)]
            masks = torch.stack(parts)
        return (
            None if points is None else points - shift[:, None],
            labels,
            None if boxes is None else boxes - torch.cat([shift, shift], 1),
            masks,
        )

    def left(self, logits: Tensor) -> list[int]:
        """Return which objects have a candidate that goes on beyond its window.

        Parameters
        ----------
        logits
            `(B, M, 4·h', 4·w')`.
        """
        masks = (logits > 0).any(1)  # (B, 4·h', 4·w')
        sides = torch.stack(
            [
                masks[:, 0].any(1),
                masks[:, -1].any(1),
                masks[:, :, 0].any(1),
                masks[:, :, -1].any(1),
            ],
            1,
        )
        inner = [
            (r > 0, r + self.shape[0] < self.grid[0], c > 0, c + self.shape[1] < self.grid[1])
            for r, c in self.corners
        ]
        crossed = sides & torch.tensor(inner, device=sides.device)
        return crossed.any(1).nonzero()[:, 0].tolist()

    def put_back(self, logits: Tensor) -> Tensor:
        """Put windows of logits into the grid's, with nothing around them."""
        shape = (*logits.shape[:2], _FINER * self.grid[0], _FINER * self.grid[1])
        whole = logits.new_full(shape, _NOTHING)
        for one, part, at in zip(whole, logits, self._places(), strict=True):
            one[(slice(None), *at)] = part
        return whole

    def _places(self) -> list[tuple[slice, slice]]:
        h, w = _FINER * self.shape[0], _FINER * self.shape[1]
        starts = [(_FINER * r, _FINER * c) for r, c in self.corners]
        return [(slice(r, r + h), slice(c, c + w)) for r, c in starts]
