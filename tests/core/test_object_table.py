"""Every object has a row, which agrees with labels, prompts and the journal."""

from __future__ import annotations

import numpy as np
import pytest
from core.fake_segmenter import FakeSegmenter, disk
from core.stepping_executor import SteppingExecutor

from napari_sam.batch import replay_session
from napari_sam.session import (
    ArrayCanvas,
    ArraySource,
    ObjectClass,
    ObjectRow,
    Session,
    pixel_changes,
)
from napari_sam.session.splitting import cut_off

SHAPE, PLANE = (40, 50), (None, None)
AREA = int(disk(SHAPE, (20, 20), 4).sum())


@pytest.fixture
def labels():
    labels = np.zeros(SHAPE, np.int32)
    labels[30:34, 2:8] = 7
    return labels


@pytest.fixture
def session(rng, labels):
    return Session(FakeSegmenter(), ArraySource(rng.random(SHAPE)), canvas=ArrayCanvas(labels))


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 1e9

    monkeypatch.setattr("napari_sam.session.journal.time.time", lambda: Clock.now)
    return Clock


def paint(session, labels, where, number):
    pixels = np.nonzero(where & (labels != number))
    before = labels[pixels]
    labels[pixels] = number
    session.paint(pixel_changes(PLANE, pixels, before, labels[pixels]))


def test_a_label_from_before_and_a_click_have_a_row_each(session):
    session.add_point((), (20, 20))
    clicked, before = session.objects
    assert before == ObjectRow(7, "", "proposed", "", (PLANE,), 24, None, 0, 0.0)
    assert (clicked.id, clicked.area, clicked.prompts) == (1, AREA, 1)
    assert clicked.score == pytest.approx(0.9)


def test_rows_follow_painting_undo_and_redo(session, labels):
    session.add_point((), (20, 20))
    assert [row.area for row in session.objects] == [AREA, 24]
    paint(session, labels, disk(SHAPE, (32, 4), 1), 1)
    assert [row.area for row in session.objects] == [AREA + 5, 19]
    session.undo()
    assert [row.area for row in session.objects] == [AREA, 24]
    session.undo()
    assert [row.id for row in session.objects] == [7]
    session.redo()
    assert session.object_row(1).area == AREA


def test_only_objects_that_changed_are_announced(session):
    reported = []
    session.object_id = 3
    assert session.objects
    session.objects_changed.connect(reported.append)
    session.add_point((), (20, 20))
    assert {*sum(reported, ())} == {3}
    session.delete_object(7)
    assert reported[-1] == (7,)
    assert session.object_row(7) is None


def test_a_clicked_object_is_accepted_when_another_is_current(session):
    reported = []
    session.add_point((), (20, 20))
    assert session.object_row(1).state == "proposed"
    session.objects_changed.connect(reported.append)
    session.new_object()
    assert reported == [(1, 2)]
    assert session.object_row(1).state == "accepted"


def test_a_found_object_is_accepted_by_command_or_by_a_correction(session, labels):
    session.find_all(points_per_side=2)
    found = [row for row in session.objects if row.origin == "found"]
    assert {row.state for row in found} == {"proposed"}
    first, second, third = (row.id for row in found[:3])
    session.accept([first])
    assert session.object_row(first).state == "accepted"
    rows, columns = np.nonzero(labels == second)
    paint(session, labels, disk(SHAPE, (rows[0], columns[0]), 1), second)
    session.undo()
    assert session.object_row(second).state == "proposed"
    session.redo()
    assert session.object_row(second).state == "accepted"
    session.lock([third])
    assert session.object_row(third).state == "locked"


def test_a_found_object_has_the_score_of_the_model(session):
    session.find_all(points_per_side=2)
    scores = {row.score for row in session.objects if row.origin == "found"}
    assert scores
    assert all(0 < score <= 1 for score in scores)


def test_accepting_is_taken_back(session):
    session.accept([7])
    session.accept([7], False)
    assert session.object_row(7).state == "proposed"
    session.undo()
    assert session.object_row(7).state == "accepted"
    session.undo()
    assert session.facts(7).accepted is None


def test_classes_are_given_renamed_and_go_with_undo(session):
    session.set_classes([ObjectClass("T cell", "#FF0000", "Shift-T"), ObjectClass("B cell")])
    session.set_class([7], "T cell")
    session.rename_class("T cell", "T")
    assert session.object_row(7).class_name == "T"
    session.set_classes(session.classes[1:])
    assert session.object_row(7).class_name == ""
    for name in ("T", "T cell"):
        session.undo()
        assert session.object_row(7).class_name == name
    session.undo()
    session.undo()
    assert session.classes == ()


