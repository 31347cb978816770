"""The worker of a dask cluster: it loads the model once, and does parts of jobs in turn.

Schedulers import this module, too, so that nothing here imports torch before a worker needs it.
"""

from __future__ import annotations

import os
import pickle
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_sam.batch.run import Part
    from napari_sam.segmentation.protocol import Segmenter
    from napari_sam.segmentation.traits import Traits

# Seconds between two reports of a part's progress, and checks whether it is still wanted.
_PAUSE = 0.5


@dataclass(frozen=True, slots=True)
class WantedModel:
    """The model that workers load.

    Parameters
    ----------
    model, device, precision
        As for :func:`~napari_sam.load_segmenter`.
    on_disk
        Whether embeddings are cached on disk.
    embeddings
        Folder of the cache; None for each worker's own.
    """

    model: str
    device: str
    precision: str
    on_disk: bool
    embeddings: str | None = None


@dataclass(frozen=True, slots=True)
class Loaded:
    """The model that a worker has loaded: the package's version, the model's keys and precision.

    `traits` are those of the model, None if they aren't known.
    """

    version: str
    model_key: str
    precision: str
    traits: Traits | None = None


@dataclass(frozen=True, slots=True)
class Sight:
    """Files that a worker must see: texts of files in shared folders, and sizes of images."""

    texts: Mapping[str, str]
    sizes: Mapping[str, int]

    def missing(self) -> list[str]:
        """Return a phrase for each file that is missing or differs on this worker."""
        found = []
        for path, text in self.texts.items():
            folder = Path(path).parent
            if _text_of(path) != text:
                found.append(f"doesn't see {folder}")
            elif not os.access(folder, os.W_OK | os.X_OK):
                found.append(f"can't write to {folder}")
        for path, size in self.sizes.items():
            if _size_of(path) != size:
                found.append(f"doesn't see {path}")
        return found


@dataclass(frozen=True, slots=True)
class Assignment:
    """Values that all parts of a run have in common.

    Parameters
    ----------
    wanted, expected
        The model to load, and the loaded model that every worker must have.
    sight
        Files that every worker must see.
    topic
        Topic of the events that report the finished fraction.
    """

    wanted: WantedModel
    expected: Loaded
    sight: Sight
    topic: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a part.

    Parameters
    ----------
    notes, warnings
        Messages and warnings of its work.
    failure
        Why it couldn't be done, which doesn't affect the other parts.
    refusal
        Why this worker can't do any part.
    """

    notes: tuple[str, ...] = ()
    warnings: tuple[Warning, ...] = ()
    failure: str = ""
    refusal: str = ""


class _Process:
    """The state of this process: one model, used by one part at a time."""

    def __init__(self) -> None:
        self.lock = Lock()
        self._wanted: WantedModel | None = None
        self._segmenter: Segmenter | None = None
        self._loaded: Loaded | None = None
        self.admitted = ""  # topic of the run of which this worker may do parts

    def load(self, wanted: WantedModel) -> tuple[Segmenter, Loaded]:
        if self._segmenter is None or self._loaded is None or self._wanted != wanted:
            from napari_sam import __version__
            from napari_sam.segmentation.cached import DISK_BYTES
            from napari_sam.segmentation.loading import load_segmenter

            self._segmenter = None  # two don't fit into the memory of every GPU
            self._segmenter = load_segmenter(
                wanted.model,
                wanted.device,
                wanted.precision,
                cache=wanted.embeddings or True,
                disk_bytes=DISK_BYTES if wanted.on_disk else 0,
            )
            key, precision = self._segmenter.model_key, self._segmenter.precision
            self._loaded = Loaded(__version__, key, precision, self._segmenter.traits)
            self._wanted = wanted
        return self._segmenter, self._loaded


_process = _Process()


def dask_setup(_: object) -> None:
    """Ignore Ctrl-C, which the process that started this one handles; dask calls it on preload."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def load(wanted: WantedModel) -> Loaded:
    """Load a model, and return its keys and traits."""
    from distributed import get_worker

    with _process.lock, _torch_threads(get_worker().state.nthreads):
        return _process.load(wanted)[1]


