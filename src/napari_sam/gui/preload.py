"""The libraries that a model takes, imported before somebody asks for one."""

from __future__ import annotations

import atexit
import importlib
import threading
from functools import cache

from napari_sam.segmentation.worker_process import start_spare

_LONGEST_GOODBYE = 20.0  # seconds
# Libraries alone: of two threads that import modules which import each other, one may get half.
_MODULES = ("torch", "safetensors.torch", "scipy.ndimage")


@cache
def preload() -> None:
    """Import the libraries that a model takes on a thread of its own, and start its process; once.

    A dock that is opened after it is ready seconds earlier.
    """
    start_spare()
    thread = threading.Thread(target=_import, name="napari-sam preload", daemon=True)
    thread.start()
    # A thread inside torch must not outlive the interpreter: that aborts the process.
    atexit.register(thread.join, _LONGEST_GOODBYE)


def _import() -> None:
    for name in _MODULES:
        importlib.import_module(name)
