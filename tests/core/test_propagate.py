"""An object carried through a stack: found where it is, left where it ends."""

from __future__ import annotations

import numpy as np
import pytest
from component_segmenter import ComponentSegmenter, disks

from napari_sam import Prompts, propagate
from napari_sam.propagate import Judge, NotHere
from napari_sam.segmentation.protocol import Cancelled

SHAPE = (40, 50)


@pytest.fixture
def segmenter():
    return ComponentSegmenter()


def drifting(count=9, first=2, last=6, radii=None) -> np.ndarray:
    """A disk that drifts through planes `first` to `last`, beside one that is always there."""
    planes = []
    for z in range(count):
        circles = [(8, 40, 5)]
        if first <= z <= last:
            circles.append((20 + z, 15 + z, 6 if radii is None else radii[z]))
        planes.append(disks(SHAPE, *circles))
    return np.stack(planes)


def truth(stack, z) -> np.ndarray:
    mask = stack[z] > 0
    mask[:, 34:] = False
    return mask


CLICK = Prompts([(24, 19)], [1])


def test_object_is_followed_to_both_ends_and_no_farther(segmenter):
    stack = drifting()
    steps = list(propagate(segmenter, stack, {4: CLICK}))
    assert steps[0].index == 4
    assert sorted(s.index for s in steps) == [2, 3, 4, 5, 6]
    for step in steps:
        assert np.array_equal(step.mask, truth(stack, step.index))
        assert 0 < step.score <= 1
        assert 0 < step.quality <= 1


def test_each_plane_is_given_once_prompted_planes_first(segmenter):
    stack = drifting()
    prompts = {6: Prompts([(26, 21)], [1]), 2: Prompts([(22, 17)], [1])}
    steps = list(propagate(segmenter, stack, prompts))
    indexes = [s.index for s in steps]
    assert indexes[:2] == [2, 6]
    assert sorted(indexes) == [2, 3, 4, 5, 6]


def test_given_mask_is_kept_as_it_is(segmenter):
    stack = drifting()
    mask = truth(stack, 4)
    mask[24, 19] = False  # a hole that the model would fill
    steps = {s.index: s for s in propagate(segmenter, stack, {4: mask})}
    assert np.array_equal(steps[4].mask, mask)
    assert steps[4].score == 1
    assert np.array_equal(steps[5].mask, truth(stack, 5))


def test_both_directions_meet_between_prompted_planes(segmenter):
    stack = drifting(first=0, last=8)
    prompts = {0: truth(stack, 0), 8: truth(stack, 8)}
    steps = {s.index: s for s in propagate(segmenter, stack, prompts)}
    assert sorted(steps) == list(range(9))
    for z in range(9):
        assert np.array_equal(steps[z].mask, truth(stack, z))


def test_gap_between_prompted_planes_is_filled_from_where_the_object_is_found(segmenter):
    stack = drifting(first=0, last=8)
    stack[4, :, :34] = 0
    prompts = {0: truth(stack, 0), 8: truth(stack, 8)}
    indexes = sorted(s.index for s in propagate(segmenter, stack, prompts))
    assert indexes == [0, 1, 2, 3, 5, 6, 7, 8]


def test_judge_decides_where_the_object_ends(segmenter):
    stack = drifting()
    strict = Judge(end_bias=60)
    steps = list(propagate(segmenter, stack, {4: CLICK}, judge=strict))
    assert [s.index for s in steps] == [4]


@pytest.mark.parametrize("no", [NotHere(), Prompts([(25, 20)], [0])])
def test_object_ends_before_a_plane_where_it_is_given_as_absent(segmenter, no):
    steps = propagate(segmenter, drifting(), {4: CLICK, 6: no})
    assert sorted(s.index for s in steps) == [2, 3, 4, 5]


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_any_axis_of_the_stack_can_be_followed(segmenter, axis):
    stack = drifting()
    turned = np.moveaxis(stack, 0, axis)
    steps = list(propagate(segmenter, turned, {4: CLICK}, axis=axis))
    assert sorted(s.index for s in steps) == [2, 3, 4, 5, 6]
    assert steps[0].mask.shape == SHAPE


def test_colour_stack_is_followed(segmenter):
    stack = np.repeat(drifting()[..., None], 3, axis=3)
    assert len(list(propagate(segmenter, stack, {4: CLICK}))) == 5
    assert set(segmenter.limits) == {None}


def test_planes_share_one_pair_of_contrast_limits(segmenter):
    stack = drifting().astype(np.uint16) * 10
    list(propagate(segmenter, stack, {4: CLICK}))
    assert len(set(segmenter.limits)) == 1
    assert segmenter.limits[0] is not None
    segmenter.limits.clear()
    list(propagate(segmenter, stack, {4: CLICK}, contrast_limits=(0, 2000)))
    assert set(segmenter.limits) == {(0, 2000)}


def test_lazy_stack_is_read_one_plane_at_a_time(segmenter):
    import dask.array

    stack = drifting()
    reads = []

    def load(block, block_info=None):
        reads.append(block_info[0]["array-location"][0])
        return block

    lazy = dask.array.from_array(stack, chunks=(1, *SHAPE)).map_blocks(load, dtype=stack.dtype)
    reads.clear()
    steps = propagate(segmenter, lazy, {4: CLICK}, contrast_limits=(0, 255))
    assert reads == []
    next(steps)
    assert [location[0] for location in reads] == [4]
    assert all(high - low == 1 for low, high in reads)
    assert len(list(steps)) == 4


def test_planes_are_encoded_once_although_both_directions_pass(segmenter):
    stack = drifting(first=0, last=8)
    list(propagate(segmenter, stack, {0: truth(stack, 0), 8: truth(stack, 8)}))
    assert len(segmenter.embedded) == 9


def test_generator_can_be_cancelled_between_blocks(segmenter):
    def stop(fraction):
        if len(segmenter.embedded) == 3:
            raise Cancelled

    steps = []
    with pytest.raises(Cancelled):
        steps.extend(propagate(segmenter, drifting(), {4: CLICK}, progress=stop))
    assert len(segmenter.embedded) == 3


def test_click_on_nothing_goes_nowhere(segmenter):
    steps = list(propagate(segmenter, np.zeros((5, *SHAPE), np.uint8), {2: CLICK}))
    assert steps[0].index == 2


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ({}, "at least one plane"),
        ({9: CLICK}, "planes 0 to 8"),
        ({-1: CLICK}, "planes 0 to 8"),
        ({4: np.zeros(SHAPE, bool)}, "at least one pixel"),
        ({4: np.zeros((3, 3), bool)}, "bool mask of shape"),
        ({4: np.ones(SHAPE, int)}, "labels == label_id"),
    ],
)
def test_impossible_prompts_are_refused(segmenter, prompts, message):
    with pytest.raises(ValueError, match=message):
        list(propagate(segmenter, drifting(), prompts))


def test_single_plane_is_no_stack(segmenter):
    with pytest.raises(ValueError, match="expected a stack"):
        list(propagate(segmenter, np.zeros(SHAPE), {0: CLICK}))


def test_axis_outside_the_stack_is_refused(segmenter):
    with pytest.raises(ValueError, match="axis from 0 to 2"):
        list(propagate(segmenter, drifting(), {0: CLICK}, axis=3))
