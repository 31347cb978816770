"""The mask decoder's two-way transformer: tokens of prompts and cells of the image embedding.

There are a handful of tokens and thousands of cells. Every projection of the cells is applied to
the tokens instead where that is less work, and what the cells alone decide is worked out once for
a grid (:class:`Positions`) or for a plane (:class:`FirstLayer`), not for every click.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_sam.model.layers import MLPBlock


@dataclass(frozen=True, slots=True, eq=False)
class Positions:
    """Position embedding of a grid of N cells, and its share of the cells' projections.

    Parameters
    ----------
    cells
        `(1, N, C)`.
    keys
        `(1, heads, d, N)` of the attentions from tokens: one per layer, and the final one.
    queries
        `(1, heads, d, N)` of the attentions to tokens, one per layer.
    """

    cells: Tensor
    keys: tuple[Tensor, ...]
    queries: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True, eq=False)
class FirstLayer:
    """Cells of a plane as the first layer meets them, the same for every prompt without a mask.

    Parameters
    ----------
    cells
        `(1, N, C)`: image embedding plus dense prompt.
    keys, queries
        `(1, heads, d, N)` of the first layer's two attentions, positions included.
    values
        `(1, heads, N, d)` of its attention from tokens.
    """

    cells: Tensor
    keys: Tensor
    queries: Tensor
    values: Tensor


# Cells that a CPU works on at a time.
_PART = 1024


def parts(cells: int) -> list[slice]:
    """Cut so many cells into parts that fit a CPU's caches."""
    return [slice(start, start + _PART) for start in range(0, cells, _PART)]


def _picked(tokens: Tensor, read: list[int]) -> Tensor:
    """Pick tokens of `(B, T, C)` without a tensor of indexes, which a CUDA graph can't hold."""
    return torch.stack([tokens[:, i] for i in read], 1)


