"""Batches on a cluster of dask.distributed: the process that submits tasks and has the manifest.

Dask moves and repeats tasks, detects lost workers and balances the load. This module checks that
workers have the same model and see the same files, and limits the parts under way.
"""

from __future__ import annotations

import asyncio
import json
import logging
import pickle
import secrets
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_sam.atomic import temporary_beside
from napari_sam.batch import cluster_worker as on_worker
from napari_sam.batch.cluster_worker import Assignment, Loaded, Outcome, Sight, WantedModel
from napari_sam.batch.manifest import NAME as MANIFEST
from napari_sam.batch.run import BatchProgress, BatchSummary, Failure, Job, Note, reason_of
from napari_sam.model.pretrained import local_folder
from napari_sam.model.registry import REGISTRY
from napari_sam.segmentation.address import is_address

if TYPE_CHECKING:
    from distributed import Client, Future

    from napari_sam.segmentation.traits import Traits

# Parts under way for each worker: one that it does, one that it has ready.
_AHEAD = 2
# Seconds between two checks of progress, and until workers and a scheduler count as lost.
_PAUSE = 0.5
_PATIENCE = 30
_KNOCKING = 10

_log = logging.getLogger(__name__)


class ClusterError(OSError):
    """A cluster can't be reached, or its workers can't do the work."""


class ClusterModel:
    """A model that every worker of a cluster has loaded; from :func:`on_cluster`.

    Parameters
    ----------
    client
        Connected to dask's scheduler.
    wanted
        What each worker loads.

    Attributes
    ----------
    model_key, precision, traits
        As in :class:`~napari_sam.Segmenter`.
    workers
        Addresses of the workers at the start.
    """

    def __init__(self, client: Client, wanted: WantedModel) -> None:
        from napari_sam import __version__

        self._client, self._wanted = client, wanted
        answers = self._ask_each(on_worker.load, wanted)
        self._expected = agreed(answers, __version__)
        self.model_key, self.precision = self._expected.model_key, self._expected.precision
        self.workers = tuple(answers)

    @property
    def traits(self) -> Traits:
        """Input, output and abilities of the model."""
        assert self._expected.traits is not None, "workers report them"
        return self._expected.traits

    @contextmanager
    def sharing(
        self,
        folders: Iterable[Path],
        images: Sequence[Path],
        embeddings: Path | None = None,
    ) -> Iterator[Callable[[Sequence[Job], BatchProgress | None], BatchSummary]]:
        """Check that every worker sees what it needs; yield a function that runs jobs on them.

        Parameters
        ----------
        folders
            Folders that workers write to; each worker must see a temporary file in each of them.
        images
            Images that they read, of which each worker must see the first of each folder.
        embeddings
            Folder for embeddings, if they are the results.

        Yields
        ------
        run
            Does jobs on the workers, with a function that is called with the image and the
            finished fraction, and returns what became of them.

        Raises
        ------
        ClusterError
            With the workers that don't see something.
        """
        firsts = {path.absolute().parent: path.absolute() for path in reversed(images)}
        sizes = {str(path): path.stat().st_size for path in firsts.values() if path.is_file()}
        wanted = self._wanted
        if embeddings is not None:
            wanted = replace(wanted, on_disk=True, embeddings=str(embeddings.absolute()))
        with ExitStack() as stack:
            texts = dict(stack.enter_context(_sign(folder)) for folder in folders)
            sight = Sight(texts, sizes)
            unseen = self._ask_each(on_worker.missing, sight)
            lacking = {name: " and ".join(found) for name, found in unseen.items() if found}
            if lacking:
                raise ClusterError(
                    f"expected images and results in folders that every worker shares, but "
                    f"{_listed(lacking)}; use a folder that all machines mount under the same path"
                )
            topic = f"napari-sam-{secrets.token_hex(8)}"
            assignment = Assignment(wanted, self._expected, sight, topic)

            def run(jobs: Sequence[Job], progress: BatchProgress | None) -> BatchSummary:
                with self._client.as_current():
                    return _Run(self._client, assignment, jobs, progress).go()

            yield run

    def _ask_each(self, function: Callable[..., Any], *arguments: object) -> dict[str, Any]:
        """Call a function on every worker, as a task; a lost worker has no answer."""
        asked = {
            self._client.submit(
                function, *arguments, workers=[name], allow_other_workers=False, pure=False
            ): name
            for name in self._client.nthreads()
        }
        answers: dict[str, Any] = {}
        failed: dict[str, str] = {}
        with self._client.as_current():
            while asked:
                for future in _finished(asked):
                    name = asked.pop(future)
                    if future.status == "finished":
                        answers[name] = future.result()
                    else:
                        failed[name] = _trouble(future)
                    future.release()
                there = self._client.nthreads()
                for future in [future for future, name in asked.items() if name not in there]:
                    del asked[future]
        if failed:
            raise ClusterError(
                f"expected workers that can load the model, but {_listed(failed)}; install the "
                "same napari-sam-live for the scheduler and all workers, with the model where "
                "they find it"
            )
        if not answers:
            raise ClusterError("expected at least one worker, but all of them are gone")
        return answers


