"""The library of saved sessions, one file each, and how the session of an image is found."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from napari_sam.io.session_file import SUFFIX, Json, SessionFile, SessionFileError
from napari_sam.model.registry import data_folder
from napari_sam.session.image_identity import ImageContent, ImageIdentity, read_identity

_LOCK = ".lock"


@dataclass(frozen=True, slots=True)
class KeptSession:
    """A session in the library.

    Parameters
    ----------
    path
        The file of the session.
    image
        Name of the image.
    changed
        Time of the last change, in seconds since 1970.
    entries
        Number of entries of its journal.
    objects
        Number of objects that have prompts, or were found or painted.
    size
        Bytes on disk.
    error
        Why the session can't be read; empty if it can.
    last
        A short description of the last step.
    source
        Path of the image when the session was last used; empty if it has no file.
    is_done
        Whether the user has marked the image as done.
    """

    path: Path
    image: str
    changed: float
    entries: int
    objects: int
    size: int
    error: str = ""
    last: str = ""
    source: str = ""
    is_done: bool = False


def sessions_folder() -> Path:
    """Return the default folder of the library; it need not exist yet.

    This is ``sessions`` in the directory that the environment variable ``NAPARI_SAM_HOME`` names,
    or else in the user's data directory of the platform.
    """
    return data_folder("sessions")


class Library:
    """The folder with a user's sessions. Only :meth:`remove` ever deletes one.

    The methods read and write files, and may be called in any thread.

    Parameters
    ----------
    folder
        The folder, which is created when it is needed. By default ``sessions`` in the directory
        that the environment variable ``NAPARI_SAM_HOME`` names, or else in the user's data
        directory.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = sessions_folder() if folder is None else Path(folder)

    def begin(self, image: ImageIdentity, about: Mapping[str, Json] | None = None) -> SessionFile:
        """Create the file of a new session, locked against other processes until it is closed.

        Parameters
        ----------
        image
            The image, by which the session is found again.
        about
            Properties of the session to store.

        Returns
        -------
        file
            The new file.

        Raises
        ------
        OSError
            If the file can't be created.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.folder / f"{image.family}-{secrets.token_hex(6)}{SUFFIX}"
        stored = {**(about or {}), **_about(image)}
        lock = _lock(path)
        assert lock is not None, "the name is new"
        with _released_on_error(lock):
            file = _LockedFile.create(path, stored)
            file.lock = lock
        return file

    def resume(self, path: str | Path, image: ImageIdentity | None = None) -> SessionFile | None:
        """Open a session of the library for writing; None if another viewer has it open.

        Parameters
        ----------
        path
            The session's file.
        image
            The image as it is now, if it was moved or has more planes; it is stored, so that the
            session is found by it later.

        Returns
        -------
        file
            The file, locked against other processes until it is closed; None if it was locked.

        Raises
        ------
        SessionFileError
            If the file is damaged or was written by a newer version.
        OSError
            If the file can't be opened.
        """
        path = Path(path)
        lock = _lock(path)
        if lock is None:
            return None
        with _released_on_error(lock):
            file = _LockedFile.open(path, writable=True)
            file.lock = lock
            if image is not None:
                file.set_about(_about(image))
        return file

    def adopt(self, path: str | Path, image: ImageIdentity) -> SessionFile:
        """Copy a saved session into the library, and open the copy for writing.

        Parameters
        ----------
        path
            The file of the session; it is only read.
        image
            The image, by which the copy is found again.

        Returns
        -------
        file
            The copy, locked against other processes until it is closed.

        Raises
        ------
        SessionFileError
            If the file is not a session, is damaged or was written by a newer version.
        OSError
            If the file can't be read, or the copy can't be written.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        target = self.folder / f"{image.family}-{secrets.token_hex(6)}{SUFFIX}"
        lock = _lock(target)
        assert lock is not None, "the name is new"
        with _released_on_error(lock):
            saved = SessionFile.open(path)
            try:
                saved.save_to(target, _about(image))
            finally:
                saved.close()
            target.chmod(0o600)
            file = _LockedFile.open(target, writable=True)
            file.lock = lock
        return file

    def find(self, image: ImageContent) -> list[KeptSession]:
        """Return the sessions of an image that no viewer has open, the best match first.

        An image is recognised by its pixels, even if its file was moved or rewritten or it has
        more planes now. An image whose pixels are all equal is recognised by its path.

        Parameters
        ----------
        image
            The image.

        Raises
        ------
        OSError, ValueError
            If the image can't be read.
        """
        identity = image.identity()
        found = []
        for path in sorted(self.folder.glob(f"{identity.family}-*{SUFFIX}")):
            try:
                kept, before = _read_kept(path), _identity_of(path)
            except (SessionFileError, OSError):
                continue  # `sessions` lists it with its error
            if kept.entries and image.is_image_of(before) and not _is_locked(path):
                likeness = _likeness(identity, before)
                if likeness is not None:
                    found.append(((likeness, kept.changed), kept))
        return [kept for _, kept in sorted(found, key=lambda pair: pair[0], reverse=True)]

    def sessions(self) -> list[KeptSession]:
        """Return all sessions, the most recently changed first."""
        found = []
        for path in self.folder.glob(f"*{SUFFIX}"):
            try:
                found.append(_read_kept(path))
            except FileNotFoundError:  # removed meanwhile
                continue
            except (SessionFileError, OSError) as error:
                state = path.stat()
                values = path.name, state.st_mtime, 0, 0, state.st_size, str(error)
                found.append(KeptSession(path, *values))
        return sorted(found, key=lambda kept: kept.changed, reverse=True)

    def describe(self, path: str | Path) -> KeptSession:
        """Return the entry of one session in the library.

        Parameters
        ----------
        path
            The session's file.

        Raises
        ------
        SessionFileError, OSError
            If the file can't be read.
        """
        return _read_kept(Path(path))

    def is_open(self, path: str | Path) -> bool:
        """Whether a viewer has a session open."""
        return _is_locked(Path(path))

    def remove(self, path: str | Path) -> None:
        """Delete a session permanently.

        Parameters
        ----------
        path
            The session's file.

        Raises
        ------
        ValueError
            If the file is not in this library, or the session is open.
        OSError
            If the file can't be deleted.
        """
        path = Path(path)
        if path.parent.resolve() != self.folder.resolve() or path.suffix != SUFFIX:
            raise ValueError(
                f"expected a session in {self.folder}, got {path}; delete other files yourself"
            )
        lock = _lock(path)
        if lock is None:
            raise ValueError(
                f"expected a session that is not open, got {path.name}; close its viewer first"
            )
        try:
            for beside in ("-wal", "-shm", "-journal", ""):
                path.with_name(path.name + beside).unlink(missing_ok=True)
        finally:
            lock.release()
        path.with_name(path.name + _LOCK).unlink(missing_ok=True)


