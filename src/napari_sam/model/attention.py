"""Attention over a map with decomposed relative positions, and how it is computed.

The scores of a global block are 4096 × 4096 for each head: at no time do they exist for all
heads, on no path.
"""

from __future__ import annotations

import logging

import torch
from torch import Tensor
from torch.nn import functional as F

log = logging.getLogger(__name__)

# Bytes of scores that a CPU works on at a time: about what its inner caches hold.
_CACHE_BYTES = 2 << 20
# Elsewhere: scores that are built at once (64 MB in float32).
_MAX_BIAS_ELEMENTS = 2**24


def attend(
    q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor, size: tuple[int, int]
) -> Tensor:
    """Attend from every cell of a map to every other.

    A CPU without gradients makes scores, bias and softmax part by part, so that they stay in its
    cache. Elsewhere the fused attention gets the bias as its mask; where that mask would be large,
    CUDA gets it folded into longer queries and keys, other devices one head at a time.

    Parameters
    ----------
    q, k, v
        `(B, heads, h·w, D)`.
    rel_h, rel_w
        `(h, h, D)` and `(w, w, D)` from :func:`get_rel_pos`.
    size
        (h, w).

    Returns
    -------
    y
        `(B, heads, h·w, D)`.
    """
    if q.device.type == "cpu" and not torch.is_grad_enabled():
        # every product in half precision would copy what isn't in order
        q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
        return _attend_in_parts(q, k, v, *_biases(q, rel_h, rel_w, size))
    b, heads, n = q.shape[:3]
    if b * heads * n**2 <= _MAX_BIAS_ELEMENTS:
        return _attend_fused(q, k, v, rel_h, rel_w, size)
    if q.device.type == "cuda":
        return _attend_extended(q, k, v, *_biases(q, rel_h, rel_w, size), size)
    y = torch.empty_like(q)
    for i in range(b):
        for j in range(heads):
            at = slice(i, i + 1), slice(j, j + 1)
            y[at] = _attend_fused(q[at], k[at], v[at], rel_h, rel_w, size)
    return y


def attend_in_windows(
    qkv: Tensor, bias: Tensor | None, rel_h: Tensor, rel_w: Tensor, window: int, heads: int
) -> Tensor | None:
    """Attend within windows by one kernel, where there is one for the device and number format.

    Parameters
    ----------
    qkv, bias, rel_h, rel_w, window, heads
        As in :func:`napari_sam.model.attention_kernel.attend_in_windows`.

    Returns
    -------
    y
        `(B, H, W, heads·D)`; ``None`` elsewhere: cut windows out and :func:`attend` then.
    """
    half = qkv.dtype in (torch.bfloat16, torch.float16) and qkv.dtype == rel_h.dtype
    if qkv.device.type != "cuda" or not half or bias is None or torch.is_grad_enabled():
        return None
    with torch.cuda.device(qkv.device):  # where Triton launches
        return _by_kernel(qkv, bias, rel_h, rel_w, window, heads)


# Devices for which there is no kernel: without Triton, or where it could not make one.
_REFUSED: set[torch.device] = set()


def _by_kernel(
    qkv: Tensor, bias: Tensor, rel_h: Tensor, rel_w: Tensor, window: int, heads: int
) -> Tensor | None:
    """Attend by the kernel; ``None`` where it can't be had."""
    if qkv.device in _REFUSED:
        return None
    try:
        from napari_sam.model import attention_kernel
    except ImportError:  # Triton comes with torch on Linux only
        _REFUSED.add(qkv.device)
        return None
    try:
        return attention_kernel.attend_in_windows(qkv, bias, rel_h, rel_w, window, heads)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever its compiler lacks, it can be done without
        _REFUSED.add(qkv.device)
        log.warning(
            "encoding on %s is slower than it could be: Triton could not make a kernel (%s); it "
            "needs a C compiler, such as gcc",
            qkv.device,
            error,
        )
        return None


def get_rel_pos(q_size: int, k_size: int, rel_pos: Tensor) -> Tensor:
    """Relative-position vectors for every pair of a query and a key coordinate.

    Parameters
    ----------
    q_size, k_size
        Number of query and key positions along the axis. The shorter axis is stretched to the
        longer one.
    rel_pos
        `(L, C)` learned table; linearly interpolated where L is not 2·max(q, k) − 1.

    Returns
    -------
    vectors
        `(q_size, k_size, C)`.
    """
    length = 2 * max(q_size, k_size) - 1
    if rel_pos.shape[0] != length:
        # interpolate in float32: half-precision tables would otherwise be refused on CPU
        table = F.interpolate(rel_pos.float().t()[None], size=length, mode="linear")
        rel_pos = table[0].t().to(rel_pos.dtype)
    q = torch.arange(q_size, device=rel_pos.device)[:, None] * max(k_size / q_size, 1.0)
    k = torch.arange(k_size, device=rel_pos.device)[None, :] * max(q_size / k_size, 1.0)
    return rel_pos[(q - k + (k_size - 1) * max(q_size / k_size, 1.0)).long()]


