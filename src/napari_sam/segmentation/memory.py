"""What a model remembers of an object on the planes that were passed, where it can remember.

A segmenter is stateless: a memory is a value, made by one call and used by others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from napari_sam.geometry import Frame
from napari_sam.patches import Patch
from napari_sam.segmentation.prediction import MaskPrediction
from napari_sam.segmentation.protocol import (
    DelegatingSegmenter,
    Embedding,
    PixelSegmenter,
    Progress,
    Segmenter,
)

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Memory:
    """What a model remembers of an object on one plane.

    Parameters
    ----------
    features
        `(C, h, w)` in bfloat16, on the CPU: the plane's features with the mask in them. None
        once only the pointer counts.
    pointer
        `(D,)` in float32, on the CPU: what the object is.
    is_given
        Whether the mask was given. Such a memory counts at any distance, also from a plane that
        is still ahead.
    frame
        Of the embedding.
    model_key
        Of the model that made it; see :attr:`Segmenter.model_key`.
    """

    features: Tensor | None
    pointer: Tensor
    is_given: bool
    frame: Frame
    model_key: str

    @property
    def nbytes(self) -> int:
        """Memory of its tensors in bytes."""
        return self.pointer.nbytes + (0 if self.features is None else self.features.nbytes)

    def faded(self) -> Memory:
        """Return what is left of it where only the pointer counts."""
        return self if self.features is None else replace(self, features=None)


@dataclass(frozen=True, slots=True, eq=False)
class Past:
    """A memory, seen from another plane.

    Parameters
    ----------
    memory
        Of the object.
    distance
        Planes from there to the plane in question; negative for a given one that lies ahead.
    """

    memory: Memory
    distance: int


@dataclass(frozen=True, slots=True, eq=False)
class Recalled:
    """An object that was found from memories.

    Parameters
    ----------
    prediction
        Its only candidate; empty where it isn't there.
    presence
        Probability that it is there, 0-1, as the model has it; below 0.5 it isn't.
    memory
        Of this plane.
    """

    prediction: MaskPrediction
    presence: float
    memory: Memory


class PlaneMemory(Protocol):
    """Makes and uses memories of planes that a model sees in one piece."""

    def remember(
        self, embedding: Embedding, masks: Sequence[Patch], progress: Progress | None = None
    ) -> list[Memory]:
        """Return what is remembered of objects whose masks are given.

        Parameters
        ----------
        embedding
            Of the plane, in one piece: with features.
        masks
            One of each object, not empty.
        progress
            Called with the finished fraction between objects; it may raise
            :class:`~napari_sam.Cancelled`.

        Raises
        ------
        ValueError
            For an empty mask, or the embedding of another encoder or of a plane in tiles.
        """
        ...

    def recall(
        self,
        embedding: Embedding,
        pasts: Sequence[Sequence[Past]],
        count: int,
        progress: Progress | None = None,
    ) -> list[Recalled]:
        """Find objects from what is remembered of them, on the way from plane to plane.

        Parameters
        ----------
        embedding
            Of the plane, in one piece: with features.
        pasts
            Of each object: all that was given, and what was recalled behind. Of the latter,
            features count over :attr:`Traits.memory_planes` and pointers over
            :attr:`Traits.memory_pointers` planes.
        count
            Number of planes of the stack: a model may weigh distances by it.
        progress
            As of :meth:`remember`.

        Raises
        ------
        ValueError
            If nothing is remembered of an object, for a memory of another model or frame, or as
            :meth:`remember` does.
        """
        ...


@runtime_checkable
class Remembering(Protocol):
    """A segmenter that may have a memory."""

    @property
    def memory(self) -> PlaneMemory | None:
        """What makes and uses memories; None for a model without."""
        ...


def memory_of(segmenter: Segmenter | PixelSegmenter) -> PlaneMemory | None:
    """Return what makes and uses a model's memories, below all wrappers; None without any."""
    while isinstance(segmenter, DelegatingSegmenter):
        segmenter = segmenter.wrapped
    return segmenter.memory if isinstance(segmenter, Remembering) else None


def check_whole(embedding: Embedding) -> None:
    """Refuse the embedding of a plane in tiles.

    Raises
    ------
    ValueError
        If it is one.
    """
    if not embedding.features:
        raise ValueError(
            "expected a plane that the model sees in one piece, got one in tiles, of which nothing "
            "is remembered; follow by boxes and masks, or load the model with tiles=False"
        )


def check_masks(masks: Sequence[Patch]) -> None:
    """Refuse empty masks.

    Raises
    ------
    ValueError
        If there is one.
    """
    if any(mask.is_empty for mask in masks):
        raise ValueError("expected masks with at least one pixel to remember, got an empty one")


def check_pasts(pasts: Sequence[Sequence[Past]], embedding: Embedding, model_key: str) -> None:
    """Refuse memories that a model can't use for a plane.

    Raises
    ------
    ValueError
        If they are another model's or frame's, or there are none of an object.
    """
    for past in pasts:
        if not any(one.memory.is_given for one in past):
            raise ValueError(
                "expected a memory of each object where it was given, got none; remember its mask "
                "on some plane first"
            )
        for one in past:
            if one.memory.model_key != model_key:
                raise ValueError(
                    f"expected memories of this model ({model_key[:8]}), got one of another "
                    f"({one.memory.model_key[:8]}); remember the object again"
                )
            if one.memory.frame != embedding.frame:
                raise ValueError(
                    f"expected memories of planes in the frame {embedding.frame}, got one in "
                    f"{one.memory.frame}; remember planes of one stack"
                )
