"""The database behind a session file: its tables, and what is checked before they are read."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from napari_sam.io.session_records import SessionFileError, damaged
from napari_sam.special_files import refuse_special

SUFFIX = ".napari-sam"
"""Of the names of session files."""

VERSION = 2
"""Of the tables; a newer one is refused, an older one brought forward."""

APPLICATION_ID = 0x4E53414D  # "NSAM", in the header of every session file

MODULUS = 2**63
"""Of the sum of digests that seals a file, so that it is one of SQLite's integers."""

SCHEMA = {
    "about": "CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "entries": (
        "CREATE TABLE entries (number INTEGER PRIMARY KEY, kind TEXT NOT NULL, "
        "text TEXT NOT NULL, time REAL NOT NULL, data TEXT NOT NULL)"
    ),
    "places": (
        "CREATE TABLE places (number INTEGER PRIMARY KEY, in_force INTEGER NOT NULL, "
        "rank INTEGER NOT NULL)"
    ),
    "patches": (
        "CREATE TABLE patches (id INTEGER PRIMARY KEY, entry INTEGER NOT NULL, "
        "plane TEXT NOT NULL, first_row INTEGER NOT NULL, first_column INTEGER NOT NULL, "
        "height INTEGER NOT NULL, width INTEGER NOT NULL, area INTEGER NOT NULL, "
        "mask BLOB NOT NULL, old_type TEXT, old, new_type TEXT, new)"
    ),
    "planes": (
        "CREATE TABLE planes (id INTEGER PRIMARY KEY, entry INTEGER NOT NULL, "
        "plane TEXT NOT NULL, height INTEGER NOT NULL, width INTEGER NOT NULL, "
        "type TEXT NOT NULL, labels BLOB NOT NULL)"
    ),
    "models": "CREATE TABLE models (digest TEXT PRIMARY KEY, weights BLOB NOT NULL)",
    "seal": "CREATE TABLE seal (id INTEGER PRIMARY KEY, total INTEGER NOT NULL)",
}
"""What creates each table."""

_MAGIC = b"SQLite format 3\0"
_BUSY_SECONDS = 5.0  # that a transaction waits for another process
# Of SQLite's errors, those that are not about what is in the file.
_OF_THE_DISK = ("BUSY", "CANTOPEN", "FULL", "IOERR", "LOCKED", "PERM", "PROTOCOL", "READONLY")


@dataclass(frozen=True, slots=True)
class Migration:
    """How the tables of an earlier version become those of the next one.

    Parameters
    ----------
    schema
        The earlier tables, by name: what created each.
    change
        Called within a transaction, after the earlier content was checked.
    """

    schema: Mapping[str, str]
    change: Callable[[sqlite3.Connection], None]


def _add_models(connection: sqlite3.Connection) -> None:
    connection.execute(SCHEMA["models"])


MIGRATIONS: dict[int, Migration] = {
    1: Migration({name: sql for name, sql in SCHEMA.items() if name != "models"}, _add_models)
}
"""By the version that they start from."""

_KEYS = ("sqlite_autoindex_about_1", "sqlite_autoindex_models_1")  # of the tables' keys


_TYPES: dict[str, tuple[type, ...]] = {
    "i": (int,),
    "f": (float,),
    "s": (str,),
    "S": (str, type(None)),
    "b": (bytes,),
    "V": (int, bytes, type(None)),
}


def rows_of(connection: sqlite3.Connection, table: str, types: str) -> list[tuple[Any, ...]]:
    """Return the rows of a table by their first column, of the types that they should have."""
    allowed = [_TYPES[letter] for letter in types]
    rows = connection.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()
    for row in rows:
        for value, kinds in zip(row, allowed, strict=True):
            if not isinstance(value, kinds):
                raise damaged(f"{type(value).__name__} in the table {table}")
    return rows


def sealed_total(connection: sqlite3.Connection) -> int:
    """Return the sum of the digests of all rows, as it was when they were written."""
    rows = rows_of(connection, "seal", "ii")
    if len(rows) != 1:
        raise damaged(f"{len(rows)} seals")
    return int(rows[0][1])


def digest(table: str, row: Sequence[Any]) -> int:
    """Return a number that is another one for nearly every other row."""
    small = [table, *(len(value) if isinstance(value, bytes) else value for value in row)]
    state = xxhash.xxh3_64(repr(small).encode())
    for value in row:
        if isinstance(value, bytes):
            state.update(value)
    return int(state.intdigest())


def connect(path: Path, mode: str, vfs: str | None, immutable: bool = False) -> sqlite3.Connection:
    """Connect to a file that is there; `mode` is "ro" or "rw"."""
    uri = f"{path.resolve().as_uri()}?mode={mode}"
    uri += f"&vfs={vfs}" if vfs is not None else ""
    uri += "&immutable=1" if immutable else ""
    connection = sqlite3.connect(
        uri, _BUSY_SECONDS, isolation_level=None, check_same_thread=False, uri=True
    )
    _forbid(connection)
    return connection


def _forbid(connection: sqlite3.Connection) -> None:
    """Have nothing executed that a file may have brought."""
    connection.setlimit(sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH, 0)
    for pragma in ("trusted_schema = OFF", "cell_size_check = ON", "mmap_size = 0"):
        connection.execute(f"PRAGMA {pragma}")
    if sys.version_info >= (3, 12):
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_DEFENSIVE, True)
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_ENABLE_TRIGGER, False)
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_ENABLE_VIEW, False)


