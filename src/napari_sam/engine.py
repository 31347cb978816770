"""Worker threads, independent of Qt: lanes for slow embeds, for fast decodes, and for chores.

All embeds share a thread, and so do all decodes. A decode in the background, such as a preview of
a click, runs only while no other decode waits. Chores are all other slow work: loading a model,
searching labels, writing a file. Each chore has a separate thread, since a download may take an
hour. Results are delivered in *one* thread, the owner's, when that thread calls
:meth:`Engine.drain` (or :meth:`Engine.wait`). `notify` is called in a worker thread whenever there
is something to drain; a graphical application posts an event then. So the modules that use this
one need no locks.
"""

from __future__ import annotations

import atexit
import threading
import time
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, Protocol

from napari_sam.segmentation.gentle import be_gentle
from napari_sam.segmentation.protocol import Cancelled

CLICK, DISPLAYED, SOON, BACKGROUND = range(4)
"""Priorities of an embed: a click waits for it; it is on screen; it was requested or the next
click is likely to need it; it may be needed later."""

Report = Callable[[float], None]
Task = Callable[[Report], Any]


_LONGEST_CLOSE = 20.0  # seconds that the exit of the interpreter waits for each thread
_LONGEST_PAUSE = 0.1  # seconds that an embed leaves the cores to decodes, at each report


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a task: its value or its error (:class:`Cancelled` if it was cancelled)."""

    value: Any = None
    error: Exception | None = None

    @property
    def cancelled(self) -> bool:
        """Whether the task was cancelled."""
        return isinstance(self.error, Cancelled)


Done = Callable[[Outcome], None]

_Decodes = OrderedDict[Hashable, tuple[Callable[[], Any], Done]]


class Executor(Protocol):
    """Runs the work of a session. `done` and `progress` are called in the owner's thread."""

    def embed(
        self,
        key: Hashable,
        task: Task,
        done: Done,
        priority: int = DISPLAYED,
        progress: Report | None = None,
    ) -> None:
        """Queue slow, cancellable work; a key that is already queued only rises in priority."""
        ...

    def decode(
        self, slot: Hashable, task: Callable[[], Any], done: Done, background: bool = False
    ) -> None:
        """Queue fast work; it replaces waiting work of the same slot, whose `done` is dropped.

        In the background it runs only when no other decode waits.
        """
        ...

    def chore(
        self,
        key: Hashable,
        task: Task,
        done: Done,
        progress: Report | None = None,
        awaited: bool = True,
    ) -> None:
        """Start slow, cancellable work in parallel; it replaces a chore of the same key."""
        ...

    def cancel(self, key: Hashable | None = None) -> None:
        """Cancel the embed and the chore of one key, or all; each `done` gets a cancelled outcome.

        Running work stops at its next report; without one it finishes.
        """
        ...

    def drain(self) -> None:
        """Call the `done` and `progress` functions that are waiting."""
        ...

    def wait(self, timeout: float | None = None, background: bool = False) -> bool:
        """Drain until all work is done; return whether that happened in `timeout` seconds."""
        ...

    def close(self) -> None:
        """Cancel all work and end; later work is ignored."""
        ...


@dataclass(slots=True)
class _Job:
    key: Hashable
    task: Task
    done: Done
    progress: Report | None
    cancelled: bool = False
    fraction: float = 0.0
    posted: bool = False


@dataclass(slots=True)
class _Embed(_Job):
    priority: int = DISPLAYED
    serial: int = 0
    gives_way: bool = False
    gave_way: bool = False


@dataclass(slots=True)
class _Chore(_Job):
    awaited: bool = True


_OPEN: weakref.WeakSet[Engine] = weakref.WeakSet()


