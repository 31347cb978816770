"""Passes results of worker threads to the GUI thread."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QObject, Qt, Signal  # type: ignore[attr-defined]


class Mailbox(QObject):
    """Calls a function on the GUI thread whenever any thread calls :meth:`notify`.

    Parameters
    ----------
    open_mail
        Called on the thread that made the mailbox.
    """

    _posted = Signal()

    def __init__(self, open_mail: Callable[[], None]) -> None:
        super().__init__()
        self._open_mail: Callable[[], None] | None = open_mail
        self._posted.connect(self._opened, Qt.ConnectionType.QueuedConnection)

    def notify(self) -> None:
        """Let the function be called; may be called from any thread."""
        if self._open_mail is not None:
            self._posted.emit()

    def close(self) -> None:
        """Don't call the function any more."""
        self._open_mail = None

    def _opened(self) -> None:
        if self._open_mail is not None:
            self._open_mail()
