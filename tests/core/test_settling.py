"""Masks of a plane, known as soon as nothing still to come can change them."""

import numpy as np
from component_segmenter import ComponentSegmenter, disks
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_sam import generate_masks
from napari_sam.automask import Placement, place_objects
from napari_sam.automask.objects import ObjectMask, encode_region
from napari_sam.automask.settling import Settling

SHAPE = (30, 700)
GRID = [(15, column, 6) for column in range(12, 700, 30)]


def square(row: int, column: int, side: int, score: float) -> ObjectMask:
    pixels = np.ones((min(side, SHAPE[0] - row), min(side, SHAPE[1] - column)), bool)
    box, rle = encode_region(pixels, (row, column), SHAPE)
    return ObjectMask(box, rle, score, 1.0, (float(row), float(column)), (0, 0, *SHAPE))


def uncovered(objects: list[ObjectMask], overlap: float) -> list[ObjectMask]:
    """All looked at at once, the highest score first."""
    taken, kept = np.zeros(SHAPE, bool), []
    for one in sorted(objects, key=lambda one: -one.score):
        crop, here = one.crop(), taken[one.region]
        if np.count_nonzero(crop & here) <= overlap * one.area:
            here |= crop
            kept.append(one)
    return kept


squares = st.lists(
    st.tuples(
        st.integers(0, 25),
        st.integers(0, 690),
        st.integers(1, 30),
        st.sampled_from([0.5, 0.6, 0.9]),
    ),
    max_size=14,
)


@settings(max_examples=40)
@given(squares, st.randoms(use_true_random=False), st.sampled_from([0.0, 0.3]))
def test_masks_that_come_in_any_order_are_those_kept_when_all_are_there(given, random, overlap):
    objects = [square(*one) for one in given]
    boxes = np.array([one.box for one in objects], float).reshape(-1, 4)
    reach = boxes + np.array([-3, -3, 3, 3])
    scores = np.array([one.score for one in objects])
    settling = Settling(SHAPE, scores, reach, overlap)
    order = list(range(len(objects)))
    random.shuffle(order)
    handed: list[ObjectMask] = []
    placement, shown = Placement(SHAPE), np.zeros(SHAPE, int)
    for start in range(0, len(order), 3):
        kept = settling.put({i: objects[i] for i in order[start : start + 3]})
        handed += kept
        for one, own in placement.place(kept):
            shown[one.region][own] = shown.max() + 1
    expected = uncovered(objects, overlap)
    assert settling.kept == expected
    assert {*map(id, handed)} == {*map(id, expected)}
    labels, _ = place_objects(expected, SHAPE)
    pairs = np.unique(np.stack([shown.ravel(), labels.ravel()]), axis=1).T
    assert len(pairs) == len(np.unique(labels)) == len(np.unique(shown))


def test_mask_waits_for_a_better_one_that_may_reach_it_and_for_no_other():
    first, second, far = square(5, 5, 8, 0.5), square(5, 9, 8, 0.9), square(5, 600, 8, 0.7)
    reach = np.array([one.box for one in (first, second, far)], float)
    settling = Settling(SHAPE, np.array([0.5, 0.9, 0.7]), reach, 0.3)
    assert settling.put({0: first}) == []
    assert settling.put({2: far}) == [far]
    assert settling.put({1: second}) == [second]  # which covers half of the first
    assert settling.kept == [second, far]


def test_mask_that_never_came_holds_nobody_up():
    first, reach = square(5, 5, 8, 0.5), np.array([(5, 5, 12, 12)] * 2, float)
    settling = Settling(SHAPE, np.array([0.5, 0.9]), reach, 0.3)
    assert settling.put({0: first}) == []
    assert settling.put({1: None}) == [first]


def test_objects_of_a_plane_come_square_by_square_and_are_the_result():
    parts, reports = [], []
    found = generate_masks(
        ComponentSegmenter(dense=True),
        disks(SHAPE, *GRID),
        (0, 255),
        progress=lambda fraction: reports.append((fraction, len(parts))),
        on_part=parts.append,
        points_per_batch=4,
    )
    assert len(parts) == 6
    assert [part.done for part in parts] == [0, 0, 1, 1, 2, 3]  # 256 pixels wide
    assert {part.count for part in parts} == {3}
    assert all(part.objects for part in parts)
    handed = [one for part in parts for one in part.objects]
    assert {*map(id, handed)} == {*map(id, found)}
    assert len(handed) == len(found) == len(GRID)
    assert [n for fraction, n in reports if fraction < 1][-1] >= 5  # not all at the end


def test_objects_from_a_grid_come_at_the_end():
    parts = []
    found = generate_masks(
        ComponentSegmenter(), disks(SHAPE, *GRID), (0, 255), on_part=parts.append
    )
    assert [list(part.objects) for part in parts] == [found]
