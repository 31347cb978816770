"""Objects followed through the planes of a session: written as they come, one step in all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from component_segmenter import ComponentSegmenter, disks

from napari_sam.batch import replay_session
from napari_sam.session import ArrayCanvas, ArraySource, PlaneFacts, Session, pixel_changes
from napari_sam.session.follow_words import ending_text, locked_text
from napari_sam.session.methods import methods_text

SHAPE, COUNT = (40, 50), 9
A, B = (12, 12, 6), (26, 36, 7)
# A lives on planes 1 to 6, B on all
STACK = np.stack([disks(SHAPE, *([A] if 1 <= z <= 6 else []), B) for z in range(COUNT)])


def begun(stack=STACK, executor=None):
    labels = np.zeros(stack.shape, np.int32)
    source = ArraySource(stack, contrast_limits=(0, 255))
    session = Session(ComponentSegmenter(), source, executor, canvas=ArrayCanvas(labels))
    session.reported = []
    session.noticed.connect(session.reported.append)
    session.failed.connect(lambda error: session.reported.append(str(error)))
    return session, labels


def planes_of(labels, object_id) -> list[int]:
    return np.flatnonzero((labels == object_id).any(axis=(1, 2))).tolist()


def paint(session, labels, z, where, number):
    """Paint as a person would: the labels change before the session gets the report."""
    pixels = np.nonzero(where & (labels[z] != number))
    before = labels[z][pixels]
    labels[z][pixels] = number
    session.paint(pixel_changes((z, None, None), pixels, before, labels[z][pixels]))


def test_clicked_object_is_followed_to_its_ends_as_one_step():
    session, labels = begun()
    session.add_point(3, A[:2])
    clicked = labels.copy()
    session.propagate()
    assert planes_of(labels, 1) == [1, 2, 3, 4, 5, 6]
    np.testing.assert_array_equal(labels[5] == 1, disks(SHAPE, A) > 0)
    steps = [entry for entry in session.journal.entries if entry.is_step]
    assert [entry.kind for entry in session.journal.entries] == ["prompts", "mask", "carried"]
    assert steps[-1].text == "followed object 1 through 5 planes"
    assert list(session.quality(1)) == [(z, None, None) for z in (1, 2, 4, 5, 6)]
    session.undo()
    np.testing.assert_array_equal(labels, clicked)
    assert session.quality(1) == {}
    session.redo()
    assert planes_of(labels, 1) == [1, 2, 3, 4, 5, 6]
    assert len(session.quality(1)) == 5


def test_waiting_for_a_correction_includes_masks_predicted_again(engine):
    session, _ = begun(executor=engine)
    session.add_point(3, B[:2])
    assert session.wait(10)
    session.propagate()
    assert session.wait(10)
    session.add_point(5, A[:2])
    assert session.wait(10)
    assert session.follow_progress is None
    kinds = [entry.kind for entry in session.journal.entries]
    assert "carried" in kinds[-kinds[::-1].index("prompts") :]


def test_planes_where_an_object_is_known_stay_as_they_are():
    session, labels = begun()
    session.add_point(3, A[:2])
    paint(session, labels, 5, disks(SHAPE, (12, 12, 3)) > 0, 1)
    session.propagate()
    np.testing.assert_array_equal(labels[5] == 1, disks(SHAPE, (12, 12, 3)) > 0)
    assert planes_of(labels, 1) == [1, 2, 3, 4, 5, 6]
    assert (5, None, None) not in session.quality(1)


def test_pixels_of_others_are_not_taken_and_a_negative_click_ends_an_object():
    session, labels = begun()
    paint(session, labels, 4, disks(SHAPE, (12, 8, 1)) > 0, 9)
    session.add_point(3, A[:2])
    session.add_point(6, A[:2], label=0)
    session.propagate()
    assert planes_of(labels, 1) in ([1, 2, 3, 4], [1, 2, 3, 4, 5])  # the end may come sooner
    np.testing.assert_array_equal(labels[4] == 9, disks(SHAPE, (12, 8, 1)) > 0)


def test_all_objects_of_a_plane_are_followed_together():
    session, labels = begun()
    session.add_point(3, A[:2])
    session.add_point(3, B[:2], object_id=2)
    session.lock([2])
    assert session.followable(3) == [1]
    session.lock([2], False)
    session.propagate(session.followable(3))
    assert planes_of(labels, 1) == [1, 2, 3, 4, 5, 6]
    assert planes_of(labels, 2) == list(range(COUNT))
    assert session.reported[-1] == (
        "2 objects were followed to 8 further planes; together they reach from plane 0 to 8"
    )


def test_planes_marked_as_without_the_object_are_not_reported_as_reached():
    session, _ = begun()
    session.add_point(3, A[:2])
    session.propagate()
    session.stop_here(plane=5)
    session.add_point(2, A[:2])
    session.propagate()
    assert session.reported[-1] == (
        "Object 1 was followed to 2 further planes; it reaches from plane 1 to 4"
    )


def test_found_object_is_followed_from_the_labels():
    session, labels = begun()
    labels[2] = np.where(disks(SHAPE, A) > 0, 7, 0)
    session.propagate(7)
    assert planes_of(labels, 7) == [1, 2, 3, 4, 5, 6]


def test_a_correction_renews_only_its_neighbours_as_a_part_of_its_step():
    session, labels = begun()
    session.add_point(1, B[:2])
    session.add_point(7, B[:2])
    session.propagate()
    followed = labels.copy()
    before = len(session.journal)
    smaller = disks(SHAPE, B) & ~disks(SHAPE, (26, 36, 3))
    erased = (labels[4] == 1) & ~(smaller > 0)
    paint(session, labels, 4, erased, 0)
    made = session.journal.entries[before:]
    assert [entry.kind for entry in made] == ["painted", "carried"]
    planes = {change.key[1][0] for change in made[1].planes}
    assert planes <= {2, 3, 5, 6}
    assert (4, None, None) not in session.quality(1)
    session.undo()
    np.testing.assert_array_equal(labels, followed)
    assert session.follow_progress is None
    session.redo()
    assert (4, None, None) not in session.quality(1)


def test_deleted_plane_is_where_an_object_ends():
    session, labels = begun()
    session.add_point(3, A[:2])
    session.propagate()
    followed = labels.copy()
    session.delete_object(1, 5)
    assert planes_of(labels, 1) == [1, 2, 3, 4]
    session.undo()
    np.testing.assert_array_equal(labels, followed)
    session.redo()
    assert planes_of(labels, 1) == [1, 2, 3, 4]


def test_stop_here_and_go_on_override_the_ends():
    session, labels = begun()
    session.add_point(3, A[:2])
    session.propagate()
    session.stop_here(1, 5)
    assert planes_of(labels, 1) == [1, 2, 3, 4]
    session.undo()
    assert planes_of(labels, 1) == [1, 2, 3, 4, 5, 6]
    session.stop_here(1, 6)
    assert session.plane_facts(1, 5).verdict == "here"
    session.propagate()
    assert planes_of(labels, 1) == [1, 2, 3, 4, 5]
    with pytest.raises(ValueError, match="where it is known"):
        session.stop_here(1, 3)


def test_accepted_plane_is_known_from_then_on():
    session, labels = begun()
    session.add_point(3, A[:2])
    session.propagate()
    session.accept_plane(1, 5)
    assert session.quality(1)[5, None, None] == 1
    kept = labels[5].copy()
    with pytest.raises(ValueError, match="where it is known"):
        session.stop_here(1, 5)
    session.propagate()
    np.testing.assert_array_equal(labels[5], kept)


def test_one_plane_is_refused_with_what_to_do():
    session, _ = begun(STACK[:1])
    session.add_point(0, B[:2])
    with pytest.raises(ValueError, match="several planes"):
        session.propagate()


def test_saved_session_knows_what_was_carried(tmp_path):
    session, labels = begun()
    session.add_point(3, A[:2])
    session.propagate()
    session.stop_here(1, 6)
    session.accept_plane(1, 4)
    session.save(tmp_path / "followed.napari-sam")
    opened = Session.open(tmp_path / "followed.napari-sam", session.source, session.segmenter)
    np.testing.assert_array_equal(opened.canvas.array, labels)
    assert opened.quality(1) == session.quality(1)
    assert [opened.plane_facts(1, z) for z in range(COUNT)] == [
        session.plane_facts(1, z) for z in range(COUNT)
    ]
    assert opened.spans(1) == session.spans(1)
    opened.undo()
    opened.undo()
    assert planes_of(opened.canvas.array, 1) == [1, 2, 3, 4, 5, 6]


def test_masks_grow_while_it_runs_and_a_cancel_keeps_or_drops_them(engine):
    session, labels = begun(executor=engine)
    session.add_point(3, A[:2])
    assert session.wait(30)
    clicked, seen = labels.copy(), []
    session.spans_changed.connect(lambda ids: seen.append(len(planes_of(labels, 1))))
    session.propagate()
    assert session.wait(30)
    assert sorted({*seen}) == [1, 2, 3, 4, 5, 6]
    session.undo()
    for keep in (True, False):
        count = []

        def stop(keep=keep, count=count):
            if session.quality(1) and not count:
                count.append(len(session.quality(1)))
                session.cancel_following(keep)

        session.journal_changed.connect(stop)
        session.propagate()
        assert session.wait(30)
        session.journal_changed.disconnect(stop)
        assert len(session.quality(1)) == count[0] * keep
        assert session.follow_progress is None
        if keep:
            session.undo()
        np.testing.assert_array_equal(labels, clicked)


def test_undo_of_a_run_in_flight_stops_it(engine):
    session, labels = begun(executor=engine)
    session.add_point(3, A[:2])
    assert session.wait(30)
    clicked = labels.copy()
    session.propagate()
    session.undo()
    assert session.wait(30)
    np.testing.assert_array_equal(labels, clicked)
    assert session.next_undo.startswith("clicked") or session.can_undo


class Unreadable:
    """A stack of which one plane can't be read."""

    def __init__(self, stack, broken) -> None:
        self._stack, self._broken = stack, broken
        self.shape, self.dtype, self.ndim = stack.shape, stack.dtype, stack.ndim

    def __getitem__(self, at):
        if at[0] == self._broken:
            raise OSError("the disk is gone")
        return self._stack[at]


