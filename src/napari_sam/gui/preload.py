"""Imports the libraries that a model needs before the dock is opened."""

from __future__ import annotations

import atexit
import importlib
import threading
from functools import cache

from napari_sam.segmentation.worker_process import start_spare

_LONGEST_GOODBYE = 20.0  # seconds to wait for the thread at exit
# Only libraries: if two threads import modules that import each other, one may get half of one.
_MODULES = ("torch", "safetensors.torch", "scipy.ndimage")


@cache
def preload() -> None:
    """Import the libraries that a model needs on another thread, and start its process; once.

    This makes a dock that is opened afterwards ready seconds earlier.
    """
    start_spare()
    thread = threading.Thread(target=_import, name="napari-sam preload", daemon=True)
    thread.start()
    # A thread inside torch must not outlive the interpreter: that aborts the process.
    atexit.register(thread.join, _LONGEST_GOODBYE)


def _import() -> None:
    for name in _MODULES:
        importlib.import_module(name)
