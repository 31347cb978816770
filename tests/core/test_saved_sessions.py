"""A session that was saved, or kept by a process that ended, goes on where it was."""

from __future__ import annotations

import os
import random
import subprocess
import sys

import numpy as np
import pytest
from component_segmenter import ComponentSegmenter, disks
from core.fake_segmenter import FakeSegmenter

from napari_sam.io.session_file import SessionFile, SessionFileError
from napari_sam.session import ArrayCanvas, ArraySource, Session, pixel_changes
from napari_sam.session.keeping import ImageFacts, Keeping, save_session
from napari_sam.session.saved import read_session

SHAPE = (3, 40, 50)


def image():
    return ArraySource(np.zeros(SHAPE, np.uint8))


def new_session(labels=None, dtype=np.int32) -> Session:
    labels = np.zeros(SHAPE, dtype) if labels is None else labels
    return Session(FakeSegmenter(), image(), canvas=ArrayCanvas(labels))


def paint(session: Session, plane: int, value: int, top: int, left: int, size: int = 6) -> None:
    """Paint a square, as a brush does: first in the labels, then with a report."""
    labels = session.canvas.array[plane]
    rows, columns = (x.ravel() for x in np.mgrid[top : top + size, left : left + size])
    before = labels[rows, columns].copy()
    labels[rows, columns] = value
    after = labels[rows, columns]
    at = session.source.plane_of(plane)
    session.paint(pixel_changes(at, (rows, columns), before, after))


class Player:
    """Does at random what a user does."""

    def __init__(self, session: Session, seed: int) -> None:
        self.session, self.draw = session, random.Random(seed)

    def act(self) -> None:
        draw, session = self.draw, self.session
        plane, point = draw.randrange(3), (draw.randrange(40), draw.randrange(50))
        object_id = 1 + draw.randrange(4)
        free = not session.facts(object_id).locked
        what = draw.randrange(12)
        try:
            if what < 3:
                session.add_point(plane, point, draw.randrange(2), object_id)
            elif what == 3:
                box = (*point, min(point[0] + 9, 39), min(point[1] + 9, 49))
                session.set_box(plane, box, object_id)
            elif what == 4:
                paint(session, plane, draw.randrange(5), min(point[0], 30), min(point[1], 40))
            elif what == 5:
                session.lock([object_id], free)
            elif what == 6:
                session.delete_object(object_id, draw.choice([None, plane]))
            elif what == 7:
                session.merge_objects(object_id, 1 + draw.randrange(4))
            elif what == 8 and len(session.scores(object_id, plane)) > 1:
                one = draw.choice([0, 1, 2, "whole", "part", "sub-part"])
                session.choose_candidate(one, plane, object_id)
            elif what == 9:
                session.overwrite = not session.overwrite
            elif what == 10:
                session.undo()
            elif what == 11:
                session.redo()
        except ValueError:  # a locked object, or one that is not there
            pass


def state(session: Session) -> dict:
    """Return everything that a user can see of a session."""
    book = session.prompts
    keys = [(o, session.source.plane_of(z)) for o in range(1, 6) for z in range(3)]
    return {
        "groups": {key: book.group(key) for key in book.keys},
        "masks": {
            key: np.flatnonzero(session.mask(*key)).tolist() for key in keys if known(session, key)
        },
        "scores": {key: session.scores(*key) for key in keys},
        "facts": {o: session.facts(o) for o in range(1, 6)},
        "labels": session.canvas.array.tolist(),
        "object": session.object_id,
        "overwrite": session.overwrite,
        "granularity": session.granularity,
        "undo": session.next_undo,
        "redo": session.next_redo,
        "numbers": [entry.number for entry in session.journal.entries],
    }


def known(session: Session, key) -> bool:
    return bool(session.scores(*key))


def unnumbered(session: Session) -> dict:
    """Leave the entries' numbers out: those of what never held are not in a saved file."""
    seen = state(session)
    del seen["numbers"]
    return seen


def unwind(session: Session) -> list:
    """Undo and redo everything; return all that was seen on the way."""
    seen = [unnumbered(session)]
    for can, go in (("can_undo", session.undo), ("can_redo", session.redo)):
        while getattr(session, can):
            go()
            seen.append(unnumbered(session))
    return seen


