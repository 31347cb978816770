"""The proofreading queue after a change of model: what is judged again, and in which order."""

import numpy as np
import pytest
from core.fake_segmenter import FakeSegmenter

from napari_sam.segmentation.protocol import MaskPrediction
from napari_sam.session import ArrayCanvas, ArraySource, Change, ObjectFacts, Session
from napari_sam.session.rejudging import expectation, finders

SHAPE = (40, 60)
PLANE = (None, None)
PLACES = {1: (10, 10), 2: (10, 30), 3: (30, 10), 4: (30, 30), 5: (20, 50)}
SCORES = {1: 0.9, 2: 0.5, 3: 0.95, 4: 0.7, 5: 0.8}
WORST_FIRST = [2, 4, 5, 1, 3]


class Judge(FakeSegmenter):
    """Fills the box of the prompt, with the score that `scores` has for its centre."""

    def __init__(self, key, scores, encoder="one"):
        super().__init__(key=key)
        self.encoder_key = encoder
        self.scores, self.asked = scores, []
        self.unread, self.read = set(), []

    def decode(self, embedding, prompts, multimask="auto", progress=None) -> MaskPrediction:
        found = super().decode(embedding, prompts, multimask, progress)
        number = self.number(prompts)
        self.asked.append(number)
        scores = np.array([self.scores[number]], np.float32)
        return MaskPrediction(found.logits, scores, found.frame)

    def number(self, prompts) -> int:
        r0, c0, r1, c1 = prompts.box
        at = {place: i for i, place in PLACES.items()}
        return at[round((r0 + r1) / 2), round((c0 + c1) / 2)]

    def is_ready(self, embedding, prompts, every_scale=False) -> bool:
        return prompts.box is None or self.number(prompts) not in self.unread

    def prepare(self, embedding, prompts=None, progress=None, every_scale=False) -> None:
        if prompts is not None and prompts.box is not None:
            self.read.append(self.number(prompts))
            self.unread -= {self.number(prompts), 1}  # 1 lies in each tile


def session_of(labels, model, **options) -> Session:
    source = ArraySource(np.zeros(labels.shape, np.uint8))
    return Session(model, source, canvas=ArrayCanvas(labels), **options)


def find(session, scores, model="first"):
    """Have the session know objects as a run of a model would leave them."""
    facts = tuple(
        Change(i, ObjectFacts(), ObjectFacts(origin="found", score=s)) for i, s in scores.items()
    )
    session._state.commit("found", "found objects", facts=facts, details={"model": model})


@pytest.fixture
def labels():
    labels = np.zeros(SHAPE, np.int32)
    for number, (row, column) in PLACES.items():
        labels[row - 4 : row + 5, column - 4 : column + 5] = number
    return labels


@pytest.fixture
def taught():
    return Judge("taught", {1: 0.5, 2: 0.9, 3: 0.7, 4: 0.95, 5: 0.8})


@pytest.fixture
def session(labels):
    session = session_of(labels, Judge("first", SCORES))
    session.reserve(5)
    find(session, SCORES)
    session.show(())
    session.queue.begin()
    return session


def offered(session) -> list[int]:
    return [item.object_id for item in session.queue.items]


def test_what_is_behind_the_object_offered_is_ordered_by_the_model_that_answers_now(
    session, taught
):
    assert offered(session) == WORST_FIRST
    assert session.segmenter.asked == []
    before = session.queue.current
    session.use_model(taught)
    assert offered(session) == [2, 1, 3, 5, 4]
    now = session.queue.current
    assert (now.object_id, now.plane, now.box) == (before.object_id, before.plane, before.box)
    assert now.quality > before.quality
    assert sorted(taught.asked) == [1, 2, 3, 4, 5]
    session.queue.next()
    assert session.object_id == 1
    assert session.queue.current.reasons == ("the model expects an IoU of 0.50",)


def test_undo_of_the_model_brings_the_old_judgement_back(session, taught):
    before = {item.object_id: item for item in session.queue.items}
    session.use_model(taught)
    session.undo()
    assert offered(session) == WORST_FIRST
    assert {item.object_id: item for item in session.queue.items} == before
    assert session.segmenter.asked == []  # the scores from finding them are used
    session.redo()
    assert offered(session) == [2, 1, 3, 5, 4]


def test_masks_and_what_was_expected_when_they_were_found_stay(session, taught, labels):
    before, entries = labels.copy(), len(session.journal)
    session.use_model(taught)
    np.testing.assert_array_equal(labels, before)
    assert [session.facts(i).score for i in SCORES] == list(SCORES.values())
    assert not any(session.facts(i).accepted for i in SCORES)
    assert len(session.journal) == entries + 1  # the model


def test_a_queue_that_is_opened_later_is_judged_by_the_model_that_answers_then(session, taught):
    session.queue.end()
    session.use_model(taught)
    assert taught.asked == []
    session.queue.begin()
    assert offered(session) == [2, 1, 3, 5, 4]


def test_accepted_clicked_and_locked_objects_are_not_judged(session, taught):
    session.accept([1])
    session.lock([3])
    session.add_point((), PLACES[5], object_id=5)
    session.use_model(taught)
    assert sorted(taught.asked) == [2, 4]


def test_one_that_is_accepted_no_more_is_judged(session, taught):
    session.accept([1])
    session.use_model(taught)
    assert 1 not in taught.asked
    session.accept([1], False)
    assert sorted(taught.asked) == [1, 2, 3, 4, 5]


