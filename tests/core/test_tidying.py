"""Masks of one piece."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_sam.segmentation.tidying import tidy_logits

NONE = np.empty((0, 2)), np.empty(0, int)


def drawn(*blocks: tuple[int, int, int, int], size: int = 32) -> np.ndarray:
    logits = np.full((size, size), -4.0, np.float32)
    for r0, c0, r1, c1 in blocks:
        logits[r0:r1, c0:c1] = 5.0
    return logits


def test_an_island_without_a_click_goes() -> None:
    logits = drawn((4, 4, 12, 12), (20, 20, 24, 24))
    tidied = tidy_logits(logits, np.array([[8.0, 8.0]]), np.array([1]))
    assert np.array_equal(tidied > 0, drawn((4, 4, 12, 12)) > 0)
    assert logits[22, 22] == 5.0  # the given array is left alone


def test_every_clicked_part_stays() -> None:
    logits = drawn((4, 4, 12, 12), (20, 20, 24, 24))
    clicks = np.array([[8.0, 8.0], [24.2, 21.0]])  # the second a cell beside its part
    assert tidy_logits(logits, clicks, np.array([1, 1])) is logits


def test_a_negative_click_keeps_no_island() -> None:
    logits = drawn((4, 4, 12, 12), (20, 20, 24, 24))
    tidied = tidy_logits(logits, np.array([[8.0, 8.0], [22.0, 22.0]]), np.array([1, 0]))
    assert tidied[22, 22] < 0


@pytest.mark.parametrize("clicks", [NONE, (np.array([[28.0, 4.0]]), np.array([1]))])
def test_a_mask_that_nobody_clicked_keeps_its_parts(clicks: tuple[np.ndarray, np.ndarray]) -> None:
    logits = drawn((4, 4, 12, 12), (20, 20, 24, 24))
    assert tidy_logits(logits, *clicks) is logits


def test_specks_of_a_mask_that_nobody_clicked_go() -> None:
    logits = drawn((4, 4, 12, 12), (20, 20, 24, 24), (28, 4, 30, 6))
    tidied = tidy_logits(logits, *NONE, least_part=0.1)
    assert np.array_equal(tidied > 0, drawn((4, 4, 12, 12), (20, 20, 24, 24)) > 0)


def test_small_holes_are_filled_and_large_ones_stay() -> None:
    logits = drawn((2, 2, 30, 30))
    logits[5:7, 5:7] = -3.0
    logits[12:26, 12:26] = -3.0
    tidied = tidy_logits(logits, *NONE)
    assert (tidied[5:7, 5:7] > 0).all()
    assert (tidied[12:26, 12:26] < 0).all()


def test_a_hole_that_was_clicked_away_stays() -> None:
    logits = drawn((2, 2, 30, 30))
    logits[5:7, 5:7] = -3.0
    tidied = tidy_logits(logits, np.array([[20.0, 20.0], [5.0, 6.0]]), np.array([1, 0]))
    assert (tidied[5:7, 5:7] < 0).all()


def test_a_bay_at_the_rim_is_no_hole() -> None:
    logits = drawn((0, 0, 32, 32))
    logits[0:3, 10:12] = -3.0
    assert tidy_logits(logits, *NONE) is logits


def test_an_empty_mask_stays_empty() -> None:
    logits = drawn()
    assert tidy_logits(logits, np.array([[3.0, 3.0]]), np.array([1])) is logits


@given(
    hnp.arrays(bool, (12, 12)),
    st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11), st.integers(0, 1)), max_size=4),
)
def test_tidying_twice_changes_nothing_more(
    mask: np.ndarray, clicks: list[tuple[int, int, int]]
) -> None:
    logits = np.where(mask, 2.0, -2.0).astype(np.float32)
    at = np.array([c[:2] for c in clicks], float).reshape(-1, 2)
    labels = np.array([c[2] for c in clicks], int)
    once = tidy_logits(logits, at, labels)
    assert np.array_equal(tidy_logits(once, at, labels), once)
    changed = (once > 0) != mask
    assert (np.abs(once[changed]) == 1.0).all()
    assert np.array_equal(once[~changed], logits[~changed])
