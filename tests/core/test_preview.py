"""What a click would take: the latest place wins, nothing waits for it, nothing is recorded."""

from dataclasses import replace

import numpy as np
import pytest
from core.fake_segmenter import FakeSegmenter, disk
from core.stepping_executor import SteppingExecutor

from napari_sam.session import ArrayCanvas, ArraySource, Session

SHAPE = 40, 50
FOREIGN = 7


@pytest.fixture
def segmenter():
    return FakeSegmenter()


def make(segmenter, executor=None, labels=None) -> tuple[Session, list]:
    labels = np.zeros((2, *SHAPE), np.int32) if labels is None else labels
    source = ArraySource(np.zeros(labels.shape))
    session = Session(segmenter, source, executor, canvas=ArrayCanvas(labels))
    seen = []
    session.preview_changed.connect(seen.append)
    session.show(0)
    session.wait()
    return session, seen


def test_preview_shows_what_a_click_takes_and_changes_nothing(segmenter):
    session, seen = make(segmenter)
    session.preview(0, (20, 25))
    (preview,) = seen
    assert (preview.action, preview.object_id, preview.point) == ("new", 1, (20.0, 25.0))
    assert [patch.area for patch in preview.candidates] == [
        disk(SHAPE, (20, 25), 4 * n).sum() for n in (1, 2, 3)
    ]
    assert preview.scores == pytest.approx((0.9, 0.8, 0.7))
    assert (preview.chosen, preview.granularity) == (0, "sub-part")
    assert not len(session.journal)
    assert not session.prompts.keys
    assert not session.canvas.array.any()


def test_click_at_the_previewed_place_needs_no_decode_of_its_own(segmenter):
    session, _ = make(segmenter)
    session.preview(0, (20, 25))
    decodes = segmenter.decodes
    session.click(0, (20, 25))
    assert segmenter.decodes == decodes
    np.testing.assert_array_equal(session.mask(1, 0), disk(SHAPE, (20, 25), 4))
    session.preview(0, (20, 31))
    assert segmenter.decodes == decodes + 1  # builds on the first click
    session.click(0, (20, 31))
    assert segmenter.decodes == decodes + 1
    session.click(0, (20, 31.001))  # another place
    assert segmenter.decodes == decodes + 2


def test_click_while_its_preview_is_decoded_needs_no_decode_either(segmenter):
    executor = SteppingExecutor(np.random.default_rng(0))
    session, seen = make(segmenter, executor)
    session.preview(0, (20, 25))
    while executor._decoding is None:
        executor.step()
    session.click(0, (20, 25))
    assert session.wait()
    assert segmenter.decodes == 1
    assert session.mask(1, 0).any()
    assert seen == []  # what was asked before the click comes too late


def test_latest_place_wins(segmenter):
    executor = SteppingExecutor(np.random.default_rng(0))
    session, seen = make(segmenter, executor)
    for column in range(10, 20):
        session.preview(0, (20, column))
    assert executor.wait(background=True)
    assert segmenter.decodes == 1
    assert [preview.point for preview in seen] == [(20.0, 19.0)]


@pytest.fixture
def decodes(segmenter, monkeypatch):
    """Return the requests for decodes of a model that refines a first click."""
    monkeypatch.setattr(segmenter, "traits", replace(segmenter.traits, refines_first_click=True))
    asked, decode = [], segmenter.decode

    def noting(embedding, prompts, multimask="auto", progress=None):
        asked.append(multimask)
        return decode(embedding, prompts, multimask, progress)

    monkeypatch.setattr(segmenter, "decode", noting)
    return asked


def test_first_pass_is_shown_until_the_model_has_refined_it(segmenter, decodes):
    session, seen = make(segmenter)
    session.preview(0, (20, 25))
    assert decodes == [True, "auto"]
    assert [preview.mask.area for preview in seen] == 2 * [disk(SHAPE, (20, 25), 4).sum()]
    decodes = segmenter.decodes
    session.click(0, (20, 25))
    assert segmenter.decodes == decodes


def test_only_the_place_where_the_mouse_rests_is_refined(segmenter, decodes):
    executor = SteppingExecutor(np.random.default_rng(0))
    session, seen = make(segmenter, executor)
    session.preview(0, (20, 10))
    while executor._decoding is None:
        executor.step()
    session.preview(0, (20, 30))
    assert executor.wait(background=True)
    assert decodes == [True, True, "auto"]
    assert [preview.point[1] for preview in seen] == [10, 30, 30]


def test_click_goes_before_any_preview(segmenter):
    executor = SteppingExecutor(np.random.default_rng(0))
    session, _ = make(segmenter, executor)
    session.preview(0, (20, 30))
    session.click(0, (5, 5))
    session.preview(0, (20, 30))
    assert session.wait()
    assert session.mask(1, 0)[5, 5]
    assert segmenter.decodes == 1  # that of the click


def test_preview_starts_no_encoder(segmenter):
    session, seen = make(segmenter)
    session.preview(1, (20, 25))
    assert len(segmenter.embedded) == 1
    assert seen == []
    session.show(1)
    session.preview(1, (20, 25))
    assert seen[-1].mask.area


