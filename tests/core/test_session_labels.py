"""What a session's masks change in labels that others write to as well."""

import numpy as np
import pytest
from core.fake_segmenter import FakeSegmenter, disk

from napari_sam.session import ArrayCanvas, ArraySource, Session, pixel_changes

SHAPE = (40, 50)
PLANE = (None, None)


@pytest.fixture
def labels():
    return np.zeros(SHAPE, np.int32)


@pytest.fixture
def session(rng, labels):
    return Session(FakeSegmenter(), ArraySource(rng.random(SHAPE)), canvas=ArrayCanvas(labels))


def paint(session, labels, where, number):
    """Paint as a person would: the labels change before the session gets the report."""
    pixels = np.nonzero(where & (labels != number))
    before = labels[pixels]
    labels[pixels] = number
    session.paint(pixel_changes(PLANE, pixels, before, labels[pixels]))


def test_mask_is_painted_and_follows_its_prompts(session, labels):
    click = session.add_point((), (20, 20))
    session.move_point(click, (25, 25))
    np.testing.assert_array_equal(labels == 1, disk(SHAPE, (25, 25), 4))


def test_only_changed_pixels_are_written(session):
    session.add_point((), (20, 20))
    session.add_point((), (20, 30))
    (change,) = session.journal.entries[-1].pixels
    assert not change.before.any()
    assert change.area == disk(SHAPE, (20, 30), 4).sum()


def test_only_what_is_around_a_click_is_read():
    regions = []
    shape = (400, 500)
    labels = np.zeros(shape, np.int32)
    session = Session(FakeSegmenter(), ArraySource(np.zeros(shape)), canvas=ArrayCanvas(labels))
    read = session.canvas.read
    session.canvas.read = lambda plane, region: regions.append(region) or read(plane, region)
    session.add_point((), (200, 200))
    first, *others = regions
    assert all(s.stop - s.start <= 129 for s in first)  # an object of its own to go on with?
    radius = int(np.flatnonzero(labels[200]).max()) - 200
    assert {*map(str, others)} == {str((slice(200 - radius, 201 + radius),) * 2)}


def test_occupied_pixels_are_kept(session, labels):
    labels[:, 20:] = 7
    session.add_point((), (20, 20))
    assert (labels[:, 20:] == 7).all()
    assert labels[20, 19] == 1


def test_overwrite_takes_occupied_pixels_but_not_those_of_a_locked_object(session, labels):
    labels[:, 20:] = 7
    labels[:20] = 8
    session.overwrite = True
    session.lock([8])
    session.add_point((), (20, 20))
    below = disk(SHAPE, (20, 20), 4)
    below[:20] = False
    np.testing.assert_array_equal(labels == 1, below)
    assert (labels[:20] == 8).all()


def test_painted_pixels_of_the_object_survive_its_prompts(session, labels):
    labels[2:5, 2:5] = 1
    click = session.add_point((), (20, 20))
    session.remove_point(click)
    assert labels.sum() == 9


def test_pixels_painted_over_by_another_label_are_not_taken_back(session, labels):
    click = session.add_point((), (20, 20))
    spot = disk(SHAPE, (20, 20), 1)
    paint(session, labels, spot, 5)
    session.remove_point(click)
    np.testing.assert_array_equal(labels, np.where(spot, 5, 0))


def test_erased_by_hand_stays_erased_until_the_object_is_started_over(session, labels):
    session.add_point((), (20, 20))
    hole = disk(SHAPE, (20, 18), 2)
    paint(session, labels, hole, 0)
    session.add_point((), (20, 22))
    assert not labels[hole].any()
    assert labels[20, 26] == 1
    session.clear(())
    session.add_point((), (20, 20))
    np.testing.assert_array_equal(labels == 1, disk(SHAPE, (20, 20), 4))


