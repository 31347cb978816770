"""Teach a model a user's own objects: half a minute of a CPU, scored before it is offered."""

from __future__ import annotations

import copy
import datetime
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from napari_sam import __version__
from napari_sam.examples import Example
from napari_sam.model.sam import Sam
from napari_sam.model.taught import HeldBack, Lesson, TaughtModel
from napari_sam.segmentation.cached import CachedSegmenter
from napari_sam.segmentation.network import SamSegmenter
from napari_sam.segmentation.protocol import Segmenter
from napari_sam.segmentation.tiled import TiledSegmenter
from napari_sam.training.average_precision import Counts
from napari_sam.training.examples import ObjectOf, all_objects, held_back
from napari_sam.training.objective import Plan, prompted_losses
from napari_sam.training.rehearsal import drawn_crops, real_crops
from napari_sam.training.teaching_scores import CLICKED, Examiner, Figures, Work
from napari_sam.training.tuned_heads import HeadView, head_view, heads_loss
from napari_sam.training.views import (
    View,
    ViewMaker,
    embedded_again,
    extent_of,
    pick,
    view_of_crop,
    window_for,
)

LEAST_CHANGE = 0.02
"""A taught model is offered if it is better by more than this on what was held back."""

_LEARNING_RATE, _ENCODER_RATE, _WARMUP, _EMA = 1e-3, 1e-4, 10, 0.95
_BETAS, _EPSILON = (0.9, 0.98), 1e-8
# Objects of a batch: the user's, and rehearsed ones.
_OWN, _REHEARSED = 6, 2
_ROUNDS = (0.5, 0.3, 0.15, 0.05)
_BOX_SHARE, _SECOND_LOOK, _BALANCE = 0.4, 0.4, 0.5
# The heads learn in every fourth step, from so many views; and how many there are.
_HEADS_EVERY, _HEAD_VIEWS, _FEWEST_HEAD_VIEWS, _MOST_HEAD_VIEWS = 4, 2, 8, 32
# The encoder learns from so many views a step, of which one is rehearsed.
_ENCODED = 4
# Steps that are timed, after the first, to learn how many there is time for.
_TIMED = 6
_FEWEST_STEPS = 10

# What decodes prompts, what finds everything, and what both read.
_DECODER = ("prompt_encoder", "mask_decoder")
HEADS = ("dense_head", "roi_head")
"""Parts of a network that find everything."""

_ENCODER = ("image_encoder",)

Phase = Literal["score", "learn", "again"]
_Result = TypeVar("_Result")
_Steps = Generator["TuneStep", None, _Result]


@dataclass(frozen=True, slots=True)
class TuneSettings:
    """How a model is taught.

    Parameters
    ----------
    seconds
        Time for teaching once; it becomes a number of steps by timing the first ones.
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
        if not self.seconds > 0 or (self.steps is not None and self.steps < 1):
            raise ValueError(
                f"expected a time and a number of steps above 0, got {self.seconds} s and "
                f"{self.steps} steps"
            )


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
        If it isn't in this process.
    """
    while not isinstance(segmenter, SamSegmenter):
        inner: Segmenter | None = getattr(segmenter, "inner", None)
        if isinstance(segmenter, CachedSegmenter):
            inner = segmenter.uncached
        if inner is None:
            raise ValueError(
                f"expected a model whose weights are in this process, got "
                f"{type(segmenter).__name__}; load it with load_segmenter(...)"
            )
        segmenter = inner
    return segmenter


