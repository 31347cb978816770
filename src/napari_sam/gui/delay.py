"""Calls that wait until a series of requests has paused."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from qtpy.QtCore import QObject, QTimer


class Delay:
    """Calls a function once, some time after the last request.

    Parameters
    ----------
    milliseconds
        Time from the last request to the call.
    call
        The function.
    owner
        Qt object whose deletion drops the call; without one, use :meth:`close`.
    """

    def __init__(
        self, milliseconds: int, call: Callable[[], None], owner: QObject | None = None
    ) -> None:
        self._closed = False
        self._timer = QTimer(owner)
        self._timer.setSingleShot(True)
        self._timer.setInterval(milliseconds)
        self._timer.timeout.connect(call)

    @property
    def is_pending(self) -> bool:
        """Whether a call was requested and hasn't been made yet."""
        return self._timer.isActive()

    def start(self) -> None:
        """Request the call; a pending one is postponed."""
        if not self._closed:
            self._timer.start()

    def stop(self) -> None:
        """Drop a pending call."""
        with suppress(RuntimeError):  # at the application's end Qt has deleted it already
            self._timer.stop()

    def close(self) -> None:
        """Drop a pending call, and ignore later requests."""
        self._closed = True
        with suppress(RuntimeError):  # at the application's end Qt has deleted it already
            self._timer.stop()
            self._timer.deleteLater()
