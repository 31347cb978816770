"""The part of the dock that saves, opens and lists sessions, and the question above it."""

import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QFileDialog, QLabel, QPushButton, QToolButton

from napari_sam.gui.controls import ElidedButton
from napari_sam.gui.keeping import Question
from napari_sam.gui.question_section import QuestionSection
from napari_sam.gui.session_section import SessionSection, session_state_of
from napari_sam.gui.wording import object_count_text, size_text, time_text
from napari_sam.session.library import KeptSession

NOW = time.mktime((2026, 11, 29, 12, 0, 0, 0, 0, -1))


class FakeKeeping:
    """What is kept, and what was asked of it."""

    def __init__(self, *kept):
        self.kept, self.path = list(kept), None
        self.busy, self.methods, self.question = "", "", None
        self.proposed_name = "cells.napari-sam"
        self.calls = []

    def save(self, path):
        self.calls.append(("save", path))

    def open(self, path):
        self.calls.append(("open", path))

    def remove(self, path):
        self.calls.append(("remove", path))
        self.kept = [one for one in self.kept if one.path != path]

    def answer(self, yes):
        self.calls.append(("answer", yes))
        self.question = None

    def write_methods(self):
        self.methods = "Objects were segmented with nano."

    def list_sessions(self):
        self.calls.append(("list sessions",))


def kept(name, objects=37, size=1_200_000, error=""):
    return KeptSession(Path(name), name, NOW, 99, objects, size, error=error)


@pytest.fixture
def controller():
    errors = []
    return SimpleNamespace(
        keeping=FakeKeeping(kept("a"), kept("b")),
        annotation=SimpleNamespace(session=SimpleNamespace(journal=[1])),
        refused=SimpleNamespace(emit=errors.append),
        errors=errors,
    )


@pytest.fixture
def section(controller, qtbot):
    section = SessionSection(controller)
    qtbot.addWidget(section)
    section.refresh()
    section.fold.expand()
    section.show()
    return section


def press(button):
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)


def texts(section):
    return [row.findChild(ElidedButton).whole_text for row in section.list.rows]


def cross(section):
    return section.list.rows[0].findChild(QToolButton)


@pytest.mark.parametrize(
    ("then", "text"),
    [((2026, 11, 28, 14, 10), "28 Nov 14:10"), ((2025, 3, 1, 9, 5), "1 Mar 2025")],
)
def test_times_are_written_as_people_do(then, text):
    assert time_text(time.mktime((*then, 0, 0, 0, -1)), NOW) == text


def test_counts_and_sizes_are_written_in_words():
    assert object_count_text(1) == "1 object"
    assert object_count_text(37) == "37 objects"
    assert [size_text(n) for n in (10, 12_345, 3_400_000)] == ["1 kB", "12 kB", "3.4 MB"]


def test_session_that_is_open_is_listed_as_such(controller):
    controller.keeping.path = Path("b")
    state = session_state_of(controller)
    assert [line.can_open for line in state.kept] == [True, False]
    assert [line.can_remove for line in state.kept] == [True, False]
    assert state.kept[0].text.startswith("a · 29 Nov 12:00 · 37 objects · 1.2 MB")


def test_session_that_cannot_be_read_shows_why_and_can_be_removed(controller):
    controller.keeping.kept = [kept("a", error="it is damaged")]
    (line,) = session_state_of(controller).kept
    assert "can't be read" in line.text
    assert line.tip.startswith("it is damaged")
    assert (line.can_open, line.can_remove) == (False, True)


def test_nothing_can_be_saved_before_anything_was_done(controller):
    assert session_state_of(controller).can_save
    controller.annotation.session.journal = []
    assert not session_state_of(controller).can_save
    controller.annotation = None
    assert not session_state_of(controller).can_save


def test_removal_that_was_asked_for_ends_with_its_session(controller):
    assert session_state_of(controller, Path("a")).asked == Path("a")
    assert session_state_of(controller, Path("elsewhere")).asked is None


def test_session_is_removed_when_the_user_confirms_it(controller, section):
    assert len(texts(section)) == 2
    press(cross(section))
    assert not [c for c in controller.keeping.calls if c[0] == "remove"]
    assert section.list.rows[0].findChild(QLabel).text() == "Remove for good?"
    _, keep = section.list.rows[0].findChildren(QPushButton)
    press(keep)
    assert len(texts(section)) == 2
    press(cross(section))
    remove, _ = section.list.rows[0].findChildren(QPushButton)
    press(remove)
    assert ("remove", Path("a")) in controller.keeping.calls
    assert [text[0] for text in texts(section)] == ["b"]


def test_kept_session_is_opened_by_its_line(controller, section):
    press(section.list.rows[1].findChild(ElidedButton))
    assert controller.keeping.calls[-1] == ("open", Path("b"))


def test_dialogs_name_the_files(controller, section, monkeypatch):
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *about: ("x.napari-sam", ""))
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *about: ("y.napari-sam", ""))
    press(section.save)
    press(section.open)
    calls = controller.keeping.calls
    assert calls[-2:] == [("save", Path("x.napari-sam")), ("open", Path("y.napari-sam"))]
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *about: ("", ""))
    press(section.save)
    assert controller.keeping.calls == calls


def test_methods_are_shown_and_copied(section):
    assert section.paragraph.isHidden()
    press(section.methods)
    assert section.paragraph.toPlainText() == "Objects were segmented with nano."
    assert QApplication.clipboard().text() == section.paragraph.toPlainText()


def test_what_cannot_be_saved_is_reported(controller, section, monkeypatch):
    def refuse(path):
        raise OSError("expected room on the disk, got none")

    controller.keeping.save = refuse
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *about: ("x.napari-sam", ""))
    press(section.save)
    assert str(controller.errors[0]).startswith("expected room")


def test_question_is_away_until_there_is_one(controller, qtbot):
    section = QuestionSection(controller)
    qtbot.addWidget(section)
    section.refresh()
    assert section.isHidden()
    controller.keeping.question = Question("Unfinished: 37 objects", "Continue", "Start anew")
    section.refresh()
    assert not section.isHidden()
    assert [section.yes.text(), section.no.text()] == ["Continue", "Start anew"]
    press(section.yes)
    assert controller.keeping.calls == [("answer", True)]
    assert section.isHidden()


def test_section_is_folded_until_its_title_is_clicked(controller, qtbot):
    section = SessionSection(controller)
    qtbot.addWidget(section)
    section.show()
    assert not section.save.isVisible()
    assert section.fold.head.text() == "▸  Session"
    press(section.fold.head)
    assert section.save.isVisible()
    assert section.fold.head.text() == "▾  Session"
    assert controller.keeping.calls == [("list sessions",)]
    press(section.fold.head)
    assert not section.save.isVisible()
