"""Where sessions are kept, one file each, and how that of an image is found again."""

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
        Its file.
    image
        Name of the image.
    changed
        When it was last changed, in seconds since 1970.
    entries
        How many entries it has.
    objects
        How many objects have prompts, or were found or painted.
    size
        Bytes on disk.
    error
        Why it can't be read; empty if it can.
    last
        What happened last, in a few words.
    source
        Where its image lay when it was last worked on; empty if it has no file.
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
    """Return the folder of kept sessions.

    It is ``sessions`` in the directory that the environment variable ``NAPARI_SAM_HOME`` names,
    otherwise in the platform's data directory of the user. It need not exist yet.
    """
    return data_folder("sessions")


class Library:
    """The kept sessions of a user. Nothing in it is ever deleted but by :meth:`remove`.

    Methods read files, and may be called on any thread.

    Parameters
    ----------
    folder
        Where the files lie; :func:`sessions_folder` by default. Made when it is needed.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = sessions_folder() if folder is None else Path(folder)

    def begin(self, image: ImageIdentity, about: Mapping[str, Json] | None = None) -> SessionFile:
        """Make a file for a new session, which nobody else writes into until it is closed.

        Raises
        ------
        OSError
            If it can't be made.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.folder / f"{image.family}-{secrets.token_hex(6)}{SUFFIX}"
        told = {**(about or {}), **_about(image)}
        lock = _taken(path)
        assert lock is not None, "a name that nobody knew"
        with _given_back(lock):
            file = _LockedFile.create(path, told)
            file.lock = lock
        return file

    def resume(self, path: str | Path, image: ImageIdentity | None = None) -> SessionFile | None:
        """Open a kept session to go on with it; None if another viewer has it open.

        Parameters
        ----------
        path
            The session's file.
        image
            The image as it is now, if it was moved or has grown: it is found by that next time.

        Raises
        ------
        SessionFileError
            If it is damaged or of a newer version.
        OSError
            If it can't be opened.
        """
        path = Path(path)
        lock = _taken(path)
        if lock is None:
            return None
        with _given_back(lock):
            file = _LockedFile.open(path, writable=True)
            file.lock = lock
            if image is not None:
                file.set_about(_about(image))
        return file

    def adopt(self, path: str | Path, image: ImageIdentity) -> SessionFile:
        """Copy a saved session into the library, to go on with the copy.

        Raises
        ------
        SessionFileError
            If it is no session, is damaged or of a newer version.
        OSError
            If it can't be read, or the copy not written.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        target = self.folder / f"{image.family}-{secrets.token_hex(6)}{SUFFIX}"
        lock = _taken(target)
        assert lock is not None, "a name that nobody knew"
        with _given_back(lock):
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
        """Return the sessions of an image that nobody has open, the likeliest first.

        It is found by its content, whether it was moved or touched, or has more planes. An image
        without any content, all of one value, is found where it lay.

        Raises
        ------
        OSError, ValueError
            If the image can't be read.
        """
        identity = image.identity()
        found = []
        for path in sorted(self.folder.glob(f"{identity.family}-*{SUFFIX}")):
            try:
                kept, before = _looked_at(path), _identity_of(path)
            except (SessionFileError, OSError):
                continue  # the list shows it
            if kept.entries and image.is_image_of(before) and not _is_taken(path):
                likeness = _likeness(identity, before)
                if likeness is not None:
                    found.append(((likeness, kept.changed), kept))
        return [kept for _, kept in sorted(found, key=lambda pair: pair[0], reverse=True)]

    def sessions(self) -> list[KeptSession]:
        """Return all sessions, those that were changed last first."""
        found = []
        for path in self.folder.glob(f"*{SUFFIX}"):
            try:
                found.append(_looked_at(path))
            except FileNotFoundError:  # removed meanwhile
                continue
            except (SessionFileError, OSError) as error:
                state = path.stat()
                told = path.name, state.st_mtime, 0, 0, state.st_size, str(error)
                found.append(KeptSession(path, *told))
        return sorted(found, key=lambda kept: kept.changed, reverse=True)

    def look_at(self, path: str | Path) -> KeptSession:
        """Return what is known of one session.

        Raises
        ------
        SessionFileError, OSError
            If it can't be read.
        """
        return _looked_at(Path(path))

    def is_open(self, path: str | Path) -> bool:
        """Whether a viewer has a session open."""
        return _is_taken(Path(path))

    def remove(self, path: str | Path) -> None:
        """Delete a kept session for good.

        Raises
        ------
        ValueError
            If it is none of this library, or is open.
        OSError
            If it can't be deleted.
        """
        path = Path(path)
        if path.parent.resolve() != self.folder.resolve() or path.suffix != SUFFIX:
            raise ValueError(
                f"expected a session in {self.folder}, got {path}; delete other files yourself"
            )
        lock = _taken(path)
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
    """A session file that nobody else writes into."""

    lock: BaseFileLock | None = None

    def close(self) -> None:
        super().close()
        if self.lock is not None:
            self.lock.release()


def _about(image: ImageIdentity) -> dict[str, Json]:
    return {"identity": image.spell(), **({"source": image.where()} if image.path else {})}


def _taken(path: Path, seconds: float = 0.2) -> BaseFileLock | None:
    """Lock a file against other viewers and processes; None if one of them has it.

    Somebody who only looks whether it is taken has it for a moment.
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


def _is_taken(path: Path) -> bool:
    lock = _taken(path, 0)
    if lock is None:
        return True
    lock.release()
    return False


@contextmanager
def _given_back(lock: BaseFileLock) -> Iterator[None]:
    """Release a lock if a block raises."""
    try:
        yield
    except BaseException:
        lock.release()
        raise


def _looked_at(path: Path) -> KeptSession:
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
    told = path, str(name or ""), changed, entries, objects, size
    return KeptSession(*told, last=last, source=str(lay or ""), is_done=is_done)


def _count_objects(steps: Iterable[Mapping[str, Json]]) -> int:
    """Return how many objects have prompts, or came about without, after all steps."""
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
    """Return how surely an image of the same content is the one of before; None if it isn't."""
    same_place = now.path == before.path
    same_file = same_place and (now.size, now.time) == (before.size, before.time)
    if all(sample.is_blank for sample in before.samples) and not same_place:
        return None
    return now.layer == before.layer, same_file, same_place
