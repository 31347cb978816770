"""Sessions that work until they are killed: each line of input is the file of one, and a seed.

Each is a process of its own. It prints its number; then, after everything that happens, a checksum
of prompts and labels, and when that was; and a line ``gone`` follows when it was killed.
"""

from __future__ import annotations

import os
import sys
import time
import zlib

import numpy as np
from core.journal_player import Player

from napari_sam.engine import Engine
from napari_sam.io.session_file import SessionFile
from napari_sam.session import Session
from napari_sam.session.keeping import Keeping


def checksum(session: Session, labels: np.ndarray) -> int:
    """Return a value that distinguishes the states of a session."""
    prompts = [
        (c.id, c.key, [float(x) for x in c.point], c.label) for c in session.prompts.clicks
    ] + [(b.id, b.key, [float(x) for x in b.box]) for b in session.prompts.boxes]
    chosen = [(key, session.prompts.group(key).candidate) for key in session.prompts.keys]
    facts = sorted(session._state.all_facts.items())
    return zlib.crc32(labels.tobytes() + repr((prompts, sorted(chosen, key=str), facts)).encode())


def write_line(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def work(path: str, seed: str) -> None:
    """Do anything in any order, for ever."""
    player, rng = Player(Engine()), np.random.default_rng(int(seed))
    # changes without a report to the session are in no file
    actions = [one for one in player.actions if one != player.untold]
    player.actions = (
        *actions,
        *(lambda *_: player.session.undo(),) * 3,
        lambda *_: player.session.redo(),
    )

    def report(*_: object) -> None:
        write_line(f"{checksum(player.session, player.labels)} {time.monotonic()}")

    player.session.journal.changed.connect(report)  # before the file has it, which may be at once
    keeping = Keeping(player.session, SessionFile.create(path, {}))
    assert keeping.recorder.flush(30)
    report()
    while True:
        player.act(*rng.integers(1 << 20, size=3).tolist(), wait=bool(rng.random() < 0.5))
        player.session.wait(0)


if __name__ == "__main__":
    for line in sys.stdin:
        if not (worker := os.fork()):  # what is imported is imported once
            write_line(str(os.getpid()))
            work(*line.split())
        os.waitpid(worker, 0)
        write_line("gone")
