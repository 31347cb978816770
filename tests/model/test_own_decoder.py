"""What our small models add to SAM's prompt encoder and mask decoder."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small_models import HYBRID, VIT, network

from napari_sam.model.mask_decoder import mask_statistics

GRID = (8, 4)
POINTS = torch.tensor([[[20.0, 40.0]], [[8.0, 12.0]]])
LABELS = torch.tensor([[1], [0]])


@pytest.fixture(scope="module")
def sam():
    return network(HYBRID).requires_grad_(False)


def embedding(sam, seed: int = 0):
    x = torch.randn(1, 3, 8 * GRID[0], 8 * GRID[1], generator=torch.Generator().manual_seed(seed))
    return sam.image_encoder(x)


def test_mask_has_the_resolution_of_sams_whatever_the_transformer_works_on(sam):
    logits, iou = sam.decode(embedding(sam), POINTS, LABELS, None, None, True)
    assert logits.shape == (2, 3, 4 * GRID[0], 4 * GRID[1])
    assert iou.shape == (2, 3)


def test_pooled_positions_are_those_of_the_pooled_cells(sam):
    encoder = sam.prompt_encoder
    pooled = encoder.get_dense_pe(GRID, pooling=2)
    assert pooled.shape == (1, HYBRID.embed_dim, 4, 2)
    # the centre of the cell (2, 1) of 16 pixels is the point (24, 40)
    at = encoder.pe_layer(torch.tensor([24.0, 40.0]) / HYBRID.image_size)
    assert torch.allclose(pooled[0, :, 2, 1], at, atol=1e-6)


def test_given_positions_change_nothing(sam):
    features = embedding(sam)
    fresh, _ = sam.decode(features, POINTS, LABELS, None, None, True)
    given, _ = sam.decode(
        features, POINTS, LABELS, None, None, True, positions=sam.positions(GRID)
    )  # fmt: skip
    assert torch.equal(fresh, given)


def test_click_is_drawn_where_it_is(sam):
    drawn = sam.prompt_encoder._draw(POINTS, LABELS, None, GRID, torch.zeros(2))
    assert drawn.shape == (2, 2 * len(HYBRID.raster_sigmas) + 1, 2 * GRID[0], 2 * GRID[1])
    # 4 pixels a cell: (20, 40) lies at the corner of the cells around row 10, column 5
    assert divmod(int(drawn[0, 0].argmax()), 2 * GRID[1]) in [(9, 4), (9, 5), (10, 4), (10, 5)]
    assert drawn[0, 2:4].amax() == 0  # it is positive
    assert drawn[1, :2].amax() == 0  # it is negative
    assert drawn[1, 2].amax() > 0.5


def test_box_is_filled(sam):
    box = torch.tensor([[8.0, 16.0, 15.0, 31.0]])
    drawn = sam.prompt_encoder._draw(None, None, box, GRID, torch.zeros(1))
    filled = torch.zeros(2 * GRID[0], 2 * GRID[1])
    filled[4:8, 2:4] = 1
    assert torch.equal(drawn[0, -1], filled)


def test_every_part_of_the_decoder_learns():
    sam = network(HYBRID)
    previous = torch.randn(2, 1, 4 * GRID[0], 4 * GRID[1])
    box = torch.tensor([[8.0, 16.0, 15.0, 31.0]]).repeat(2, 1)
    logits, iou = sam.decode(embedding(sam), POINTS, LABELS, box, previous, True)
    single, one = sam.decode(embedding(sam), POINTS, LABELS, None, None, False)
    (logits.square().mean() + single.square().mean() + iou.sum() + one.sum()).backward()
    untouched = [
        name
        for part in (sam.prompt_encoder, sam.mask_decoder)
        for name, value in part.named_parameters()
        if value.grad is None or not value.grad.any()
    ]
    assert untouched == []


def test_predicted_iou_does_not_pull_at_the_mask():
    sam = network(HYBRID)
    for name, value in sam.named_parameters():
        value.requires_grad_("iou_mask_head" in name)
    logits, iou = sam.decode(embedding(sam), POINTS, LABELS, None, None, True)
    assert iou.requires_grad
    assert not logits.requires_grad


def test_sure_masks_expect_a_perfect_iou_and_faint_ones_a_poor_one():
    disk = torch.zeros(1, 1, 16, 16)
    disk[..., 4:12, 4:12] = 1
    features = torch.stack([disk[0, 0], 1 - disk[0, 0]])[None] * 3
    sure, faint = (mask_statistics(s * disk - s / 2, features, 256)[0, 0] for s in (40, 0.2))
    assert sure.tolist() == pytest.approx([1, 1, 0.25**0.25, 3, 0], abs=1e-5)
    assert faint[0] < 0.3
    empty = mask_statistics(torch.full((1, 1, 16, 16), -30.0), features, 256)
    assert torch.isfinite(empty).all()
    assert empty[0, 0, 3:].tolist() == [0, 0]


def test_own_parts_are_absent_from_sam():
    names = set(network(VIT).state_dict())
    ours = set(network(replace(VIT, raster_sigmas=(3.0,), mask_aware_iou=True)).state_dict())
    assert names < ours
    assert {name.split(".")[1] for name in ours - names} == {"raster_downscaling", "iou_mask_head"}
