"""Decoding prompts in short jobs: the latest first, with those of one plane in a batch."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from napari_sam.engine import Done, Executor, Outcome
from napari_sam.segmentation.protocol import Cancelled, Embedding, Segmenter
from napari_sam.session.answers import Drafting, Foreseen, draft_steps
from napari_sam.session.prompt_book import ObjectPlane

# A job takes about this long, so that a cancel or a click doesn't wait longer. It decodes at least
# and at most these numbers of steps in a batch. A smaller total than the last isn't reported.
_SECONDS, _LEAST, _MOST, _MANY = 0.2, 4, 64, 8


@dataclass(frozen=True, slots=True)
class Backlog:
    """The progress of decoding many prompts.

    Parameters
    ----------
    done, total
        Number of steps that are decoded, and of all: each click, box or mask is one step.
    seconds_left
        Estimated time for the others; None before the first is done.
    """

    done: int
    total: int
    seconds_left: float | None


@dataclass(slots=True, eq=False)
class _Request:
    segmenter: Segmenter
    embedding: Embedding
    drafting: Drafting
    done: Done
    left: int  # steps, after the last job


class Decoding:
    """Decodes the prompts of objects on an executor's decode lane, in short jobs.

    Parameters
    ----------
    executor
        Runs the jobs.
    changed
        Called when :attr:`backlog` changed.

    Attributes
    ----------
    foreseen
        The decode history of the latest preview, which a click reuses.
    """

    def __init__(self, executor: Executor, changed: Callable[[], None]) -> None:
        self.foreseen = Foreseen()
        self._executor = executor
        self._changed = changed
        self._requests: OrderedDict[ObjectPlane, _Request] = OrderedDict()
        self._job: dict[ObjectPlane, _Request] | None = None  # that is running
        self._stopped: set[ObjectPlane] = set()  # of the running job
        self._over: deque[tuple[_Request, Outcome]] = deque()  # whose `done` is still to be called
        self._total = self._done = 0
        self._seconds: float | None = None  # per step

    @property
    def backlog(self) -> Backlog | None:
        """The progress; None if there are only a few steps."""
        if self._total < _MANY:
            return None
        left = self._total - self._done
        seconds = None if self._seconds is None else left * self._seconds
        return Backlog(self._done, self._total, seconds)

    def ask(
        self,
        key: ObjectPlane,
        segmenter: Segmenter,
        embedding: Embedding,
        drafting: Drafting,
        done: Done,
    ) -> None:
        """Decode the prompts of an object, in the place of an earlier request for it.

        Parameters
        ----------
        key
            The object and the plane.
        segmenter, embedding
            What to decode with.
        drafting
            The steps that are still to be decoded.
        done
            Called with a :class:`~napari_sam.session.answers.Drafted` or None, an error, or
            :class:`Cancelled` after :meth:`stop`.
        """
        self.drop(key)
        self._requests[key] = _Request(segmenter, embedding, drafting, done, drafting.steps_left)
        self._total += drafting.steps_left
        self._go_on()

    def drop(self, key: ObjectPlane) -> None:
        """Drop the request for an object; its `done` is not called."""
        request = self._requests.pop(key, None)
        if request is not None:
            self._stopped.discard(key)
            self._total -= request.left
            self._count()

    def stop(self) -> None:
        """Cancel all requests; the running job finishes its steps."""
        job = self._job or {}
        for key, request in list(self._requests.items()):
            if job.get(key) is request:
                self._stopped.add(key)
            else:
                self._end(key, Outcome(error=Cancelled("cancelled")))
        self._deliver()

    def _go_on(self) -> None:
        if self._job is not None or not self._requests:
            return
        most = _LEAST if self._seconds is None else int(_SECONDS / max(self._seconds, 1e-6))
        most = max(_LEAST, min(most, _MOST))
        latest = next(reversed(self._requests.values()))
        self._job = {}
        for key, request in reversed(self._requests.items()):
            if request.embedding is latest.embedding and request.segmenter is latest.segmenter:
                self._job[key] = request
            if len(self._job) >= most:
                break
        draftings = [request.drafting for request in self._job.values()]
        to_decode = latest.segmenter, latest.embedding, draftings
        work = partial(_decode, *to_decode, most, self.foreseen)
        self._executor.decode(("drafts", self), work, self._job_done)

    def _job_done(self, outcome: Outcome) -> None:
        decoded: _Decoded = outcome.value
        job, self._job = self._job or {}, None
        if decoded.steps:
            self._seconds = decoded.seconds / decoded.steps
        for (key, request), found in zip(job.items(), decoded.found, strict=True):
            if self._requests.get(key) is not request:
                continue
            self._done += request.left - request.drafting.steps_left
            request.left = request.drafting.steps_left
            if found is not None:
                self._end(key, found)
            elif key in self._stopped:
                self._end(key, Outcome(error=Cancelled("cancelled")))
        self._stopped.clear()
        self._deliver()

    def _end(self, key: ObjectPlane, outcome: Outcome) -> None:
        request = self._requests.pop(key)
        self._total -= request.left
        self._over.append((request, outcome))

    def _count(self) -> None:
        """Reset the progress when everything is decoded."""
        if not self._requests:
            self._total = self._done = 0

    def _deliver(self) -> None:
        """Call `done` of the finished requests, and go on, even if one of the calls raises."""
        had_backlog = self.backlog is not None
        self._count()
        try:
            while self._over:
                request, outcome = self._over.popleft()
                request.done(outcome)
            if had_backlog:
                self._changed()
        finally:
            if self._over:
                self._executor.decode(("delivery", self), _nothing, lambda _: self._deliver())
            self._go_on()


@dataclass(frozen=True, slots=True, eq=False)
class _Decoded:
    """The outcome of each object, None if steps are left; the steps decoded, and their time."""

    found: list[Outcome | None]
    steps: int
    seconds: float


def _decode(
    segmenter: Segmenter,
    embedding: Embedding,
    draftings: list[Drafting],
    most: int,
    foreseen: Foreseen,
) -> _Decoded:
    start, steps = time.perf_counter(), 0
    foreseen.give(segmenter, draftings)
    errors: dict[Drafting, Exception] = {}
    while going := [one for one in draftings if one.steps_left and one not in errors]:
        try:
            steps += draft_steps(segmenter, embedding, going)
        except Exception as error:  # noqa: BLE001 - it travels to the owner, who reports it
            if len(going) == 1:
                errors[going[0]] = error
            for one in going if len(going) > 1 else ():  # find the one that fails
                try:
                    steps += draft_steps(segmenter, embedding, [one])
                except Exception as its_own:  # noqa: BLE001
                    errors[one] = its_own
        if steps >= most or time.perf_counter() - start > _SECONDS:
            break
    found: list[Outcome | None] = []
    for one in draftings:
        if one in errors:
            found.append(Outcome(error=errors[one]))
        elif one.steps_left:
            found.append(None)
        else:
            found.append(_result_of(one))
    return _Decoded(found, steps, time.perf_counter() - start)


def _result_of(drafting: Drafting) -> Outcome:
    try:
        return Outcome(value=drafting.result)
    except Exception as error:  # noqa: BLE001
        return Outcome(error=error)


def _nothing() -> None:
    pass
