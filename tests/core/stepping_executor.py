"""An executor that works and delivers only on request, so that the order is deterministic."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_sam.engine import DISPLAYED, SOON, Done, Outcome, Report, Task
from napari_sam.segmentation.protocol import Cancelled


@dataclass
class _Job:
    key: Hashable
    task: Task
    done: Done
    priority: int = DISPLAYED
    awaited: bool = True
    cancelled: bool = False


class SteppingExecutor:
    """Embeds, decodes, chores and deliveries advance one at a time, which of them `rng` decides.

    What is cancelled while it runs stops, or is finished all the same, as with threads.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._embeds: dict[Hashable, _Job] = {}
        self._running: _Job | None = None
        self._decodes: OrderedDict[Hashable, tuple[Callable[[], Any], Done]] = OrderedDict()
        self._background: OrderedDict[Hashable, tuple[Callable[[], Any], Done]] = OrderedDict()
        self._decoding: tuple[Hashable, Callable[[], Any], Done, bool] | None = None
        self._chores: dict[Hashable, list[_Job]] = {}  # of each key; the first of them runs
        self._inbox: deque[Callable[[], None]] = deque()

    def embed(
        self,
        key: Hashable,
        task: Task,
        done: Done,
        priority: int = DISPLAYED,
        progress: Report | None = None,
    ) -> None:
        running = self._running
        if running and running.key == key and not running.cancelled:
            running.priority = min(running.priority, priority)
        elif key in self._embeds:
            self._embeds[key].priority = min(self._embeds[key].priority, priority)
        else:
            self._embeds[key] = _Job(key, task, done, priority)

    def decode(
        self, slot: Hashable, task: Callable[[], Any], done: Done, background: bool = False
    ) -> None:
        lane = self._background if background else self._decodes
        lane.pop(slot, None)
        lane[slot] = (task, done)

    def chore(
        self,
        key: Hashable,
        task: Task,
        done: Done,
        progress: Report | None = None,
        awaited: bool = True,
    ) -> None:
        self._cancel_chore(key)
        self._chores.setdefault(key, []).append(_Job(key, task, done, awaited=awaited))

    def cancel(self, key: Hashable | None = None) -> None:
        if self._running and key in (None, self._running.key):
            self._running.cancelled = True
        for name in list(self._embeds) if key is None else [key]:
            if name in self._embeds:
                self._come_home(self._embeds.pop(name).done, Outcome(error=Cancelled("cancelled")))
        for name in list(self._chores) if key is None else [key]:
            self._cancel_chore(name)

    def drain(self) -> None:
        while self._inbox:
            self._inbox.popleft()()

    def step(self) -> bool:
        """Do one thing that threads might do next; return False if there is nothing to do."""
        can = [self._start_embed] if self._embeds and not self._running else []
        can += [self._end_embed] if self._running else []
        lane = self._decodes or self._background
        can += [self._start_decode] if lane and not self._decoding else []
        can += [self._end_decode] if self._decoding else []
        can += [self._end_chore] if self._chores else []
        can += [self._deliver] if self._inbox else []
        if can:
            can[int(self._rng.integers(len(can)))]()
        return bool(can)

    def wait(self, timeout: float | None = None, background: bool = False) -> bool:
        """Step until nothing that is waited for is left; with a timeout, only a few steps."""
        steps = 10**6 if timeout is None else int(timeout)
        while self._inbox or self._busy(background):
            if not steps or not self.step():
                return False
            steps -= 1
        return True

    def close(self) -> None:
        pass

    def _busy(self, background: bool) -> bool:
        jobs = [*self._embeds.values(), *([self._running] if self._running else [])]
        wanted = any(background or job.priority < SOON for job in jobs)
        wanted |= any(background or job.awaited for jobs in self._chores.values() for job in jobs)
        aside = bool(self._background) or bool(self._decoding and self._decoding[3])
        wanted |= background and aside
        return wanted or bool(self._decodes) or bool(self._decoding and not self._decoding[3])

    def _start_embed(self) -> None:
        job = min(self._embeds.values(), key=lambda job: job.priority)
        self._running = self._embeds.pop(job.key)

    def _end_embed(self) -> None:
        job, self._running = self._running, None
        assert job is not None
        self._end(job)

    def _start_decode(self) -> None:
        background = not self._decodes
        slot, (task, done) = (self._decodes or self._background).popitem()
        self._decoding = slot, task, done, background

    def _end_decode(self) -> None:
        assert self._decoding is not None
        (slot, task, done, background), self._decoding = self._decoding, None
        outcome = _attempt(task)
        if background or slot not in self._decodes:
            self._come_home(done, outcome)

    def _end_chore(self) -> None:
        key = list(self._chores)[int(self._rng.integers(len(self._chores)))]
        job, *following = self._chores.pop(key)
        if following:
            self._chores[key] = following
        self._end(job)

    def _cancel_chore(self, key: Hashable) -> None:
        running, *waiting = self._chores.get(key, [None])
        if running is not None:
            running.cancelled = True
            self._chores[key] = [running]
        for job in waiting:
            self._come_home(job.done, Outcome(error=Cancelled("cancelled")))

    def _end(self, job: _Job) -> None:
        stops = job.cancelled and bool(self._rng.integers(2))
        self._come_home(job.done, _attempt(_stop if stops else lambda: job.task(lambda x: None)))

    def _deliver(self) -> None:
        self._inbox.popleft()()

    def _come_home(self, done: Done, outcome: Outcome) -> None:
        self._inbox.append(lambda: done(outcome))


def _stop() -> None:
    raise Cancelled("cancelled")


def _attempt(task: Callable[[], Any]) -> Outcome:
    try:
        return Outcome(value=task())
    except Exception as error:  # noqa: BLE001 - it travels to the owner, as an engine's do
        return Outcome(error=error)