def test_a_class_that_there_is_not_is_refused(session):
    session.set_classes([ObjectClass("T cell")])
    with pytest.raises(ValueError, match="'T cell'"):
        session.set_class([7], "B cell")
    with pytest.raises(ValueError, match="name of its own"):
        session.set_classes([ObjectClass("x"), ObjectClass("x")])
    with pytest.raises(ValueError, match="#rrggbb"):
        ObjectClass("x", "red")


def test_seconds_are_those_between_entries_but_for_pauses(session, clock):
    session.add_point((), (20, 20))
    clock.now += 4
    session.add_point((), (22, 20))
    clock.now += 500
    session.add_point((), (20, 22))
    assert session.object_row(1).seconds == pytest.approx(4)
    clock.now += 6
    session.accept([1, 7])
    assert session.object_row(1).seconds == pytest.approx(7)
    assert session.object_row(7).seconds == pytest.approx(3)
    session.undo()
    assert session.object_row(1).seconds == pytest.approx(4)
    session.redo()
    assert session.object_row(7).seconds == pytest.approx(3)


def test_what_is_merged_takes_its_seconds_along(session, clock):
    session.add_point((), (20, 20))
    clock.now += 4
    session.add_point((), (20, 22))
    session.merge_objects(7, 1)
    assert session.object_row(7).seconds == pytest.approx(4)
    session.undo()
    assert session.object_row(1).seconds == pytest.approx(4)
    assert session.object_row(7).seconds == 0


def test_rows_are_the_same_after_saving_and_opening(session, labels, tmp_path, clock):
    session.add_point((), (20, 20))
    clock.now += 3
    session.set_classes([ObjectClass("T cell")])
    session.set_class([1, 7], "T cell")
    paint(session, labels, disk(SHAPE, (10, 40), 2), 9)
    session.accept([7])
    session.find_all(points_per_side=2)
    session.save(tmp_path / "one.napari-sam")
    again = Session.open(tmp_path / "one.napari-sam", session.source)
    assert again.objects == session.objects
    assert again.classes == session.classes


def test_labels_that_change_while_they_are_counted_are_counted_right(rng, labels):
    executor = SteppingExecutor(rng)
    session = Session(None, ArraySource(rng.random(SHAPE)), executor, canvas=ArrayCanvas(labels))
    assert session.objects == ()
    assert session.is_counting
    paint(session, labels, disk(SHAPE, (32, 4), 1), 1)
    executor.wait(background=True)
    assert not session.is_counting
    assert [(row.id, row.area) for row in session.objects] == [(1, 5), (7, 19)]


def test_pixels_counted_before_their_entry_are_not_counted_twice(session, labels):
    pixels = np.nonzero(disk(SHAPE, (10, 10), 3))
    before = labels[pixels]
    labels[pixels] = 9
    assert session.object_row(9).area == len(before)
    session.note_elsewhere(pixel_changes(PLANE, pixels, before, labels[pixels]))
    assert session.object_row(9).area == len(before)
    session.undo()
    assert session.object_row(9) is None


def test_replaced_labels_are_counted_again(session):
    assert [row.id for row in session.objects] == [7]
    others = np.zeros(SHAPE, np.int32)
    others[:2] = 4
    session.canvas = ArrayCanvas(others)
    assert [(row.id, row.area) for row in session.objects] == [(4, 100)]


def test_without_labels_rows_describe_the_masks(rng):
    session = Session(FakeSegmenter(), ArraySource(rng.random(SHAPE)))
    session.add_point((), (20, 20))
    (row,) = session.objects
    assert (row.area, row.planes) == (AREA, (PLANE,))


def test_a_stroke_in_another_view_counts_on_the_planes_that_it_crosses(rng):
    labels = np.zeros((5, 12, 14), np.int32)
    source = ArraySource(rng.random(labels.shape))
    session = Session(None, source, canvas=ArrayCanvas(labels))
    assert session.objects == ()
    labels[1:4, 6, 2:5] = 3
    before = np.zeros(9, np.int32)
    at = tuple(axis.ravel() for axis in np.mgrid[1:4, 2:5])
    session.paint(pixel_changes((None, 6, None), at, before, before + 3))
    (row,) = session.objects
    assert (row.area, row.planes) == (9, tuple((z, None, None) for z in (1, 2, 3)))
    assert session._table.extents(3)[2, None, None].box == (6, 2, 6, 4)
    session.undo()
    assert session.objects == ()


