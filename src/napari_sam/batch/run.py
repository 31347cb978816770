"""The loop of every batch: skip what is done, go on after a broken file, report at the end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from napari_sam.segmentation.protocol import Cancelled, Progress, Segmenter

BatchProgress = Callable[[Path, float], None]
"""Called with the image that is worked on and the finished fraction of the whole batch."""

_log = logging.getLogger(__name__)

# Their messages stand for themselves.
_TOLD = (ImportError, IndexError, MemoryError, OSError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class Failure:
    """An image that could not be finished, and why.

    Parameters
    ----------
    image
        Its path.
    reason
        The error, in a sentence.
    """

    image: Path
    reason: str


@dataclass(frozen=True, slots=True)
class Note:
    """Something to know about an image that was finished."""

    image: Path
    text: str


@dataclass(frozen=True, slots=True)
class BatchSummary:
    """What became of each image of a batch.

    Parameters
    ----------
    done
        Images finished in this run.
    skipped
        Images whose results were there already.
    failed
        Images that could not be finished; the others don't depend on them.
    notes
        What was done otherwise than it was asked for, or could not be known, and what was used
        instead.
    """

    done: tuple[Path, ...] = ()
    skipped: tuple[Path, ...] = ()
    failed: tuple[Failure, ...] = ()
    notes: tuple[Note, ...] = ()


class Part(Protocol):
    """Some of a job's work as a value, which another process can do."""

    def work(self, segmenter: Segmenter, report: Progress, notify: Callable[[str], None]) -> None:
        """Do it; `tell` gets sentences about what was done."""
        ...


def _nothing() -> None:
    pass


def _no_work(_: Progress) -> None:
    raise AssertionError("a job of parts is done by other processes")


def _no_parts() -> Sequence[Part]:
    raise AssertionError("a job without parts is done in this process")


@dataclass(frozen=True, slots=True)
class Job:
    """One image's work.

    Parameters
    ----------
    image
        What it is about.
    is_done
        Asks whether it was done before.
    work
        Does it in this process; gets a callback for the finished fraction.
    notes
        Sentences that the work leaves about itself.
    parts
        Begins it for other processes: returns the parts of which it is made.
    finish
        Ends it when other processes have done all parts.
    """

    image: Path
    is_done: Callable[[], bool]
    work: Callable[[Progress], None] = _no_work
    notes: list[str] = field(default_factory=list)
    parts: Callable[[], Sequence[Part]] = _no_parts
    finish: Callable[[], None] = _nothing


def run(jobs: Iterable[Job], progress: BatchProgress | None = None) -> BatchSummary:
    """Do jobs one after the other.

    Raises
    ------
    Cancelled
        If `progress` does; what is finished by then stays.
    """
    jobs = list(jobs)
    done: list[Path] = []
    skipped: list[Path] = []
    failed: list[Failure] = []
    notes: list[Note] = []
    for i, job in enumerate(jobs):

        def report(fraction: float, i: int = i, image: Path = job.image) -> None:
            if progress is not None:
                progress(image, (i + fraction) / len(jobs))

        try:
            report(0.0)
            if job.is_done():
                skipped.append(job.image)
            else:
                job.work(report)
                done.append(job.image)
                notes += [Note(job.image, text) for text in job.notes]
        except Cancelled:
            raise
        except Exception as error:  # noqa: BLE001 - the others don't depend on this one
            _log.warning("%s: %s", job.image, error)
            _log.info("where it happened:", exc_info=error)
            failed.append(Failure(job.image, reason_of(error)))
        report(1.0)
    return BatchSummary(tuple(done), tuple(skipped), tuple(failed), tuple(notes))


def reason_of(error: Exception) -> str:
    """Tell an error in one line; of one that we didn't foresee, also what kind it is."""
    told = isinstance(error, _TOLD) and str(error)
    return str(error) if told else f"{type(error).__name__} {error}".strip()
