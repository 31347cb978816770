"""Every object of some planes, found in the background and written as one step."""

import threading

import numpy as np
import pytest
from component_segmenter import ComponentSegmenter, disks

from napari_sam import segment_all
from napari_sam.session import ArrayCanvas, ArraySource, Session, pixel_changes

SHAPE = (40, 50)
FIRST, SECOND = (12, 12, 6), (28, 35, 8)
ONE, TWO = disks(SHAPE, FIRST), disks(SHAPE, FIRST, SECOND)
STACK = np.stack([ONE, TWO, TWO])
LIMITS = (0, 255)


class GatedSegmenter(ComponentSegmenter):
    """Proposes only when it may, and reports when that is requested."""

    def __init__(self) -> None:
        super().__init__(dense=True)
        self.may_propose, self.asked = threading.Event(), threading.Event()

    def propose(self, embedding, quick=False, progress=None):
        self.asked.set()
        while not self.may_propose.wait(0.002):
            if progress:
                progress(0.1)
        return super().propose(embedding, quick, progress)


@pytest.fixture
def segmenter():
    return ComponentSegmenter(dense=True)


@pytest.fixture
def labels():
    return np.zeros(STACK.shape, np.int32)


@pytest.fixture
def session(segmenter, labels):
    source = ArraySource(STACK, contrast_limits=LIMITS)
    return Session(segmenter, source, canvas=ArrayCanvas(labels))


@pytest.fixture
def threaded(labels, engine):
    source = ArraySource(STACK, contrast_limits=LIMITS)
    return Session(GatedSegmenter(), source, engine, canvas=ArrayCanvas(labels))


@pytest.fixture
def reported(session):
    sentences = []
    session.noticed.connect(sentences.append)
    session.failed.connect(lambda error: sentences.append(str(error)))
    return sentences


def numbers(labels) -> list[int]:
    return np.unique(labels[labels > 0]).tolist()


def paint(session, labels, z, where, number):
    """Paint as a person would: the labels change before the session gets the report."""
    pixels = np.nonzero(where & (labels[z] != number))
    before = labels[z][pixels]
    labels[z][pixels] = number
    session.paint(pixel_changes((z, None, None), pixels, before, labels[z][pixels]))


def begun(session) -> None:
    """Begin a run over the whole stack, and let it come as far as the model."""
    session.find_all(range(3))
    assert session.segmenter.asked.wait(10)


def test_labels_of_a_plane_and_of_a_stack_are_those_of_segment_all(session, segmenter, labels):
    session.find_all([1])
    np.testing.assert_array_equal(labels[1], segment_all(segmenter, TWO, LIMITS))
    session.undo()
    assert not labels.any()
    session.find_all(range(3))
    expected = segment_all(segmenter, STACK, LIMITS)
    np.testing.assert_array_equal(labels > 0, expected > 0)
    np.testing.assert_array_equal(labels, np.where(expected, expected + 2, 0))  # never given twice


def test_run_is_one_step_that_undo_takes_back_and_redo_brings_back(session, labels):
    session.find_all(range(3))
    found = labels.copy()
    (entry,) = session.journal.entries
    assert (entry.kind, entry.text) == ("found", "found 2 objects on 3 planes")
    assert session.object_id == 3
    session.undo()
    assert not labels.any()
    assert session.object_id == 1
    assert session.facts(1).origin == ""
    session.redo()
    np.testing.assert_array_equal(labels, found)
    assert session.facts(1).origin == "found"
    assert session.object_id == 3


def test_entry_has_the_details_to_repeat_the_run(session):
    session.find_all(range(3), proposal_overlap=0.2)
    details = dict(session.journal.entries[0].details)
    (given,) = {one["contrast"] for one in details.pop("given")}
    assert given == "0 to 255"
    assert details == {
        "run": "find all",
        "planes": [[z, None, None] for z in range(3)],
        "axis": 0,
        "linked": True,
        "settings": {"proposal_overlap": 0.2},
        "model": "components",
    }


def test_saved_session_takes_the_run_back_and_makes_it_again(session, labels, tmp_path):
    session.find_all(range(3))
    found = labels.copy()
    session.save(tmp_path / "found.napari-sam")
    opened = Session.open(tmp_path / "found.napari-sam", session.source)
    np.testing.assert_array_equal(opened.canvas.array, found)
    assert opened.journal.entries[0].details == session.journal.entries[0].details
    opened.undo()
    assert not opened.canvas.array.any()
    opened.redo()
    np.testing.assert_array_equal(opened.canvas.array, found)


def test_objects_are_linked_along_the_planes_unless_they_are_not_to_be(session, labels):
    session.find_all(range(3))
    assert [numbers(plane) for plane in labels] == [[1], [1, 2], [1, 2]]
    session.undo()
    session.find_all(range(3), linked=False)
    assert [numbers(plane) for plane in labels] == [[3], [4, 5], [6, 7]]