def test_plane_that_cannot_be_read_is_passed_and_reported():
    session, labels = begun(Unreadable(STACK, 5))
    session.add_point(3, A[:2])
    session.propagate()
    assert planes_of(labels, 1) == [1, 2, 3, 4, 6]
    assert session.reported[-1].endswith("plane 5 could not be read")


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_plane_that_shows_nothing_is_passed(value):
    stack = STACK.astype(np.float32)
    stack[4] = value
    session, labels = begun(stack)
    session.add_point(3, A[:2])
    session.propagate()
    assert planes_of(labels, 1) == [1, 2, 3, 5, 6]


def test_planes_that_were_embedded_are_not_embedded_again():
    session, _ = begun()
    session.add_point(3, A[:2])
    session.propagate()
    count = len(session.segmenter.embedded)
    session.add_point(5, B[:2], object_id=2)
    session.propagate(1)
    assert len(session.segmenter.embedded) == count


def test_locked_object_and_nonsense_are_refused():
    session, _ = begun()
    with pytest.raises(ValueError, match="somewhere"):
        session.propagate()
    session.add_point(3, A[:2])
    for options in ({"axis": 1}, {"first": 99}, {"first": 5, "last": 2}, {"object_ids": []}):
        with pytest.raises(ValueError, match="expected"):
            session.propagate(**options)
    session.lock([1])
    with pytest.raises(ValueError, match="locked"):
        session.propagate()


