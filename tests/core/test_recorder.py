"""A recorder has the journal on disk soon, in order, and keeps nobody waiting."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest

from napari_sam.io import session_file
from napari_sam.io.session_file import SessionFile
from napari_sam.session.entry_records import EntryReader, labels_of
from napari_sam.session.journal import Change, Entry, Journal, JournalChange
from napari_sam.session.prompt_book import NOTHING, Click, Group
from napari_sam.session.recorder import Recorder

PLANE = (0, None, None)
KEY = 1, PLANE


class HeldFile(SessionFile):
    """Writes when it may, or can't."""

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        self.may_write = threading.Event()
        self.may_write.set()
        self.error: Exception | None = None
        self.writes = 0

    def travel(self, *arguments) -> None:
        self.may_write.wait(30)
        self.writes += 1
        if self.error is not None:
            raise self.error
        super().travel(*arguments)


@pytest.fixture
def file(tmp_path):
    return HeldFile.create(tmp_path / "one.napari-sam")


@pytest.fixture
def recorder(file):
    made = Recorder(file)
    yield made
    file.may_write.set()
    file.error = None
    made.close()


def click(number: int) -> Entry:
    group = Group((Click(number, *KEY, (1.0, 2.0), 1),))
    return Entry(number, "prompts", "a click", 1.0, (Change(KEY, NOTHING, group),))


def mask(number: int) -> Entry:
    return Entry(number, "mask", "", 1.0)


def add(recorder: Recorder, *numbers: int) -> None:
    for number in numbers:
        recorder.record(JournalChange((click(number),)))


def content(path):
    reader = SessionFile.open(path)
    try:
        return reader.read()
    finally:
        reader.close()