@pytest.mark.parametrize("seed", range(4))
def test_a_saved_session_is_what_it_was_and_goes_on(tmp_path, seed):
    session = new_session()
    player = Player(session, seed)
    for _ in range(45):
        player.act()
    session.save(tmp_path / "one.napari-sam")
    again = Session.open(tmp_path / "one.napari-sam", image(), FakeSegmenter())
    assert state(again) == state(session)
    both = Player(session, 100 + seed), Player(again, 100 + seed)
    for _ in range(15):
        for one in both:
            one.act()
    assert unnumbered(again) == unnumbered(session)
    assert unwind(again) == unwind(session)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("as_it_goes", [True, False])
def test_a_kept_session_is_what_it_was_at_any_moment(tmp_path, seed, as_it_goes):
    labels = np.zeros(SHAPE, np.uint16)
    labels[1, 10:30, 5:45] = 9
    labels[2, 39, 49] = 4
    session = new_session(labels)
    keeping = Keeping(session, SessionFile.create(tmp_path / "one.napari-sam"))
    player = Player(session, seed)
    for step in range(45):
        player.act()
        if as_it_goes and step % 9 == 0:
            keeping.recorder.flush(20)
            compare(tmp_path / "one.napari-sam", session)
    keeping.close()
    again = compare(tmp_path / "one.napari-sam", session)
    keeping = Keeping(again, SessionFile.open(tmp_path / "one.napari-sam", writable=True))
    player = Player(again, seed + 50)
    for _ in range(20):
        player.act()
    keeping.close()
    third = compare(tmp_path / "one.napari-sam", again)
    assert unwind(third) == unwind(again)


def compare(path, session: Session) -> Session:
    again = Session.open(path, image(), FakeSegmenter())
    expected = state(session)
    assert state(again) == expected
    return again


def test_labels_are_right_however_late_they_are_read(tmp_path, monkeypatch):
    """Those that lay there before may be read after strokes that were taken back since."""
    labels = np.zeros(SHAPE, np.uint16)
    labels[0] = 9
    session = new_session(labels)
    keeping = Keeping(session, SessionFile.create(tmp_path / "one.napari-sam"))
    paint(session, 0, 3, 5, 5)
    stroke = labels[0].copy()  # as the recorder may happen to see it
    paint(session, 0, 4, 8, 8)
    session.undo()
    session.undo()
    assert (labels[0] == 9).all()
    keeping.recorder.keep_planes([((0, None, None), lambda: stroke)], 0)
    keeping.close()
    compare(tmp_path / "one.napari-sam", session)


def brush(session: Session, plane, value: int, top: int, left: int, size: int = 6):
    """Paint a square without a report yet; return the change to be reported."""
    labels = session.canvas.array[tuple(slice(None) if i is None else i for i in plane)]
    rows, columns = (x.ravel() for x in np.mgrid[top : top + size, left : left + size])
    before = labels[rows, columns].copy()
    labels[rows, columns] = value
    return pixel_changes(plane, (rows, columns), before, labels[rows, columns])


def locked_and_kept(tmp_path, stroke_on=(0, None, None)):
    """Return a session whose labels are read while a stroke lies over a locked object."""
    labels = np.zeros(SHAPE, np.uint16)
    labels[:2, 5:9] = 9
    session = new_session(labels)
    session.lock([9], True)
    stroke = brush(session, stroke_on, 3, 0, 5, 3 if stroke_on[0] is None else 12)
    keeping = Keeping(session, SessionFile.create(tmp_path / "one.napari-sam"))
    assert keeping.recorder.flush(20)
    return session, keeping, stroke


def test_pixels_of_a_locked_object_come_back_though_read_under_a_stroke(tmp_path):
    session, keeping, stroke = locked_and_kept(tmp_path)
    session.paint(stroke)
    assert (session.canvas.array[0, 5:9] == 9).all()
    assert (session.canvas.array[0, 0:5, 5:17] == 3).all()
    assert keeping.recorder.flush(20)
    again = compare(tmp_path / "one.napari-sam", session)  # as after a crash
    keeping.close()
    third = compare(tmp_path / "one.napari-sam", session)
    assert unwind(third) == unwind(again)