def test_time_series_of_stacks_is_followed_along_the_axis_that_was_scrolled():
    stack = np.stack([STACK] * 3)  # (t, z, y, x)
    session, labels = begun(stack)
    session.show((1, 3))
    session.add_point((1, 3), A[:2])
    assert session.follow_axis == 1
    session.show((2, 3))
    assert session.follow_axis == 0
    session.show((1, 3))
    session.propagate()
    assert [t for t in range(3) if (labels[t, 3] == 1).any()] == [0, 1, 2]
    assert not (labels[1, 4] == 1).any()
    session.propagate(axis=1)
    assert planes_of(labels[1], 1) == [1, 2, 3, 4, 5, 6]
    assert {span.axis for span in session.spans(1)} == {0, 1}


def test_planes_of_rolled_axes_are_followed_along_the_third():
    stack = np.ascontiguousarray(np.moveaxis(STACK, 0, 2))
    labels = np.zeros(stack.shape, np.int32)
    source = ArraySource(stack, displayed=(0, 1), contrast_limits=(0, 255))
    canvas = ArrayCanvas(labels, displayed=(0, 1))
    session = Session(ComponentSegmenter(), source, canvas=canvas)
    session.add_point((None, None, 3), A[:2])
    session.propagate()
    assert planes_of(np.moveaxis(labels, 2, 0), 1) == [1, 2, 3, 4, 5, 6]


