"""SAM 2.1, as the library transformers has it.

The network is the library's; what is here is what makes it a segmenter like the others: planes to
its input, prompts to its tensors, and its answers to predictions.

Ravi et al., "SAM 2: Segment Anything in Images and Videos", 2024, https://arxiv.org/abs/2408.00714
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor
from torch.nn import functional as F

from napari_sam.geometry import Frame, Geometry
from napari_sam.model import pretrained
from napari_sam.model.architecture import CheckpointError, some
from napari_sam.model.keys import key_of
from napari_sam.model.tensor_file import outline
from napari_sam.prompts import Prompts
from napari_sam.segmentation.devices import DTYPES
from napari_sam.segmentation.on_device import Latest, OnDevice
from napari_sam.segmentation.prompt_input import check_prompts, mask_logits
from napari_sam.segmentation.protocol import (
    Embedding,
    MaskPrediction,
    Multimask,
    Progress,
    Proposals,
    check_embedding,
)
from napari_sam.segmentation.traits import Traits

if TYPE_CHECKING:
    from transformers import Sam2Model

# Of an encoder: a configuration of far more blocks would be built for ever.
_MOST_BLOCKS = 1000

# What the library raises for files that are damaged, or none of a network.
_UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    RuntimeError,
    ArithmeticError,
    MemoryError,
    SafetensorError,
)

# What of the configuration an embedding depends on, beside the tensors.
_ENCODER_FACTS = (
    "blocks_per_stage",
    "num_attention_heads_per_stage",
    "window_size_per_stage",
    "global_attention_blocks",
    "num_query_pool_stages",
    "query_stride",
    "patch_stride",
    "patch_padding",
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


class Sam2Segmenter(OnDevice):
    """SAM 2.1 on a device; see :class:`Segmenter`. Safe to use from several threads at once.

    Parameters
    ----------
    network
        The library's model with its weights, in float32 on the CPU. It is moved and must not be
        used by others afterwards.
    name
        Of the model.
    mean, std
        Of each colour, 0 to 1, that an input is normalised by.
    device, precision
        As of :func:`~napari_sam.load_segmenter`. The decoder computes in float32: places of
        prompts, which it works out, are pixels apart in less.

    Raises
    ------
    ValueError
        For an unknown or absent device, an unknown precision, or a network of another layout.

    Notes
    -----
    A plane fills the square input, its height and width at different scales. In half precision
    the encoder's products are narrow alone, as PyTorch's autocast has it and as the authors use it.
    """

    def __init__(
        self,
        network: Sam2Model,
        name: str,
        mean: Sequence[float] = (0.485, 0.456, 0.406),
        std: Sequence[float] = (0.229, 0.224, 0.225),
        device: str = "auto",
        precision: str = "auto",
    ) -> None:
        self.traits = traits_of(network.config, name)
        self.encoder_key, self.model_key = _keys_of(network, mean, std)
        self._choose(device, precision)
        self._network = network.eval().requires_grad_(False).to(self._device)
        self._mean, self._std = (
            torch.tensor(values, dtype=torch.float32).reshape(1, 3, 1, 1) for values in (mean, std)
        )
        self._ready: Latest[list[Tensor]] = Latest()
        self._here = threading.local()
        blocks = list(network.vision_encoder.backbone.blocks)
        for i, block in enumerate(blocks, start=1):
            block.register_forward_hook(self._reporting(i / len(blocks)))

    def decode_many(
        self,
        embedding: Embedding,
        prompts: Sequence[Prompts],
        multimask: Multimask = "auto",
        window: int | None = None,
    ) -> list[MaskPrediction]:
        """Predict many objects of one plane; see :meth:`Segmenter.decode_many`.

        Where one mask is asked for and the network's own isn't stable, it is the best of three,
        as the authors have it. Objects are grouped by their number of tokens: padding would change
        results.
        """
        check_embedding(embedding, self)
        if window is not None and window < 0:
            raise ValueError(f"window must be 0 (the whole plane) or a side, not {window}")
        low_res = embedding.frame.low_res(self.traits.mask_stride)
        groups: dict[tuple[int, bool, bool, bool], list[int]] = {}
        for i, one in enumerate(prompts):
            check_prompts(one, embedding.frame, low_res)
            wants = one.is_single_click if multimask == "auto" else bool(multimask)
            kind = len(one.points), one.box is not None, one.mask is not None, wants
            groups.setdefault(kind, []).append(i)
        found: dict[int, MaskPrediction] = {}
        size = self._at_once((self.traits.input_size // self.traits.stride) ** 2)
        for (*_, wants), members in groups.items():
            for start in range(0, len(members), size):
                chunk = members[start : start + size]
                chosen = [prompts[i] for i in chunk]
                found.update(
                    zip(chunk, self._decode_batch(embedding, chosen, low_res, wants), strict=True)
                )
        return [found[i] for i in range(len(prompts))]

    def propose(
        self, embedding: Embedding, quick: bool = False, progress: Progress | None = None
    ) -> Proposals | None:
        """Return None: the model has no dense head."""
        check_embedding(embedding, self)
        return None

    @torch.inference_mode()
    def _encode(
        self, pixels: NDArray[np.uint8], frame: Frame, progress: Progress | None
    ) -> tuple[Tensor, ...]:
        x = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None]
        # as the library's processor does it, in uint8
        x = F.interpolate(x, frame.scaled, mode="bilinear", antialias=True)
        x = ((x.float() / 255 - self._mean) / self._std).to(self._device)
        half = self.precision != "float32"
        narrow = (
            torch.autocast(self._device.type, DTYPES[self.precision]) if half else nullcontext()
        )
        self._here.progress = progress
        try:
            with narrow:
                levels = self._network.get_image_embeddings(x)
        finally:
            self._here.progress = None
        return tuple(level.contiguous() for level in reversed(levels))

    def _reporting(self, fraction: float) -> Any:
        """Return what a block of the encoder calls when it has computed on some thread."""

        def report(*_: object) -> None:
            progress: Progress | None = getattr(self._here, "progress", None)
            if progress is not None:
                progress(fraction)

        return report

    @torch.inference_mode()
    def _decode_batch(
        self,
        embedding: Embedding,
        prompts: Sequence[Prompts],
        low_res: tuple[int, int],
        multimask: bool,
    ) -> list[MaskPrediction]:
        """Decode prompts of equal kind, each with its own copy of the plane's features."""
        frame, first = embedding.frame, prompts[0]
        given: dict[str, Tensor] = {}
        if len(first.points):
            places = np.stack([frame.to_model(one.points) for one in prompts])
            given["input_points"] = self._tensor(places)[:, None]  # (B, 1, N, 2)
            labels = torch.from_numpy(np.stack([one.point_labels for one in prompts]))
            given["input_labels"] = labels.to(self._device, torch.int32)[:, None]  # (B, 1, N)
        if first.box is not None:
            corners = np.array([one.box for one in prompts]).reshape(-1, 2, 2)
            given["input_boxes"] = self._tensor(frame.to_model(corners).reshape(-1, 1, 4))
        if first.mask is not None:
            masks = np.stack([mask_logits(one, frame, low_res) for one in prompts])
            given["input_masks"] = self._tensor(masks)[:, None]  # (B, 1, h, w)
        levels = [level.expand(len(prompts), -1, -1, -1) for level in self._levels_of(embedding)]
        out = self._network(image_embeddings=levels, multimask_output=multimask, **given)
        logits, scores = (values[:, 0].cpu().numpy() for values in (out.pred_masks, out.iou_scores))
        return [
            MaskPrediction(masks, score, frame) for masks, score in zip(logits, scores, strict=True)
        ]

    @torch.inference_mode()
    def _levels_of(self, embedding: Embedding) -> list[Tensor]:
        """Return an embedding's features as the decoder wants them, the finest first."""
        ready = self._ready.get(embedding)
        if ready is None:
            ready = [f.to(self._device, torch.float32) for f in reversed(embedding.features)]
            self._ready.keep(embedding, ready)
        return ready

    def _move_to_cpu(self) -> None:
        self._network.to(self._device)
        self._ready.clear()