def test_so_they_do_when_the_stroke_lies_in_a_plane_across(tmp_path):
    session, keeping, _ = locked_and_kept(tmp_path)
    session.canvas.array[0, :5, 5:17] = 0
    session.canvas.array[0, 5:9, 5:17] = 9
    session.canvas.array[0, 9:12, 5:17] = 0
    session.source = ArraySource(np.zeros(SHAPE, np.uint8), displayed=(0, 2))
    stroke = brush(session, (None, 6, None), 3, 0, 5, 3)
    keeping.recorder.keep_planes(
        [((z, None, None), session.canvas.array[z].copy) for z in range(3)], keeping._last
    )
    keeping.recorder.flush(20)
    session.paint(stroke)
    keeping.close()
    again = Session.open(tmp_path / "one.napari-sam", image(), FakeSegmenter())
    np.testing.assert_array_equal(again.canvas.array, session.canvas.array)


def test_pixels_put_back_are_no_step_and_leave_redo_alone(tmp_path):
    session, keeping, stroke = locked_and_kept(tmp_path)
    session.paint(stroke)
    session.add_point(2, (20, 20))
    session.undo()
    number = session.journal.entries[-1].number
    session.paint(brush(session, (1, None, None), 3, 5, 5, 4))  # nothing but locked pixels
    assert session.journal.entries[-1].number == number
    assert session.next_redo
    session.redo()
    keeping.close()
    assert compare(tmp_path / "one.napari-sam", session).next_undo == session.next_undo


class Refusing(ArrayCanvas):
    """Labels that take a write, and put everything back after they were read."""

    def __init__(self, array, read_meanwhile) -> None:
        super().__init__(array)
        self.read_meanwhile = read_meanwhile
        self.refuses = False

    def write(self, writes) -> None:
        before = self.array.copy()
        super().write(writes)
        if self.refuses:
            self.read_meanwhile()
            self.array[:] = before
            raise OSError("the disk is full")


def test_pixels_of_a_write_that_failed_are_not_kept(tmp_path):
    labels = np.zeros(SHAPE, np.uint16)
    labels[0, :20] = 9

    def keep() -> None:
        keepings.append(Keeping(session, SessionFile.create(tmp_path / "one.napari-sam")))
        assert keepings[0].recorder.flush(20)

    keepings: list[Keeping] = []
    canvas = Refusing(labels, keep)
    session = Session(FakeSegmenter(), image(), canvas=canvas)
    session.lock([5], True)
    canvas.refuses = True
    session.delete_object(9)
    assert (labels[0, :20] == 9).all()
    canvas.refuses = False
    keepings[0].close()
    compare(tmp_path / "one.napari-sam", session)


def test_labels_that_others_replace_before_anything_was_written_are_kept(tmp_path):
    labels = np.zeros(SHAPE, np.uint16)
    labels[0] = 9
    session = new_session(labels)
    keeping = Keeping(session, SessionFile.create(tmp_path / "one.napari-sam"))
    session.lock([9], True)
    assert keeping.recorder.flush(20)
    session.canvas.array = np.full(SHAPE, 7, np.int32)
    session.note_elsewhere(None)
    keeping.close()
    compare(tmp_path / "one.napari-sam", session)


def clicked(tmp_path, labels=None) -> Session:
    session = new_session(labels)
    session.add_point(1, (20, 20))
    session.new_object()
    session.add_point(2, (10, 30))
    session.save(tmp_path / "one.napari-sam")
    return session


class OnDisk(ArrayCanvas):
    """Labels that outlive the process."""

    is_kept = True


def test_labels_that_show_something_else_are_left_alone_until_undo(tmp_path):
    session = clicked(tmp_path)
    labels, reported = session.canvas.array.copy(), []
    labels[1, 20, 20:22] = 77
    again = Session(FakeSegmenter(), image(), canvas=ArrayCanvas(labels))
    again.noticed.connect(reported.append)
    assert again.restore(read_session(tmp_path / "one.napari-sam", image())) == 2
    assert labels[1, 20, 20:22].tolist() == [77, 77]
    assert reported[0].startswith("2 pixels of the labels are not what the session recorded")
    again.undo()
    np.testing.assert_array_equal(labels, session.canvas.array)


def test_labels_on_disk_are_compared_and_not_filled_unasked(tmp_path):
    session = clicked(tmp_path)
    saved = read_session(tmp_path / "one.napari-sam", image())
    same = Session(FakeSegmenter(), image(), canvas=OnDisk(session.canvas.array.copy()))
    assert same.restore(saved) == 0
    empty = Session(FakeSegmenter(), image(), canvas=OnDisk(np.zeros(SHAPE, int)))
    assert empty.restore(saved) == np.count_nonzero(session.canvas.array)
    assert not empty.canvas.array.any()
    filled = Session(FakeSegmenter(), image(), canvas=OnDisk(np.zeros(SHAPE, int)))
    assert filled.restore(saved, fill=True) == 0
    np.testing.assert_array_equal(filled.canvas.array, session.canvas.array)