def test_object_on_planes_along_other_axes_is_reported_as_such():
    labels = np.zeros(STACK.shape, np.int32)
    labels[3:5, 10:20, 10:20] = 1
    source = ArraySource(STACK, displayed=(0, 2), contrast_limits=(0, 255))
    session = Session(ComponentSegmenter(), source, canvas=ArrayCanvas(labels))
    assert [plane[0] for plane in session.object_row(1).planes] == [3, 4]
    session.show((None, 12, None))
    with pytest.raises(ValueError, match="masks on planes along other axes only"):
        session.propagate()


def test_pixels_that_change_twice_in_one_step_are_what_they_were_after_redo():
    session, labels = begun()
    plane, changes = (0, None, None), []
    assert session.objects == ()  # they are counted from now on
    for number in (5, 6):  # the second lies over the first
        where = np.nonzero(disks(SHAPE, (20, 20 + number, 4)))
        before = labels[0][where]
        labels[0][where] = number
        changes += pixel_changes(plane, where, before, labels[0][where])
    session.paint(changes)
    painted = labels.copy()
    session.undo()
    session.redo()
    np.testing.assert_array_equal(labels, painted)
    for row in session.objects:
        assert row.area == np.count_nonzero(labels == row.id)


def test_saved_session_is_followed_again_by_replay(tmp_path):
    session, labels = begun()
    session.add_point(3, A[:2])
    session.add_point(3, B[:2], object_id=2)
    session.propagate([1, 2])
    session.stop_here(2, 6)
    session.add_point(4, (5, 5), label=0, object_id=1)
    session.accept_plane(2, 1)
    session.save(tmp_path / "followed.napari-sam")
    result = replay_session(tmp_path / "followed.napari-sam", session.source, session.segmenter)
    assert result.different == 0
    np.testing.assert_array_equal(result.labels, labels)


def test_methods_state_how_many_masks_were_followed():
    session, _ = begun()
    session.add_point(3, A[:2])
    session.propagate()
    text = methods_text({}, session.journal.entries)
    assert "1 object was followed from plane to plane" in text
    assert "5 masks were predicted in this way" in text
    assert "on 6 planes" in text


def interrupted(engine, act):
    """Follow, and do something once the first plane is written; return the session's labels."""
    session, labels = begun(executor=engine)
    session.add_point(3, A[:2])
    session.add_point(3, B[:2], object_id=2)
    assert session.wait(30)
    done = []

    def once() -> None:
        if session.quality(2) and not done:
            done.append(True)
            act(session, labels)

    session.journal_changed.connect(once)
    session.propagate([1, 2])
    assert session.wait(30)
    assert done
    assert session.follow_progress is None
    return session, labels


