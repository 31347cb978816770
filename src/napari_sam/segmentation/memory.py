"""Memories of an object on planes, for models with a memory such as SAM 2.1.

Segmenters are stateless: a memory is a value that one call returns and others are given.
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
    """A model's memory of an object on one plane.

    Parameters
    ----------
    features
        `(C, h, w)` in bfloat16, on the CPU: the plane's features fused with the mask. None once
        only the pointer is used.
    pointer
        `(D,)` in float32, on the CPU: the object pointer, which represents the object.
    is_given
        Whether the mask was given. Such a memory is used at any distance, also on the planes
        before it.
    frame
        Frame of the embedding.
    model_key
        Key of the model that made it; see :attr:`Segmenter.model_key`.
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
        """Return the memory without its features, where only the pointer is used."""
        return self if self.features is None else replace(self, features=None)


@dataclass(frozen=True, slots=True, eq=False)
class Past:
    """A memory with its distance from the current plane.

    Parameters
    ----------
    memory
        Memory of the object.
    distance
        Number of planes from the memory's plane to the current one; negative for a given memory
        of a plane that lies ahead.
    """

    memory: Memory
    distance: int


@dataclass(frozen=True, slots=True, eq=False)
class Recalled:
    """An object that was found by its memories.

    Parameters
    ----------
    prediction
        Its only candidate, which is empty if the object isn't on the plane.
    presence
        Predicted probability that it is on the plane, 0-1; below 0.5 it isn't.
    memory
        Its memory of this plane.
    """

    prediction: MaskPrediction
    presence: float
    memory: Memory


class PlaneMemory(Protocol):
    """Encode memories, and find objects by them, on planes that are encoded in one piece."""

    def remember(
        self, embedding: Embedding, masks: Sequence[Patch], progress: Progress | None = None
    ) -> list[Memory]:
        """Return the memories of objects on a plane from their masks.

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
        """Find objects on a plane by their memories of other planes.

        Parameters
        ----------
        embedding
            Of the plane, in one piece: with features.
        pasts
            The memories of each object: all given ones, and those of the planes passed, whose
            features are used over :attr:`Traits.memory_planes` planes and whose pointers are
            used over :attr:`Traits.memory_pointers` planes.
        count
            Number of planes of the stack: a model may weigh distances by it.
        progress
            As of :meth:`remember`.

        Raises
        ------
        ValueError
            If an object has no memory, for a memory of another model or frame, or as
            :meth:`remember` does.
        """
        ...


@runtime_checkable
class Remembering(Protocol):
    """A segmenter that may have a memory."""

    @property
    def memory(self) -> PlaneMemory | None:
        """Encodes and uses memories; None for a model without a memory."""
        ...


def memory_of(segmenter: Segmenter | PixelSegmenter) -> PlaneMemory | None:
    """Return a model's :class:`PlaneMemory`, below all wrappers; None without a memory."""
    while isinstance(segmenter, DelegatingSegmenter):
        segmenter = segmenter.wrapped
    return segmenter.memory if isinstance(segmenter, Remembering) else None


def check_whole(embedding: Embedding) -> None:
    """Raise an error for the embedding of a plane in tiles.

    Raises
    ------
    ValueError
        If the plane is in tiles.
    """
    if not embedding.features:
        raise ValueError(
            "expected a plane that the model sees in one piece, got one in tiles, of which nothing "
            "is remembered; follow by boxes and masks, or load the model with tiles=False"
        )


def check_masks(masks: Sequence[Patch]) -> None:
    """Raise an error for empty masks.

    Raises
    ------
    ValueError
        If a mask is empty.
    """
    if any(mask.is_empty for mask in masks):
        raise ValueError("expected masks with at least one pixel to remember, got an empty one")


def check_pasts(pasts: Sequence[Sequence[Past]], embedding: Embedding, model_key: str) -> None:
    """Raise an error for memories that a model can't use on a plane.

    Raises
    ------
    ValueError
        If a memory is of another model or frame, or an object has no memory.
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