def test_preview_waits_for_no_tile(segmenter, monkeypatch):
    session, seen = make(segmenter)
    session.preview(0, (20, 25))
    monkeypatch.setattr(segmenter, "is_ready", lambda *arguments, **options: False)
    session.preview(0, (22, 25))
    assert seen[-1] is None
    assert segmenter.decodes == 1


def test_preview_over_the_current_object_refines_it(segmenter):
    session, seen = make(segmenter)
    session.click(0, (20, 25))
    session.preview(0, (20, 28))
    assert (seen[-1].action, seen[-1].object_id) == ("refine", 1)
    expected = disk(SHAPE, (20, 25), 4) | disk(SHAPE, (20, 28), 4)
    assert seen[-1].mask.area == expected.sum()
    assert (seen[-1].chosen, seen[-1].granularity) == (0, None)
    session.preview(0, (20, 28), label=0)
    assert seen[-1].mask.area < disk(SHAPE, (20, 25), 4).sum()


def test_preview_over_another_object_goes_to_it_and_shows_it(segmenter):
    labels = np.zeros((2, *SHAPE), np.int32)
    labels[0, 30:38, 5:15] = FOREIGN
    session, seen = make(segmenter, labels=labels)
    session.reserve(FOREIGN)
    session.click(0, (10, 10))
    session.new_object()
    decodes = segmenter.decodes
    for point, object_id, area in (
        ((10, 10), FOREIGN + 1, disk(SHAPE, (10, 10), 4).sum()),
        ((34, 9), FOREIGN, 80),
    ):
        session.preview(0, point)
        assert (seen[-1].action, seen[-1].object_id) == ("go to", object_id)
        assert seen[-1].mask.area == area
    assert segmenter.decodes == decodes
    session.preview(0, (34, 9), continues=True)
    assert (seen[-1].action, seen[-1].object_id) == ("new", FOREIGN + 2)


def test_candidates_are_cycled_before_the_click(segmenter):
    session, seen = make(segmenter)
    session.preview(0, (20, 25))
    for name in ("whole", "part", "sub-part", "whole"):
        session.next_candidate(0)
        assert (session.granularity, seen[-1].granularity) == (name, name)
    assert segmenter.decodes == 1
    session.click(0, (20, 25))
    np.testing.assert_array_equal(session.mask(1, 0), disk(SHAPE, (20, 25), 12))
    session.next_candidate(0)  # after the click: that of the object
    np.testing.assert_array_equal(session.mask(1, 0), disk(SHAPE, (20, 25), 8))
    session.new_object()
    session.preview(0, (10, 40))
    assert seen[-1].granularity == "part"
    session.granularity = ""
    assert seen[-1].granularity == "sub-part"  # the model's best


def test_preview_ends_when_it_does_not_hold_any_more(segmenter):
    session, seen = make(segmenter)
    for change in (
        lambda: session.click(0, (20, 25)),
        session.new_object,
        session.undo,
        lambda: session.preview(0, None),
        lambda: session.preview(0, (50, 25)),
        lambda: session.lock([session.object_id]),
    ):
        session.preview(0, (20, 30))
        assert seen[-1] is not None
        change()
        assert seen[-1] is None
    session.preview(0, (20, 30))
    assert seen[-1] is None  # the object is locked
    session.new_object()
    session.close(ValueError("another image"))
    session.preview(0, (20, 30))
    assert seen[-1] is None


def test_error_in_a_preview_is_left_to_the_click(segmenter):
    session, seen = make(segmenter)
    failed = []
    session.failed.connect(failed.append)
    segmenter.decode_error = RuntimeError("out of memory")
    session.preview(0, (20, 25))
    assert (seen, failed) == ([], [])
    session.click(0, (20, 25))
    assert [str(error) for error in failed] == ["out of memory"]


def test_how_long_a_preview_takes_is_known_for_each_model(segmenter):
    session, _ = make(segmenter)
    for column in range(5):
        assert session.preview_seconds is None
        session.preview(0, (20, column))
    assert session.preview_seconds > 0
    session.segmenter = FakeSegmenter(key="other")
    session.preview(0, (20, 25))
    assert session.preview_seconds is None


def test_preview_at_the_same_place_is_decoded_once(segmenter):
    session, seen = make(segmenter)
    for _ in range(3):
        session.preview(0, (20, 25))
    assert (len(seen), segmenter.decodes) == (3, 1)


def test_labels_that_cannot_be_read_leave_no_preview(segmenter, monkeypatch):
    session, seen = make(segmenter)
    session.preview(0, (20, 25))

    def fail(*about):
        raise OSError("the disk is gone")

    monkeypatch.setattr(session.canvas, "read", fail)
    session.preview(0, (20, 26))
    assert seen[-1] is None


def test_preview_of_the_first_click_on_a_found_object_corrects_its_mask(segmenter):
    labels = np.zeros((2, *SHAPE), np.int32)
    labels[0, 30:38, 5:15] = FOREIGN
    session, seen = make(segmenter, labels=labels)
    session.object_id = FOREIGN
    session.preview(0, (34, 9), label=0)
    before, shown = labels[0] == FOREIGN, seen[-1].mask
    decodes = segmenter.decodes
    session.click(0, (34, 9), label=0)
    assert segmenter.decodes == decodes
    after = session.canvas.array[0] == FOREIGN
    assert 0 < after.sum() < before.sum()
    assert shown.area == after.sum()
