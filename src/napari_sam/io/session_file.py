"""Session files: one SQLite database each, written entry by entry as the session grows.

This module handles rows, not their meaning: it stores JSON values, masks and numbers, and checks
the integrity of a file before it returns any of them. Nothing in a file is ever executed or
unpickled. The tables are described in docs/develop/session-files.md.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Self

from napari_sam.atomic import replaced
from napari_sam.io.session_database import (
    APPLICATION_ID,
    MODULUS,
    SCHEMA,
    SUFFIX,
    VERSION,
    brought_forward,
    check_header,
    checked,
    connect,
    connect_checked,
    digest,
    prepare_writing,
    rows_of,
    sealed_total,
    transaction,
    written,
)
from napari_sam.io.session_records import (
    Content,
    EntryRecord,
    Json,
    Numbers,
    PatchRecord,
    PlaneRecord,
    SessionFileError,
    damaged,
    dumps,
    loads,
    patch_of,
    plane_of,
)

__all__ = [
    "SUFFIX",
    "VERSION",
    "Content",
    "EntryRecord",
    "Json",
    "Numbers",
    "PatchRecord",
    "PlaneRecord",
    "SessionFile",
    "SessionFileError",
]


class SessionFile:
    """An open session file; see :meth:`create` and :meth:`open`.

    It may be used by any thread, but not by two at the same time.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self._about: dict[str, str] = dict(rows_of(connection, "about", "ss"))
        numbers = connection.execute("SELECT number FROM entries").fetchall()
        self._numbers: set[int] = {number for (number,) in numbers}
        self._places: dict[int, tuple[int, int]] = {
            number: (in_force, rank)
            for number, in_force, rank in rows_of(connection, "places", "iii")
        }
        aside = sorted((rank, number) for number, (held, rank) in self._places.items() if not held)
        self._undone = tuple(number for _, number in aside)
        self._total = sealed_total(connection)
        self._next_rank = 1 + max((rank for held, rank in self._places.values() if held), default=0)
        self._next_ids = {
            table: connection.execute(f"SELECT coalesce(max(id), 0) + 1 FROM {table}").fetchone()[0]
            for table in ("patches", "planes")
        }

    @classmethod
    def create(
        cls, path: str | Path, about: Mapping[str, Json] | None = None, vfs: str | None = None
    ) -> Self:
        """Create a file for writing, which other users may not read.

        Parameters
        ----------
        path
            The file, which must not exist yet; missing folders are created.
        about
            As in :meth:`set_about`.
        vfs
            Name of SQLite's file-system layer; by default SQLite's own choice.

        Raises
        ------
        OSError
            If the file exists already, or can't be created.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        connection: sqlite3.Connection | None = None
        try:
            with written(path):
                connection = connect(path, "rw", vfs)
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                with transaction(connection):
                    connection.execute(f"PRAGMA user_version = {VERSION}")
                    for statement in SCHEMA.values():
                        connection.execute(statement)
                    connection.execute("INSERT INTO seal VALUES (1, 0)")
                prepare_writing(connection)
            made = cls(path, connection)
            made.set_about(about or {})
        except BaseException:
            if connection is not None:
                connection.close()
            for beside in ("", "-wal", "-shm", "-journal"):
                path.with_name(path.name + beside).unlink(missing_ok=True)
            raise
        return made

    @classmethod
    def open(cls, path: str | Path, writable: bool = False, vfs: str | None = None) -> Self:
        """Open a file, after checking that it is a session file.

        Parameters
        ----------
        path
            The file.
        writable
            Whether entries will be added. The file is only written to if they will: a file of an
            older version is then upgraded in place, otherwise in memory.
        vfs
            As in :meth:`create`.

        Raises
        ------
        SessionFileError
            If it isn't a session file, was written by a newer version, or is damaged so that it
            shows without reading everything.
        OSError
            If there is no such file, or it can't be opened.
        """
        path = Path(path)
        is_wal = check_header(path)
        with checked(path):
            connection = connect_checked(path, writable, is_wal, vfs)
            try:
                connection = brought_forward(connection, in_place=writable)
                opened = cls(path, connection)
                if writable:
                    prepare_writing(connection)
                else:
                    connection.execute("PRAGMA query_only = ON")
            except BaseException:
                connection.close()
                raise
        return opened

    @property
    def journal_mode(self) -> str:
        """How SQLite makes transactions safe: ``wal``, or ``delete`` where that can't be used."""
        return str(self._connection.execute("PRAGMA journal_mode").fetchone()[0])

    @property
    def count(self) -> int:
        """Number of entries."""
        return len(self._numbers)

    @property
    def last_number(self) -> int:
        """The number of the last entry; 0 before the first."""
        return max(self._numbers, default=0)

    @property
    def undone(self) -> tuple[int, ...]:
        """Numbers of the entries that can be redone; see :class:`Content`."""
        return self._undone

    @property
    def about(self) -> dict[str, Json]:
        """Properties of the session, by keys.

        Raises
        ------
        SessionFileError
            If a value isn't JSON.
        """
        with checked(self.path):
            return {key: loads(value) for key, value in self._about.items()}

    def set_about(self, values: Mapping[str, Json]) -> None:
        """Set properties of the session; those with other keys are kept.

        Raises
        ------
        OSError
            If it can't be written; the file is as it was.
        """
        self._update_about({key: dumps(value) for key, value in values.items()}, ())

    def append(self, entries: Sequence[EntryRecord], undone: Sequence[int] | None = None) -> None:
        """Add entries after those in force, in one transaction; see :meth:`travel`."""
        self.travel((), entries, undone)

    def travel(
        self,
        removed: Collection[int],
        appended: Sequence[EntryRecord],
        undone: Sequence[int] | None = None,
        put_back: Sequence[EntryRecord] = (),
    ) -> None:
        """Take entries out of force and put others in, in one transaction.

        Parameters
        ----------
        removed
            Numbers of entries that are no longer in force. They stay in the file.
        appended
            Entries that are in force from now on, after all others. One that the file has
            already is only put in force again.
        undone
            Numbers of all entries that can be redone, in the order in which they were undone;
            None leaves them as they were.
        put_back
            Entries that are never in force: they only record the labels before them.

        Raises
        ------
        OSError
            If they can't be written; the file is as it was.
        """
        places: dict[int, tuple[int, int] | None] = {}
        places |= {number: None for number in removed if self._is_in_force(number)}
        if undone is not None and tuple(undone) != self._undone:
            places |= {n: None for n in self._places if not self._is_in_force(n)}
            places |= {number: (0, rank) for rank, number in enumerate(undone)}
        ranks = range(self._next_rank, self._next_rank + len(appended))
        places |= {entry.number: (1, rank) for entry, rank in zip(appended, ranks, strict=True)}
        given = *put_back, *appended
        new = {entry.number: entry for entry in given if entry.number not in self._numbers}
        with self._change() as change:
            for entry in new.values():
                self._insert(change, entry)
            for number, place in places.items():
                before = self._places.get(number)
                if before == place:
                    continue
                if before is not None:
                    change.delete("places", "number", (number, *before))
                if place is not None:
                    change.insert("places", (number, *place))
        self._numbers |= new.keys()
        for number, place in places.items():
            self._places.pop(number, None)
            if place is not None:
                self._places[number] = place
        aside = self._undone if undone is None else undone
        self._undone = tuple(number for number in aside if not self._is_in_force(number))
        self._next_rank = ranks.stop

    def begin_planes(self, entry: int) -> None:
        """Begin to store labels as they are after an entry, instead of earlier ones.

        The property ``labels`` records the entry, and whether all labels are stored, which
        :meth:`end_planes` sets.

        Raises
        ------
        OSError
            If it can't be written; the file is as it was.
        """
        rows = [row for row in rows_of(self._connection, "planes", "iisiisb") if row[1] >= entry]
        about = self._about | {"labels": dumps({"since": entry, "all": False})}
        with self._change() as change:
            for row in rows:
                change.delete("planes", "id", row)
            self._write_about(change, about)
        self._about = about

    def end_planes(self) -> None:
        """Record that all labels are stored; see :meth:`begin_planes`."""
        labels = self.about.get("labels", {"since": 0})
        self.set_about({"labels": {**labels, "all": True}})

    def put_plane(self, plane: PlaneRecord) -> None:
        """Store the labels of a plane.

        Raises
        ------
        OSError
            If they can't be written; the file is as it was.
        """
        size = plane.height, plane.width
        values = plane.entry, dumps(plane.plane), *size, plane.dtype, plane.labels
        with self._change() as change:
            change.insert("planes", (change.next_ids["planes"], *values))

    def put_model(self, digest: str, weights: bytes) -> None:
        """Store the file of a taught model, unless it is stored already.

        Raises
        ------
        OSError
            If it can't be written; the file is as it was.
        """
        query = "SELECT count(*) FROM models WHERE digest = ?"
        if self._connection.execute(query, (digest,)).fetchone() == (0,):
            with self._change() as change:
                change.insert("models", (digest, weights))

    def read(self) -> Content:
        """Read everything in one transaction, and check its integrity.

        Raises
        ------
        SessionFileError
            If anything is missing, was altered, or has a wrong type.
        """
        with checked(self.path):
            self._connection.execute("BEGIN")  # so that concurrent writes don't show
            try:
                return _content_of(self._connection)
            finally:
                self._connection.execute("ROLLBACK")

    def steps(self) -> Iterator[Mapping[str, Json]]:
        """Yield the data of the entries in force, in order, except those of the kind ``mask``.

        Their pixels are not read, and their integrity is not checked.

        Raises
        ------
        SessionFileError
            If one can't be read.
        """
        query = (
            "SELECT data FROM entries JOIN places USING (number) "
            "WHERE in_force = 1 AND kind != 'mask' ORDER BY rank"
        )
        with checked(self.path):
            for (data,) in self._connection.execute(query):
                yield loads(data)

    @property
    def last_text(self) -> str:
        """Text of the last entry in force; empty before the first. Its integrity isn't checked."""
        query = (
            "SELECT text FROM entries JOIN places USING (number) "
            "WHERE in_force = 1 AND kind != 'mask' ORDER BY rank DESC LIMIT 1"
        )
        with checked(self.path):
            row = self._connection.execute(query).fetchone()
        return str(row[0]) if row else ""

    def save_to(
        self,
        target: str | Path,
        about: Mapping[str, Json] | None = None,
        drop: Collection[str] = (),
    ) -> None:
        """Write a copy of the file as it is now, completely or not at all.

        Parameters
        ----------
        target
            The new file; an existing one is replaced.
        about
            Properties that differ in the copy.
        drop
            Keys of properties that the copy doesn't have. No trace of them is left in it.

        Raises
        ------
        OSError
            If it can't be written.
        """
        target = Path(target)
        with replaced(target) as temporary, written(target):
            connection = sqlite3.connect(temporary, isolation_level=None)
            with closing(connection):
                self._connection.backup(connection)
                connection.execute("PRAGMA journal_mode = DELETE")  # one file, nothing beside it
                connection.execute("PRAGMA synchronous = FULL")
                copy = SessionFile(temporary, connection)
                values = {key: dumps(value) for key, value in (about or {}).items()}
                copy._update_about(values, drop)
                connection.execute("VACUUM")

    def settle(self) -> None:
        """Merge everything into one file without auxiliary files, also for later reading.

        Raises
        ------
        OSError
            If it can't be written.
        """
        with written(self.path):
            self._connection.execute("PRAGMA journal_mode = DELETE")

    def close(self) -> None:
        """Close the file; everything is in it then, without auxiliary files."""
        self._connection.close()

    def _is_in_force(self, number: int) -> bool:
        return bool(self._places.get(number, (0, 0))[0])

    def _update_about(self, values: Mapping[str, str], drop: Collection[str]) -> None:
        after = {key: text for key, text in self._about.items() if key not in drop} | dict(values)
        if after != self._about:
            with self._change() as change:
                self._write_about(change, after)
            self._about = after

    def _write_about(self, change: _Change, after: Mapping[str, str]) -> None:
        for key, text in self._about.items():
            if after.get(key) != text:
                change.delete("about", "key", (key, text))
        for key, text in after.items():
            if self._about.get(key) != text:
                change.insert("about", (key, text))

    def _insert(self, change: _Change, entry: EntryRecord) -> None:
        values = entry.kind, entry.text, float(entry.time), dumps(entry.data)
        change.insert("entries", (entry.number, *values))
        for patch in entry.patches:
            row = (
                *(change.next_ids["patches"], entry.number, dumps(patch.plane)),
                *(*patch.region, patch.area, patch.mask),
                *((patch.old.dtype, patch.old.values) if patch.old else (None, None)),
                *((patch.new.dtype, patch.new.values) if patch.new else (None, None)),
            )
            change.insert("patches", row)

    @contextmanager
    def _change(self) -> Iterator[_Change]:
        if not self.path.exists():  # a deleted file that is open could still be written to
            raise FileNotFoundError(
                f"expected the session's file {self.path}, got none: it was moved or deleted; put "
                "it back, or save the session as another file"
            )
        change = _Change(self._connection, self._total, dict(self._next_ids))
        with written(self.path), transaction(self._connection):
            yield change
            self._connection.execute("UPDATE seal SET total = ?", (change.total,))
        self._total, self._next_ids = change.total, change.next_ids


