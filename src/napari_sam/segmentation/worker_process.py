"""A process that computes for this one: how it is started, called and ended.

Nothing here imports torch: it is started before this process has found the time to.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import warnings
import weakref
from collections import deque
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_sam.segmentation.gentle import is_gentle
from napari_sam.segmentation.pipe import Arrays, Message, Reader, Writer

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_sam.segmentation.protocol import Progress

_PIPE_BYTES = 2**20  # so that an answer comes in one piece
_GOODBYE_SECONDS = 5.0
_LOW = 10  # steps of priority below this process, of one that nobody waits for


class WorkerLost(RuntimeError):
    """The process that runs the model has ended; it is started anew with the next call."""


class WorkerProcess:
    """A process that computes for this one.

    Parameters
    ----------
    module
        What it runs.
    task, advice
        What it is told to do, and what to do when it has ended, for messages.
    is_low
        Whether it leaves the processor to all others.

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
        self._calls = count(1)
        # One of the threads that wait reads, for all of them: a thread that reads for others would
        # be one more to wake for each answer.
        self._state = threading.Condition()
        self._answers: dict[int, deque[Message]] = {}
        self._is_reading = self._has_ended = False
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

    def call(
        self,
        kind: str,
        values: dict[str, Any],
        arrays: Arrays | None = None,
        progress: Progress | None = None,
        told: Callable[[Message], None] | None = None,
    ) -> Message:
        """Have something computed, and wait for it.

        Parameters
        ----------
        kind, values, arrays
            The call.
        progress
            Called with the finished fraction; what it raises stops the call, and is raised here.
        told
            Called with each message of kind ``"step"``; raises nothing.

        Returns
        -------
        answer
            Of the kind ``"result"`` or ``"error"``, or another that the call may have.

        Raises
        ------
        WorkerLost
            If the process ends meanwhile, or has ended.
        """
        call = next(self._calls)
        with self._state:
            self._answers[call] = deque()
        raised: BaseException | None = None
        try:
            self._send(Message(kind, call, values | {"gentle": is_gentle()}, arrays or {}))
            while (answer := self._next(call)) is not None:
                if answer.kind == "progress":
                    if progress is not None and raised is None:
                        try:
                            progress(answer.values["fraction"])
                        except BaseException as error:  # noqa: BLE001 - raised when it has stopped
                            raised = error
                            self._send(Message("cancel", call))
                elif answer.kind == "step" and told is not None:
                    told(answer)
                elif answer.kind == "warning":
                    _warn(answer.values)
                else:
                    break
        finally:
            with self._state:
                del self._answers[call]
        if raised is not None:
            raise raised
        if answer is None:
            raise WorkerLost(self._why)
        return answer

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

    def _send(self, message: Message) -> None:
        try:
            self._target.put(message)
        except OSError:
            self._has_ended = True
            raise WorkerLost(self._why) from None

    def _next(self, call: int) -> Message | None:
        """Wait for what is told of a call; None if nothing more will be."""
        while True:
            with self._state:
                own = self._answers[call]
                while not own and not self._has_ended and self._is_reading:
                    self._state.wait()
                if own or self._has_ended:
                    return own.popleft() if own else None
                self._is_reading = True
            message = None
            try:
                with suppress(OSError, ValueError):
                    message = self._source.next()
            finally:
                with self._state:
                    self._is_reading = False
                    if message is None:
                        self._has_ended = True
                    elif message.call in self._answers:
                        self._answers[message.call].append(message)
                    self._state.notify_all()


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


def _warn(values: dict[str, Any]) -> None:
    """Warn here of what the process warns of."""
    from napari_sam.segmentation.devices import DeviceWarning

    category = DeviceWarning if values["category"] == DeviceWarning.__name__ else UserWarning
    warnings.warn(values["text"], category, stacklevel=4)


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