class TwoWayTransformer(nn.Module):
    """Tokens attend to the image and the image attends to the tokens."""

    def __init__(self, depth: int, embedding_dim: int, num_heads: int, mlp_dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            TwoWayAttentionBlock(embedding_dim, num_heads, mlp_dim, skip_first_layer_pe=i == 0)
            for i in range(depth)
        )
        self.final_attn_token_to_image = DownscaledAttention(embedding_dim, num_heads, 2)
        self.norm_final_attn = nn.LayerNorm(embedding_dim)

    def forward(
        self,
        cells: Tensor,
        positions: Positions,
        tokens: Tensor,
        read: list[int],
        first: FirstLayer | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        """Mix the cells of the image and the tokens.

        Parameters
        ----------
        cells
            `(1 or B, N, C)`.
        positions
            From :meth:`positions`.
        tokens
            `(B, T, C)`.
        read
            Tokens that are wanted.
        first
            From :meth:`first_layer`, where it is at hand; `cells` are its cells then.

        Returns
        -------
        tokens, cells
            `(B, len(read), C)`, and `(B, N, C)` in one or several parts, in order.
        """
        final = self.final_attn_token_to_image
        if final.folds(tokens):
            return self._folded(cells, positions, tokens, read, first)
        queries = tokens
        for layer in self.layers:
            queries, cells = layer(queries, cells, tokens, positions.cells)
        queries, tokens = _picked(queries, read), _picked(tokens, read)
        attended = final(queries + tokens, cells + positions.cells, cells)
        out: Tensor = self.norm_final_attn(queries + attended)
        return out, [cells]

    def _folded(
        self,
        cells: Tensor,
        positions: Positions,
        tokens: Tensor,
        read: list[int],
        first: FirstLayer | None,
    ) -> tuple[Tensor, list[Tensor]]:
        """Do the same with the cells' projections applied to the tokens.

        Maps of all cells are larger than a CPU's caches. So that each is written and read once,
        all operations on a part of the cells up to the next layer's attention are done together.
        """
        places = parts(cells.shape[1])
        cells = cells.expand(len(tokens), -1, -1)
        pieces = [cells[:, at] for at in places]
        layers = self._blocks()
        queries, attention = (
            layers[0].among_tokens(tokens, tokens),
            layers[0].cross_attn_token_to_image,
        )
        if first is None:
            attended = attention.from_tokens(queries + tokens, cells, positions.keys[0])
        else:
            attended = attention.from_projected(queries + tokens, first.keys, first.values)
        for i, layer in enumerate(layers):
            queries = layer.after_token_attention(queries, attended)
            known = first if i == 0 else None
            spread = layer.cross_attn_image_to_token.to_tokens(
                queries + tokens,
                queries,
                positions.queries[i] if known is None else known.queries,
                whole=known is not None,
            )
            if i + 1 < len(layers):
                after = layers[i + 1]
                queries, attention = (
                    after.among_tokens(queries, tokens),
                    after.cross_attn_token_to_image,
                )
            else:
                queries, tokens = _picked(queries, read), _picked(tokens, read)
                attention = self.final_attn_token_to_image
            seen = attention.begin(queries + tokens, positions.keys[i + 1])
            for n, at in enumerate(places):
                pieces[n] = layer.norm4(spread.change(pieces[n], at))
                seen.add(pieces[n], at)
            attended = attention.finish(seen)
        out: Tensor = self.norm_final_attn(queries + attended)
        return out, pieces

    def positions(self, image_pe: Tensor) -> Positions:
        """Project a position embedding `(1, C, h, w)` for every attention."""
        cells = image_pe.flatten(2).transpose(1, 2).contiguous()
        layers = self._blocks()
        keys = [layer.cross_attn_token_to_image.keys_of(cells) for layer in layers]
        keys.append(self.final_attn_token_to_image.keys_of(cells))
        queries = [layer.cross_attn_image_to_token.queries_of(cells) for layer in layers]
        return Positions(cells, tuple(keys), tuple(queries))

    def first_layer(self, cells: Tensor, positions: Positions) -> FirstLayer:
        """Compute what is the same for all prompts without a mask on a plane."""
        layer, placed = self._blocks()[0], cells + positions.cells
        attention = layer.cross_attn_token_to_image
        return FirstLayer(
            cells,
            attention.keys_of(placed),
            layer.cross_attn_image_to_token.queries_of(placed),
            attention.values_of(cells),
        )

    def _blocks(self) -> list[TwoWayAttentionBlock]:
        return cast("list[TwoWayAttentionBlock]", list(self.layers))


class TwoWayAttentionBlock(nn.Module):
    """Self-attention of tokens, tokens to image, MLP, image to tokens."""

    def __init__(
        self, embedding_dim: int, num_heads: int, mlp_dim: int, skip_first_layer_pe: bool
    ) -> None:
        super().__init__()
        self.self_attn = DownscaledAttention(embedding_dim, num_heads)
        self.norm1 = nn.LayerNorm(embedding_dim)
        self.cross_attn_token_to_image = DownscaledAttention(embedding_dim, num_heads, 2)
        self.norm2 = nn.LayerNorm(embedding_dim)
        self.mlp = MLPBlock(embedding_dim, mlp_dim, nn.ReLU)
        self.norm3 = nn.LayerNorm(embedding_dim)
        self.norm4 = nn.LayerNorm(embedding_dim)
        self.cross_attn_image_to_token = DownscaledAttention(embedding_dim, num_heads, 2)
        self.skip_first_layer_pe = skip_first_layer_pe

    def forward(
        self, queries: Tensor, cells: Tensor, query_pe: Tensor, cell_pe: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Map tokens `(B, T, C)` and cells `(B, N, C)` to the same shapes."""
        queries = self.among_tokens(queries, query_pe)
        placed = cells + cell_pe
        attended = self.cross_attn_token_to_image(queries + query_pe, placed, cells)
        queries = self.after_token_attention(queries, attended)
        change = self.cross_attn_image_to_token(placed, queries + query_pe, queries)
        return queries, self.norm4(cells + change)

    def among_tokens(self, queries: Tensor, query_pe: Tensor) -> Tensor:
        """Let tokens `(B, T, C)` attend to each other."""
        if self.skip_first_layer_pe:
            out: Tensor = self.norm1(self.self_attn(queries, queries, queries))
            return out
        q = queries + query_pe
        out = self.norm1(queries + self.self_attn(q, q, queries))
        return out

    def after_token_attention(self, queries: Tensor, attended: Tensor) -> Tensor:
        """Give tokens what they saw of the image, and their MLP."""
        queries = self.norm2(queries + attended)
        out: Tensor = self.norm3(queries + self.mlp(queries))
        return out


class DownscaledAttention(nn.Module):
    """Multi-head attention whose inner width is the embedding's divided by `downsample_rate`.

    The methods below `folds` do the same for tokens on one side and cells on the other, with the
    cells' projections applied to the tokens: `q·(Wk·x) = (q·Wk)·x`.
    """

    def __init__(self, embedding_dim: int, num_heads: int, downsample_rate: int = 1) -> None:
        super().__init__()
        inner = embedding_dim // downsample_rate
        self.num_heads = num_heads
        self.q_proj = nn.Linear(embedding_dim, inner)
        self.k_proj = nn.Linear(embedding_dim, inner)
        self.v_proj = nn.Linear(embedding_dim, inner)
        self.out_proj = nn.Linear(inner, embedding_dim)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend from `(B, Nq, C)` to `(B, Nk, C)`."""
        q, k, v = self.q_proj(q), self.k_proj(k), self.v_proj(v)
        y = F.scaled_dot_product_attention(self._by_head(q), self._by_head(k), self._by_head(v))
        out: Tensor = self.out_proj(y.transpose(1, 2).flatten(2))
        return out

    def folds(self, tokens: Tensor) -> bool:
        """Whether folding is less work for so many tokens: on a CPU, without gradients."""
        few = self.num_heads * tokens.shape[1] < self.k_proj.out_features
        return few and tokens.device.type == "cpu" and not torch.is_grad_enabled()

    def from_projected(self, q: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Attend from tokens `(B, T, C)` to keys `(1, heads, d, N)`, values `(1, heads, N, d)`."""
        scores = self._scaled(self.q_proj(q)) @ keys
        y = scores.softmax(3) @ values
        out: Tensor = self.out_proj(y.transpose(1, 2).flatten(2))
        return out

    def from_tokens(self, q: Tensor, cells: Tensor, keys: Tensor) -> Tensor:
        """Attend from tokens `(B, T, C)` to cells `(B, N, C)`, `keys` as in :meth:`begin`."""
        seen = self.begin(q, keys)
        for at in parts(cells.shape[1]):
            seen.add(cells[:, at], at)
        return self.finish(seen)

    def begin(self, q: Tensor, keys: Tensor) -> _Seen:
        """Begin to attend from tokens to cells, of which only the positions are known yet.

        Parameters
        ----------
        q
            `(B, T, C)`.
        keys
            `(1, heads, d, N)`: :meth:`keys_of` the positions.
        """
        queries = self._scaled(self.q_proj(q))  # (B, heads, T, d)
        # a bias of the keys would change all scores of a row alike
        folded = queries @ self._split(self.k_proj.weight)  # (B, heads, T, C)
        return _Seen((queries @ keys).flatten(1, 2), folded.flatten(1, 2))

    def finish(self, seen: _Seen) -> Tensor:
        """Return what the tokens saw, `(B, T, C)`."""
        mixed = seen.mean().unflatten(1, (self.num_heads, -1))  # (B, heads, T, C)
        y = mixed @ self._split(self.v_proj.weight).transpose(1, 2)
        y = y + self.v_proj.bias.view(self.num_heads, 1, -1)
        out: Tensor = self.out_proj(y.transpose(1, 2).flatten(2))
        return out

    def to_tokens(self, k: Tensor, v: Tensor, queries: Tensor, whole: bool) -> _Spread:
        """Prepare to attend from cells to tokens.

        Parameters
        ----------
        k, v
            `(B, T, C)`.
        queries
            `(1, heads, d, N)`: :meth:`queries_of` the cells, or of the positions alone unless
            `whole`.
        """
        keys = self._scaled(self.k_proj(k))  # (B, heads, T, d)
        folded = None if whole else (keys @ self._split(self.q_proj.weight)).flatten(1, 2)
        out_proj = self.out_proj.weight.unflatten(1, (self.num_heads, -1)).permute(1, 2, 0)
        outputs = self._by_head(self.v_proj(v)) @ out_proj  # (B, heads, T, C)
        outputs[:, 0] += self.out_proj.bias  # the weights of a head add up to one
        return _Spread(keys @ queries, folded, outputs.flatten(1, 2))

    def keys_of(self, cells: Tensor) -> Tensor:
        """Project cells to keys `(1, heads, d, N)`, without the bias that drops out."""
        return self._by_head(F.linear(cells, self.k_proj.weight)).transpose(2, 3).contiguous()

    def queries_of(self, cells: Tensor) -> Tensor:
        """Project cells to queries `(1, heads, d, N)`."""
        return self._by_head(self.q_proj(cells)).transpose(2, 3).contiguous()

    def values_of(self, cells: Tensor) -> Tensor:
        """Project cells to values `(1, heads, N, d)`."""
        return self._by_head(self.v_proj(cells)).contiguous()

    def _scaled(self, x: Tensor) -> Tensor:
        return self._by_head(x) * (x.shape[2] // self.num_heads) ** -0.5

    def _by_head(self, x: Tensor) -> Tensor:
        """Reorder `(B, N, heads·d)` to `(B, heads, N, d)`."""
        return x.unflatten(2, (self.num_heads, -1)).transpose(1, 2)

    def _split(self, weight: Tensor) -> Tensor:
        """Split a projection `(heads·d, C)` into `(heads, d, C)`."""
        return weight.unflatten(0, (self.num_heads, -1))


class _Seen:
    """Attention from tokens to cells that come part by part, with a running softmax.

    Parameters
    ----------
    scores
        `(B, heads·T, N)`: the positions' share of the scores.
    folded
        `(B, heads·T, C)`: tokens to multiply with the cells for the rest.
    """

    def __init__(self, scores: Tensor, folded: Tensor) -> None:
        self._scores, self._folded = scores, folded
        self._largest: Tensor | None = None

    def add(self, cells: Tensor, at: slice) -> None:
        """Attend to the cells `(B, n, C)` of a part."""
        scores = torch.baddbmm(self._scores[..., at], self._folded, cells.transpose(1, 2))
        largest = scores.amax(2, keepdim=True)
        if self._largest is not None:
            largest = torch.maximum(largest, self._largest)
        weights = scores.sub_(largest).exp_()
        if self._largest is None:
            self._sum, self._total = weights @ cells, weights.sum(2, keepdim=True)
        else:
            shrunk = (self._largest - largest).exp_()
            self._sum = torch.baddbmm(self._sum * shrunk, weights, cells)
            self._total = self._total * shrunk + weights.sum(2, keepdim=True)
        self._largest = largest

    def mean(self) -> Tensor:
        """Return the weighted mean of the cells, `(B, heads·T, C)`."""
        return self._sum / self._total


@dataclass(frozen=True, slots=True, eq=False)
class _Spread:
    """Attention from cells to tokens.

    Parameters
    ----------
    scores
        `(B, heads, T, N)`, without what `folded` adds.
    folded
        `(B, heads·T, C)`: tokens to multiply with the cells; ``None`` adds nothing.
    outputs
        `(B, heads·T, C)`: what a token gives to the cells that attend to it.
    """

    scores: Tensor
    folded: Tensor | None
    outputs: Tensor

    def change(self, cells: Tensor, at: slice) -> Tensor:
        """Return the cells `(B, n, C)` of a part with the attended tokens added."""
        scores = self.scores[..., at]
        if self.folded is not None:
            flat = scores.flatten(1, 2)
            scores = torch.baddbmm(flat, self.folded, cells.transpose(1, 2)).view_as(scores)
        weights = scores.softmax(2).flatten(1, 2)
        return torch.baddbmm(cells, weights.transpose(1, 2), self.outputs)
