"""A segmenter without a network: objects are connected bright pixels, so every answer is known."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage

from napari_sam.geometry import Frame
from napari_sam.image import normalise
from napari_sam.model.config import SamConfig, ViTConfig
from napari_sam.patches import cut
from napari_sam.prompts import Prompts
from napari_sam.segmentation.concepts import Concept, Instance
from napari_sam.segmentation.protocol import (
    ConceptSegmenter,
    Draft,
    Embedding,
    MaskPrediction,
    PixelSegmenter,
    Progress,
    Proposals,
)
from napari_sam.segmentation.traits import Traits

CONFIG = SamConfig("components", 64, ViTConfig(8, 1, 1, (0,)))


class ComponentSegmenter:
    """The object of a prompt is the bright component it touches most.

    A single click has three candidates: the component, itself grown by a pixel, and everything.

    Parameters
    ----------
    dense
        Whether it proposes the box of each component.
    """

    def __init__(self, dense: bool = False, key: str = "components") -> None:
        self.traits = replace(Traits.of(CONFIG), proposes=dense)
        self.encoder_key = self.model_key = key
        self.device, self.precision = "cpu", "float32"
        self.embedded: list[np.ndarray] = []
        self.limits: list[tuple[float, float] | None] = []
        self.scales: list[float | None] = []

    def embed(self, plane, contrast_limits=None, progress=None, scale=None) -> Embedding:
        self.limits.append(contrast_limits)
        self.scales.append(scale)
        return self.embed_pixels(normalise(plane, contrast_limits), progress=progress)

    def embed_pixels(self, pixels, frame=None, progress=None) -> Embedding:
        if progress:
            progress(0.5)
        self.embedded.append(pixels)
        components, _ = ndimage.label(pixels[..., 0] > 127)
        shape = pixels.shape[:2]
        frame = frame or Frame(shape, (0, 0), shape, shape, shape, "own")
        if progress:
            progress(1.0)
        features = (torch.from_numpy(components)[None, None].float(),)
        return Embedding(features, frame, self.encoder_key, self.precision)

    def decode(self, embedding, prompts, multimask="auto", progress=None) -> MaskPrediction:
        prompts.check(embedding.frame.plane_shape)
        components = embedding.features[0][0, 0].numpy().astype(int)
        chosen = components == self._touched(components, prompts)
        single = len(prompts.points) == 1 and prompts.box is None and prompts.mask is None
        masks, scores = [chosen & (components > 0)], [0.9]
        if multimask is True or (multimask == "auto" and single):
            masks += [ndimage.binary_dilation(masks[0]), np.ones_like(masks[0])]
            scores += [0.7, 0.4]
        if not masks[0].any():
            scores[0] = 0.0
        logits = np.where(masks, 5.0, -5.0).astype(np.float32)
        return MaskPrediction(logits, np.array(scores, np.float32), embedding.frame)

    def draft(self, embedding, prompts, multimask="auto") -> Draft | None:
        return Draft(self.decode(embedding, prompts, multimask), True)

    def draft_many(self, embedding, prompts, multimask="auto") -> list[Draft | None]:
        return [self.draft(embedding, one, multimask) for one in prompts]

    def decode_many(
        self, embedding, prompts, multimask="auto", window=None
    ) -> list[MaskPrediction]:
        return [self.decode(embedding, one, multimask) for one in prompts]

    def propose(self, embedding, quick=False, progress=None) -> Proposals | None:
        if not self.traits.proposes:
            return None
        components = embedding.features[0][0, 0].numpy().astype(int)
        boxes = [
            (rows.start, columns.start, rows.stop - 1, columns.stop - 1)
            for rows, columns in ndimage.find_objects(components)
        ]
        scores = np.linspace(1, 0.7, len(boxes), dtype=np.float32)
        if progress is not None:
            progress(0.5)
            progress(1.0)
        return Proposals(np.array(boxes, float).reshape(-1, 4), scores)

    def mean_features(self, embedding, masks) -> np.ndarray:
        bright = self._bright(embedding)
        means = [[np.mean(bright[mask] if mask.any() else 0), mask.any()] for mask in masks]
        return np.array(means, np.float32).reshape(-1, 2)

    def similarity(self, embedding, vectors) -> np.ndarray:
        bright = self._bright(embedding)
        features = np.stack([bright, np.ones_like(bright)])
        return np.einsum("nc,chw->nhw", np.asarray(vectors, np.float32), features)

    def _bright(self, embedding) -> np.ndarray:
        return (embedding.features[0][0, 0] > 0).float().numpy()

    def prepare(self, embedding, prompts=None, progress=None, every_scale=False) -> None:
        return None

    def is_ready(self, embedding, prompts, every_scale=False) -> bool:
        return True

    def prepare_view(self, embedding, view, progress=None, finest=False) -> None:
        return None

    def is_view_ready(self, embedding, view) -> bool:
        return True

    def _touched(self, components, prompts) -> int:
        inside = np.zeros(components.shape, bool)
        if prompts.mask is not None:
            patch, whole = prompts.mask_patch, (slice(0, len(inside)), slice(0, inside.shape[1]))
            inside |= prompts.mask > 0 if patch is None else patch.within(whole)
        elif prompts.box is not None:
            r0, c0, r1, c1 = (round(v) for v in prompts.box)
            inside[max(r0, 0) : r1 + 1, max(c0, 0) : c1 + 1] = True
        last = np.subtract(components.shape, 1)
        points = np.clip(prompts.points.round(), 0, last).astype(int)
        for (r, c), label in zip(points, prompts.point_labels, strict=True):
            inside[r, c] = bool(label)
        touched = components[inside & (components > 0)]
        return int(np.bincount(touched).argmax()) if len(touched) else 0


class ReadingSegmenter(ComponentSegmenter):
    """Knows two words: "bright" is every component, and "large" those of more than 150 pixels.

    Examples are of about their size. The score of an object falls with its number.
    """

    def __init__(self) -> None:
        super().__init__()
        self.traits = replace(self.traits, reads_text=True)

    def find_concept(
        self,
        embedding: Embedding,
        concept: Concept,
        least_score: float = 0.5,
        progress: Progress | None = None,
    ) -> list[Instance]:
        concept.check(embedding.frame.plane_shape)
        components = embedding.features[0][0, 0].numpy().astype(int)
        areas = np.bincount(components.ravel())
        wanted = np.full(len(areas), concept.text in ("bright", "")) | (
            (concept.text == "large") & (areas > 150)
        )
        for given, sign in ((concept.boxes, True), (concept.negative_boxes, False)):
            for box in given:
                size = areas[self._touched(components, Prompts(box=box))]
                alike = (areas > size / 2) & (areas < 2 * size)
                wanted &= alike if sign else ~alike
        found = []
        for number in np.flatnonzero(wanted[1:]) + 1:
            patch, score = cut(components == number), 0.95 - 0.1 * float(number - 1)
            if score > least_score:
                found.append(Instance(patch, patch.box, score, 1.0, (0, 0, *components.shape)))
        if progress is not None:
            progress(1.0)
        return found


if TYPE_CHECKING:
    _reads: ConceptSegmenter = ReadingSegmenter()
    _follows_the_protocol: PixelSegmenter = ComponentSegmenter()


def disks(shape, *circles) -> np.ndarray:
    """uint8 plane with bright disks, each (row, column, radius)."""
    rows, columns = np.indices(shape)
    plane = np.zeros(shape, np.uint8)
    for r, c, radius in circles:
        plane[(rows - r) ** 2 + (columns - c) ** 2 <= radius**2] = 255
    return plane