def load_sam2(
    model: str | Path,
    device: str = "auto",
    precision: str = "auto",
    progress: Progress | None = None,
) -> Sam2Segmenter:
    """Load a SAM 2 model from a folder in the library's format, or from the hub.

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
    try:
        from huggingface_hub.errors import StrictDataclassError
        from transformers import Sam2Config, Sam2Model
    except ImportError as error:
        raise pretrained.missing_library(pretrained.name_of(model)) from error
    folder = pretrained.folder_of(model, progress)
    with _quiet():
        try:
            config = Sam2Config.from_pretrained(folder, local_files_only=True)
            _check_size(Sam2Model, config, folder)
            loaded: Any = Sam2Model.from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
            )
        except CheckpointError:
            raise
        except (*_UNREADABLE, StrictDataclassError) as error:
            raise CheckpointError(f"{folder}: no network fits its files ({error})") from error
    network, told = loaded
    if missing := sorted(told["missing_keys"]):
        raise CheckpointError(
            f"{folder}: expected all tensors of SAM 2, but {len(missing)} are missing "
            f"({some(missing)})"
        )
    if broken := [n for n, v in network.state_dict().items() if not v.isfinite().all()]:
        raise CheckpointError(
            f"{folder}: expected finite weights, got NaN or infinity in {some(broken)}"
        )
    mean, std = _normalisation_of(folder)
    return Sam2Segmenter(network, pretrained.name_of(model), mean, std, device, precision)


def traits_of(config: Any, name: str) -> Traits:
    """Return what callers may rely on of a network.

    Raises
    ------
    CheckpointError
        If its levels of features aren't three, each of twice as many cells as the one before.
    """
    side, sizes = (
        config.prompt_encoder_config.image_size,
        config.vision_config.backbone_feature_sizes,
    )
    coarsest = sizes[-1][0] if sizes else 0
    expected = [[coarsest * n] * 2 for n in (4, 2, 1)]
    if not coarsest or [list(size) for size in sizes] != expected or side % (4 * coarsest):
        raise CheckpointError(
            f"expected a network with three levels of features of a square input, got {sizes} of "
            f"{side} pixels; choose a model of the list"
        )
    channels, stride = config.vision_config.fpn_hidden_size, side // coarsest
    return Traits(
        name,
        Geometry(side, keeps_aspect=False),
        stride,
        stride // 4,
        ((channels, 1), (channels // 4, 2), (channels // 8, 4)),
    )


def _keys_of(network: Sam2Model, mean: Sequence[float], std: Sequence[float]) -> tuple[str, str]:
    """Return the keys of the encoder and of the model, which newer libraries don't change."""
    config: Any = network.config  # whose parts have no types of their own
    encoder = {
        "kind": "SAM 2",
        "mean": list(mean),
        "std": list(std),
        "side": config.prompt_encoder_config.image_size,
        "neck": list(config.vision_config.fpn_top_down_levels),
    } | {fact: getattr(config.vision_config.backbone_config, fact) for fact in _ENCODER_FACTS}
    decoder = {fact: getattr(config.mask_decoder_config, fact) for fact in _DECODER_FACTS}
    tensors = network.state_dict()
    parts = ("vision_encoder.", "mask_decoder.conv_s", "no_memory_embedding")
    encoding = {name: tensors[name] for name in tensors if name.startswith(parts)}
    return key_of(encoder, encoding), key_of(encoder | decoder, tensors)


