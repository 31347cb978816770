"""The prompt encoder against the reference implementations."""

from __future__ import annotations

import pytest
import torch
from reference import SMALL, relative_error

TOLERANCE = 1e-4
GRID = (6, 6)

pytestmark = pytest.mark.usefixtures("no_gradients")


@pytest.fixture
def no_gradients():
    with torch.no_grad():
        yield


def prompts(kinds: set[str], batch: int, seed: int = 0):
    """Random prompts of `batch` objects: points with labels, boxes, masks, or None for each."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(batch, 5, 2, generator=generator) * SMALL.image_size
    labels = torch.tensor([1, 0, 1, -1, 0]).repeat(batch, 1)
    corners = torch.rand(batch, 4, generator=generator) * SMALL.image_size / 2
    boxes = corners + torch.tensor([0.0, 0.0, 40.0, 40.0])
    masks = 4 * torch.randn(batch, 1, 24, 24, generator=generator)
    return (
        (points, labels) if "points" in kinds else (None, None),
        boxes if "boxes" in kinds else None,
        masks if "masks" in kinds else None,
    )


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(
    "kinds",
    [
        {"points"},
        {"boxes"},
        {"points", "boxes"},
        {"masks"},
        {"points", "masks"},
        {"points", "boxes", "masks"},
    ],
    ids=lambda kinds: "+".join(sorted(kinds)),
)
def test_embeddings_equal_both_references(networks, kinds, batch):
    (points, labels), boxes, masks = prompts(kinds, batch)
    sparse, dense = networks.ours.prompt_encoder(points, labels, boxes, masks, GRID)

    expected_sparse, expected_dense = networks.original.prompt_encoder(
        None if points is None else (points, labels), boxes, masks
    )
    assert sparse.shape == expected_sparse.shape
    assert relative_error(dense, expected_dense) < TOLERANCE
    if kinds == {"masks"}:
        assert sparse.shape == (batch, 0, SMALL.embed_dim)
        return
    assert relative_error(sparse, expected_sparse) < TOLERANCE

    expected_sparse, expected_dense = networks.transformers.prompt_encoder(
        None if points is None else points[:, None],
        None if labels is None else labels[:, None],
        None if boxes is None else boxes[:, None],
        masks,
    )
    assert relative_error(sparse, expected_sparse[:, 0]) < TOLERANCE
    assert relative_error(dense, expected_dense) < TOLERANCE


def test_points_without_a_box_get_a_padding_token(networks):
    (points, labels), boxes, _ = prompts({"points", "boxes"}, batch=1)
    encoder = networks.ours.prompt_encoder
    alone, _ = encoder(points, labels, None, None, GRID)
    with_box, _ = encoder(points, labels, boxes, None, GRID)
    assert alone.shape == (1, 6, SMALL.embed_dim)
    assert with_box.shape == (1, 7, SMALL.embed_dim)
    assert torch.equal(alone[:, 5], encoder.not_a_point_embed.weight)
    assert torch.equal(alone[:, :5], with_box[:, :5])


def test_position_of_every_image_cell_equals_both_references(networks):
    value = networks.ours.prompt_encoder.get_dense_pe(GRID)
    assert value.shape == (1, SMALL.embed_dim, *GRID)
    assert relative_error(value, networks.original.prompt_encoder.get_dense_pe()) < TOLERANCE
    wide = networks.transformers.get_image_wide_positional_embeddings()
    assert relative_error(value, wide) < TOLERANCE
