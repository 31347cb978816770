"""A session without a network or a window: prompts in, masks out."""

from dataclasses import replace

import numpy as np
import pytest
from core.fake_segmenter import FakeSegmenter, disk
from psygnal import EmitLoopError

from napari_sam.prompts import Prompts
from napari_sam.session import ArraySource, Session

SHAPE = (40, 50)


@pytest.fixture
def segmenter():
    return FakeSegmenter()


@pytest.fixture
def session(segmenter, rng):
    return Session(segmenter, ArraySource(rng.random((5, *SHAPE))))


def test_click_gives_a_mask_on_its_plane_alone(session):
    session.add_point(2, (20, 30))
    np.testing.assert_array_equal(session.mask(1, 2), disk(SHAPE, (20, 30), 4))
    assert not session.mask(1, 3).any()


def test_two_dimensional_image_has_one_plane(segmenter, rng):
    session = Session(segmenter, ArraySource(rng.random(SHAPE)))
    session.add_point((), (20, 30))
    assert session.mask(1, ()).sum() == disk(SHAPE, (20, 30), 4).sum()


def test_points_of_one_object_make_one_mask(session):
    session.add_point(0, (10, 10))
    session.add_point(0, (30, 40))
    expected = disk(SHAPE, (10, 10), 4) | disk(SHAPE, (30, 40), 4)
    np.testing.assert_array_equal(session.mask(1, 0), expected)


def test_negative_point_takes_away(session):
    session.add_point(0, (20, 20))
    session.add_point(0, (20, 22), label=0)
    assert not session.mask(1, 0)[20, 22]
    assert session.mask(1, 0)[20, 17]


def test_moved_point_is_predicted_again_from_the_first_step(session):
    first = session.add_point(0, (10, 10))
    session.add_point(0, (30, 40))
    session.move_point(first, (10, 30))
    expected = disk(SHAPE, (10, 30), 4) | disk(SHAPE, (30, 40), 4)
    np.testing.assert_array_equal(session.mask(1, 0), expected)


def test_removing_the_only_point_removes_the_mask(session):
    reported = []
    click = session.add_point(0, (10, 10))
    session.mask_changed.connect(lambda *about: reported.append(about))
    session.remove_point(click)
    assert not session.mask(1, 0).any()
    assert reported == [(1, (0, None, None))]


def test_flipped_point_changes_its_sign(session):
    session.add_point(0, (20, 20))
    second = session.add_point(0, (20, 22))
    session.flip_point(second)
    assert not session.mask(1, 0)[20, 22]
    assert session.prompts.click(second).label == 0


def test_one_more_click_costs_one_decode(session, segmenter):
    for column in (10, 20, 30, 40):
        session.add_point(0, (20, column))
    assert segmenter.decodes == 4


def test_logits_are_not_carried_to_another_object_or_plane(session):
    session.add_point(0, (10, 10))
    session.new_object()
    session.add_point(0, (30, 40))
    session.add_point(1, (30, 40))
    np.testing.assert_array_equal(session.mask(2, 0), disk(SHAPE, (30, 40), 4))
    np.testing.assert_array_equal(session.mask(2, 1), disk(SHAPE, (30, 40), 4))


def test_new_object_is_above_every_prompted_or_reserved_one(session):
    session.add_point(0, (10, 10), object_id=4)
    assert session.new_object() == 5
    session.reserve(40)
    assert session.object_id == 41


def test_reserved_numbers_leave_a_started_object_alone(session):
    session.add_point(0, (10, 10))
    session.reserve(40)
    assert session.object_id == 1
    assert session.new_object() == 41


@pytest.mark.parametrize("point", [(1, 2, 3), (4,), 5, ("a", "b")])
def test_point_of_another_length_raises_an_error_that_explains(session, point):
    with pytest.raises(ValueError, match=r"expected a point \(row, column\)"):
        session.add_point(0, point)
    click = session.add_point(0, (20, 20))
    with pytest.raises(ValueError, match=r"expected a point \(row, column\)"):
        session.move_point(click, point)


def test_mask_of_an_object_that_never_was_is_refused(session):
    click = session.add_point(0, (20, 20))
    with pytest.raises(ValueError, match=r"that was prompted \(1\), got 77"):
        session.mask(77, 0)
    assert not session.mask(1, 3).any()
    session.remove_point(click)
    session.new_object()
    assert not session.mask(1, 0).any()


def test_scores_lie_between_0_and_1(session, segmenter, monkeypatch):
    decode = segmenter.decode

    def beyond(*about):
        return replace(decode(*about), scores=np.array([-0.01, 1.2, 0.5], np.float32))

    monkeypatch.setattr(segmenter, "decode", beyond)
    session.add_point(0, (20, 20))
    assert session.scores(1, 0) == (0.0, 1.0, 0.5)
    assert session.candidate(1, 0) == 1


