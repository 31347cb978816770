"""Many objects followed together, through planes that show nothing or can't be read."""

from __future__ import annotations

import numpy as np
import pytest
from component_segmenter import ComponentSegmenter, disks

from napari_sam import Cancelled, Prompts, propagate
from napari_sam.propagate import (
    Ends,
    Judge,
    NotHere,
    StackPlanes,
    Upcoming,
    follow,
    follow_steps,
)

SHAPE = (40, 50)
A, B = (12, 12, 6), (26, 36, 7)


def two_disks(count=7) -> np.ndarray:
    return np.stack([disks(SHAPE, A, B)] * count)


def mask_of(circle) -> np.ndarray:
    return disks(SHAPE, circle) > 0


class Unreadable:
    """A stack of which one plane can't be read."""

    def __init__(self, stack, broken) -> None:
        self._stack, self._broken, self.shape = stack, broken, stack.shape

    def __getitem__(self, at):
        if at[0] == self._broken:
            raise OSError("the disk is gone")
        return self._stack[at]


def run(stack, anchors, **options):
    limits = (0, 255)
    planes = StackPlanes(ComponentSegmenter(), stack, contrast_limits=limits)
    return list(follow(planes, anchors, **options))


def planes_of(done, object_id) -> list[int]:
    return sorted(p.index for p in done if object_id in p.objects)


def test_objects_of_different_anchors_are_followed_in_one_pass():
    done = run(two_disks(), {1: {1: mask_of(A)}, 2: {5: Prompts([B[:2]], [1])}})
    assert sorted(p.index for p in done) == list(range(7))
    for plane in done:
        whole = tuple(slice(0, n) for n in SHAPE)
        assert np.array_equal(plane.objects[1].patch.within(whole), mask_of(A))
        assert np.array_equal(plane.objects[2].patch.within(whole), mask_of(B))


def test_two_objects_cannot_both_have_the_same_place():
    done = run(two_disks(), {1: {3: Prompts([A[:2]], [1])}, 2: {3: Prompts([A[:2]], [1])}})
    assert planes_of(done, 1) == list(range(7))
    assert all(p.objects[2].patch.is_empty for p in done if 2 in p.objects)


def test_masks_given_on_the_same_pixels_stay_on_their_plane_only():
    done = run(two_disks(), {1: {3: mask_of(A)}, 2: {3: mask_of(A)}})
    (at,) = (p for p in done if p.index == 3)
    assert at.objects[1].patch.equals(at.objects[2].patch)
    assert planes_of(done, 1) == list(range(7))
    assert planes_of(done, 2) == [3]


def test_pixels_of_other_objects_are_not_taken():
    labels = mask_of(A).astype(int) * 9
    taken = [None, None, None, None, labels, None, None]
    done = run(two_disks(), {1: {2: mask_of(A)}}, taken=taken.__getitem__)
    assert planes_of(done, 1) == [0, 1, 2, 3]
    done = run(two_disks(), {9: {2: mask_of(A)}}, taken=taken.__getitem__)
    assert planes_of(done, 9) == list(range(7))


def test_object_stays_within_bounds_and_off_planes_where_it_is_not():
    anchors = {1: {3: mask_of(A), 1: NotHere()}}
    assert planes_of(run(two_disks(), anchors, ends=Ends(last=4)), 1) == [2, 3, 4]


def test_object_continues_where_a_user_gave_it():
    anchors, strict = {1: {3: mask_of(A)}}, Judge(end_bias=60)
    assert planes_of(run(two_disks(), anchors, judge=strict), 1) == [3]
    go_on = Ends(open=frozenset({(1, 4), (1, 5)}))
    assert planes_of(run(two_disks(), anchors, judge=strict, ends=go_on), 1) == [3, 4, 5]


@pytest.mark.parametrize("value", [0, np.nan])
def test_blank_plane_is_passed(value):
    stack = two_disks().astype(np.float32)
    stack[4] = value
    assert planes_of(run(stack, {1: {2: mask_of(A)}}), 1) == [0, 1, 2, 3, 5, 6]


def test_plane_that_cannot_be_read_is_marked_and_the_rest_goes_on():
    done = run(Unreadable(two_disks(), 4), {1: {2: mask_of(A)}})
    assert {p.index: p.failed for p in done if p.failed} == {4: "the disk is gone"}
    assert planes_of(done, 1) == [0, 1, 2, 3, 5, 6]


def test_one_object_passes_a_plane_that_cannot_be_read():
    stack = Unreadable(two_disks(), 4)
    steps = {
        s.index: s
        for s in propagate(ComponentSegmenter(), stack, {2: mask_of(A)}, contrast_limits=(0, 255))
    }
    assert sorted(steps) == list(range(7))
    assert [z for z, s in steps.items() if s.failed] == [4]
    assert not steps[4].mask.any()


def test_nothing_to_read_at_the_only_anchor_is_an_error():
    with pytest.raises(OSError, match="the disk is gone"):
        run(Unreadable(two_disks(), 4), {1: {4: mask_of(A)}})


def test_stack_of_one_plane_has_its_anchors():
    assert planes_of(run(two_disks(1), {1: {0: mask_of(A)}}), 1) == [0]


def test_following_is_cancelled_between_planes():
    segmenter = ComponentSegmenter()

    def stop(fraction):
        if len(segmenter.embedded) == 3:
            raise Cancelled

    planes = StackPlanes(segmenter, two_disks())
    with pytest.raises(Cancelled):
        list(follow(planes, {1: {0: mask_of(A)}}, progress=stop))
    assert len(segmenter.embedded) == 3


def test_object_without_anchors_is_refused():
    with pytest.raises(ValueError, match="at least one plane"):
        run(two_disks(), {1: {}})


def test_every_plane_is_yielded_before_its_embedding_is_needed():
    planes, reported = StackPlanes(ComponentSegmenter(), two_disks(5), contrast_limits=(0, 255)), []
    asked, embedding = [], planes.embedding
    planes.embedding = lambda z: asked.append(z) or embedding(z)
    for one in follow_steps(planes, {1: {2: mask_of(A)}}):
        assert set(asked) <= set(reported)
        if isinstance(one, Upcoming):
            reported.append(one.index)
    assert reported == [2, 3, 4, 1, 0]
    assert asked == reported


def test_objects_that_may_overlap_are_followed_as_if_each_were_alone():
    same = {1: {3: Prompts([A[:2]], [1])}, 2: {3: Prompts([A[:2]], [1])}}
    done = run(two_disks(), same, may_overlap=True)
    assert planes_of(done, 1) == planes_of(done, 2) == list(range(7))
    assert all(p.objects[1].patch.equals(p.objects[2].patch) for p in done)


def test_each_plane_of_a_long_stack_is_encoded_once_though_both_directions_pass():
    segmenter = ComponentSegmenter()
    anchors = {z: mask_of(A) for z in (0, 39)}
    steps = list(propagate(segmenter, two_disks(40), anchors, contrast_limits=(0, 255)))
    assert len(steps) == len(segmenter.embedded) == 40
