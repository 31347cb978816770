"""Initial weights with which attention is at the click before anything is learned."""

from __future__ import annotations

import math

import torch

from napari_sam.model.sam import Sam
from napari_sam.model.two_way import TwoWayAttentionBlock

# Gain of the projections over a fresh layer's: a cell at a click gives most of its attention to it.
_GAIN = 3.0


@torch.no_grad()
def aim_at_clicks(model: Sam, width: float) -> None:
    """Let a fresh network's clicks and image cells attend to each other by their distance.

    Queries and keys of the attention between tokens and image get the same projection, so that
    scores start as the similarity of position embeddings, a Gaussian of the distance.

    Parameters
    ----------
    model
        A freshly initialised network, changed in place.
    width
        Standard deviation of the Gaussian, in model pixels.
    """
    matrix = model.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix
    # phases are 4π·x·frequency for x in 0-1: frequencies of deviation f give a width of 1 / 4πf
    matrix.mul_(model.config.image_size / (4 * math.pi * width))
    transformer = model.mask_decoder.transformer
    attentions = [transformer.final_attn_token_to_image]
    for layer in transformer.layers:
        assert isinstance(layer, TwoWayAttentionBlock)
        attentions += [layer.cross_attn_token_to_image, layer.cross_attn_image_to_token]
    for attention in attentions:
        attention.q_proj.weight.mul_(_GAIN)
        attention.k_proj.weight.copy_(attention.q_proj.weight)
        attention.k_proj.bias.copy_(attention.q_proj.bias)
