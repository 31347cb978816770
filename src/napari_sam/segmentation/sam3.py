"""SAM 3, from the library transformers: clicks as for SAM 2, and objects by a text.

It is two networks with one encoder. The tracker predicts from clicks, boxes and masks; the
detector finds every object that a short text or example boxes describe. A plane is encoded once
for both: its embedding has the tracker's features, and the encoder's output for the detector.

Carion et al., "SAM 3: Segment Anything with Concepts", 2025, https://arxiv.org/abs/2511.16719
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_sam.geometry import Frame
from napari_sam.masks import stability_score
from napari_sam.model import pretrained
from napari_sam.model.architecture import CheckpointError
from napari_sam.model.keys import key_of
from napari_sam.patches import cut
from napari_sam.segmentation.concepts import Concept, Instance, in_order
from napari_sam.segmentation.library import (
    LibrarySegmenter,
    colours_of,
    read_network,
    traits_of,
)
from napari_sam.segmentation.protocol import Embedding, Progress, check_embedding

if TYPE_CHECKING:
    from transformers import Sam3Model, Sam3TrackerModel

_MEAN = _STD = (0.5, 0.5, 0.5)
_LEVELS = 3  # of the tracker's features
_OFFSET = 1.0  # logits, above and below the threshold, for the stability of a mask
# The detector's text if there are only example boxes.
_BOXES_ALONE = "visual"
_FILES_OF_TEXT = "tokenizer.json, or vocab.json and merges.txt"

# What of the configuration an embedding and an answer depend on, beside the tensors.
_ENCODER_FACTS = (
    "num_attention_heads",
    "window_size",
    "global_attn_indexes",
    "image_size",
    "patch_size",
    "pretrain_image_size",
    "hidden_act",
    "layer_norm_eps",
)
_DECODER_FACTS = (
    "num_attention_heads",
    "num_multimask_outputs",
    "hidden_act",
    "dynamic_multimask_via_stability",
    "dynamic_multimask_stability_delta",
    "dynamic_multimask_stability_thresh",
)
_DETECTOR_PARTS = ("text", "geometry_encoder", "detr_encoder", "detr_decoder", "mask_decoder")
_DETECTOR_FACTS = ("num_attention_heads", "hidden_act", "layer_norm_eps", "roi_size")


class Sam3Segmenter(LibrarySegmenter):
    """SAM 3 on a device; see :class:`Segmenter`. Safe to use from several threads at once.

    Parameters
    ----------
    tracker, detector
        The library's models with their weights, in float32 on the CPU, which share one encoder.
        They are moved and must not be used by others afterwards.
    name
        Of the model.
    reader
        Returns the tokens of a text.
    mean, std
        Of each colour, 0 to 1, that an input is normalised by.
    device, precision
        As of :class:`~napari_sam.segmentation.library.LibrarySegmenter`.

    Raises
    ------
    ValueError
        For an unknown or absent device, an unknown precision, or networks of another layout.
    """

    def __init__(
        self,
        tracker: Sam3TrackerModel,
        detector: Sam3Model,
        name: str,
        reader: TextReader,
        mean: Sequence[float] = _MEAN,
        std: Sequence[float] = _STD,
        device: str = "auto",
        precision: str = "auto",
    ) -> None:
        backbone: Any = tracker.vision_encoder.backbone
        if detector.vision_encoder.backbone is not backbone:
            raise ValueError("expected two networks that share an encoder, got one for each")
        traits = traits_of(tracker.config, name, reads_text=True)
        state = (backbone.config.hidden_size, 1)
        traits = replace(traits, levels=(*traits.levels, state))
        keys = _keys_of(tracker, detector, mean, std)
        super().__init__(
            tracker, traits, keys, list(backbone.layers), (mean, std), device, precision
        )
        self._detector = detector.eval().requires_grad_(False).to(self._device)
        self._reader = reader
        backbone.register_forward_hook(self._keep_state)

    def find_concept(
        self,
        embedding: Embedding,
        concept: Concept,
        least_score: float = 0.5,
        progress: Progress | None = None,
    ) -> list[Instance]:
        """Find every object of a kind; see :meth:`ConceptSegmenter.find_concept`.

        Raises
        ------
        ValueError
            For another encoder's embedding, a text that is too long, or boxes outside the plane.
        CheckpointError
            If files that read texts, or the library that reads boxes, are missing.
        """
        check_embedding(embedding, self)
        concept.check(embedding.frame.plane_shape)
        if progress is not None:
            progress(0.0)
        given = self._reader.tokens(concept.text or _BOXES_ALONE)
        given |= _boxes_given(concept, embedding.frame)
        found = self._detect(embedding, given)
        instances = _instances(*found, embedding.frame, least_score)
        if progress is not None:
            progress(1.0)
        return in_order(instances)

    def _encode(
        self, pixels: NDArray[np.uint8], frame: Frame, progress: Progress | None
    ) -> tuple[Tensor, ...]:
        try:
            levels = super()._encode(pixels, frame, progress)
            return (*levels, self._here.state)
        finally:
            self._here.state = None

    def _keep_state(self, backbone: Any, args: object, output: Any) -> None:
        """Keep what the encoder gives, `(1, h · w, C)`, for the thread that it works for."""
        state = output.last_hidden_state
        side = self.traits.input_size // self.traits.stride
        self._here.state = state.transpose(1, 2).reshape(1, -1, side, side).contiguous()

    @torch.inference_mode()
    def _detect(
        self, embedding: Embedding, given: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits of masks `(N, h, w)`, boxes `(N, 4)` as x, y, x, y from 0 to 1, scores."""
        from transformers.models.sam3.modeling_sam3 import Sam3VisionEncoderOutput

        state = embedding.features[_LEVELS].to(self._device, torch.float32)
        levels, places = self._detector.vision_encoder.neck(state)
        vision = Sam3VisionEncoderOutput(
            last_hidden_state=state.flatten(2).transpose(1, 2),
            fpn_hidden_states=levels,
            fpn_position_encoding=places,
        )
        moved = {name: value.to(self._device) for name, value in given.items()}
        out = self._detector(vision_embeds=vision, **moved)
        scores = (out.pred_logits.sigmoid() * out.presence_logits.sigmoid())[0]
        return out.pred_masks[0].cpu(), out.pred_boxes[0].cpu(), scores.cpu()

    def _move_to_cpu(self) -> None:
        super()._move_to_cpu()
        self._detector.to(self._device)


