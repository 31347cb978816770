"""Attention within windows as one GPU kernel, written in Triton.

It reads queries, keys and values where the projection has put them and writes each cell's answer
to its place in the map: windows are never cut out, padded or put back, and no mask is built.
Scores exist only in registers, after Dao et al., FlashAttention (2022).
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

# Queries of a program, rows of the window whose keys it takes at a time, and its warps: see
# docs/lab/performance.md for others.
_QUERIES, _KEY_ROWS, _WARPS = 64, 2, 4


def attend_in_windows(
    qkv: Tensor, bias: Tensor, rel_h: Tensor, rel_w: Tensor, window: int, heads: int
) -> Tensor:
    """Attend from every cell of a map to those of its window.

    Windows at the right and lower side reach beyond the map; cells there have the bias as key and
    value, as if the map had been padded with zeros before the projection.

    Parameters
    ----------
    qkv
        `(B, H, W, 3·heads·D)`, contiguous, bfloat16 or float16 on a GPU.
    bias
        `(3·heads·D,)`, of the projection.
    rel_h, rel_w
        `(2·window − 1, D)`: learned relative positions.
    window
        Side of a window, in cells.
    heads
        Number of heads.

    Returns
    -------
    y
        `(B, H, W, heads·D)`.
    """
    b, h, w, channels = qkv.shape
    dim = channels // (3 * heads)
    out = qkv.new_empty(b, h, w, heads * dim)
    windows = b * -(-h // window) * -(-w // window)
    grid = (triton.cdiv(window**2, _QUERIES), heads, windows)
    _kernel[grid](
        qkv,
        bias.contiguous(),
        rel_h.contiguous(),
        rel_w.contiguous(),
        out,
        h,
        w,
        heads,
        dim**-0.5,
        dim,
        window,
        max(16, triton.next_power_of_2(dim)),
        _QUERIES,
        _KEY_ROWS,
        max(16, triton.next_power_of_2(window)),
        max(16, triton.next_power_of_2(2 * window - 1)),
        num_warps=_WARPS,
    )
    return out


@triton.jit
def _kernel(
    qkv,
    bias,
    rel_h,
    rel_w,
    out,
    height,
    width,
    heads,
    scale,
    dim: tl.constexpr,
    window: tl.constexpr,
    channels: tl.constexpr,  # dim and a row of a window, rounded up to powers of two
    queries: tl.constexpr,
    key_rows: tl.constexpr,
    columns: tl.constexpr,
    distances: tl.constexpr,  # rows of a table, rounded up likewise
):
    log2_e: tl.constexpr = 1.4426950408889634
    head = tl.program_id(1)
    across, down = tl.cdiv(width, window), tl.cdiv(height, window)
    place = tl.program_id(2)
    plane, place = place // (across * down), place % (across * down)
    top, left = place // across * window, place % across * window
    first = tl.program_id(0) * queries
    if top + first // window >= height:
        return
    stride = 3 * heads * dim
    c = tl.arange(0, channels)
    at = first + tl.arange(0, queries)
    row, column = at // window, at % window
    y, x = top + row, left + column
    asks = (at < window * window) & (y < height) & (x < width)
    taken = asks[:, None] & (c < dim)[None, :]
    cell = (plane * height + y).to(tl.int64) * width + x
    q = tl.load(qkv + cell[:, None] * stride + head * dim + c[None, :], mask=taken, other=0.0)
    # what each relative position adds to a query's scores; the tables hold the largest first
    far = tl.arange(0, distances)
    table = (far * dim)[:, None] + c[None, :]
    known = (far < 2 * window - 1)[:, None] & (c < dim)[None, :]
    t = tl.load(rel_w + table, mask=known, other=0.0)
    across_by = tl.dot(q, tl.trans(t), input_precision="ieee")
    t = tl.load(rel_h + table, mask=known, other=0.0)
    down_by = tl.dot(q, tl.trans(t), input_precision="ieee")
    # what a key's column adds to its score, for the keys of a block
    n = tl.arange(0, key_rows * columns)
    key_row, key_column = n // columns, n % columns
    by_column = tl.zeros((queries, key_rows * columns), tl.float32)
    for i in tl.static_range(window):
        picked = far[None, :] == (column - i + window - 1)[:, None]
        added = tl.sum(tl.where(picked, across_by, 0.0), 1)
        by_column = tl.where((key_column == i)[None, :], added[:, None], by_column)
    key_bias = tl.load(bias + (heads + head) * dim + c, mask=c < dim, other=0.0)
    value_bias = tl.load(bias + (2 * heads + head) * dim + c, mask=c < dim, other=0.0)
    largest = tl.full((queries,), float("-inf"), tl.float32)
    total = tl.zeros((queries,), tl.float32)
    mixed = tl.zeros((queries, channels), tl.float32)
    for start in range(0, window, key_rows):
        ky, kx = top + start + key_row, left + key_column
        there = ((ky < height) & (kx < width))[:, None]
        source = (plane * height + ky).to(tl.int64) * width + kx
        key = qkv + source[:, None] * stride + (heads + head) * dim + c[None, :]
        within = there & (c < dim)[None, :]
        k = tl.where(there, tl.load(key, mask=within, other=0.0), key_bias[None, :])
        v = tl.load(key + heads * dim, mask=within, other=0.0)
        v = tl.where(there, v, value_bias[None, :])
        beyond = by_column
        for j in tl.static_range(key_rows):
            picked = far[None, :] == (row - start - j + window - 1)[:, None]
            by_row = tl.sum(tl.where(picked, down_by, 0.0), 1)
            beyond += tl.where((key_row == j)[None, :], by_row[:, None], 0.0)
        scores = (tl.dot(q, tl.trans(k), input_precision="ieee") * scale + beyond) * log2_e
        counts = (start + key_row < window) & (key_column < window)
        scores = tl.where(counts[None, :], scores, float("-inf"))
        above = tl.maximum(largest, tl.max(scores, 1))
        weights = tl.exp2(scores - above[:, None])
        shrunk = tl.exp2(largest - above)
        total = total * shrunk + tl.sum(weights, 1)
        mixed = mixed * shrunk[:, None]
        mixed += tl.dot(weights.to(v.dtype), v, input_precision="ieee")
        largest = above
    answer = (mixed / total[:, None]).to(q.dtype)
    tl.store(out + cell[:, None] * (heads * dim) + head * dim + c[None, :], answer, mask=taken)
