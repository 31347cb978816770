"""SAM 2.1's memory, as the library transformers has it.

The networks are the library's; what is here is what it does around them, without its session: a
memory is a value, and what is remembered of an object comes with the call.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Sam2VideoConfig
from transformers.models.sam2_video.modeling_sam2_video import (
    Sam2VideoFeedForward,
    Sam2VideoMemoryAttention,
    Sam2VideoMemoryEncoder,
    Sam2VideoPreTrainedModel,
    get_1d_sine_pe,
)

from napari_sam.geometry import Frame
from napari_sam.model import pretrained
from napari_sam.model.architecture import CheckpointError, some
from napari_sam.model.tensor_file import outline
from napari_sam.patches import Patch
from napari_sam.segmentation.library import read_network
from napari_sam.segmentation.memory import (
    Memory,
    Past,
    Recalled,
    check_masks,
    check_pasts,
    check_whole,
)
from napari_sam.segmentation.prediction import MaskPrediction
from napari_sam.segmentation.protocol import Embedding, Progress

if TYPE_CHECKING:
    from transformers import Sam2Model

_PART = "memory_attention."  # begins tensors that no image model has
_ABSENT = -1024.0  # logit of every pixel where an object isn't there, as the authors have it
_TOGETHER = 8  # objects of one pass on a GPU; a CPU is busy with one

# What of the configuration a memory depends on, beside the tensors.
FACTS = (
    "num_maskmem",
    "sigmoid_scale_for_mem_enc",
    "sigmoid_bias_for_mem_enc",
    "multimask_output_in_sam",
    "multimask_output_for_tracking",
    "multimask_min_pt_num",
    "max_object_pointers_in_encoder",
    "enable_temporal_pos_encoding_for_object_pointers",
    "memory_attention_num_attention_heads",
    "memory_attention_feed_forward_hidden_act",
    "memory_attention_rope_feat_sizes",
    "mask_downsampler_stride",
    "mask_downsampler_hidden_act",
    "memory_fuser_hidden_act",
    "rope_parameters",
)


class MemoryNetwork(Sam2VideoPreTrainedModel):
    """The parts of the library's video model that its image model lacks, by the same names.

    Parameters
    ----------
    config
        The library's configuration of the video model.
    """

    def __init__(self, config: Sam2VideoConfig) -> None:
        super().__init__(config)
        side: int = config.vision_config.fpn_hidden_size  # type: ignore[union-attr]
        depth = config.memory_encoder_output_channels
        self.memory_attention = Sam2VideoMemoryAttention(config)
        self.memory_encoder = Sam2VideoMemoryEncoder(config)
        self.memory_temporal_positional_encoding = nn.Parameter(
            torch.zeros(config.num_maskmem, 1, 1, depth)
        )
        self.no_object_pointer = nn.Parameter(torch.zeros(1, side))
        self.mask_downsample = nn.Conv2d(1, 1, kernel_size=4, stride=4)
        self.object_pointer_proj = Sam2VideoFeedForward(side, side, side, 3)
        self.temporal_positional_encoding_projection_layer: nn.Module = nn.Identity()
        if config.enable_temporal_pos_encoding_for_object_pointers:
            self.temporal_positional_encoding_projection_layer = nn.Linear(side, depth)
        self.occlusion_spatial_embedding_parameter = None
        if config.enable_occlusion_spatial_embedding:
            self.occlusion_spatial_embedding_parameter = nn.Parameter(torch.zeros(1, depth))
        self.post_init()  # type: ignore[no-untyped-call]

    @property
    def planes(self) -> int:
        """On how many planes behind it an object is remembered as it was seen there."""
        count: int = self.config.num_maskmem
        return count - 1

    @property
    def pointers(self) -> int:
        """On how many planes behind it an object's pointer is remembered."""
        count: int = self.config.max_object_pointers_in_encoder
        return count - 1

    @property
    def gives_three(self) -> bool:
        """Whether the best of three masks is taken where there are no prompts."""
        config = self.config
        tracks = config.multimask_output_in_sam and config.multimask_output_for_tracking
        return bool(tracks and config.multimask_min_pt_num <= 0)

    def condition(
        self, seen: Tensor, positions: Tensor, pasts: Sequence[Sequence[Past]], count: int
    ) -> Tensor:
        """Condition a plane's features on the memories of objects.

        Parameters
        ----------
        seen, positions
            `(1, C, h, w)`: features of the plane without the image's embedding for a plane
            without memories, and the position encoding.
        pasts
            Memories of each object, with the same numbers of features and pointers for all.
        count
            Number of planes of the stack.

        Returns
        -------
        features
            `(B, C, h, w)`.
        """
        tokens = [self._tokens(past, count, seen) for past in pasts]
        pairs = zip(*(one[:2] for one in tokens), strict=True)
        memories, places = (torch.stack(one, 1) for one in pairs)
        x, at = (
            v.flatten(2).permute(2, 0, 1).expand(-1, len(pasts), -1) for v in (seen, positions)
        )
        out = self.memory_attention(x, memories, at, places, tokens[0][2])
        flat = out.reshape(len(pasts), x.shape[0], -1)
        return flat.transpose(1, 2).reshape(len(pasts), *seen.shape[1:])

    def _tokens(self, past: Sequence[Past], count: int, seen: Tensor) -> tuple[Tensor, Tensor, int]:
        """Return an object's memories and where they are, `(N, C)`; the last so many are pointers.

        Given ones come first, then the others from the farthest on, as the library has them.
        """
        tokens: list[Tensor] = []
        places: list[Tensor] = []
        device = seen.device
        for one in self._spatial(past):
            assert one.memory.features is not None
            features = one.memory.features.to(device, torch.float32)[None]
            at = self.memory_encoder.position_encoding(features.shape, device, torch.float32)
            when = self.memory_temporal_positional_encoding[
                -1 if one.memory.is_given else one.distance - 1
            ]
            tokens.append(features.flatten(2)[0].T)
            places.append(at.flatten(2)[0].T + when[0])
        depth, most = tokens[0].shape[1], min(count, self.pointers + 1)
        pointing = self._pointing(past, most)
        split = 0
        if pointing:
            known = torch.stack([one.memory.pointer for one in pointing]).to(device)  # (P, D)
            split = max(1, known.shape[1] // depth)
            tokens.append(known.reshape(-1, depth) if known.shape[1] > depth else known)
            if self.config.enable_temporal_pos_encoding_for_object_pointers:
                away = torch.tensor(
                    [one.distance for one in pointing], dtype=torch.float32, device=device
                )
                waves = get_1d_sine_pe(away / max(1, most - 1), dim=known.shape[1])
                when = self.temporal_positional_encoding_projection_layer(waves)
            else:
                when = known.new_zeros(len(pointing), depth)
            places.append(when.repeat_interleave(split, 0))
        return torch.cat(tokens), torch.cat(places), split * len(pointing)

    def counts(self, past: Sequence[Past], count: int) -> tuple[int, int]:
        """Return how many features and how many pointers count of what is remembered."""
        most = min(count, self.pointers + 1)
        return len(list(self._spatial(past))), len(self._pointing(past, most))

    def _spatial(self, past: Sequence[Past]) -> Iterable[Past]:
        seen = [one for one in past if one.memory.features is not None]
        given = [one for one in seen if one.memory.is_given]
        behind = [
            one for one in seen if not one.memory.is_given and 1 <= one.distance <= self.planes
        ]
        return [*given, *sorted(behind, key=lambda one: -one.distance)]

    def _pointing(self, past: Sequence[Past], most: int) -> list[Past]:
        given = [one for one in past if one.memory.is_given and one.distance >= 0]
        behind = [one for one in past if not one.memory.is_given and 1 <= one.distance < most]
        return [*given, *sorted(behind, key=lambda one: one.distance)]

    def encode(self, seen: Tensor, shares: Tensor, is_there: Tensor) -> Tensor:
        """Return the features of memories.

        Parameters
        ----------
        seen
            `(1, C, h, w)` features of the plane without the mark of an image.
        shares
            `(B, 1, H, W)` masks in the model's pixels, 0 to 1.
        is_there
            `(B,)` bool: whether each object is there.

        Returns
        -------
        features
            `(B, C', h, w)` in bfloat16, on the CPU.
        """
        config = self.config
        masks = shares * config.sigmoid_scale_for_mem_enc + config.sigmoid_bias_for_mem_enc
        features, _ = self.memory_encoder(seen.expand(len(shares), -1, -1, -1), masks)
        if self.occlusion_spatial_embedding_parameter is not None:
            gone = (~is_there).to(features.dtype)[:, None, None, None]
            features = features + gone * self.occlusion_spatial_embedding_parameter[..., None, None]
        return features.to(torch.bfloat16).cpu()

    def point(self, tokens: Tensor, is_there: Tensor) -> Tensor:
        """Return pointers `(B, D)` of objects from the decoder's tokens `(B, D)`."""
        return torch.where(
            is_there[:, None], self.object_pointer_proj(tokens), self.no_object_pointer
        )


class _Host(Protocol):
    """What of a segmenter its memory needs."""

    model_key: str

    @property
    def network(self) -> Sam2Model: ...

    def levels_of(self, embedding: Embedding) -> list[Tensor]:
        """Return an embedding's features on the device, the finest first."""
        ...

    def narrow(self) -> AbstractContextManager[Any]:
        """Return a context in which the encoder's products are as narrow as was chosen."""
        ...


class Sam2Memory:
    """Makes and uses SAM 2.1's memories; see :class:`~napari_sam.segmentation.memory.PlaneMemory`.

    Parameters
    ----------
    host
        The segmenter, whose encoder and decoder are used.
    network
        The memory's own parts.

    Notes
    -----
    What is given is remembered as the library's pipeline does with a mask: also clicks, by the mask
    that they made.
    """

    def __init__(self, host: _Host, network: MemoryNetwork) -> None:
        self._host, self._parts = host, network

    @torch.inference_mode()
    def remember(
        self, embedding: Embedding, masks: Sequence[Patch], progress: Progress | None = None
    ) -> list[Memory]:
        """Return what is remembered of given masks; see :meth:`PlaneMemory.remember`."""
        check_whole(embedding)
        check_masks(masks)
        seen, levels = self._seen(embedding)
        found: list[Memory] = []
        for chunk in self._chunks(range(len(masks)), len(masks), progress):
            shares = torch.stack([self._share(masks[i], embedding.frame, seen) for i in chunk])
            there = torch.ones(len(chunk), dtype=torch.bool, device=seen.device)
            prompts = self._parts.mask_downsample(shares)
            plain = seen.expand(len(chunk), -1, -1, -1)
            _, _, tokens, presence = self._decode(plain, levels, prompts, True)
            pointers = self._parts.point(tokens, presence > 0)
            with self._host.narrow():
                features = self._parts.encode(seen, shares, there)
            found += self._memories(features, pointers, True, embedding)
        return found

    @torch.inference_mode()
    def recall(
        self,
        embedding: Embedding,
        pasts: Sequence[Sequence[Past]],
        count: int,
        progress: Progress | None = None,
    ) -> list[Recalled]:
        """Find objects by their memories; see :meth:`PlaneMemory.recall`."""
        check_whole(embedding)
        check_pasts(pasts, embedding, self._host.model_key)
        seen, levels = self._seen(embedding)
        neck = self._host.network.vision_encoder.neck
        positions = neck.position_encoding(seen.shape, seen.device, seen.dtype)
        groups: dict[tuple[int, int], list[int]] = {}
        for i, past in enumerate(pasts):
            groups.setdefault(self._parts.counts(past, count), []).append(i)
        found: dict[int, Recalled] = {}
        for members in groups.values():
            for chunk in self._chunks(members, len(pasts), progress, len(found)):
                with self._host.narrow():
                    some = [pasts[i] for i in chunk]
                    conditioned = self._parts.condition(seen, positions, some, count)
                one = self._recall(embedding, seen, conditioned.float(), levels)
                found.update(zip(chunk, one, strict=True))
        return [found[i] for i in range(len(pasts))]

    def _recall(
        self, embedding: Embedding, seen: Tensor, conditioned: Tensor, levels: Sequence[Tensor]
    ) -> list[Recalled]:
        decoded = self._decode(conditioned, levels, None, self._parts.gives_three)
        logits, scores, tokens, presence = decoded
        there = presence > 0
        logits = torch.where(there[:, None, None], logits, _ABSENT)
        side = 4 * logits.shape[-1]
        shares = F.interpolate(logits[:, None], (side, side), mode="bilinear").sigmoid()
        with self._host.narrow():
            features = self._parts.encode(seen, shares, there)
        memories = self._memories(features, self._parts.point(tokens, there), False, embedding)
        masks, ious = logits[:, None].cpu().numpy(), scores[:, None].cpu().numpy()
        return [
            Recalled(MaskPrediction(mask, iou, embedding.frame), sure, memory)
            for mask, iou, sure, memory in zip(
                masks, ious, presence.sigmoid().tolist(), memories, strict=True
            )
        ]

    def _seen(self, embedding: Embedding) -> tuple[Tensor, list[Tensor]]:
        """Return the coarsest features without the mark of an image, and the finer levels."""
        *finer, coarsest = self._host.levels_of(embedding)
        mark = self._host.network.no_memory_embedding.reshape(1, -1, 1, 1)
        return coarsest - mark, finer

    def _decode(
        self, features: Tensor, levels: Sequence[Tensor], masks: Tensor | None, multimask: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Decode without clicks; return logits, predicted IoUs, tokens and presences of the best.

        `(B, h, w)`, `(B,)`, `(B, D)` and, as logits, `(B,)`.
        """
        network, size = self._host.network, len(features)
        points = features.new_zeros(size, 1, 1, 2)
        labels = -torch.ones(size, 1, 1, dtype=torch.int32, device=features.device)
        sparse, dense = network.prompt_encoder(
            input_points=points, input_labels=labels, input_boxes=None, input_masks=masks
        )
        places = network.get_image_wide_positional_embeddings()
        logits, scores, tokens, presence = network.mask_decoder(
            image_embeddings=features,
            image_positional_embeddings=places.repeat(size, 1, 1, 1),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=multimask,
            high_resolution_features=[level.expand(size, -1, -1, -1) for level in levels],
        )
        rows, best = torch.arange(size, device=scores.device), scores[:, 0].argmax(-1)
        token = best if tokens.shape[2] > 1 else torch.zeros_like(best)
        return (
            logits[rows, 0, best],
            scores[rows, 0, best],
            tokens[rows, 0, token],
            presence[:, 0, 0],
        )

    def _share(self, mask: Patch, frame: Frame, seen: Tensor) -> Tensor:
        """Return a mask `(1, H, W)` in the model's pixels, 0 or 1, that is never empty."""
        x = torch.from_numpy(mask.within(frame.region).astype(np.float32)).to(seen.device)
        x = F.interpolate(x[None, None], frame.scaled, mode="bilinear", antialias=True)[0]
        return (x >= min(0.5, float(x.max()))).float()

    def _memories(
        self, features: Tensor, pointers: Tensor, is_given: bool, embedding: Embedding
    ) -> list[Memory]:
        return [
            Memory(
                of_plane.clone(), pointer.clone(), is_given, embedding.frame, self._host.model_key
            )
            for of_plane, pointer in zip(features, pointers.float().cpu(), strict=True)
        ]

    def _chunks(
        self,
        members: Sequence[int],
        total: int,
        progress: Progress | None,
        done: int = 0,
    ) -> Iterable[Sequence[int]]:
        """Part objects into those of one pass, and report after each."""
        size = 1 if self._parts.device.type == "cpu" else _TOGETHER
        for start in range(0, len(members), size):
            chunk = members[start : start + size]
            yield chunk
            done += len(chunk)
            if progress is not None:
                progress(done / total)


def load_memory(folder: Path) -> MemoryNetwork | None:
    """Load what a folder's model remembers with; None where its files hold nothing of it.

    Only the tensors that an image model lacks are read.

    Raises
    ------
    CheckpointError
        If there are tensors of one, but not all, or such as don't fit together or the encoder.
    """
    names = [name for path in pretrained.weight_files(folder) for name in outline(path)[0]]
    if not any(name.startswith(_PART) for name in names):
        return None
    network: MemoryNetwork = read_network(
        MemoryNetwork, Sam2VideoConfig, folder, "SAM 2's memory, or none"
    )
    config: Any = network.config  # whose parts have no types of their own
    side, vision = config.prompt_encoder_config.image_size, config.vision_config
    hidden, depth = vision.fpn_hidden_size, config.memory_encoder_output_channels
    grid = list(vision.backbone_feature_sizes[-1])
    fits = {
        "memory_attention_hidden_size": config.memory_attention_hidden_size == hidden,
        "memory_encoder_hidden_size": config.memory_encoder_hidden_size == hidden,
        "memory_encoder_output_channels": 0 < depth <= hidden and hidden % depth == 0,
        "memory_attention_rope_feat_sizes": list(config.memory_attention_rope_feat_sizes) == grid,
        "image_size": config.image_size == side,
        "num_maskmem": config.num_maskmem > 1,
        "max_object_pointers_in_encoder": config.max_object_pointers_in_encoder > 0,
    }
    if wrong := [name for name, is_right in fits.items() if not is_right]:
        raise CheckpointError(
            f"{folder}: its configuration describes a memory that doesn't fit its encoder "
            f"({some(wrong)})"
        )
    return network
