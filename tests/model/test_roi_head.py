"""A second look at proposed boxes."""

from __future__ import annotations

import pytest
import torch

from napari_sam.model.roi_head import RoiHead

CELL = 4


@pytest.fixture
def head() -> RoiHead:
    torch.manual_seed(0)
    return RoiHead(8, (6, 4), 8, CELL).eval()


@pytest.fixture
def trained(head: RoiHead) -> RoiHead:
    torch.nn.init.normal_(head.out.weight, std=0.05)
    return head


def planes(
    count: int, side: int = 128, seed: int = 1
) -> tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, torch.Tensor]]:
    """Features and cells of planes of noise."""
    made = torch.Generator().manual_seed(seed)
    shapes = [(8, side // 8), (6, side // 4), (4, side // 2)]
    features = tuple(torch.randn(count, c, n, n, generator=made) for c, n in shapes)
    n = side // CELL
    sides = 20 * torch.rand(count, 4, n, n, generator=made)
    return features, (sides, torch.randn(count, n, n, generator=made))


BOXES = torch.tensor([[10.0, 20.0, 34.0, 60.0], [64.0, 40.0, 96.0, 56.0], [0.0, 0.0, 12.0, 9.0]])
SCORES = torch.tensor([1.0, 0.0, -1.0])
FIRST = torch.zeros(3, dtype=torch.long)


def test_untrained_head_changes_nothing(head: RoiHead) -> None:
    boxes, scores = head(*planes(1), BOXES, SCORES, FIRST)
    assert boxes.equal(BOXES)
    assert scores.equal(SCORES)


def test_boxes_are_judged_each_on_its_own_plane(trained: RoiHead) -> None:
    features, cells = planes(2)
    together = trained(features, cells, BOXES, SCORES, torch.tensor([0, 0, 1]))
    second = tuple(f[1:] for f in features), tuple(c[1:] for c in cells)
    alone = trained(*second, BOXES[2:], SCORES[2:], FIRST[:1])
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one[2:], other)
    elsewhere = trained(features, cells, BOXES, SCORES, FIRST)
    assert not torch.allclose(together[1][2], elsewhere[1][2])


def test_a_region_is_seen_the_same_wherever_it_lies(trained: RoiHead) -> None:
    features, (sides, scores) = planes(1)
    by = 16  # a multiple of the strides of all maps
    moved = tuple(
        f.roll((by // s, by // s), (2, 3)) for f, s in zip(features, (8, 4, 2), strict=True)
    )
    shift = (by // CELL, by // CELL)
    cells = sides.roll(shift, (2, 3)), scores.roll(shift, (1, 2))
    box, far = BOXES[:1] + 20, BOXES[:1] + 20 + by
    before, judged = trained(features, (sides, scores), box, SCORES[:1], FIRST[:1])
    after, again = trained(moved, cells, far, SCORES[:1], FIRST[:1])
    torch.testing.assert_close(judged, again, atol=1e-4, rtol=0)
    torch.testing.assert_close(before + by, after, atol=1e-3, rtol=0)


def test_what_is_far_from_a_region_does_not_matter(trained: RoiHead) -> None:
    features, cells = planes(1)
    expected = trained(features, cells, BOXES[2:], SCORES[2:], FIRST[:1])
    for one in (*features, *cells):
        n = one.shape[-1]
        one[..., n // 2 :, n // 2 :] = 99
    for one, other in zip(
        trained(features, cells, BOXES[2:], SCORES[2:], FIRST[:1]), expected, strict=True
    ):
        assert one.equal(other)


def test_many_boxes_are_judged_as_few(trained: RoiHead) -> None:
    given = planes(1)
    many = trained(*given, BOXES.repeat(100, 1), SCORES.repeat(100), FIRST.repeat(100))
    few = trained(*given, BOXES, SCORES, FIRST)
    torch.testing.assert_close(many[0], few[0].repeat(100, 1))
    torch.testing.assert_close(many[1], few[1].repeat(100))


def test_without_boxes_there_is_nothing_to_judge_and_still_a_gradient(head: RoiHead) -> None:
    boxes, scores = head(*planes(2), BOXES[:0], SCORES[:0], FIRST[:0])
    assert boxes.shape == (0, 4)
    assert scores.shape == (0,)
    (boxes.sum() + scores.sum()).backward()


def test_predictions_of_cells_are_seen_as_distances_from_the_box(trained: RoiHead) -> None:
    _, (sides, scores) = planes(1)
    n = sides.shape[-1]
    y = (torch.arange(n) + 0.5) * CELL
    top, left, bottom, right = BOXES[0]
    agreeing = torch.stack([
        (y - top)[:, None].expand(n, n), (y - left)[None].expand(n, n),
        (bottom - y)[:, None].expand(n, n), (right - y)[None].expand(n, n),
    ])[None]  # fmt: skip
    edges = trained._edges(agreeing, scores)
    for edge, expected in zip(edges[0, :4], BOXES[0], strict=True):
        assert edge.allclose(expected)
