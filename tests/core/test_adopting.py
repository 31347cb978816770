"""Labels that were there before become objects, and clicks correct what they show."""

import numpy as np
import pytest
from core.fake_segmenter import FakeSegmenter, disk

from napari_sam.planes import ArraySource
from napari_sam.session import ArrayCanvas, PostProcessing, Session, pixel_changes
from napari_sam.session.adopting import grow

SHAPE = (60, 80)
CELL = np.s_[20:40, 20:40]  # label 7 on plane 1


@pytest.fixture
def labels():
    labels = np.zeros((2, *SHAPE), np.int32)
    labels[1][CELL] = 7
    labels[1, 5:9, 60:70] = 9
    return labels


@pytest.fixture
def session(labels):
    canvas = ArrayCanvas(labels)
    return Session(FakeSegmenter(4.0), ArraySource(np.zeros(labels.shape)), canvas=canvas)


def cell():
    mask = np.zeros(SHAPE, bool)
    mask[CELL] = True
    return mask


def test_adopted_label_is_an_object_with_exactly_its_mask(session, labels):
    before = labels.copy()
    session.adopt(1, 7)
    assert session.object_id == 7
    assert np.array_equal(session.mask(7, 1), cell())
    assert np.array_equal(labels, before)
    assert session.facts(7).origin == "adopted"
    assert session.segmenter.decodes == 0
    assert session.next_undo == "adopted object 7"


def test_adopted_mask_is_not_processed(session, labels):
    session.post_processing = PostProcessing(smallest=1000)
    session.adopt(1, 7)
    assert np.array_equal(session.mask(7, 1), cell())
    assert (labels[1][CELL] == 7).all()


def test_gaps_beside_an_adopted_mask_stay(session, labels):
    labels[1, CELL[0], CELL[1].stop + 2 :] = 8
    before = labels.copy()
    session.overlap = "fill gaps"
    session.adopt(1, 7)
    assert np.array_equal(labels, before)


def test_adopting_needs_no_model(labels):
    canvas = ArrayCanvas(labels)
    session = Session(None, ArraySource(np.zeros(labels.shape)), canvas=canvas)
    session.adopt(1, 7)
    assert np.array_equal(session.mask(7, 1), cell())


def test_adopting_is_undone_and_redone_in_one_step(session, labels):
    before = labels.copy()
    session.adopt(1, 7)
    session.undo()
    assert not session.prompts.keys
    assert session.facts(7).origin == ""
    assert not session.can_undo
    session.redo()
    assert np.array_equal(session.mask(7, 1), cell())
    assert np.array_equal(labels, before)


def test_click_outside_an_adopted_mask_takes_away_around_it_alone(session, labels):
    session.adopt(1, 7)
    session.add_point(1, (38, 38), 0)
    gone = cell() & ~(labels[1] == 7)
    assert gone.any()
    assert not (gone & ~disk(SHAPE, (38, 38), 4)).any()
    assert np.count_nonzero(labels[1] == 7) == 400 - np.count_nonzero(gone)


def test_first_click_on_a_label_from_before_corrects_it(session, labels):
    session.add_point(1, (22, 22), 0, object_id=7)
    group = session.prompts.group((7, (1, None, None)))
    assert group.mask.is_first
    assert 0 < np.count_nonzero((labels[1] != 7)[CELL]) < 60
    session.undo()
    assert (labels[1][CELL] == 7).all()
    assert not session.can_undo


def test_first_click_on_a_found_object_corrects_it(session, labels):
    session.find_all([0], points_per_side=1)
    (number,) = set(np.unique(labels[0])) - {0}
    area = np.count_nonzero(labels[0] == number)
    row, column = np.argwhere(labels[0] == number)[0]
    session.add_point(0, (row, column), 0, object_id=int(number))
    assert 0 < np.count_nonzero(labels[0] == number) < area
    session.undo()
    assert np.count_nonzero(labels[0] == number) == area


def test_what_a_person_painted_is_not_adopted(session, labels):
    where = disk(SHAPE, (30, 60), 5)
    pixels = np.nonzero(where)
    labels[0][pixels] = 3
    zeros = np.zeros(len(pixels[0]), np.int32)
    session.paint(pixel_changes((0, None, None), pixels, zeros, zeros + 3))
    session.add_point(0, (30, 60), 0, object_id=3)
    assert session.prompts.group((3, (0, None, None))).mask is None
    assert (labels[0][where] == 3).all()


