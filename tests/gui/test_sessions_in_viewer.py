"""A session is kept as it grows, offered again, gone on with, saved and opened."""

from pathlib import Path

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from napari_sam.gui import session_reader
from napari_sam.session.library import Library

SHAPE = (40, 50)


@pytest.fixture
def me(user, rng):
    return user(rng.integers(0, 255, SHAPE, np.uint8), name="cells")


def push(me, button):
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)
    me.settle()


def work(me):
    """Click on two objects, choose a candidate, lock, and take one step back."""
    me.click((10, 10))
    me.press(Qt.Key.Key_W)
    me.press(Qt.Key.Key_N)
    me.click((30, 40))
    me.session.lock([1])
    me.click((25, 40))
    me.session.undo()
    me.settle()
    me.qtbot.waitUntil(lambda: me.controller.keeping.path is not None)
    return me.labels.copy()


def close_and_reopen(me, data=None):
    """Close the image, and open it again; wait until the dock offers what it finds."""
    image = me.annotation.image
    for layer in list(me.annotation.layers)[::-1]:
        me.viewer.layers.remove(layer)
    me.settle()
    me.viewer.add_image(image.data.copy() if data is None else data, name="cells")
    me.settle()


def wait_for_question(me):
    me.qtbot.waitUntil(lambda: me.controller.keeping.question is not None)
    me.settle()


def test_unfinished_session_is_offered_and_goes_on_where_it_was(me):
    before, candidate = work(me), me.session.candidate(1, ())
    close_and_reopen(me)
    wait_for_question(me)
    section = me.dock.question
    assert not section.isHidden()
    title, summary = section.text.text().split("\n")
    assert title.startswith("Unfinished session of this image, ")
    assert summary.startswith("2 objects · last: ")
    assert "last: “locked object 1”" in section.text.text()
    push(me, section.yes)
    assert section.isHidden()
    np.testing.assert_array_equal(me.labels, before)
    session = me.session
    assert session.object_id == 2
    assert len(session.prompts.clicks) == 2
    assert session.candidate(1, ()) == candidate > 0
    assert session.facts(1).locked
    assert len(me.annotation.points.data) == 2
    assert me.dock.foot.redo.whole_text.endswith("redo: “added a point to object 2”")
    push(me, me.dock.foot.redo)
    assert len(session.prompts.clicks) == 3
    me.press(Qt.Key.Key_N)
    me.click((10, 40))
    assert me.labels[10, 40] == 3
    after = me.labels.copy()
    close_and_reopen(me)
    wait_for_question(me)
    push(me, me.dock.question.yes)
    np.testing.assert_array_equal(me.labels, after)
    assert len(Library().sessions()) == 1


def test_starting_anew_keeps_the_old_session_until_it_is_removed(me):
    work(me)
    old = me.controller.keeping.path
    close_and_reopen(me)
    wait_for_question(me)
    push(me, me.dock.question.no)
    assert me.dock.question.isHidden()
    me.annotation.click_here()
    me.click((20, 20))
    me.qtbot.waitUntil(lambda: me.controller.keeping.path not in (None, old))
    assert old.exists()
    me.controller.keeping.list_sessions()
    me.qtbot.waitUntil(lambda: len(me.dock.files.shown.kept) == 2)
    with pytest.raises(ValueError, match="not open"):
        Library().remove(me.controller.keeping.path)
    me.controller.keeping.remove(old)
    me.qtbot.waitUntil(lambda: len(me.dock.files.shown.kept) == 1)
    assert not old.exists()


def test_session_can_still_be_continued_when_work_has_begun_anew(me):
    before = work(me)
    close_and_reopen(me)
    wait_for_question(me)
    me.annotation.click_here()
    me.click((5, 45))
    mine = me.labels.copy()
    push(me, me.dock.question.yes)
    np.testing.assert_array_equal(me.labels, before)
    (aside,) = [x for x in me.viewer.layers if x.name == "cells · masks (40 × 50)"]
    np.testing.assert_array_equal(aside.data, mine)
    me.settle(200)
    assert me.controller.engine.wait(10, background=True)
    assert me.controller.keeping.question is None  # what was set aside is not offered at once
    assert len(Library().sessions()) == 2  # that of a moment ago, too


