"""A process that computes for this one: how it is started, called and ended.

Nothing here imports torch: it is started before this process has found the time to.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import weakref
from contextlib import suppress
from pathlib import Path

from napari_sam.segmentation.calls import Caller
from napari_sam.segmentation.pipe import Message, Reader, Writer

_PIPE_BYTES = 2**20  # so that an answer comes in one piece
_GOODBYE_SECONDS = 5.0
_LOW = 10  # steps of priority below this process, of one that nobody waits for


class WorkerLost(RuntimeError):
    """The process that runs the model has ended; it is started anew with the next call."""


class WorkerProcess(Caller):
    """A process that computes for this one.

    Parameters
    ----------
    module
        Name of the module that it runs.
    task, advice
        Its task, and what a user can do when it has ended, for messages.
    is_low
        Whether it runs at the lowest priority.

    Raises
    ------
    WorkerLost
        If it can't be started.

    Notes
    -----
    It ends with this process, however that ends.
    """

    def __init__(
        self,
        module: str = "napari_sam.segmentation.worker",
        task: str = "runs the model",
        advice: str = "It is started anew with the next prompt: close other programs, or choose a "
        "smaller model",
        is_low: bool = False,
    ) -> None:
        super().__init__()
        self._task, self._advice = task, advice
        home = str(Path(__file__).parents[2])
        path = os.pathsep.join(filter(None, (home, os.environ.get("PYTHONPATH"))))
        flags = getattr(subprocess, "CREATE_NO_WINDOW", 0)
        if is_low:
            flags |= getattr(subprocess, "BELOW_NORMAL_PRIORITY_CLASS", 0)
        try:
            self._process = subprocess.Popen(
                # without -P, a file named like a library in the current directory would be it
                [sys.executable, "-P", "-m", module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                env={**os.environ, "PYTHONPATH": path},
                creationflags=flags,
            )
        except OSError as error:
            raise WorkerLost(f"the process that {task} can't be started: {error}") from None
        if is_low:
            _lower(self._process.pid)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        source, target = self._process.stdout.fileno(), self._process.stdin.fileno()
        _widen(source)
        _widen(target)
        self._source, self._target = Reader(source), Writer(target)
        weakref.finalize(self, _end, self._process)

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether it answers no more."""
        return self._has_ended or self._process.poll() is not None

    def close(self) -> None:
        """End it."""
        _end(self._process)

    @property
    def _why(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_GOODBYE_SECONDS)
        code = self._process.returncode
        how = f"killed by signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        return (
            f"the process that {self._task} has ended ({how}); memory may have run out. "
            f"{self._advice}"
        )

    def _put(self, message: Message) -> None:
        self._target.put(message)

    def _take(self) -> Message | None:
        with suppress(OSError, ValueError):
            return self._source.next()
        return None

    def _lost(self) -> WorkerLost:
        return WorkerLost(self._why)


_spare: list[WorkerProcess] = []
_spare_lock = threading.Lock()


def start_spare() -> None:
    """Start a process for the next model ahead of time, as it takes seconds to be ready."""
    with _spare_lock:
        if not _spare:
            _spare.append(WorkerProcess())


def take_worker() -> WorkerProcess:
    """Return a process without a model: the one that was started ahead, or a new one."""
    with _spare_lock:
        while _spare:
            worker = _spare.pop()
            if not worker.has_ended:
                return worker
    return WorkerProcess()


def give_back(worker: WorkerProcess) -> None:
    """Keep a process that has got no model for the next one."""
    with _spare_lock:
        if _spare:
            worker.close()
        else:
            _spare.append(worker)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process, whatever it is doing."""
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):  # who reads has come to its end by now
        if stream is not None:
            stream.close()


def _lower(pid: int) -> None:
    """Lower the priority of a process that has just begun, where one can."""
    if sys.platform != "win32":
        with suppress(OSError):
            own = os.getpriority(os.PRIO_PROCESS, 0)
            os.setpriority(os.PRIO_PROCESS, pid, min(own + _LOW, 19))


def _widen(descriptor: int) -> None:
    """Let a pipe hold more, where one can."""
    if sys.platform == "linux":
        import fcntl

        with suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
