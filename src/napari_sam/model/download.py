"""Fetch a file: resumed where it broke off, checked before it gets its name."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pooch

# requests and filelock are imported where they are used: a model that is on this disk needs
# neither, and requests alone takes a quarter of a second.

Progress = Callable[[float], None]

_BLOCK = 2**16  # bytes; what a broken connection loses at most
_TIMEOUTS_S = (10, 60)  # to connect, and between two blocks


class DownloadError(OSError):
    """A file could not be fetched; the message says why and how to bring it by hand."""


class _Failure(Exception):
    """What went wrong, as a sentence; :func:`fetch` adds what to do."""


def file_digest(path: str | Path, algorithm: str = "sha256") -> str:
    """Return ``"algorithm:hexadecimal digest"`` of a file's bytes.

    Parameters
    ----------
    path
        File to read.
    algorithm
        ``"sha256"``, ``"xxh128"`` or another that :func:`pooch.file_hash` knows.
    """
    return f"{algorithm}:{pooch.file_hash(str(path), alg=algorithm)}"


def fetch(
    url: str, target: Path, digest: str, size: int | None = None, progress: Progress | None = None
) -> None:
    """Download a file; it gets its name only when its digest is right.

    Bytes go to a ``.part`` file beside the target. What an interrupted or cancelled download left
    there is continued, also after a restart, and thrown away if the result is wrong. Of several
    processes that want the same file one downloads and the others wait.

    Parameters
    ----------
    url
        Address, http or https.
    target
        Where the file belongs; replaced if it exists.
    digest
        As from :func:`file_digest`.
    size
        About how many bytes to expect, if the server doesn't say.
    progress
        Called with the fraction received, 0 to 1; may raise to cancel.

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
            if waited and _has_digest(target, digest):
                return
            resumed = part.exists()
            _receive(url, part, size, report)
            if resumed and not _has_digest(part, digest):
                part.unlink()  # its beginning may be of another version, or damaged
                _receive(url, part, size, report)
            _check(url, part, digest)
            os.replace(part, target)
    except (_Failure, OSError) as error:
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


def _has_digest(path: Path, digest: str) -> bool:
    return path.exists() and file_digest(path, digest.partition(":")[0]) == digest


def _check(url: str, part: Path, digest: str) -> None:
    came = file_digest(part, digest.partition(":")[0])
    if came != digest:
        size = part.stat().st_size
        part.unlink()
        raise _Failure(
            f"expected a file with digest {digest}, but {url} gave {size} bytes with {came}, "
            "which were thrown away; a proxy or a login page may have answered in its place"
        )


def _receive(url: str, part: Path, size: int | None, report: Progress) -> None:
    """Complete the part file, reconnecting as long as each connection brings something."""
    import requests

    complete = False
    while not complete:
        before = _size(part)
        try:
            complete = _connect(url, part, size, report)
        except requests.RequestException:
            if _size(part) <= before:
                raise


def _connect(url: str, part: Path, size: int | None, report: Progress) -> bool:
    """Append to the part file over one connection; return whether it is complete."""
    import requests

    start = _size(part)
    headers = {"Accept-Encoding": "identity"}  # otherwise lengths would be of compressed bytes
    if start:
        headers["Range"] = f"bytes={start}-"
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUTS_S) as response:
        sent_range = response.headers.get("Content-Range", "")
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            if sent_range == f"bytes */{start}":
                return True
            part.unlink()
            return False
        if response.status_code not in (requests.codes.ok, requests.codes.partial_content):
            raise _Failure(f"{url} answered {response.status_code} {response.reason}")
        if not sent_range.startswith(f"bytes {start}-"):
            start = 0  # the server sends all of it
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdigit() else size
        if total is not None:
            _check_space(part.parent, total - start)
        received = start
        with part.open("ab" if start else "wb") as file:
            for block in response.iter_content(_BLOCK):
                file.write(block)
                received += len(block)
                report(min(received / total, 1.0) if total else 0.0)
    return True


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _check_space(directory: Path, needed: int) -> None:
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise OSError(errno.ENOSPC, f"{needed / 1e6:.0f} MB needed, {free / 1e6:.0f} MB free")


def _reason(error: Exception, url: str, directory: Path) -> str:
    import requests

    elsewhere = "set NAPARI_SAM_HOME to a directory on another disk"
    if isinstance(error, _Failure):
        return str(error)
    if isinstance(error, requests.RequestException):
        return (
            f"could not download from {urlsplit(url).hostname} ({error}); check the network "
            "and, behind a proxy, HTTPS_PROXY, then try again: what came is kept"
        )
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"no space for the file in {directory} ({error.strerror}); free some or {elsewhere}"
    return f"cannot write in {directory} ({error}); make it writable or {elsewhere}"
