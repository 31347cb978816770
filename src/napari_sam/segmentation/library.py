"""What networks of the library transformers have in common, whose decoders are SAM 2's.

The networks are the library's; what is here is what makes them segmenters like the others: planes
to their input, prompts to their tensors, and their answers to predictions.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional as F

from napari_sam.geometry import Frame, Geometry
from napari_sam.model import pretrained
from napari_sam.model.architecture import CheckpointError, some
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

Colours = tuple[Sequence[float], Sequence[float]]
"""Mean and deviation of each colour, 0 to 1, that an input is normalised by."""

# Of an encoder: a configuration of far more blocks would be built for ever.
_MOST_BLOCKS = 1000
# Levels of features that a decoder reads.
_LEVELS = 3

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


class LibrarySegmenter(OnDevice):
    """A network of the library on a device. Safe to use from several threads at once.

    Parameters
    ----------
    network
        The library's model with its weights, in float32 on the CPU. It is moved and must not be
        used by others afterwards.
    traits, keys
        What callers may rely on, and the keys of the encoder and of the model.
    blocks
        Of the encoder, in their order.
    colours
        How an input is normalised.
    device, precision
        As of :func:`~napari_sam.load_segmenter`. The decoder computes in float32: places of
        prompts, which it works out, are pixels apart in less.

    Raises
    ------
    ValueError
        For an unknown or absent device, or an unknown precision.

    Notes
    -----
    A plane fills the square input, its height and width at different scales. In half precision
    the encoder's products are narrow alone, as PyTorch's autocast has it and as the authors use it.
    """

    def __init__(
        self,
        network: Any,
        traits: Traits,
        keys: tuple[str, str],
        blocks: Sequence[nn.Module],
        colours: Colours,
        device: str = "auto",
        precision: str = "auto",
    ) -> None:
        self.traits = traits
        self.encoder_key, self.model_key = keys
        self._choose(device, precision)
        self._network = network.eval().requires_grad_(False).to(self._device)
        self._mean, self._std = (
            torch.tensor(values, dtype=torch.float32).reshape(1, 3, 1, 1) for values in colours
        )
        self._ready: Latest[list[Tensor]] = Latest()
        self._here = threading.local()
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
        self._here.progress = progress
        try:
            with self.narrow():
                levels = self._network.get_image_embeddings(x)
        finally:
            self._here.progress = None
        return tuple(level.contiguous() for level in reversed(levels))

    def narrow(self) -> AbstractContextManager[Any]:
        """Return a context in which products are as narrow as the precision has it."""
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self._device.type, DTYPES[self.precision])

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
            levels = embedding.features[:_LEVELS]
            ready = [f.to(self._device, torch.float32) for f in reversed(levels)]
            self._ready.keep(embedding, ready)
        return ready

    def _move_to_cpu(self) -> None:
        self._network.to(self._device)
        self._ready.clear()


def read_network(kind: Any, config_kind: Any, folder: Path, family: str) -> Any:
    """Read a network of the library from a folder in its format.

    Parameters
    ----------
    kind, config_kind
        The library's classes of the network and of its configuration.
    folder
        In which it lies.
    family
        What it is called in messages.

    Raises
    ------
    CheckpointError
        If its files are damaged, unsafe or of another kind.
    """
    from huggingface_hub.errors import StrictDataclassError

    with _quiet():
        try:
            config = config_kind.from_pretrained(folder, local_files_only=True)
            _check_size(kind, config, folder)
            network, info = kind.from_pretrained(
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
    if missing := sorted(info["missing_keys"]):
        raise CheckpointError(
            f"{folder}: expected all tensors of {family}, but {len(missing)} are missing "
            f"({some(missing)})"
        )
    if broken := [n for n, v in network.state_dict().items() if not v.isfinite().all()]:
        raise CheckpointError(
            f"{folder}: expected finite weights, got NaN or infinity in {some(broken)}"
        )
    for value in (*network.parameters(), *network.buffers()):
        # in a file tensors lie anywhere, and the last bits of products depend on that
        value.data = value.data.clone()
    return network


def traits_of(config: Any, name: str, **more: Any) -> Traits:
    """Return what callers may rely on of a network.

    Parameters
    ----------
    config
        Of the network, in the library's words.
    name
        Shown to people.
    **more
        Other traits.

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
    if not coarsest or [list(size) for size in sizes] != expected or side % coarsest:
        raise CheckpointError(
            f"expected a network with three levels of features of a square input, got {sizes} of "
            f"{side} pixels; choose a model of the list"
        )
    channels, stride = config.vision_config.fpn_hidden_size, side // coarsest
    return Traits(
        name,
        Geometry(side, keeps_aspect=False),
        stride,
        stride / 4 if stride % 4 else stride // 4,
        ((channels, 1), (channels // 4, 2), (channels // 8, 4)),
        **more,
    )


def colours_of(folder: Path, usual: Colours) -> Colours:
    """Return the mean and standard deviation of the input from a folder's files, or the usual."""
    for name in ("preprocessor_config.json", "processor_config.json"):
        values = pretrained.read_json(folder / name)
        values = values.get("image_processor", values)
        try:
            mean, std = ([float(v) for v in values[k]] for k in ("image_mean", "image_std"))
        except (LookupError, TypeError, ValueError):
            continue
        if len(mean) == len(std) == 3 and all(v > 0 for v in std):
            return mean, std
    return usual


def _check_size(kind: Any, config: Any, folder: Path) -> None:
    """Refuse a configuration of a network far larger than its files before it is built."""
    files = pretrained.weight_files(folder)
    for path in files:
        outline(path)
    held = sum(path.stat().st_size for path in files)
    if max(_depths(config.to_dict()), default=0) < _MOST_BLOCKS:
        with torch.device("meta"):
            numbers = sum(value.numel() for value in kind(config).state_dict().values())
        if numbers <= held:
            return
    raise CheckpointError(
        f"{folder}: its configuration describes a far larger network than its files' {held:,} bytes"
    )


def _depths(config: Mapping[str, Any]) -> Iterator[int]:
    """Yield how many blocks each part of a configuration has."""
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _depths(value)
        elif name == "blocks_per_stage":
            yield sum(value)
        elif str(name).endswith(("layers", "stages")) and isinstance(value, int):
            yield value


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