def test_what_is_there_stays_and_new_objects_get_new_numbers(session, labels, reported):
    session.add_point(1, (12, 12))
    labels[2, 30:, 30:] = 90  # by a script
    before = labels.copy()
    session.lock([90])
    session.find_all(range(3))
    np.testing.assert_array_equal(labels[before > 0], before[before > 0])
    assert numbers(np.where(before, 0, labels)) == [91, 92]
    assert session.new_object() == 93
    assert reported == ["2 objects found"]


def test_object_that_is_mostly_there_is_left_out(session, labels, reported):
    labels[1, :, :45] = 7
    before = labels.copy()
    session.find_all([1])
    np.testing.assert_array_equal(labels, before)
    assert reported == ["Nothing new was found: what is there already stays as it is"]
    assert not session.can_undo


def test_numbers_are_new_though_an_earlier_run_wrote_nothing(session, labels):
    labels[1] = 200
    session.find_all([1])
    session.find_all([0])
    assert numbers(labels[0]) == [201]


def test_erased_by_hand_stays_erased(session, labels):
    session.find_all([1])
    hole = disks(SHAPE, (12, 12, 2)) > 0
    paint(session, labels, 1, hole, 0)
    paint(session, labels, 1, labels[1] == 2, 0)
    session.find_all([1])
    assert not labels[1][hole].any()
    assert numbers(labels[1]) == [1]


def test_click_on_a_found_object_corrects_its_mask(session, labels):
    session.find_all([1])
    found = labels.copy()
    row, column = SECOND[:2]
    session.object_id = int(labels[1][row, column])
    session.add_point(1, (row, column))
    np.testing.assert_array_equal(labels, found)
    inside = found[1] == session.object_id
    edge = int(np.flatnonzero(inside[row]).max())
    session.add_point(1, (row, edge), label=0)
    mine = labels[1] == session.object_id
    assert not mine[row, edge]
    assert mine[row, column]
    assert mine.sum() < inside.sum()
    session.undo()
    session.undo()
    np.testing.assert_array_equal(labels, found)


def test_plane_without_objects_is_reported(segmenter, reported):
    labels = np.zeros(SHAPE, np.int32)
    source = ArraySource(np.zeros(SHAPE, np.uint8), contrast_limits=LIMITS)
    session = Session(segmenter, source, canvas=ArrayCanvas(labels))
    session.noticed.connect(reported.append)
    session.find_all()
    assert reported == ["Nothing was found; a higher contrast or another model may help"]


def test_labels_that_cannot_hold_the_numbers_are_refused(segmenter, reported):
    labels = np.zeros(SHAPE, np.uint8)
    labels[0, 0] = 254
    source = ArraySource(TWO, contrast_limits=LIMITS)
    session = Session(segmenter, source, canvas=ArrayCanvas(labels))
    session.failed.connect(lambda error: reported.append(str(error)))
    session.find_all()
    assert reported[0].startswith("expected labels that hold 256, got uint8")
    assert numbers(labels) == [254]
    assert session.run is None


def test_refused_write_leaves_journal_and_labels_as_they_were(session, labels, reported):
    def full(writes):
        raise OSError("the disk is full")

    session.canvas.write = full
    session.find_all(range(3))
    assert reported == ["the disk is full"]
    assert not labels.any()
    assert not session.can_undo


def test_error_of_the_model_is_reported_and_ends_the_run(session, segmenter, labels, reported):
    def broken(*_, **__):
        raise RuntimeError("out of luck")

    segmenter.propose = broken
    session.find_all(range(3))
    assert reported == ["out of luck"]
    assert session.run is None
    assert not labels.any()


@pytest.mark.parametrize(
    ("planes", "settings", "message"),
    [
        ([3], {}, "expected an index from 0 to 2"),
        ([], {}, "at least one plane"),
        ([(0, None, None), (None, 3, None)], {}, "span the same two axes"),
        ([0], {"points_per_side": 0}, "points_per_side"),
    ],
)
def test_request_without_sense_is_refused(session, planes, settings, message):
    with pytest.raises(ValueError, match=message):
        session.find_all(planes, **settings)


def test_without_a_model_or_labels_no_run_starts(segmenter, labels):
    source = ArraySource(STACK)
    with pytest.raises(ValueError, match="expected labels to write into"):
        Session(segmenter, source).find_all([0])
    with pytest.raises(ValueError, match="expected a model"):
        Session(None, source, canvas=ArrayCanvas(labels)).find_all([0])


def test_cancelled_run_writes_nothing(threaded, labels):
    begun(threaded)
    threaded.cancel_run()
    assert threaded.run is None
    threaded.segmenter.may_propose.set()
    assert threaded.wait(10)
    assert not labels.any()
    assert not threaded.journal.entries