class _Change:
    """A transaction under way: the checksum after it, and the numbers of the next rows."""

    def __init__(
        self, connection: sqlite3.Connection, total: int, next_ids: dict[str, int]
    ) -> None:
        self._connection, self.total, self.next_ids = connection, total, next_ids

    def insert(self, table: str, row: Sequence[Any]) -> None:
        marks = ", ".join("?" * len(row))
        self._connection.execute(f"INSERT INTO {table} VALUES ({marks})", row)
        self.total = (self.total + digest(table, row)) % MODULUS
        if table in self.next_ids:
            self.next_ids[table] += 1

    def delete(self, table: str, key: str, row: Sequence[Any]) -> None:
        """Delete a row, which its first value, in the column `key`, identifies."""
        self._connection.execute(f"DELETE FROM {table} WHERE {key} = ?", row[:1])
        self.total = (self.total - digest(table, row)) % MODULUS


def _content_of(connection: sqlite3.Connection) -> Content:
    rows = {
        "about": rows_of(connection, "about", "ss"),
        "entries": rows_of(connection, "entries", "issfs"),
        "places": rows_of(connection, "places", "iii"),
        "patches": rows_of(connection, "patches", "iisiiiiibSVSV"),
        "planes": rows_of(connection, "planes", "iisiisb"),
        "models": rows_of(connection, "models", "sb"),
    }
    total = sum(digest(table, row) for table, found in rows.items() for row in found)
    if total % MODULUS != sealed_total(connection):
        raise damaged("other rows than those that were written")
    patches: dict[int, list[PatchRecord]] = {}
    for _, number, *columns in rows["patches"]:
        patches.setdefault(number, []).append(patch_of(*columns))
    entries = {}
    for number, kind, text, time, data in rows["entries"]:
        about = loads(data)
        if not isinstance(about, dict):
            raise damaged(f"{type(about).__name__} as the data of an entry")
        masks = tuple(patches.pop(number, ()))
        entries[number] = EntryRecord(number, kind, text, time, about, masks)
    if patches or not {number for number, _, _ in rows["places"]} <= entries.keys():
        raise damaged("something about entries that are missing")
    planes = [
        PlaneRecord(entry, plane_of(plane), height, width, dtype, labels)
        for _, entry, plane, height, width, dtype, labels in rows["planes"]
    ]
    in_force = sorted((rank, number) for number, held, rank in rows["places"] if held)
    undone = sorted((rank, number) for number, held, rank in rows["places"] if not held)
    return Content(
        tuple(entries.values()),
        tuple(number for _, number in in_force),
        tuple(number for _, number in undone),
        tuple(planes),
        dict(rows["models"]),
    )
