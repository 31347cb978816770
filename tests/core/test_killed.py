"""A program that is killed loses at most what it was about to write."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from core.journal_player import PLANES, SHAPE
from core.killed_session import checksum

from napari_sam.session import ArrayCanvas, ArraySource, Session
from napari_sam.session.saved import read_without_image

WRITTEN_WITHIN = 0.5  # seconds that an entry may take to the disk

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="sessions are forked")


class Launcher:
    """Begins sessions and kills them."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "core.killed_session"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )

    def kill_one(self, path: Path, seed: int) -> tuple[list[tuple[int, float]], float]:
        """Run a session and kill it at a random moment.

        Returns
        -------
        reported
            (checksum, time) of each change.
        end
            When it was killed.
        """
        given, output = self._process.stdin, self._process.stdout
        assert given is not None
        assert output is not None
        given.write(f"{path} {seed}\n")
        given.flush()
        number = int(output.readline())
        lines = [output.readline()]  # it has begun
        time.sleep(float(np.random.default_rng(seed).uniform(0, 1)))
        end = time.monotonic()
        os.kill(number, signal.SIGKILL)
        while (line := output.readline()) and not line.endswith("gone\n"):
            lines.append(line)
        parts = [line.split() for line in lines if line.endswith("\n")]
        return [(int(crc), float(when)) for crc, when in parts], end

    def close(self) -> None:
        self._process.communicate()


def kill_at_random(launcher: Launcher, path: Path, seed: int) -> tuple[list[float], int]:
    """Kill a session at a random moment, and open what is left.

    Returns
    -------
    lost
        Seconds before the end at which those things happened that are not in the file.
    happened
        How many things there were.
    """
    reported, end = launcher.kill_one(path, seed)
    labels = np.zeros((PLANES, *SHAPE), np.int32)
    session = Session.open(path, ArraySource(np.zeros(labels.shape)), canvas=ArrayCanvas(labels))
    # A mask prompt is answered when it is opened, without a model: that is not in the file.
    for entry in reversed(session.journal.entries[len(read_without_image(path).entries) :]):
        for change in entry.pixels:
            labels[(change.plane[0], *change.slices)][change.where] = change.before
    is_left, sums = checksum(session, labels), [crc for crc, _ in reported]
    assert is_left in sums, "what was opened is nothing that there ever was"
    last = len(sums) - 1 - sums[::-1].index(is_left)
    return [end - when for _, when in reported[last + 1 :]], len(reported)


@pytest.fixture(scope="module")
def launcher() -> Iterator[Launcher]:
    one = Launcher()
    yield one
    one.close()


@pytest.mark.parametrize("seed", range(8))
def test_killed_at_a_random_moment(launcher, tmp_path, seed):
    lost, _ = kill_at_random(launcher, tmp_path / "killed.napari-sam", seed)
    assert all(ago < 20 * WRITTEN_WITHIN for ago in lost)  # on a machine that is busy, too