def until(condition, seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    return condition()


def test_entries_are_on_disk_without_being_asked_for(recorder):
    add(recorder, 1, 2)
    assert until(lambda: content(recorder.path).in_force == (1, 2))
    reader = EntryReader(lambda plane: (9, 9))
    entries = [reader.read(record) for record in content(recorder.path).entries]
    assert entries[1].prompts[0].after == click(2).prompts[0].after


def test_a_reader_sees_one_moment_of_a_file_that_is_being_written(recorder, file, monkeypatch):
    rows_of, read = session_file.rows_of, []

    def meanwhile(connection, table, types):
        if table == "places":
            add(recorder, 2)
            recorder.flush(20)
        return rows_of(connection, table, types)

    add(recorder, 1)
    recorder.flush(20)
    reader = SessionFile.open(recorder.path)
    monkeypatch.setattr(session_file, "rows_of", meanwhile)
    try:
        read += [reader.read().in_force]
        monkeypatch.undo()
        read += [reader.read().in_force]
    finally:
        reader.close()
    assert read == [(1,), (1, 2)]


def test_a_disk_that_is_slow_keeps_nobody_waiting(recorder, file):
    file.may_write.clear()
    add(recorder, *range(1, 50))
    assert not recorder.flush(0.01)
    assert file.count == 0
    file.may_write.set()
    assert recorder.flush(20)
    assert file.count == 49


def test_many_that_wait_share_transactions_and_few_do_not(recorder, file):
    for number in range(1, 4):
        add(recorder, number)
        recorder.flush(20)
    assert file.writes == 3
    file.may_write.clear()
    add(recorder, *range(4, 200))
    file.may_write.set()
    recorder.flush(20)
    assert file.writes < 10
    assert content(recorder.path).in_force == tuple(range(1, 200))


def test_undo_and_redo_are_recorded_as_the_journal_has_them(recorder):
    changes = [
        JournalChange((click(1),)),
        JournalChange((mask(2),)),
        JournalChange((click(3),)),
        JournalChange((mask(4),)),
        JournalChange((mask(5),), (3, 4), (2,)),  # mask 2 overlapped it and is written again
        JournalChange((), (1,), ()),
        JournalChange((click(6),), (), (1,)),
    ]
    for change in changes:
        recorder.record(change)
    recorder.flush(20)
    assert content(recorder.path).in_force == (5, 6)
    assert content(recorder.path).undone == (3, 4)
    recorder.close()
    again = Recorder(SessionFile.open(recorder.path, writable=True))
    again.record(JournalChange((), (6,), ()))
    again.record(JournalChange((click(7),), (), (3, 4, 6)))
    again.close()
    assert content(recorder.path).in_force == (5, 7)
    assert content(recorder.path).undone == ()


def test_what_was_put_back_is_kept_and_never_holds(recorder):
    recorder.record(JournalChange((click(1),)))
    recorder.record(JournalChange(put_back=(Entry(2, "painted", "", 1.0),)))
    recorder.record(JournalChange((click(3),)))
    recorder.flush(20)
    found = content(recorder.path)
    assert [entry.number for entry in found.entries] == [1, 2, 3]
    assert (found.in_force, found.undone) == ((1, 3), ())


def test_a_journal_is_followed(recorder):
    journal = Journal()
    journal.changed.connect(recorder.record)
    journal.record(click(1))
    journal.record(journal.new("mask", ""))
    recorder.flush(20)
    assert content(recorder.path).in_force == (1, 2)


class TestADiskThatIsFull:
    def test_is_reported_once_on_the_owners_thread(self, recorder, file):
        reported, threads = [], []
        recorder.failed.connect(lambda error: (reported.append(error), threads.append(me())))
        file.error = OSError("no space left")
        add(recorder, 1, 2, 3)
        assert not recorder.flush(20)
        assert not recorder.flush(20)  # tried once more
        assert reported == [file.error]
        assert threads == [me()]
        assert recorder.error is file.error

    def test_is_tried_again_and_nothing_is_lost(self, recorder, file):
        reported = []
        recorder.recovered.connect(lambda: reported.append("well"))
        file.error = OSError("no space left")
        add(recorder, 1)
        recorder.flush(20)
        add(recorder, 2, 3)
        file.error = None
        assert recorder.flush(20)
        assert reported == ["well"]
        assert recorder.error is None
        assert content(recorder.path).in_force == (1, 2, 3)

    def test_is_tried_again_by_itself(self, recorder, file, monkeypatch):
        monkeypatch.setattr("napari_sam.session.recorder._RETRY_SECONDS", 0.01)
        file.error = OSError("no space left")
        add(recorder, 1)
        assert until(lambda: file.writes > 2)
        file.error = None
        assert until(lambda: file.count == 1)

    def test_does_not_keep_a_window_from_closing(self, recorder, file):
        file.error = OSError("no space left")
        add(recorder, 1)
        assert not recorder.close(20)
        add(recorder, 2)  # too late
        assert recorder.flush(1) is False


@pytest.mark.skipif(sys.platform == "win32", reason="open files can't be taken away there")
def test_a_file_that_is_removed_is_reported_and_written_when_it_is_back(recorder, tmp_path):
    reported = []
    recorder.failed.connect(reported.append)
    add(recorder, 1)
    recorder.flush(20)
    recorder.path.rename(tmp_path / "aside")
    add(recorder, 2)
    assert not recorder.flush(20)
    assert "moved or deleted" in str(reported[0])
    (tmp_path / "aside").rename(recorder.path)
    assert recorder.flush(20)
    assert content(recorder.path).in_force == (1, 2)


def me() -> int:
    return threading.get_ident()


def test_notify_is_called_when_there_is_something_to_report(file):
    called = threading.Event()
    recorder = Recorder(file, called.set)
    file.error = OSError("no space left")
    add(recorder, 1)
    assert called.wait(20)
    file.error = None
    recorder.close()


def test_what_cant_be_spelled_ends_the_recording_with_a_word(recorder, caplog):
    reported = []
    recorder.failed.connect(reported.append)
    add(recorder, 1)
    recorder.flush(20)
    recorder.record(JournalChange((Entry(2, "prompts", "", 1.0, details={"x": object()}),)))
    add(recorder, 3)
    assert not recorder.flush(20)
    assert "object" in str(reported[0])
    assert content(recorder.path).in_force == (1,)
    assert "can't be recorded" in caplog.text


def test_settings_are_recorded_in_their_last_state(recorder, file):
    file.may_write.clear()
    add(recorder, 1)
    for number in range(5):
        recorder.set_about({"settings": {"object": number}, "model": {"name": "nano"}})
    file.may_write.set()
    recorder.flush(20)
    assert file.about == {"settings": {"object": 4}, "model": {"name": "nano"}}


# Labels that were there before


def test_labels_are_kept_after_what_is_more_urgent(recorder, file):
    labels = np.zeros((3, 6, 7), np.uint16)
    labels[0, 1:3, 2:5], labels[2, 5, 6] = 7, 65535
    read = []

    def reader(plane: int):
        return lambda: (read.append((plane, me(), file.count)), labels[plane])[1]

    file.may_write.clear()
    add(recorder, 1)
    recorder.keep_planes((((i, None, None), reader(i)) for i in range(3)), 0)
    add(recorder, 2)
    file.may_write.set()
    recorder.flush(20)
    assert [plane for plane, _, _ in read] == [0, 1, 2]
    assert all(thread != me() and count == 2 for _, thread, count in read)
    planes = content(recorder.path).planes
    assert [record.plane for record in planes] == [(0, None, None), (2, None, None)]
    for record in planes:
        np.testing.assert_array_equal(labels_of(record, (6, 7)), labels[record.plane[0]])


def test_labels_that_cant_be_read_are_reported_and_recording_continues(recorder):
    reported = []
    recorder.failed.connect(reported.append)

    def fail():
        raise OSError("the disk is gone")

    recorder.keep_planes([(PLANE, fail)], 0)
    add(recorder, 1)
    assert recorder.flush(20)
    assert [str(error) for error in reported] == ["the disk is gone"]
    assert content(recorder.path).in_force == (1,)


# Copies


def test_a_copy_has_what_was_recorded_until_then(recorder, tmp_path):
    add(recorder, *range(1, 40))
    recorder.save_to(tmp_path / "copy.napari-sam", {"saved": True})
    add(recorder, 40)
    recorder.flush(20)
    assert content(tmp_path / "copy.napari-sam").in_force == tuple(range(1, 40))
    assert content(recorder.path).in_force == tuple(range(1, 41))


def test_a_copy_is_refused_while_something_cant_be_written(recorder, file, tmp_path):
    file.error = OSError("no space left")
    add(recorder, 1)
    with pytest.raises(OSError, match="no space left"):
        recorder.save_to(tmp_path / "copy.napari-sam", timeout=20)
    assert not (tmp_path / "copy.napari-sam").exists()


# The end of a process

SCRIPT = """
import sys, time
from napari_sam.io import session_file
from napari_sam.io.session_file import SessionFile
from napari_sam.session.journal import Entry, JournalChange
from napari_sam.session.recorder import Recorder

recorder = Recorder(SessionFile.create(sys.argv[1]))
for number in range(1, int(sys.argv[2]) + 1):
    recorder.record(JournalChange((Entry(number, "mask", "", 1.0),)))
    if sys.argv[3] == "flushed":
        recorder.flush()
        print(number, flush=True)
"""


def process(*arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def test_the_end_of_the_program_waits_for_what_is_not_written(tmp_path):
    path = tmp_path / "one.napari-sam"
    with process(str(path), "300", "at once") as running:
        assert running.wait(60) == 0
    assert len(content(path).in_force) == 300
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_a_killed_program_loses_nothing_that_was_written(tmp_path):
    path = tmp_path / "one.napari-sam"
    with process(str(path), "100000", "flushed") as running:
        for line in running.stdout:
            if (reported := int(line)) >= 20:
                running.kill()
                break
    again = SessionFile.open(path, writable=True)
    assert again.count >= reported
    assert again.read().in_force == tuple(range(1, again.count + 1))
    again.append([])
    again.close()
