"""Calls to another end that computes: many threads call, each waits for its own answer.

Nothing here imports torch: the other end is called before this process has found the time to.
"""

from __future__ import annotations

import threading
import warnings
from abc import ABC, abstractmethod
from collections import deque
from itertools import count
from typing import TYPE_CHECKING, Any

from napari_sam.segmentation.gentle import is_gentle
from napari_sam.segmentation.pipe import Arrays, Message

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_sam.segmentation.protocol import Progress


class Caller(ABC):
    """Sends calls to another end, and hands each answer to the thread that waits for it."""

    def __init__(self) -> None:
        self._calls = count(1)
        # One of the threads that wait reads, for all of them: a thread that reads for others would
        # be one more to wake for each answer.
        self._state = threading.Condition()
        self._answers: dict[int, deque[Message]] = {}
        self._is_reading = self._has_ended = False

    @abstractmethod
    def _put(self, message: Message) -> None:
        """Send a message; raise OSError where nobody reads any more."""

    @abstractmethod
    def _take(self) -> Message | None:
        """Wait for the next message; None at the end."""

    @abstractmethod
    def _lost(self) -> Exception:
        """Return what is raised where the other end has gone."""

    def call(
        self,
        kind: str,
        values: dict[str, Any],
        arrays: Arrays | None = None,
        progress: Progress | None = None,
        on_step: Callable[[Message], None] | None = None,
    ) -> Message:
        """Call the other end, and wait for its answer.

        Parameters
        ----------
        kind, values, arrays
            The call.
        progress
            Called with the finished fraction; what it raises stops the call, and is raised here.
        on_step
            Called with each message of kind ``"step"``; raises nothing.

        Returns
        -------
        answer
            Of the kind ``"result"`` or ``"error"``, or of a kind that the call defines.

        Raises
        ------
        WorkerLost, ConnectionLost
            If the other end, a process or a connection, ends meanwhile or has ended.
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
                elif answer.kind == "step" and on_step is not None:
                    on_step(answer)
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
            raise self._lost()
        return answer

    def read_on(self) -> None:
        """Read messages for all calls until the end, so that the end is noticed at once."""
        with self._state:
            while self._is_reading and not self._has_ended:
                self._state.wait()
            self._is_reading = True
        try:
            while (message := self._take()) is not None:
                with self._state:
                    if message.call in self._answers:
                        self._answers[message.call].append(message)
                        self._state.notify_all()
        finally:
            with self._state:
                self._has_ended = True
                self._state.notify_all()

    def _send(self, message: Message) -> None:
        try:
            self._put(message)
        except OSError:
            self._has_ended = True
            raise self._lost() from None

    def _next(self, call: int) -> Message | None:
        """Wait for the next message of a call; None if there will be no more."""
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
                message = self._take()
            finally:
                with self._state:
                    self._is_reading = False
                    if message is None:
                        self._has_ended = True
                    elif message.call in self._answers:
                        self._answers[message.call].append(message)
                    self._state.notify_all()


def _warn(values: dict[str, Any]) -> None:
    """Warn here of what the other end warns of."""
    from napari_sam.segmentation.devices import DeviceWarning

    category = DeviceWarning if values["category"] == DeviceWarning.__name__ else UserWarning
    warnings.warn(values["text"], category, stacklevel=4)