def add_decomposed_rel_pos(
    attn: Tensor | None,
    q: Tensor,
    rel_h: Tensor,
    rel_w: Tensor,
    q_size: tuple[int, int],
    k_size: tuple[int, int],
) -> Tensor:
    """Attention bias q·Rh + q·Rw of the decomposed relative positions.

    Parameters
    ----------
    attn
        `(..., q_h·q_w, k_h·k_w)` scores to add to, or ``None`` for the bias alone.
    q
        `(..., q_h·q_w, C)` queries, unscaled.
    rel_h, rel_w
        `(q_h, k_h, C)` and `(q_w, k_w, C)` from :func:`get_rel_pos`.
    q_size, k_size
        (height, width) of the query and key maps.

    Returns
    -------
    scores
        `(..., q_h·q_w, k_h·k_w)`.
    """
    bias_h, bias_w = _biases(q, rel_h, rel_w, q_size)
    bias = bias_h[..., :, None] + bias_w[..., None, :]  # (..., q_h·q_w, k_h, k_w)
    flat = bias.reshape(*q.shape[:-1], k_size[0] * k_size[1])
    return flat if attn is None else attn + flat


def _biases(
    q: Tensor, rel_h: Tensor, rel_w: Tensor, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Bias by a key's row, `(..., N, k_h)`, and by its column, `(..., N, k_w)`."""
    q_map = q.reshape(*q.shape[:-2], *size, q.shape[-1])  # (..., q_h, q_w, C)
    bias_h = torch.einsum("...hwc,hkc->...hwk", q_map, rel_h)
    bias_w = torch.einsum("...hwc,wkc->...hwk", q_map, rel_w)
    return bias_h.flatten(-3, -2), bias_w.flatten(-3, -2)


def _attend_fused(
    q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor, size: tuple[int, int]
) -> Tensor:
    bias = add_decomposed_rel_pos(None, q, rel_h, rel_w, size, size)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)


def _attend_extended(
    q: Tensor, k: Tensor, v: Tensor, bias_h: Tensor, bias_w: Tensor, size: tuple[int, int]
) -> Tensor:
    """Attend with no mask at all, so that a flash kernel takes it.

    A key's place as two one-hot vectors, times a query's biases by row and by column, is the bias.
    """
    h, w = size
    dim = q.shape[3]
    row = torch.eye(h, dtype=q.dtype, device=q.device).repeat_interleave(w, 0)
    column = torch.eye(w, dtype=q.dtype, device=q.device).repeat(h, 1)
    place = torch.cat([row, column], 1).expand(*k.shape[:2], -1, -1)  # (B, heads, h·w, h + w)
    queries = torch.cat([q * dim**-0.5, bias_h, bias_w], 3)
    keys = torch.cat([k, place], 3)
    values = F.pad(v, (0, h + w))
    return F.scaled_dot_product_attention(queries, keys, values, scale=1.0)[..., :dim]


def _attend_in_parts(q: Tensor, k: Tensor, v: Tensor, bias_h: Tensor, bias_w: Tensor) -> Tensor:
    """Attend some heads at a time, or some rows of one head where its scores are too large."""
    shape, (n, dim) = q.shape, q.shape[2:]
    q, k, v, bias_h, bias_w = (x.flatten(0, 1) for x in (q, k, v, bias_h, bias_w))
    y = torch.empty_like(q, memory_format=torch.contiguous_format)
    rows = max(1, _CACHE_BYTES // (n * q.element_size()))
    heads = max(1, rows // n)
    for i in range(0, len(q), heads):
        keys, values = k[i : i + heads].transpose(1, 2), v[i : i + heads]
        for j in range(0, n, rows):
            at = slice(i, i + heads), slice(j, j + rows)
            bias = (bias_h[at][..., :, None] + bias_w[at][..., None, :]).flatten(2)
            scores = torch.baddbmm(bias, q[at], keys, alpha=dim**-0.5, out=bias)
            y[at] = torch.bmm(scores.softmax(2), values)
    return y.view(shape)
