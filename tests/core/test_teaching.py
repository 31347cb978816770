"""What a session can teach a model: finished objects, and regions where nothing else is."""

from __future__ import annotations

import numpy as np
import pytest
from core.fake_segmenter import FakeSegmenter, disk

from napari_sam.session import ArrayCanvas, ArraySource, Session, pixel_changes
from napari_sam.session.complete_regions import rectangle, with_rectangle, without_rectangle
from napari_sam.session.teaching import windows


def session_of(shape: tuple[int, ...], labels: np.ndarray | None = None) -> Session:
    image = np.random.default_rng(0).integers(0, 999, shape).astype(np.uint16)
    canvas = ArrayCanvas(np.zeros(shape, np.int32) if labels is None else labels)
    return Session(FakeSegmenter(3.0), ArraySource(image), canvas=canvas)


def paint(session: Session, plane: int, at: tuple[int, int], number: int) -> None:
    labels = session.canvas.array
    pixels = np.nonzero(disk(labels.shape[1:], at, 3))
    before = labels[plane][pixels]
    labels[plane][pixels] = number
    after = np.full_like(before, number)
    session.paint(pixel_changes((plane, None, None), pixels, before, after))


def test_clicked_object_is_finished_when_another_is_current():
    session = session_of((2, 40, 50))
    session.add_point(0, (10, 10))
    assert session.finished_count == 0
    session.new_object()
    assert session.finished_count == 1
    session.add_point(1, (20, 20))
    session.new_object()
    assert session.finished_count == 2
    session.undo()
    assert session.finished_count == 1


def test_found_adopted_and_rejected_objects_are_finished_only_when_accepted():
    labels = np.zeros((1, 40, 50), np.int32)
    labels[0][disk((40, 50), (10, 10), 4)] = 7
    session = session_of((1, 40, 50), labels)
    session.adopt_labels()
    session.new_object()
    session.find_all([0], points_per_side=1)
    assert session.finished_count == 0
    session.accept([7])
    assert session.finished_count == 1
    session.lock([7])
    assert session.finished_count == 1
    session.lock([7], False)
    session.accept([7], False)
    assert session.finished_count == 0


def test_corrections_are_prompts_beyond_the_first():
    session = session_of((1, 40, 50))
    assert session.corrections_per_object == 0
    for at in ((10, 10), (10, 12), (12, 10)):
        session.add_point(0, at)
    session.new_object()
    session.add_point(0, (30, 30))
    session.new_object()
    assert session.corrections_per_object == 1.0


def test_examples_have_masks_image_and_limits_of_each_plane_with_finished_objects():
    session = session_of((3, 40, 50))
    session.add_point(0, (10, 10))
    session.new_object()
    paint(session, 2, (20, 30), 9)
    session.object_id = 11
    first, last = session.teaching_examples()
    assert (first.name, last.name) == ("plane 0", "plane 2")
    np.testing.assert_array_equal(first.labels > 0, session.mask(1, 0))
    np.testing.assert_array_equal(last.labels > 0, disk((40, 50), (20, 30), 3))
    pixels, limits = session.source.read((2, None, None))
    np.testing.assert_array_equal(last.image, pixels)
    assert last.contrast_limits == limits
    assert last.complete is None
    assert last.plane_shape == (40, 50)


def test_rest_of_a_complete_region_is_background_and_unfinished_objects_are_unknown():
    labels = np.zeros((1, 40, 50), np.int32)
    labels[0][disk((40, 50), (30, 40), 3)] = 99  # somebody else's
    session = session_of((1, 40, 50), labels)
    session.add_point(0, (10, 10))
    session.new_object()
    session.mark_complete(0, (5, 0, 39, 49))
    (example,) = session.teaching_examples()
    expected = np.zeros((40, 50), bool)
    expected[5:] = True
    np.testing.assert_array_equal(example.complete, expected & (labels[0] != 99))
    assert set(np.unique(example.labels)) == {0, 1}
    (example,) = session.teaching_examples(complete=True)
    np.testing.assert_array_equal(example.complete, labels[0] != 99)


def test_carried_masks_teach_only_when_accepted():
    session = session_of((3, 40, 50))
    session.add_point(1, (20, 20))
    session.propagate()
    session.new_object()
    carried = sorted(session.quality(1))
    assert carried
    assert [one.name for one in session.teaching_examples()] == ["plane 1"]
    session.accept_plane(1, carried[0])
    assert len(session.teaching_examples()) == 2
    session.accept([1])
    assert len(session.teaching_examples()) == 1 + len(carried)