class TextReader:
    """The tokenizer in a model's folder.

    Parameters
    ----------
    folder
        Of the model. Missing files are only reported when a text is read: clicks don't need them.
    longest
        Largest number of tokens of a text, its begin and end included.
    """

    def __init__(self, folder: Path, longest: int) -> None:
        self._folder, self._longest = folder, longest
        self._tokenizer: Any = None

    def tokens(self, text: str) -> dict[str, Tensor]:
        """Return the tokens of a text `(1, longest)`, and which of them are not padding.

        Raises
        ------
        ValueError
            If it has more tokens than are read.
        CheckpointError
            If a file is missing or damaged.
        """
        if self._tokenizer is None:
            self._tokenizer = self._read()
        count = len(self._tokenizer(text, verbose=False)["input_ids"])
        if count > self._longest:
            raise ValueError(
                f"expected a text of at most {self._longest - 2} tokens, about a word each, got "
                f"{count - 2}; say it shorter"
            )
        tokens = self._tokenizer(
            text, return_tensors="pt", padding="max_length", max_length=self._longest
        )
        return {name: tokens[name] for name in ("input_ids", "attention_mask")}

    def _read(self) -> Any:
        from transformers import CLIPTokenizer

        whole = (self._folder / "tokenizer.json").is_file()
        if not whole and not all(
            (self._folder / n).is_file() for n in ("vocab.json", "merges.txt")
        ):
            raise CheckpointError(
                f"expected the tokenizer of {self._folder.name} in {self._folder}, found none; put "
                f"{_FILES_OF_TEXT} beside the model's other files, from where they came from: "
                "without them it answers clicks and boxes, but reads no text"
            )
        try:
            return CLIPTokenizer.from_pretrained(self._folder, local_files_only=True)
        except Exception as error:  # its tokenizers raise nothing more special
            raise CheckpointError(
                f"{self._folder}: expected a tokenizer as {_FILES_OF_TEXT}, got something else "
                f"({str(error).strip()[:200]}); fetch it anew"
            ) from error


def load_sam3(
    model: str | Path,
    device: str = "auto",
    precision: str = "auto",
    progress: Progress | None = None,
) -> Sam3Segmenter:
    """Load a SAM 3 model from a folder in the library's format, or from the hub.

    Parameters
    ----------
    model, device, precision, progress
        As of :func:`~napari_sam.load_segmenter`.

    Raises
    ------
    CheckpointError
        If the library is missing, or the model's files are damaged, unsafe or of another kind.
    DownloadError
        If it had to be downloaded and could not.
    """
    name = pretrained.name_of(model)
    try:
        from transformers import Sam3VideoConfig, Sam3VideoModel
    except ImportError as error:
        raise pretrained.missing_library(name, "sam3") from error
    folder = pretrained.folder_of(model, progress)
    whole = read_network(Sam3VideoModel, Sam3VideoConfig, folder, "SAM 3")
    try:
        tracker, detector = parts_of(whole)
    except (ValueError, TypeError, LookupError, AttributeError, RuntimeError) as error:
        raise CheckpointError(f"{folder}: no tracker fits its files ({error})") from error
    config: Any = detector.config  # whose parts have no types of their own
    reader = TextReader(folder, config.text_config.max_position_embeddings)
    mean, std = colours_of(folder, (_MEAN, _STD))
    return Sam3Segmenter(tracker, detector, name, reader, mean, std, device, precision)


