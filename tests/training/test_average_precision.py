"""Average precision on planes whose matches are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_sam.training.average_precision import THRESHOLDS, add_up, count_matches


def squares(*boxes, shape=(60, 80)):
    labels = np.zeros(shape, np.int32)
    for i, (r, c, side) in enumerate(boxes, 1):
        labels[r : r + side, c : c + side] = i
    return labels


TRUTH = squares((5, 5, 10), (30, 5, 10), (5, 40, 10))


def test_labels_match_themselves_whatever_their_numbers():
    counts = count_matches(np.where(TRUTH > 0, 10 - TRUTH, 0), TRUTH)
    assert counts.precision().tolist() == [1.0] * len(THRESHOLDS)
    assert counts.mean == 1.0


def test_missed_and_invented_objects_count_once_each():
    found = squares((5, 5, 10), (30, 40, 10))
    counts = count_matches(found, TRUTH)
    assert (counts.true[0], counts.false[0], counts.missed[0]) == (1, 1, 2)
    assert counts.at(0.5) == pytest.approx(1 / 4)


def test_shifted_object_counts_up_to_its_iou():
    found = squares((5, 7, 10))  # 80 of 120 pixels: 0.667
    counts = count_matches(found, squares((5, 5, 10)))
    reached = [t for t, true in zip(THRESHOLDS, counts.true, strict=True) if true]
    assert reached == [0.5, 0.55, 0.6, 0.65]


def test_small_true_objects_are_nobodys_miss_and_nobodys_error():
    truth = squares((5, 5, 10), (40, 40, 4))
    both = count_matches(truth, truth)
    assert (both.true[0], both.false[0], both.missed[0]) == (1, 0, 0)
    larger = squares((5, 5, 10), (40, 40, 5))  # 25 pixels, 16 of them on the small one
    assert count_matches(larger, truth).false[0] == 0
    elsewhere = squares((5, 5, 10), (40, 60, 5))
    assert count_matches(elsewhere, truth).false[0] == 1


def test_small_predictions_are_no_error():
    counts = count_matches(squares((5, 5, 10), (40, 40, 4)), squares((5, 5, 10)))
    assert counts.false[0] == 0


def test_nothing_found_and_nothing_there():
    empty = np.zeros((20, 20), int)
    assert count_matches(empty, empty).mean == 1.0
    assert count_matches(empty, TRUTH[:20, :20]).mean == 0.0
    assert count_matches(TRUTH[:20, :20], empty).mean == 0.0


@given(st.integers(0, 2**32 - 1))
def test_every_object_is_counted_once_at_every_threshold(seed):
    rng = np.random.default_rng(seed)
    labels, truth = (np.kron(rng.integers(0, 4, (5, 5)), np.ones((6, 6), int)) for _ in range(2))
    counts = count_matches(labels, truth)
    assert set((counts.true + counts.missed).tolist()) == {len(np.unique(truth[truth > 0]))}
    assert set((counts.true + counts.false).tolist()) == {len(np.unique(labels[labels > 0]))}
    assert (np.diff(counts.true) <= 0).all()


def test_counts_of_planes_add_up():
    one = count_matches(squares((5, 5, 10)), TRUTH)
    total = add_up([one, one])
    assert total.missed[0] == 2 * one.missed[0]
    assert add_up([]).mean == 1.0
