"""The plain segmenter: a network on a device."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from threading import Lock
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_sam.geometry import Frame
from napari_sam.image import resize_pixels
from napari_sam.model.config import ViTConfig
from napari_sam.model.cuda_graphs import CudaRecorder, Replays
from napari_sam.model.decode_windows import PromptTensors, Windows
from napari_sam.model.dense_head import DenseHead
from napari_sam.model.keys import encoder_key, instance_key, model_key
from napari_sam.model.sam import Sam
from napari_sam.model.taught import TaughtModel
from napari_sam.model.tiny_vit import ImageEncoderTinyViT
from napari_sam.model.tiny_vit_folded import fold
from napari_sam.model.two_way import FirstLayer, Positions
from napari_sam.prompts import Prompts
from napari_sam.segmentation.box_choice import choose_boxes, find_boxes
from napari_sam.segmentation.box_fit import fit_to_box
from napari_sam.segmentation.devices import DTYPES
from napari_sam.segmentation.on_device import CHUNK, MAX_READY, Latest, OnDevice
from napari_sam.segmentation.prompt_input import check_prompts, mask_logits
from napari_sam.segmentation.protocol import (
    Embedding,
    MaskPrediction,
    Multimask,
    Progress,
    Proposals,
    check_embedding,
)
from napari_sam.segmentation.tidying import tidy_logits
from napari_sam.segmentation.traits import Traits
from napari_sam.segmentation.window_choice import window_side


@dataclass(frozen=True, slots=True, eq=False)
class _Ready:
    """An embedding as the decoder wants it: on its device, in its format, partly worked out."""

    features: tuple[Tensor, ...]
    grid: tuple[int, int]
    first: FirstLayer | None


@dataclass(frozen=True, slots=True, eq=False)
class _Decoder:
    """A SAM's decoder as a function of tensors alone, to be recorded."""

    sam: Sam
    positions: Callable[[tuple[int, int]], Positions]
    multimask: bool

    def __call__(
        self,
        features: Tensor,
        points: Tensor | None,
        labels: Tensor | None,
        boxes: Tensor | None,
        masks: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        positions = self.positions((features.shape[2], features.shape[3]))
        return self.sam.decode(
            (features,), points, labels, boxes, masks, self.multimask, positions=positions
        )


class SamSegmenter(OnDevice):
    """A network on a device. Safe to use from several threads at once.

    Parameters
    ----------
    sam
        Network with its weights, in float32 on the CPU. It is moved and must not be used by
        others afterwards.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.
    precision
        Of the image encoder: ``"auto"``, ``"float32"``, ``"bfloat16"``, ``"float16"``. The decoder
        of a SAM computes in bfloat16 along with it, and in float32 otherwise.

    Raises
    ------
    ValueError
        For an unknown or absent device, or an unknown precision.
    """

    def __init__(self, sam: Sam, device: str = "auto", precision: str = "auto") -> None:
        self.config = sam.config
        self.traits = replace(Traits.of(sam.config), instance_key=instance_key(sam))
        self.encoder_key, self.model_key = encoder_key(sam), model_key(sam)
        self._choose(device, precision, self.traits.gains_in_half)
        self._sam = sam.eval().requires_grad_(False)
        # the network itself stays as its checkpoint has it: it is copied, taught and saved
        encoder = sam.image_encoder
        self._encoder = fold(encoder) if isinstance(encoder, ImageEncoderTinyViT) else encoder
        self._derived: Latest[_Ready] = Latest()
        # a twentieth of the features in size, so there is no limit to how many are kept
        self._cell_boxes: WeakKeyDictionary[Embedding, tuple[Tensor, Tensor]] = WeakKeyDictionary()
        self._positions = lru_cache(maxsize=2 * MAX_READY)(self._sam.positions)
        self._place()
        self._lock = Lock()

    @property
    def network(self) -> Sam:
        """The network, on its device: to be read and copied, never to be changed."""
        return self._sam

    @property
    def taught(self) -> TaughtModel | None:
        """What makes the network another than its parent; None for one that nobody taught."""
        return self._sam.taught

    def decode_many(
        self,
        embedding: Embedding,
        prompts: Sequence[Prompts],
        multimask: Multimask = "auto",
        window: int | None = None,
    ) -> list[MaskPrediction]:
        """Predict many objects of one plane; see :meth:`Segmenter.decode_many`.

        Objects are grouped by their number of tokens: padding would change results.
        """
        check_embedding(embedding, self)
        low_res = embedding.frame.low_res(self.traits.mask_stride)
        if window is not None and window < 0:
            raise ValueError(f"window must be 0 (the whole plane) or a side, not {window}")
        if not self.traits.decodes_windows:
            window = 0
        groups: dict[tuple[int, bool, bool, bool, int], list[int]] = {}
        for i, one in enumerate(prompts):
            check_prompts(one, embedding.frame, low_res)
            wants = one.is_single_click if multimask == "auto" else bool(multimask)
            side = window
            if side is None:
                windows = self.traits.tuning.windows
                side = window_side(one, embedding.frame, self.traits.mask_stride, windows)
            key = (len(one.points), one.box is not None, one.mask is not None, wants, side)
            groups.setdefault(key, []).append(i)
        ready = self._ready(embedding)
        results: dict[int, MaskPrediction] = {}
        while groups:
            # smaller windows first: what goes on beyond them joins the larger ones
            key = min(groups, key=lambda kind: kind[4])
            *_, wants, side = key
            members = groups.pop(key)
            size = self._chunk(side, ready.grid)
            for start in range(0, len(members), size):
                chunk = members[start : start + size]
                chosen = [prompts[i] for i in chunk]
                predictions = self._decode_batch(ready, embedding.frame, chosen, wants, side)
                for i, prediction in zip(chunk, predictions, strict=True):
                    if prediction is None:
                        groups.setdefault((*key[:4], 2 * side), []).append(i)
                    else:
                        results[i] = prediction
        found = [results[i] for i in range(len(prompts))]
        if self.traits.refines_first_click and multimask == "auto":
            clicks = [i for i, one in enumerate(prompts) if one.is_single_click]
            again = [
                prompts[i].with_logits(found[i].logits[found[i].best_index], embedding.frame)
                for i in clicks
            ]
            better = self.decode_many(embedding, again, False, window)
            for i, second in zip(clicks, better, strict=True):
                found[i] = _with_best(found[i], second)
        return found

    @torch.inference_mode()
    def propose(
        self, embedding: Embedding, quick: bool = False, progress: Progress | None = None
    ) -> Proposals | None:
        """Find objects with the dense head; see :meth:`Segmenter.propose`."""
        check_embedding(embedding, self)
        head, judge = self._sam.dense_head, None if quick else self._sam.roi_head
        if head is None:
            return None
        frame, cell = embedding.frame, self.config.cell
        sides, logits = self._cell_boxes_of(head, embedding)
        inside = tuple(slice(0, -(-side // cell)) for side in frame.scaled)
        edges, scores = find_boxes(
            sides[0][:, *inside].cpu().numpy(),
            logits[0][inside].sigmoid().cpu().numpy(),
            cell,
            judge is not None,
            self.traits.tuning.proposals,
        )
        if judge is not None:
            given, sure = self._tensor(edges), torch.logit(self._tensor(scores), 0.02)
            first = torch.zeros(len(edges), dtype=torch.long, device=self._device)
            features = self._ready(embedding).features
            mended, judged = judge(features, (sides, logits), given, sure, first)
            edges, scores = mended.double().cpu().numpy(), judged.sigmoid().cpu().numpy()
            edges[:, 2:] = np.maximum(edges[:, 2:], edges[:, :2] + 1)
            kept = choose_boxes(edges, scores, self.traits.tuning.proposals)
            edges, scores = edges[kept], scores[kept]
        corners = frame.to_plane(edges.reshape(-1, 2, 2)[..., ::-1] - 0.5)
        # an edge lies half a pixel beyond the centres of the outermost pixels
        corners += ((0.5,), (-0.5,))
        last = np.add(frame.origin, frame.shape) - 1
        boxes = np.clip(corners, frame.origin, last).reshape(-1, 4)
        boxes[:, 2:] = np.maximum(boxes[:, :2], boxes[:, 2:])
        if progress is not None:
            progress(1.0)
        return Proposals(boxes, scores)

    @torch.inference_mode()
    def instance_maps(
        self, embedding: Embedding, progress: Progress | None = None
    ) -> NDArray[np.float32]:
        """Map the objects of a plane; see :meth:`InstanceSegmenter.instance_maps`.

        In bfloat16 where the mask decoder computes in it, in float32 otherwise. Maps become
        pixels of the plane as masks do.
        """
        check_embedding(embedding, self)
        decoder = self._sam.instance_decoder
        assert decoder is not None, "who has none is not asked"
        # from a cache or another process they come in another layout, and other sums
        features = embedding.features[0].to(self._device, self._decodes_in).contiguous()
        maps = embedding.frame.enlarge(decoder(features)[0].float()).cpu().numpy()
        if progress is not None:
            progress(1.0)
        return maps

    @torch.inference_mode()
    def _encode(
        self, pixels: NDArray[np.uint8], frame: Frame, progress: Progress | None
    ) -> tuple[Tensor, ...]:
        scaled = resize_pixels(pixels, frame.scaled)
        x = torch.from_numpy(scaled).to(self._device).permute(2, 0, 1)[None].float()
        x = self._sam.preprocess(x, frame.canvas).to(DTYPES[self.precision])
        x = x.contiguous(memory_format=self._memory_format)
        replays = self._replays
        if replays is None:
            features: tuple[Tensor, ...] = self._encoder(x, progress)
            return features
        features = replays.run(self._encoder, x)
        if progress is not None:
            progress(1.0)
        return features

    @torch.inference_mode()
    def _decode_batch(
        self,
        ready: _Ready,
        frame: Frame,
        prompts: Sequence[Prompts],
        multimask: bool,
        window: int,
    ) -> list[MaskPrediction | None]:
        """Decode prompts of equal kind; None for those whose masks go on beyond their windows."""
        given = self._prompt_tensors(frame, prompts)
        features, grid = ready.features, ready.grid
        cells = Windows.around(given, window, grid, self.config) if window else None
        beyond: set[int] = set()
        replays = self._replays
        if replays is not None and len(prompts) in (1, CHUNK):
            logits, scores = replays.run(self._decoders[multimask], *features, *given)
        elif cells is None:
            logits, scores = self._sam.decode(
                features, *given, multimask, positions=self._positions(grid), first=ready.first
            )
        else:
            logits, scores = self._sam.decode(
                cells.cut_features(features),
                *cells.cut_prompts(given),
                multimask,
                positions=self._positions(cells.shape),
            )
            beyond = set(cells.left(logits))
            logits = cells.put_back(logits)
        both = zip(prompts, logits.float().cpu().numpy(), scores.float().cpu().numpy(), strict=True)
        return [
            None if i in beyond else MaskPrediction(self._tidied(masks, one, frame), score, frame)
            for i, (one, masks, score) in enumerate(both)
        ]

    def _chunk(self, window: int, grid: tuple[int, int]) -> int:
        """How many objects to decode in one pass, in windows of some side or a whole grid (0)."""
        side = window // self.traits.stride or max(grid)
        return self._at_once(min(side, grid[0]) * min(side, grid[1]))

    def _tidied(
        self, masks: NDArray[np.float32], prompts: Prompts, frame: Frame
    ) -> NDArray[np.float32]:
        """Make the masks of a model of ours whole and fit; SAM's stay as the reference has them."""
        if not self.traits.tidies:
            return masks
        cells, labels = self._cells(frame, prompts.points), prompts.point_labels
        tuning = self.traits.tuning.tidying
        if prompts.box is None:
            return np.stack([tidy_logits(one, cells, labels, 0.0, tuning) for one in masks])
        fitted: Iterable[NDArray[np.float32]] = masks
        sides = np.reshape(prompts.box, (2, 2)) + np.array([[-0.5], [0.5]])
        inside = prompts.points[labels == 1]
        # a positive click beyond the box means that the object extends beyond it
        if ((inside >= sides[0]) & (inside <= sides[1])).all():
            box, fill = self._cells(frame, sides).ravel(), not len(labels)
            fitted = (fit_to_box(one, box, fill, self.traits.tuning.box_fit) for one in masks)
        return np.stack(
            [tidy_logits(one, cells, labels, tuning.least_part, tuning) for one in fitted]
        )

    def _cells(self, frame: Frame, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Map `(N, 2)` (row, column) of a plane to those of the logits' cells."""
        return (frame.to_model(points)[:, ::-1] + 0.5) / self.traits.mask_stride - 0.5

    def _prompt_tensors(self, frame: Frame, prompts: Sequence[Prompts]) -> PromptTensors:
        points = labels = boxes = masks = None
        if len(prompts[0].points):
            points = self._tensor(np.stack([frame.to_model(p.points) for p in prompts]))
            labels = torch.from_numpy(np.stack([p.point_labels for p in prompts]))
            labels = labels.to(self._device)
        if prompts[0].box is not None:
            corners = np.array([p.box for p in prompts]).reshape(-1, 2, 2)
            boxes = self._tensor(frame.to_model(corners).reshape(-1, 4))
        if prompts[0].mask is not None:
            low_res = frame.low_res(self.traits.mask_stride)
            masks = self._tensor(np.stack([mask_logits(p, frame, low_res) for p in prompts]))
            masks = masks[:, None]
        return points, labels, boxes, masks

    @torch.inference_mode()
    def _ready(self, embedding: Embedding) -> _Ready:
        """Make an embedding ready for the decoder, and keep that while it is among the latest."""
        ready = self._derived.get(embedding)
        if ready is None:
            features = tuple(
                f.to(self._device, self._decodes_in, memory_format=self._memory_format)
                for f in embedding.features
            )
            grid = features[0].shape[2], features[0].shape[3]
            positions, first = self._positions(grid), None
            if self._device.type == "cpu":  # nothing folds elsewhere
                first = self._sam.first_layer(features, positions)
            ready = _Ready(features, grid, first)
            self._derived.keep(embedding, ready)
        return ready

    def _cell_boxes_of(self, head: DenseHead, embedding: Embedding) -> tuple[Tensor, Tensor]:
        """Return the sides and scores of an embedding's cells, which are computed once."""
        cells = self._cell_boxes.get(embedding)
        if cells is None or cells[0].device.type != self._device.type:
            cells = head.boxes(self._ready(embedding).features)
            with self._lock:
                self._cell_boxes[embedding] = cells
        return cells

    def _place(self) -> None:
        convolves = not isinstance(self.config.encoder, ViTConfig)
        self._memory_format = torch.channels_last if convolves else torch.contiguous_format
        self._sam.to(self._device)
        for encoder in (self._sam.image_encoder, self._encoder):
            encoder.to(self._device)
            encoder.to(dtype=DTYPES[self.precision], memory_format=self._memory_format)  # type: ignore[call-overload]
        # a small decoder is bound by memory and gains nothing; float16 is too narrow for its sums
        half = self.precision == "bfloat16" and self.traits.gains_in_half
        self._decodes_in = torch.bfloat16 if half else torch.float32
        self._sam.mask_decoder.compute_in(self._decodes_in)
        if self._sam.instance_decoder is not None:
            self._sam.instance_decoder.to(dtype=self._decodes_in)
        # a recording is of one shape of the input
        replays = self._device.type == "cuda" and not self.traits.geometry.has_choice
        self._replays = Replays(CudaRecorder(self._device)) if replays else None
        self._decoders = {m: _Decoder(self._sam, self._positions, m) for m in (False, True)}

    def _let_go(self) -> None:
        if self._replays is not None:
            self._replays.close()

    def _move_to_cpu(self) -> None:
        self._sam.image_encoder.float()
        self._encoder.float()
        self._place()
        self._derived.clear()
        self._cell_boxes.clear()
        self._positions.cache_clear()


def _with_best(first: MaskPrediction, second: MaskPrediction) -> MaskPrediction:
    """Replace the best candidate of a prediction."""
    best, logits, scores = first.best_index, first.logits.copy(), first.scores.copy()
    logits[best], scores[best] = second.logits[0], second.scores[0]
    return MaskPrediction(logits, scores, first.frame)
