"""Teaching in a process of its own, which leaves the processor to clicks and the window.

A step of teaching is hundreds of small operations: in this process they would hold Python's lock,
and in a thread of the usual priority take a core from whoever clicks.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from napari_sam.examples import Example
from napari_sam.segmentation.messages import error_of
from napari_sam.segmentation.pipe import Message
from napari_sam.segmentation.worker_process import WorkerLost, WorkerProcess
from napari_sam.training.tuning import TuneSettings, TuneStep
from napari_sam.training.tuning_messages import pack_examples, settings_values, unpack_step

__all__ = ["WorkerLost", "tune_elsewhere", "usual_threads"]

_HEARD_SECONDS = 0.2  # between two calls of `progress`, at most
_ALONE = 4  # cores up to which there is one thread
_MOST_THREADS = 4


def usual_threads(cores: int | None = None) -> int:
    """Return how many threads teach beside a user who clicks.

    Parameters
    ----------
    cores
        That this process may use; found out by default.

    Returns
    -------
    threads
        One on up to four cores; of more cores half, and at most four.
    """
    if cores is None:
        may_use = getattr(os, "sched_getaffinity", None)
        cores = len(may_use(0)) if may_use is not None else os.cpu_count() or 1
    return 1 if cores <= _ALONE else min(cores // 2, _MOST_THREADS)


def tune_elsewhere(
    model: str | Path,
    examples: Sequence[Example],
    settings: TuneSettings | None = None,
    progress: Callable[[TuneStep], None] | None = None,
    *,
    device: str = "cpu",
    from_parent: bool = False,
) -> TuneStep:
    """Teach a model some objects in a process of low priority, and wait for it.

    Parameters
    ----------
    model
        As of :func:`~napari_sam.load_segmenter`.
    examples, settings
        As of :func:`~napari_sam.training.tuning.tune`.
    progress
        Called with the latest step, five times a second or oftener, also while a step takes long.
        What it raises ends the process at once, and is raised here.
    device
        Where it is taught.
    from_parent
        Whether a taught model is taught anew, from the one that it was taught from.

    Returns
    -------
    step
        The last one: with the model, if it is offered.

    Raises
    ------
    ValueError, OSError
        As :func:`~napari_sam.load_segmenter` and :func:`~napari_sam.training.tuning.tune` raise
        them.
    WorkerLost
        If the process ends by itself, as where memory runs out.
    """
    settings = settings or TuneSettings(threads=usual_threads())
    values, arrays = pack_examples(examples)
    about = {
        "model": str(model),
        "device": device,
        "from_parent": from_parent,
        "examples": values,
        "settings": settings_values(settings),
    }
    worker = WorkerProcess(
        "napari_sam.training.tuning_worker",
        "teaches the model",
        "Nothing has changed: close other programs, then teach again",
        is_low=True,
    )
    messages: queue.SimpleQueue[Message | BaseException] = queue.SimpleQueue()

    def wait() -> None:
        try:
            messages.put(worker.call("tune", about, arrays, on_step=messages.put))
        except BaseException as error:  # noqa: BLE001 - raised below
            messages.put(error)

    step = TuneStep("score", 0.0)
    waiting = threading.Thread(target=wait, name="teaching", daemon=True)
    waiting.start()
    try:
        while True:
            try:
                message = messages.get(timeout=_HEARD_SECONDS)
            except queue.Empty:
                message = None
            if isinstance(message, BaseException):
                raise message
            if message is not None and message.kind == "error":
                raise error_of(message.values)
            if message is not None:
                step = unpack_step(message)
            if progress is not None:
                progress(step)
            if message is not None and message.kind == "result":
                return step
    finally:
        worker.close()
        waiting.join()