def missing(sight: Sight) -> list[str]:
    """Return a phrase for each file that this worker doesn't see."""
    return sight.missing()


def do_part(data: bytes, assignment: Assignment, place: tuple[int, int]) -> Outcome:
    """Do a part of a job with this worker's model.

    Parameters
    ----------
    data
        The part, pickled, so that a scheduler needn't import its class.
    assignment
        The values of the run.
    place
        Numbers of the job and the part, for events about it.
    """
    from distributed import get_worker

    worker = get_worker()
    key = worker.get_current_task()

    def report(fraction: float) -> None:
        worker.log_event(assignment.topic, (*place, fraction))

    def is_wanted() -> bool:
        # Of a task that runs and was cancelled, or whose client is gone.
        task = worker.state.tasks.get(key)
        return task is not None and task.state != "cancelled"

    with _process.lock, _torch_threads(worker.state.nthreads):
        return _outcome(data, assignment, Watch(report, is_wanted))


class Watch:
    """A part's progress callback: it sends the fraction at intervals, and stops unwanted work."""

    def __init__(self, report: Callable[[float], None], is_wanted: Callable[[], bool]) -> None:
        self._report, self._is_wanted = report, is_wanted
        self._next = 0.0

    def __call__(self, fraction: float) -> None:
        """Take note of the finished fraction; raises Cancelled to stop."""
        if (now := time.monotonic()) < self._next:
            return
        self._next = now + _PAUSE
        if not self._is_wanted():
            from napari_sam.segmentation.protocol import Cancelled

            raise Cancelled
        self._report(fraction)


def _outcome(data: bytes, assignment: Assignment, watch: Watch) -> Outcome:
    from napari_sam.batch.run import reason_of
    from napari_sam.segmentation.protocol import Cancelled

    notes: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default", UserWarning)
        failure = ""
        try:
            watch(0.0)
            segmenter, loaded = _process.load(assignment.wanted)
            if refusal := _refusal(loaded, assignment):
                return Outcome(refusal=refusal)
            _process.admitted = assignment.topic
            part: Part = pickle.loads(data)
            part.work(segmenter, watch, notes.append)
        except Cancelled:
            failure = "stopped"
        except Exception as error:  # noqa: BLE001 - the batch reports it
            failure = reason_of(error)
    heard = (one.message for one in caught if isinstance(one.message, UserWarning))
    return Outcome(tuple(notes), tuple(heard), failure)


def _refusal(loaded: Loaded, assignment: Assignment) -> str:
    """Return why a worker can't take part; workers that joined later are checked here first."""
    if loaded != assignment.expected:
        return differences(loaded, assignment.expected)
    if _process.admitted == assignment.topic:
        return ""
    return " and ".join(assignment.sight.missing())


def differences(loaded: Loaded, expected: Loaded) -> str:
    """Return how a worker's model differs from the others'; empty if it doesn't."""
    if loaded.version != expected.version:
        return f"has napari-sam-live {loaded.version}, expected {expected.version}"
    if loaded.model_key != expected.model_key:
        return f"has another model by that name ({loaded.model_key[:8]})"
    if loaded.precision != expected.precision:
        return f"computes in {loaded.precision}, expected {expected.precision}"
    if loaded != expected:
        return (
            "has another decoder for instances, or none; fetch the model on every machine with "
            "'napari-sam models download', or put the same NAME_decoder.pt beside its file"
        )
    return ""


@contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    """Compute with as many threads as the worker has, all of them on one part."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(max(1, count))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _text_of(path: str) -> str | None:
    try:
        return Path(path).read_text("utf-8")
    except (OSError, ValueError):
        return None


def _size_of(path: str) -> int | None:
    try:
        return os.stat(path).st_size
    except OSError:
        return None
