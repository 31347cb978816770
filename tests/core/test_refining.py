"""Given masks are kept to the pixel, and changed by a click around the error it points at."""

import numpy as np
import pytest

from napari_sam.geometry import Frame
from napari_sam.prompts import Prompts
from napari_sam.segmentation.prediction import MaskPrediction
from napari_sam.segmentation.refining import correction, given_mask, refine
from tests.core.fake_segmenter import FakeSegmenter, disk

SHAPE = (48, 60)
FRAME = Frame(SHAPE, (0, 0), SHAPE, SHAPE, SHAPE, "own")


def rectangle(*sides) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[sides[0] : sides[1], sides[2] : sides[3]] = True
    return mask


def predicted(mask, score=0.8) -> MaskPrediction:
    logits = np.where(mask, 3.0, -3.0).astype(np.float32)
    return MaskPrediction(logits[None], np.array([score], np.float32), FRAME)


def test_a_given_mask_is_shown_to_the_pixel_though_logits_are_coarser():
    frame = Frame((100, 90), (0, 0), (100, 90), (50, 45), (64, 64), "own")
    rng = np.random.default_rng(0)
    mask = np.zeros((100, 90), bool)
    mask[20:61, 30:71] = rng.random((41, 41)) > 0.5
    prediction = given_mask(mask, frame, 4)
    assert np.array_equal(prediction.best(), mask)
    assert np.array_equal(prediction.region_mask(0), mask)
    assert prediction.logits.shape == (1, 16, 16)


def test_the_coarse_copy_of_a_given_mask_lies_where_the_mask_does():
    frame = Frame((96, 64), (0, 0), (96, 64), (96, 64), (96, 64), "own")
    mask = np.zeros((96, 64), bool)
    mask[32:64, 8:24] = True
    coarse = given_mask(mask, frame, 4).logits[0] > 0
    assert np.array_equal(coarse, mask[2::4, 2::4])


def test_a_positive_click_adds_the_part_it_points_at_and_no_other():
    given = rectangle(10, 30, 10, 30)
    seen = given & ~rectangle(10, 12, 10, 30) | rectangle(15, 25, 30, 40) | rectangle(40, 45, 5, 9)
    refined = refine(given_mask(given, FRAME, 1), predicted(seen), (20, 35), 1)
    assert np.array_equal(refined.best(), given | rectangle(15, 25, 30, 40))


def test_a_negative_click_takes_the_part_it_points_at_and_no_other():
    given = rectangle(10, 30, 10, 50)
    seen = rectangle(10, 30, 12, 30) | rectangle(35, 40, 10, 50)
    refined = refine(given_mask(given, FRAME, 1), predicted(seen), (20, 40), 0)
    assert np.array_equal(refined.best(), rectangle(10, 30, 10, 30))


def test_later_clicks_go_on_from_what_earlier_ones_changed():
    step = given_mask(rectangle(10, 30, 10, 30), FRAME, 1)
    step = refine(step, predicted(rectangle(10, 30, 10, 40)), (20, 35), 1)
    step = refine(step, predicted(rectangle(10, 26, 10, 40)), (28, 20), 0)
    assert np.array_equal(step.best(), rectangle(10, 26, 10, 40))


def test_the_score_of_a_refined_mask_is_the_prediction_s():
    given = given_mask(rectangle(10, 30, 10, 30), FRAME, 1)
    assert refine(given, predicted(given.best(), 0.7), (20, 35), 1).scores.tolist() == [
        np.float32(0.7)
    ]


def test_a_mask_that_a_click_empties_stays_empty_and_can_be_clicked_again():
    given = given_mask(rectangle(10, 30, 10, 30), FRAME, 1)
    emptied = refine(given, predicted(np.zeros(SHAPE, bool)), (20, 20), 0)
    assert not emptied.best().any()
    prompts = correction(emptied, Prompts([(20, 20), (5, 5)], [0, 1]))
    assert prompts.points.tolist() == [[20, 20], [5, 5]]
    again = refine(emptied, predicted(rectangle(2, 8, 2, 8)), (5, 5), 1)
    assert np.array_equal(again.best(), rectangle(2, 8, 2, 8))