def test_another_model_ends_a_run_and_keeps_what_is_done(engine):
    def switch(session, labels):
        session.segmenter = ComponentSegmenter(key="other")

    session, labels = interrupted(engine, switch)
    assert 1 < len(planes_of(labels, 2)) < COUNT
    assert "model" in session.reported[-1]
    session.propagate([1, 2])
    assert session.wait(30)
    assert planes_of(labels, 2) == list(range(COUNT))


def test_other_labels_end_a_run(engine):
    others = np.zeros(STACK.shape, np.int32)

    def switch(session, labels):
        session.canvas = ArrayCanvas(others)

    session, labels = interrupted(engine, switch)
    assert len(planes_of(labels, 2)) < COUNT
    assert any("labels to stay" in sentence for sentence in session.reported)
    assert session.quality(2) == {}
    assert planes_of(others, 2) == []


def test_other_pixels_end_a_run(engine):
    def change(session, labels):
        session.source = ArraySource(STACK.copy(), contrast_limits=(0, 255))

    session, labels = interrupted(engine, change)
    assert len(planes_of(labels, 2)) < COUNT
    assert "the image to stay" in session.reported[-1]


def test_object_that_is_deleted_or_locked_meanwhile_is_left_alone(engine):
    _session, labels = interrupted(engine, lambda session, labels: session.delete_object(1))
    assert planes_of(labels, 1) == []
    assert planes_of(labels, 2) == list(range(COUNT))
    _session, labels = interrupted(engine, lambda session, labels: session.lock([2]))
    assert len(planes_of(labels, 2)) == 2
    assert planes_of(labels, 1) == [1, 2, 3, 4, 5, 6]


def test_correction_while_a_run_goes_on_is_followed_first_and_undone_alone(engine):
    before = []

    def correct(session, labels):
        before.append(labels.copy())
        paint(session, labels, 3, (labels[3] == 1) & ~(disks(SHAPE, (12, 12, 3)) > 0), 0)

    session, labels = interrupted(engine, correct)
    assert planes_of(labels, 1) == [1, 2, 3, 4, 5, 6]
    assert planes_of(labels, 2) == list(range(COUNT))
    session.undo()
    assert session.wait(30)
    np.testing.assert_array_equal(labels[3], before[0][3])
    assert session.follow_progress is None
    assert planes_of(labels, 2) == list(range(COUNT))


def test_undo_of_a_correction_stops_what_is_followed_for_it(engine):
    session, labels = begun(executor=engine)
    session.add_point(3, B[:2])
    assert session.wait(30)
    session.propagate()
    assert session.wait(30)
    followed, carried = labels.copy(), session.quality(1)
    paint(session, labels, 4, disks(SHAPE, B) & (np.indices(SHAPE)[0] < 26), 0)
    assert session.follow_progress.is_correction
    session.undo()
    assert session.follow_progress is None
    assert session.wait(30)
    np.testing.assert_array_equal(labels, followed)
    assert session.quality(1) == carried


def test_objects_of_the_same_pixels_are_followed_by_one_of_them():
    session, labels = begun()
    session.add_point(3, A[:2])
    session.add_point(4, A[:2], object_id=2)
    session.propagate([1, 2])
    for z in (1, 2, 5, 6):
        assert len({*np.unique(labels[z])} & {1, 2}) == 1


