"""Work of several users on a few threads: one task of each in turn."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable

_log = logging.getLogger(__name__)


class FairQueue:
    """Runs tasks, of each user in their order, and a task of every user before a second of one.

    Parameters
    ----------
    name
        Of the threads.
    threads
        How many there are.
    initialise
        Called first on each of them.
    """

    def __init__(
        self, name: str, threads: int = 1, initialise: Callable[[], None] = lambda: None
    ) -> None:
        self._waiting: OrderedDict[Hashable, deque[Callable[[], None]]] = OrderedDict()
        self._state = threading.Condition()
        self._running = 0
        self._closed = False
        self._initialise = initialise
        for _ in range(threads):
            threading.Thread(target=self._run, name=f"napari-sam {name}", daemon=True).start()

    def put(self, user: Hashable, task: Callable[[], None]) -> None:
        """Have a task run; what it raises is written to the log."""
        with self._state:
            self._waiting.setdefault(user, deque()).append(task)
            self._state.notify()

    def drop(self, user: Hashable) -> None:
        """Forget the tasks of a user that have not begun."""
        with self._state:
            self._waiting.pop(user, None)

    def wait_until_idle(self, seconds: float) -> None:
        """Wait until nothing waits or runs, but no longer than some seconds."""
        with self._state:
            self._state.wait_for(lambda: not (self._waiting or self._running), seconds)

    def close(self) -> None:
        """Drop what waits, and end the threads after what they are doing."""
        with self._state:
            self._closed = True
            self._waiting.clear()
            self._state.notify_all()

    def _run(self) -> None:
        self._initialise()
        while True:
            with self._state:
                self._state.wait_for(lambda: bool(self._waiting) or self._closed)
                if self._closed:
                    return
                user, tasks = self._waiting.popitem(last=False)
                task = tasks.popleft()
                if tasks:  # behind all others
                    self._waiting[user] = tasks
                self._running += 1
            try:
                task()
            except Exception:  # noqa: BLE001 - the next one must have its turn
                _log.exception("a task failed")
            finally:
                del task
                with self._state:
                    self._running -= 1
                    self._state.notify_all()