def test_what_the_model_that_answers_has_found_itself_is_not_judged_again(session, taught, labels):
    session.use_model(taught)
    taught.asked.clear()
    labels[1:4, 54:58] = 9
    find(session, {9: 0.6}, "taught")
    session.journal_changed.emit()
    assert 9 in offered(session)
    assert taught.asked == []


def test_no_plane_is_embedded_for_it_and_one_that_is_later_is_judged_then(labels, taught):
    stack = np.stack([np.where(labels == i, labels, 0) for i in (1, 2, 4)])
    session = session_of(stack, Judge("first", SCORES))
    find(session, {1: 0.9, 2: 0.5, 4: 0.7})
    session.show((0,))
    session.queue.begin()
    session.use_model(taught)
    assert taught.asked == [1]
    assert len(session.embeddings.planes) == 1
    assert offered(session) == [2, 1, 4]
    session.show((2,))
    assert taught.asked == [1, 4]
    assert offered(session) == [2, 1, 4]
    assert session.queue.items[2].quality > 0.9


def test_a_model_with_another_encoder_judges_only_the_plane_on_screen(labels):
    stack = np.stack([labels, np.where(labels, labels + 5, 0)])
    session = session_of(stack, Judge("first", SCORES))
    find(session, SCORES | {i + 5: s for i, s in SCORES.items()})
    session.show((1,))
    session.show((0,))
    session.queue.begin()
    thorough = Judge("thorough", SCORES, encoder="another")
    session.use_model(thorough)
    assert len(thorough.embedded) == 1
    assert sorted(thorough.asked) == [1, 2, 3, 4, 5]


def test_of_a_large_plane_on_screen_the_parts_that_show_objects_are_read(labels, taught):
    stack = np.stack([labels, np.where(labels, labels + 5, 0)])
    session = session_of(stack, Judge("first", SCORES), prefetch=1)
    find(session, SCORES | {i + 5: s for i, s in SCORES.items()})
    session.show((0,))
    assert len(session.embeddings.planes) == 2
    session.queue.begin()
    taught.unread = {1, 4, 5}
    session.use_model(taught)
    assert taught.read == [4, 5]  # with which 1 was
    assert sorted(taught.asked) == [1, 2, 2, 3, 3, 4, 5]  # on the other plane only what is read
    session.show((1,))
    assert sorted(taught.asked) == sorted([*SCORES, *SCORES])


def test_where_nothing_is_read_ahead_no_part_of_a_plane_is_read_for_it(session, taught):
    taught.unread = {1, 4}
    session.use_model(taught)
    assert taught.read == []
    assert sorted(taught.asked) == [2, 3, 5]


def test_labels_that_can_not_be_read_are_reported_once_and_the_order_stays(labels, taught):
    def fail(*args, **options):
        raise OSError("the disk is full")

    session = session_of(labels, Judge("first", SCORES), prefetch=1)
    reported = []
    session.failed.connect(reported.append)
    find(session, SCORES)
    session.show(())
    session.queue.begin()
    taught.unread, taught.prepare = {1, 4}, fail
    session.use_model(taught)
    assert [str(error) for error in reported] == ["the disk is full"]
    assert offered(session) == [2, 4, 3, 5, 1]


def test_an_error_of_the_model_is_reported_and_keeps_the_old_order(session, taught):
    reported = []
    session.failed.connect(reported.append)
    taught.decode_error = RuntimeError("out of memory")
    session.use_model(taught)
    assert [str(error) for error in reported] == ["out of memory"]
    assert offered(session) == WORST_FIRST


def test_a_mask_that_has_changed_is_judged_again(session, taught, labels):
    session.use_model(taught)
    taught.asked.clear()
    before = next(item for item in session.queue.items if item.object_id == 4)
    session.grow_objects(1, object_ids=[4])
    assert (labels == 4).sum() > 81
    assert taught.asked == [4]
    now = next(item for item in session.queue.items if item.object_id == 4)
    assert now.quality == pytest.approx(before.quality, abs=0.05)


def test_accepting_the_rest_accepts_nothing_that_is_likelier_to_be_wrong(session, taught):
    session.queue.next()
    session.use_model(taught)
    assert offered(session) == [2, 4, 1, 3, 5]
    assert session.queue.rest == 1  # the one offered: the model is surest of it
    session.queue.accept_rest()
    assert [i for i in SCORES if session.facts(i).accepted] == [4]


def test_a_closed_queue_forgets_what_is_being_judged(session, taught):
    session.use_model(taught)
    session.queue.end()
    taught.asked.clear()
    session.show(())
    assert taught.asked == []
    assert session.queue.items == ()


def test_the_finder_of_an_object_is_known_by_its_new_number_too(session):
    session.renumber(2, 8)
    found = finders(session.journal.entries)
    assert found == dict.fromkeys([1, 2, 3, 4, 5, 8], "first")


def test_what_is_expected_of_a_mask_is_what_it_shares_with_the_models_own():
    shape = (20, 20)
    logits = np.full((1, *shape), -5, np.float32)
    logits[0, 4:12, 4:12] = 5
    frame = FakeSegmenter().embed(np.zeros(shape)).frame
    prediction = MaskPrediction(logits, np.array([0.8], np.float32), frame)
    half = np.ones((8, 4), bool)
    found = expectation(prediction, (slice(4, 12), slice(8, 12)), half)
    assert found.score == pytest.approx(0.4)
    assert found.stability == 1.0
    elsewhere = expectation(prediction, (slice(14, 18), slice(8, 12)), half[:4])
    assert elsewhere.score == 0.0
