"""Objects of one large plane, written square by square while the rest is searched."""

import threading

import numpy as np
import pytest
import small_models
from component_segmenter import ComponentSegmenter, disks

from napari_sam import segment_all
from napari_sam.batch.replay import replay_session
from napari_sam.engine import Engine
from napari_sam.segmentation.tiled import TiledSegmenter
from napari_sam.session import ArrayCanvas, ArraySource, PostProcessing, Session

SHAPE, LIMITS = (40, 900), (0, 255)
PLANE = disks(SHAPE, *[(20, column, 7) for column in range(15, 900, 30)])
COUNT, EACH = 30, {"points_per_batch": 4}


class GatedSegmenter(ComponentSegmenter):
    """Decodes so many batches, and then waits."""

    def __init__(self, batches: int) -> None:
        super().__init__(dense=True)
        self.batches, self.may_go_on = threading.Semaphore(batches), threading.Event()
        self.waits = threading.Event()
        self.ended = False

    def decode_many(self, embedding, prompts, multimask="auto", window=None):
        if len(prompts) > 1 and not self.ended and not self.batches.acquire(blocking=False):
            self.waits.set()
            assert self.may_go_on.wait(20)
            self.ended = True
        return super().decode_many(embedding, prompts, multimask, window)


@pytest.fixture
def labels():
    return np.zeros(SHAPE, np.int32)


@pytest.fixture
def session(labels):
    source = ArraySource(PLANE, contrast_limits=LIMITS)
    return Session(ComponentSegmenter(dense=True), source, canvas=ArrayCanvas(labels))


@pytest.fixture
def waiting(labels):
    """A run that has written three of eight parts."""
    engine, source = Engine(), ArraySource(PLANE, contrast_limits=LIMITS)
    segmenter = GatedSegmenter(3)
    session = Session(segmenter, source, engine, canvas=ArrayCanvas(labels))
    session.find_all(**EACH)
    assert segmenter.waits.wait(20)
    assert not session.wait(0.1)
    yield session
    segmenter.may_go_on.set()
    engine.close(5)


def go_on(session) -> None:
    session.segmenter.may_go_on.set()
    assert session.wait(20)


def same_objects(labels, expected) -> bool:
    """Whether objects are the same whatever they are called."""
    pairs = np.unique(np.stack([labels.ravel(), expected.ravel()]), axis=1)
    return len(pairs.T) == len(np.unique(labels)) == len(np.unique(expected))


def test_objects_are_those_of_the_whole_plane_numbered_as_they_came(session, labels):
    session.find_all(**EACH)
    assert same_objects(labels, segment_all(session.segmenter, PLANE, LIMITS))
    (entry,) = session.journal.entries
    assert (entry.kind, entry.text) == ("found", f"found {COUNT} objects")
    assert sorted(change.key for change in entry.facts) == list(range(1, COUNT + 1))
    assert labels[20, 15] == 1
    assert (np.diff(labels[20, 15::30].reshape(-1, 2).max(1)) > 0).all()  # from the left
    assert session.object_id == COUNT + 1
    session.undo()
    assert not labels.any()
    session.redo()
    assert len(np.unique(labels)) == COUNT + 1


def test_tiles_of_a_network_find_what_is_found_when_all_is_known(rng):
    segmenter = TiledSegmenter(small_models.segmenter(small_models.HYBRID))
    plane = rng.integers(0, 256, (40, 140)).astype(np.uint8)
    labels = np.zeros(plane.shape, np.int32)
    source = ArraySource(plane, contrast_limits=LIMITS)
    session = Session(segmenter, source, canvas=ArrayCanvas(labels))
    few = {"points_per_batch": 16, "proposal_iou_thresh": 0.5}
    session.find_all(**few)
    expected = segment_all(segmenter, plane, LIMITS, **few)
    assert same_objects(labels, expected)
    assert expected.max() > 2
    assert "parts" in session.journal.entries[0].details