class Engine:
    """Worker threads: embeds one after the other by priority, decodes, latest first, and chores.

    Parameters
    ----------
    notify
        Called in a worker thread when there is something for :meth:`drain`.

    Notes
    -----
    A running embed of priority :data:`SOON` or :data:`BACKGROUND` gives way when a more urgent one
    is queued: it stops at its next report and starts again later. Chores of the same key run one
    after the other, those of different keys in parallel. Threads start with the first work. At
    exit, the interpreter closes open engines and waits for their threads for a limited time.
    """

    def __init__(self, notify: Callable[[], None] | None = None) -> None:
        self._notify = notify or (lambda: None)
        self._state = threading.Condition()
        self._embeds: dict[Hashable, _Embed] = {}
        self._running: _Embed | None = None
        self._decodes: _Decodes = OrderedDict()
        self._background: _Decodes = OrderedDict()
        self._decoding = 0  # running decodes in the foreground
        self._decoding_aside = 0  # and in the background
        self._chores: dict[Hashable, _Chore] = {}
        self._next_chores: dict[Hashable, _Chore] = {}  # wait for one of the same key to stop
        self._inbox: deque[Callable[[], None]] = deque()
        self._serials = count()
        self._closed = False
        self._threads: list[threading.Thread] = []
        _OPEN.add(self)

    def embed(
        self,
        key: Hashable,
        task: Task,
        done: Done,
        priority: int = DISPLAYED,
        progress: Report | None = None,
    ) -> None:
        """Queue slow work; a key that is already queued or running only rises in priority.

        Parameters
        ----------
        key
            Identifies the work.
        task
            Called in a worker thread with a function that takes the fraction done (0-1) and
            raises :class:`Cancelled` when the work should stop.
        done, progress
            Called by :meth:`drain`.
        priority
            :data:`CLICK`, :data:`DISPLAYED`, :data:`SOON` or :data:`BACKGROUND`; lowest first.
        """
        with self._state:
            if self._closed:
                return
            running = self._running
            if running and running.key == key and not running.cancelled:
                running.priority = min(running.priority, priority)
                running.gives_way = running.gives_way and running.priority >= SOON
                return
            if key in self._embeds:
                waiting = self._embeds[key]
                waiting.priority = min(waiting.priority, priority)
            else:
                serial = next(self._serials)
                self._embeds[key] = _Embed(
                    key, task, done, progress, priority=priority, serial=serial
                )
            if running and running.priority >= SOON and running.priority > priority:
                running.gives_way = True
            self._start_once("embed", self._run_embeds)
            self._state.notify_all()

    def decode(
        self, slot: Hashable, task: Callable[[], Any], done: Done, background: bool = False
    ) -> None:
        """Queue fast work, replacing waiting work of the same slot; the newest slot goes first.

        Parameters
        ----------
        slot
            Identifies the work. In the foreground, the result of running work is dropped if other
            work of the same slot was queued meanwhile; in the background it is delivered.
        task
            Called in a worker thread.
        done
            Called by :meth:`drain`.
        background
            Whether it runs only when no other decode waits; :meth:`wait` then doesn't wait for it,
            and embeds don't pause for it.
        """
        with self._state:
            if self._closed:
                return
            lane = self._background if background else self._decodes
            lane.pop(slot, None)
            lane[slot] = (task, done)
            self._start_once("decode", self._run_decodes)
            self._state.notify_all()

    def chore(
        self,
        key: Hashable,
        task: Task,
        done: Done,
        progress: Report | None = None,
        awaited: bool = True,
    ) -> None:
        """Start slow work in a separate thread.

        Parameters
        ----------
        key
            Identifies the work. A chore of the same key is cancelled; this one starts when that
            has stopped, so that two never write to the same place.
        task
            As for :meth:`embed`.
        done, progress
            Called by :meth:`drain`.
        awaited
            Whether :meth:`wait` waits for it also without `background`.
        """
        with self._state:
            if self._closed:
                return
            self._cancel_chore(key)
            chore = _Chore(key, task, done, progress, awaited=awaited)
            if key in self._chores:
                self._next_chores[key] = chore
            else:
                self._chores[key] = chore
                self._start("chore", partial(self._run_chores, chore))

    def cancel(self, key: Hashable | None = None) -> None:
        """Cancel the embed and the chore of `key`, or all; running work stops at its report."""
        with self._state:
            running = self._running
            if running and key in (None, running.key):
                running.cancelled = True
            keys = list(self._embeds) if key is None else [key]
            for job in [self._embeds.pop(k) for k in keys if k in self._embeds]:
                self._deliver(job.done, Outcome(error=Cancelled("cancelled")))
            for name in list(self._chores) if key is None else [key]:
                self._cancel_chore(name)
        self._notify()

    def drain(self) -> None:
        """Call the functions that are waiting. Only the owner's thread may do this.

        An error of a call is raised here; the remaining calls are made at the next drain.
        """
        try:
            while self._inbox:
                self._inbox.popleft()()
        finally:
            if self._inbox:
                self._notify()

    def wait(self, timeout: float | None = None, background: bool = False) -> bool:
        """Drain until idle; with `background`, also wait for work in the background.

        Returns
        -------
        idle
            False if `timeout` (seconds) passed first.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            self.drain()
            with self._state:
                if self._inbox:
                    continue
                if not self._busy(background):
                    return True
                left = None if end is None else end - time.monotonic()
                if left is not None and left <= 0:
                    return False
                self._state.wait(left)

    def close(self, timeout: float = 0.0) -> None:
        """Cancel all work, drop undelivered results, wait `timeout` seconds for each thread.

        A thread ends at its task's next report; the exit of the interpreter waits for that.
        """
        with self._state:
            self._closed = True
            self._embeds.clear()
            self._decodes.clear()
            self._background.clear()
            self._inbox.clear()
            self._next_chores.clear()
            for job in (self._running, *self._chores.values()):
                if job is not None:
                    job.cancelled = True
            self._state.notify_all()
        for thread in self._threads:
            thread.join(timeout)

    def _busy(self, background: bool) -> bool:
        jobs = [*self._embeds.values(), *([self._running] if self._running else [])]
        chores = [*self._chores.values(), *self._next_chores.values()]
        wanted = any(background or job.priority < SOON for job in jobs)
        wanted = wanted or any(background or chore.awaited for chore in chores)
        wanted = wanted or (background and bool(self._background or self._decoding_aside))
        return wanted or bool(self._decodes) or bool(self._decoding)

    def _start_once(self, name: str, target: Callable[[], None]) -> None:
        if not any(thread.name == _thread_name(name) for thread in self._threads):
            self._start(name, target)

    def _start(self, name: str, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, name=_thread_name(name), daemon=True)
        self._threads = [*(x for x in self._threads if x.is_alive()), thread]
        thread.start()

    def _cancel_chore(self, key: Hashable) -> None:
        if key in self._chores:
            self._chores[key].cancelled = True
        waiting = self._next_chores.pop(key, None)
        if waiting is not None:
            self._deliver(waiting.done, Outcome(error=Cancelled("cancelled")))

    def _deliver(self, call: Callable[..., None], *arguments: Any) -> None:
        if not self._closed:
            self._inbox.append(lambda: call(*arguments))
            self._state.notify_all()

    def _run_embeds(self) -> None:
        be_gentle()
        while True:
            with self._state:
                while not self._embeds and not self._closed:
                    self._state.wait()
                if self._closed:
                    return
                job = min(self._embeds.values(), key=lambda j: (j.priority, j.serial))
                self._running = self._embeds.pop(job.key)
            outcome = _attempt(partial(job.task, partial(self._report, job)))
            with self._state:
                self._running = None
                if outcome.cancelled and job.gave_way and not job.cancelled:
                    # also if it was requested with a higher priority while it was stopping
                    job.gives_way = job.gave_way = False
                    self._embeds[job.key] = job
                else:
                    self._deliver(job.done, outcome)
            del job, outcome  # an idle lane keeps no plane alive
            self._notify()

    def _report(self, job: _Embed, fraction: float) -> None:
        if job.priority > CLICK:
            self._let_decodes_pass(job)
        if job.gives_way:
            job.gave_way = True
            raise Cancelled("cancelled")
        self._post(job, fraction)

    def _post(self, job: _Job, fraction: float) -> None:
        """Queue a job's progress for the owner; stop the job if it was cancelled."""
        if job.cancelled:
            raise Cancelled("cancelled")
        if job.progress is None:
            return
        with self._state:
            job.fraction = fraction
            if job.posted:  # frequent reports must not flood the owner
                return
            job.posted = True
            self._deliver(self._call_progress, job)
        self._notify()

    def _let_decodes_pass(self, job: _Embed) -> None:
        """Pause for decodes in the foreground, for a limited time, to leave them the cores."""
        with self._state:
            self._state.wait_for(
                lambda: self._closed or job.cancelled or not (self._decodes or self._decoding),
                _LONGEST_PAUSE,
            )

    @staticmethod
    def _call_progress(job: _Job) -> None:
        job.posted = False
        if job.progress is not None and not job.cancelled:
            job.progress(job.fraction)

    def _run_decodes(self) -> None:
        while True:
            with self._state:
                while not self._decodes and not self._background and not self._closed:
                    self._state.wait()
                if self._closed:
                    return
                awaited = bool(self._decodes)
                slot, (task, done) = (self._decodes or self._background).popitem()
                self._decoding += awaited
                self._decoding_aside += not awaited
            outcome = _attempt(task)
            with self._state:
                self._decoding -= awaited
                self._decoding_aside -= not awaited
                if not awaited or slot not in self._decodes:
                    self._deliver(done, outcome)
                self._state.notify_all()
            del task, done, outcome
            self._notify()

    def _run_chores(self, chore: _Chore | None) -> None:
        """Run a chore, then the one that has replaced it meanwhile."""
        be_gentle()
        while chore is not None:
            outcome = _attempt(partial(chore.task, partial(self._post, chore)))
            with self._state:
                self._deliver(chore.done, outcome)
                del self._chores[chore.key]
                following = self._next_chores.pop(chore.key, None)
                if following is not None:
                    self._chores[chore.key] = following
                self._state.notify_all()
            chore = following
            del outcome, following
            self._notify()