def test_labels_that_cant_hold_the_numbers_are_refused_and_nothing_is_changed(tmp_path):
    session = new_session()
    session.add_point(1, (20, 20), object_id=300)
    session.save(tmp_path / "one.napari-sam")
    small = new_session(dtype=np.uint8)
    with pytest.raises(ValueError, match="300"):
        small.restore(read_session(tmp_path / "one.napari-sam", image()))
    assert not small.canvas.array.any()
    assert not len(small.journal)


def test_a_session_that_was_worked_in_takes_no_other(tmp_path):
    session = clicked(tmp_path)
    with pytest.raises(ValueError, match="expected a new session"):
        session.restore(read_session(tmp_path / "one.napari-sam", image()))


def test_a_session_opens_on_its_image_alone_which_may_have_grown(tmp_path):
    clicked(tmp_path)
    grown = ArraySource(np.zeros((5, 40, 50), np.uint8))
    again = Session.open(tmp_path / "one.napari-sam", grown, FakeSegmenter())
    assert again.canvas.array.shape == (5, 40, 50)
    assert again.prompts.object_ids == (1, 2)
    for shape in [(3, 40, 51), (2, 40, 50), (40, 50)]:
        with pytest.raises(SessionFileError, match=r"open the session on its own image"):
            Session.open(tmp_path / "one.napari-sam", ArraySource(np.zeros(shape, np.uint8)))


def test_prompts_without_an_answer_get_one_when_there_is_a_model(tmp_path):
    session = Session(None, image(), canvas=ArrayCanvas(np.zeros(SHAPE, int)))
    session.add_point(1, (20, 20))
    session.save(tmp_path / "one.napari-sam")
    again = Session.open(tmp_path / "one.napari-sam", image())
    assert again.is_waiting
    again.segmenter = FakeSegmenter()
    expected = new_session()
    expected.add_point(1, (20, 20))
    np.testing.assert_array_equal(again.canvas.array, expected.canvas.array)


def test_a_session_without_labels_gets_some(tmp_path):
    session = Session(FakeSegmenter(), image())
    session.add_point(1, (20, 20))
    session.save(tmp_path / "one.napari-sam")
    again = Session.open(tmp_path / "one.napari-sam", image(), FakeSegmenter())
    np.testing.assert_array_equal(again.mask(1, 1), session.mask(1, 1))


def test_planes_that_cross_each_other_come_back(tmp_path):
    session = new_session()
    session.add_point(1, (20, 20))
    across = ArraySource(np.zeros(SHAPE, np.uint8), displayed=(0, 2))
    session.source = across
    session.add_point((None, 21, None), (1, 22), object_id=2)
    session.save(tmp_path / "one.napari-sam")
    for source in (image(), across):
        again = Session.open(tmp_path / "one.napari-sam", source, FakeSegmenter())
        np.testing.assert_array_equal(again.canvas.array, session.canvas.array)


def test_labels_after_others_were_chosen_come_back(tmp_path):
    session = new_session()
    keeping = Keeping(session, SessionFile.create(tmp_path / "one.napari-sam"))
    session.add_point(1, (20, 20))
    other = np.zeros(SHAPE, np.uint8)
    other[0] = 5
    session.canvas = ArrayCanvas(other)
    session.add_point(2, (10, 10))
    keeping.close()
    again = Session.open(tmp_path / "one.napari-sam", image(), FakeSegmenter())
    np.testing.assert_array_equal(again.canvas.array, other)
    assert (again.next_undo, again.can_undo) == (session.next_undo, session.can_undo)
    again.undo()
    again.undo()
    assert again.prompts.object_ids == (1,)


def test_what_a_run_found_comes_back_as_one_step(tmp_path):
    stack = np.stack([disks((40, 50), (12, 12, 6), (28, 35, 8))] * 3)
    source = ArraySource(stack, contrast_limits=(0, 255))
    session = Session(
        ComponentSegmenter(dense=True), source, canvas=ArrayCanvas(np.zeros(SHAPE, np.int32))
    )
    keeping = Keeping(session, SessionFile.create(tmp_path / "one.napari-sam"))
    session.find_all(range(3), proposal_overlap=np.float32(0.2))
    assert session.canvas.array.any()
    assert keeping.close()
    again = Session.open(tmp_path / "one.napari-sam", source, ComponentSegmenter(dense=True))
    np.testing.assert_array_equal(again.canvas.array, session.canvas.array)
    assert again.next_undo == session.next_undo
    assert [again.facts(i) for i in range(4)] == [session.facts(i) for i in range(4)]
    again.undo()
    assert not again.canvas.array.any()


