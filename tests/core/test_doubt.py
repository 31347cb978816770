"""How likely masks are right, by their appearance and the IoU that a model predicts."""

import numpy as np
import pytest
from component_segmenter import disks

from napari_sam.session.doubt import SURE, Expectation, Usual, appearances, judge


def judged(labels, scores=()):
    seen, scores = appearances(labels), dict(scores)
    usual = Usual.among(seen.values())
    expected = {i: Expectation(scores[i]) if i in scores else None for i in seen}
    return {i: judge(one, usual, expected[i]) for i, one in seen.items()}


@pytest.fixture
def field():
    """Nine squares of 6 × 6 pixels, far from each other and from the border."""
    labels = np.zeros((40, 40), np.int32)
    for k in range(9):
        r, c = 4 + 12 * (k // 3), 4 + 12 * (k % 3)
        labels[r : r + 6, c : c + 6] = k + 1
    return labels


def test_an_appearance_counts_pixels_and_the_sides_of_its_outline():
    labels = np.zeros((6, 8), np.int16)
    labels[0:2, 0:3] = 7
    labels[2:4, 0:3] = 9
    seen = appearances(labels)
    assert seen[7].box == (0, 0, 1, 2)
    assert (seen[7].area, seen[7].outline, seen[7].contact, seen[7].border) == (6, 10, 3, 5)
    assert (seen[9].area, seen[9].outline, seen[9].contact, seen[9].border) == (6, 10, 3, 2)


def test_labels_without_objects_and_negative_ones_have_no_appearance():
    assert appearances(np.zeros((5, 5), np.uint8)) == {}
    assert appearances(np.full((5, 5), -1, np.int32)) == {}


def test_a_round_object_is_no_more_ragged_than_a_square():
    disk = disks((40, 40), (20, 20, 12)) > 0
    assert appearances(disk.astype(np.int32))[1].raggedness == pytest.approx(1.13, abs=0.08)


def test_quality_rises_with_the_expected_iou(field):
    found = judged(field, {i: 0.5 + i / 20 for i in range(1, 10)})
    qualities = [found[i].quality for i in range(1, 10)]
    assert qualities == sorted(qualities)
    assert qualities[0] < 0.2
    assert qualities[-1] > 0.9


def test_masks_without_a_predicted_iou_are_judged_by_appearance(field):
    field[16:22, 16:22] = 0
    field[17:19, 17:19] = 5
    found = judged(field)
    assert min(found, key=lambda i: found[i].quality) == 5
    assert found[5].reasons == ("smaller than most",)
    assert found[1].quality > SURE
    assert found[1].reasons == ()


def test_reasons_name_what_is_unusual(field):
    field[4:10, 28:40] = 3  # at the border
    field[28:34, 4:34] = 8  # a bar through the last row
    field[16:22, 16:22] = 5
    field[16:22, 22:28] = 6  # beside 5
    for r in range(17, 22, 2):
        field[r, 4:15] = 4  # a comb
    found = judged(field, {2: 0.6})
    assert found[2].reasons == ("the model expects an IoU of 0.60",)
    assert "at the border" in found[3].reasons
    assert "an unusual shape" in found[4].reasons
    assert "larger than most" in found[8].reasons


def test_of_few_objects_none_is_unusual():
    labels = np.zeros((30, 30), np.int32)
    labels[2:4, 2:4] = 1
    labels[10:25, 10:25] = 2
    assert all(not one.reasons for one in judged(labels).values())


def test_quality_depends_on_the_present_model_alone(field):
    (one, *_) = appearances(field).values()
    found, now = Expectation(0.9), Expectation(0.7)
    both = judge(one, None, found, now)
    assert both.quality == judge(one, None, now).quality
    assert both.reasons == ("the model expects an IoU of 0.70",)
    assert both.worth == pytest.approx(judge(one, None, Expectation(0.8)).worth)