def test_objects_are_there_while_the_run_goes_on(waiting, labels):
    found = labels.copy()
    assert len(np.unique(found)) == 13
    progress = waiting.run
    assert (progress.objects, progress.squares) == (12, (1, 4))
    assert 0.7 < progress.fraction < 1
    assert progress.seconds_left > 0
    go_on(waiting)
    np.testing.assert_array_equal(labels[found > 0], found[found > 0])
    assert len(np.unique(labels)) == COUNT + 1
    assert len(waiting.journal.entries) == 1
    assert waiting.run is None


@pytest.mark.parametrize("keep", [True, False])
def test_cancelled_run_keeps_what_is_there_if_asked(waiting, labels, keep):
    found = labels.copy()
    waiting.cancel_run(keep)
    assert waiting.run is None
    go_on(waiting)
    np.testing.assert_array_equal(labels, found if keep else 0)
    assert [entry.text for entry in waiting.journal.entries] == ["found 12 objects"][:keep]
    waiting.undo()
    assert not labels.any()


def test_undo_takes_back_what_is_there_and_ends_the_run(waiting, labels):
    waiting.undo()
    assert waiting.run is None
    go_on(waiting)
    assert not labels.any()


def test_click_between_two_parts_stays_and_the_parts_are_one_step(waiting, labels, tmp_path):
    waiting.add_point((), (20, 855))
    waiting.segmenter.may_go_on.set()
    assert waiting.wait(20)
    kinds = [entry.kind for entry in waiting.journal.entries if entry.is_step]
    assert kinds == ["found", "prompts"]
    clicked, whole = labels == labels[20, 855], labels.copy()
    assert same_objects(labels, segment_all(waiting.segmenter, PLANE, LIMITS))
    waiting.save(tmp_path / "large.napari-sam")
    replayed = replay_session(
        tmp_path / "large.napari-sam", waiting.source, ComponentSegmenter(dense=True)
    )
    assert replayed.different == 0
    np.testing.assert_array_equal(replayed.labels, whole)
    waiting.undo()
    assert not labels[clicked].any()
    assert len(np.unique(labels)) == COUNT
    waiting.undo()
    assert not labels.any()
    waiting.redo()
    assert len(np.unique(labels)) == COUNT


def test_run_that_was_ended_early_is_made_again_as_far(waiting, labels, tmp_path):
    waiting.cancel_run(keep=True)
    found = labels.copy()
    waiting.save(tmp_path / "large.napari-sam")
    replayed = replay_session(
        tmp_path / "large.napari-sam", waiting.source, ComponentSegmenter(dense=True)
    )
    np.testing.assert_array_equal(replayed.labels, found)


def test_labels_that_are_there_stay_and_numbers_are_new(session, labels):
    labels[:, :100] = 40
    session.find_all(**EACH)
    assert (labels[:, :100] == 40).all()
    assert np.unique(labels[:, 100:])[1] == 41
    assert session.new_object() == labels.max() + 1


def test_other_labels_meanwhile_end_the_run_and_keep_what_is_written(waiting, labels):
    errors: list[Exception] = []
    waiting.failed.connect(errors.append)
    found, other = labels.copy(), np.zeros_like(labels)
    waiting.canvas = ArrayCanvas(other)
    go_on(waiting)
    assert "expected the labels to stay" in str(errors[0])
    np.testing.assert_array_equal(labels, found)
    assert not other.any()


def test_search_that_gave_way_to_a_click_goes_on_where_it_was(waiting, labels):
    parts = waiting._runs._run.parts
    before = list(parts.parts)
    waiting.segmenter.may_go_on.set()
    parts.find(lambda fraction: None)
    assert parts.parts[: len(before)] == before
    assert sum(len(part.objects) for part in parts.parts) == COUNT


def test_masks_that_are_processed_come_at_the_end(session, labels):
    session.post_processing = PostProcessing(smoothing=1.0)
    seen: list[int] = []
    session.run_changed.connect(lambda: seen.append(int(labels.max())))
    session.find_all(**EACH)
    assert {*seen} == {0, COUNT}
