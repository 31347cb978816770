"""Prompts as values, and the clicks and boxes that describe a mask."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_sam.geometry import Frame
from napari_sam.prompts import Prompts, corrective_click, deepest_point, tight_box

masks = arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)))
filled = masks.filter(lambda m: m.any())
FRAME = Frame((8, 8), (0, 0), (8, 8), (8, 8), (32, 32), "own")


def depth(mask, r, c) -> float:
    """Distance of a pixel to the nearest pixel outside the mask, by trying them all."""
    rows, columns = np.nonzero(np.pad(~mask, 1, constant_values=True))
    return float(np.hypot(rows - 1 - r, columns - 1 - c).min())


@given(filled)
def test_deepest_point_is_the_first_of_the_farthest_from_the_outside(mask):
    depths = {(r, c): depth(mask, r, c) for r, c in zip(*np.nonzero(mask), strict=True)}
    deepest = max(depths.values())
    first = min(at for at, d in depths.items() if d > deepest - 1e-9)
    assert deepest_point(mask) == first


def test_border_of_the_image_counts_as_outside():
    assert deepest_point(np.ones((7, 9), bool)) == (3, 3)


@pytest.mark.parametrize("function", [deepest_point, tight_box])
def test_empty_mask_has_no_point_and_no_box(function):
    with pytest.raises(ValueError, match="at least one pixel"):
        function(np.zeros((4, 4), bool))


@given(filled)
def test_tight_box_touches_the_mask_on_every_side(mask):
    r0, c0, r1, c1 = (int(v) for v in tight_box(mask))
    inside = mask[r0 : r1 + 1, c0 : c1 + 1]
    assert inside.sum() == mask.sum()
    assert inside[0].any()
    assert inside[-1].any()
    assert inside[:, 0].any()
    assert inside[:, -1].any()


@given(filled, st.data())
def test_corrective_click_lies_in_the_larger_error(target, data):
    predicted = data.draw(arrays(bool, target.shape))
    missed, spilled = target & ~predicted, predicted & ~target
    click = corrective_click(target, predicted)
    if np.array_equal(target, predicted):
        assert click is None
        return
    (r, c), label = click
    error, other = (missed, spilled) if label else (spilled, missed)
    assert error[r, c]
    assert error.sum() >= other.sum()


def test_prompts_are_values_that_never_change():
    points = np.array([[1.0, 2.0]])
    prompts = Prompts(points, [1])
    points[:] = 9
    assert prompts.points.tolist() == [[1, 2]]
    with pytest.raises(ValueError, match="read-only"):
        prompts.points[0, 0] = 3
    with pytest.raises(AttributeError):
        prompts.box = (0, 0, 1, 1)


def test_additions_return_new_prompts_and_keep_the_rest():
    first = Prompts(box=(1, 2, 3, 4))
    second = first.with_point((5, 6), 0).with_point((7, 8))
    assert len(first.points) == 0
    assert second.points.tolist() == [[5, 6], [7, 8]]
    assert second.point_labels.tolist() == [0, 1]
    assert second.box == (1, 2, 3, 4)
    logits = np.zeros((4, 4), np.float32)
    third = second.with_logits(logits, FRAME)
    assert third.mask is logits
    assert third.mask_frame == FRAME
    assert third.first(1).points.tolist() == [[5, 6]]
    assert third.first(1).mask is None
    assert third.with_box(None).box is None


def test_box_corners_may_come_in_any_order():
    assert Prompts(box=(9, 2, 1, 8)).box == (1, 2, 9, 8)
    assert Prompts().with_box((9, 2, 1, 8)).box == (1, 2, 9, 8)


def test_nothing_given_is_empty():
    assert Prompts().is_empty
    assert Prompts(points=np.empty((0, 2))).is_empty
    assert not Prompts([(0, 0)], [1]).is_empty
    assert not Prompts(box=(0, 0, 1, 1)).is_empty
    assert not Prompts(mask=np.zeros((2, 2), bool)).is_empty


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"points": [(1, 2, 3)], "point_labels": [1]}, r"shape \(N, 2\)"),
        ({"points": [(1, np.nan)], "point_labels": [1]}, "finite point"),
        ({"points": [(np.inf, 1)], "point_labels": [1]}, "finite point"),
        ({"points": [(1, 2)]}, "one label for each of 1 points"),
        ({"points": [(1, 2)], "point_labels": [2]}, "labels 1"),
        ({"points": [(1, 2)], "point_labels": [0.5]}, "labels 1"),
        ({"box": (1, 2, 3)}, "expected a box"),
        ({"box": (1, 2, 3, np.nan)}, "expected a box"),
        ({"mask": np.zeros(4, bool)}, "two dimensions"),
        ({"mask": np.zeros((4, 4), int)}, "labels == label_id"),
        ({"mask": np.full((4, 4), np.nan)}, "finite mask"),
    ],
)
def test_prompts_without_sense_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Prompts(**arguments)


@pytest.mark.parametrize("point", [(-0.5, 0), (7.5, 9.5), (3, 4)])
def test_clicks_up_to_the_pixels_outer_edges_are_inside(point):
    Prompts([point], [1]).check((8, 10))


@pytest.mark.parametrize("point", [(-0.6, 0), (7.6, 0), (0, 9.6), (0, -1)])
def test_click_outside_is_named(point):
    with pytest.raises(ValueError, match="inside the plane of 8 x 10") as caught:
        Prompts([(1, 1), point], [1, 1]).check((8, 10))
    assert f"({point[0]:g}, {point[1]:g})" in str(caught.value)


def test_box_must_overlap_the_plane():
    Prompts(box=(-5, -5, 0, 0)).check((8, 10))
    with pytest.raises(ValueError, match="overlaps the plane"):
        Prompts(box=(8, 0, 9, 5)).check((8, 10))


def test_mask_must_have_the_planes_shape():
    with pytest.raises(ValueError, match="mask of the plane's shape"):
        Prompts(mask=np.zeros((8, 9), bool)).check((8, 10))
