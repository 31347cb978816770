"""What every test shares: a private home, fixed seeds, two threads."""

import os
import threading
from collections.abc import Iterator

# Before napari is imported: its settings are neither read from nor written to the disk.
os.environ["NAPARI_CONFIG"] = ""
os.environ.setdefault("MPLBACKEND", "Agg")
# Before anything imports Triton: its kernels run in its interpreter, on a CPU.
os.environ["TRITON_INTERPRET"] = "1"

from pathlib import Path

import hypothesis
import numpy as np
import pytest

# The same examples on every run and no time limit per example: CI machines stutter.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture(scope="session", autouse=True)
def few_threads() -> None:
    """Two threads, or a core's one where tests run side by side."""
    import torch

    side_by_side = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    torch.set_num_threads(min(2, max(1, (os.cpu_count() or 1) // side_by_side)))


@pytest.fixture(autouse=True)
def private_home(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Downloads and caches of a test stay out of the user's own directory."""
    home = tmp_path_factory.mktemp("napari-sam-home")
    monkeypatch.setenv("NAPARI_SAM_HOME", str(home))
    return home


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """Threads that a test starts end with it: one that hangs would only be seen in a later test."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith("napari-sam"):
            thread.join(5)
            assert not thread.is_alive(), f"{thread.name} still runs after the test"


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20240229)
