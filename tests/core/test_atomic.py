"""Files that appear complete or not at all, whenever a run is killed."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from napari_sam import atomic
from napari_sam.atomic import heal, locked, replaced, sweep

KILLED_AT_ITS_RENAME = """
import os, sys
from pathlib import Path
from napari_sam.atomic import replaced

rename, left = Path.rename, int(sys.argv[2])

def counted(self, target):
    global left
    left -= 1
    if left < 0:
        os._exit(9)
    return rename(self, target)

Path.rename = counted
with replaced(Path(sys.argv[1])) as temporary:
    temporary.mkdir()
    (temporary / "0").write_text("new")
    (temporary / "1").write_text("new")
"""


def folder(path: Path, content: str) -> Path:
    path.mkdir()
    for name in "01":
        (path / name).write_text(content)
    return path


def content_of(path: Path) -> list[str]:
    return [one.read_text() for one in sorted(path.iterdir())]


def kill_at(rename: int, target: Path) -> None:
    command = [sys.executable, "-c", KILLED_AT_ITS_RENAME, str(target), str(rename)]
    assert subprocess.run(command).returncode == 9


def age(path: Path, days: float) -> Path:
    then = time.time() - days * 24 * 3600
    for one in (path, *path.rglob("*")):
        os.utime(one, (then, then))
    return path


@pytest.mark.parametrize(("rename", "found"), [(0, "old"), (1, "old"), (2, "new")])
def test_folder_is_whole_wherever_its_replacement_was_killed(tmp_path, rename, found):
    target = folder(tmp_path / "a.zarr", "old")
    kill_at(rename, target)
    assert heal(target) == (rename == 1)
    assert content_of(target) == [found] * 2
    assert not list(tmp_path.glob(".old*"))


def test_next_replacement_heals_first_and_keeps_the_old_one_if_it_fails(tmp_path):
    target = folder(tmp_path / "a.zarr", "old")
    kill_at(1, target)
    assert not target.exists()
    with pytest.raises(OSError, match="full"), replaced(target):
        raise OSError("full")
    assert content_of(target) == ["old"] * 2
    with replaced(target) as temporary:
        folder(temporary, "new")
    assert content_of(target) == ["new"] * 2


def test_old_and_new_folder_are_whole_at_every_moment(tmp_path, monkeypatch):
    target, rename = folder(tmp_path / "a.zarr", "old"), Path.rename
    seen = []

    def watched(self, to):
        result = rename(self, to)
        seen.append(sorted(content_of(one)[0] for one in tmp_path.iterdir()))
        assert all(len(set(content_of(one))) == 1 for one in tmp_path.iterdir())
        return result

    monkeypatch.setattr(Path, "rename", watched)
    with replaced(target) as temporary:
        folder(temporary, "new")
    assert seen == [["new", "old"]] * 3
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]


def test_folder_that_cannot_take_the_name_gives_it_back(tmp_path, monkeypatch):
    target, rename = folder(tmp_path / "a.zarr", "old"), Path.rename

    def failing(self, to):
        if to == target and "old~" not in self.name:
            raise OSError("no")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="no"), replaced(target) as temporary:
        folder(temporary, "new")
    assert content_of(target) == ["old"] * 2
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]


@pytest.mark.skipif(sys.platform == "win32", reason="no locks there")
def test_what_another_run_is_replacing_is_left_alone(tmp_path):
    target = folder(tmp_path / "a.zarr", "old")
    kill_at(1, target)
    with locked(tmp_path / ".old~a.zarr") as is_free:
        assert is_free
        assert not heal(target)
    assert heal(target)


def test_only_old_leftovers_of_our_own_results_are_swept(tmp_path):
    swept = [
        age(folder(tmp_path / ".0123abcd-a_labels.zarr", "x"), 2),
        tmp_path / ".89abcdef-b.png",
    ]
    swept[1].write_text("x")
    age(swept[1], 1.5)
    kept = [
        ".0123abcd-c_labels.zarr",  # nobody's result
        ".0123abcd-a_labels.zarr.txt",
        "0123abcd-b.png",
        ".0123abc-b.png",
        ".old~b.png",
        "b.png",
    ]
    for name in kept:
        (tmp_path / name).write_text("x")
        age(tmp_path / name, 9)
    young = age(folder(tmp_path / ".12345678-a_labels.zarr", "x"), 2)
    os.utime(young / "1")  # somebody still writes inside
    assert sorted(sweep(tmp_path, {"a_labels.zarr", "b.png"})) == sorted(swept)
    assert {path.name for path in tmp_path.iterdir()} == {*kept, young.name}


def test_part_is_kept_where_it_can_be_gone_on_with(tmp_path):
    target, part = tmp_path / "model.pt", tmp_path / "model.pt.part"
    part.write_text("half")
    with pytest.raises(OSError, match="broken off"), replaced(target, part):
        raise OSError("broken off")
    assert part.read_text() == "half"
    with replaced(target, part) as temporary:
        assert temporary.read_text() == "half"
    assert target.read_text() == "half"
    assert not part.exists()


@pytest.fixture
def windows(monkeypatch) -> list[Path]:
    """Windows' refusal to replace a file that is open, as often as there are entries."""
    refusals: list[Path] = []
    replace = os.replace

    def refuse(source, target):
        if refusals:
            refusals.pop()
            raise PermissionError(13, "Access is denied", str(target))
        replace(source, target)

    monkeypatch.setattr(atomic, "_OPEN_FILES_STAY", True)
    monkeypatch.setattr(atomic, "_PATIENCE", 0.05)
    monkeypatch.setattr(atomic.os, "replace", refuse)
    return refusals


