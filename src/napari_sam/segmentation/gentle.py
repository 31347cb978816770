"""Threads that leave the processor to others: to a window that draws, and to clicks."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress

_NICENESS = 5
_here = threading.local()


def be_gentle() -> None:
    """Lower this thread's priority, and that of the threads torch starts in it, where one can."""
    _here.is_gentle = True
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


def is_gentle() -> bool:
    """Whether this thread leaves the processor to others."""
    return getattr(_here, "is_gentle", False)
