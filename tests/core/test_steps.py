"""Prompts in the order they were given, and the points that stand for a stroke."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_sam.patches import Patch, fill_polygon
from napari_sam.prompts import Prompts
from napari_sam.session.groups import BoxPrompt, Click, Group, Lasso, MaskPrompt, Stroke
from napari_sam.steps import Steps
from napari_sam.strokes import clip_path, spread_points

KEY = (1, (0, None, None))
SQUARE = Patch((4, 6), np.ones((8, 10), bool))
COORDINATE = st.floats(0, 500, allow_subnormal=False)


def kinds(group: Group) -> list[str]:
    """What each step of a group adds, in a word."""
    words = []
    for i, step in enumerate(group.steps):
        mask = "mask" if group.steps.is_exact(i) else "lasso"
        words.append(mask if step.mask is not None else "box" if step.box else "points")
    return words


def test_clicks_and_box_in_one_are_the_box_and_then_each_click():
    prompts = Prompts([(1, 2), (3, 4)], [1, 0], (0, 0, 9, 9))
    steps = Steps.of(prompts)
    assert len(steps) == 3
    assert steps[0].box == prompts.box
    assert [step.points.tolist() for step in steps] == [[], [[1, 2]], [[3, 4]]]
    assert steps.so_far(1).points.tolist() == [[1, 2]]
    assert steps.so_far(1).box == prompts.box


def test_steps_accumulate_points_and_the_latest_box_counts():
    steps = Steps.of([Prompts([(1, 1)], [1]), Prompts(box=(0, 0, 5, 5)), Prompts(box=(0, 0, 9, 9))])
    assert steps.so_far(0).box is None
    assert steps.so_far(1).box == (0, 0, 5, 5)
    assert steps.so_far(2).box == (0, 0, 9, 9)
    assert steps.everything.box == (0, 0, 9, 9)
    assert len(steps.so_far(2).points) == 1


def test_prompts_of_every_kind_come_in_the_order_they_were_given():
    group = Group(
        clicks=(Click(1, *KEY, (5.0, 6.0), 1), Click(4, *KEY, (7.0, 8.0), 0)),
        strokes=(Stroke(2, *KEY, ((5.0, 4.0), (5.0, 18.0)), 1),),
        lasso=Lasso(3, *KEY, ((2.0, 2.0), (2.0, 20.0), (20.0, 10.0))),
    )
    assert kinds(group) == ["points", "points", "lasso", "points"]
    assert group.steps[3].point_labels.tolist() == [0]
    assert len(group.steps[1].points) > 1


def test_box_comes_before_the_clicks_since_the_last_mask():
    mask, click = MaskPrompt(2, *KEY, SQUARE), Click(3, *KEY, (5.0, 6.0), 1)
    group = Group((Click(1, *KEY, (5.0, 6.0), 1), click), BoxPrompt(4, *KEY, (0, 0, 9, 9)))
    assert kinds(group) == ["box", "points", "points"]
    group = Group(group.clicks, group.box, mask=mask)
    assert kinds(group) == ["points", "mask", "box", "points"]


def test_mask_that_was_there_before_is_the_first_step():
    mask = MaskPrompt(9, *KEY, SQUARE, is_first=True)
    group = Group((Click(1, *KEY, (5.0, 6.0), 1),), mask=mask)
    assert kinds(group) == ["mask", "points"]
    assert group.exact_mask is None
    assert Group(mask=mask).exact_mask is SQUARE


def test_clicks_after_a_given_mask_change_it_until_a_box_comes():
    mask, box = Prompts(mask=SQUARE, is_exact=True), Prompts(box=(0, 0, 9, 9))
    click = Prompts([(5, 6)], [1])
    steps = Steps.of([click, mask, click, click, box, click])
    assert [steps.exact_before(i) for i in range(6)] == [None, 1, 1, 1, None, None]
    assert len(steps.clicks_since(1, 3, 64).points) == 2


def test_box_from_before_a_given_mask_counts_no_more():
    steps = Steps.of([Prompts(box=(0, 0, 9, 9)), Prompts(mask=SQUARE, is_exact=True)])
    assert steps.so_far(1).box is None


def test_changed_mask_counts_among_what_has_changed():
    def steps(patch: Patch) -> Steps:
        mask = Prompts(mask=patch, is_exact=True)
        return Steps.of([Prompts([(1, 1)], [1]), mask, Prompts([(5, 6)], [1])])

    same = Patch(SQUARE.origin, SQUARE.pixels.copy())
    moved = Patch((5, 6), SQUARE.pixels)
    assert steps(SQUARE).count_same(steps(same)) == 3
    assert steps(SQUARE).count_same(steps(moved)) == 1


@given(st.lists(st.integers(0, 4), min_size=1, max_size=8), st.integers(0, 7))
def test_steps_are_the_same_up_to_the_first_change(numbers, at):
    def step(number: int, moved: float) -> Prompts:
        if number == 3:
            return Prompts(box=(moved, 0, 30, 30))
        if number == 4:
            return Prompts(mask=Patch((int(moved), 0), np.ones((3, 3), bool)), is_exact=True)
        return Prompts([(number + moved, k) for k in range(number + 1)], [1] * (number + 1))

    one = [step(number, 0) for number in numbers]
    other = [step(number, float(i == at)) for i, number in enumerate(numbers)]
    assert Steps.of(one).count_same(Steps.of(other)) == min(at, len(numbers))
    assert Steps.of(one).count_same(Steps.of(one[:at])) == min(at, len(numbers))


@given(st.lists(st.tuples(COORDINATE, COORDINATE), min_size=1, max_size=20))
def test_points_of_a_stroke_lie_on_it_and_apart(path):
    points = spread_points(path)
    assert 1 <= len(points) <= 5
    low, high = np.min(path, 0), np.max(path, 0)
    assert ((points >= low - 1e-6) & (points <= high + 1e-6)).all()
    apart = np.hypot(*(points[:, None] - points[None]).transpose(2, 0, 1))
    assert (apart[~np.eye(len(points), dtype=bool)] >= 2 - 1e-6).all()


def test_stroke_is_denser_on_a_smaller_object():
    path = [(10, 10), (10, 50)]
    assert len(spread_points(path)) == 5
    assert len(spread_points(path, size=100)) < 5
    assert len(spread_points(path, size=300)) == 1


def test_dot_is_one_point():
    assert spread_points([(3, 4)]).tolist() == [[3, 4]]
    assert spread_points([(3, 4), (3, 4)]).tolist() == [[3, 4]]


def test_lasso_is_the_pixels_whose_centres_lie_in_it():
    patch = fill_polygon([(0.5, 1.5), (0.5, 4.5), (3.5, 4.5), (3.5, 1.5)])
    assert (patch.origin, patch.pixels.shape) == ((1, 2), (3, 3))
    assert patch.pixels.all()


@pytest.mark.parametrize("shape", [(3, 9), (9, 3)])
def test_lasso_beyond_the_plane_is_cut_off(shape):
    patch = fill_polygon([(-5, -5), (-5, 20), (20, 20), (20, -5)], shape)
    assert patch.origin == (0, 0)
    assert patch.pixels.shape == shape


def test_stroke_within_a_plane_is_not_clipped():
    path = ((0, 0), (5, 9.4), (-0.5, 3))
    assert clip_path(path, (6, 10)) == [path]


def test_stroke_that_leaves_a_plane_ends_at_its_border():
    assert clip_path([(2, 5), (2, 15)], (6, 10)) == [((2, 5), (2, 9.5))]
    assert clip_path([(2, -5), (2, 5), (4, 5), (20, 5)], (6, 10)) == [
        ((2, -0.5), (2, 5), (4, 5), (5.5, 5))
    ]


def test_stroke_that_comes_back_has_a_part_on_either_side():
    path = [(1, 5), (1, 15), (4, 15), (4, 5)]
    assert clip_path(path, (6, 10)) == [((1, 5), (1, 9.5)), ((4, 9.5), (4, 5))]


@pytest.mark.parametrize("path", [[(-3, 0)], [(-3, 0), (-3, 9)], [(-4, 2), (2, -4)]])
def test_stroke_beside_a_plane_has_no_part_on_it(path):
    assert clip_path(path, (6, 10)) == []