def test_session_that_is_open_elsewhere_is_not_offered(me, rng):
    work(me)
    me.viewer.add_image(me.annotation.image.data.copy(), name="again")
    me.controller.choose_image(me.viewer.layers["again"])
    me.settle(200)
    assert me.controller.engine.wait(10, background=True)
    me.settle()
    assert me.controller.keeping.question is None
    me.annotation.click_here()
    me.click((20, 20))
    me.qtbot.waitUntil(lambda: me.controller.keeping.path is not None)
    assert len(Library().sessions()) == 2


def test_labels_that_show_something_else_are_not_overwritten(me):
    notices = []
    before = work(me)
    close_and_reopen(me)
    wait_for_question(me)
    painted = before.copy()
    painted[0, :5] = 9
    painted[10, 10] = 9
    me.annotation.labels = me.viewer.add_labels(painted.copy(), name="mine")
    me.controller.noticed.connect(notices.append)
    push(me, me.dock.question.yes)
    np.testing.assert_array_equal(me.labels, painted)
    assert any("left as they are" in text for text in notices)
    assert "changed elsewhere" in me.dock.foot.undo.whole_text
    push(me, me.dock.foot.undo)
    assert me.labels[10, 10] == before[10, 10]


def test_saved_session_is_opened_by_dropping_it(user_and_errors, rng, tmp_path, monkeypatch):
    me, errors = user_and_errors(rng.integers(0, 255, SHAPE, np.uint8), name="cells")
    before = work(me)
    me.controller.keeping.save(tmp_path / "mine")
    me.settle()
    path = tmp_path / "mine.napari-sam"
    assert path.exists()
    monkeypatch.setattr("napari.current_viewer", lambda: me.viewer)
    read = session_reader.get_reader(str(path))
    image = me.annotation.image
    me.viewer.layers.clear()
    me.settle()
    assert read(str(path)) == [(None,)]
    me.settle()
    assert "expected the image of this session, 'cells' of shape [40, 50]" in errors[-1]
    me.viewer.add_image(rng.integers(0, 255, SHAPE, np.uint8), name="another")
    me.viewer.add_image(image.data, name="the same")
    me.controller.choose_image(me.viewer.layers["another"])
    me.settle()
    assert read([str(path)]) == [(None,)]
    me.settle()
    assert me.annotation.image.name == "the same"
    np.testing.assert_array_equal(me.labels, before)
    assert me.controller.keeping.path != path  # a copy goes on, the file stays as it was sent
    assert len(errors) == 1


def test_closing_all_layers_at_once_keeps_undo(me):
    """Whatever their order: the masks may lie on top, and are closed first."""
    me.annotation.labels = me.viewer.add_labels(np.zeros(SHAPE, np.int32), name="picked")
    me.annotation.click_here()
    before = work(me)
    steps = me.session.next_undo, me.session.next_redo
    image = me.annotation.image
    assert me.viewer.layers[-1] is me.annotation.labels
    me.viewer.layers.clear()
    me.settle()
    me.viewer.add_image(image.data.copy(), name="cells")
    me.settle()
    wait_for_question(me)
    push(me, me.dock.question.yes)
    me.qtbot.waitUntil(lambda: bool(me.session.next_undo))
    assert (me.session.next_undo, me.session.next_redo) == steps
    assert (me.labels == before).all()
    while me.session.next_undo:
        me.session.undo()
    me.settle()
    assert not me.labels.any()


def test_methods_text_describes_the_session(me):
    work(me)
    me.dock.files.fold.expand()
    me.settle()
    push(me, me.dock.files.methods)
    assert me.dock.files.paragraph.toPlainText().startswith(
        "2 objects in cells were segmented with "
    )


def test_only_session_files_are_read(tmp_path):
    assert session_reader.get_reader("labels.tif") is None
    assert session_reader.get_reader(["a.napari-sam", "b.tif"]) is None
    with pytest.raises(ValueError, match="one session"):
        session_reader.read_session(["a.napari-sam", "b.napari-sam"])


def test_damaged_session_is_refused_and_nothing_changes(user_and_errors, rng, tmp_path):
    me, errors = user_and_errors(rng.integers(0, 255, SHAPE, np.uint8), name="cells")
    before = work(me)
    path = tmp_path / "bad.napari-sam"
    path.write_bytes(b"no session")
    me.controller.keeping.open(Path(path))
    me.settle()
    assert len(errors) == 1
    np.testing.assert_array_equal(me.labels, before)
    assert len(me.session.prompts.clicks) == 2
