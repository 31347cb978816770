"""Downloads from a server on this machine: resumed, verified, and clear when they fail."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import shutil
import time
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread

import pytest
import xxhash
from file_server import serving, unused_port

from napari_sam.model.download import DownloadError, fetch, file_digest


class Cancelled(Exception):
    """What a user's cancel raises."""


CONTENT = hashlib.shake_256(b"weights").digest(3_000_000)
DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server():
    with serving(CONTENT) as running:
        yield running


@pytest.fixture
def target(tmp_path) -> Path:
    return tmp_path / "models" / "model.pt"


def part_of(target: Path) -> Path:
    return target.with_name("model.pt.part")


def failed(server_url: str, target: Path, *parts: str, digest: str = DIGEST) -> None:
    with pytest.raises(DownloadError) as caught:
        fetch(server_url, target, digest)
    message = str(caught.value)
    by_hand = f"download {server_url} with another program or machine and save it as {target}"
    assert all(part in message for part in (*parts, by_hand)), message
    assert not target.exists()


def test_file_arrives_whole_and_alone(server, target):
    fetch(server.url, target, DIGEST)
    assert target.read_bytes() == CONTENT
    assert [p.name for p in target.parent.glob("[!.]*")] == ["model.pt"]


@pytest.mark.parametrize("algorithm", ["sha256", "xxh128"])
def test_digests_of_both_kinds_are_verified(server, target, algorithm):
    value = {
        "sha256": hashlib.sha256(CONTENT).hexdigest(),
        "xxh128": xxhash.xxh128(CONTENT).hexdigest(),
    }[algorithm]
    fetch(server.url, target, f"{algorithm}:{value}")
    assert file_digest(target, algorithm) == f"{algorithm}:{value}"


@pytest.mark.parametrize("lengths", [True, False], ids=["length sent", "length unknown"])
def test_progress_rises_to_one(server, target, lengths):
    server.lengths = lengths
    fractions: list[float] = []
    fetch(server.url, target, DIGEST, size=len(CONTENT), progress=fractions.append)
    assert fractions == sorted(fractions)
    assert 0 < fractions[0] < 1
    assert fractions[-1] == 1


def test_progress_stays_at_zero_until_all_is_there_where_no_size_is_known(server, target):
    server.lengths = False
    fractions: list[float] = []
    fetch(server.url, target, DIGEST, progress=fractions.append)
    assert fractions == sorted(fractions)
    assert set(fractions) == {0.0, 1.0}
    assert fractions.count(0.0) > 10


# Resuming ----------------------------------------------------------------------------------------


def test_broken_connection_is_resumed_where_it_broke(server, target):
    server.break_after = [2**20, 2**19]
    fetch(server.url, target, DIGEST)
    assert target.read_bytes() == CONTENT
    assert server.asked == [None, f"bytes={2**20}-", f"bytes={2**20 + 2**19}-"]


def test_server_without_ranges_is_asked_from_the_start(server, target):
    server.ranges = False
    server.break_after = [1_000_000]
    fetch(server.url, target, DIGEST)
    assert target.read_bytes() == CONTENT


def test_cancelled_download_continues_the_next_time(server, target):
    def cancel(fraction: float) -> None:
        if fraction > 0.5:
            raise Cancelled

    with pytest.raises(Cancelled):
        fetch(server.url, target, DIGEST, progress=cancel)
    assert not target.exists()
    kept = part_of(target).stat().st_size
    assert 0.5 * len(CONTENT) < kept < len(CONTENT)
    fetch(server.url, target, DIGEST)
    assert target.read_bytes() == CONTENT
    assert server.asked == [None, f"bytes={kept}-"]


def test_part_that_is_already_complete_is_taken(server, target):
    target.parent.mkdir()
    part_of(target).write_bytes(CONTENT)
    fetch(server.url, target, DIGEST)
    assert target.read_bytes() == CONTENT
    assert server.asked == [f"bytes={len(CONTENT)}-"]


@pytest.mark.parametrize(
    "kept",
    [b"x" * 1_000_000, b"x" * len(CONTENT), b"x" * (len(CONTENT) + 1)],
    ids=["shorter", "as long", "longer"],
)
def test_damaged_part_is_thrown_away_and_the_file_fetched_anew(server, target, kept):
    target.parent.mkdir()
    part_of(target).write_bytes(kept)
    fetch(server.url, target, DIGEST)
    assert target.read_bytes() == CONTENT
    assert not part_of(target).exists()


def test_second_download_of_the_same_file_waits_for_the_first(server, target):
    reached, go_on = Event(), Event()

    def hold(fraction: float) -> None:
        reached.set()
        go_on.wait(10)

    first = Thread(target=fetch, args=(server.url, target, DIGEST, None, hold))
    first.start()
    assert reached.wait(10)
    waiting = Event()

    def waits(fraction: float) -> None:
        waiting.set()
        go_on.set()

    fetch(server.url, target, DIGEST, progress=waits)
    first.join()
    assert waiting.is_set()
    assert target.read_bytes() == CONTENT
    assert server.asked == [None]


# Failing -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [403, 404, 500, 503])
def test_error_of_the_server_is_reported(server, target, status):
    server.status = status
    failed(server.url, target, f"answered {status}")


@pytest.mark.parametrize(
    "content",
    [b"<html>Please log in</html>", CONTENT[:-1] + b"x"],
    ids=["login page", "last byte"],
)
def test_file_with_another_digest_never_gets_its_name(server, target, content):
    server.content = content
    failed(server.url, target, DIGEST, hashlib.sha256(content).hexdigest(), f"{len(content)} bytes")
    assert not part_of(target).exists()