@pytest.mark.parametrize("done", [0, 1, 2])
def test_cancelled_run_keeps_planes_that_are_done_if_asked(session, labels, done):
    def stop():
        if session.run is not None and session.run.count == 3 and session.run.done == done:
            session.cancel_run(keep=True)

    session.run_changed.connect(stop)
    session.find_all(range(3))
    assert session.wait(10)
    np.testing.assert_array_equal(labels[:done] > 0, STACK[:done] > 0)
    assert not labels[done:].any()
    assert len(session.journal.entries) == (done > 0)
    if done:
        assert len(session.journal.entries[0].details["planes"]) == done
        session.undo()
        assert not labels.any()


def test_click_during_the_run_goes_first_and_keeps_its_pixels(threaded, labels):
    begun(threaded)
    threaded.add_point(2, SECOND[:2])
    assert not threaded.wait(0.5)  # the run still waits for its model
    clicked = labels.copy()
    assert numbers(clicked[2]) == [1]
    assert threaded.run.done == 0
    threaded.segmenter.may_propose.set()
    assert threaded.wait(10)
    np.testing.assert_array_equal(labels[clicked > 0], 1)
    np.testing.assert_array_equal(labels > 0, STACK > 0)
    assert [entry.kind for entry in threaded.journal.entries] == ["prompts", "mask", "found"]
    threaded.undo()
    np.testing.assert_array_equal(labels, clicked)


def test_run_goes_on_when_another_plane_is_shown(threaded, labels):
    begun(threaded)
    threaded.show(2)
    threaded.cancel()
    threaded.show(0)
    threaded.segmenter.may_propose.set()
    assert threaded.wait(10)
    np.testing.assert_array_equal(labels > 0, STACK > 0)


def test_one_run_at_a_time(threaded):
    begun(threaded)
    with pytest.raises(ValueError, match="one run at a time"):
        threaded.find_all([0])


@pytest.mark.parametrize("ended_by", ["other pixels", "closed"])
def test_changed_image_or_closed_session_ends_the_run(threaded, labels, ended_by):
    reported = []
    threaded.failed.connect(reported.append)
    begun(threaded)
    if ended_by == "closed":
        threaded.close(ValueError("gone"))
    else:
        threaded.source = ArraySource(STACK[::-1].copy(), contrast_limits=LIMITS)
    assert threaded.run is None
    assert len(reported) == 1
    threaded.segmenter.may_propose.set()
    threaded.wait(10)
    assert not labels.any()


def test_run_goes_on_when_the_contrast_or_the_model_is_another(threaded, labels):
    begun(threaded)
    model = threaded.segmenter
    threaded.source = ArraySource(STACK, contrast_limits=(0, 9))
    threaded.segmenter = ComponentSegmenter(key="other")
    model.may_propose.set()
    assert threaded.wait(10)
    np.testing.assert_array_equal(labels > 0, STACK > 0)
    assert threaded.journal.entries[0].details["model"] == "components"


class WatchedCanvas(ArrayCanvas):
    """Does something once, when the labels were read for the last time on the other thread."""

    def __init__(self, array, planes, then) -> None:
        super().__init__(array)
        self.left, self.then = planes, then

    def read(self, plane, region):
        here = super().read(plane, region)
        self.left -= 1
        if not self.left:
            self.then()
        return here


def test_what_is_written_while_the_run_is_put_together_is_not_painted_over(segmenter, labels):
    def paint_one() -> None:
        paint(session, labels, 1, disks(SHAPE, (12, 12, 3)) > 0, 50)

    canvas = WatchedCanvas(labels, 3, paint_one)
    session = Session(segmenter, ArraySource(STACK, contrast_limits=LIMITS), canvas=canvas)
    session.find_all(range(3))
    np.testing.assert_array_equal(labels[1] == 50, disks(SHAPE, (12, 12, 3)) > 0)
    np.testing.assert_array_equal(labels > 0, STACK > 0)
    assert numbers(labels) == [50, 51, 52]
    session.undo()
    assert numbers(labels) == [50]


def test_what_is_erased_while_the_run_is_put_together_stays_erased(segmenter, labels):
    hole = disks(SHAPE, (12, 12, 3)) > 0

    def paint_and_erase() -> None:
        paint(session, labels, 1, hole, 1)
        paint(session, labels, 1, hole, 0)

    canvas = WatchedCanvas(labels, 3, paint_and_erase)
    session = Session(segmenter, ArraySource(STACK, contrast_limits=LIMITS), canvas=canvas)
    session.find_all(range(3))
    assert not labels[1][hole].any()
    assert (labels[1] > 0).sum() == (TWO > 0).sum() - hole.sum()


def test_other_labels_that_are_picked_meanwhile_get_what_was_found(segmenter, labels):
    other = np.zeros_like(labels)
    other[0] = 5

    def pick() -> None:
        session.canvas = ArrayCanvas(other)

    canvas = WatchedCanvas(labels, 3, pick)
    session = Session(segmenter, ArraySource(STACK, contrast_limits=LIMITS), canvas=canvas)
    session.find_all(range(3))
    assert not labels.any()
    assert (other[0] == 5).all()
    np.testing.assert_array_equal(other[1:] > 0, STACK[1:] > 0)
    assert numbers(other) == [5, 6, 7]