# What a file stores


def test_a_saved_file_names_no_folder(tmp_path):
    folder = tmp_path / "users-own-folder"
    path = folder / "below" / "cells.tif"
    path.parent.mkdir(parents=True)
    path.touch()
    session = new_session()
    facts = ImageFacts(path=path, axes=("z", "y", "x"), pixel_size=(1, 0.5, 0.5), units=("µm",) * 3)
    keeping = Keeping(session, SessionFile.create(tmp_path / "kept.napari-sam"), facts)
    session.add_point(1, (20, 20))
    keeping.recorder.flush(20)
    keeping.save(folder / "to send.napari-sam")
    keeping.save(tmp_path / "elsewhere" / "to send.napari-sam")
    keeping.close()
    save_session(session, folder / "below" / "at once.napari-sam", facts)
    kept, *saved = map(
        about,
        [
            tmp_path / "kept.napari-sam",
            folder / "to send.napari-sam",
            tmp_path / "elsewhere" / "to send.napari-sam",
            folder / "below" / "at once.napari-sam",
        ],
    )
    assert kept["source"]["path"] == str(path)
    below = [one["image"].get("relative_path") for one in saved]
    assert below == ["below/cells.tif", None, "cells.tif"]
    for one in saved:
        assert "source" not in one
        assert one["image"]["file"] == "cells.tif"
        assert one["image"]["pixel_size"] == [1.0, 0.5, 0.5]
    for saved_path in (folder / "to send.napari-sam", folder / "below" / "at once.napari-sam"):
        assert b"users-own-folder" not in saved_path.read_bytes()


def about(path) -> dict:
    file = SessionFile.open(path)
    try:
        return file.about
    finally:
        file.close()


def test_a_file_stores_models_versions_and_settings(tmp_path):
    session = new_session()
    session.overwrite = True
    session.object_id = 5
    session.save(tmp_path / "one.napari-sam")
    reported = about(tmp_path / "one.napari-sam")
    assert reported["model"] == {
        "name": "fake",
        "key": session.segmenter.model_key,
        "encoder_key": session.segmenter.encoder_key,
        "precision": "float32",
        "device": "cpu",
    }
    assert {"python", "numpy", "torch"} <= reported["versions"].keys()
    again = Session.open(tmp_path / "one.napari-sam", image())
    assert (again.overwrite, again.object_id) == (True, 5)


# A process that is killed

SCRIPT = """
import sys
import numpy as np
from core.fake_segmenter import FakeSegmenter
from core.test_saved_sessions import Player, new_session
from napari_sam.io.session_file import SessionFile
from napari_sam.session.keeping import Keeping

session = new_session()
keeping = Keeping(session, SessionFile.create(sys.argv[1]))
player = Player(session, int(sys.argv[2]))
while True:
    player.act()
    keeping.recorder.flush()
    print(session.journal.new("mask", "").number - 1, flush=True)
"""


def test_a_killed_session_comes_back_and_goes_on(tmp_path):
    path, tests = tmp_path / "one.napari-sam", os.path.dirname(os.path.dirname(__file__))
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(path), "3"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([tests, *sys.path])},
    )
    with process:
        for line in process.stdout:
            if int(line) >= 40:
                process.kill()
                break
    again = Session.open(path, image(), FakeSegmenter())
    assert read_session(path, image()).last_number >= int(line)
    assert_labels_are_what_the_journal_says(again)
    keeping = Keeping(again, SessionFile.open(path, writable=True))
    before = state(again)
    again.add_point(2, (30, 30), object_id=5)
    again.undo()
    keeping.close()
    assert compare(path, again).canvas.array.tolist() == before["labels"]


def assert_labels_are_what_the_journal_says(session: Session) -> None:
    shown = np.zeros(SHAPE, int)
    for entry in session.journal.entries:
        for change in entry.pixels:
            shown[change.plane[0]][change.slices][change.where] = change.after
    np.testing.assert_array_equal(session.canvas.array, shown)
