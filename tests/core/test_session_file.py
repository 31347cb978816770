"""A session file holds all that was written, or the error explains why it can't be read."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import stat
import sys
import zlib
from dataclasses import replace

import pytest

from napari_sam.io import session_database
from napari_sam.io.session_file import (
    VERSION,
    EntryRecord,
    Numbers,
    PatchRecord,
    PlaneRecord,
    SessionFile,
    SessionFileError,
)

MASK = zlib.compress(bytes([0b10110000]))
PLANE = (3, None, None)
ABOUT = {"image": {"name": "cells.tif", "shape": [9, 64, 64]}, "settings": {"overwrite": False}}


def change(value: int = 7, row: int = 5) -> PatchRecord:
    new = Numbers("<u8", zlib.compress(bytes(range(24))))
    return PatchRecord(PLANE, (row, 6, 2, 2), 3, MASK, Numbers("<i4", value), new)


def entry(number: int, **values) -> EntryRecord:
    data = {"prompts": [[number, [3, None, None], {"clicks": [[1.5, 2.25, 1]]}]], "big": 2**64 - 1}
    patches = (PatchRecord(PLANE, (0, 0, 1, 4), 3, MASK), change())
    made = EntryRecord(number, "prompts", f"a click on object {number}", 1e9 + number / 3, data)
    return replace(made, patches=patches, **values)


def written(path, count: int = 5) -> SessionFile:
    file = SessionFile.create(path, ABOUT)
    for number in range(1, count + 1):
        file.append([entry(number)])
    file.put_plane(PlaneRecord(0, PLANE, 64, 64, "<u2", zlib.compress(bytes(64 * 64 * 2))))
    return file


def closed(path, count: int = 5):
    written(path, count).close()
    return path


def contents(path):
    file = SessionFile.open(path)
    try:
        return file.about, file.read()
    finally:
        file.close()


def test_what_was_written_is_read_again(tmp_path):
    about, content = contents(closed(tmp_path / "one.napari-sam"))
    assert about == ABOUT
    assert content.entries == tuple(entry(number) for number in range(1, 6))
    assert content.in_force == (1, 2, 3, 4, 5)
    assert content.undone == ()
    assert content.planes[0].plane == PLANE
    assert zlib.decompress(content.planes[0].labels) == bytes(8192)


def test_names_that_are_no_text_are_kept(tmp_path):
    odd = {"name": os.fsdecode(b"cells-\xff.tif"), "word": "zażółć"}
    SessionFile.create(tmp_path / "odd name %20?#.napari-sam", odd).close()
    assert contents(tmp_path / "odd name %20?#.napari-sam")[0] == odd


def test_entries_are_taken_back_and_made_again(tmp_path):
    path = tmp_path / "one.napari-sam"
    file = written(path)
    file.travel([3, 5], [entry(6)], [5, 3])
    content = file.read()
    assert content.in_force == (1, 2, 4, 6)
    assert content.undone == (5, 3)
    assert len(content.entries) == 6  # nothing is ever deleted
    file.travel([6], [entry(3)], [5])
    assert file.read().in_force == (1, 2, 4, 3)
    assert file.read().undone == (5,)
    file.append([entry(7)], undone=())
    file.close()
    again = SessionFile.open(path, writable=True)
    assert (again.count, again.last_number) == (7, 7)
    again.append([entry(8)])
    assert again.read().in_force == (1, 2, 4, 3, 7, 8)
    assert again.read().undone == ()
    again.close()


def test_each_change_is_one_transaction(tmp_path):
    file = written(tmp_path / "one.napari-sam", 1)
    statements: list[str] = []
    file._connection.set_trace_callback(statements.append)
    file.append([entry(2), entry(3)])
    file.travel([2], [entry(4)], [2])
    file.set_about({"settings": {"overwrite": True}})
    file.set_about({"settings": {"overwrite": True}})  # it is stored already
    assert [s for s in statements if s in ("BEGIN IMMEDIATE", "COMMIT")] == [
        "BEGIN IMMEDIATE",
        "COMMIT",
    ] * 3
    file.close()


def test_a_transaction_is_on_disk_before_it_is_over(tmp_path):
    file = written(tmp_path / "one.napari-sam")
    assert file.journal_mode == "wal"
    assert file._connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    for name in ("one.napari-sam", "one.napari-sam-wal"):  # as they are when a process is killed
        shutil.copy(tmp_path / name, tmp_path / name.replace("one", "killed"))
    assert contents(tmp_path / "killed.napari-sam")[1].in_force == (1, 2, 3, 4, 5)
    file.close()
    assert [path.name for path in tmp_path.glob("one*")] == ["one.napari-sam"]


@pytest.mark.skipif(sys.platform == "win32", reason="its users' folders are theirs alone")
def test_nobody_else_may_read_it(tmp_path):
    file = written(tmp_path / "one.napari-sam")
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    file.close()


@pytest.mark.skipif(sys.platform == "win32", reason="SQLite has that file system on Unix alone")
class TestWhereProcessesShareNoMemory:
    """As in a network folder; SQLite's locking by dot files can't share memory either."""

    VFS = "unix-dotfile"

    def test_the_older_journal_is_used(self, tmp_path):
        file = SessionFile.create(tmp_path / "one.napari-sam", ABOUT, vfs=self.VFS)
        assert file.journal_mode == "delete"
        file.append([entry(1)])
        file.close()
        again = SessionFile.open(tmp_path / "one.napari-sam", writable=True, vfs=self.VFS)
        assert again.read().in_force == (1,)
        again.close()

    def test_a_file_from_elsewhere_is_gone_on_with(self, tmp_path):
        file = written(tmp_path / "one.napari-sam")
        for name in ("one.napari-sam", "one.napari-sam-wal"):
            shutil.copy(tmp_path / name, tmp_path / name.replace("one", "killed"))
        file.close()
        moved = SessionFile.open(tmp_path / "killed.napari-sam", writable=True, vfs=self.VFS)
        assert moved.journal_mode == "delete"
        moved.append([entry(6)])
        moved.close()
        assert contents(tmp_path / "killed.napari-sam")[1].in_force == (1, 2, 3, 4, 5, 6)


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "one.napari-sam"
    file = written(path)
    pages = file._connection.execute("PRAGMA page_count").fetchone()[0]
    file._connection.execute(f"PRAGMA max_page_count = {pages}")
    large = entry(6, kind="x" * 50_000)
    with pytest.raises(OSError, match="make room"):
        file.append([large])
    assert file.read().in_force == (1, 2, 3, 4, 5)
    file._connection.execute("PRAGMA max_page_count = 100000")
    file.append([large])
    file.close()
    assert contents(path)[1].entries[-1] == large


def test_a_file_that_is_there_is_not_written_over(tmp_path):
    path = closed(tmp_path / "one.napari-sam")
    with pytest.raises(FileExistsError):
        SessionFile.create(path)
    assert len(contents(path)[1].entries) == 5


def test_reading_changes_nothing_and_leaves_nothing_beside(tmp_path):
    path = closed(tmp_path / "one.napari-sam")
    before = path.read_bytes()
    file = SessionFile.open(path)
    file.read()
    with pytest.raises(OSError, match="allow writing"):
        file.append([entry(6)])
    assert [one.name for one in tmp_path.iterdir()] == [path.name]
    file.close()
    assert path.read_bytes() == before


# Copies


def test_a_saved_copy_is_one_file_without_what_was_dropped(tmp_path):
    secret = "home-of-somebody" * 300  # long enough to leave rests in free pages
    file = SessionFile.create(tmp_path / "one.napari-sam", {**ABOUT, "source": {"path": secret}})
    file.append([entry(1)])
    target = tmp_path / "to send.napari-sam"
    target.write_bytes(b"an older one")
    file.save_to(target, {"settings": {"overwrite": True}}, drop=["source"])
    file.append([entry(2)])  # the original goes on
    assert file.about["source"] == {"path": secret}
    file.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "one.napari-sam",
        "to send.napari-sam",
    ]
    about, content = contents(target)
    assert about == {**ABOUT, "settings": {"overwrite": True}}
    assert content.in_force == (1,)
    assert b"home-of-somebody" not in target.read_bytes()
    assert target.read_bytes()[18:20] == bytes([1, 1])  # not in WAL mode


def test_a_copy_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    file = written(tmp_path / "one.napari-sam")
    target = tmp_path / "two.napari-sam"
    target.write_bytes(b"an older one")
    with pytest.raises(TypeError):
        file.save_to(target, {"settings": object()})
    file.close()
    assert target.read_bytes() == b"an older one"
    assert len(list(tmp_path.iterdir())) == 2


# Files that are no sessions, or none that can be trusted


@pytest.mark.parametrize("data", [b"", b"SQLite", b"PK\x03\x04" * 100, bytes(5000)])
def test_another_file_is_refused(tmp_path, data):
    path = tmp_path / "other.napari-sam"
    path.write_bytes(data)
    with pytest.raises(SessionFileError, match=r"other\.napari-sam: expected a session file"):
        SessionFile.open(path)


def test_a_database_of_another_program_is_refused(tmp_path):
    path = tmp_path / "other.napari-sam"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL)")
    connection.close()
    with pytest.raises(SessionFileError, match="another program"):
        SessionFile.open(path)


def test_a_newer_version_advises_an_update(tmp_path):
    path = closed(tmp_path / "one.napari-sam")
    alter(path, f"PRAGMA user_version = {VERSION + 1}")
    with pytest.raises(SessionFileError, match=r"version 2 or before, got version 3; update"):
        SessionFile.open(path)


def alter(path, *statements: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER more AFTER INSERT ON entries BEGIN DELETE FROM about; END",
        "CREATE VIEW more AS SELECT * FROM entries",
        "CREATE VIRTUAL TABLE more USING fts5(text)",
        "CREATE TABLE more (x)",
        "CREATE INDEX more ON entries (kind)",
        "DROP TABLE planes",
        "ALTER TABLE entries ADD COLUMN more AS (length(data))",
    ],
)
def test_what_no_session_has_is_refused_before_anything_is_read(tmp_path, statement):
    path = closed(tmp_path / "one.napari-sam")
    alter(path, statement)
    for writable in (False, True):
        with pytest.raises(SessionFileError, match="damaged"):
            SessionFile.open(path, writable=writable)


def test_a_view_in_the_place_of_a_table_is_refused(tmp_path):
    path = closed(tmp_path / "one.napari-sam")
    alter(
        path,
        "ALTER TABLE entries RENAME TO others",
        "CREATE VIEW entries AS SELECT number, randomblob(9), text, time, data FROM others",
    )
    with pytest.raises(SessionFileError, match="damaged"):
        SessionFile.open(path)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET data = x'00' WHERE number = 2",
        "UPDATE entries SET kind = 5 || '' WHERE number = 2",
        "UPDATE entries SET text = cast(x'ff' AS TEXT) WHERE number = 2",
        "DELETE FROM entries WHERE number = 2",
        "DELETE FROM patches WHERE entry = 2",
        "DELETE FROM places WHERE number = 2",
        "DELETE FROM seal",
        "UPDATE patches SET mask = 'text' WHERE entry = 2",
        "UPDATE patches SET old = 1.5 WHERE entry = 2",
        "UPDATE seal SET total = total + 1",
        "UPDATE planes SET plane = '[1]'",
    ],
)
def test_rows_that_were_altered_are_noticed(tmp_path, statement):
    path = closed(tmp_path / "one.napari-sam")
    alter(path, statement)
    with pytest.raises(SessionFileError, match="damaged"):
        contents(path)


def sealed(path, *statements: str) -> None:
    """Alter rows as one who knows about the seal would."""
    alter(path, *statements)
    connection = sqlite3.connect(path, isolation_level=None)
    total = session_database._total_of(connection, session_database.SCHEMA)
    connection.execute("UPDATE seal SET total = ?", (total,))
    connection.close()


@pytest.mark.parametrize(
    "statement",
    [
        f"UPDATE entries SET data = '{'[' * 100_000}'",
        "UPDATE entries SET data = '[]'",
        "UPDATE entries SET data = '{'",
        f"UPDATE about SET value = '{'9' * 5000}'",
        "UPDATE patches SET height = 0",
        "UPDATE patches SET first_row = -1",
        "UPDATE patches SET area = 5000000000",
        "UPDATE patches SET plane = '[1, null]' || ']'",
        """UPDATE patches SET plane = '["../x", null, null]'""",
        "UPDATE patches SET old_type = NULL",
        "INSERT INTO places VALUES (99, 1, 99)",
    ],
)
def test_rows_that_nobody_would_write_are_refused_even_when_sealed(tmp_path, statement):
    path = closed(tmp_path / "one.napari-sam")
    sealed(path, statement)
    with pytest.raises(SessionFileError, match="damaged"):
        contents(path)


def test_a_file_that_was_cut_is_refused(tmp_path):
    path = closed(tmp_path / "one.napari-sam", 40)
    whole = path.read_bytes()
    for length in range(0, len(whole), 2039):
        path.write_bytes(whole[:length])
        with pytest.raises(SessionFileError):
            contents(path)


@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_byte_is_noticed_or_of_no_matter(tmp_path, seed):
    path = closed(tmp_path / "one.napari-sam", 40)
    whole, expected = path.read_bytes(), contents(path)
    draw = random.Random(seed)
    header = range(seed * 25, seed * 25 + 25)
    places = [*header, *(draw.randrange(len(whole)) for _ in range(150))]
    noticed = 0
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        try:
            assert contents(path) == expected, place
        except SessionFileError:
            noticed += 1
    assert noticed > 20


@pytest.mark.parametrize("seed", range(3))
def test_noise_is_refused(tmp_path, seed):
    path = closed(tmp_path / "one.napari-sam", 40)
    whole = bytearray(path.read_bytes())
    draw = random.Random(seed)
    whole[100:] = draw.randbytes(len(whole) - 100)
    path.write_bytes(whole)
    with pytest.raises(SessionFileError):
        contents(path)


# Taught models


def test_the_file_of_a_taught_model_is_kept_once(tmp_path):
    path = tmp_path / "one.napari-sam"
    file = written(path)
    weights = bytes(range(256)) * 4000
    file.put_model("abc", weights)
    before = path.stat().st_size
    file.put_model("abc", weights)
    file.put_model("def", b"other")
    file.settle()
    assert path.stat().st_size - before < 1.5 * len(weights)
    file.close()
    assert contents(path)[1].models == {"abc": weights, "def": b"other"}
    alter(path, "UPDATE models SET weights = x'00' WHERE digest = 'def'")
    with pytest.raises(SessionFileError, match="damaged"):
        contents(path)


# Versions


def test_a_file_of_the_version_without_taught_models_opens_and_goes_on(tmp_path):
    path = closed(tmp_path / "one.napari-sam")
    before = contents(path)
    alter(path, "DROP TABLE models")
    alter(path, "PRAGMA user_version = 1")
    assert contents(path) == before
    file = SessionFile.open(path, writable=True)
    file.put_model("abc", b"weights")
    file.close()
    assert contents(path)[1].models == {"abc": b"weights"}


@pytest.fixture
def later_version(monkeypatch):
    """A later version of this program, whose entries have their authors."""
    old = dict(session_database.SCHEMA)
    columns = old["entries"].removesuffix(")") + ", author TEXT NOT NULL)"

    def add_authors(connection: sqlite3.Connection) -> None:
        connection.execute("ALTER TABLE entries RENAME TO before")
        connection.execute(columns)
        connection.execute("INSERT INTO entries SELECT *, 'nobody' FROM before")
        connection.execute("DROP TABLE before")

    migration = session_database.Migration(old, add_authors)
    monkeypatch.setitem(session_database.MIGRATIONS, VERSION, migration)
    monkeypatch.setitem(session_database.SCHEMA, "entries", columns)
    monkeypatch.setattr(session_database, "VERSION", VERSION + 1)


def authors(file: SessionFile) -> list:
    return file._connection.execute("SELECT text, author FROM entries").fetchall()


@pytest.fixture
def old_file(tmp_path):
    return closed(tmp_path / "old.napari-sam", 2)


def test_an_older_version_is_brought_forward(old_file, later_version):
    file = SessionFile.open(old_file, writable=True)
    assert authors(file) == [("a click on object 1", "nobody"), ("a click on object 2", "nobody")]
    file.close()
    again = SessionFile.open(old_file)
    assert again._connection.execute("PRAGMA user_version").fetchone() == (VERSION + 1,)
    tables = session_database.SCHEMA
    assert session_database._total_of(again._connection, tables) == again._total
    again.close()


def test_an_older_version_that_is_only_read_stays_as_it_is(old_file, later_version):
    before = old_file.read_bytes()
    file = SessionFile.open(old_file)
    assert len(authors(file)) == 2
    file.close()
    assert old_file.read_bytes() == before


def test_a_damaged_older_version_is_not_brought_forward(old_file, later_version):
    alter(old_file, "DELETE FROM entries WHERE number = 1")
    before = old_file.read_bytes()
    with pytest.raises(SessionFileError, match="damaged"):
        SessionFile.open(old_file, writable=True)
    assert old_file.read_bytes() == before