@pytest.mark.parametrize("dtype", ["<u8", "<i2", "|u1"])
def test_any_type_of_labels_is_counted(rng, dtype):
    labels = np.zeros((6, 8), dtype)
    labels[1:3, 1:4] = high = np.iinfo(dtype).max
    if dtype == "<i2":
        labels[5] = -3
    session = Session(None, ArraySource(rng.random(labels.shape)), canvas=ArrayCanvas(labels))
    assert [(row.id, row.area) for row in session.objects] == [(high, 6)]


def test_a_stroke_across_cuts_an_object_in_two(session, labels):
    session.set_classes([ObjectClass("T cell")])
    session.set_class([7], "T cell")
    new = session.split_object(7, (), [(29, 5), (35, 5)])
    assert new > 7
    assert [(row.id, row.area, row.class_name) for row in session.objects] == [
        (7, 16, "T cell"),
        (new, 8, "T cell"),
    ]
    assert (labels[30:34, 7] == new).all()
    session.undo()
    assert (labels[30:34, 2:8] == 7).all()
    session.redo()
    assert session.object_row(new).area == 8
    assert session.new_object() > new


def test_what_was_split_off_is_not_predicted_again(session, labels):
    session.add_point((), (20, 20))
    new = session.split_object(1, (), [(10, 21), (30, 21)])
    session.add_point((), (20, 19), object_id=1)
    assert (labels[:, 22:] != 1).all()
    assert session.object_row(new).area == np.count_nonzero(disk(SHAPE, (20, 20), 4)[:, 22:])


@pytest.mark.parametrize("path", [[(31, 2), (31, 4)], [(0, 0), (5, 5)], [(29, 5)]])
def test_a_stroke_that_cuts_nothing_is_refused(session, labels, path):
    before = labels.copy()
    with pytest.raises(ValueError, match="stroke"):
        session.split_object(7, (), path)
    np.testing.assert_array_equal(labels, before)


def test_a_diagonal_stroke_cuts_and_a_part_beside_stays():
    mask = np.zeros((20, 30), bool)
    mask[2:18, 2:18] = mask[5:9, 22:26] = True
    off = cut_off(mask, [(20, -1), (-1, 20)])
    assert off[2:18, 2:18].sum() == 120
    assert not off[:, 20:].any()
    assert cut_off(mask, [(20, 20), (19, 21)]) is None


def test_a_split_is_saved_and_replayed(session, labels, tmp_path):
    session.add_point((), (20, 20))
    session.split_object(1, (), [(10, 21), (30, 21)])
    session.add_point((), (20, 17))
    session.save(path := tmp_path / "one.napari-sam")
    assert Session.open(path, session.source).objects == session.objects
    assert replay_session(path, session.source, FakeSegmenter()).different == 0


def test_an_object_without_prompts_is_deleted_on_one_plane(rng):
    labels = np.zeros((3, 12, 14), np.int32)
    labels[:, 2:5, 2:5] = 4
    session = Session(None, ArraySource(rng.random(labels.shape)), canvas=ArrayCanvas(labels))
    session.delete_object(4, 1)
    assert labels.any((1, 2)).tolist() == [True, False, True]
    assert session.object_row(4).planes == ((0, None, None), (2, None, None))
    session.undo()
    assert session.object_row(4).area == 27


def test_commands_read_the_rectangles_of_objects_once_these_are_counted(session, labels):
    assert session.objects
    canvas, regions = session.canvas, []
    read = canvas.read
    canvas.read = lambda plane, region: regions.append(region) or read(plane, region)
    expected = np.where(labels == 7, 0, labels)
    session.delete_object(7)
    np.testing.assert_array_equal(labels, expected)
    session.undo()
    session.renumber(7, 70)
    session.split_object(70, (), [(29, 4.5), (35, 4.5)])
    assert sorted(np.unique(labels, return_counts=True)[1].tolist()) == [
        12,
        12,
        SHAPE[0] * SHAPE[1] - 24,
    ]
    session.delete_objects([row.id for row in session.objects])
    assert not labels.any()
    assert regions
    assert all(r.stop - r.start <= 4 and c.stop - c.start <= 6 for r, c in regions)
