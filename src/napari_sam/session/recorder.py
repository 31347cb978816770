"""Writing the journal of a session to its file as it grows, in a separate thread."""

from __future__ import annotations

import atexit
import logging
import threading
import time
import weakref
import zlib
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from napari_sam.io.session_file import Json, PlaneRecord, SessionFile
from napari_sam.planes import Plane
from napari_sam.session.entry_records import EntryWriter
from napari_sam.session.journal import JournalChange

_log = logging.getLogger(__name__)

T = TypeVar("T")

_AT_ONCE = 256  # waiting changes that share a transaction, at most
_LEVEL = 6  # of zlib
_RETRY_SECONDS = 2.0
_LONGEST_CLOSE = 10.0  # seconds that closing waits for unwritten changes, also at exit

ReadPlane = Callable[[], NDArray[Any]]

_OPEN: weakref.WeakSet[Recorder] = weakref.WeakSet()


class Recorder:
    """Records a session in a file; unless noted, no method waits for the disk.

    Every change of the journal becomes one transaction, in order; several changes that wait may
    share one. A failed write, such as on a full disk, is repeated until it succeeds.

    Parameters
    ----------
    file
        The file, which belongs to the recorder from now on.
    notify
        Called in the recorder's thread when there is something for :meth:`drain`.

    Attributes
    ----------
    failed
        Signal: the file can't be written; with the exception. It is emitted once until writing
        succeeds again, by :meth:`drain`, in its caller's thread.
    recovered
        Signal: writing succeeded again. Emitted as `failed` is.

    Notes
    -----
    The thread starts with the first work. At exit, the interpreter waits for unwritten changes.
    """

    failed = Signal(object)
    recovered = Signal()

    def __init__(self, file: SessionFile, notify: Callable[[], None] | None = None) -> None:
        self.path = file.path
        self._file = file
        self._notify = notify or (lambda: None)
        self._writer = EntryWriter()
        self._undone = list(file.undone)
        self._state = threading.Condition()
        self._changes: deque[JournalChange] = deque()
        self._about: dict[str, Json] = {}
        self._planes: deque[Callable[[], None]] = deque()
        self._models: deque[Callable[[], None]] = deque()
        self._inbox: deque[Callable[[], None]] = deque()
        self._is_writing = False
        self._hurry = False
        self._error: Exception | None = None
        self._closed = False
        self._thread: threading.Thread | None = None
        _OPEN.add(self)

    @property
    def about(self) -> dict[str, Json]:
        """The properties of the session that the file has, or will have in a moment."""
        with self._state:
            return {**self._file.about, **self._about}

    @property
    def error(self) -> Exception | None:
        """The error because of which nothing can be written at present; None if there is none."""
        return self._error

    def record(self, change: JournalChange) -> None:
        """Queue a change of the journal for writing."""
        self._put(lambda: self._changes.append(change))

    def set_about(self, about: Mapping[str, Json]) -> None:
        """Queue properties of the session for writing; see :meth:`SessionFile.set_about`."""
        self._put(lambda: self._about.update(about))

    def keep_model(self, digest: str, weights: bytes) -> None:
        """Queue the file of a taught model for writing, before entries of its masks."""
        self._put(lambda: self._models.append(lambda: self._file.put_model(digest, weights)))

    def keep_planes(self, planes: Iterable[tuple[Plane, ReadPlane]], entry: int) -> None:
        """Queue labels for writing as they were before the session changed them.

        They are read in the recorder's thread, when nothing else is to be written. Entries may
        change pixels meanwhile, since they contain the previous values, also if they took no
        effect. Labels that were stored earlier are replaced.

        Parameters
        ----------
        planes
            Planes, and functions that return their labels `(h, w)`. Empty planes are not stored.
        entry
            Number of the last entry that these labels contain; 0 before the first.
        """
        kept = [(plane, read) for plane, read in planes]

        def add() -> None:
            self._planes.clear()  # of labels that are no longer in use
            self._planes.append(lambda: self._file.begin_planes(entry))
            self._planes.extend(
                _once(partial(self._read_plane, entry, *one), self._put_plane) for one in kept
            )
            self._planes.append(self._file.end_planes)

        self._put(add)

    def drain(self) -> None:
        """Emit the signals that are waiting. Only the owner's thread may call this."""
        while self._inbox:
            self._inbox.popleft()()

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything is on disk; return whether that happened in `timeout` seconds.

        A failing write is repeated once, and then not waited for.
        """
        end = None if timeout is None else time.monotonic() + timeout
        with self._state:
            self._hurry = self._error is not None
            self._state.notify_all()
            while self._is_busy and not self._closed and (self._error is None or self._hurry):
                left = None if end is None else end - time.monotonic()
                if left is not None and left <= 0:
                    break
                self._state.wait(left)
            is_done = not self._is_busy and self._error is None
        self.drain()
        return is_done

    def save_to(
        self,
        target: str | Path,
        about: Mapping[str, Json] | None = None,
        drop: Collection[str] = (),
        timeout: float | None = None,
    ) -> None:
        """Write a copy of the session; waits for the disk, and may be called in any thread.

        Parameters
        ----------
        target, about, drop
            As for :meth:`SessionFile.save_to`.
        timeout
            Seconds to wait for unwritten changes.

        Raises
        ------
        OSError
            If the recorder's file or the copy can't be written.
        """
        if not self.flush(timeout):
            raise self._error or TimeoutError(
                f"expected {self.path} to be written in {timeout} s, got no answer from the disk; "
                "save again later"
            )
        reader = SessionFile.open(self.path)  # opened again, since the thread uses the other
        try:
            reader.save_to(target, about, drop)
        finally:
            reader.close()

    def close(self, timeout: float | None = _LONGEST_CLOSE) -> bool:
        """Write unwritten changes, close the file, and stop recording.

        Returns
        -------
        written
            False if some changes could not be written in `timeout` seconds.
        """
        is_done = self.flush(timeout)
        with self._state:
            self._closed = True
            self._state.notify_all()
        if self._thread is not None:
            self._thread.join(timeout)
        else:
            self._file.close()
        _OPEN.discard(self)
        self.drain()
        return is_done

    @property
    def _is_busy(self) -> bool:
        return self._has_work or self._is_writing

    @property
    def _has_work(self) -> bool:
        return bool(self._models or self._changes or self._about or self._planes)

    def _put(self, add: Callable[[], None]) -> None:
        with self._state:
            if self._closed:
                return
            add()
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="napari-sam recorder", daemon=True
                )
                self._thread.start()
            self._state.notify_all()

    # On the thread

    def _run(self) -> None:
        try:
            while (task := self._next_task()) is not None:
                self._attempt(task)
                del task  # an idle recorder keeps no plane alive
        finally:
            self._file.close()

    def _next_task(self) -> Callable[[], None] | None:
        """Wait for work, and return it; None after :meth:`close`."""
        with self._state:
            while not self._closed and not self._has_work:
                self._state.wait()
            if self._closed:
                return None
            self._is_writing = True
            if self._models:
                return self._models.popleft()
            if self._changes:
                return self._task_of(self._taken())
            if self._about:
                about, self._about = self._about, {}
                return lambda: self._file.set_about(about)
            return self._planes.popleft()

    def _taken(self) -> list[JournalChange]:
        """Take what goes into one transaction: one change, or many that only add entries."""
        changes = [self._changes.popleft()]
        while self._changes and len(changes) < _AT_ONCE:
            both = changes[-1], self._changes[0]
            if any(change.undone or change.dropped for change in both):
                break
            changes.append(self._changes.popleft())
        return changes

    def _task_of(self, changes: list[JournalChange]) -> Callable[[], None]:
        entries = [entry for change in changes for entry in (*change.put_back, *change.added)]
        apart = {entry.number for change in changes for entry in change.put_back}
        aside = [number for change in changes for number in change.undone]
        dropped = {number for change in changes for number in change.dropped}
        self._undone = [n for n in self._undone if n not in dropped] + aside
        undone = list(self._undone)
        return _once(
            lambda: [self._writer.record_of(entry) for entry in entries],
            lambda records: self._file.travel(
                [*aside, *dropped],
                [record for record in records if record.number not in apart],
                undone,
                [record for record in records if record.number in apart],
            ),
        )

    def _read_plane(self, entry: int, plane: Plane, read: ReadPlane) -> PlaneRecord | None:
        try:
            return pack_plane(entry, plane, read())
        except Exception as error:  # noqa: BLE001 - entries can still be recorded
            _log.exception("labels of the plane %s can't be kept", plane)
            failure = error
        with self._state:
            self._inbox.append(lambda: self.failed.emit(failure))
        self._notify()
        return None

    def _put_plane(self, record: PlaneRecord | None) -> None:
        if record is not None:
            self._file.put_plane(record)

    def _attempt(self, task: Callable[[], None]) -> None:
        """Run a task until it succeeds, or until the recorder is closed."""
        while True:
            try:
                task()
            except OSError as error:
                if not self._wait_to_retry(error):
                    return
            except Exception as error:  # noqa: BLE001 - later entries refer to this one
                _log.exception("the session can't be recorded any more")
                self._give_up(error)
                return
            else:
                break
        with self._state:
            self._is_writing = False
            was_failing, self._error = self._error is not None, None
            if was_failing:
                self._inbox.append(self.recovered.emit)
            self._state.notify_all()
        if was_failing:
            self._notify()

    def _wait_to_retry(self, error: OSError) -> bool:
        """Report an error unless that was done, and wait; return whether to try again."""
        with self._state:
            is_new, self._error = self._error is None, error
            if is_new:
                self._inbox.append(lambda: self.failed.emit(error))
            self._hurry = False
            self._state.notify_all()
        if is_new:
            self._notify()
        with self._state:
            self._state.wait_for(lambda: self._hurry or self._closed, _RETRY_SECONDS)
            self._is_writing = not self._closed
            return not self._closed

    def _give_up(self, error: Exception) -> None:
        with self._state:
            self._error = error
            self._closed = True
            self._is_writing = False
            self._inbox.append(lambda: self.failed.emit(error))
            self._state.notify_all()
        self._notify()


def _once(prepare: Callable[[], T], write: Callable[[T], None]) -> Callable[[], None]:
    """Return a task that prepares a value at its first call, and writes it at every call."""
    made: list[T] = []

    def task() -> None:
        if not made:
            made.append(prepare())
        write(made[0])

    return task


def pack_plane(entry: int, plane: Plane, labels: NDArray[Any]) -> PlaneRecord | None:
    """Return the record of a plane's labels; None if all are 0."""
    if not labels.any():
        return None
    height, width = labels.shape
    data = zlib.compress(np.ascontiguousarray(labels).tobytes(), _LEVEL)
    return PlaneRecord(entry, plane, height, width, labels.dtype.str, data)


@atexit.register
def _flush_all() -> None:
    for recorder in list(_OPEN):
        recorder.close()
