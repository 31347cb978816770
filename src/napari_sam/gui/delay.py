"""Calls that wait until things have come to rest."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from qtpy.QtCore import QObject, QTimer


class Delay:
    """Calls a function once, some time after it was asked for last.

    Parameters
    ----------
    milliseconds
        How long after.
    call
        The function.
    owner
        What the call ends with; without one, :meth:`close` ends it.
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
        """Whether the call is still to come."""
        return self._timer.isActive()

    def start(self) -> None:
        """Ask for the call; if it was asked for before, it comes later."""
        if not self._closed:
            self._timer.start()

    def stop(self) -> None:
        """Drop the call, if one is to come."""
        with suppress(RuntimeError):  # at the application's end Qt has deleted it already
            self._timer.stop()

    def close(self) -> None:
        """Stop for good: whoever is being told of something asks in vain."""
        self._closed = True
        with suppress(RuntimeError):  # at the application's end Qt has deleted it already
            self._timer.stop()
            self._timer.deleteLater()
