"""Simulated clicks and boxes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from torch import Tensor

from napari_sam.prompts import deepest_point, tight_box
from napari_sam.training.clicks import (
    corrections,
    deepest_cells,
    first_clicks,
    jittered_boxes,
    misses,
    squared_depth,
)


@pytest.fixture
def targets() -> Tensor:
    masks = torch.zeros(20, 32, 40, dtype=torch.bool)
    for i, mask in enumerate(masks):
        mask[5 : 9 + i // 2, 8:30] = True
    return masks


@given(arrays(bool, st.tuples(st.just(2), st.integers(1, 14), st.integers(1, 14))))
@settings(max_examples=60, deadline=None)
def test_depth_is_the_exact_distance_transform(masks: np.ndarray) -> None:
    depth = squared_depth(torch.from_numpy(masks)).numpy()
    for own, mask in zip(depth, masks, strict=True):
        expected = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
        assert np.abs(own - expected**2).max() < 1e-4


def test_the_deepest_cells_are_the_protocols(targets: Tensor) -> None:
    expected = [deepest_point(mask) for mask in targets.numpy()]
    assert [tuple(cell) for cell in deepest_cells(targets).tolist()] == expected


def test_first_clicks_lie_in_their_objects(targets: Tensor) -> None:
    points = first_clicks(targets, 2, np.random.default_rng(0))[:, 0]
    for (x, y), target in zip(points.tolist(), targets, strict=True):
        assert target[int(y) // 2, int(x) // 2]


def test_first_clicks_reach_every_part_of_an_object(targets: Tensor) -> None:
    many = targets[-1:].expand(4000, -1, -1)
    points = first_clicks(many, 2, np.random.default_rng(0))[:, 0].long()
    assert len(torch.unique(points // 2, dim=0)) == int(targets[-1].sum())
    assert len(torch.unique(points, dim=0)) > 3 * int(targets[-1].sum())  # four pixels to a cell


def test_corrections_lie_in_the_larger_error(targets: Tensor) -> None:
    rng = np.random.default_rng(0)
    for predicted in (torch.zeros_like(targets), torch.ones_like(targets)):
        points, labels = corrections(targets, predicted, 2, rng)
        for (x, y), label, target in zip(points[:, 0].tolist(), labels[:, 0], targets, strict=True):
            assert target[int(y) // 2, int(x) // 2] == bool(label)


def test_a_perfect_prediction_is_confirmed_inside(targets: Tensor) -> None:
    points, labels = corrections(targets, targets, 2, np.random.default_rng(0))
    assert (labels == 1).all()
    for (x, y), target in zip(points[:, 0].tolist(), targets, strict=True):
        assert target[int(y) // 2, int(x) // 2]


def test_boxes_surround_their_objects_closely(targets: Tensor) -> None:
    boxes = jittered_boxes(targets, 2, np.random.default_rng(0), jitter=0.0)
    for (x0, y0, x1, y1), target in zip(boxes.tolist(), targets.numpy(), strict=True):
        top, left, bottom, right = tight_box(target)
        expected = (2 * left, 2 * top, 2 * right + 1, 2 * bottom + 1)
        assert np.abs(np.subtract((x0, y0, x1, y1), expected)).max() <= 1


def test_boxes_jitter_with_the_size_of_their_object(targets: Tensor) -> None:
    many = targets[-1:].expand(500, -1, -1)
    boxes = jittered_boxes(many, 2, np.random.default_rng(0), jitter=0.1)
    spread = boxes.std(0)
    assert (spread > 0.5).all()
    assert spread[0] > spread[1]  # 44 model pixels wide, 26 high
    assert (boxes[:, :2] <= boxes[:, 2:]).all()


def test_loose_boxes_are_as_far_off_as_proposals(targets: Tensor) -> None:
    many = targets[-1:].expand(500, -1, -1)
    close, loose = (
        jittered_boxes(many, 2, np.random.default_rng(0), loose_share=share) for share in (0.0, 1.0)
    )
    assert (loose.std(0) > 2 * close.std(0)).all()
    assert (loose[:, :2] <= loose[:, 2:]).all()


def test_misses_lie_beside_the_objects_of_their_crop(targets: Tensor) -> None:
    labels = targets.int()
    crops, points = misses(labels, 40, np.random.default_rng(0))
    assert len(crops) == len(points) == 40
    for crop, (x, y) in zip(crops.tolist(), points[:, 0].tolist(), strict=True):
        assert labels[crop, int(y), int(x)] == 0


def test_nothing_is_missed_where_objects_are_everywhere() -> None:
    labels = torch.ones(2, 16, 16, dtype=torch.int32)
    crops, points = misses(labels, 8, np.random.default_rng(0))
    assert not len(crops)
    assert points.shape == (0, 1, 2)