def test_parts_of_a_large_plane_hold_each_object_whole_and_are_stretched_alike():
    session = session_of((1, 1500, 2600))
    for number, at in enumerate(((20, 20), (40, 60), (700, 1300), (1490, 2590)), 1):
        paint(session, 0, at, number)
    session.object_id = 50
    examples = session.teaching_examples()
    assert all(max(one.labels.shape) <= 1024 for one in examples)
    areas = sorted(int((one.labels == n).sum()) for one in examples for n in one.objects)
    whole = int(disk((1500, 2600), (700, 1300), 3).sum())
    assert areas == [whole] * 4
    assert {one.plane_shape for one in examples} == {(1500, 2600)}
    assert len({one.contrast_limits for one in examples}) == 1
    assert examples[0].contrast_limits is not None


def test_object_cut_off_by_the_border_of_a_part_is_unknown_there():
    session = session_of((1, 400, 2600))
    for number, at in enumerate(((50, 600), (50, 1111)), 1):
        paint(session, 0, at, number)  # the second one reaches across the first one's part
    session.object_id = 50
    session.mark_complete(0)
    first = session.teaching_examples()[0]
    assert len(first.objects) == 1
    cut = session.canvas.array[0, :, 88:1112] == 2
    assert cut.any()
    assert not first.complete[cut].any()
    assert first.complete[0, 0]


def test_windows_hold_every_rectangle():
    rng = np.random.default_rng(3)
    boxes = [(r, c, r + h, c + w) for r, c, h, w in rng.integers(0, 2900, (300, 4)) % 2900]
    boxes = [(r, c, min(r1, 4999), min(c1, 4999)) for r, c, r1, c1 in boxes]
    parts = windows(boxes, (5000, 5000))
    for r0, c0, r1, c1 in boxes:
        assert any(
            rows.start <= r0 and r1 < rows.stop and columns.start <= c0 and c1 < columns.stop
            for rows, columns in parts
        )


def test_many_planes_give_a_few_examples_spread_over_them_and_those_that_are_complete():
    session = session_of((100, 24, 30))
    for plane in range(100):
        paint(session, plane, (12, 12), 1)
    session.accept([1])
    session.mark_complete(41)
    examples = session.teaching_examples()
    planes = [int(one.name.split()[1]) for one in examples]
    assert len(planes) == 32
    assert planes == sorted(planes)
    assert 41 in planes
    assert {0, 99} <= set(planes)


def test_teaching_needs_labels():
    session = Session(FakeSegmenter(3.0), ArraySource(np.zeros((40, 50))))
    with pytest.raises(ValueError, match="expected labels with finished objects"):
        session.teaching_examples()


def test_mark_complete_is_undone_and_redone_and_announced():
    session = session_of((2, 40, 50))
    reported = []
    session.complete_changed.connect(lambda: reported.append(session.complete_regions(1)))
    session.mark_complete(1)
    session.mark_complete(1, (0, 0, 9.4, 49), on=False)
    assert session.next_undo == "marked a region as not complete"
    assert session.complete_regions(1) == ((10, 0, 39, 49),)
    session.undo()
    assert session.complete_regions(1) == ((0, 0, 39, 49),)
    session.undo()
    assert session.complete_regions(1) == ()
    session.redo()
    assert reported == [
        ((0, 0, 39, 49),),
        ((10, 0, 39, 49),),
        ((0, 0, 39, 49),),
        (),
        ((0, 0, 39, 49),),
    ]
    session.mark_complete(1, (3, 3, 8, 8))
    assert session.next_undo == "marked a plane as complete"  # it was already
    with pytest.raises(ValueError, match="draw it on the image"):
        session.mark_complete(1, (50, 60, 70, 80))


def test_regions_cover_what_was_marked():
    rng = np.random.default_rng(1)
    regions, shown = (), np.zeros((20, 25), bool)
    for number in range(200):
        r, c, h, w = rng.integers(0, (18, 23, 12, 12))
        one = rectangle((r, c, r + h, c + w), shown.shape)
        at = slice(one[0], one[2] + 1), slice(one[1], one[3] + 1)
        shown[at] = on = number % 3 > 0
        regions = (with_rectangle if on else without_rectangle)(regions, one)
        covered = np.zeros_like(shown)
        for r0, c0, r1, c1 in regions:
            covered[r0 : r1 + 1, c0 : c1 + 1] = True
        np.testing.assert_array_equal(covered, shown)