def test_box_belongs_to_the_object_without_prompts_on_the_plane(session):
    assert session.object_for_box(0, (5, 5, 15, 15)) == 1
    session.add_point(1, (20, 20))
    assert session.object_for_box(0, (5, 5, 15, 15)) == 1


def test_box_belongs_to_the_object_whose_positive_click_it_contains(session):
    session.add_point(0, (20, 20))
    assert session.object_for_box(0, (20, 20, 22, 22)) == 1
    assert session.object_for_box(0, (21, 21, 39, 49)) == 2
    session.add_point(0, (30, 40), label=0)
    assert session.object_for_box(0, (28, 38, 32, 42)) == 2


def test_box_belongs_to_the_object_most_of_whose_mask_it_contains(session):
    session.set_box(0, (10, 10, 19, 19))
    assert session.object_for_box(0, (10, 10, 19, 16)) == 1
    assert session.object_for_box(0, (10, 10, 19, 14)) == 2
    session.reserve(9)
    assert session.object_for_box(0, (30, 30, 35, 35)) == 10


def test_stepping_goes_round_the_objects(session):
    for column in (10, 25, 40):
        session.add_point(0, (20, column))
        session.new_object()
    session.object_id = 1
    session.step_object(1)
    assert session.object_id == 2
    session.step_object(-1)
    session.step_object(-1)
    assert session.object_id == 3


def test_candidate_of_a_single_click_can_be_chosen(session):
    session.add_point(0, (20, 20))
    assert session.scores(1, 0) == pytest.approx((0.9, 0.8, 0.7))
    session.choose_candidate(1, 0)
    np.testing.assert_array_equal(session.mask(1, 0), disk(SHAPE, (20, 20), 8))
    assert session.candidate(1, 0) == 1
    assert session.granularity == ""
    session.choose_candidate("whole", 0)
    np.testing.assert_array_equal(session.mask(1, 0), disk(SHAPE, (20, 20), 12))
    assert session.journal.last_step.text == "chose the whole of object 1"


def test_next_candidates_are_whole_part_and_subpart(session, segmenter):
    session.add_point(0, (20, 20))
    areas = []
    for _ in range(4):
        session.next_candidate(0)
        areas.append(int(session.mask(1, 0).sum()))
    assert areas == [disk(SHAPE, (20, 20), 4 * n).sum() for n in (3, 2, 1, 3)]
    assert session.granularity == "whole"
    assert segmenter.decodes == 1


def test_granularity_is_remembered_for_the_next_objects(session):
    changed = []
    session.granularity_changed.connect(changed.append)
    session.add_point(0, (10, 10))
    session.next_candidate(0)
    session.next_candidate(0)
    session.new_object()
    session.add_point(0, (20, 30))
    np.testing.assert_array_equal(session.mask(2, 0), disk(SHAPE, (20, 30), 8))
    session.add_point(0, (35, 45))  # builds on the part
    assert session.mask(2, 0)[20, 37]
    assert changed == ["whole", "part"]
    session.undo()
    session.undo()
    assert session.granularity == "part"
    session.granularity = ""
    session.redo()  # as it was then
    np.testing.assert_array_equal(session.mask(2, 0), disk(SHAPE, (20, 30), 8))
    session.new_object()
    session.add_point(0, (30, 10))
    np.testing.assert_array_equal(session.mask(3, 0), disk(SHAPE, (30, 10), 4))


def test_granularity_speaks_of_a_first_positive_click_alone(session):
    session.granularity = "whole"
    session.set_box(0, (5, 5, 10, 20))
    session.add_point(0, (7, 7))
    session.add_point(1, (20, 20), label=0)
    assert [group.granularity for group in session.prompts.by_key().values()] == ["", ""]
    session.add_prompts(
        {(5, 0): Prompts([(20, 20)], [1])}
    )  # the prompts themselves contain the choice
    assert session.prompts.group((5, session.source.plane_of(0))).granularity == ""


def test_granularity_that_does_not_exist_is_refused(session):
    with pytest.raises(ValueError, match=r"expected whole, part, sub-part .* got 'bits'"):
        session.granularity = "bits"
    with pytest.raises(ValueError, match="object 1, which has none; click on it first"):
        session.choose_candidate("whole", 0)


def test_chosen_candidate_carries_into_the_next_click(session):
    session.add_point(0, (20, 20))
    session.choose_candidate(1, 0)
    session.add_point(0, (35, 45))
    expected = disk(SHAPE, (20, 20), 8) | disk(SHAPE, (35, 45), 4) | disk(SHAPE, (20, 20), 4)
    np.testing.assert_array_equal(session.mask(1, 0), expected)


