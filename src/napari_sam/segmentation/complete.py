"""Base class of segmenters whose embeddings need no more encoding after `embed`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from napari_sam.geometry import Frame, fit_frame
from napari_sam.image import Limits
from napari_sam.prompts import Box, Prompts
from napari_sam.segmentation.features import mean_of, similarity_of, unit_features
from napari_sam.segmentation.protocol import (
    Draft,
    Embedding,
    MaskPrediction,
    Multimask,
    Progress,
    Proposals,
    check_embedding,
    embed_whole,
)
from napari_sam.segmentation.traits import Traits


class CompleteSegmenter(ABC):
    """A segmenter that decodes any prompts from an embedding alone, without encoding more."""

    traits: Traits
    encoder_key: str
    model_key: str

    @property
    @abstractmethod
    def device(self) -> str:
        """Device the network is on."""

    @property
    @abstractmethod
    def precision(self) -> str:
        """Precision of the image encoder."""

    @abstractmethod
    def embed_pixels(
        self,
        pixels: NDArray[np.uint8],
        frame: Frame | None = None,
        progress: Progress | None = None,
    ) -> Embedding:
        """Encode normalised grey values; see :meth:`PixelSegmenter.embed_pixels`."""

    @abstractmethod
    def decode_many(
        self,
        embedding: Embedding,
        prompts: Sequence[Prompts],
        multimask: Multimask = "auto",
        window: int | None = None,
    ) -> list[MaskPrediction]:
        """Predict many objects of one plane; see :meth:`Segmenter.decode_many`."""

    @abstractmethod
    def propose(
        self, embedding: Embedding, quick: bool = False, progress: Progress | None = None
    ) -> Proposals | None:
        """Find objects with the dense head; see :meth:`Segmenter.propose`."""

    def embed(
        self,
        plane: ArrayLike,
        contrast_limits: Limits | None = None,
        progress: Progress | None = None,
        scale: float | None = None,
    ) -> Embedding:
        """Encode a plane; see :meth:`Segmenter.embed` and :func:`~napari_sam.image.normalise`."""
        return embed_whole(self, plane, contrast_limits, progress, scale)

    def decode(
        self,
        embedding: Embedding,
        prompts: Prompts,
        multimask: Multimask = "auto",
        progress: Progress | None = None,
    ) -> MaskPrediction:
        """Predict one object; see :meth:`Segmenter.decode`.

        Raises
        ------
        ValueError
            For another encoder's embedding, logits of another frame, empty prompts, or prompts
            outside the plane.
        """
        return self.decode_many(embedding, [prompts], multimask)[0]

    def draft(self, embedding: Embedding, prompts: Prompts, multimask: Multimask = "auto") -> Draft:
        """Predict one object, finally; see :meth:`Segmenter.draft`."""
        return Draft(self.decode(embedding, prompts, multimask), True)

    def draft_many(
        self, embedding: Embedding, prompts: Sequence[Prompts], multimask: Multimask = "auto"
    ) -> list[Draft | None]:
        """Predict many objects, finally; see :meth:`Segmenter.draft_many`."""
        return [Draft(one, True) for one in self.decode_many(embedding, prompts, multimask)]

    def _frame_of(self, pixels: NDArray[np.uint8], frame: Frame | None) -> Frame:
        """Return the frame of some pixels, that of a whole plane by default; refuse another's."""
        shape = (pixels.shape[0], pixels.shape[1])
        frame = frame or fit_frame(shape, self.traits.geometry)
        if shape != frame.shape:
            raise ValueError(f"expected pixels of the frame's shape {frame.shape}, got {shape}")
        return frame

    @torch.inference_mode()
    def mean_features(
        self, embedding: Embedding, masks: Iterable[NDArray[np.bool_]]
    ) -> NDArray[np.float32]:
        """Average the features of masks; see :meth:`Segmenter.mean_features`."""
        check_embedding(embedding, self)
        return mean_of(unit_features(embedding.features), embedding.frame, masks)

    @torch.inference_mode()
    def similarity(self, embedding: Embedding, vectors: ArrayLike) -> NDArray[np.float32]:
        """Multiply the plane's features by vectors; see :meth:`Segmenter.similarity`."""
        check_embedding(embedding, self)
        features = unit_features(embedding.features)
        return similarity_of(features, embedding.frame, self.traits.stride, vectors)

    def prepare(  # noqa: B027 - there is nothing to do
        self,
        embedding: Embedding,
        prompts: Prompts | None = None,
        progress: Progress | None = None,
        every_scale: bool = False,
    ) -> None:
        """Do nothing: an embedding is complete."""

    def is_ready(self, embedding: Embedding, prompts: Prompts, every_scale: bool = False) -> bool:
        """Return True: an embedding is complete."""
        return True

    def prepare_view(  # noqa: B027 - there is nothing to do
        self,
        embedding: Embedding,
        view: Box,
        progress: Progress | None = None,
        finest: bool = False,
    ) -> None:
        """Do nothing: an embedding is complete."""

    def is_view_ready(self, embedding: Embedding, view: Box) -> bool:
        """Return True: an embedding is complete."""
        return True
