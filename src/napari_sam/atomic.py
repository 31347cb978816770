"""Files and folders that appear complete or not at all, and what killed runs leave of them."""

import errno
import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from napari_sam.special_files import refuse_special

if sys.platform != "win32":
    import fcntl

# Temporary files and folders carry the name they are for behind a token of eight digits.
_TEMPORARY = re.compile(r"\.[0-9a-f]{8}-(?P<target>.+)", re.DOTALL)
# Whether what a program has open can't be replaced, and how many seconds it is tried again.
_OPEN_FILES_STAY, _PATIENCE = sys.platform == "win32", 2.0
_A_DAY = 24 * 3600.0
# What disks answer that have no such call, among them some of the network.
_NO_SYNC = errno.EINVAL, errno.ENOSYS, errno.ENOTSUP


@contextmanager
def replaced(target: Path, part: Path | None = None, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `target` that takes its name when the block succeeds.

    What stood under the name before stays untouched until then, and for good if the block
    raises. The temporary path has the target's suffix; the block makes a file or a folder of
    it. Missing parent folders are made. A folder is replaced in two steps; where a run was
    killed between them, the next one to replace it, or :func:`heal`, puts the old one back.
    After a power cut, too, either the old or the new one is there, whole.

    Parameters
    ----------
    target
        The file or folder.
    part
        The temporary path, of a file that may be gone on with: it is kept if the block raises.
        By default one that nobody else has, which is removed then.
    durable
        Whether it must outlast a power cut, which takes some milliseconds a file; without, its
        reader has to recognise a damaged file.

    Raises
    ------
    OSError
        If the folder cannot be written.
    SpecialFileError
        If a named pipe or a device stands there, which is left.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    for path in (target,) if part is None else (part, target):
        refuse_special(path)
    heal(target)
    temporary = part or temporary_beside(target)
    try:
        yield temporary
        if durable:
            _flush(temporary)
        if target.is_dir():
            _swap(temporary, target)
        else:
            _replace(temporary, target)
        if durable:
            _flush_names(target.parent)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        elif part is None:
            temporary.unlink(missing_ok=True)


def heal(target: Path) -> bool:
    """Put back a folder that a run was killed replacing; whether there was one to put back."""
    aside = _aside(target)
    if not aside.exists():
        return False
    try:
        with locked(aside) as is_free:
            if not is_free:  # another process is replacing it at this moment
                return False
            if target.exists():
                _discard(aside, target)
                return False
            aside.rename(target)
            return True
    except FileNotFoundError:  # another process was faster
        return False


def target_of(path: Path) -> str | None:
    """Return the name that a temporary path of :func:`replaced` was to take; None for others."""
    match = _TEMPORARY.fullmatch(path.name)
    return match["target"] if match else None


def sweep(folder: Path, targets: Collection[str], older_than: float = _A_DAY) -> list[Path]:
    """Remove what killed runs left of files and folders that they were writing.

    Parameters
    ----------
    folder
        The folder to search, without those in it.
    targets
        Names of our own results. Of anything else nothing is removed.
    older_than
        Seconds since something in it was last written.

    Returns
    -------
    removed
        What is gone. What can't be removed stays.
    """
    removed = []
    latest = time.time() - older_than
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if target_of(path) not in targets:
            continue
        try:
            if _last_written(path) > latest:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        except OSError:
            continue
        removed.append(path)
    return removed


@contextmanager
def locked(path: Path, shared: bool = False) -> Iterator[bool]:
    """Lock a file or folder against other processes; yields whether nobody else has it locked.

    The lock ends with the block, or with the process. Where the system or the disk has no locks,
    nobody ever has it.

    Parameters
    ----------
    path
        Something that is there.
    shared
        Whether others may share the lock; it only keeps those out who don't.
    """
    if sys.platform == "win32":
        yield True
        return
    refuse_special(path)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield _take(descriptor, shared)
    finally:
        os.close(descriptor)


if sys.platform != "win32":

    def _take(descriptor: int, shared: bool) -> bool:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # this disk has no locks
            return True
        return True


def _flush(path: Path) -> None:
    """Have a file, or all that is in a folder, written to the disk itself.

    Otherwise the disk may learn a new file's name before its content.
    """
    if path.is_dir():
        for folder, _, names in os.walk(path):
            for name in names:
                _flush_file(Path(folder, name))
            _flush_names(Path(folder))
    else:
        _flush_file(path)


def _flush_file(path: Path) -> None:
    # Windows flushes only what may be written to.
    descriptor = os.open(path, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(descriptor)


def _flush_names(folder: Path) -> None:
    """Have the names in a folder written to the disk; Windows does so by itself."""
    if sys.platform == "win32":
        return
    with suppress(OSError):  # what is lost with a name is no more than what there was before
        _flush_file(folder)


def _replace(temporary: Path, target: Path) -> None:
    """Give a file its name; what another program has open can't be replaced on Windows.

    Virus scanners and indexers open what has just been written, for a moment.
    """
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            os.replace(temporary, target)
        except PermissionError as error:
            if not _OPEN_FILES_STAY:
                raise
            if time.monotonic() > end:
                raise PermissionError(
                    f"expected {target} to be closed, got a file that another program has open; "
                    "close it there and try again, it is as it was"
                ) from error
            time.sleep(_PATIENCE / 20)
        else:
            return


def _swap(temporary: Path, target: Path) -> None:
    """Replace a folder: at every moment the old and the new one are whole under some name."""
    aside = _aside(target)
    with locked(target):
        target.rename(aside)
        try:
            temporary.rename(target)
        finally:
            if not target.exists():
                aside.rename(target)
        _discard(aside, target)


def _discard(aside: Path, target: Path) -> None:
    """Remove a folder under a name that nobody takes for a whole one."""
    rest = temporary_beside(target)
    aside.rename(rest)
    shutil.rmtree(rest, ignore_errors=True)


def temporary_beside(target: Path) -> Path:
    """Return a hidden path that nobody else has, for what is to take a target's name."""
    return target.with_name(f".{secrets.token_hex(4)}-{target.name}")


def _aside(target: Path) -> Path:
    return target.with_name(f".old~{target.name}")


def _last_written(path: Path) -> float:
    inside = path.rglob("*") if path.is_dir() and not path.is_symlink() else ()
    return max(one.lstat().st_mtime for one in (path, *inside))
