"""Fetch a file: resumed where it broke off, checked before it gets its name."""

from __future__ import annotations

import errno
import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import xxhash

from napari_sam.atomic import replaced
from napari_sam.model.reply import LEAST_BYTES, Reply, Stalled
from napari_sam.special_files import SpecialFileError, refuse_special

# requests and filelock are imported where they are used: a model that is on this disk needs
# neither, and requests alone takes a quarter of a second.

Progress = Callable[[float], None]

_THROWN_AWAY = "which was thrown away; a proxy or a login page may have answered in its place"

_HASHED = 2**22  # bytes hashed between two questions whether to go on
_LARGEST = 2**34  # bytes of a file whose size is not known; the largest model has 2.6e9


class DownloadError(OSError):
    """A file could not be fetched; the message has the reason, and how to add it by hand."""


class _Failure(Exception):
    """The reason of a failed download; :func:`fetch` adds what to do."""


def file_digest(
    path: str | Path, algorithm: str = "sha256", heard: Callable[[], None] | None = None
) -> str:
    """Return ``"algorithm:hexadecimal digest"`` of a file's bytes.

    Parameters
    ----------
    path
        File to read.
    algorithm
        ``"sha256"``, ``"xxh128"`` or another of :mod:`hashlib`'s and xxhash's.
    heard
        Called now and then; may raise to cancel.

    Raises
    ------
    ValueError
        If there is no such algorithm, or the path is that of a named pipe or a device.
    """
    refuse_special(path)
    fast = algorithm in xxhash.algorithms_available
    digest = getattr(xxhash, algorithm)() if fast else hashlib.new(algorithm)
    with open(path, "rb") as file:
        while block := file.read(_HASHED):
            digest.update(block)
            if heard is not None:
                heard()
    return f"{algorithm}:{digest.hexdigest()}"


def fetch(
    url: str, target: Path, digest: str, size: int | None = None, progress: Progress | None = None
) -> None:
    """Download a file; it gets its name only when its digest is right.

    Bytes go to a ``.part`` file beside the target. What an interrupted or cancelled download left
    there is continued, also after a restart, and thrown away if the result is wrong or larger than
    it should be. Of several processes that want the same file one downloads and the others wait.

    Parameters
    ----------
    url
        Address, http or https.
    target
        Where the file belongs; replaced if it exists.
    digest
        As from :func:`file_digest`.
    size
        About how many bytes to expect. A reply that is larger by more than a few percent is not
        taken.
    progress
        Called with the fraction received, 0 to 1, several times a second, also while nothing
        comes; may raise to cancel.

    Raises
    ------
    DownloadError
        For any reason that lies outside this program.
    """
    report = progress or _silent
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _alone(target, report) as waited:
            if waited and _has_digest(target, digest, report):
                return
            with replaced(target, part):
                resumed = part.exists()
                _receive(url, part, size, report)
                if resumed and not _has_digest(part, digest, report):
                    part.unlink()  # its beginning may be of another version, or damaged
                    _receive(url, part, size, report)
                _check(url, part, digest, report)
    except (_Failure, OSError, SpecialFileError) as error:
        raise DownloadError(
            f"{_reason(error, url, target.parent)}. To bring the file by hand, download {url} "
            f"with another program or machine and save it as {target}"
        ) from error


def _silent(fraction: float) -> None:
    """Report nothing."""


@contextmanager
def _alone(target: Path, report: Progress) -> Iterator[bool]:
    """Hold the target's lock; yield whether another process had it first."""
    import filelock

    lock = filelock.FileLock(target.with_name(f".{target.name}.lock"))
    waited = False
    while not lock.is_locked:
        try:
            lock.acquire(timeout=0.2)
        except filelock.Timeout:
            waited = True
            report(0.0)
    try:
        yield waited
    finally:
        lock.release()


def _has_digest(path: Path, digest: str, report: Progress) -> bool:
    return path.exists() and _digest(path, digest, report) == digest


def _digest(path: Path, like: str, report: Progress) -> str:
    return file_digest(path, like.partition(":")[0], lambda: report(1.0))


def _check(url: str, part: Path, digest: str, report: Progress) -> None:
    came = _digest(part, digest, report)
    if came != digest:
        size = part.stat().st_size
        part.unlink()
        raise _Failure(
            f"expected a file with digest {digest}, but {url} gave {size} bytes with {came}, "
            f"{_THROWN_AWAY}"
        )


def _receive(url: str, part: Path, size: int | None, report: Progress) -> None:
    """Complete the part file, reconnecting as long as each connection brings something."""
    import requests

    complete = False
    while not complete:
        before = _size(part)
        try:
            complete = _connect(url, part, size, report)
        except (requests.RequestException, Stalled):
            if _size(part) < before + LEAST_BYTES:
                raise


def _connect(url: str, part: Path, size: int | None, report: Progress) -> bool:
    """Append to the part file over one connection; return whether it is complete."""
    import requests

    start = _size(part)
    largest = _LARGEST if size is None else size + size // 50 + 2**20
    headers = {"Accept-Encoding": "identity"}  # otherwise lengths would be of compressed bytes
    if start:
        headers["Range"] = f"bytes={start}-"
    fraction = min(start / size, 1.0) if size else 0.0
    with Reply(url, headers, lambda: report(fraction)) as reply:
        sent_range = reply.headers.get("Content-Range", "")
        if reply.status == requests.codes.requested_range_not_satisfiable and start:
            if sent_range == f"bytes */{start}":
                return True
            part.unlink()
            return False
        if reply.status not in (requests.codes.ok, requests.codes.partial_content):
            raise _Failure(f"{url} answered {reply.status} {reply.reason}")
        if not sent_range.startswith(f"bytes {start}-"):
            start = 0  # the server sends all of it
        length = reply.headers.get("Content-Length", "")
        announced = start + int(length) if length.isdigit() and len(length) < 20 else None
        total = size if announced is None else announced
        _check_length(url, part, announced or 0, largest)
        if total is not None:
            _check_space(part.parent, total - start)
        received = start
        with part.open("ab" if start else "wb") as file:
            for block in reply.blocks():
                received += len(block)
                if received > largest:
                    break
                file.write(block)
                fraction = min(received / total, 1.0) if total else 0.0
                report(fraction)
        _check_length(url, part, received, largest)
    return True


def _check_length(url: str, part: Path, length: int, largest: int) -> None:
    if length > largest:
        part.unlink(missing_ok=True)
        raise _Failure(
            f"expected at most {largest / 1e6:.0f} MB, but {url} sends more, {_THROWN_AWAY}"
        )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _check_space(directory: Path, needed: int) -> None:
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise OSError(errno.ENOSPC, f"{needed / 1e6:.0f} MB needed, {free / 1e6:.0f} MB free")


def _reason(error: Exception, url: str, directory: Path) -> str:
    import requests

    elsewhere = "set NAPARI_SAM_HOME to a directory on another disk"
    if isinstance(error, _Failure | SpecialFileError):
        return str(error)
    if isinstance(error, requests.RequestException | Stalled):
        return (
            f"could not download from {urlsplit(url).hostname} ({error}); check the network "
            "and, behind a proxy, HTTPS_PROXY, then try again: what came is kept"
        )
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"no space for the file in {directory} ({error.strerror}); free some or {elsewhere}"
    return f"cannot write in {directory} ({error}); make it writable or {elsewhere}"
