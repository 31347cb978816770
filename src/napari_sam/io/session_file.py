"""Files that keep a session as it grows: one SQLite database each, written entry by entry.

This module knows rows, not what they mean: it keeps JSON values, masks and numbers, says whether
a file is whole, and reads nothing that it did not check. Nothing in a file is ever executed or
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

    It may be used by one thread at a time, whichever.
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
        """Make a file that nobody else may read, for writing.

        Parameters
        ----------
        path
            There must be nothing yet; missing folders are made.
        about
            As of :meth:`set_about`.
        vfs
            How SQLite reaches the disk; its own choice by default.

        Raises
        ------
        OSError
            If the file is there already, or can't be made.
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
        """Open a file, after looking whether it is one of ours.

        Parameters
        ----------
        path
            The file.
        writable
            Whether entries are to be added. Only then anything is written: an older version is
            brought forward in the file itself, otherwise in memory.
        vfs
            As of :meth:`create`.

        Raises
        ------
        SessionFileError
            If it is no session, was made by a newer version, or is damaged where that shows
            without reading everything.
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
        """How many entries it has."""
        return len(self._numbers)

    @property
    def last_number(self) -> int:
        """The number of the last entry; 0 before the first."""
        return max(self._numbers, default=0)

    @property
    def undone(self) -> tuple[int, ...]:
        """Numbers of the entries that can be made again; see :class:`Content`."""
        return self._undone

    @property
    def about(self) -> dict[str, Json]:
        """What is told about the session, by keys.

        Raises
        ------
        SessionFileError
            If a value is no JSON.
        """
        with checked(self.path):
            return {key: loads(value) for key, value in self._about.items()}

    def set_about(self, values: Mapping[str, Json]) -> None:
        """Tell something about the session, in place of what was told under the same keys.

        Raises
        ------
        OSError
            If it can't be written; the file is as it was.
        """
        self._retell({key: dumps(value) for key, value in values.items()}, ())

    def append(self, entries: Sequence[EntryRecord], undone: Sequence[int] | None = None) -> None:
        """Add entries at the end of those in force, in one transaction; see :meth:`travel`."""
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
            Numbers of entries that don't hold any more. They stay in the file.
        appended
            Entries that hold from now on, after all others. One that the file has already is
            only put in force again.
        undone
            Numbers of all that can be made again, first the one that was taken back first; None
            leaves them as they were.
        put_back
            Entries that never hold: they only tell what labels showed before them.

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
        told = *put_back, *appended
        new = {entry.number: entry for entry in told if entry.number not in self._numbers}
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
        """Begin to keep labels, as they are after an entry; earlier ones count no more.

        What the file tells as ``labels`` says since which entry they count, and whether
        :meth:`end_planes` has said that all are there.

        Raises
        ------
        OSError
            If it can't be written; the file is as it was.
        """
        rows = [row for row in rows_of(self._connection, "planes", "iisiisb") if row[1] >= entry]
        told = self._about | {"labels": dumps({"since": entry, "all": False})}
        with self._change() as change:
            for row in rows:
                change.delete("planes", "id", row)
            self._retell_in(change, told)
        self._about = told

    def end_planes(self) -> None:
        """Say that all labels are kept that were to be."""
        labels = self.about.get("labels", {"since": 0})
        self.set_about({"labels": {**labels, "all": True}})

    def put_plane(self, plane: PlaneRecord) -> None:
        """Keep the labels of a plane as they were.

        Raises
        ------
        OSError
            If they can't be written; the file is as it was.
        """
        size = plane.height, plane.width
        told = plane.entry, dumps(plane.plane), *size, plane.dtype, plane.labels
        with self._change() as change:
            change.insert("planes", (change.next_ids["planes"], *told))

    def put_model(self, digest: str, weights: bytes) -> None:
        """Keep the file of a taught model, unless it is here.

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
        """Read everything, as it is at one moment, and check that it is what was written.

        Raises
        ------
        SessionFileError
            If anything is missing, was altered, or is of a type that it shouldn't be.
        """
        with checked(self.path):
            self._connection.execute("BEGIN")  # whoever writes meanwhile changes nothing here
            try:
                return _content_of(self._connection)
            finally:
                self._connection.execute("ROLLBACK")

    def steps(self) -> Iterator[Mapping[str, Json]]:
        """Yield what the entries in force tell, in order, but those that only follow from others.

        Their pixels are not read, and whether they are what was written is not checked.

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
        """What happened last, of what holds; empty before anything did. It is not checked."""
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
        """Write a copy of what is in the file by now, complete or not at all.

        Parameters
        ----------
        target
            The new file; one that is there is replaced.
        about
            What the copy tells differently.
        drop
            Keys of what the copy doesn't tell. No trace of it is left in the copy.

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
                copy._retell({key: dumps(value) for key, value in (about or {}).items()}, drop)
                connection.execute("VACUUM")

    def settle(self) -> None:
        """Have everything in one file that needs none beside it, also when it is only read.

        Raises
        ------
        OSError
            If it can't be written.
        """
        with written(self.path):
            self._connection.execute("PRAGMA journal_mode = DELETE")

    def close(self) -> None:
        """Close the file; what was written is in it alone, without files beside it."""
        self._connection.close()

    def _is_in_force(self, number: int) -> bool:
        return bool(self._places.get(number, (0, 0))[0])

    def _retell(self, told: Mapping[str, str], drop: Collection[str]) -> None:
        after = {key: text for key, text in self._about.items() if key not in drop} | dict(told)
        if after != self._about:
            with self._change() as change:
                self._retell_in(change, after)
            self._about = after

    def _retell_in(self, change: _Change, after: Mapping[str, str]) -> None:
        for key, text in self._about.items():
            if after.get(key) != text:
                change.delete("about", "key", (key, text))
        for key, text in after.items():
            if self._about.get(key) != text:
                change.insert("about", (key, text))

    def _insert(self, change: _Change, entry: EntryRecord) -> None:
        told = entry.kind, entry.text, float(entry.time), dumps(entry.data)
        change.insert("entries", (entry.number, *told))
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
        if not self.path.exists():  # what is open could be written for ever, to nobody's use
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
    """A transaction under way: the seal after it, and the numbers of further rows."""

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
        """Delete a row, which is named by its first value, in the column `key`."""
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
    for _, number, *told in rows["patches"]:
        patches.setdefault(number, []).append(patch_of(*told))
    entries = {}
    for number, kind, text, time, data in rows["entries"]:
        about = loads(data)
        if not isinstance(about, dict):
            raise damaged(f"{type(about).__name__} as what an entry tells")
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
