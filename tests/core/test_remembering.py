"""Objects followed by what is remembered of them: where they are looked for, and where not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from component_segmenter import ComponentSegmenter, disks
from scipy import ndimage

from napari_sam import Cancelled, propagate
from napari_sam.propagate import Ends, NotHere, StackPlanes, Upcoming, follow, follow_steps
from napari_sam.propagate.recollection import Trail, nearest, worth_remembering
from napari_sam.segmentation.memory import Memory, Recalled
from napari_sam.segmentation.protocol import Embedding, MaskPrediction
from napari_sam.session import ArrayCanvas, ArraySource, Session

SHAPE = (40, 90)
GREYS = {1: 100, 2: 200}


class Remembering(ComponentSegmenter):
    """Finds the object of the grey value that it remembers, wherever it is by now."""

    def __init__(self, device: str = "cpu") -> None:
        super().__init__()
        self.traits = replace(self.traits, memory_planes=2, memory_pointers=3)
        self.device = device
        self.calls: list[int] = []  # objects of each
        self.pasts: list[list[list[tuple[int, bool, bool]]]] = []

    @property
    def memory(self):
        return self

    def embed_pixels(self, pixels, frame=None, progress=None) -> Embedding:
        embedding = super().embed_pixels(pixels, frame, progress)
        return replace(embedding, features=(torch.from_numpy(pixels[None, None, ..., 0]).float(),))

    def decode(self, embedding, prompts, multimask="auto", progress=None) -> MaskPrediction:
        components, _ = ndimage.label(embedding.features[0][0, 0].numpy() > 0)
        shown = replace(embedding, features=(torch.from_numpy(components)[None, None].float(),))
        return super().decode(shown, prompts, multimask, progress)

    def remember(self, embedding, masks, progress=None) -> list[Memory]:
        plane = embedding.features[0][0, 0].numpy()
        return [
            self._memory(np.median(plane[mask.region][mask.pixels]), True, embedding)
            for mask in masks
        ]

    def recall(self, embedding, pasts, count, progress=None) -> list[Recalled]:
        self.calls.append(len(pasts))
        self.pasts.append(
            [
                [(p.distance, p.memory.is_given, p.memory.features is None) for p in past]
                for past in pasts
            ]
        )
        found = []
        for past in pasts:
            grey = float(past[-1].memory.pointer)
            mask = embedding.features[0][0, 0].numpy() == grey
            logits = np.where(mask, 5.0, -5.0).astype(np.float32)[None]
            score = np.array([0.9 if mask.any() else 0.0], np.float32)
            prediction = MaskPrediction(logits, score, embedding.frame)
            presence = 1.0 if mask.any() else 0.0
            found.append(Recalled(prediction, presence, self._memory(grey, False, embedding)))
        if progress is not None:
            progress(1.0)
        return found

    def _memory(self, grey, is_given, embedding) -> Memory:
        pointer = torch.tensor([float(grey)])
        return Memory(torch.zeros(1), pointer, is_given, embedding.frame, self.model_key)


def jumping(count=8, gone=()) -> np.ndarray:
    """Two disks of their own grey that jump by more than their size, and change places."""
    stack = np.zeros((count, *SHAPE), np.uint8)
    for z in range(count):
        places = (20, 20 + 44 * (z % 2)), (20, 64 - 44 * (z % 2))
        for (i, grey), (r, c) in zip(GREYS.items(), places, strict=True):
            if (i, z) not in gone:
                stack[z][disks(SHAPE, (r, c, 9)) > 0] = grey
    return stack


def mask_at(stack, z, object_id=1) -> np.ndarray:
    return stack[z] == GREYS[object_id]


def run(stack, anchors, segmenter=None, **options):
    planes = StackPlanes(segmenter or Remembering(), stack, contrast_limits=(0, 255))
    return {p.index: p for p in follow(planes, anchors, **options)}


def on(done, object_id=1) -> list[int]:
    return sorted(z for z, plane in done.items() if object_id in plane.objects)


def test_object_is_found_where_memory_says_and_lost_without():
    stack = jumping()
    found = list(propagate(Remembering(), stack, {3: mask_at(stack, 3)}, contrast_limits=(0, 255)))
    assert sorted(step.index for step in found) == list(range(8))
    for step in found:
        assert np.array_equal(step.mask, mask_at(stack, step.index))
        assert 0 < step.quality <= 1
    plain = list(
        propagate(
            Remembering(), stack, {3: mask_at(stack, 3)}, contrast_limits=(0, 255), memory=False
        )
    )
    wrong = [s for s in plain if not np.array_equal(s.mask, mask_at(stack, s.index))]
    assert wrong or len(plain) < 8


@pytest.mark.parametrize(("device", "calls"), [("cpu", [1, 1]), ("cuda", [2])])
def test_objects_are_followed_together(device, calls):
    stack = jumping()
    segmenter = Remembering(device)
    anchors = {1: {0: mask_at(stack, 0)}, 2: {0: mask_at(stack, 0, 2)}}
    done = run(stack, anchors, segmenter)
    for z, plane in done.items():
        for i in GREYS:
            whole = plane.objects[i].patch.within((slice(0, SHAPE[0]), slice(0, SHAPE[1])))
            assert np.array_equal(whole, mask_at(stack, z, i))
    assert segmenter.calls == calls * 7


def test_object_ends_where_it_is_not_any_more():
    stack = jumping(gone={(1, 5), (1, 6)})
    assert on(run(stack, {1: {2: mask_at(stack, 2)}})) == [0, 1, 2, 3, 4]


def test_object_hidden_between_two_planes_where_it_is_known_is_found_behind():
    stack = jumping(gone={(1, 3)})
    anchors = {1: {1: mask_at(stack, 1), 6: mask_at(stack, 6)}}
    assert on(run(stack, anchors)) == [0, 1, 2, 4, 5, 6, 7]


def test_object_hidden_before_a_plane_where_a_user_said_it_is_goes_on():
    stack = jumping(gone={(1, 3)})
    ends = Ends(open=frozenset({(1, 5)}))
    assert on(run(stack, {1: {1: mask_at(stack, 1)}}, ends=ends)) == [0, 1, 2, 4, 5, 6, 7]


def test_plane_where_it_is_not_bounds_it():
    stack = jumping()
    anchors = {1: {2: mask_at(stack, 2), 5: NotHere()}}
    assert on(run(stack, anchors))[-1] < 5


def test_blank_plane_is_passed_and_counts_as_distance():
    stack = jumping()
    stack[3] = 7
    segmenter = Remembering()
    assert on(run(stack, {1: {2: mask_at(stack, 2)}}, segmenter)) == [0, 1, 2, 4, 5, 6, 7]
    (first,) = segmenter.pasts[0]
    assert first == [(2, True, False)]


def test_only_the_latest_planes_are_remembered():
    stack = jumping(9)
    segmenter = Remembering()
    run(stack, {1: {0: mask_at(stack, 0)}}, segmenter)
    (last,) = segmenter.pasts[-1]
    assert last == [(8, True, False), (3, False, True), (2, False, False), (1, False, False)]


def test_memory_of_a_long_way_does_not_grow():
    frame = Remembering().embed(np.zeros(SHAPE, np.uint8)).frame
    given = Memory(torch.zeros(9), torch.zeros(1), True, frame, "a")
    trail = Trail({0: given}, 0, Remembering().traits)
    for z in range(1, 500):
        trail.take(z, replace(given, is_given=False))
    seen = trail.seen_from(500)
    assert [past.distance for past in seen] == [500, 3, 2, 1]
    assert sum(past.memory.features is not None for past in seen) == 3


def test_given_planes_count_from_both_sides():
    stack = jumping(9)
    segmenter = Remembering()
    run(stack, {1: {0: mask_at(stack, 0), 4: mask_at(stack, 4)}}, segmenter)
    assert segmenter.pasts[0] == [[(1, True, False), (-3, True, False)]]


def test_planes_given_in_a_row_are_not_remembered_for_nothing():
    assert worth_remembering(range(500), 0, 499) == set()
    assert worth_remembering(range(500), 0, 500) == set(range(492, 500))
    assert worth_remembering(range(500), 0, 510) == set(range(492, 500))
    assert worth_remembering([3, 9], 0, 20) == {3, 9}
    assert nearest(range(0, 100, 5), 50, 55) == [50, 55, 45, 60, 40, 65, 35, 70]


def test_each_group_of_objects_is_a_step_of_its_own():
    stack = jumping(3)
    planes = StackPlanes(Remembering(), stack, contrast_limits=(0, 255))
    anchors = {1: {0: mask_at(stack, 0)}, 2: {0: mask_at(stack, 0, 2)}}
    told = [one.index for one in follow_steps(planes, anchors) if isinstance(one, Upcoming)]
    assert told == [0, 0, 1, 1, 2, 2]


def test_it_is_cancelled_between_objects():
    stack, told = jumping(), []

    def cancel(fraction: float) -> None:
        told.append(fraction)
        if len(told) == 5:
            raise Cancelled

    with pytest.raises(Cancelled):
        run(stack, {1: {0: mask_at(stack, 0)}}, progress=cancel)


def test_objects_do_not_overlap():
    stack = jumping()
    both = {1: {0: mask_at(stack, 0)}, 2: {0: mask_at(stack, 0)}}
    done = run(stack, both)
    assert on(done, 1) == list(range(8))
    for plane in done.values():
        other = plane.objects.get(2)
        assert plane.index == 0 or other is None or other.patch.is_empty


def followed(executor, count=8):
    """Two objects of a session, clicked on plane 2 and followed, and what the labels were."""
    stack = jumping(count)
    labels = np.zeros(stack.shape, np.int32)
    source = ArraySource(stack, contrast_limits=(0, 255))
    session = Session(Remembering(), source, executor, canvas=ArrayCanvas(labels))
    session.add_point(2, (20, 20))
    session.add_point(2, (20, 64), object_id=2)
    assert session.wait(10)
    clicked = labels.copy()
    session.propagate(session.followable(2))
    assert session.wait(10)
    return session, stack, labels, clicked


@pytest.fixture(params=["here", "background"])
def executor(request):
    return None if request.param == "here" else request.getfixturevalue("engine")


def test_session_follows_by_memory_as_one_step(executor):
    session, stack, labels, clicked = followed(executor)
    for z in range(len(stack)):
        for i in GREYS:
            np.testing.assert_array_equal(labels[z] == i, mask_at(stack, z, i), f"{i} on {z}")
    assert (len(session.objects), session.source.shape[0]) == (2, 8)
    session.undo()
    np.testing.assert_array_equal(labels, clicked)


def test_corrected_plane_in_the_middle_is_remembered_too():
    session, stack, labels, _ = followed(None)
    segmenter = session.segmenter
    segmenter.pasts.clear()
    session.add_point(5, (20, 64), object_id=1)
    seen = {one[:2] for call in segmenter.pasts for past in call for one in past}
    assert {(1, True), (-2, True)} <= seen
    for z in range(len(stack)):
        np.testing.assert_array_equal(labels[z] == 1, mask_at(stack, z))
