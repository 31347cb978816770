"""The image encoder against the reference implementations."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from reference import (
    SMALL,
    randomise,
    reference_image_encoder,
    reference_sam,
    relative_error,
)

from napari_sam.model import attention
from napari_sam.model.checkpoint import load_into_new
from napari_sam.model.config import ViTConfig
from napari_sam.model.layers import cut_windows, join_windows

TOLERANCE = 1e-4

pytestmark = pytest.mark.usefixtures("no_gradients")


@pytest.fixture
def no_gradients():
    with torch.no_grad():
        yield


def images(batch: int, size: int = SMALL.image_size, seed: int = 0) -> torch.Tensor:
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(seed))


def pair(config):
    original = reference_sam(config)
    randomise(original, seed=11)
    ours = load_into_new(original.state_dict(), config, "the reference's weights")
    return ours.image_encoder, original.image_encoder


@pytest.mark.parametrize("batch", [1, 3])
def test_embedding_equals_both_references(networks, batch):
    x = images(batch)
    (embedding,) = networks.ours.image_encoder(x)
    assert embedding.shape == (batch, 32, 6, 6)
    assert relative_error(embedding, networks.original.image_encoder(x)) < TOLERANCE
    assert relative_error(embedding, networks.transformers.get_image_embeddings(x)) < TOLERANCE


@pytest.mark.parametrize(
    ("window_size", "global_indexes"),
    [(3, (1,)), (5, ()), (6, (0, 1)), (14, (1,))],
    ids=["no padding", "no global block", "only global blocks", "window larger than the image"],
)
def test_embedding_equals_reference_for_windows(window_size, global_indexes):
    vit = ViTConfig(32, 2, 2, global_indexes, window_size=window_size)
    ours, original = pair(replace(SMALL, encoder=vit))
    x = images(2)
    assert relative_error(ours(x)[0], original(x)) < TOLERANCE


@pytest.mark.parametrize("cache", [1, 2_000, 20_000, 10**9], ids=["rows", "", "heads", "all"])
def test_attention_part_by_part_equals_the_fused_one(networks, monkeypatch, cache):
    x = images(2)
    with torch.enable_grad():
        (fused,) = networks.ours.image_encoder(x)
    monkeypatch.setattr(attention, "_CACHE_BYTES", cache)
    (in_parts,) = networks.ours.image_encoder(x)
    assert relative_error(in_parts, fused) < 1e-5


def test_fused_attention_head_by_head_equals_attention_at_once(networks, monkeypatch):
    x = images(2)
    with torch.enable_grad():
        (at_once,) = networks.ours.image_encoder(x)
        monkeypatch.setattr(attention, "_MAX_BIAS_ELEMENTS", 0)
        (by_head,) = networks.ours.image_encoder(x)
    assert relative_error(by_head, at_once) < 1e-5


def test_encoding_leaves_its_input_alone(networks):
    x = images(1)
    before = x.clone()
    networks.ours.image_encoder(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize(
    "name",
    [
        "pos_embed",
        "patch_embed.proj.bias",
        "blocks.0.attn.rel_pos_h",
        "blocks.1.attn.rel_pos_w",
        "blocks.2.attn.qkv.bias",
        "blocks.3.norm2.weight",
        "neck.1.bias",
    ],
)
def test_weights_that_start_at_zero_or_one_matter(networks, name):
    """Parity would prove little of a tensor that the random weights leave without effect."""
    x = images(1)
    (expected,) = networks.ours.image_encoder(x)
    value = networks.ours.image_encoder.get_parameter(name)
    kept = value.clone()
    value.fill_(0.0)
    (changed,) = networks.ours.image_encoder(x)
    value.copy_(kept)
    assert relative_error(changed, expected) > 100 * TOLERANCE


@pytest.mark.parametrize("size", [3, 5, 8, 9])
def test_windows_equal_reference_and_are_put_back(size):
    heads, dim = 3, 2
    qkv = torch.arange(2 * size * 7 * 3.0 * heads * dim).view(2, size, 7, -1)
    windows = cut_windows(qkv, None, 4, heads)
    expected, _ = reference_image_encoder.window_partition(qkv, 4)
    expected = expected.flatten(1, 2).unflatten(2, (3, heads, dim)).permute(2, 0, 3, 1, 4)
    assert torch.equal(windows, expected)
    _, _, values = qkv.unflatten(3, (3, heads, dim)).unbind(3)
    assert torch.equal(join_windows(windows[2], 4, (size, 7)), values.flatten(3))


def test_padding_of_windows_is_the_bias():
    qkv, bias = torch.zeros(1, 5, 4, 12), torch.arange(1.0, 13)
    windows = cut_windows(qkv, bias, 4, 2).unflatten(3, (4, 4))
    assert torch.equal(windows[:, 0], torch.zeros(3, 2, 4, 4, 2))
    assert torch.equal(windows[:, 1, :, 0], torch.zeros(3, 2, 4, 2))
    assert torch.equal(windows[:, 1, :, 1:], bias.view(3, 2, 1, 1, 2).expand(-1, -1, 3, 4, -1))


@pytest.mark.parametrize(
    ("q_size", "k_size", "length"),
    [(6, 6, 11), (6, 6, 7), (6, 6, 27), (4, 8, 15), (8, 4, 15), (3, 7, 9), (1, 1, 5)],
    ids=["same", "stretched", "shrunk", "q<k", "q>k", "q<k and stretched", "one position"],
)
def test_relative_positions_equal_reference(q_size, k_size, length):
    table = torch.randn(length, 8, generator=torch.Generator().manual_seed(1))
    expected = reference_image_encoder.get_rel_pos(q_size, k_size, table)
    value = attention.get_rel_pos(q_size, k_size, table)
    assert value.shape == (q_size, k_size, 8)
    assert torch.allclose(value, expected, atol=1e-6)


def test_bias_folded_into_longer_queries_and_keys_changes_nothing():
    generator = torch.Generator().manual_seed(3)
    size = (5, 7)
    q, k, v = torch.randn(3, 2, 3, 35, 8, generator=generator).unbind(0)
    rel_h, rel_w = (
        attention.get_rel_pos(n, n, torch.randn(2 * n - 1, 8, generator=generator)) for n in size
    )
    expected = attention._attend_fused(q, k, v, rel_h, rel_w, size)
    biases = attention._biases(q, rel_h, rel_w, size)
    value = attention._attend_extended(q, k, v, *biases, size)
    assert torch.allclose(value, expected, atol=1e-5)


@pytest.mark.parametrize(("q_size", "k_size"), [((3, 4), (3, 4)), ((2, 4), (4, 8))])
def test_decomposed_bias_equals_reference(q_size, k_size):
    generator = torch.Generator().manual_seed(2)
    tables = [
        torch.randn(2 * max(q, k) - 1, 8, generator=generator)
        for q, k in zip(q_size, k_size, strict=True)
    ]
    queries = torch.randn(5, q_size[0] * q_size[1], 8, generator=generator)
    scores = torch.randn(5, q_size[0] * q_size[1], k_size[0] * k_size[1], generator=generator)
    expected = reference_image_encoder.add_decomposed_rel_pos(
        scores, queries, *tables, q_size, k_size
    )
    rel_h, rel_w = (
        attention.get_rel_pos(q, k, table)
        for q, k, table in zip(q_size, k_size, tables, strict=True)
    )
    value = attention.add_decomposed_rel_pos(scores, queries, rel_h, rel_w, q_size, k_size)
    assert torch.allclose(value, expected, atol=1e-5)
    bias = attention.add_decomposed_rel_pos(None, queries, rel_h, rel_w, q_size, k_size)
    assert torch.allclose(scores + bias, expected, atol=1e-5)


def test_progress_is_reported_after_each_block_and_can_stop_the_encoder(networks):
    fractions: list[float] = []
    networks.ours.image_encoder(images(1), step=fractions.append)
    assert fractions == [0.25, 0.5, 0.75, 1.0]

    class Stopped(Exception):
        pass

    def stop(fraction: float) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        networks.ours.image_encoder(images(1), step=stop)
