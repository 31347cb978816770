"""SAM's mask decoder: a two-way transformer between prompt tokens and the image embedding."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_sam.model.config import SamConfig
from napari_sam.model.layers import MLP, ConvBlock, LayerNorm2d, MLPBlock


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
        image_pe: Tensor,
        sparse: Tensor,
        dense: Tensor,
        multimask_output: bool,
    ) -> tuple[Tensor, Tensor]:
        """Decode B objects, all on one plane or each on its own.

        Parameters
        ----------
        features
            Image embedding `(1 or B, C, h, w)`, then skip features at 2× and 4× its resolution
            where the model has them.
        image_pe
            `(1, C, h, w)` from :meth:`PromptEncoder.get_dense_pe`, of the pooled grid where the
            transformer works on one.
        sparse, dense
            `(B, T, C)` and `(B, C, h, w)` from the prompt encoder.
        multimask_output
            Return the candidates for an ambiguous prompt rather than the single mask.

        Returns
        -------
        logits, iou
            `(B, M, 4·h, 4·w)` and `(B, M)`.
        """
        b = sparse.shape[0]
        tokens = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        tokens = torch.cat([tokens.expand(b, -1, -1), sparse], 1)
        hs, src = self._attend(features[0] + dense, image_pe, tokens)
        wanted = slice(1, None) if multimask_output else slice(0, 1)
        upscaled = self._upscale(src, features[1:])  # (B, C/8, 4h, 4w)
        mask_tokens = hs[:, 1 : 1 + self.num_mask_tokens]
        indexes = range(self.num_mask_tokens)[wanted]
        hyper = torch.stack(
            [self.output_hypernetworks_mlps[i](mask_tokens[:, i]) for i in indexes], 1
        )  # (B, M, C/8)
        logits = (hyper @ upscaled.flatten(2)).unflatten(2, upscaled.shape[2:])
        iou: Tensor = self.iou_prediction_head(hs[:, 0])[:, wanted]
        if self.iou_mask_head is not None:
            seen = mask_statistics(logits.detach(), upscaled.detach(), self.large_mask)
            iou = iou + self.iou_mask_head(seen)[..., 0]
        return logits, iou

    def _attend(self, src: Tensor, image_pe: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Mix the map `(B, C, h, w)` and the tokens, the attention at its own resolution."""
        pooling = self.pooling
        if pooling == 1:
            hs, src = self.transformer(self.fusion(src), image_pe, tokens)
            return hs, self.refine(src)
        hs, coarse = self.transformer(self.fusion(F.avg_pool2d(src, pooling)), image_pe, tokens)
        b, c, h, w = src.shape
        src = src.permute(0, 2, 3, 1).reshape(b, h // pooling, pooling, w // pooling, pooling, c)
        src = src + coarse.permute(0, 2, 3, 1)[:, :, None, :, None]  # repeated, not interpolated
        return hs, self.refine(src.view(b, h, w, c).permute(0, 3, 1, 2))

    def _upscale(self, src: Tensor, skips: tuple[Tensor, ...]) -> Tensor:
        first, norm, act, second, _ = self.output_upscaling
        if not skips:
            out: Tensor = self.output_upscaling(src)
            return out
        out = act(norm(first(src).add_(skips[0])))
        # in place: the largest maps of a small model, whose time is that of writing them
        out = F.relu_(second(out).add_(skips[1]))
        return out


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

    def forward(self, src: Tensor, image_pe: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Mix the image `(B, C, h, w)` and the tokens `(B, T, C)`; both come back changed."""
        h, w = src.shape[2:]
        keys = src.flatten(2).transpose(1, 2)  # (B, h·w, C)
        key_pe = image_pe.flatten(2).transpose(1, 2)
        queries = tokens
        for layer in self.layers:
            queries, keys = layer(queries, keys, tokens, key_pe)
        attended = self.final_attn_token_to_image(queries + tokens, keys + key_pe, keys)
        queries = self.norm_final_attn(queries + attended)
        return queries, keys.transpose(1, 2).unflatten(2, (h, w))


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
        self, queries: Tensor, keys: Tensor, query_pe: Tensor, key_pe: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Map queries `(B, T, C)` and keys `(B, N, C)` to the same shapes."""
        if self.skip_first_layer_pe:
            queries = self.self_attn(queries, queries, queries)
        else:
            q = queries + query_pe
            queries = queries + self.self_attn(q, q, queries)
        queries = self.norm1(queries)
        q, k = queries + query_pe, keys + key_pe
        queries = self.norm2(queries + self.cross_attn_token_to_image(q, k, keys))
        queries = self.norm3(queries + self.mlp(queries))
        q = queries + query_pe
        keys = self.norm4(keys + self.cross_attn_image_to_token(k, q, queries))
        return queries, keys


class DownscaledAttention(nn.Module):
    """Multi-head attention whose inner width is the embedding's divided by `downsample_rate`."""

    def __init__(self, embedding_dim: int, num_heads: int, downsample_rate: int = 1) -> None:
        super().__init__()
        inner = embedding_dim // downsample_rate
        self.num_heads = num_heads
        self.q_proj = nn.Linear(embedding_dim, inner)
        self.k_proj = nn.Linear(embedding_dim, inner)
        self.v_proj = nn.Linear(embedding_dim, inner)
        self.out_proj = nn.Linear(inner, embedding_dim)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend from `(B, Nq, C)` to `(B, Nk, C)`.

        Where one side is a handful of tokens, a CPU without gradients folds the projections of
        the other side, an image's thousands of cells, into the tokens.
        """
        few = self.num_heads * min(q.shape[1], k.shape[1]) < self.k_proj.out_features
        folds = q.device.type == "cpu" and not torch.is_grad_enabled()
        if folds and few and q.shape[1] != k.shape[1]:
            fold = self._from_tokens if q.shape[1] < k.shape[1] else self._to_tokens
            return fold(q, k, v)
        heads = (
            proj(x).unflatten(2, (self.num_heads, -1)).transpose(1, 2)
            for proj, x in ((self.q_proj, q), (self.k_proj, k), (self.v_proj, v))
        )
        y = F.scaled_dot_product_attention(*heads)
        out: Tensor = self.out_proj(y.transpose(1, 2).flatten(2))
        return out

    def _from_tokens(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend from few tokens: `(q·Wq)·Wk` meets the keys; a constant of each row drops out."""
        queries = self.q_proj(q).unflatten(2, (self.num_heads, -1)) * self._scale
        keys, values = (self._by_head(p.weight) for p in (self.k_proj, self.v_proj))
        folded = torch.einsum("bthd,hdc->bhtc", queries, keys).flatten(1, 2)  # (B, heads·T, C)
        weights = torch.bmm(folded, k.transpose(1, 2)).softmax(2)
        mixed = torch.bmm(weights, v).unflatten(1, (self.num_heads, -1))  # (B, heads, T, C)
        y = torch.einsum("bhtc,hdc->bthd", mixed, values).flatten(2) + self.v_proj.bias
        out: Tensor = self.out_proj(y)
        return out

    def _to_tokens(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend to few tokens: queries meet `(k·Wk)·Wq`, weights meet `(v·Wv)·Wo`."""
        heads = self.num_heads
        keys = self.k_proj(k).unflatten(2, (heads, -1)) * self._scale  # (B, T, heads, d)
        values = self.v_proj(v).unflatten(2, (heads, -1))
        folded = torch.einsum("bthd,hdc->bhtc", keys, self._by_head(self.q_proj.weight))
        constant = torch.einsum("bthd,hd->bht", keys, self.q_proj.bias.view(heads, -1))
        out_proj = self.out_proj.weight.unflatten(1, (heads, -1))  # (C, heads, d)
        outputs = torch.einsum("bthd,chd->bhtc", values, out_proj).flatten(1, 2)
        scores = torch.baddbmm(
            constant.flatten(1)[:, None], q, folded.flatten(1, 2).transpose(1, 2)
        )  # (B, N, heads·T)
        weights = scores.unflatten(2, (heads, -1)).softmax(3).flatten(2)
        return torch.baddbmm(self.out_proj.bias, weights, outputs)

    @property
    def _scale(self) -> float:
        return (self.q_proj.out_features // self.num_heads) ** -0.5

    def _by_head(self, weight: Tensor) -> Tensor:
        """Split a projection `(heads·d, C)` into `(heads, d, C)`."""
        return weight.unflatten(0, (self.num_heads, -1))
