"""Teach a model a user's own objects: half a minute of a CPU, scored before it is offered."""

from __future__ import annotations

import datetime
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

import torch

from napari_sam import __version__
from napari_sam.examples import Example
from napari_sam.model.sam import Sam
from napari_sam.model.taught import HeldBack, Lesson, TaughtModel
from napari_sam.segmentation.cached import CachedSegmenter
from napari_sam.segmentation.network import SamSegmenter
from napari_sam.segmentation.protocol import Segmenter
from napari_sam.segmentation.remote import RemoteSegmenter
from napari_sam.segmentation.tiled import TiledSegmenter
from napari_sam.training.average_precision import Counts
from napari_sam.training.examples import ObjectOf, all_objects, held_back
from napari_sam.training.pupil import Pupil, Rehearsal
from napari_sam.training.teaching_scores import Examiner, Work
from napari_sam.training.verdict import (
    DECODER,
    ENCODER,
    HEADS,
    can_be_halved,
    gains_by_prompts,
    half_of,
    judge,
)

# Steps that are timed, after the first, to learn how many there is time for.
_TIMED = 6
_FEWEST_STEPS = 10

Phase = Literal["score", "learn", "again"]
_Result = TypeVar("_Result")
_Steps = Generator["TuneStep", None, _Result]


@dataclass(frozen=True, slots=True)
class TuneSettings:
    """How a model is taught.

    Parameters
    ----------
    seconds
        Time for teaching once; it becomes a number of steps by timing the first ones. On a CPU it
        is the time spent computing, as long as that takes no more than twice as long by the clock:
        beside other programs as much is learned, later.
    steps
        That number, where it is given: the same objects, steps, seed and threads give the same
        weights.
    seed
        Of all that is drawn.
    threads
        Of torch, while it is taught.
    thorough
        Whether the encoder is taught, too: better, at several times the time a step, and every
        plane has to be embedded anew.
    everything
        Whether the heads that find everything are taught.
    parent
        How the taught model tells its parent: a model's name, or its file's.
    sources
        File names to keep in the taught model.
    anyway
        Whether it is taught on all objects where it is no better, too.
    """

    seconds: float = 30.0
    steps: int | None = None
    seed: int = 0
    threads: int = 1
    thorough: bool = False
    everything: bool = True
    parent: str = ""
    sources: tuple[str, ...] = ()
    anyway: bool = False

    def __post_init__(self) -> None:
        if not self.seconds > 0:
            raise ValueError(f"expected a time above 0, got {self.seconds} s")
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"expected at least one step, got {self.steps}")


@dataclass(frozen=True, slots=True, eq=False)
class TuneStep:
    """How far teaching is.

    Parameters
    ----------
    phase
        ``"score"``: what is held back is clicked; ``"learn"``: all but that is taught;
        ``"again"``: all of it is, from the start.
    fraction
        Of all there is to do, 0-1.
    seconds_left
        As it looks now; None at the beginning.
    scores
        Once they are known: figures on what was held back, by name.
    offered
        Once it is known: whether the taught model is better by enough.
    model
        At the end, where it is offered or wanted anyway: taught on all objects.
    """

    phase: Phase
    fraction: float
    seconds_left: float | None = None
    scores: Mapping[str, HeldBack] = field(default_factory=dict)
    offered: bool | None = None
    model: TaughtModel | None = None


def tune(
    segmenter: Segmenter, examples: Sequence[Example], settings: TuneSettings | None = None
) -> Iterator[TuneStep]:
    """Teach a model some objects.

    First without a fifth of them, by which the result is scored; where it is better by enough,
    once more with all of them. Closing the iterator ends it at the next step; nothing is changed
    or kept then.

    Parameters
    ----------
    segmenter
        The model, which stays as it is; its network has to be in this process.
    examples
        Three objects or more.
    settings
        How.

    Returns
    -------
    steps
        One after each optimizer step and each object that is scored; the last has the model.

    Raises
    ------
    ValueError
        For too few objects, or a segmenter whose network is elsewhere.
    """
    network = innermost(segmenter)
    return _Teaching(network, examples, settings or TuneSettings()).run()


def innermost(segmenter: Segmenter) -> SamSegmenter:
    """Return the network itself that wrappers hand their calls to.

    Raises
    ------
    ValueError
        If it isn't in this process, or none of this program's own.
    """
    if not segmenter.traits.learns:
        raise ValueError(
            f"expected a model whose network is this program's own, got {segmenter.traits.name}, "
            "which can't be taught; teach nano or a Segment Anything model"
        )
    while not isinstance(segmenter, SamSegmenter):
        inner: Segmenter | None = getattr(segmenter, "inner", None)
        if isinstance(segmenter, CachedSegmenter):
            inner = segmenter.uncached
        if isinstance(segmenter, RemoteSegmenter):
            raise ValueError(
                f"expected a model whose weights are on this machine, got one at "
                f"{segmenter.address}: weights stay where they are. Load it for a device of this "
                "machine, or teach it there"
            )
        if inner is None:
            raise ValueError(
                f"expected a model whose weights are in this process, got "
                f"{type(segmenter).__name__}; load it with load_segmenter(...)"
            )
        segmenter = inner
    return segmenter