def test_spans_have_their_planes_and_whether_they_are_fresh():
    session, labels = begun()
    session.add_point(1, B[:2])
    session.add_point(5, B[:2])
    session.propagate()
    spans = [(s.first, s.last, s.anchors, s.state) for s in session.spans(1)]
    assert spans == [(0, 0, (1,), "fresh"), (2, 4, (1, 5), "fresh"), (6, 8, (5,), "fresh")]
    session.segmenter = None  # nothing can be followed again
    paint(session, labels, 5, disks(SHAPE, (26, 36, 2)) > 0, 0)
    stale = ["fresh", "stale", "stale"]
    assert [s.state for s in session.spans(1)] == stale
    session.undo()
    assert [s.state for s in session.spans(1)] == ["fresh"] * 3
    session.redo()
    assert [s.state for s in session.spans(1)] == stale
    session.renumber(1, 7)
    assert [s.state for s in session.spans(7)] == stale
    session.undo()
    assert [s.state for s in session.spans(1)] == stale
    session.undo()
    session.redo()
    session.redo()
    assert [s.state for s in session.spans(7)] == stale


def test_spans_are_stale_in_a_session_that_is_opened_after_a_renumbering(tmp_path):
    session, labels = begun()
    session.add_point(1, B[:2])
    session.add_point(5, B[:2])
    session.propagate()
    session.segmenter = None
    paint(session, labels, 5, disks(SHAPE, (26, 36, 2)) > 0, 0)
    session.renumber(1, 7)
    session.save(tmp_path / "a.napari-sam")
    opened = Session.open(tmp_path / "a.napari-sam", ArraySource(STACK, contrast_limits=(0, 255)))
    assert [s.state for s in opened.spans(7)] == ["fresh", "stale", "stale"]
    opened.undo()
    assert [s.state for s in opened.spans(1)] == ["fresh", "stale", "stale"]


def test_followed_again_as_far_as_before_after_a_renumbering():
    session, labels = begun()
    session.add_point(3, B[:2])
    session.propagate(first=2, last=5)
    carried = planes_of(labels, 1)
    session.renumber(1, 7)
    session.add_point(3, B[:2], object_id=7)
    assert planes_of(labels, 7) == carried


def test_spans_wait_for_the_mask_of_a_correction_and_are_not_stale_meanwhile(engine):
    session, _ = begun(executor=engine)
    session.add_point(5, B[:2])
    assert session.wait(10)
    session.propagate()
    assert session.wait(10)
    session.add_point(5, (30, 36))
    assert {s.state for s in session.spans(1)} == {"running"}
    assert session.wait(10)
    assert {s.state for s in session.spans(1)} == {"fresh"}


def test_doubtful_planes_are_gone_to_in_turn():
    session, _ = begun()
    for z, quality in ((1, 0.3), (4, 0.9), (6, 0.2)):
        session._state.known.put((1, (z, None, None)), PlaneFacts(quality, quality, 0))
    session.show(3)
    assert session.next_doubtful() == (6, None, None)
    assert session.next_doubtful(-1) == (1, None, None)
    assert session.worst_plane() == (6, None, None)
    session.show(6)
    assert session.next_doubtful() == (1, None, None)
    assert session.next_doubtful(object_id=2) is None


class Unsure(ComponentSegmenter):
    """Expects little of every mask on dim planes."""

    def decode(self, embedding, prompts, multimask="auto", progress=None):
        found = super().decode(embedding, prompts, multimask, progress)
        if self._dim(embedding):
            found = replace(found, scores=found.scores * np.float32(0.2))
        return found

    def embed_pixels(self, pixels, frame=None, progress=None):
        embedding = super().embed_pixels(pixels, frame, progress)
        dim = torch.full((1, 1, 1, 1), float(pixels.max() < 200))
        return replace(embedding, features=(*embedding.features, dim))

    def _dim(self, embedding) -> bool:
        return bool(embedding.features[1].any())


def test_go_on_follows_an_object_beyond_the_end_that_the_judge_saw():
    stack = STACK.copy()
    stack[5:][stack[5:] > 0] = 180
    session, labels = begun(stack)
    session.segmenter = Unsure()
    session.add_point(3, B[:2])
    session.propagate()
    assert planes_of(labels, 1) == [0, 1, 2, 3, 4]
    session.go_on(1, 4)
    assert planes_of(labels, 1)[:6] == [0, 1, 2, 3, 4, 5]
    assert session.plane_facts(1, 5).verdict == "here"
    assert session.quality(1)[5, None, None] < session.quality(1)[4, None, None]
    kinds = [entry.kind for entry in session.journal.entries]
    assert kinds[-2:] == ["reviewed", "carried"]
    session.undo()
    assert planes_of(labels, 1) == [0, 1, 2, 3, 4]