def test_a_correction_shows_the_mask_its_middle_and_the_clicks():
    given = rectangle(10, 31, 10, 31)
    prompts = correction(given_mask(given, FRAME, 1), Prompts([(20, 40)], [1], (1, 1, 40, 50)))
    assert np.array_equal(
        prompts.mask_patch.within(np.s_[0 : given.shape[0], 0 : given.shape[1]]), given
    )
    assert prompts.points.tolist() == [[20, 20], [20, 40]]
    assert prompts.point_labels.tolist() == [1, 1]
    assert prompts.box == (1, 1, 40, 50)


def test_of_two_joined_objects_the_one_that_is_not_clicked_away_is_meant():
    joined = disk(SHAPE, (24, 18), 13) | disk(SHAPE, (24, 42), 14)
    prompts = correction(given_mask(joined, FRAME, 1), Prompts([(24, 42)], [0]))
    (row, column), _ = prompts.points
    assert disk(SHAPE, (24, 18), 8)[int(row), int(column)]


def test_a_click_refines_a_segmenters_prediction_for_the_correction():
    segmenter = FakeSegmenter(radius=6)
    embedding = segmenter.embed(np.zeros(SHAPE))
    given = rectangle(10, 30, 10, 30)
    step = given_mask(given, embedding.frame, 1)
    prediction = segmenter.decode(embedding, correction(step, Prompts([(20, 33)], [1])))
    assert np.array_equal(
        refine(step, prediction, (20, 33), 1).best(), given | disk(SHAPE, (20, 33), 6)
    )


def test_what_a_decoder_predicted_by_itself_is_refused_as_a_given_mask():
    with pytest.raises(ValueError, match="begin with given_mask"):
        refine(predicted(rectangle(1, 5, 1, 5)), predicted(rectangle(1, 5, 1, 5)), (2, 2), 0)


@pytest.mark.parametrize(("label", "point"), [(0, (20, 26)), (1, (20, 33))])
def test_a_click_counts_where_the_prediction_sees_no_error(label, point):
    given = rectangle(10, 30, 10, 30)
    refined = refine(given_mask(given, FRAME), predicted(given), point, label).best()
    assert refined[point] == label
    changed = np.argwhere(refined != given)
    assert np.hypot(*(changed - point).T).max() <= 4  # as far as the outline
    assert np.hypot(*(changed - point).T).max() > 3


def test_a_click_far_away_that_nothing_is_seen_at_changes_little():
    given = rectangle(10, 20, 5, 15)
    refined = refine(given_mask(given, FRAME), predicted(given), (40, 58), 1).best()
    changed = np.argwhere(refined != given)
    assert refined[40, 58]
    assert np.hypot(*(changed - (40, 58)).T).max() <= 3


def test_a_mask_that_is_too_tight_all_around_is_widened_by_one_click():
    given, outer = rectangle(12, 28, 12, 48), rectangle(10, 30, 10, 50)
    seen = outer & ~rectangle(11, 29, 20, 22) | given  # in two parts, left and right
    refined = refine(given_mask(given, FRAME, 1), predicted(seen), (20, 49), 1)
    assert np.array_equal(refined.best(), seen)


def test_a_mask_that_is_too_wide_all_around_is_narrowed_by_one_click():
    given, seen = rectangle(10, 30, 10, 50), rectangle(10, 30, 12, 48)  # too wide at both ends
    refined = refine(given_mask(given, FRAME, 1), predicted(seen), (20, 49), 0)
    assert np.array_equal(refined.best(), seen)


def test_a_thin_error_takes_no_thicker_part_with_it_nor_one_away_from_the_outline():
    given = rectangle(12, 28, 12, 48)
    thin, thick = rectangle(12, 28, 48, 50), rectangle(12, 28, 2, 12)
    seen = given | thin | thick | rectangle(40, 42, 12, 48)
    refined = refine(given_mask(given, FRAME, 1), predicted(seen), (20, 49), 1)
    assert np.array_equal(refined.best(), given | thin)


def test_a_part_that_holds_a_click_of_the_other_kind_is_not_changed_along():
    given, seen = rectangle(12, 28, 12, 48), rectangle(12, 28, 10, 50)
    clicks = Prompts([(20, 10), (20, 49)], [0, 1])
    refined = refine(given_mask(given, FRAME, 1), predicted(seen), (20, 49), 1, clicks)
    assert np.array_equal(refined.best(), rectangle(12, 28, 12, 50))