def _check_size(kind: type[Sam2Model], config: Any, folder: Path) -> None:
    """Refuse a configuration of a network far larger than its files before it is built."""
    blocks = sum(config.vision_config.backbone_config.blocks_per_stage)
    layers = config.mask_decoder_config.num_hidden_layers
    files = pretrained.weight_files(folder)
    for path in files:
        outline(path)
    held = sum(path.stat().st_size for path in files)
    if max(blocks, layers) < _MOST_BLOCKS:
        with torch.device("meta"):
            numbers = sum(value.numel() for value in kind(config).state_dict().values())
        if numbers <= held:
            return
    raise CheckpointError(
        f"{folder}: its configuration describes a far larger network than its files' {held:,} bytes"
    )


def _normalisation_of(folder: Path) -> tuple[Sequence[float], Sequence[float]]:
    """Return mean and deviation of colours, as a folder tells them; the authors' otherwise."""
    for name in ("preprocessor_config.json", "processor_config.json"):
        told = pretrained.read_json(folder / name)
        told = told.get("image_processor", told)
        try:
            mean, std = ([float(v) for v in told[k]] for k in ("image_mean", "image_std"))
        except (LookupError, TypeError, ValueError):
            continue
        if len(mean) == len(std) == 3 and all(v > 0 for v in std):
            return mean, std
    return (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@contextmanager
def _quiet() -> Iterator[None]:
    """Have the library draw no bars, and warn of nothing that is checked here."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