def test_object_elsewhere_is_no_part_of_a_new_one(session):
    session.add_point(1, (7, 30), object_id=11)
    assert session.prompts.group((11, (1, None, None))).mask is None


def test_box_on_a_label_from_before_takes_its_place(session, labels):
    session.set_box(1, (25, 25, 30, 30), object_id=7)
    assert np.count_nonzero(labels[1] == 7) == 36


def test_removing_the_click_brings_the_adopted_mask_back(session, labels):
    click = session.add_point(1, (22, 22), 0, object_id=7)
    session.remove_point(click)
    assert (labels[1][CELL] == 7).all()


def test_starting_over_brings_the_mask_back_that_was_there_before(session, labels):
    before = labels.copy()
    session.add_point(1, (22, 22), 0, object_id=7)
    session.add_point(1, (28, 28), object_id=7)
    changed = labels.copy()
    assert (changed != before).any()
    session.clear(1, 7)
    np.testing.assert_array_equal(labels, before)
    assert not session.prompts.clicks
    session.undo()
    np.testing.assert_array_equal(labels, changed)


def test_starting_over_never_takes_a_mask_that_was_there_before(session, labels):
    session.adopt(1, 7)
    before, reported = labels.copy(), []
    session.noticed.connect(reported.append)
    session.clear(1, 7)
    np.testing.assert_array_equal(labels, before)
    assert session.next_undo == "adopted object 7"
    assert "delete it to take it away" in reported[0]


def test_label_that_isnt_there_is_refused(session):
    with pytest.raises(ValueError, match="expected a label with pixels"):
        session.adopt(0, 7)


def test_adopted_labels_are_objects_without_prompts(session, labels):
    session.adopt_labels()
    assert [session.facts(i).origin for i in (7, 9)] == ["adopted", "adopted"]
    assert not session.prompts.keys
    assert session.next_undo == "adopted 2 objects"
    session.adopt_labels()  # which are known by now
    assert len(session.journal) == 1
    session.undo()
    assert session.facts(7).origin == ""


def test_given_mask_stays_until_a_click_changes_it(session, labels):
    mask = disk(SHAPE, (30, 30), 6)
    session.add_mask(0, mask, object_id=4)
    assert np.array_equal(labels[0] == 4, mask)
    assert session.scores(4, 0) == ()
    session.add_point(0, (30, 38), 1, object_id=4)
    now = labels[0] == 4
    assert (now & mask).sum() == mask.sum()
    assert now.sum() > mask.sum()


def test_mask_of_another_shape_is_refused(session):
    with pytest.raises(ValueError, match="expected a mask"):
        session.add_mask(0, np.ones((3, 3), bool))
    with pytest.raises(ValueError, match="expected a mask"):
        session.add_mask(0, np.zeros(SHAPE, bool))


def test_stroke_counts_as_clicks_along_it_and_can_be_moved(session, labels):
    stroke = session.add_scribble(0, [(10, 10), (10, 50)], object_id=2)
    assert (labels[0][10, 14:47:8] == 2).all()
    session.move_prompt(stroke, [(50, 10), (50, 50)])
    assert not (labels[0][:20] == 2).any()
    session.remove_prompt(stroke)
    assert not (labels[0] == 2).any()


def test_lasso_is_a_region_beyond_which_nothing_lies(session, labels):
    lasso = session.add_lasso(0, [(10, 10), (10, 30), (30, 30), (30, 10)], object_id=2)
    assert (labels[0] == 2).any()
    assert not (labels[0][:10] == 2).any()
    session.move_prompt(lasso, [(40, 40), (40, 55), (55, 55), (55, 40)])
    assert not (labels[0][:40] == 2).any()
    with pytest.raises(ValueError, match="expected a region"):
        session.add_lasso(0, [(100, 100), (100, 110), (110, 110)], object_id=2)


def test_unknown_prompt_raises_a_key_error(session):
    with pytest.raises(KeyError, match="may have been removed"):
        session.remove_prompt(99)


def test_large_label_is_read_beyond_the_first_region():
    labels = np.zeros((500, 700), np.uint8)
    labels[100:400, 50:600] = 3
    labels[0:4, 0:4] = 3  # another part, far away
    regions = []

    def read(region):
        regions.append(region)
        return labels[region]

    patch = grow(read, labels.shape, 3, np.s_[240:260, 300:320])
    assert patch.area == 300 * 550
    assert patch.origin == (100, 50)
    assert len(regions) < 8