@contextmanager
def on_cluster(
    model: str | Path = "nano",
    device: str = "auto",
    precision: str = "auto",
    *,
    scheduler: str | None = None,
    workers: int | None = None,
    on_disk: bool = True,
) -> Iterator[ClusterModel]:
    """Load a model on every worker of a dask cluster, for use instead of a segmenter.

    Each worker process does one image at a time, or encodes eight planes of an image, with as
    many threads of torch as the worker has threads.

    Parameters
    ----------
    model, device, precision
        As for :func:`~napari_sam.load_segmenter`, on each worker.
    scheduler
        Address of a scheduler, such as ``"tcp://10.0.0.4:8786"`` or ``"tls://..."`` (with dask's
        configuration for TLS), or the scheduler file (``.json``) that it wrote.
    workers
        Number of worker processes to start on this machine, instead of `scheduler`. They share
        its cores and end with the context.
    on_disk
        Whether workers cache embeddings on disk.

    Yields
    ------
    model
        For :func:`embed_files`, :func:`segment_files` and :func:`segment_all_files`.

    Raises
    ------
    ImportError
        If `distributed` isn't installed.
    ValueError
        If neither or both of `scheduler` and `workers` are given.
    ClusterError
        If the scheduler doesn't answer or has no workers, or if a worker can't load the model, or
        has another model than the others or another version of this package.
    """
    if (scheduler is None) == (workers is None):
        raise ValueError("expected a scheduler's address or a number of workers, got both or none")
    if workers is not None and workers < 1:
        raise ValueError(f"expected at least 1 worker, got {workers}")
    _check_installed()
    if is_address(device):
        raise ValueError(
            f"expected a device of the cluster's workers, such as auto, cpu or cuda, got {device}; "
            "another machine's GPU is used without a cluster"
        )
    is_path = Path(model).expanduser().is_file() or local_folder(model) is not None
    if is_path and model not in REGISTRY:  # a relative one means something else to a worker
        model = Path(model).expanduser().absolute()
    wanted = WantedModel(str(model), device, precision, on_disk)
    with ExitStack() as stack:
        if scheduler is not None:
            client = stack.enter_context(_connected(scheduler))
        else:
            assert workers is not None
            cluster = stack.enter_context(local_cluster(workers))
            client = stack.enter_context(_connected(cluster))
        yield ClusterModel(client, wanted)