def mean_change(scores: Mapping[str, HeldBack]) -> float:
    """Mean change of the IoU after one click, after three, and by a box."""
    return float(np.mean([scores[name].change for name in CLICKED]))


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a taught model is worth having.

    Parameters
    ----------
    scores
        On what was held back, by name.
    offered
        Whether it is better by enough.
    parts
        Of the network, which are worth being taught.
    """

    scores: Mapping[str, HeldBack]
    offered: bool
    parts: tuple[str, ...]


def judge(before: Figures, after: Figures, found: Counts | None, parts: tuple[str, ...]) -> Verdict:
    """Compare a taught model with its parent on what was held back.

    Parameters
    ----------
    before, after
        Figures of the parent and of the taught model.
    found
        What the taught model finds with its parent's heads, which it keeps where these find more;
        None where it can't have them.
    parts
        That were taught.
    """
    if found is not None and after.everything is not None and found.mean >= after.everything.mean:
        parts = tuple(part for part in parts if part not in HEADS)
        after = replace(after, everything=found)
    scores = before.compared(after)
    return Verdict(scores, mean_change(scores) > LEAST_CHANGE, parts)


def parts_of(network: SamSegmenter, settings: TuneSettings) -> tuple[str, ...]:
    """Name the parts of a network that are taught."""
    parts = _DECODER + (_ENCODER if settings.thorough else ())
    if not settings.everything:
        return parts
    return parts + tuple(name for name in HEADS if getattr(network.network, name) is not None)


def _can_do_without_heads(parts: Sequence[str]) -> bool:
    """Whether a model with its parent's heads is possible: these read the parent's encoder."""
    return "dense_head" in parts and "image_encoder" not in parts


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
        if _can_do_without_heads(parts):
            mixed = with_parts_of(taught, self.network.network, HEADS)
            found = yield from self._told("score", 0.6, examiner.found(self._segmenter(mixed)))
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
        settings, began = self.settings, time.monotonic()
        pupil = Pupil(self.network, self.examples, chosen, parts, self.rehearsal, settings.seed)
        for share in pupil.look():
            yield 0.2 * share
        timed = 0.0
        while self.steps is None or pupil.step < self.steps:
            pupil.learn()
            spent = time.monotonic() - began
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


class Pupil:
    """A copy of a network that learns.

    Parameters
    ----------
    network
        What is copied, and embeds.
    examples, chosen
        The planes, and the objects to learn.
    parts
        Of the network, to be taught; the others are shared with it.
    rehearsal
        Crops of other kinds.
    seed
        Of what is drawn.
    """

    def __init__(
        self,
        network: SamSegmenter,
        examples: Sequence[Example],
        chosen: Sequence[ObjectOf],
        parts: Sequence[str],
        rehearsal: Rehearsal,
        seed: int,
    ) -> None:
        self.step = 0
        self.average, self._model = (_copy(network.network, parts) for _ in range(2))
        self._network, self._seed = network, seed
        self._thorough = "image_encoder" in parts
        self._learns_heads = "dense_head" in parts
        self._maker = ViewMaker(network, examples, chosen, seed)
        self._views: list[View] = []
        self._seen: dict[ObjectOf, list[View]] = {}
        self._head_views: list[HeadView] = []
        self._rehearsal = rehearsal
        self._optimizers = []
        for name, part in self._model.named_children():
            if name in parts:
                part.requires_grad_(True)
                rate = _ENCODER_RATE if name in _ENCODER else _LEARNING_RATE
                averaged = list(getattr(self.average, name).parameters())
                self._optimizers.append(Optimizer(list(part.parameters()), averaged, rate))

    def look(self) -> Iterator[float]:
        """Embed the views; gives the finished fraction."""
        config = self._network.config
        count = self._maker.count()
        heads = 0
        if self._learns_heads:
            heads = min(max(count // 2, _FEWEST_HEAD_VIEWS), _MOST_HEAD_VIEWS)
        for view in self._maker.as_clicked():
            self._views.append(view)
            for label in view.objects:
                self._seen.setdefault((view.example, label), []).append(view)
            yield len(self._views) / (count + heads)
        for view in self._maker.as_found(heads, config.tuning.proposals.diameter):
            self._head_views.append(head_view(view, self._network.network))
            yield (count + len(self._head_views)) / (count + heads)

    def learn(self) -> None:
        """Do one optimizer step."""
        rng = np.random.default_rng((self._seed, 4, self.step))
        config = self._network.config
        views, side = self._drawn(rng)
        features = None
        if self._thorough:
            again = {id(view): embedded_again(self._model, view) for view, _ in views}
            features = [again[id(view)] for view, _ in views]
        picked = pick(views, config, rng, side, features)
        rounds = 1 + int(rng.choice(len(_ROUNDS), p=_ROUNDS))
        by_box, again_looked = rng.random() < _BOX_SHARE, rng.random() < _SECOND_LOOK
        second = again_looked and config.looks_twice
        plan = Plan(rounds, by_box, second_look=second, balance=_BALANCE)
        free = config.image_size - picked.side
        losses, _ = prompted_losses(self._model, picked.features, picked.target, plan, rng, free)
        total = losses["mask"] + losses["iou"]
        if self._learns_heads and self.step % _HEADS_EVERY == 0:
            drawn = rng.permutation(len(self._head_views))[:_HEAD_VIEWS]
            total = total + heads_loss(self._model, [self._head_views[i] for i in drawn], rng)
        total.backward()
        for optimizer in self._optimizers:
            optimizer.learn(self.step)
        self.step += 1

    def _drawn(self, rng: np.random.Generator) -> tuple[list[tuple[View, int]], int]:
        """Choose the objects of a batch, each in one of its views, and a window for them all."""
        config = self._network.config
        if self._thorough:  # each view costs a run of the encoder
            at = rng.integers(len(self._views), size=_ENCODED - 1)
            views = [self._views[i] for i in at for _ in range(_OWN // len(at))]
            drawn = [(view, int(rng.choice(view.objects))) for view in views]
        else:
            objects = list(self._seen)
            chosen = [objects[i] for i in rng.integers(len(objects), size=_OWN)]
            shown = [self._seen[one] for one in chosen]
            views = [one[int(rng.integers(len(one)))] for one in shown]
            drawn = [(view, label) for view, (_, label) in zip(views, chosen, strict=True)]
        side = window_for(drawn, config, rng)
        rehearsed = self._rehearsal.draw(rng, side, 1 if self._thorough else _REHEARSED)
        return drawn + rehearsed, side


class Optimizer:
    """Adam (Kingma and Ba, 2014) without decay, and a running mean of the weights it makes.

    PyTorch's own imports its compiler with the first optimizer: that takes longer than many a
    run, and after a GL driver has loaded another LLVM it may crash a viewer's process.

    Parameters
    ----------
    weights, averaged
        What learns, and the mean of it, in the same order.
    rate
        Learning rate after the first steps.
    """

    def __init__(self, weights: list[Tensor], averaged: list[Tensor], rate: float) -> None:
        self._weights, self._averaged, self._rate = weights, averaged, rate
        self._mean, self._square = ([torch.zeros_like(w) for w in weights] for _ in range(2))

    @torch.no_grad()
    def learn(self, step: int) -> None:
        """Take step number `step`, from 0, along the gradients, which are dropped then."""
        gradients = [torch.zeros_like(w) if w.grad is None else w.grad for w in self._weights]
        norm = torch.stack(torch._foreach_norm(gradients)).norm()
        torch._foreach_mul_(gradients, (1 / (norm + 1e-6)).clamp(max=1.0))
        torch._foreach_lerp_(self._mean, gradients, 1 - _BETAS[0])
        torch._foreach_mul_(self._square, _BETAS[1])
        torch._foreach_addcmul_(self._square, gradients, gradients, 1 - _BETAS[1])
        first, second = (1 - beta ** (step + 1) for beta in _BETAS)
        divisor = torch._foreach_sqrt(self._square)
        torch._foreach_mul_(divisor, second**-0.5)
        torch._foreach_add_(divisor, _EPSILON)
        rate = self._rate * min(1.0, (step + 1) / _WARMUP)
        torch._foreach_addcdiv_(self._weights, self._mean, divisor, -rate / first)
        decay = min(_EMA, (2 + step) / (11 + step))
        torch._foreach_lerp_(self._averaged, self._weights, 1 - decay)
        for weight in self._weights:
            weight.grad = None


class Rehearsal:
    """Crops of many kinds, embedded when they are first drawn.

    Parameters
    ----------
    network
        Embeds them.
    """

    def __init__(self, network: SamSegmenter) -> None:
        self._network = network
        self._pools = real_crops(), drawn_crops()
        self._views: dict[tuple[int, int], View] = {}

    def draw(self, rng: np.random.Generator, side: int, crops: int) -> list[tuple[View, int]]:
        """Choose crops, as often a real one as a drawn one, and objects that fit into a window.

        Two objects in all: of one crop, or of one each.
        """
        drawn = []
        for _ in range(crops):
            pool = int(rng.integers(len(self._pools)))
            at = pool, int(rng.integers(len(self._pools[pool])))
            if at not in self._views:
                self._views[at] = view_of_crop(self._network, *self._pools[pool][at[1]])
            view = self._views[at]
            fitting = [one for one in view.objects if extent_of(view, one) <= side]
            labels = rng.choice(fitting or view.objects, _REHEARSED // crops)
            drawn += [(view, int(label)) for label in labels]
        return drawn


def _copy(parent: Sam, parts: Sequence[str]) -> Sam:
    """Copy some parts of a network; the others are shared."""
    shared = {id(part): part for name, part in parent.named_children() if name not in parts}
    return copy.deepcopy(parent, dict(shared))


def with_parts_of(network: Sam, other: Sam, parts: Sequence[str]) -> Sam:
    """Return a network that has some parts of another one."""
    mixed = copy.copy(network)
    mixed._modules = dict(network._modules)
    for name in parts:
        mixed._modules[name] = other._modules[name]
    return mixed


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Let torch have so many threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
