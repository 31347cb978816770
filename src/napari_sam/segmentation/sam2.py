"""SAM 2.1, as the library transformers has it.

Ravi et al., "SAM 2: Segment Anything in Images and Videos", 2024, https://arxiv.org/abs/2408.00714
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from napari_sam.model import pretrained
from napari_sam.model.keys import key_of
from napari_sam.segmentation.library import (
    LibrarySegmenter,
    colours_of,
    read_network,
    traits_of,
)
from napari_sam.segmentation.protocol import Embedding, Progress, check_embedding

if TYPE_CHECKING:
    from transformers import Sam2Model

    from napari_sam.segmentation.sam2_memory import MemoryNetwork, Sam2Memory

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

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


class Sam2Segmenter(LibrarySegmenter):
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
        As of :class:`~napari_sam.segmentation.library.LibrarySegmenter`.
    memory
        What it remembers objects of other planes with; moved along with the model. Without, it
        answers prompts alone.

    Raises
    ------
    ValueError
        For an unknown or absent device, an unknown precision, or a network of another layout.
    """

    def __init__(
        self,
        network: Sam2Model,
        name: str,
        mean: Sequence[float] = _MEAN,
        std: Sequence[float] = _STD,
        device: str = "auto",
        precision: str = "auto",
        memory: MemoryNetwork | None = None,
    ) -> None:
        encoder, model = _keys_of(network, mean, std)
        more: dict[str, int] = {}
        if memory is not None:
            model = _key_with(memory, model)
            more = {"memory_planes": memory.planes, "memory_pointers": memory.pointers}
        super().__init__(
            network,
            traits_of(network.config, name, **more),
            (encoder, model),
            list(network.vision_encoder.backbone.blocks),
            (mean, std),
            device,
            precision,
        )
        self._remembers_with = memory
        if memory is not None:
            parts: Any = memory  # whose base has types for some of its methods alone
            parts.eval().requires_grad_(False).to(self._device)

    @property
    def network(self) -> Sam2Model:
        """The library's model, on its device: to be read and called, never to be changed."""
        network: Sam2Model = self._network
        return network

    @property
    def memory(self) -> Sam2Memory | None:
        """What makes and uses memories; None where the files hold nothing to remember with."""
        if self._remembers_with is None:
            return None
        from napari_sam.segmentation.sam2_memory import Sam2Memory

        return Sam2Memory(self, self._remembers_with)

    def levels_of(self, embedding: Embedding) -> list[Tensor]:
        """Return an embedding's features on the device, the finest first."""
        check_embedding(embedding, self)
        return self._levels_of(embedding)

    def _move_to_cpu(self) -> None:
        super()._move_to_cpu()
        if self._remembers_with is not None:
            parts: Any = self._remembers_with
            parts.to(self._device)


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
        from transformers import Sam2Config, Sam2Model

        from napari_sam.segmentation.sam2_memory import load_memory
    except ImportError as error:
        raise pretrained.missing_library(pretrained.name_of(model)) from error
    folder = pretrained.folder_of(model, progress)
    network = read_network(Sam2Model, Sam2Config, folder, "SAM 2")
    memory = load_memory(folder)
    mean, std = colours_of(folder, (_MEAN, _STD))
    return Sam2Segmenter(network, pretrained.name_of(model), mean, std, device, precision, memory)


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


def _key_with(memory: MemoryNetwork, model: str) -> str:
    """Return the key of a model with a memory, whose predictions depend on it too."""
    from napari_sam.segmentation.sam2_memory import FACTS

    about = {"kind": "SAM 2 with memory", "model": model}
    facts = {fact: getattr(memory.config, fact) for fact in FACTS}
    return key_of(about | facts, memory.state_dict())