def test_erased_on_a_plane_stays_erased_on_planes_that_cross_it(rng):
    labels = np.zeros((20, *SHAPE), np.int32)
    canvas = ArrayCanvas(labels)
    session = Session(FakeSegmenter(), ArraySource(rng.random(labels.shape)), canvas=canvas)
    session.add_point(10, (20, 20))
    labels[8:13, 20, 18:21] = 0  # seen from the side
    mask = np.zeros((20, SHAPE[1]), bool)
    mask[10, 18:21] = True
    pixels = np.nonzero(mask)
    ones = np.ones(3, np.int32)
    session.paint(pixel_changes((None, 20, None), pixels, ones, 0 * ones), "erasing")
    session.add_point(10, (20, 24))
    assert not labels[10, 20, 18:21].any()
    assert labels[10, 20, 21:24].all()
    session.undo()
    session.undo()
    np.testing.assert_array_equal(labels[10] == 1, disk(SHAPE, (20, 20), 4))


def test_painted_back_is_not_erased_any_more(session, labels):
    session.add_point((), (20, 20))
    hole = disk(SHAPE, (20, 20), 1)
    paint(session, labels, hole, 0)
    paint(session, labels, hole, 1)
    click = session.add_point((), (20, 24))
    session.remove_point(click)
    np.testing.assert_array_equal(labels == 1, disk(SHAPE, (20, 20), 4))


def test_undo_of_a_stroke_restores_what_lay_beneath(session, labels):
    session.add_point((), (20, 20))
    before = labels.copy()
    paint(session, labels, disk(SHAPE, (22, 22), 3), 9)
    painted = labels.copy()
    assert session.next_undo == "a brush stroke on object 9"
    session.undo()
    np.testing.assert_array_equal(labels, before)
    session.redo()
    np.testing.assert_array_equal(labels, painted)


def test_painting_over_a_locked_object_is_put_back_and_reported(session, labels):
    session.add_point((), (20, 20))
    session.lock([1])
    before, reported = labels.copy(), []
    session.noticed.connect(reported.append)
    paint(session, labels, disk(SHAPE, (22, 26), 5), 9)
    np.testing.assert_array_equal(labels == 1, before == 1)
    assert (labels == 9).any()
    assert reported == ["Object 1 is locked: its pixels were put back"]
    with pytest.raises(ValueError, match="object 1, which is locked"):
        session.add_point((), (1, 1))


def test_chosen_candidate_comes_back_with_undo_of_clear(session, labels):
    session.add_point((), (20, 20))
    session.choose_candidate(2, ())
    chosen = labels.copy()
    assert session.next_undo == "chose mask 3 of object 1"
    session.clear(())
    assert not labels.any()
    session.undo()
    np.testing.assert_array_equal(labels, chosen)
    assert session.candidate(1, ()) == 2
    session.undo()
    assert session.candidate(1, ()) == 0


def test_pixels_changed_elsewhere_are_recorded_and_not_overwritten(session, labels):
    session.add_point((), (20, 20))
    reported = []
    session.noticed.connect(reported.append)
    labels[20, 20] = 5  # by a script
    session.undo()
    assert labels[20, 20] == 5
    assert session.next_undo == "1 pixel changed elsewhere on object 5"
    assert "changed elsewhere and are left as they are" in reported[0]
    session.undo()
    np.testing.assert_array_equal(labels == 1, disk(SHAPE, (20, 20), 4))
    session.undo()
    assert not labels.any()


def test_a_click_notices_what_was_changed_elsewhere(session, labels):
    session.add_point((), (20, 20))
    labels[19, 19] = 0
    session.add_point((), (20, 21))
    assert [entry.kind for entry in session.journal.entries] == [
        "prompts", "mask", "prompts", "elsewhere", "mask",
    ]  # fmt: skip
    assert labels[19, 19] == 0