def test_object_can_not_be_marked_present_on_a_blank_plane():
    stack = STACK.copy()
    stack[7:] = 0
    session, labels = begun(stack)
    session.add_point(3, B[:2])
    session.propagate()
    before = labels.copy()
    session.show((8, None, None))
    with pytest.raises(ValueError, match="shows object 1, got 8, which is blank"):
        session.go_on(1, 8)
    np.testing.assert_array_equal(labels, before)
    session.go_on(1, 6)  # the next plane is blank, but what lies beyond it is not known


def test_message_of_the_end_has_numbers_and_objects_not_followed():
    assert ending_text([3], [4], [3]) == (
        "Object 3 was followed to 1 further plane; it reaches from plane 3 to 4"
    )
    assert ending_text([1, 2, 3, 4], [4, 5], [3], lost=[2, 4]) == (
        "4 objects were followed to 2 further planes; together they reach from plane 3 to 5; "
        "objects 2 and 4 were found on none"
    )
    assert ending_text([1, 2], []) == "2 objects were found on no further plane"
    assert ending_text([1, 2], [4], [3], locked=[2], failed=[6]) == (
        "2 objects were followed to 1 further plane; together they reach from plane 3 to 4; "
        "object 2 is locked, and stays as it is; plane 6 could not be read"
    )
    assert locked_text([2, 5]) == (
        "Objects 2 and 5 are locked and not followed; unlock them to follow them"
    )


def test_spans_not_renewed_before_a_crash_are_stale_after_it(tmp_path):
    session, labels = begun()
    session.add_point(5, B[:2])
    session.propagate()
    paint(session, labels, 5, disks(SHAPE, (26, 36, 2)) > 0, 0)
    session.save(tmp_path / "whole.napari-sam")
    session.segmenter = None  # as if it had crashed before anything was followed again
    paint(session, labels, 5, disks(SHAPE, (30, 36, 2)) > 0, 0)
    session.save(tmp_path / "crashed.napari-sam")
    for name, state in (("whole", "fresh"), ("crashed", "stale")):
        source = ArraySource(STACK, contrast_limits=(0, 255))
        opened = Session.open(tmp_path / f"{name}.napari-sam", source)
        assert {span.state for span in opened.spans(1)} == {state}


def test_doubtful_planes_are_gone_through_from_any_plane():
    session, _ = begun()
    session.show(3)
    session.add_point(3, B[:2])
    session.propagate()
    session.quality = lambda object_id: {
        (z, None, None): q for z, q in {1: 0.3, 5: 0.5, 6: 0.9}.items()
    }
    assert session.next_doubtful() == (5, None, None)
    assert session.next_doubtful(plane=5) == (1, None, None)
    assert session.next_doubtful(-1, plane=5) == (1, None, None)
    assert session.next_doubtful(-1, plane=1) == (5, None, None)


def test_facts_of_planes_go_with_their_object():
    session, labels = begun()
    session.add_point(3, A[:2])
    session.add_point(3, B[:2], object_id=2)
    session.propagate([1, 2])
    session.stop_here(2, 7)
    reported = session.quality(1), session.plane_facts(2, 7)
    session.renumber(2, 5)
    assert session.plane_facts(5, 7) == reported[1]
    assert session.quality(2) == {}
    session.merge_objects(1, 5)
    assert session.plane_facts(5, 7).verdict == ""
    session.undo()
    session.undo()
    assert (session.quality(1), session.plane_facts(2, 7)) == reported
    session.delete_object(2)
    assert session.quality(2) == {}
    assert session.plane_facts(2, 7).verdict == ""
    assert planes_of(labels, 2) == []
