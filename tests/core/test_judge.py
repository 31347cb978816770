"""What tells the end of an object that is followed, and how good its masks are."""

from __future__ import annotations

import numpy as np
import pytest
from component_segmenter import ComponentSegmenter, disks

from napari_sam import Prompts
from napari_sam.patches import Patch
from napari_sam.propagate import (
    Causes,
    Followed,
    Judge,
    NotHere,
    StackPlanes,
    follow,
    judge_of,
    plane_to_check,
)
from napari_sam.propagate.judge import SIGNS, signs_of

SHAPE = (40, 50)
DISK = (16, 20, 7)


def seen(ious, appearances=None) -> list[Causes]:
    appearances = appearances or [1.0] * len(ious)
    return [
        Causes(expected_iou=iou, appearance=alike)
        for iou, alike in zip(ious, appearances, strict=True)
    ]


def test_signs_measure_what_was_lost_what_comes_and_what_came_back():
    signs = dict(zip(SIGNS, signs_of(seen([0.9, 0.6, 0.7, 0.8, 1.0]), 2, 1), strict=True))
    assert signs["expected_iou"] == pytest.approx(0.7)
    assert signs["expected_iou_lost"] == pytest.approx(0.2)
    assert signs["expected_iou_ahead"] == pytest.approx(0.1)  # not the plane after the next one
    assert signs["expected_iou_regained"] == pytest.approx(0.1)
    assert signs["appearance_lost"] == 0


def test_an_end_is_likelier_where_the_object_is_worse_and_differs_from_itself():
    judge = Judge()
    good, bad = seen([0.93, 0.93, 0.93]), seen([0.93, 0.8, 0.78])
    assert judge.end(good, 1) < 0.1 < judge.end(bad, 1)
    unlike = seen([0.93, 0.85, 0.8], [1.0, 0.2, 0.1])
    assert judge.end(unlike, 2) > judge.end(seen([0.93, 0.85, 0.8]), 2)


def test_the_longest_object_does_not_end_by_the_sum_of_small_doubts():
    assert Judge(end_bias=-3.5, end_weights=(0.0,) * 9).end(seen([0.9, 0.9]), 1) == 0
    assert Judge(end_bias=-2.5, end_weights=(0.0,) * 9).end(seen([0.9, 0.9]), 1) > 0.05


def test_quality_falls_with_presence_and_with_the_lowest_predicted_iou():
    judge = Judge()
    assert judge.quality(1, 0.9) > judge.quality(0.6, 0.9) > judge.quality(0.6, 0.7)
    assert 0 < judge.quality(0, 0) < judge.quality(1, 1) < 1


def test_a_model_without_numbers_of_its_own_gets_the_default():
    assert judge_of("no such model") == Judge()


def test_weights_of_another_number_are_refused():
    with pytest.raises(ValueError, match="expected 9 weights"):
        Judge(end_weights=(1.0,))


class Fading(ComponentSegmenter):
    """Predicts an IoU for each plane, whatever is on it."""

    def __init__(self, scores) -> None:
        super().__init__()
        self._scores, self._planes = scores, {}

    def embed(self, plane, contrast_limits=None, progress=None, scale=None):
        made = super().embed(plane, contrast_limits)
        self._planes[id(made)] = made, self._scores[int(plane[0, 0])]
        return made

    def decode(self, embedding, prompts, multimask="auto", progress=None):
        made = super().decode(embedding, prompts, False)
        made.scores[:] = self._planes[id(embedding)][1]
        return made


def followed(scores, judge, more=None) -> list[int]:
    stack = np.stack([disks(SHAPE, DISK)] * len(scores))
    stack[:, 0, 0] = range(len(scores))
    planes = StackPlanes(Fading(scores), stack, contrast_limits=(0, 255))
    anchors = {1: {0: Prompts([DISK[:2]], [1]), **(more or {})}}
    return [plane.index for plane in follow(planes, anchors, judge=judge)]


def test_what_follows_a_dip_is_another_object_and_is_not_kept():
    weights = [0.0] * len(SIGNS)
    weights[SIGNS.index("expected_iou_lost")] = 40
    weights[SIGNS.index("expected_iou_ahead")] = 40
    judge = Judge(end_bias=-12, end_weights=tuple(weights))
    assert followed([0.9, 0.9, 0.85, 0.7, 0.9, 0.9, 0.9], judge) == [0, 1, 2]
    assert followed([0.9, 0.9, 0.85, 0.8, 0.78, 0.76, 0.74], judge) == list(range(7))


def test_presence_never_rises_on_the_way_and_the_quality_with_it():
    stack = np.stack([disks(SHAPE, DISK)] * 6)
    stack[:, 0, 0] = range(6)
    planes = StackPlanes(Fading([0.95, 0.93, 0.9, 0.93, 0.95, 0.95]), stack, 0, (0, 255))
    done = list(follow(planes, {1: {0: Prompts([DISK[:2]], [1])}}))
    qualities = [plane.objects[1].quality for plane in done[1:]]
    presences = [plane.objects[1].causes.present for plane in done]
    assert qualities == sorted(qualities, reverse=True)
    assert presences == sorted(presences, reverse=True)


def test_an_object_that_is_not_on_a_plane_ended_where_that_was_likeliest():
    weights = [0.0] * len(SIGNS)
    weights[SIGNS.index("expected_iou_lost")] = 20
    judge = Judge(end_bias=-4, end_weights=tuple(weights), ahead=0)
    scores = [0.9, 0.9, 0.9, 0.75, 0.9, 0.9, 0.9]
    assert followed(scores, judge) == list(range(7))
    assert followed(scores, judge, {6: NotHere()}) == [0, 1, 2]


def carried(area: int, present: float, iou: float) -> Followed:
    causes = Causes(present=present, expected_iou=iou)
    return Followed(Patch((0, 0), np.ones((1, area), bool)), iou, present * iou, causes)


def test_a_correction_is_worth_most_where_much_would_go_and_not_at_the_very_end():
    on = {z: carried(50, 1 - 0.1 * z, 0.95) for z in range(1, 7)}
    found = {0: carried(50, 1, 0.95), **on}
    assert plane_to_check(found, {0}) in (2, 3, 4)
    assert min(on, key=lambda z: on[z].quality) == 6


def test_a_correction_is_worth_most_on_the_side_that_is_in_doubt():
    found = {z: carried(50, 1.0 if z < 5 else 0.6, 0.9) for z in range(11)}
    assert (plane_to_check(found, {5}) or 0) > 5
    assert plane_to_check({5: found[5]}, {5}) is None