def connect_checked(
    path: Path, writable: bool, is_wal: bool, vfs: str | None
) -> sqlite3.Connection:
    """Connect, and check the tables before anything else is read."""
    alone = is_wal and not path.with_name(path.name + "-wal").exists()
    connection = connect(path, "rw" if writable else "ro", vfs, immutable=alone and not writable)
    try:
        try:
            check_schema(connection)
        except sqlite3.OperationalError:
            if not (is_wal and writable):
                raise
            # It was moved to a folder where processes can't share memory, as WAL needs.
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            check_schema(connection)
            connection.execute("PRAGMA journal_mode = DELETE")
            connection.execute("PRAGMA locking_mode = NORMAL")
    except BaseException:
        connection.close()
        raise
    return connection


def prepare_writing(connection: sqlite3.Connection) -> None:
    """Have a transaction on disk when it is over: nothing of it is lost with the power."""
    connection.execute("PRAGMA synchronous = FULL")
    try:
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode == "wal":  # reported in some folders that nevertheless have no shared memory
            with transaction(connection):
                pass
    except sqlite3.OperationalError:
        mode = ""
    if mode != "wal":
        connection.execute("PRAGMA journal_mode = DELETE")


def check_header(path: Path) -> bool:
    """Refuse other files before SQLite sees them; return whether it is in WAL mode."""
    refuse_special(path)
    if not path.exists():
        raise FileNotFoundError(f"expected a session at {path}, found nothing there")
    with path.open("rb") as file:
        head = file.read(100)
    if not head.startswith(_MAGIC):
        raise SessionFileError(
            f"{path}: expected a session file ({SUFFIX}), got one of another kind; choose a file "
            "that Save session made"
        )
    if int.from_bytes(head[68:72], "big") != APPLICATION_ID:
        raise SessionFileError(
            f"{path}: expected a session file ({SUFFIX}), got a database of another program; "
            "choose a file that Save session made"
        )
    return head[19] == 2


def version_of(connection: sqlite3.Connection) -> int:
    """Return the version of the tables."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def check_schema(connection: sqlite3.Connection) -> None:
    """Refuse tables that are not those of the version."""
    version = version_of(connection)
    if version > VERSION:
        raise SessionFileError(
            f"expected a session file of version {VERSION} or before, got version {version}; "
            "update napari-sam-live to open it"
        )
    if version not in (VERSION, *MIGRATIONS):
        raise damaged(f"version {version}")
    schema = SCHEMA if version == VERSION else MIGRATIONS[version].schema
    tables = {}
    for kind, name, sql in connection.execute("SELECT type, name, sql FROM sqlite_master"):
        if kind == "index" and sql is None and name in _KEYS:
            continue
        if kind != "table" or schema.get(name) != sql:
            raise damaged(f"the {kind} {str(name)[:100]!r}, which sessions don't have like that")
        tables[name] = sql
    if tables.keys() != schema.keys():
        raise damaged(f"no tables {sorted(schema.keys() - tables.keys())}")


def brought_forward(connection: sqlite3.Connection, in_place: bool) -> sqlite3.Connection:
    """Return a connection to the same content in the tables of today."""
    if version_of(connection) == VERSION:
        return connection
    if not in_place:
        copy = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        _forbid(copy)
        connection.backup(copy)
        connection.close()
        connection = copy
    with transaction(connection):
        for version in range(version_of(connection), VERSION):
            migration = MIGRATIONS[version]
            if _total_of(connection, migration.schema) != sealed_total(connection):
                raise damaged("other rows than those that were written")
            migration.change(connection)
            connection.execute(f"PRAGMA user_version = {version + 1}")
            check_schema(connection)
            after = SCHEMA if version + 1 == VERSION else MIGRATIONS[version + 1].schema
            connection.execute("UPDATE seal SET total = ?", (_total_of(connection, after),))
    return connection


def _total_of(connection: sqlite3.Connection, tables: Collection[str]) -> int:
    """Return the sum of the digests of all rows, whatever their columns."""
    return (
        sum(
            digest(table, row)
            for table in tables
            if table != "seal"
            for row in connection.execute(f"SELECT * FROM {table}")
        )
        % MODULUS
    )


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Have all changes of a block made, or none of them."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # some errors have ended it already
            connection.execute("ROLLBACK")
        raise


@contextmanager
def checked(path: Path) -> Iterator[None]:
    """Say of anything that a damaged file makes SQLite or Python raise that it is damaged."""
    try:
        yield
    except SessionFileError as error:
        raise SessionFileError(f"{path}: {error}") from error.__cause__
    except (sqlite3.Error, ValueError, TypeError, OverflowError, MemoryError) as error:
        name = getattr(error, "sqlite_errorname", "").removeprefix("SQLITE_")
        if name.startswith(_OF_THE_DISK):
            raise OSError(
                f"expected to open {path}, got: {error}; close what uses it, or copy it to "
                "another folder"
            ) from error
        raise SessionFileError(f"{path}: {damaged(str(error))}") from error


@contextmanager
def written(path: Path) -> Iterator[None]:
    """Say what can be done where a file can't be written."""
    try:
        yield
    except sqlite3.Error as error:
        raise OSError(
            f"expected to write {path}, got: {error}; make room on the disk, or allow writing"
        ) from error
