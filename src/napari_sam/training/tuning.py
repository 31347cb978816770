"""Train a model on a user's own objects: half a minute on a CPU, scored before it is offered."""

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
    """Settings of the training of a model on a user's objects.

    Parameters
    ----------
    seconds
        Time for one training; the first steps are timed to choose a number of steps that fits it.
        On a CPU it is processor time, so that as much is learned beside other programs, up to
        twice this time by the clock.
    steps
        Number of optimizer steps, instead of `seconds`. The same objects, steps, seed and threads
        give the same weights.
    seed
        Seed of all random numbers.
    threads
        Number of torch's threads during the training.
    thorough
        Whether the encoder is trained, too: more accurate, but each step takes several times as
        long, and every plane has to be embedded again with the taught model.
    everything
        Whether the heads that find every object of a plane are trained, too.
    parent
        Name of the parent model that the taught model records: a model's name or a file name.
    sources
        File names that the taught model records as its sources.
    anyway
        Whether the model is trained on all objects even if the scores are no better.

    Raises
    ------
    ValueError
        If the time is not above 0, or `steps` is below 1.
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
    """Progress of :func:`tune`.

    Parameters
    ----------
    phase
        ``"score"``: scoring on the objects that are held back; ``"learn"``: training on the
        others; ``"again"``: training on all objects, from the start.
    fraction
        Finished fraction of the whole, 0-1.
    seconds_left
        Estimated remaining time; None at the beginning.
    scores
        Scores on the objects that are held back, by name; empty until they are known.
    offered
        Whether the taught model is better by enough; None until it is known.
    model
        The model trained on all objects. Only in the last step, and only if it is offered or
        :attr:`TuneSettings.anyway` is set.
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
    """Train a model's decoder on finished objects.

    A fifth of the objects is held back to score the result. If it is better by enough, the model
    is trained once more, on all objects. Closing the iterator stops the training; nothing is
    changed or stored then.

    Parameters
    ----------
    segmenter
        The model, which is not changed; its network has to be in this process.
    examples
        Planes with three finished objects or more in all.
    settings
        Duration, seed and what is trained; by default those of :class:`TuneSettings`.

    Returns
    -------
    steps
        One :class:`TuneStep` after each optimizer step and each object that is scored; the last
        one has the model.

    Raises
    ------
    ValueError
        If there are too few objects, or the segmenter's network is in another process.
    """
    network = innermost(segmenter)
    return _Teaching(network, examples, settings or TuneSettings()).run()


def innermost(segmenter: Segmenter) -> SamSegmenter:
    """Return the segmenter with the network, without the wrappers around it.

    Raises
    ------
    ValueError
        If it isn't in this process, or isn't one of this program's own networks.
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
        before = yield from self._reported("score", 0.07, examiner.figures(plain))
        taught = yield from self._reported("learn", 0.5, self._taught(others, parts))
        after = yield from self._reported("score", 0.57, examiner.figures(self._segmenter(taught)))
        found: Counts | None = None
        if can_be_halved(parts):
            half = half_of(taught, self.network.network, gains_by_prompts(before, after))
            found = yield from self._reported("score", 0.6, examiner.found(self._segmenter(half)))
        verdict = judge(before, after, found, parts)
        self.last = replace(self.last, scores=verdict.scores, offered=verdict.offered)
        if not (verdict.offered or self.settings.anyway):
            yield replace(self.last, fraction=1.0, seconds_left=0.0)
            return
        yield self.last
        taught = yield from self._reported("again", 1.0, self._taught(everything, verdict.parts))
        lesson = self._lesson(verdict.parts)
        model = TaughtModel.between(self.network.network, taught, lesson)
        yield replace(self.last, fraction=1.0, seconds_left=0.0, model=model)

    def _reported(self, phase: Phase, end: float, work: Work[_Result]) -> _Steps[_Result]:
        """Do some work, and yield the progress after each part of it."""
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
        for share in pupil.embed_views():
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