@atexit.register
def _close_all() -> None:
    # A thread inside torch must not outlive the interpreter: that aborts the process.
    for engine in list(_OPEN):
        engine.close(_LONGEST_CLOSE)


class SynchronousExecutor:
    """An executor without threads: work runs at once, in the caller's thread.

    Work that is queued by a `done` runs after it, so that callbacks never nest.
    """

    def __init__(self) -> None:
        self._work: OrderedDict[tuple[str, Hashable], tuple[Callable[[], Any], Done]] = (
            OrderedDict()
        )
        self._draining = False

    def embed(
        self,
        key: Hashable,
        task: Task,
        done: Done,
        priority: int = DISPLAYED,
        progress: Report | None = None,
    ) -> None:
        """Run slow work."""
        report = progress or (lambda fraction: None)
        self._work.setdefault(("embed", key), (lambda: task(report), done))
        self.drain()

    def chore(
        self,
        key: Hashable,
        task: Task,
        done: Done,
        progress: Report | None = None,
        awaited: bool = True,
    ) -> None:
        """Run other slow work."""
        report = progress or (lambda fraction: None)
        self._cancel(("chore", key))
        self._work["chore", key] = (lambda: task(report), done)
        self.drain()

    def decode(
        self, slot: Hashable, task: Callable[[], Any], done: Done, background: bool = False
    ) -> None:
        """Run fast work."""
        lane = "background" if background else "decode"
        self._work.pop((lane, slot), None)
        self._work[lane, slot] = (task, done)
        self.drain()

    def cancel(self, key: Hashable | None = None) -> None:
        """Cancel work that a `done` has queued; no other work can be waiting."""
        slow = [x for x in self._work if x[0] in ("embed", "chore") and key in (None, x[1])]
        for name in slow:
            self._cancel(name)
        self.drain()

    def drain(self) -> None:
        """Run queued work, unless this is called by a `done`."""
        if self._draining:
            return
        self._draining = True
        try:
            while self._work:
                name = next((x for x in self._work if x[0] != "background"), next(iter(self._work)))
                task, done = self._work.pop(name)
                done(_attempt(task))
        finally:
            self._draining = False

    def wait(self, timeout: float | None = None, background: bool = False) -> bool:
        """Run work left by a `done` that raised; return False if this is called by a `done`."""
        self.drain()
        return not self._work

    def close(self) -> None:
        """Do nothing."""

    def _cancel(self, name: tuple[str, Hashable]) -> None:
        if name in self._work:
            _, done = self._work.pop(name)
            self._work["cancelled", (name, object())] = (_stop, done)


def _thread_name(lane: str) -> str:
    return f"napari-sam {lane}"


def _stop() -> None:
    raise Cancelled("cancelled")


def _attempt(task: Callable[[], Any]) -> Outcome:
    try:
        return Outcome(value=task())
    except Exception as error:  # noqa: BLE001 - it travels to the owner, who reports it
        return Outcome(error=error)