def parts_of(whole: Any) -> tuple[Sam3TrackerModel, Sam3Model]:
    """Return the tracker of single images and the detector of the library's model of videos.

    Notes
    -----
    The tracker has the three levels of features that it reads. With a fourth, as some
    configurations have it, the library would add what stands for an empty memory to that one,
    which nothing reads, rather than to the third, as the authors and the model of videos do.
    """
    from transformers import Sam3TrackerConfig, Sam3TrackerModel

    given = whole.config.tracker_config
    vision = deepcopy(given.vision_config.to_dict())
    vision["scale_factors"] = list(vision["scale_factors"])[:_LEVELS]
    config: Any = Sam3TrackerConfig(
        vision_config=vision,
        prompt_encoder_config=given.prompt_encoder_config.to_dict(),
        mask_decoder_config=given.mask_decoder_config.to_dict(),
    )
    with torch.device("meta"):
        tracker = Sam3TrackerModel(config)
    detector: Any = whole.detector_model
    side, inner = config.prompt_encoder_config.image_size, detector.config.vision_config
    if inner.image_size != side or inner.backbone_config.hidden_size != (
        config.vision_config.backbone_config.hidden_size
    ):
        raise ValueError(f"its two networks expect other inputs, {inner.image_size} and {side}")
    tracker.vision_encoder.backbone = detector.vision_encoder.backbone
    held = {f"vision_encoder.neck.{n}": v for n, v in whole.tracker_neck.state_dict().items()}
    held |= dict(whole.tracker_model.state_dict())
    wanted = [n for n in tracker.state_dict() if not n.startswith("vision_encoder.backbone.")]
    tracker.load_state_dict({n: held[n] for n in wanted}, strict=False, assign=True)
    if left := [n for n, v in tracker.named_buffers() if v.is_meta]:
        raise ValueError(f"it has nothing for {left[0]}")
    return tracker, detector


def _boxes_given(concept: Concept, frame: Frame) -> dict[str, Tensor]:
    """Return examples as the detector takes them: middles and sizes from 0 to 1."""
    if not concept.has_boxes:
        return {}
    from transformers.models.sam3 import modeling_sam3

    if not hasattr(modeling_sam3, "torchvision"):
        raise CheckpointError(
            "boxes around examples need the library torchvision, which is not installed; install "
            'it with: pip install "napari-sam-live[sam3]"'
        )
    boxes = (*concept.boxes, *concept.negative_boxes)
    corners = frame.to_model(np.reshape(boxes, (-1, 2, 2))) / frame.canvas[::-1]  # (N, 2, xy)
    low, high = corners[:, 0], corners[:, 1]
    boxes_in_input = np.concatenate([(low + high) / 2, high - low], 1)
    labels = [1] * len(concept.boxes) + [0] * len(concept.negative_boxes)
    return {
        "input_boxes": torch.from_numpy(boxes_in_input.astype(np.float32))[None],
        "input_boxes_labels": torch.tensor([labels]),
    }


def _instances(
    logits: Tensor, boxes: Tensor, scores: Tensor, frame: Frame, least_score: float
) -> list[Instance]:
    """Return what was found with a score above the least that has pixels."""
    (top, left), (height, width) = frame.origin, frame.shape
    found = []
    for i in torch.nonzero(scores > least_score)[:, 0].tolist():
        origin, part = frame.enlarge_part(logits[i].numpy(), -_OFFSET)
        patch = cut(part > 0, origin)
        if patch.is_empty:
            continue
        corners = boxes[i].numpy().reshape(2, 2) * frame.canvas[::-1]
        (r0, c0), (r1, c1) = frame.to_plane(corners).tolist()
        stability = float(stability_score(part, 0.0, _OFFSET))
        seen = (top, left, top + height, left + width)
        found.append(Instance(patch, (r0, c0, r1, c1), float(scores[i]), stability, seen))
    return found


def _keys_of(
    tracker: Any, detector: Any, mean: Sequence[float], std: Sequence[float]
) -> tuple[str, str]:
    """Return the keys of the encoder and of the model, which newer libraries don't change."""
    vision = tracker.config.vision_config
    encoder = {
        "kind": "SAM 3",
        "mean": list(mean),
        "std": list(std),
        "side": tracker.config.prompt_encoder_config.image_size,
        "scales": [float(scale) for scale in vision.scale_factors],
    } | {fact: getattr(vision.backbone_config, fact) for fact in _ENCODER_FACTS}
    decoder = {f: getattr(tracker.config.mask_decoder_config, f) for f in _DECODER_FACTS}
    for part in _DETECTOR_PARTS:
        config = getattr(detector.config, f"{part}_config")
        decoder |= {f"{part} {f}": getattr(config, f, None) for f in _DETECTOR_FACTS}
    tensors = tracker.state_dict()
    parts = ("vision_encoder.", "mask_decoder.conv_s", "no_memory_embedding")
    encoding = {name: tensors[name] for name in tensors if name.startswith(parts)}
    others = {
        f"detector {name}": value
        for name, value in detector.state_dict().items()
        if not name.startswith("vision_encoder.backbone.")
    }
    return key_of(encoder, encoding), key_of(encoder | decoder, tensors | others)
