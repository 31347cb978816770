"""Masks: overlap, stability, encoding, and what a prediction changes in labels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_sam.masks import (
    Rle,
    box_groups,
    box_iou,
    box_nms,
    decode_rle,
    iou,
    merge_mask,
    stability_score,
)

masks = arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)))
SHAPE = (6, 7)
mask = arrays(bool, SHAPE)
labels = arrays(np.uint16, SHAPE, elements=st.integers(0, 3))


def apply(labels, merge, label_id):
    result = labels.copy()
    result[merge.erase] = 0
    result[merge.paint] = label_id
    return result


@given(masks)
def test_mask_returns_from_the_references_runs(mask):
    import torch
    from segment_anything.utils.amg import mask_to_rle_pytorch

    (runs,) = mask_to_rle_pytorch(torch.from_numpy(mask)[None])
    rle = Rle(tuple(runs["size"]), tuple(runs["counts"]))
    assert np.array_equal(decode_rle(rle), mask)
    assert rle.area == mask.sum()


def test_runs_that_do_not_fill_the_mask_are_refused():
    with pytest.raises(ValueError, match="runs of 6 pixels for a mask of 2 x 3, got 5"):
        decode_rle(Rle((2, 3), (2, 3)))


@given(mask, mask)
def test_iou_is_intersection_over_union(a, b):
    union = len(set(np.flatnonzero(a)) | set(np.flatnonzero(b)))
    both = len(set(np.flatnonzero(a)) & set(np.flatnonzero(b)))
    assert iou(a, b) == (both / union if union else 1.0)
    assert iou(a, b) == iou(b, a)


@given(arrays(np.float32, (3, 5, 6), elements=st.floats(-4, 4, width=32)), st.floats(0.1, 2))
def test_stability_is_the_iou_of_the_outer_and_inner_cut(logits, offset):
    scores = stability_score(logits, 0.5, offset)
    for one, score in zip(logits, scores, strict=True):
        inner, outer = one > 0.5 + offset, one > 0.5 - offset
        assert score == pytest.approx(iou(inner, outer) if outer.any() else 0)


boxes = arrays(np.float64, st.tuples(st.integers(0, 12), st.just(4)), elements=st.integers(0, 9))


@given(boxes, st.floats(0.05, 0.95), st.data())
def test_kept_boxes_are_the_greedy_choice(corners, threshold, data):
    import torch
    from reference import batched_nms

    ordered = np.concatenate(
        [
            np.minimum(corners[:, :2], corners[:, 2:]),
            np.maximum(corners[:, :2], corners[:, 2:]) + 1,
        ],
        axis=1,
    )
    scores = data.draw(arrays(np.float64, len(ordered), elements=st.floats(0, 1)))
    expected = batched_nms(
        torch.from_numpy(ordered[:, [1, 0, 3, 2]]),
        torch.from_numpy(scores),
        torch.zeros(len(ordered)),
        threshold,
    )
    assert box_nms(ordered, scores, threshold).tolist() == expected.tolist()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_boxes_without_area_overlap_nothing(dtype):
    boxes = np.array([[0, 0, 0, 9], [0, 0, 4, 8], [2, 2, 2, 2], [2, 0, 4, 8]], dtype)
    assert box_iou(boxes[0], boxes).tolist() == [0, 0, 0, 0]
    assert box_iou(boxes[1], boxes).tolist() == [0, 1, 0, 0.5]
    groups = box_groups(boxes, np.array([4, 3, 2, 1], np.float32), 0.4)
    assert [members.tolist() for members, _ in groups] == [[0], [1, 3], [2]]


@given(labels, mask, mask, st.booleans())
def test_other_labels_are_never_erased_and_taken_only_when_overwriting(
    labels, previous, new, overwrite
):
    merge = merge_mask(labels, previous, new, 2, overwrite)
    result = apply(labels, merge, 2)
    others = (labels > 0) & (labels != 2)
    assert (result[others] != 0).all()
    if overwrite:
        assert (result[new] == 2).all()
        assert np.array_equal(result[others & ~new], labels[others & ~new])
    else:
        assert np.array_equal(result[others], labels[others])


@given(labels, mask, mask)
def test_painted_pixels_of_the_same_label_stay(labels, previous, new):
    painted = (labels == 2) & ~previous
    result = apply(labels, merge_mask(labels, previous, new, 2), 2)
    assert (result[painted] == 2).all()


@given(labels, mask, mask)
def test_first_prediction_erases_nothing(labels, previous, new):
    assert not merge_mask(labels, None, new, 2).erase.any()


@given(labels, mask, mask)
def test_prediction_can_be_taken_back(labels, first, second):
    """What the last prediction wrote, and nothing else, disappears with an empty one."""
    merge = merge_mask(labels, None, first, 2)
    once = apply(labels, merge, 2)
    cleared = apply(once, merge_mask(once, merge.written, np.zeros(SHAPE, bool), 2), 2)
    assert np.array_equal(cleared, labels)


@given(labels, mask, mask)
def test_second_prediction_replaces_the_first(labels, first, second):
    merge = merge_mask(labels, None, first, 2)
    once = apply(labels, merge, 2)
    again = merge_mask(once, merge.written, second, 2)
    twice = apply(once, again, 2)
    direct = apply(labels, merge_mask(labels, None, second, 2), 2)
    assert np.array_equal(twice, direct)
    assert not (again.erase & again.paint).any()
    assert (twice[again.written] == 2).all()


@given(labels, mask)
def test_only_pixels_that_change_are_painted(labels, new):
    assert (labels[merge_mask(labels, None, new, 2, overwrite=True).paint] != 2).all()