def test_older_file_survives_a_failed_download(server, target):
    target.parent.mkdir()
    target.write_bytes(b"older")
    server.content = b"wrong"
    with pytest.raises(DownloadError):
        fetch(server.url, target, DIGEST)
    assert target.read_bytes() == b"older"


def test_connection_that_brings_nothing_is_not_retried_for_ever(server, target):
    server.break_after = [2**20, 0, 0, 0]
    failed(server.url, target, "could not download from 127.0.0.1", "what came is kept")
    assert len(server.asked) == 2
    assert part_of(target).stat().st_size == 2**20


def test_refused_connection_is_reported(target):
    failed(f"http://127.0.0.1:{unused_port()}/model.pt", target, "check the network", "HTTPS_PROXY")


def test_unknown_host_is_reported(target):
    failed("http://host.invalid/model.pt", target, "host.invalid", "check the network")


def test_full_disk_is_reported_before_anything_is_fetched(server, target, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 10, 10))
    failed(server.url, target, "no space", "3 MB needed, 0 MB free", "NAPARI_SAM_HOME")


def test_disk_that_fills_up_on_the_way_is_reported(server, target, monkeypatch):
    class Full(io.BytesIO):
        def write(self, data: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", lambda path, mode: Full())
    failed(server.url, target, "no space", "NAPARI_SAM_HOME")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("name", ["model.pt", "model.pt.part"])
def test_named_pipe_in_place_of_the_file_is_reported(server, target, name):
    target.parent.mkdir()
    os.mkfifo(target.with_name(name))
    with pytest.raises(DownloadError, match=f"{name}: expected a file, found a named pipe"):
        fetch(server.url, target, DIGEST)
    assert not server.asked


# Replies without end -----------------------------------------------------------------------------


def cancel_soon() -> Callable[[float], None]:
    """Return a progress callback that cancels half a second after it was first called."""
    called: list[float] = []

    def report(fraction: float) -> None:
        called.append(time.monotonic())
        if called[-1] > called[0] + 0.5:
            raise Cancelled

    return report


@pytest.mark.timeout(30, func_only=True)
@pytest.mark.parametrize("size", [len(CONTENT), int(0.995 * len(CONTENT))])
def test_reply_without_end_is_left_above_the_known_size(server, target, size):
    server.endless, server.lengths = True, False
    with pytest.raises(DownloadError, match=r"expected at most 4 MB, but http.* sends more"):
        fetch(server.url, target, DIGEST, size)
    assert not part_of(target).exists()
    server.ended.set()
    assert server.sent < 5 * len(CONTENT)


@pytest.mark.parametrize("kept", [0, 1_000_000])
def test_length_far_above_the_known_size_is_refused_before_anything_is_written(
    server, target, kept
):
    target.parent.mkdir()
    part_of(target).write_bytes(CONTENT[:kept])
    server.announced = 10**13
    server.break_after = [0]
    with pytest.raises(DownloadError, match="expected at most 4 MB"):
        fetch(server.url, target, DIGEST, len(CONTENT))
    assert len(server.asked) == 1
    assert not target.exists()


@pytest.mark.timeout(30, func_only=True)
@pytest.mark.parametrize("way", ["drips", "silent"])
def test_server_that_keeps_one_waiting_can_be_left(server, target, way):
    setattr(server, way, True)
    with pytest.raises(Cancelled):
        fetch(server.url, target, DIGEST, progress=cancel_soon())
    kept = part_of(target).read_bytes() if way == "drips" else b""
    assert kept == CONTENT[: len(kept)]
    assert bool(kept) == (way == "drips")
    setattr(server, way, False)
    fetch(server.url, target, DIGEST)
    assert target.read_bytes() == CONTENT


@pytest.mark.timeout(30, func_only=True)
@pytest.mark.parametrize("way", ["drips", "silent"])
def test_server_that_keeps_one_waiting_is_given_up(server, target, way, monkeypatch):
    monkeypatch.setattr("napari_sam.model.reply.STALL_S", 0.7)
    setattr(server, way, True)
    failed(server.url, target, "less than 1024 bytes came", "what came is kept")
    assert len(server.asked) == 1


@pytest.mark.parametrize("kept", [b"", CONTENT[:1000]])
def test_refused_range_is_reported_as_what_it_is(server, target, kept):
    target.parent.mkdir()
    if kept:
        part_of(target).write_bytes(kept)
    server.status = 416
    failed(server.url, target, "answered 416")
    assert server.asked == ([f"bytes={len(kept)}-", None] if kept else [None])


def test_checking_a_file_can_be_cancelled(target):
    target.parent.mkdir()
    target.write_bytes(bytes(2**20))

    def heard() -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        file_digest(target, heard=heard)


def test_unknown_digest_is_refused(target):
    target.parent.mkdir()
    target.write_bytes(b"")
    with pytest.raises(ValueError, match="sha0"):
        file_digest(target, "sha0")


def test_read_only_directory_is_reported(server, target, monkeypatch):
    def refuse(self: Path, *args: object, **options: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    failed(server.url, target, "cannot write", "Read-only file system", "NAPARI_SAM_HOME")


def test_directory_below_a_file_is_reported(server, tmp_path):
    (tmp_path / "models").write_text("not a directory")
    failed(server.url, tmp_path / "models" / "model.pt", "cannot write", "NAPARI_SAM_HOME")
