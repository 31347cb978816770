"""Masks that keep to their box."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_sam import load_segmenter, samples
from napari_sam.prompts import Prompts, tight_box
from napari_sam.segmentation.box_fit import fit_to_box

BOX = np.array([7.5, 9.5, 21.5, 25.5])  # rows 8 to 21, columns 10 to 25


def drawn(r0: int, c0: int, r1: int, c1: int, faint: float = -5.0) -> np.ndarray:
    """A block of sure foreground; `faint` is the logit of the rest of the box."""
    logits = np.full((32, 32), -5.0, np.float32)
    logits[8:22, 10:26] = faint
    logits[r0:r1, c0:c1] = 5.0
    return logits


def extent(logits: np.ndarray) -> tuple[int, ...]:
    return tuple(map(int, tight_box(logits > 0)))


def test_nothing_is_left_beyond_the_box() -> None:
    logits = drawn(4, 12, 30, 20)
    fitted = fit_to_box(logits, BOX, fill=False)
    assert extent(fitted) == (8, 12, 21, 19)
    assert extent(logits) == (4, 12, 29, 19)  # the given array is left alone


def test_a_mask_within_the_box_stays() -> None:
    logits = drawn(9, 11, 21, 25)
    for fill in (False, True):
        assert np.array_equal(fit_to_box(logits, BOX, fill) > 0, logits > 0)


def test_a_mask_reaches_for_the_side_that_it_misses() -> None:
    logits = drawn(8, 10, 22, 18, faint=-1.0)
    assert extent(fit_to_box(logits, BOX, fill=False)) == (8, 10, 21, 17)
    assert extent(fit_to_box(logits, BOX, fill=True)) == (8, 10, 21, 25)


def test_nothing_is_made_up() -> None:
    # what the network is sure of not being the object is not for the box to decide
    logits = drawn(8, 10, 22, 18, faint=-3.0)
    assert np.array_equal(fit_to_box(logits, BOX, fill=True) > 0, logits > 0)


def test_a_side_that_is_hardly_missed_costs_no_threshold() -> None:
    # a cell of sixteen, for which everything else would have to grow, too
    logits = drawn(8, 10, 22, 25, faint=-1.5)
    assert np.array_equal(fit_to_box(logits, BOX, fill=True) > 0, logits > 0)


def test_the_cut_lies_between_cells() -> None:
    logits = np.full((32, 32), 5.0, np.float32)
    fitted = fit_to_box(logits, np.array([7.5, 9.25, 21.5, 25.5]), fill=False)
    outside, inside = fitted[15, 9], fitted[15, 10]
    assert 9 + outside / (outside - inside) == pytest.approx(9.25)


def test_a_box_thinner_than_a_cell_keeps_its_mask() -> None:
    logits = drawn(8, 10, 22, 26)
    assert (fit_to_box(logits, np.array([10.3, 12.3, 10.6, 12.6]), fill=True) > 0).any()


def test_a_box_beside_the_mask_leaves_nothing() -> None:
    assert not (fit_to_box(drawn(2, 2, 5, 5), np.array([20.0, 20, 28, 28]), True) > 0).any()


@given(
    hnp.arrays(np.float32, (12, 14), elements=st.floats(-6, 6, width=32)),
    st.tuples(*(st.floats(-3, 14) for _ in range(4))),
)
def test_it_cuts_beyond_the_box_and_adds_within(
    logits: np.ndarray, corners: tuple[float, ...]
) -> None:
    box = np.concatenate(
        [np.minimum(corners[:2], corners[2:]), np.maximum(corners[:2], corners[2:])]
    )
    cut, filled = (fit_to_box(logits, box, fill) > 0 for fill in (False, True))
    assert not (cut & ~(logits > 0)).any()
    assert not (cut & ~filled).any()
    assert not (filled & ~(logits > -1.6)).any()
    rows, columns = np.nonzero(filled)
    centre, half = (box[:2] + box[2:]) / 2, np.maximum((box[2:] - box[:2]) / 2, 1)
    assert (np.abs(rows - centre[0]) <= half[0]).all()
    assert (np.abs(columns - centre[1]) <= half[1]).all()


def test_a_box_of_a_user_bounds_the_mask_until_a_click_beyond_it() -> None:
    segmenter = load_segmenter("nano", device="cpu", precision="float32")
    sample = samples.load("nuclei")
    embedding = segmenter.embed(sample.data)
    click = next(iter(sample.prompts.values()))
    r0, c0, r1, c1 = tight_box(segmenter.decode(embedding, click).best())
    half = Prompts(box=(r0, c0, r1, (c0 + c1) // 2))
    inside = Prompts([(round((r0 + r1) / 2), c0 + 3)], [1], box=half.box)
    beyond = Prompts([(round((r0 + r1) / 2), c1 - 2)], [1], box=half.box)
    last = [tight_box(segmenter.decode(embedding, p).best())[3] for p in (half, inside, beyond)]
    assert last[:2] == [(c0 + c1) // 2] * 2
    assert last[2] >= c1 - 2