class _LockedFile(SessionFile):
    """A session file with a lock that is released when the file is closed."""

    lock: BaseFileLock | None = None

    def close(self) -> None:
        super().close()
        if self.lock is not None:
            self.lock.release()


def _about(image: ImageIdentity) -> dict[str, Json]:
    return {"identity": image.to_json(), **({"source": image.where()} if image.path else {})}


def _lock(path: Path, seconds: float = 0.2) -> BaseFileLock | None:
    """Lock a file against other viewers and processes; None if one of them has locked it.

    Waits `seconds` for the lock, since :func:`_is_locked` takes it for a moment.
    """
    name = path.with_name(path.name + _LOCK)
    for kind in (FileLock, SoftFileLock):
        lock = kind(name, timeout=seconds, mode=0o600, thread_local=False)
        try:
            lock.acquire()
        except Timeout:
            return None
        except NotImplementedError:  # this disk has no locks
            continue
        return lock
    return None


def _is_locked(path: Path) -> bool:
    lock = _lock(path, 0)
    if lock is None:
        return True
    lock.release()
    return False


@contextmanager
def _released_on_error(lock: BaseFileLock) -> Iterator[None]:
    """Release a lock if a block raises."""
    try:
        yield
    except BaseException:
        lock.release()
        raise


def _read_kept(path: Path) -> KeptSession:
    file = SessionFile.open(path)
    try:
        about = file.about
        image, place = about.get("image"), about.get("source")
        name = image.get("name") if isinstance(image, dict) else None
        lay = place.get("path") if isinstance(place, dict) else None
        is_done = about.get("done") is True
        objects, entries, last = _count_objects(file.steps()), file.count, file.last_text
    except (TypeError, ValueError, LookupError) as error:
        raise SessionFileError(f"{path}: expected a session, got {error}; it is damaged") from error
    finally:
        file.close()
    beside = [path.with_name(path.name + end) for end in ("", "-wal")]
    states = [one.stat() for one in beside if one.exists()]
    size, changed = sum(s.st_size for s in states), max(s.st_mtime for s in states)
    values = path, str(name or ""), changed, entries, objects, size
    return KeptSession(*values, last=last, source=str(lay or ""), is_done=is_done)


def _count_objects(steps: Iterable[Mapping[str, Json]]) -> int:
    """Return the number of objects that have prompts, or an origin, after all steps."""
    groups: dict[tuple[int, str], bool] = {}
    origins: dict[int, bool] = {}
    for data in steps:
        for object_id, plane, _, after in data.get("prompts", ()):
            groups[object_id, str(plane)] = after is not None
        for object_id, _, after in data.get("facts", ()):
            origins[object_id] = "origin" in after
    prompted = {object_id for (object_id, _), is_there in groups.items() if is_there}
    return len(prompted | {object_id for object_id, is_there in origins.items() if is_there})


def _identity_of(path: Path) -> ImageIdentity:
    file = SessionFile.open(path)
    try:
        about = file.about
    finally:
        file.close()
    try:
        return read_identity(about.get("identity"), about.get("source"))
    except ValueError as error:
        raise SessionFileError(f"{path}: {error}; it is damaged") from error


def _likeness(now: ImageIdentity, before: ImageIdentity) -> tuple[bool, bool, bool] | None:
    """Return how well an image with the same pixels matches an earlier one; None if it doesn't."""
    same_place = now.path == before.path
    same_file = same_place and (now.size, now.time) == (before.size, before.time)
    if all(sample.is_blank for sample in before.samples) and not same_place:
        return None
    return now.layer == before.layer, same_file, same_place