def local_cluster(workers: int) -> Any:
    """Start worker processes on this machine that share its cores; the caller closes them.

    With the package `cryptography`, as installed by the extra ``cluster``, connections are
    encrypted and open to this process's children alone; without it, a warning is given.
    """
    _check_installed()
    from dask.system import CPU_COUNT
    from distributed import LocalCluster, Security

    try:
        security = Security.temporary()
    except ImportError:
        security = None
        warnings.warn(
            "the package cryptography is missing, so whoever has an account on this machine can "
            "run code as you while the workers are there; pip install cryptography",
            stacklevel=2,
        )
    return LocalCluster(
        n_workers=workers,
        threads_per_worker=max(1, CPU_COUNT // workers),
        processes=True,
        memory_limit=0,  # as much as there is, like a batch without workers
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",  # any port that is free
        silence_logs=logging.ERROR,
        security=security,
        preload=[on_worker.__name__],
    )


def agreed(answers: Mapping[str, Loaded], version: str) -> Loaded:
    """Return what all workers have loaded.

    Parameters
    ----------
    answers
        What each worker has loaded.
    version
        Version of this package in this process.

    Raises
    ------
    ClusterError
        If workers have another version than this process, or another model than the others.
    """
    kinds = list(answers.values())
    expected = replace(max(kinds, key=kinds.count), version=version)
    others = {name: on_worker.differences(one, expected) for name, one in answers.items()}
    if odd := {name: text for name, text in others.items() if text}:
        raise ClusterError(
            f"expected the same napari-sam-live and model on all workers, but {_listed(odd)}; "
            "start workers in one environment, on machines of one kind"
        )
    return expected


class _Run:
    """Jobs that a cluster works on."""

    def __init__(
        self,
        client: Client,
        assignment: Assignment,
        jobs: Sequence[Job],
        progress: BatchProgress | None,
    ) -> None:
        self._client, self._assignment = client, assignment
        self._jobs, self._progress = jobs, progress
        self._data: dict[Future, tuple[int, int]] = {}  # under way: job and part
        self._open: dict[int, int] = {}  # parts of a job that aren't finished
        self._fractions: dict[int, list[float]] = {}  # of its parts
        self._done: list[int] = []
        self._skipped: list[int] = []
        self._failed: dict[int, str] = {}
        self._notes: dict[int, dict[str, None]] = {}
        self._latest = 0
        self._shown = 0.0
        self._is_alone = False

    def go(self) -> BatchSummary:
        self._client.subscribe_topic(self._assignment.topic, self._hear)
        try:
            pieces = self._pieces()
            while True:
                room = _AHEAD * self._count_workers() - len(self._data)
                for job, part, data in islice(pieces, max(room, 0)):
                    self._send(job, part, data)
                if not self._data:
                    return self._summary()
                for future in _finished(self._data):
                    self._take(future)
                self._report()
        except KeyboardInterrupt:
            self._stop()
            raise
        finally:
            with suppress(Exception):  # the scheduler may be what is gone
                self._client.cancel(list(self._data), force=True)
                self._client.unsubscribe_topic(self._assignment.topic)

    def _stop(self) -> None:
        """Use the parts that are finished, and warn of how many images are."""
        for future in [future for future in self._data if future.status == "finished"]:
            with suppress(ClusterError):
                self._take(future)
        ended = len(self._done) + len(self._skipped)
        warnings.warn(
            f"stopped with {ended} of {len(self._jobs)} images finished; start the same again to "
            "go on with the others",
            stacklevel=2,
        )

    def _count_workers(self) -> int:
        if self._client.status != "running":
            raise ClusterError(
                "the scheduler is gone; what is finished stays, start again to go on"
            )
        count = len(self._client.nthreads())
        if not count and not self._is_alone:
            warnings.warn("all workers are gone; going on when others come", stacklevel=2)
        self._is_alone = not count
        return count or 1

    def _pieces(self) -> Iterator[tuple[int, int, bytes]]:
        """Yield parts of what isn't done, and note that they are begun."""
        for number, job in enumerate(self._jobs):
            self._latest = number
            try:
                is_done = job.is_done()
                parts = [] if is_done else [pickle.dumps(part) for part in job.parts()]
            except Exception as error:  # noqa: BLE001 - the others don't depend on this one
                self._fail(number, reason_of(error))
                continue
            if is_done:
                self._skipped.append(number)
                self._report()
                continue
            self._open[number] = len(parts)
            self._fractions[number] = [0.0] * len(parts)
            self._notes[number] = {}
            for part, data in enumerate(parts):
                if number in self._failed:
                    break
                yield number, part, data
            if not parts:
                self._finish(number)

    def _send(self, job: int, part: int, data: bytes) -> None:
        place = job, part
        key = f"napari-sam-{self._assignment.topic}-{job}-{part}"
        future = self._client.submit(
            on_worker.do_part, data, self._assignment, place, key=key, pure=False
        )
        self._data[future] = place

    def _take(self, future: Future) -> None:
        number, part = self._data.pop(future)
        try:
            self._note(number, part, future)
        finally:
            future.release()  # or a worker that is lost would have it computed anew

    def _note(self, number: int, part: int, future: Future) -> None:
        if future.status in ("cancelled", "lost"):
            raise ClusterError(
                "the scheduler is gone; what is finished stays, start again to go on"
            )
        if future.status != "finished":
            self._fail(number, _trouble(future))
            return
        outcome: Outcome = future.result()
        if outcome.refusal:
            raise ClusterError(
                f"a worker that came later can't take part: it {outcome.refusal}; stop it, and "
                "start again to go on"
            )
        for warning in outcome.warnings:
            warnings.warn(warning, stacklevel=2)
        self._notes[number].update(dict.fromkeys(outcome.notes))
        self._fractions[number][part] = 1.0
        self._latest = number
        if outcome.failure:
            self._fail(number, outcome.failure)
            return
        self._open[number] -= 1
        if not self._open[number] and number not in self._failed:
            self._finish(number)

    def _finish(self, number: int) -> None:
        try:
            self._jobs[number].finish()
        except Exception as error:  # noqa: BLE001 - the others don't depend on this one
            self._fail(number, reason_of(error))
        else:
            self._done.append(number)

    def _fail(self, number: int, reason: str) -> None:
        _log.warning("%s: %s", self._jobs[number].image, reason)
        self._failed.setdefault(number, reason)

    def _hear(self, event: tuple[float, tuple[int, int, float]]) -> None:
        """Take note of a part's progress; called in the client's thread."""
        number, part, fraction = event[1]
        known = self._fractions[number]
        known[part] = max(known[part], fraction)
        self._latest = number

    def _report(self) -> None:
        if self._progress is None:
            return
        ended = {*self._done, *self._skipped, *self._failed}
        under_way = {self._data[future][0] for future in self._data} - ended
        of_jobs = (self._fractions[number] for number in under_way)
        fraction = (len(ended) + sum(sum(parts) / len(parts) for parts in of_jobs)) / len(
            self._jobs
        )
        self._shown = max(self._shown, fraction)  # a part may begin anew on another worker
        self._progress(self._jobs[self._latest].image, self._shown)

    def _summary(self) -> BatchSummary:
        images = [job.image for job in self._jobs]
        done = sorted(self._done)
        return BatchSummary(
            tuple(images[number] for number in done),
            tuple(images[number] for number in self._skipped),
            tuple(Failure(images[number], text) for number, text in sorted(self._failed.items())),
            tuple(Note(images[number], text) for number in done for text in self._notes[number]),
        )


def _check_installed() -> None:
    try:
        import distributed  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "a cluster needs the package distributed, which isn't installed; "
            "pip install 'napari-sam-live[cluster]'"
        ) from error