def test_candidate_out_of_range_is_refused(session):
    session.add_point(0, (20, 20))
    with pytest.raises(ValueError, match="candidate from 0 to 2, whole, part, sub-part; got 3"):
        session.choose_candidate(3, 0)


def test_box_is_a_prompt(session):
    session.set_box(0, (5, 5, 10, 20))
    assert session.mask(1, 0).sum() == 6 * 16
    session.set_box(0, None)
    assert not session.mask(1, 0).any()


def test_clearing_takes_one_object_of_one_plane(session):
    session.add_point(0, (10, 10))
    session.add_point(1, (10, 10))
    session.add_point(0, (30, 30), object_id=2)
    session.clear(0, 1)
    assert not session.mask(1, 0).any()
    assert session.mask(1, 1).any()
    assert session.mask(2, 0).any()


def test_undo_and_redo_travel_through_the_prompts(session):
    session.add_point(0, (10, 10))
    second = session.add_point(0, (30, 40))
    session.move_point(second, (20, 40))
    session.undo()
    assert session.prompts.click(second).point == (30, 40)
    session.undo()
    np.testing.assert_array_equal(session.mask(1, 0), disk(SHAPE, (10, 10), 4))
    session.redo()
    assert session.mask(1, 0)[30, 40]
    session.undo()
    session.undo()
    assert not session.mask(1, 0).any()
    assert not session.can_undo
    assert session.can_redo


def test_identifiers_are_never_given_twice(session):
    first = session.add_point(0, (10, 10))
    session.undo()
    assert session.add_point(0, (10, 10)) != first


@pytest.mark.parametrize("point", [(-1, 5), (5, 50), (40, 0)])
def test_point_outside_is_refused_and_nothing_changes(session, point):
    with pytest.raises(ValueError, match="inside the plane of 40 x 50"):
        session.add_point(0, point)
    assert not session.prompts.clicks


def test_point_that_is_not_a_number_is_refused(session):
    with pytest.raises(ValueError, match="finite"):
        session.add_point(0, (np.nan, 5))
    assert not session.prompts.clicks


@pytest.mark.parametrize(
    ("plane", "message"), [(5, "0 to 4"), ((1, 2), "1 indices"), ((), "1 ind")]
)
def test_plane_that_is_not_there_is_refused(session, plane, message):
    with pytest.raises(ValueError, match=message):
        session.add_point(plane, (10, 10))


def test_failed_embedding_is_reported_and_the_prompt_kept(session, segmenter):
    errors = []
    session.failed.connect(errors.append)
    segmenter.error = RuntimeError("out of luck")
    session.add_point(0, (10, 10))
    assert [str(e) for e in errors] == ["out of luck"]
    assert session.embeddings.state((0, None, None)) == "failed"
    segmenter.error = None
    session.add_point(0, (12, 10))
    assert session.mask(1, 0).any()


def test_failed_decode_keeps_the_last_mask(session, segmenter):
    errors = []
    session.failed.connect(errors.append)
    session.add_point(0, (10, 10))
    segmenter.decode_error = RuntimeError("no")
    session.add_point(0, (30, 30))
    assert len(errors) == 1
    np.testing.assert_array_equal(session.mask(1, 0), disk(SHAPE, (10, 10), 4))


def test_wait_is_false_if_a_prompt_could_not_be_answered(session, segmenter):
    session.add_point(0, (10, 10))
    assert session.wait()
    segmenter.decode_error = RuntimeError("no")
    session.add_point(0, (30, 30))
    assert not session.wait()
    segmenter.decode_error = None
    session.show(0)
    assert session.wait()


def test_wait_is_false_without_a_model(segmenter, rng):
    session = Session(None, ArraySource(rng.random(SHAPE)))
    session.add_point((), (20, 20))
    assert not session.wait()
    session.segmenter = segmenter
    assert session.wait()


def test_listener_that_fails_loses_no_click(session):
    def fail():
        raise RuntimeError("a listener's own fault")

    session.prompts_changed.connect(fail)
    with pytest.raises(EmitLoopError):
        session.add_point(0, (10, 10))
    session.prompts_changed.disconnect(fail)
    assert not session.wait()
    session.show(1)
    assert session.wait()
    assert session.mask(1, 0).any()


def test_clicks_before_the_model_are_answered_when_it_comes(segmenter, rng):
    session = Session(None, ArraySource(rng.random(SHAPE)))
    session.show(())
    session.add_point((), (20, 20))
    assert session.is_waiting
    session.segmenter = segmenter
    assert session.mask(1, ()).any()
    assert not session.is_waiting


