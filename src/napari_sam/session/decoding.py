"""Prompts that are being decoded: in parts, the latest first, those of one plane side by side."""

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

# A part takes about this long, so that a cancel or a click waits no longer. It has at most so many
# steps, and so many at least: side by side they share what each costs. Of a small number in all
# nobody needs to be told.
_SECONDS, _LEAST, _MOST, _MANY = 0.2, 4, 64, 8


@dataclass(frozen=True, slots=True)
class Backlog:
    """How far many prompts are decoded.

    Parameters
    ----------
    done, total
        Steps: each click, box or mask of an object is one.
    seconds_left
        Estimated from the steps before; None before the first.
    """

    done: int
    total: int
    seconds_left: float | None


@dataclass(slots=True, eq=False)
class _Asked:
    segmenter: Segmenter
    embedding: Embedding
    drafting: Drafting
    done: Done
    left: int  # steps, as of the last part


class Decoding:
    """Drafts objects from their prompts on an executor's decode lane, part by part.

    Parameters
    ----------
    executor
        Where it happens.
    changed
        Called when :attr:`backlog` changed.

    Attributes
    ----------
    foreseen
        What need not be decoded any more.
    """

    def __init__(self, executor: Executor, changed: Callable[[], None]) -> None:
        self.foreseen = Foreseen()
        self._executor = executor
        self._changed = changed
        self._asked: OrderedDict[ObjectPlane, _Asked] = OrderedDict()
        self._part: dict[ObjectPlane, _Asked] | None = None  # that is being decoded
        self._stopped: set[ObjectPlane] = set()  # of them
        self._over: deque[tuple[_Asked, Outcome]] = deque()  # that is still to be told
        self._total = self._done = 0
        self._seconds: float | None = None  # that a step takes

    @property
    def backlog(self) -> Backlog | None:
        """How far it is; None if there is little to do."""
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
        """Have an object drafted; what was asked about it before is dropped.

        Parameters
        ----------
        done
            Called with a :class:`~napari_sam.session.answers.Drafted` or None, an error, or
            :class:`Cancelled` after :meth:`stop`.
        """
        self.drop(key)
        self._asked[key] = _Asked(segmenter, embedding, drafting, done, drafting.steps_left)
        self._total += drafting.steps_left
        self._go_on()

    def drop(self, key: ObjectPlane) -> None:
        """Forget what was asked about an object; its `done` is not called."""
        asked = self._asked.pop(key, None)
        if asked is not None:
            self._stopped.discard(key)
            self._total -= asked.left
            self._count()

    def stop(self) -> None:
        """Go no further than the part that is being decoded."""
        part = self._part or {}
        for key, asked in list(self._asked.items()):
            if part.get(key) is asked:
                self._stopped.add(key)
            else:
                self._end(key, Outcome(error=Cancelled("cancelled")))
        self._tell()

    def _go_on(self) -> None:
        if self._part is not None or not self._asked:
            return
        most = _LEAST if self._seconds is None else int(_SECONDS / max(self._seconds, 1e-6))
        most = max(_LEAST, min(most, _MOST))
        latest = next(reversed(self._asked.values()))
        self._part = {}
        for key, asked in reversed(self._asked.items()):
            if asked.embedding is latest.embedding and asked.segmenter is latest.segmenter:
                self._part[key] = asked
            if len(self._part) >= most:
                break
        draftings = [asked.drafting for asked in self._part.values()]
        to_decode = latest.segmenter, latest.embedding, draftings
        work = partial(_decode_part, *to_decode, most, self.foreseen)
        self._executor.decode(("drafts", self), work, self._part_done)

    def _part_done(self, outcome: Outcome) -> None:
        decoded: _Part = outcome.value
        part, self._part = self._part or {}, None
        if decoded.steps:
            self._seconds = decoded.seconds / decoded.steps
        for (key, asked), found in zip(part.items(), decoded.found, strict=True):
            if self._asked.get(key) is not asked:
                continue
            self._done += asked.left - asked.drafting.steps_left
            asked.left = asked.drafting.steps_left
            if found is not None:
                self._end(key, found)
            elif key in self._stopped:
                self._end(key, Outcome(error=Cancelled("cancelled")))
        self._stopped.clear()
        self._tell()

    def _end(self, key: ObjectPlane, outcome: Outcome) -> None:
        asked = self._asked.pop(key)
        self._total -= asked.left
        self._over.append((asked, outcome))

    def _count(self) -> None:
        """Begin to count anew when everything is decoded."""
        if not self._asked:
            self._total = self._done = 0

    def _tell(self) -> None:
        """Tell what is over, and go on; what a listener raises holds up nothing else."""
        had_backlog = self.backlog is not None
        self._count()
        try:
            while self._over:
                asked, outcome = self._over.popleft()
                asked.done(outcome)
            if had_backlog:
                self._changed()
        finally:
            if self._over:
                self._executor.decode(("told", self), _nothing, lambda _: self._tell())
            self._go_on()


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """What came of each object, None where steps are left; and what it took."""

    found: list[Outcome | None]
    steps: int
    seconds: float


def _decode_part(
    segmenter: Segmenter,
    embedding: Embedding,
    draftings: list[Drafting],
    most: int,
    foreseen: Foreseen,
) -> _Part:
    start, steps = time.perf_counter(), 0
    foreseen.give(segmenter, draftings)
    errors: dict[Drafting, Exception] = {}
    while going := [one for one in draftings if one.steps_left and one not in errors]:
        try:
            steps += draft_steps(segmenter, embedding, going)
        except Exception as error:  # noqa: BLE001 - it travels to the owner, who reports it
            if len(going) == 1:
                errors[going[0]] = error
            for one in going if len(going) > 1 else ():  # which of them is it?
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
    return _Part(found, steps, time.perf_counter() - start)


def _result_of(drafting: Drafting) -> Outcome:
    try:
        return Outcome(value=drafting.result)
    except Exception as error:  # noqa: BLE001
        return Outcome(error=error)


def _nothing() -> None:
    pass
