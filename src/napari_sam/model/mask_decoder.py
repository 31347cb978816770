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
        # spreads a drawn click over its surroundings before any attention
        self.fusion = nn.Sequential(
            *(ConvBlock(dim, mlp_ratio=1.0) for _ in range(config.fusion_depth))
        )
        self.transformer = TwoWayTransformer(
            config.decoder_depth, dim, config.decoder_heads, config.decoder_mlp_dim
        )
        self.iou_token = nn.Embedding(1, dim)
        self.mask_tokens = nn.Embedding(self.num_mask_tokens, dim)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(dim, dim // 4, 2, stride=2),
            LayerNorm2d(dim // 4),
            nn.GELU(),
            nn.ConvTranspose2d(dim // 4, dim // 8, 2, stride=2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(
            MLP(dim, dim, dim // 8, 3) for _ in range(self.num_mask_tokens)
        )
        self.iou_prediction_head = MLP(
            dim, config.iou_head_hidden_dim, self.num_mask_tokens, config.iou_head_depth
        )

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
            `(1, C, h, w)` from :meth:`PromptEncoder.get_dense_pe`.
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
        src = self.fusion(features[0] + dense)  # (B, C, h, w)
        hs, src = self.transformer(src, image_pe, tokens)
        wanted = slice(1, None) if multimask_output else slice(0, 1)
        upscaled = self._upscale(src, features[1:])  # (B, C/8, 4h, 4w)
        mask_tokens = hs[:, 1 : 1 + self.num_mask_tokens]
        indexes = range(self.num_mask_tokens)[wanted]
        hyper = torch.stack(
            [self.output_hypernetworks_mlps[i](mask_tokens[:, i]) for i in indexes], 1
        )  # (B, M, C/8)
        logits = (hyper @ upscaled.flatten(2)).unflatten(2, upscaled.shape[2:])
        return logits, self.iou_prediction_head(hs[:, 0])[:, wanted]

    def _upscale(self, src: Tensor, skips: tuple[Tensor, ...]) -> Tensor:
        first, norm, act, second, last = self.output_upscaling
        if not skips:
            out: Tensor = self.output_upscaling(src)
            return out
        out = act(norm(first(src) + skips[0]))
        out = last(second(out) + skips[1])
        return out


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
        """Attend from `(B, Nq, C)` to `(B, Nk, C)`."""
        q, k, v = (
            proj(x).unflatten(2, (self.num_heads, -1)).transpose(1, 2)
            for proj, x in ((self.q_proj, q), (self.k_proj, k), (self.v_proj, v))
        )
        y = F.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.out_proj(y.transpose(1, 2).flatten(2))
        return out