def test_file_that_a_scanner_has_open_for_a_moment_is_replaced(tmp_path, windows):
    target = tmp_path / "labels.tif"
    target.write_text("old")
    windows[:] = [target] * 3
    with replaced(target) as temporary:
        temporary.write_text("new")
    assert target.read_text() == "new"
    assert [*tmp_path.iterdir()] == [target]


def test_file_that_stays_open_elsewhere_is_reported_and_kept(tmp_path, windows):
    target = tmp_path / "labels.tif"
    target.write_text("old")
    windows[:] = [target] * 10_000
    with pytest.raises(PermissionError, match="another program has open"), replaced(target) as new:
        new.write_text("new")
    assert target.read_text() == "old"
    assert [*tmp_path.iterdir()] == [target]


def test_folder_that_may_not_be_written_is_reported_at_once_elsewhere(
    tmp_path, windows, monkeypatch
):
    monkeypatch.setattr(atomic, "_OPEN_FILES_STAY", False)
    windows[:] = [tmp_path] * 10_000
    with pytest.raises(PermissionError, match="denied"), replaced(tmp_path / "labels.tif") as new:
        new.write_text("new")
    assert len(windows) == 9_999


@pytest.fixture
def flushes(monkeypatch) -> list[str]:
    """Names of what is flushed to the disk and what takes its name, in order."""
    seen: list[str] = []
    names: dict[int, str] = {}
    open_, replace, rename = os.open, os.replace, Path.rename

    def opened(path, *args, **kwargs):
        descriptor = open_(path, *args, **kwargs)
        names[descriptor] = Path(path).name
        return descriptor

    def named(source, target):
        seen.append(f"named {Path(target).name}")
        replace(source, target)

    def renamed(self, target):
        seen.append(f"named {Path(target).name}")
        return rename(self, target)

    monkeypatch.setattr(atomic.os, "open", opened)
    monkeypatch.setattr(atomic.os, "fsync", lambda one: seen.append(names[one]))
    monkeypatch.setattr(atomic.os, "replace", named)
    monkeypatch.setattr(Path, "rename", renamed)
    return seen


posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows flushes names by itself")


@posix
def test_file_is_on_the_disk_before_it_takes_its_name(tmp_path, flushes):
    target = tmp_path / "labels.tif"
    with replaced(target) as temporary:
        temporary.write_text("new")
    assert flushes == [temporary.name, "named labels.tif", tmp_path.name]


@posix
def test_all_of_a_folder_is_on_the_disk_before_it_takes_its_name(tmp_path, flushes):
    target = folder(tmp_path / "labels.zarr", "old")
    with replaced(target) as temporary:
        (folder(temporary, "new") / "0.0").mkdir()
        (temporary / "0.0" / "c").write_text("chunk")
    before = flushes[: flushes.index("named labels.zarr")]
    assert {"0", "1", "c", "0.0", temporary.name} <= set(before)
    assert flushes[-1] == tmp_path.name


def test_what_can_be_made_again_is_not_waited_for(tmp_path, flushes):
    with replaced(tmp_path / "embedding", durable=False) as temporary:
        temporary.write_text("new")
    assert flushes == ["named embedding"]


@pytest.mark.parametrize("target", ["file", "folder"])
def test_disk_that_cannot_flush_is_written_as_well(tmp_path, monkeypatch, target):
    def refuse(descriptor):
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(atomic.os, "fsync", refuse)
    with replaced(tmp_path / target) as temporary:
        if target == "file":
            temporary.write_text("new")
        else:
            folder(temporary, "new")
    assert (tmp_path / target).exists()


def test_disk_that_fails_to_flush_keeps_the_old_file(tmp_path, monkeypatch):
    def fail(descriptor):
        raise OSError(errno.EIO, "Input/output error")

    target = tmp_path / "labels.tif"
    target.write_text("old")
    monkeypatch.setattr(atomic.os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output"), replaced(target) as temporary:
        temporary.write_text("new")
    assert target.read_text() == "old"
    assert [*tmp_path.iterdir()] == [target]
