"""Finding objects by a text or boxes: in Python, in a session, on the command line."""

import numpy as np
import pytest
import tifffile
from component_segmenter import ComponentSegmenter, ReadingSegmenter, disks
from typer.testing import CliRunner

from napari_sam import CachedSegmenter, TiledSegmenter, find_text, segment_all
from napari_sam.automask import AutomaskSettings
from napari_sam.batch import replay_session
from napari_sam.cli import app
from napari_sam.io import write_labels
from napari_sam.io.session_file import SessionFileError
from napari_sam.session import ArrayCanvas, ArraySource, Session
from napari_sam.session.methods import methods_text

SHAPE = (40, 50)
SMALL, LARGE = (12, 12, 5), (28, 35, 9)
BOTH = disks(SHAPE, SMALL, LARGE)
STACK = np.stack([BOTH, BOTH, disks(SHAPE, SMALL)])
BOX = (7.0, 7.0, 17.0, 17.0)
LIMITS = (0, 255)


@pytest.fixture
def segmenter():
    return ReadingSegmenter()


@pytest.fixture
def labels():
    return np.zeros(STACK.shape, np.int32)


@pytest.fixture
def session(segmenter, labels):
    source = ArraySource(STACK, contrast_limits=LIMITS)
    return Session(segmenter, source, canvas=ArrayCanvas(labels))


@pytest.fixture
def reported(session):
    heard: list[str] = []
    session.noticed.connect(heard.append)
    return heard


def test_objects_of_a_text_are_masks_with_boxes_and_scores(segmenter):
    first, second = find_text(segmenter, BOTH, "bright", contrast_limits=LIMITS)
    assert (first.score, second.score) == (pytest.approx(0.95), pytest.approx(0.85))
    assert first.box == (7, 7, 17, 17)
    assert np.array_equal(second.crop(), (disks(SHAPE, LARGE) > 0)[second.region])
    (only,) = find_text(segmenter, BOTH, "large", contrast_limits=LIMITS)
    assert only.mask == second.mask
    assert find_text(segmenter, BOTH, "bright", least_score=0.9) == [first]
    assert find_text(segmenter, BOTH, "purple") == []


def test_examples_define_what_to_find_and_what_not(segmenter):
    (small,) = find_text(segmenter, BOTH, boxes=[BOX])
    assert small.box == (7, 7, 17, 17)
    (large,) = find_text(segmenter, BOTH, "bright", negative_boxes=[BOX])
    assert large.box == (19, 26, 37, 44)


def test_stack_cache_and_tiles_find_the_same(segmenter, tmp_path):
    found = segment_all(segmenter, STACK, LIMITS, text="large")
    assert np.array_equal(found[0] > 0, disks(SHAPE, LARGE) > 0)
    assert found[0].max() == found[1].max() == 1
    assert not found[2].any()
    wrapped = CachedSegmenter(TiledSegmenter(segmenter), tmp_path)
    assert np.array_equal(segment_all(wrapped, STACK, LIMITS, text="large"), found)


def test_what_makes_no_sense_is_refused(segmenter):
    with pytest.raises(ValueError, match="expected a model that reads text, got components"):
        find_text(ComponentSegmenter(), BOTH, "bright")
    with pytest.raises(ValueError, match="expected a text, or boxes"):
        find_text(segmenter, BOTH)
    with pytest.raises(ValueError, match="inside the plane"):
        find_text(segmenter, BOTH, boxes=[(0, 0, 10, 50)])
    with pytest.raises(ValueError, match="text_score_thresh between 0 and 1"):
        AutomaskSettings(text="bright", text_score_thresh=1.5)