def test_undo_ends_where_labels_became_others(session, labels):
    session.add_point((), (20, 20))
    other, reported = np.zeros_like(labels), []
    session.canvas = ArrayCanvas(other)
    session.noticed.connect(reported.append)
    session.undo()
    assert reported == ["Undo ends here: masks go into other labels since"]
    assert session.next_undo == ""
    session.add_point((), (20, 24))
    session.undo()
    assert not other.any()
    np.testing.assert_array_equal(labels == 1, disk(SHAPE, (20, 20), 4))


class Refusing(ArrayCanvas):
    """Labels on a disk that is full from some time on."""

    full = False

    def write(self, writes):
        if self.full:
            raise OSError("the disk is full")
        super().write(writes)


def test_many_objects_are_deleted_in_one_step(rng, labels):
    session = Session(FakeSegmenter(), ArraySource(rng.random(SHAPE)), canvas=ArrayCanvas(labels))
    for number, place in enumerate([(8, 8), (8, 30), (28, 20)], 1):
        session.add_point((), place, object_id=number)
    before = labels.copy()
    session.lock([2])
    with pytest.raises(ValueError, match="object 2, which is locked"):
        session.delete_objects([1, 2])
    session.delete_objects([3, 1, 3])
    assert np.unique(labels).tolist() == [0, 2]
    assert session.prompts.object_ids == (2,)
    assert session.next_undo == "deleted 2 objects"
    session.undo()
    np.testing.assert_array_equal(labels, before)
    assert session.prompts.object_ids == (1, 2, 3)


def test_refused_write_leaves_journal_and_labels_as_they_were(rng, labels):
    canvas = Refusing(labels)
    session = Session(FakeSegmenter(), ArraySource(rng.random(SHAPE)), canvas=canvas)
    session.add_point((), (20, 20))
    before, entries, errors = labels.copy(), session.journal.entries, []
    session.failed.connect(errors.append)
    canvas.full = True
    session.undo()
    session.clear(())
    session.delete_object(1)
    assert [str(error) for error in errors] == ["the disk is full"] * 3
    assert session.journal.entries == entries
    assert len(session.prompts.clicks) == 1
    np.testing.assert_array_equal(labels, before)


def test_mask_that_labels_refused_is_written_when_there_are_others(rng, labels):
    canvas = Refusing(labels)
    canvas.full = True
    session = Session(FakeSegmenter(), ArraySource(rng.random(SHAPE)), canvas=canvas)
    session.add_point((), (20, 20))
    assert not labels.any()
    other = np.zeros_like(labels)
    session.canvas = ArrayCanvas(other)
    np.testing.assert_array_equal(other == 1, disk(SHAPE, (20, 20), 4))
    session.undo()
    assert not other.any()


def test_mask_that_came_after_a_stroke_stays_when_the_stroke_is_undone(rng, labels):
    source = ArraySource(rng.random(SHAPE))
    session = Session(None, source, canvas=ArrayCanvas(labels))
    session.add_point((), (20, 20))
    paint(session, labels, disk(SHAPE, (20, 22), 2), 9)
    session.segmenter = FakeSegmenter()  # now the click is answered
    painted = labels.copy()
    assert session.next_undo == "a brush stroke on object 9"
    session.undo()
    np.testing.assert_array_equal(labels, disk(SHAPE, (20, 20), 4).astype(int))
    session.redo()
    np.testing.assert_array_equal(labels, painted)


def test_redone_stroke_leaves_the_mask_that_was_written_again_meanwhile_to_its_prompts(
    session, labels
):
    session.add_point((), (20, 20))
    model, session.segmenter = session.segmenter, None
    second = session.add_point((), (20, 28))  # it waits
    stroke = disk(SHAPE, (20, 18), 2)
    paint(session, labels, stroke, 9)
    session.segmenter = model
    session.undo()  # of the stroke: the mask of both clicks is written over it
    session.redo()
    assert labels[20, 30] == 1
    session.remove_point(second)
    expected = np.where(disk(SHAPE, (20, 20), 4), 1, 0)
    np.testing.assert_array_equal(labels, np.where(stroke, 9, expected))


