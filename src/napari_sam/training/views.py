"""Pictures of taught objects as a model sees them: cut out, turned, varied, and embedded once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_sam.examples import Example
from napari_sam.geometry import Frame, Geometry, fit_frame
from napari_sam.image import normalise, resize_pixels
from napari_sam.model.config import SamConfig
from napari_sam.model.sam import Sam
from napari_sam.segmentation.network import SamSegmenter
from napari_sam.training.boxes import label_boxes
from napari_sam.training.data import usual_diameter
from napari_sam.training.examples import ObjectOf

Rng = np.random.Generator
_Kind = TypeVar("_Kind", bound=np.generic)

# Views of each object, and of all together.
_OF_EACH, _FEWEST, _MOST = 4, 12, 96
# A view is as wide as so many times its object, within these sides in model pixels.
_ROOM, _LEAST_SIDE = 2.2, 256
# Logarithm of the magnification of a view: how far to either side of the session's.
_SPREAD, _HEAD_SPREAD = 0.35, 0.45
_GAMMA, _CONTRAST, _BRIGHTNESS = 0.2, 0.15, 0.05
# Sides of the windows that objects are decoded in, in model pixels.
_WINDOWS = (128, 160, 192, 224)
# An object is in a view if so much of it is.
_WHOLE = 0.95


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A picture of some objects.

    Parameters
    ----------
    pixels
        `(h, w, 3)` uint8 grey values.
    frame
        How they fit the model's input.
    labels
        `(h, w)` int32, 0 where nothing is labelled.
    complete
        `(h, w)` bool: where 0 is background.
    objects
        Labels that are in it whole.
    features
        What the encoder made of it, levels `(1, C, h, w)`.
    example
        Number of the example it was cut out of.
    boxes
        `(N + 1, 4)` edges by label, see :func:`~napari_sam.training.boxes.label_boxes`.
    """

    pixels: NDArray[np.uint8]
    frame: Frame
    labels: NDArray[np.int32]
    complete: NDArray[np.bool_]
    objects: tuple[int, ...]
    features: tuple[Tensor, ...]
    example: int = 0
    boxes: NDArray[np.float32] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "boxes", label_boxes(self.labels))

    @property
    def on_canvas(self) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """Labels, and where they are complete, of each model pixel: `(H, W)` of the canvas."""
        canvas, scaled = self.frame.canvas, self.frame.scaled
        xy = np.stack(np.meshgrid(np.arange(scaled[1]), np.arange(scaled[0])), -1)
        at = np.rint(self.frame.to_plane(xy)).astype(np.int64)
        at = np.clip(at, 0, np.subtract(self.labels.shape, 1))
        labels, complete = np.zeros(canvas, np.int32), np.zeros(canvas, bool)
        inside = slice(scaled[0]), slice(scaled[1])
        labels[inside] = self.labels[at[..., 0], at[..., 1]]
        complete[inside] = self.complete[at[..., 0], at[..., 1]]
        return labels, complete


def session_scale(example: Example, geometry: Geometry) -> float:
    """Model pixels per pixel of the plane as a session sees it: in one piece, or in tiles."""
    longest = max(example.plane_shape or example.labels.shape)
    return geometry.default_scale(longest) if longest <= geometry.input_size else 1.0


