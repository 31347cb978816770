"""What keeping everything costs: an entry, undo, reopening, the file; and that nothing is lost.

    python benchmarks/journal.py               # costs
    python benchmarks/journal.py --thorough    # random actions, reopenings and kills, too

Disks around each click answer at once, so that what is measured is the journal and not a model:
deciding pixels, keeping them with what was there, and handing them to the thread that writes.
Times are those of the thread that a window would wait for.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

# What answers with disks, what a user does at random and what is killed are the tests'.
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from against_reference import machine
from core.fake_segmenter import FakeSegmenter, disk
from core.journal_player import PLANES, SHAPE, Player, assert_same
from core.test_killed import Launcher, kill_at_random

from napari_sam.io.session_file import SessionFile
from napari_sam.session import ArrayCanvas, ArraySource, Session, pixel_changes
from napari_sam.session.keeping import Keeping

SIDE, ENTRIES = 1024, 10_000
RADIUS = 12.0  # of an object, in pixels


class Disk:
    """The prediction of a click, which is known where it is alone."""

    scores = np.array([0.9, 0.8, 0.7], np.float32)
    best_index = 0

    def __init__(self, at: np.ndarray) -> None:
        self._at = at.astype(int)

    def part_logits(self, index: int) -> tuple[tuple[int, int], np.ndarray]:
        """Return the first pixel of a candidate, and its logits."""
        radius = int(RADIUS) + index
        around = disk((2 * radius + 1,) * 2, (radius, radius), radius)
        row, column = self._at - radius
        return (int(row), int(column)), np.where(around, 1.0, -1.0).astype(np.float32)


class Disks(FakeSegmenter):
    """Answers without looking at the plane."""

    def decode(self, embedding, prompts, multimask="auto", progress=None) -> Disk:
        """Answer the last click alone."""
        return Disk(prompts.points[-1])


def milliseconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - start)


def time_text(times: list[float]) -> str:
    return f"median {np.median(times):.2f} ms, 95 % {np.percentile(times, 95):.2f} ms"


def new_session() -> tuple[Session, np.ndarray]:
    labels = np.zeros((SIDE, SIDE), np.int32)
    source = ArraySource(np.zeros((SIDE, SIDE), np.uint8))
    return Session(Disks(), source, canvas=ArrayCanvas(labels)), labels


def size(path: Path) -> int:
    return sum(one.stat().st_size for one in path.parent.glob(f"{path.name}*"))


def click(session: Session, rng: np.random.Generator) -> None:
    session.new_object()
    session.add_point((), rng.uniform(20, SIDE - 20, 2))


def stroke(session: Session, labels: np.ndarray, rng: np.random.Generator) -> None:
    """Drag a brush 10 pixels wide over 40 pixels."""
    row, column = rng.integers(20, SIDE - 60, 2)
    where = np.zeros(labels.shape, bool)
    for step in range(0, 40, 4):
        around = disk((11, 11), (5, 5), 5)
        where[row : row + 11, column + step : column + step + 11] |= around
    pixels = np.nonzero(where)
    before = labels[pixels]
    labels[pixels] = 7
    session.paint(pixel_changes((None, None), pixels, before, labels[pixels]))


def costs(folder: Path) -> None:
    rng = np.random.default_rng(0)
    session, labels = new_session()
    path = folder / "costs.napari-sam"
    keeping = Keeping(session, SessionFile.create(path, {}))
    while len(session.journal) < ENTRIES:
        click(session, rng)
    keeping.recorder.flush(120)
    clicks = len(session.prompts.clicks)
    print(f"file: {size(path) / clicks:.0f} bytes a click, of {clicks} clicks")
    times = []
    for _ in range(300):
        times.append(milliseconds(lambda: click(session, rng)))
        time.sleep(0.002)
    entries = len(session.journal)
    print(f"a click and its mask, two entries, at {entries} entries: {time_text(times)}")
    session.undo()
    undone = [milliseconds(session.undo) for _ in range(100)]
    print(f"undo of a click on {SIDE} x {SIDE}: {time_text(undone)}")
    redone = [milliseconds(session.redo) for _ in range(100)]
    print(f"redo: {time_text(redone)}")
    keeping.recorder.flush(120)
    before = size(path)
    times = []
    for _ in range(200):
        start = time.perf_counter()
        stroke(session, labels, rng)
        times.append(1e3 * (time.perf_counter() - start))
    keeping.recorder.flush(120)
    print(f"a brush stroke: {time_text(times)}, {(size(path) - before) / 200:.0f} bytes")
    late = []
    for _ in range(20):
        click(session, rng)
        start = time.perf_counter()
        keeping.recorder.flush(10)
        late.append(1e3 * (time.perf_counter() - start))
    print(f"on disk after {time_text(late)}")
    saving = milliseconds(lambda: keeping.save(folder / "saved.napari-sam"))
    print(f"saving: {saving:.0f} ms")
    keeping.close()
    again = np.zeros_like(labels)
    source = session.source
    start = time.perf_counter()
    opened = Session.open(path, source, canvas=ArrayCanvas(again))
    print(f"reopening {len(opened.journal)} entries: {time.perf_counter() - start:.2f} s")
    np.testing.assert_array_equal(again, labels)


def actions(count: int, reopenings: int, folder: Path) -> None:
    """Do anything at random; each step can be taken back; the file is the session."""
    rng = np.random.default_rng(0)
    done = undone = reopened = 0
    for run in range(count // 100):
        player, path = Player(), folder / f"{run}.napari-sam"
        keeping = Keeping(player.session, SessionFile.create(path, {}))
        untold = False  # a change that no signal reports is in no file
        for _ in range(100):
            before, entries = player.snapshot(), player.session.journal.entries
            steps = [e.number for e in entries if e.is_step]
            action = rng.integers(1 << 20, size=3).tolist()
            untold |= player.actions[action[0] % len(player.actions)] == player.untold
            player.act(*action)
            done += 1
            last = player.session.journal.last_step
            now = [e.number for e in player.session.journal.entries if e.is_step]
            if now[:-1] == steps and last is not None and last.kind != "elsewhere":
                after = player.snapshot()
                player.session.undo()
                assert_same(player.snapshot(), before)
                player.session.redo()
                assert_same(player.snapshot(), after)
                undone += 1
            if rng.random() < reopenings / count:
                assert keeping.recorder.flush(60)
                labels = np.zeros((PLANES, *SHAPE), np.int32)
                source = ArraySource(np.zeros(labels.shape))
                again = Player()
                again.session = Session.open(path, source, canvas=ArrayCanvas(labels))
                again.labels = labels
                live = player.snapshot()
                assert_same({k: v for k, v in again.snapshot().items() if k in live}, live)
                reopened += 1
        keeping.close()
    print(f"{done} random actions: {undone} undone and made again exactly, "
          f"{reopened} times reopened as the session was")  # fmt: skip


def kills(count: int, folder: Path) -> None:
    launcher, lost, things = Launcher(), [], 0
    for seed in range(count):
        ago, happened = kill_at_random(launcher, folder / f"killed {seed}".replace(" ", "-"), seed)
        lost += ago
        things += happened
    launcher.close()
    print(f"{count} times killed: of {things} things {len(lost)} were not on disk yet, the oldest "
          f"{1e3 * max(lost, default=0.0):.0f} ms old")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--thorough", action="store_true", help="prove, too, that nothing is lost")
    asked = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        costs(Path(folder))
        if asked.thorough:
            actions(10_000, 200, Path(folder))
            kills(100, Path(folder))


if __name__ == "__main__":
    main()