def parts_of(network: SamSegmenter, settings: TuneSettings) -> tuple[str, ...]:
    """Name the parts of a network that are taught."""
    parts = DECODER + (ENCODER if settings.thorough else ())
    if not settings.everything:
        return parts
    return parts + tuple(name for name in HEADS if getattr(network.network, name) is not None)


class _Teaching:
    """One run of :func:`tune`."""

    def __init__(
        self, network: SamSegmenter, examples: Sequence[Example], settings: TuneSettings
    ) -> None:
        self.network, self.examples, self.settings = network, examples, settings
        self.withheld = held_back(examples)  # raises for too few objects
        self.steps = settings.steps
        self.rehearsal = Rehearsal(network)
        self.began = time.monotonic()
        self.last = TuneStep("score", 0.0)

    def run(self) -> Iterator[TuneStep]:
        """Teach, score, and teach again."""
        everything, kept_back = all_objects(self.examples), set(self.withheld)
        others = [one for one in everything if one not in kept_back]
        parts = parts_of(self.network, self.settings)
        examiner = Examiner(self.examples, self.withheld)
        plain = TiledSegmenter(self.network)
        before = yield from self._told("score", 0.07, examiner.figures(plain))
        taught = yield from self._told("learn", 0.5, self._taught(others, parts))
        after = yield from self._told("score", 0.57, examiner.figures(self._segmenter(taught)))
        found: Counts | None = None
        if can_be_halved(parts):
            half = half_of(taught, self.network.network, gains_by_prompts(before, after))
            found = yield from self._told("score", 0.6, examiner.found(self._segmenter(half)))
        verdict = judge(before, after, found, parts)
        self.last = replace(self.last, scores=verdict.scores, offered=verdict.offered)
        if not (verdict.offered or self.settings.anyway):
            yield replace(self.last, fraction=1.0, seconds_left=0.0)
            return
        yield self.last
        taught = yield from self._told("again", 1.0, self._taught(everything, verdict.parts))
        lesson = self._lesson(verdict.parts)
        model = TaughtModel.between(self.network.network, taught, lesson)
        yield replace(self.last, fraction=1.0, seconds_left=0.0, model=model)

    def _told(self, phase: Phase, end: float, work: Work[_Result]) -> _Steps[_Result]:
        """Do some work, and tell how far it is after each bit of it."""
        begin = self.last.fraction
        while True:
            try:
                with _threads(self.settings.threads):
                    share = next(work)
            except StopIteration as stop:
                result: _Result = stop.value
                return result
            fraction = begin + (end - begin) * min(share, 1.0)
            spent = time.monotonic() - self.began
            left = spent * (1 - fraction) / fraction if fraction > 0.1 else None
            self.last = replace(self.last, phase=phase, fraction=fraction, seconds_left=left)
            yield self.last

    def _segmenter(self, sam: Sam) -> TiledSegmenter:
        """Put a network to use as a session does; the network is still to be read."""
        plain = SamSegmenter(sam, self.network.device, self.network.precision)
        return TiledSegmenter(plain)

    def _taught(self, chosen: Sequence[ObjectOf], parts: Sequence[str]) -> Work[Sam]:
        """Teach a copy of the network some objects."""
        settings, watch = self.settings, _Watch(self.network.device)
        pupil = Pupil(self.network, self.examples, chosen, parts, self.rehearsal, settings.seed)
        for share in pupil.look():
            yield 0.2 * share
        timed = 0.0
        while self.steps is None or pupil.step < self.steps:
            pupil.learn()
            spent = watch.spent
            if self.steps is None and pupil.step == 1:
                timed = spent
            if self.steps is None and pupil.step == 1 + _TIMED:
                each = (spent - timed) / _TIMED
                left = max(settings.seconds - spent, 0.0)
                self.steps = max(pupil.step + int(left / each), _FEWEST_STEPS)
            yield 0.2 + 0.8 * pupil.step / (self.steps or 100)
        return pupil.average

    def _lesson(self, parts: Sequence[str]) -> Lesson:
        complete = [one for one in self.examples if one.complete is not None and one.complete.any()]
        return Lesson(
            parent=self.settings.parent or self.network.config.name,
            parent_key=self.network.model_key,
            objects=len(all_objects(self.examples)),
            planes=len({one.name or i for i, one in enumerate(self.examples)}),
            complete=len(complete),
            sources=self.settings.sources,
            scores=self.last.scores,
            parts=tuple(parts),
            steps=self.steps or 0,
            seed=self.settings.seed,
            threads=self.settings.threads,
            thorough=self.settings.thorough,
            version=__version__,
            when=datetime.date.today().isoformat(),
        )


class _Watch:
    """Tells the time spent computing: half of the clock's at least, and all of it on a GPU."""

    def __init__(self, device: str) -> None:
        self._is_cpu = torch.device(device).type == "cpu"
        self._began = time.monotonic(), time.thread_time()

    @property
    def spent(self) -> float:
        """Seconds since it was made."""
        clock, computed = time.monotonic() - self._began[0], time.thread_time() - self._began[1]
        return max(computed, clock / 2) if self._is_cpu else clock


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Let torch have so many threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
