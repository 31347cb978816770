"""A segmenter without a network: a disk around each positive click, none around negative ones."""

import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_sam.geometry import Frame
from napari_sam.model.config import SamConfig, ViTConfig
from napari_sam.planes import Plane
from napari_sam.segmentation.protocol import Draft, Embedding, MaskPrediction, Segmenter
from napari_sam.segmentation.traits import Traits

CONFIG = SamConfig("fake", 64, ViTConfig(8, 1, 1, (0,)))


class FakeSegmenter:
    """Disks: candidate k of a single click has the radius k + 1 times as large.

    Parameters
    ----------
    radius
        Of a click's disk, in pixels. A negative click clears a disk half as wide; a box is filled.
    blocks
        How often `embed` reports progress.
    seconds
        How long each block takes.
    """

    def __init__(
        self, radius: float = 4.0, blocks: int = 2, seconds: float = 0.0, key: str = "fake"
    ) -> None:
        self.radius, self.blocks, self.seconds = radius, blocks, seconds
        self.encoder_key = self.model_key = key
        self.traits, self.device, self.precision = Traits.of(CONFIG), "cpu", "float32"
        self.embedded: list[np.ndarray] = []
        self.limits: list[tuple[float, float] | None] = []
        self.decodes = 0
        self.may_embed = threading.Event()
        self.may_decode = threading.Event()
        self.may_embed.set()
        self.may_decode.set()
        self.error: Exception | None = None
        self.decode_error: Exception | None = None

    def embed(self, plane, contrast_limits=None, progress=None, scale=None) -> Embedding:
        plane = np.asarray(plane)
        for block in range(self.blocks):
            if progress:
                progress(block / self.blocks)
            time.sleep(self.seconds)
            while not self.may_embed.wait(0.005):
                if progress:
                    progress(block / self.blocks)
        if self.error:
            raise self.error
        self.embedded.append(plane)
        self.limits.append(contrast_limits)
        shape = plane.shape[:2]
        frame = Frame(shape, (0, 0), shape, shape, shape, "own")
        return Embedding((torch.zeros(1, 1, 4, 4),), frame, self.encoder_key, self.precision)

    def decode(self, embedding, prompts, multimask="auto", progress=None) -> MaskPrediction:
        self.may_decode.wait()
        if self.decode_error:
            raise self.decode_error
        self.decodes += 1
        sizes = (1, 2, 3) if prompts.is_single_click else (1,)
        logits = np.stack([self._logits(embedding.frame, prompts, n) for n in sizes])
        scores = np.array([0.9, 0.8, 0.7][: len(sizes)], np.float32)
        return MaskPrediction(logits, scores, embedding.frame)

    def draft(self, embedding, prompts, multimask="auto") -> Draft | None:
        return Draft(self.decode(embedding, prompts, multimask), True)

    def draft_many(self, embedding, prompts, multimask="auto") -> list[Draft | None]:
        return [self.draft(embedding, one, multimask) for one in prompts]

    def decode_many(
        self, embedding, prompts, multimask="auto", window=None
    ) -> list[MaskPrediction]:
        return [self.decode(embedding, p, multimask) for p in prompts]

    def propose(self, embedding, quick=False, progress=None) -> None:
        return None

    def mean_features(self, embedding, masks) -> np.ndarray:
        return np.array([[mask.any()] for mask in masks], np.float32).reshape(-1, 1)

    def similarity(self, embedding, vectors) -> np.ndarray:
        vectors = np.asarray(vectors, np.float32)
        return np.broadcast_to(vectors[..., None], (len(vectors), *embedding.frame.plane_shape))

    def prepare(self, embedding, prompts=None, progress=None, every_scale=False) -> None:
        return None

    def is_ready(self, embedding, prompts, every_scale=False) -> bool:
        return True

    def prepare_view(self, embedding, view, progress=None, finest=False) -> None:
        return None

    def is_view_ready(self, embedding, view) -> bool:
        return True

    def _logits(self, frame: Frame, prompts, size: int) -> np.ndarray:
        rows, columns = np.indices(frame.shape)
        inside = np.zeros(frame.shape, bool)
        if prompts.mask is not None:
            patch = prompts.mask_patch
            inside |= prompts.mask > 0 if patch is None else patch.within(frame.region)
        if prompts.box is not None:
            r0, c0, r1, c1 = prompts.box
            inside |= (rows >= r0) & (rows <= r1) & (columns >= c0) & (columns <= c1)
        for (r, c), label in zip(prompts.points, prompts.point_labels, strict=True):
            radius = self.radius * size if label else self.radius / 2
            disk = (rows - r) ** 2 + (columns - c) ** 2 <= radius**2
            inside = inside | disk if label else inside & ~disk
        return np.where(inside, 5.0, -5.0).astype(np.float32)


if TYPE_CHECKING:
    _follows_the_protocol: Segmenter = FakeSegmenter()


def disk(shape: tuple[int, int], point: Sequence[float], radius: float) -> np.ndarray:
    """The mask that a FakeSegmenter predicts from one positive click."""
    rows, columns = np.indices(shape)
    return (rows - point[0]) ** 2 + (columns - point[1]) ** 2 <= radius**2


def plane_at(*index: int | None) -> Plane:
    """Spell a plane: ``plane_at(3, None, None)``."""
    return index