@contextmanager
def _connected(scheduler: Any) -> Iterator[Client]:
    """Connect to a scheduler that has workers, by its address or file or as an object."""
    from distributed import Client

    name = scheduler if isinstance(scheduler, str) else scheduler.scheduler_address
    try:
        if isinstance(scheduler, str):
            if scheduler.endswith(".json"):
                scheduler = json.loads(Path(scheduler).read_text("utf-8"))["address"]
            with ThreadPoolExecutor(1) as apart:  # beside an event loop of the caller
                apart.submit(asyncio.run, _knock(scheduler)).result()
        client = Client(scheduler, set_as_default=False, timeout=_PATIENCE)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ClusterError(
            f"expected a dask scheduler at {name}, got no answer ({error or 'too slow'}); give the "
            "address that 'dask scheduler' prints, such as tcp://10.0.0.4:8786, or the file that "
            "it writes"
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=_PATIENCE)
        except TimeoutError as error:
            raise ClusterError(
                f"expected workers at the scheduler {name}, found none in {_PATIENCE} s; start "
                f"some with 'dask worker {name}'"
            ) from error
        yield client


async def _knock(address: str) -> None:
    """Connect to an address and leave; a client that fails to takes a minute to go away."""
    from distributed import Security
    from distributed.comm import connect

    arguments = Security().get_connection_args("client")
    await (await connect(address, timeout=_KNOCKING, **arguments)).close()


@contextmanager
def _sign(folder: Path) -> Iterator[tuple[str, str]]:
    """Write a temporary file that workers must see; yield its path and its text."""
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    path, text = temporary_beside(folder / MANIFEST), secrets.token_hex(16)
    try:
        path.write_text(text, "utf-8")
        yield str(path), text
    finally:
        path.unlink(missing_ok=True)


def _finished(futures: Iterable[Future]) -> list[Future]:
    """Wait a little for futures; return those that are finished, however they ended."""
    from distributed import wait

    pending = list(futures)
    with suppress(TimeoutError, CancelledError):  # cancelled futures have that status
        wait(pending, timeout=_PAUSE, return_when="FIRST_COMPLETED")
    return [future for future in pending if future.status != "pending"]


def _trouble(future: Future) -> str:
    """Return in one line why a task has no result."""
    from distributed import KilledWorker

    error = future.exception()
    if isinstance(error, KilledWorker):
        return "the workers that began it were killed; it may need more memory than they have"
    return reason_of(error) if isinstance(error, Exception) else str(error)


def _listed(troubles: Mapping[str, str]) -> str:
    """Return the problems of workers as text, grouping the workers with the same problem."""
    by_text: dict[str, list[str]] = {}
    for name, text in troubles.items():
        by_text.setdefault(text, []).append(name)
    return "; ".join(f"{', '.join(names)}: {text}" for text, names in by_text.items())
