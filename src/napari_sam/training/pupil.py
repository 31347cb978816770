"""A network that learns a user's objects: from views of them, step by step."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from napari_sam.examples import Example
from napari_sam.model.sam import Sam
from napari_sam.segmentation.network import SamSegmenter
from napari_sam.training.examples import ObjectOf
from napari_sam.training.objective import Plan, prompted_losses
from napari_sam.training.rehearsal import drawn_crops, real_crops
from napari_sam.training.tuned_heads import HeadView, head_view, heads_loss
from napari_sam.training.verdict import ENCODER
from napari_sam.training.views import (
    View,
    ViewMaker,
    embedded_again,
    extent_of,
    pick,
    view_of_crop,
    window_for,
)

_LEARNING_RATE, _ENCODER_RATE, _WARMUP, _EMA = 1e-3, 1e-4, 10, 0.95
_BETAS, _EPSILON = (0.9, 0.98), 1e-8
# Objects of a batch: the user's, and rehearsed ones.
_OWN, _REHEARSED = 6, 2
_ROUNDS = (0.5, 0.3, 0.15, 0.05)
_BOX_SHARE, _REFINED_SHARE, _BALANCE = 0.4, 0.4, 0.5
# The heads learn in every fourth step, from so many views; and how many there are.
_HEADS_EVERY, _HEAD_VIEWS, _FEWEST_HEAD_VIEWS, _MOST_HEAD_VIEWS = 4, 2, 8, 32
# The encoder learns from so many views a step, of which one is rehearsed.
_ENCODED = 4


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
        self._learns_prompts = "mask_decoder" in parts
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
                rate = _ENCODER_RATE if name in ENCODER else _LEARNING_RATE
                averaged = list(getattr(self.average, name).parameters())
                self._optimizers.append(Optimizer(list(part.parameters()), averaged, rate))

    def embed_views(self) -> Iterator[float]:
        """Embed the views; yields the finished fraction."""
        config = self._network.config
        count = self._maker.count()
        heads = min(max(count // 2, _FEWEST_HEAD_VIEWS), _MOST_HEAD_VIEWS)
        count, heads = count * self._learns_prompts, heads * self._learns_heads
        for view in self._maker.as_clicked() if count else ():
            self._views.append(view)
            for label in view.objects:
                self._seen.setdefault((view.example, label), []).append(view)
            yield len(self._views) / (count + heads)
        for view in self._maker.as_found(heads, config.tuning.proposals.diameter):
            self._head_views.append(head_view(view, self._network.network))
            yield (count + len(self._head_views)) / (count + heads)

    def learn(self) -> None:
        """Do one optimizer step. Heads learn the same whether the rest learns or not."""
        total = self._prompts_loss() if self._learns_prompts else None
        if self._learns_heads and self.step % _HEADS_EVERY == 0:
            rng = np.random.default_rng((self._seed, 5, self.step))
            drawn = rng.permutation(len(self._head_views))[:_HEAD_VIEWS]
            loss = heads_loss(self._model, [self._head_views[i] for i in drawn], rng)
            total = loss if total is None else total + loss
        if total is not None:
            total.backward()
        for optimizer in self._optimizers:
            optimizer.learn(self.step)
        self.step += 1

    def _prompts_loss(self) -> Tensor:
        """Prompt a batch of objects."""
        rng = np.random.default_rng((self._seed, 4, self.step))
        config = self._network.config
        views, side = self._drawn(rng)
        features = None
        if self._thorough:
            again = {id(view): embedded_again(self._model, view) for view, _ in views}
            features = [again[id(view)] for view, _ in views]
        picked = pick(views, config, rng, side, features)
        rounds = 1 + int(rng.choice(len(_ROUNDS), p=_ROUNDS))
        by_box, is_refined = rng.random() < _BOX_SHARE, rng.random() < _REFINED_SHARE
        refines = is_refined and config.refines_first_click
        plan = Plan(rounds, by_box, refines_first_click=refines, balance=_BALANCE)
        free = config.image_size - picked.side
        losses, _ = prompted_losses(self._model, picked.features, picked.target, plan, rng, free)
        return losses["mask"] + losses["iou"]

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
