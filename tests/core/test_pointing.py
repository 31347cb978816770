"""What a click in the image does, by what it hits."""

import numpy as np
import pytest
from core.fake_segmenter import FakeSegmenter, disk

from napari_sam.session import ArrayCanvas, ArraySource, Session

SHAPE = (40, 60)
FIRST, SECOND, BACKGROUND = (10, 10), (10, 30), (30, 50)


@pytest.fixture
def session(rng):
    canvas = ArrayCanvas(np.zeros(SHAPE, np.int32))
    return Session(FakeSegmenter(), ArraySource(rng.random(SHAPE)), canvas=canvas)


@pytest.fixture
def two(session):
    """Two clicked objects; the second is current."""
    session.add_point((), FIRST)
    session.add_point((), SECOND, object_id=2)
    session.object_id = 2
    return session


def did(session, *args, **options):
    meaning = session.click((), *args, **options)
    return meaning.action, meaning.object_id, session.prompts.click_count


def test_object_at_a_place_is_the_one_whose_pixel_lies_there(two):
    assert two.object_at((), (10.4, 9.6)) == 1
    assert two.object_at((), SECOND) == 2
    assert two.object_at((), BACKGROUND) == 0
    assert two.object_at((), (-1, 5)) == two.object_at((), (5, 60)) == 0
    with pytest.raises(ValueError, match="expected a point"):
        two.object_at((), (1, 2, 3))


def test_going_to_a_place_makes_its_object_current_or_raises_an_error(two):
    assert two.go_to((), FIRST) == two.object_id == 1
    with pytest.raises(ValueError, match="got the background"):
        two.go_to((), BACKGROUND)
    assert two.object_id == 1


def test_one_pixel_is_read_for_a_click(two, monkeypatch):
    regions, read = [], two.canvas.read
    monkeypatch.setattr(
        two.canvas, "read", lambda p, region: regions.append(region) or read(p, region)
    )
    two.object_at((), FIRST)
    assert regions == [(slice(10, 11), slice(10, 11))]


def test_number_below_nothing_is_no_object(session):
    session.canvas.array[5, 5] = -3
    assert session.object_at((), (5, 5)) == 0


def test_click_on_another_mask_goes_there_and_adds_nothing(two):
    before = two.canvas.array.copy()
    assert did(two, FIRST) == ("go to", 1, 2)
    assert two.object_id == 1
    np.testing.assert_array_equal(two.canvas.array, before)
    assert did(two, (12, 10)) == ("refine", 1, 3)


def test_continued_click_speaks_of_the_current_object_wherever_it_is(two):
    assert did(two, FIRST, continues=True) == ("refine", 2, 3)
    assert two.object_id == 2


def test_negative_click_speaks_of_the_current_object_and_leaves_other_masks(two):
    first = two.canvas.array == 1
    assert did(two, FIRST, 0) == ("refine", 2, 3)
    np.testing.assert_array_equal(two.canvas.array == 1, first)
    np.testing.assert_array_equal(two.canvas.array == 2, disk(SHAPE, SECOND, 4))


def test_background_goes_on_with_the_current_object(two):
    assert did(two, BACKGROUND) == ("refine", 2, 3)
    two.new_object()
    assert did(two, (20, 40)) == ("new", 3, 4)


def test_each_click_on_the_background_begins_an_object_if_that_is_wanted(session):
    session.new_each_click = True
    places = [(r, c) for r in (6, 20, 34) for c in range(6, 60, 12)]
    for n, at in enumerate(places, 1):
        assert did(session, at) == ("new", n, n)
    assert np.unique(session.canvas.array).tolist() == list(range(len(places) + 1))


def test_each_click_mode_continues_an_object_on_its_mask_or_with_continues(two):
    two.new_each_click = True
    assert did(two, SECOND) == ("refine", 2, 3)
    assert did(two, BACKGROUND, continues=True) == ("refine", 2, 4)
    assert did(two, (30, 10), 0) == ("refine", 2, 5)
    assert did(two, FIRST) == ("go to", 1, 5)
    assert did(two, (30, 20)) == ("new", 3, 6)


def test_each_click_mode_leaves_an_object_that_was_there_before(session):
    session.canvas.array[:5, :5] = 7
    session.reserve(7)
    session.new_each_click = True
    assert did(session, (2, 2)) == ("go to", 7, 0)
    assert did(session, BACKGROUND) == ("new", 8, 1)


def test_refused_click_leaves_the_current_object_as_it_was(two):
    two.new_each_click = True
    with pytest.raises(ValueError, match="inside the plane"):
        two.click((), (99, 5))
    assert two.object_id == 2


def test_object_without_labels_to_write_into_is_none(rng):
    session = Session(FakeSegmenter(), ArraySource(rng.random(SHAPE)))
    session.add_point((), FIRST)
    assert session.object_at((), FIRST) == 0


def test_nearest_object_is_found_around_a_place(two):
    assert two.object_near((), FIRST) == 1
    assert two.object_near((), (20, 12)) == 1
    assert two.object_near((), (20, 26)) == 2
    assert two.object_near((), (39, 59)) == 2
    assert Session(None, two.source).object_near((), FIRST) == 0


def test_nothing_is_near_where_there_is_no_object(session):
    assert session.object_near((), FIRST) == 0
    with pytest.raises(ValueError, match="far from any"):
        session.correct((), FIRST)
    with pytest.raises(ValueError, match="got the background;"):
        session.correct((), FIRST, 0)
    assert session.prompts.click_count == 0


def test_an_object_is_corrected_where_it_is_pointed_at_whichever_is_current(two):
    assert two.correct((), (17, 10)) == 1
    assert two.object_id == 1
    assert two.correct((), (10, 31), 0) == 2
    assert two.object_id == 2
    assert [(c.object_id, c.label) for c in two.prompts.clicks][-2:] == [(1, 1), (2, 0)]


def test_a_correction_that_is_refused_goes_nowhere(two):
    two.lock([1])
    with pytest.raises(ValueError, match="locked"):
        two.correct((), (17, 10))
    assert two.object_id == 2