def test_session_finds_a_text_as_one_step_that_waits_to_be_proofread(session, labels, reported):
    fractions = []
    session.run_changed.connect(
        lambda: fractions.append(session.run.fraction if session.run else None)
    )
    session.find_text("large", range(3))
    assert reported == ["1 object of ‘large’ found"]
    assert fractions[-1] is None
    assert np.array_equal(labels[0] > 0, disks(SHAPE, LARGE) > 0)
    assert np.array_equal(labels[0], labels[1])
    assert not labels[2].any()
    (row,) = session.objects
    assert (row.origin, row.state) == ("found", "proposed")
    assert row.score == pytest.approx(0.95 - 0.1)
    assert session.queue.waiting == 1
    (entry,) = session.journal.entries
    assert entry.details["settings"] == {"text": "large", "text_score_thresh": 0.5}
    session.undo()
    assert not labels.any()
    assert not session.objects
    session.redo()
    assert labels[0].any()


def test_session_finds_by_examples_and_leaves_what_is_there(session, labels, reported):
    labels[0][disks(SHAPE, SMALL) > 0] = 7
    session.find_text("bright", [0])
    assert set(np.unique(labels[0])) == {0, 7, 8}
    session.find_text("", [2], boxes=[BOX])
    assert np.array_equal(labels[2] > 0, disks(SHAPE, SMALL) > 0)
    assert reported == ["1 object of ‘bright’ found", "1 object found"]


def test_session_reports_what_was_not_found_or_can_not_be(session, reported):
    session.find_text("purple", [0])
    assert reported == ["Nothing of ‘purple’ was found; other words or a higher contrast may help"]
    assert not session.journal.entries
    with pytest.raises(ValueError, match="expected a text, or boxes"):
        session.find_text("  ", [0])
    session.segmenter = ComponentSegmenter()
    with pytest.raises(ValueError, match="expected a model that reads text"):
        session.find_text("bright", [0])


def test_kept_session_is_replayed(session, segmenter, labels, tmp_path):
    session.find_text("bright", range(3))
    session.find_text("bright", [2], boxes=[BOX], least_score=0.1)
    path = tmp_path / "text.napari-sam"
    session.save(path)
    source = ArraySource(STACK, contrast_limits=LIMITS)
    again = replay_session(path, source, segmenter)
    assert np.array_equal(again.labels, labels)
    opened = Session.open(path, source, segmenter)
    assert [entry.details["settings"] for entry in opened.journal.entries] == [
        entry.details["settings"] for entry in session.journal.entries
    ]


def test_methods_state_the_texts(session):
    session.find_all([0])
    assert "specified what to find" not in methods_text({}, session.journal.entries)
    session.find_text("large", [1])
    session.find_text("bright", [2])
    reported = methods_text({}, session.journal.entries)
    assert "The texts “large” and “bright” specified what to find." in reported


@pytest.mark.parametrize(
    ("name", "value"), [("text", 5), ("boxes", 5), ("boxes", [[1, 2]]), ("text_score_thresh", "x")]
)
def test_damaged_run_of_a_text_is_reported(session, segmenter, tmp_path, name, value):
    session.find_text("bright", [2], boxes=[BOX])
    session.journal.entries[0].details["settings"][name] = value
    session.save(tmp_path / "text.napari-sam")
    with pytest.raises(SessionFileError, match="it is damaged"):
        replay_session(tmp_path / "text.napari-sam", session.source, segmenter)


def test_command_line_finds_a_text(segmenter, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "napari_sam.segmentation.loading.load_segmenter", lambda *args, **kw: segmenter
    )
    write_labels(tmp_path / "cells.tif", BOTH)
    arguments = ["auto", str(tmp_path / "cells.tif"), "-o", str(tmp_path / "found.tif")]
    outcome = CliRunner().invoke(app, [*arguments, "--text", "large", "--contrast", "0", "255"])
    assert outcome.exit_code == 0, outcome.output
    found = tifffile.imread(tmp_path / "found.tif")
    assert np.array_equal(found > 0, disks(SHAPE, LARGE) > 0)
    outcome = CliRunner().invoke(app, [*arguments, "--text", "large", "--points-per-side", "4"])
    assert outcome.exit_code != 0
    assert "got both" in outcome.output
