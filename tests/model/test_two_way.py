"""The two-way transformer: its folded form equals the plain one."""

from __future__ import annotations

import pytest
import torch
from reference import randomise
from small_models import HYBRID, VIT, network

from napari_sam.model import two_way
from napari_sam.model.two_way import TwoWayTransformer

READ = [0, 2, 3]


@pytest.fixture
def transformer():
    made = TwoWayTransformer(2, 64, 4, 96)
    randomise(made, 5)
    return made.requires_grad_(False)


@pytest.mark.parametrize("part", [7, 1024])  # with a last part that is smaller, and in one
@pytest.mark.parametrize(
    ("planes", "objects", "prepared"),
    [(1, 1, False), (1, 1, True), (1, 3, False), (1, 3, True), (3, 3, False)],
)
def test_folded_equals_plain(monkeypatch, transformer, part, planes, objects, prepared):
    monkeypatch.setattr(two_way, "_PART", part)
    torch.manual_seed(0)
    cells, pe = torch.randn(planes, 30, 64), torch.randn(1, 64, 5, 6)
    tokens = torch.randn(objects, 6, 64)
    positions = transformer.positions(pe)
    untouched = cells.clone()
    with torch.no_grad():
        first = transformer.first_layer(cells, positions) if prepared else None
        assert transformer.final_attn_token_to_image.folds(tokens)
        folded = transformer(cells, positions, tokens, READ, first)
        assert torch.equal(cells, untouched)
    with torch.enable_grad():
        plain = transformer(cells, positions, tokens, READ)
    for ours, expected in zip(
        (folded[0], torch.cat(folded[1], 1)), (plain[0], torch.cat(plain[1], 1)), strict=True
    ):
        assert ours.shape == expected.shape
        assert (ours - expected).abs().max() < 1e-5 * expected.abs().max()


def test_many_tokens_are_not_folded(transformer):
    with torch.no_grad():
        assert not transformer.final_attn_token_to_image.folds(torch.randn(1, 8, 64))


@pytest.mark.parametrize("given", ["points", "masks"])
def test_prepared_plane_gives_the_same_masks(given):
    sam = network(VIT).requires_grad_(False)
    features = (torch.randn(1, VIT.embed_dim, 4, 4),)
    points, labels = torch.tensor([[[20.0, 40.0]], [[50.0, 9.0]]]), torch.ones(2, 1)
    masks = torch.randn(2, 1, 16, 16) if given == "masks" else None
    positions = sam.positions((4, 4))
    with torch.no_grad():
        first = sam.first_layer(features, positions)
        plain = sam.decode(features, points, labels, None, masks, True)
        prepared = sam.decode(
            features, points, labels, None, masks, True, positions=positions, first=first
        )
    for ours, expected in zip(prepared, plain, strict=True):
        assert torch.allclose(ours, expected, rtol=1e-4, atol=1e-5)


def test_nothing_is_prepared_where_clicks_are_drawn():
    sam = network(HYBRID)
    features = tuple(torch.randn(1, c, n, n) for c, n in ((HYBRID.embed_dim, 8), (8, 16), (4, 32)))
    assert sam.first_layer(features, sam.positions((8, 8))) is None
