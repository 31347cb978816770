"""The loop of every batch: skip finished images, continue after a failure, report at the end."""

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
_CLEAR = (ImportError, IndexError, MemoryError, OSError, RuntimeError, TypeError, ValueError)


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
    """A message about an image that was finished."""

    image: Path
    text: str


@dataclass(frozen=True, slots=True)
class BatchSummary:
    """The result of a batch for each of its images.

    Parameters
    ----------
    done
        Images finished in this run.
    skipped
        Images whose results existed already.
    failed
        Images that could not be finished, which doesn't affect the others.
    notes
        Messages about inputs that were missing or unknown, and those used instead.
    """

    done: tuple[Path, ...] = ()
    skipped: tuple[Path, ...] = ()
    failed: tuple[Failure, ...] = ()
    notes: tuple[Note, ...] = ()


class Part(Protocol):
    """A part of a job's work that can be sent to another process."""

    def work(self, segmenter: Segmenter, report: Progress, notify: Callable[[str], None]) -> None:
        """Do the part; `notify` is called with messages about it."""
        ...


def _nothing() -> None:
    pass


def _no_work(_: Progress) -> None:
    raise AssertionError("a job of parts is done by other processes")


def _no_parts() -> Sequence[Part]:
    raise AssertionError("a job without parts is done in this process")


@dataclass(frozen=True, slots=True)
class Job:
    """The work on one image.

    Parameters
    ----------
    image
        The image's file.
    is_done
        Returns whether the work was finished before.
    work
        Does the work in this process; called with a callback for the finished fraction.
    notes
        Messages about the work, filled while it is done.
    parts
        Begins the work in other processes: returns its parts.
    finish
        Called when other processes have done all parts.
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
    """Return an error as one line; with its type, unless its message is one of our own."""
    is_clear = isinstance(error, _CLEAR) and str(error)
    return str(error) if is_clear else f"{type(error).__name__} {error}".strip()