class ViewMaker:
    """Makes views of examples, the same ones for the same seed.

    Parameters
    ----------
    segmenter
        Embeds them.
    examples, chosen
        The planes, and the objects to show. Others stay unlabelled.
    seed
        Of what is drawn.
    """

    def __init__(
        self,
        segmenter: SamSegmenter,
        examples: Sequence[Example],
        chosen: Sequence[ObjectOf],
        seed: int,
    ) -> None:
        self._segmenter = segmenter
        self._geometry = segmenter.traits.geometry
        self._examples = examples
        self._chosen = list(chosen)
        self._seed = seed
        self._pixels = [normalise(one.image, one.contrast_limits) for one in examples]
        kept = [{label for i, label in chosen if i == number} for number in range(len(examples))]
        self._labels = [
            np.where(np.isin(one.labels, list(labels)), one.labels, 0).astype(np.int32)
            for one, labels in zip(examples, kept, strict=True)
        ]
        self._boxes = [label_boxes(labels) for labels in self._labels]
        self._sizes = [np.bincount(labels.ravel()) for labels in self._labels]
        # what is held back is unknown, wherever everything else is known
        self._complete = [
            np.zeros(one.labels.shape, bool)
            if one.complete is None
            else one.complete & ((one.labels == 0) | (labels > 0))
            for one, labels in zip(examples, self._labels, strict=True)
        ]

    def count(self) -> int:
        """How many views of all objects :meth:`as_clicked` makes."""
        if not self._geometry.has_choice:  # an encoder that takes seconds a view
            return min(len(self._chosen), _FEWEST // 2)
        return min(max(_OF_EACH * len(self._chosen), _FEWEST), _MOST)

    def as_clicked(self) -> Iterator[View]:
        """Show objects as a session does, and varied: for what decodes prompts."""
        order = np.random.default_rng((self._seed, 0)).permutation(len(self._chosen))
        plain = max(1, self.count() // _OF_EACH)
        if not self._geometry.has_choice:
            plain = self.count()
        for number in range(self.count()):
            rng = np.random.default_rng((self._seed, 1, number))
            example, label = self._chosen[order[number % len(order)]]
            scale = session_scale(self._examples[example], self._geometry)
            varied = number >= plain
            if varied and self._geometry.has_choice:
                scale *= float(np.exp(rng.uniform(-_SPREAD, _SPREAD)))
            yield self._view(example, label, scale, rng, varied)

    def as_found(self, count: int, diameter: float) -> Iterator[View]:
        """Show objects at the scale at which a head finds them.

        Parameters
        ----------
        count
            Number of views.
        diameter
            At which the head sees objects best, in model pixels.
        """
        order = np.random.default_rng((self._seed, 2)).permutation(len(self._chosen))
        usual = [usual_diameter(labels) for labels in self._labels]
        for number in range(count):
            rng = np.random.default_rng((self._seed, 3, number))
            example, label = self._chosen[order[number % len(order)]]
            scale = diameter / max(usual[example], 1.0)
            scale *= float(np.exp(rng.uniform(-_HEAD_SPREAD, _HEAD_SPREAD)))
            yield self._view(example, label, scale, rng, varied=True)

    def _view(self, number: int, label: int, scale: float, rng: Rng, varied: bool) -> View:
        """Cut a view of one object out of its plane."""
        labels, shape = self._labels[number], self._labels[number].shape
        box = self._boxes[number][label]
        extent = float((box[2:] - box[:2]).max())
        wanted = min(max(_ROOM * extent * scale, _LEAST_SIDE), self._geometry.input_size)
        if not self._geometry.has_choice:
            wanted = self._geometry.input_size
        # an object that doesn't fit is shown smaller
        scale = min(scale, 0.95 * wanted / extent)
        reach = max(1, min(round(wanted / scale), max(shape)))
        corner = []
        for low, high, length in zip(box[:2], box[2:], shape, strict=True):
            side = min(reach, length)
            first, last = max(0, int(high) - side), min(int(low), length - side)
            first, last = min(first, last), max(first, last)
            middle = (int(low) + int(high) - side) / 2
            at = middle if not varied else rng.uniform(first, last)
            corner.append(int(np.clip(round(at), 0, length - side)))
        cut = tuple(slice(a, a + min(reach, n)) for a, n in zip(corner, shape, strict=True))
        pixels, known = self._pixels[number][cut], self._complete[number][cut]
        seen = labels[cut]
        sizes, whole = np.bincount(seen.ravel(), minlength=1), self._sizes[number]
        objects = [
            int(one) for one in np.flatnonzero(sizes) if one and sizes[one] >= _WHOLE * whole[one]
        ]
        if varied:
            turns, flipped = int(rng.integers(4)), rng.random() < 0.5
            pixels = _vary_light(_turned(pixels, turns, flipped), rng)
            seen, known = _turned(seen, turns, flipped), _turned(known, turns, flipped)
        frame = fit_frame((seen.shape[0], seen.shape[1]), self._geometry, scale=scale)
        return View(
            np.ascontiguousarray(pixels),
            frame,
            np.ascontiguousarray(seen, np.int32),
            np.ascontiguousarray(known),
            tuple(objects),
            embedded(self._segmenter, pixels, frame),
            number,
        )


def view_of_crop(
    segmenter: SamSegmenter, pixels: NDArray[np.uint8], labels: NDArray[np.integer]
) -> View:
    """Make a view of a crop that is labelled completely, at its own scale."""
    frame = fit_frame((labels.shape[0], labels.shape[1]), segmenter.traits.geometry, scale=1.0)
    ids, sizes = np.unique(labels, return_counts=True)
    large = sizes >= min(24, int(sizes[ids > 0].max(initial=0)))
    objects = tuple(int(one) for one in ids[large] if one)
    return View(
        pixels,
        frame,
        np.asarray(labels, np.int32),
        np.ones(labels.shape, bool),
        objects,
        embedded(segmenter, pixels, frame),
    )


def embedded(
    segmenter: SamSegmenter, pixels: NDArray[np.uint8], frame: Frame
) -> tuple[Tensor, ...]:
    """Embed a view, for a decoder that learns: an ordinary copy of the features."""
    features = segmenter.embed_pixels(np.ascontiguousarray(pixels), frame).features
    return tuple(f.detach().clone().float() for f in features)


def embedded_again(model: Sam, view: View) -> tuple[Tensor, ...]:
    """Embed a view with an encoder that learns."""
    device = model.pixel_mean.device
    scaled = torch.from_numpy(resize_pixels(view.pixels, view.frame.scaled)).to(device)
    x = model.preprocess(scaled.permute(2, 0, 1)[None].float(), view.frame.canvas)
    features: tuple[Tensor, ...] = model.image_encoder(
        x.contiguous(memory_format=torch.channels_last)
    )
    return features


@dataclass(frozen=True, slots=True, eq=False)
class Picked:
    """Objects of a batch, in windows of equal size.

    Parameters
    ----------
    features
        Levels `(N, C, h, w)`.
    target
        `(N, 1, 4·h, 4·w)` shares of foreground.
    side
        Longer side of a window, in model pixels.
    """

    features: tuple[Tensor, ...]
    target: Tensor
    side: int


def window_for(views: Sequence[tuple[View, int]], config: SamConfig, rng: Rng) -> int:
    """Draw the side of a window, in model pixels, that shows each of some objects whole."""
    side = int(rng.choice(_WINDOWS))
    largest = max(extent_of(view, label) for view, label in views)
    return max(side, math.ceil(config.tuning.windows.room * largest))


def extent_of(view: View, label: int) -> float:
    """Longer side of an object, in model pixels."""
    y0, x0, y1, x1 = _cells_of(view, label, 1)
    return max(y1 - y0, x1 - x0) + 1


def pick(
    views: Sequence[tuple[View, int]],
    config: SamConfig,
    rng: Rng,
    side: int,
    features: Sequence[tuple[Tensor, ...]] | None = None,
) -> Picked:
    """Cut windows around objects, as decoding does where the model decodes windows.

    Parameters
    ----------
    views
        A view and a label in it for each object.
    config
        Of the model.
    rng
        Draws where in the windows the objects lie.
    side
        Of the windows, in model pixels.
    features
        Of the views, where they aren't those that the views keep.
    """
    stride, step = config.stride, config.decoder_pooling
    given = [view.features for view, _ in views] if features is None else list(features)
    grids = [f[0].shape[2:] for f in given]
    boxes = [_cells_of(view, label, stride) for view, label in views]
    largest = min(min(g) for g in grids)
    cells = largest
    if config.decodes_windows:
        cells = min(math.ceil(side / stride / step) * step, largest // step * step)
    parts, targets = [], []
    for (view, label), levels, grid, box in zip(views, given, grids, boxes, strict=True):
        height = cells if config.decodes_windows else grid[0]
        width = cells if config.decodes_windows else grid[1]
        row, column = (
            _corner(box[a], box[a + 2], n, whole, step, rng)
            for a, n, whole in zip((0, 1), (height, width), grid, strict=True)
        )
        cut = []
        for level in levels:
            k = level.shape[2] // grid[0]
            rows = slice(k * row, k * (row + height))
            columns = slice(k * column, k * (column + width))
            cut.append(level[0, :, rows, columns])
        parts.append(cut)
        share = view.frame.reduce(view.labels == label, view.frame.low_res(config.mask_stride))
        fine = stride // config.mask_stride
        part = share[fine * row : fine * (row + height), fine * column : fine * (column + width)]
        targets.append(torch.from_numpy(np.ascontiguousarray(part)))
    levels = tuple(
        torch.stack([one[i] for one in parts]).contiguous(memory_format=torch.channels_last)
        for i in range(len(parts[0]))
    )
    target = torch.stack(targets)[:, None].to(levels[0].device)
    return Picked(levels, target, stride * max(levels[0].shape[2:]))


def _cells_of(view: View, label: int, stride: int) -> tuple[float, float, float, float]:
    """Box of an object in cells of the embedding: (row 0, column 0, row 1, column 1)."""
    first, last = np.split(view.boxes[label].astype(np.float64), 2)
    ends = np.stack([first, last - 1])
    (x0, y0), (x1, y1) = view.frame.to_model(ends) / stride
    return y0, x0, y1, x1


def _corner(low: float, high: float, length: int, whole: int, step: int, rng: Rng) -> int:
    """Place a window around an object, more or less in its middle."""
    free = length - (high - low)
    at = (low + high - length) / 2 + rng.uniform(-0.35, 0.35) * max(free, 0.0)
    return int(np.clip(round(at / step) * step, 0, whole - length))


def _turned(array: NDArray[_Kind], turns: int, flipped: bool) -> NDArray[_Kind]:
    turned = np.rot90(array, turns)
    return turned[:, ::-1] if flipped else turned


def _vary_light(pixels: NDArray[np.uint8], rng: Rng) -> NDArray[np.uint8]:
    """Vary gamma, contrast and brightness, as other limits of the display would."""
    gamma = float(np.exp(rng.normal(0, _GAMMA)))
    gain, shift = float(np.exp(rng.normal(0, _CONTRAST))), float(rng.normal(0, _BRIGHTNESS))
    values = (np.arange(256, dtype=np.float64) / 255) ** gamma
    values = (values - 0.5) * gain + 0.5 + shift
    table = (values.clip(0, 1) * 255).round().astype(np.uint8)
    return table[pixels]