def test_another_model_leaves_finished_masks(session):
    session.add_point(0, (10, 10))
    before = session.mask(1, 0)
    session.segmenter = FakeSegmenter(radius=9, key="other")
    np.testing.assert_array_equal(session.mask(1, 0), before)
    session.add_point(0, (30, 30))
    assert session.mask(1, 0)[30, 38]


def test_plane_shown_is_embedded_once_and_neighbours_ahead(segmenter, rng):
    session = Session(segmenter, ArraySource(rng.random((5, *SHAPE))), prefetch=1)
    session.show(2)
    session.show(2)
    assert [session.embeddings.state((z, None, None)) for z in range(5)] == [
        "none",
        "ready",
        "ready",
        "ready",
        "none",
    ]
    assert len(segmenter.embedded) == 3


def test_neighbours_follow_the_axis_that_was_scrolled(segmenter, rng):
    session = Session(segmenter, ArraySource(rng.random((4, 5, *SHAPE))), prefetch=1)
    session.show((1, 2))
    session.show((2, 2))
    assert session.embeddings.state((3, 2, None, None)) == "ready"


def test_embeddings_stay_within_memory(segmenter, rng):
    size = 4 * 16  # bytes of a fake embedding
    session = Session(segmenter, ArraySource(rng.random((5, *SHAPE))), max_bytes=2 * size)
    for z in range(4):
        session.show(z)
    states = [session.embeddings.state((z, None, None)) for z in range(4)]
    assert states == ["none", "none", "ready", "ready"]


def test_contrast_limits_reach_the_model_and_invalidate_embeddings(segmenter, rng):
    data = rng.random(SHAPE)
    session = Session(segmenter, ArraySource(data, contrast_limits=(0, 1)))
    session.show(())
    session.source = ArraySource(data, contrast_limits=(0, 0.5))
    assert segmenter.limits == [(0, 1), (0, 0.5)]


def test_source_of_another_shape_is_refused(session, rng):
    with pytest.raises(ValueError, match="start a new session"):
        session.source = ArraySource(rng.random(SHAPE))


def test_pixels_that_are_not_finite_are_noticed_once(segmenter, rng):
    data = rng.random((3, *SHAPE))
    data[:, 3, 4:6] = np.nan, np.inf
    session, notices = Session(segmenter, ArraySource(data, contrast_limits=(0.1, 1))), []
    session.noticed.connect(notices.append)
    session.show(0)
    session.show(1)
    assert len(notices) == 1
    assert notices[0].startswith("2 pixels")
    assert segmenter.embedded[0][3, 4] == 0.1
    assert np.isnan(data[0, 3, 4])


def test_last_change_is_described(session):
    assert session.next_undo == ""
    click = session.add_point(0, (10, 10), object_id=7)
    assert session.next_undo == "added a point to object 7"
    session.move_point(click, (12, 10))
    assert session.next_undo == "moved a point of object 7"
    session.flip_point(click)
    assert session.next_undo == "flipped a point of object 7"
    session.set_box(0, (1, 1, 5, 5))
    assert session.next_undo == "added a box to object 1"
    session.add_point(0, (30, 30), object_id=7)
    session.clear(0, 7)
    assert session.next_undo == "removed 2 prompts of object 7"
    session.undo()
    assert session.next_undo == "added a point to object 7"


def test_prompts_of_many_objects_are_one_change():
    session = Session(FakeSegmenter(), ArraySource(np.zeros((3, 40, 50))))
    session.add_point(1, (5, 5))
    given = {(i, 1): Prompts([(10, i)], [1]) for i in range(2, 30)}
    session.add_prompts(given | {(40, 2): Prompts([(20, 20)], [1], (10, 10, 30, 30))})
    assert session.wait(5)
    assert session.mask(29, 1)[10, 29]
    assert session.mask(40, 2)[12, 12]
    assert len({p.id for p in (*session.prompts.clicks, *session.prompts.boxes)}) == 31
    session.undo()
    assert session.prompts.object_ids == (1,)
    assert not session.mask(29, 1).any()


@pytest.mark.parametrize(
    "wrong", [{(5, 9): Prompts([(1, 1)], [1])}, {(5, 1): Prompts([(99, 1)], [1])}]
)
def test_many_prompts_with_a_wrong_one_change_nothing(wrong):
    session = Session(FakeSegmenter(), ArraySource(np.zeros((3, 40, 50))))
    with pytest.raises(ValueError, match="expected"):
        session.add_prompts({(4, 1): Prompts([(1, 1)], [1])} | wrong)
    assert not session.prompts.clicks
