"""What the head that judges regions learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from labelled import block

from napari_sam.model.roi_head import RoiHead
from napari_sam.training import roi_loss
from napari_sam.training.dense_loss import DenseTargets
from napari_sam.training.roi_loss import _halves, region_loss


@pytest.fixture
def labels() -> torch.Tensor:
    first = block((64, 64), (1, np.s_[8:40, 4:24]), (2, np.s_[8:40, 32:52]))
    return torch.from_numpy(np.stack([first, np.zeros_like(first)]))


@pytest.fixture
def features() -> tuple[torch.Tensor, ...]:
    made = torch.Generator().manual_seed(0)
    shapes = [(8, 8), (6, 16), (4, 32)]
    return tuple(torch.randn(2, c, n, n, generator=made) for c, n in shapes)


@pytest.fixture
def head() -> RoiHead:
    torch.manual_seed(0)
    return RoiHead(8, (6, 4), 8, 4)


@pytest.fixture
def no_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the cells propose alone; halves need a head that has learned something."""
    monkeypatch.setattr(roi_loss, "_MOST_HALVED", 0)


def cells(labels: torch.Tensor, stretch: float, sure: float) -> tuple[torch.Tensor, torch.Tensor]:
    """What a dense head says that is wrong by a factor about every side."""
    target = DenseTargets.of(labels.numpy())
    scores = torch.where(target.depths > 0, sure + target.depths, -9.0)
    return stretch * target.sides.clamp_min(0.5), scores


def loss(
    head: RoiHead, features: tuple[torch.Tensor, ...], said: tuple, labels: torch.Tensor
) -> float:
    return float(region_loss(head, features, said, labels, np.random.default_rng(0)).detach())


@pytest.mark.usefixtures("no_halves")
def test_good_boxes_that_are_believed_cost_little(head, features, labels) -> None:
    good, bad = cells(labels, 1.0, 3.0), cells(labels, 1.35, 3.0)
    assert loss(head, features, good, labels) < 0.1
    assert loss(head, features, bad, labels) > loss(head, features, good, labels) + 0.3


@pytest.mark.usefixtures("no_halves")
def test_doubt_about_good_boxes_costs(head, features, labels) -> None:
    doubted = cells(labels, 1.0, -0.3)
    assert loss(head, features, doubted, labels) > 0.2


@pytest.mark.usefixtures("no_halves")
def test_boxes_on_nothing_should_be_scored_low(head, features, labels) -> None:
    said = cells(labels, 1.0, 3.0)
    nothing = torch.zeros_like(labels)
    assert loss(head, features, said, nothing) > 2
    with torch.no_grad():
        head.out.bias[0] = -9  # believes no box
    assert loss(head, features, said, nothing) < 0.1


@pytest.mark.usefixtures("no_halves")
def test_head_learns_to_mend_boxes_and_the_rest_gets_no_gradient(head, features, labels) -> None:
    said = tuple(x.requires_grad_() for x in cells(labels, 1.3, 1.0))
    optimizer = torch.optim.Adam(head.parameters(), 1e-2)
    first = None
    for _ in range(30):
        optimizer.zero_grad()
        now = region_loss(head, features, said, labels, np.random.default_rng(0))
        now.backward()
        optimizer.step()
        first = float(now.detach()) if first is None else first
    assert float(now.detach()) < 0.3 * first
    assert all(x.grad is None for x in said)


def test_the_likeliest_box_of_each_object_is_halved_once_across_and_once_along() -> None:
    boxes = np.array([(0, 0, 40, 60), (0, 0, 40, 28), (2, 31, 40, 60), (80, 80, 90, 90)], float)
    halves, scores = _halves(boxes, np.array([0.9, 0.8, 0.7, 0.5], np.float32))
    wanted = [(0, 0, 20, 60), (20, 0, 40, 60), (0, 0, 40, 30), (0, 30, 40, 60)]
    assert halves.reshape(-1, 4).tolist() == [list(half) for half in wanted]
    assert ((scores > 0.45) & (scores < 0.9)).all()


def test_halves_of_a_clump_learn_to_be_objects(head, features) -> None:
    two = block((64, 64), (1, np.s_[8:40, 4:24]), (2, np.s_[8:40, 24:44]))
    labels = torch.from_numpy(two[None])
    seen = tuple(x[:1] for x in features)
    said = cells(labels.clamp_max(1), 1.0, 1.0)  # the cells say one box for both
    optimizer = torch.optim.Adam(head.parameters(), 1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        region_loss(head, seen, said, labels, np.random.default_rng(0)).backward()
        optimizer.step()
    boxes = torch.tensor([[8.0, 4, 40, 24], [8.0, 24, 40, 44], [8.0, 4, 40, 44]])
    with torch.no_grad():
        mended, scores = head(seen, said, boxes, torch.zeros(3), torch.zeros(3).long())
    assert (scores[:2].sigmoid() > 0.75).all()
    assert scores[2].sigmoid() < 0.7
    torch.testing.assert_close(mended[:2], boxes[:2], atol=3.0, rtol=0.0)


def test_crops_without_any_candidate_have_a_loss_of_nothing(head, features, labels) -> None:
    said = cells(labels, 1.0, -20.0)
    now = region_loss(head, features, said, labels, np.random.default_rng(0))
    now.backward()
    assert float(now.detach()) == 0
