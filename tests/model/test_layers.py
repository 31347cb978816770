"""Blocks of our own networks: the same result however they are computed."""

import pytest
import torch
from torch import nn

from napari_sam.model.layers import ConvBlock, MLPBlock, add_mlp


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_block_computed_part_by_part_equals_the_one_at_once(layout):
    torch.manual_seed(0)
    block = ConvBlock(8, 2.0)
    x = torch.randn(2, 8, 30, 40).contiguous(memory_format=layout)  # 2,400 rows: three parts
    before = x.clone()
    at_once = block(x).detach()
    with torch.inference_mode():
        in_parts = block(x)
    torch.testing.assert_close(in_parts, at_once, rtol=1e-6, atol=1e-6)
    assert torch.equal(x, before)


@pytest.mark.parametrize("rows", [1024, 1025, 3000])
def test_mlp_is_added_to_every_row(rows):
    torch.manual_seed(0)
    norm, mlp, x = nn.LayerNorm(8), MLPBlock(8, 16), torch.randn(1, rows, 8)
    expected = (x + mlp(norm(x))).detach()
    with torch.no_grad():
        torch.testing.assert_close(add_mlp(x, x, norm, mlp), expected, rtol=1e-6, atol=1e-6)


def test_sum_under_autocast_keeps_the_precision_of_the_residual_path():
    torch.manual_seed(0)
    block, x = ConvBlock(8, 2.0), torch.randn(1, 8, 40, 40)
    with torch.autocast("cpu", torch.bfloat16):
        at_once = block(x).detach()
        with torch.no_grad():
            in_parts = block(x)
    assert in_parts.dtype == at_once.dtype == torch.float32
    torch.testing.assert_close(in_parts, at_once, rtol=1e-6, atol=1e-6)
