"""What was taught to a model: the tensors that changed, and what they were taught on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from napari_sam.model.architecture import CheckpointError
from napari_sam.model.keys import model_key
from napari_sam.model.sam import Sam, build


@dataclass(frozen=True, slots=True)
class HeldBack:
    """A figure on what was held back, before and after.

    Parameters
    ----------
    before, after
        IoU, or average precision, 0-1.
    count
        Objects that it rests on.
    """

    before: float
    after: float
    count: int

    @property
    def change(self) -> float:
        """After less before."""
        return self.after - self.before


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a taught model says of itself.

    Parameters
    ----------
    parent
        Name, or file name, of the model that was taught.
    parent_key
        Its model key, see :func:`~napari_sam.model.keys.model_key`: it fits no other.
    objects, planes
        How many it was taught on.
    complete
        Planes of them with a region in which everything was labelled.
    sources
        File names, where the user wanted them kept.
    scores
        On what was held back, by name: ``"click"``, ``"clicks"`` (three), ``"box"`` and, of models
        with heads, ``"everything"``.
    parts
        Parts of the network that were taught.
    steps, seed, threads
        What makes the same weights again of the same objects.
    thorough
        Whether the encoder was taught as well.
    version
        Of this program.
    """

    parent: str
    parent_key: str
    objects: int
    planes: int
    complete: int = 0
    sources: tuple[str, ...] = ()
    scores: Mapping[str, HeldBack] = field(default_factory=dict)
    parts: tuple[str, ...] = ()
    steps: int = 0
    seed: int = 0
    threads: int = 1
    thorough: bool = False
    version: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class TaughtModel:
    """A model by what makes it another than its parent.

    Parameters
    ----------
    lesson
        What it was taught, and on which parent.
    tensors
        Weights that changed, by their names in the network; half precision.
    """

    lesson: Lesson
    tensors: dict[str, Tensor]

    @classmethod
    def between(cls, parent: Sam, taught: Sam, lesson: Lesson) -> TaughtModel:
        """Keep of a taught network what differs from its parent, in half precision.

        Raises
        ------
        ValueError
            If a weight isn't finite in half precision.
        """
        before = parent.state_dict()
        changed: dict[str, Tensor] = {}
        for name, value in taught.state_dict().items():
            if torch.equal(value.cpu(), before[name].cpu()):
                continue
            half = value.detach().to("cpu", torch.float16).contiguous()
            if not half.isfinite().all():
                raise ValueError(f"expected finite weights, got others in {name}: it can't be used")
            changed[name] = half
        return cls(lesson, changed)

    def applied_to(self, parent: Sam) -> Sam:
        """Return the taught network; the parent stays as it is.

        Raises
        ------
        CheckpointError
            If it is another parent.
        """
        key = model_key(parent)
        if key != self.lesson.parent_key:
            raise CheckpointError(
                f"expected the model {self.lesson.parent} ({self.lesson.parent_key[:8]}), which "
                f"was taught, got {parent.config.name} ({key[:8]}); give that model"
            )
        values: dict[str, Any] = dict(parent.state_dict())
        for name, tensor in self.tensors.items():
            if name not in values or values[name].shape != tensor.shape:
                raise CheckpointError(
                    f"expected tensors of the model {self.lesson.parent}, got {name[:80]!r} of "
                    f"shape {tuple(tensor.shape)}; the file is damaged"
                )
            values[name] = tensor.float()
        sam = build(parent.config)
        sam.load_state_dict(values, strict=True)
        return sam.eval()
