"""A model whose every answer is known at every scale, to be cut into tiles."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy import ndimage
from small_models import HYBRID

from napari_sam.geometry import fit_frame
from napari_sam.segmentation.protocol import Embedding, MaskPrediction
from napari_sam.segmentation.traits import Traits


class Bright:
    """A model whose mask is the bright component that it sees under the first prompt."""

    traits, device, precision = Traits.of(HYBRID), "cpu", "float32"
    encoder_key = model_key = "bright"

    def __init__(self):
        self.frames = []

    def embed_pixels(self, pixels, frame=None, progress=None):
        frame = frame or fit_frame(pixels.shape[:2], self.traits.geometry)
        self.frames.append(frame)
        components, _ = ndimage.label(pixels[..., 0] > 127)
        return Embedding((torch.from_numpy(components),), frame, "bright", "float32")

    def decode_many(self, embedding, prompts, multimask="auto", window=None):
        return [self._decode(embedding, one) for one in prompts]

    def _decode(self, embedding, prompts):
        frame, seen = embedding.frame, embedding.features[0].numpy()
        at = prompts.points[0] if len(prompts.points) else np.reshape(prompts.box, (2, 2)).mean(0)
        here = seen[tuple((np.asarray(at) - frame.origin).astype(int))]
        logits = 2 * frame.reduce((seen == here) & (here > 0), frame.canvas) - 1
        return MaskPrediction(logits[None].astype(np.float32), np.ones(1, np.float32), frame)


class Nearsighted(Bright):
    """A model that knows objects of up to 150 model pixels; of larger ones it sees a piece."""

    traits = Traits.of(replace(HYBRID, image_size=512))

    def __init__(self, surest=0.9):
        super().__init__()
        self.surest = surest

    def embed_pixels(self, pixels, frame=None, progress=None):
        frame = frame or fit_frame(pixels.shape[:2], self.traits.geometry)
        return super().embed_pixels(pixels, frame, progress)

    def _decode(self, embedding, prompts):
        frame = embedding.frame
        whole = super()._decode(embedding, prompts)
        side = np.sqrt((whole.logits > 0).sum())
        if side <= 150:
            return MaskPrediction(whole.logits, np.float32([self.surest]), frame)
        piece = np.full_like(whole.logits, -1.0)
        column, row = frame.to_model(prompts.places.mean(0)).astype(int)
        piece[:, row - 5 : row + 5, column - 5 : column + 5] = 1.0
        return MaskPrediction(piece, np.float32([0.5]), frame)


def square(r, c, side, shape=(150, 200)):
    plane = np.zeros(shape, np.uint8)
    plane[r : r + side, c : c + side] = 255
    return plane