def test_stroke_is_made_again_where_a_mask_that_moved_away_has_left_nothing(session, labels):
    first = session.add_point((), (20, 20))
    model, session.segmenter = session.segmenter, None
    session.move_point(first, (20, 30))  # it waits
    paint(session, labels, disk(SHAPE, (20, 18), 2), 9)
    session.segmenter = model
    painted, reported = labels.copy(), []
    session.noticed.connect(reported.append)
    session.undo()
    assert not (labels == 9).any()
    session.redo()
    np.testing.assert_array_equal(labels, painted)
    assert not reported
    assert session.next_undo == "a brush stroke on object 9"


def test_changes_on_planes_that_cross_touch_where_they_share_a_pixel():
    def change(plane, rows, columns):
        pixels = np.nonzero(np.ones((rows, columns)))
        return pixel_changes(plane, pixels, np.zeros(rows * columns, int), np.ones(rows * columns))

    (here,) = change((2, None, None), 5, 6)  # axis 1 to row 4, axis 2 to column 5
    (across,) = change((None, 3, None), 3, 2)  # axis 0 to row 2
    (beside,) = change((None, 3, None), 2, 2)
    assert here.touches(across)
    assert across.touches(here)
    assert not here.touches(beside)


def test_deleted_object_is_gone_from_every_plane_and_comes_back(rng):
    labels = np.zeros((3, *SHAPE), np.int32)
    labels[2, 1:4, 1:4] = 1  # from before
    source = ArraySource(rng.random(labels.shape))
    session = Session(FakeSegmenter(), source, canvas=ArrayCanvas(labels))
    session.add_point(0, (20, 20))
    session.add_point(1, (20, 20))
    session.add_point(1, (30, 30), object_id=2)
    before = labels.copy()
    session.delete_object(1)
    np.testing.assert_array_equal(labels, np.where(before == 1, 0, before))
    assert session.prompts.object_ids == (2,)
    session.undo()
    np.testing.assert_array_equal(labels, before)
    assert session.prompts.object_ids == (1, 2)
    assert session.scores(1, 0) == pytest.approx((0.9, 0.8, 0.7))


def test_merged_objects_are_one_that_more_clicks_refine(session, labels):
    session.add_point((), (20, 20))
    session.add_point((), (20, 26), object_id=2)
    both = labels > 0
    session.merge_objects(1, 2)
    np.testing.assert_array_equal(labels, both.astype(int))
    assert session.prompts.object_ids == (1,)
    assert len(session.prompts.clicks) == 2
    session.add_point((), (30, 20))
    np.testing.assert_array_equal(labels == 1, both | disk(SHAPE, (30, 20), 4))
    session.undo()
    session.undo()
    assert set(np.unique(labels)) == {0, 1, 2}
    assert session.prompts.object_ids == (1, 2)


def test_renumbered_object_keeps_its_prompts_and_a_taken_number_is_refused(session, labels):
    session.add_point((), (20, 20))
    labels[1, 1] = 4
    session.renumber(1, 7)
    np.testing.assert_array_equal(labels == 7, disk(SHAPE, (20, 20), 4))
    assert session.prompts.object_ids == (7,)
    assert session.object_id == 7
    with pytest.raises(ValueError, match="number that no object has, got 4"):
        session.renumber(7, 4)
    session.undo()
    assert session.object_id == 1
    np.testing.assert_array_equal(labels == 1, disk(SHAPE, (20, 20), 4))


def test_number_that_labels_cannot_hold_is_refused(rng):
    labels = np.zeros(SHAPE, np.uint8)
    session = Session(FakeSegmenter(), ArraySource(rng.random(SHAPE)), canvas=ArrayCanvas(labels))
    errors = []
    session.failed.connect(errors.append)
    session.add_point((), (20, 20), object_id=300)
    assert "expected labels that hold 300, got uint8" in str(errors[0])
    assert not labels.any()
