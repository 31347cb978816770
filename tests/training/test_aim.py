"""Untrained attention that looks where the click is."""

from __future__ import annotations

import pytest
import torch

from napari_sam.model.config import PRESETS
from napari_sam.model.sam import build
from napari_sam.training.aim import aim_at_clicks


@pytest.fixture(scope="module")
def sam():
    torch.manual_seed(0)
    made = build(PRESETS["sam_small"]).requires_grad_(False)
    aim_at_clicks(made, width=30.0)
    return made


def test_positions_are_alike_within_the_width(sam):
    layer = sam.prompt_encoder.pe_layer
    x = torch.tensor([500.0, 530.0, 620.0])
    here, near, far = layer(torch.stack([x, torch.full((3,), 400.0)], -1) / 1024)
    likeness = torch.stack([here, near, far]) @ here / here.square().sum()
    assert likeness[1] == pytest.approx(0.607, abs=0.12)
    assert likeness[2] < 0.3


def test_the_cell_under_a_click_attends_to_it(sam):
    layer = sam.prompt_encoder.pe_layer
    attention = sam.mask_decoder.transformer.layers[0].cross_attn_image_to_token
    at = torch.tensor([[0.2, 0.3], [0.5, 0.5], [0.8, 0.1]])
    keys, queries = attention._by_head(attention.k_proj(layer(at)[None])), at
    queries = attention._by_head(attention.q_proj(layer(queries)[None]))
    weights = (queries @ keys.transpose(2, 3) * queries.shape[-1] ** -0.5).softmax(3).mean(1)[0]
    assert weights.argmax(1).tolist() == [0, 1, 2]
    assert weights.diagonal().min() > 0.6
