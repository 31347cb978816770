"""Reference implementations to compare with, and a way to give both sides the same weights.

Two of them, independent of each other: PyPI's `segment-anything` and `transformers`'
``SamModel``. The first imports torchvision, of which it needs four small functions; they are
written here, so that torchvision need not be installed.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from napari_sam.model.config import SamConfig, ViTConfig

# Small enough for tests of milliseconds, and odd enough to reach every branch: the grid of 6 is
# no multiple of the window of 4, heads are not the width, and the last block is not global.
SMALL = SamConfig(
    "small",
    image_size=96,
    encoder=ViTConfig(48, 4, 3, (1,), window_size=4),
    embed_dim=32,
    mask_in_chans=16,
    decoder_heads=4,
    decoder_mlp_dim=64,
    iou_head_hidden_dim=48,
)


# torchvision's four functions ------------------------------------------------------------------


def to_pil_image(image: np.ndarray) -> Image.Image:
    """Return an `(H, W, 3)` uint8 array as an image."""
    return Image.fromarray(image)


def resize(image: Image.Image, size: Sequence[int]) -> Image.Image:
    """Resize to (height, width); PIL's bilinear filter widens with the scale (antialiased)."""
    height, width = size
    return image.resize((width, height), Image.Resampling.BILINEAR)


def box_area(boxes: Tensor) -> Tensor:
    """Areas of `(N, 4)` boxes (x0, y0, x1, y1)."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """Indices kept by greedy non-maximum suppression within each group, best score first."""
    kept: list[int] = []
    for candidate in scores.argsort(descending=True, stable=True).tolist():
        rivals = [i for i in kept if idxs[i] == idxs[candidate]]
        if not rivals or _box_iou(boxes[candidate], boxes[rivals]).max() <= iou_threshold:
            kept.append(candidate)
    return torch.tensor(kept, dtype=torch.int64)


def _box_iou(box: Tensor, others: Tensor) -> Tensor:
    top_left = torch.maximum(box[:2], others[:, :2])
    bottom_right = torch.minimum(box[2:], others[:, 2:])
    overlap = (bottom_right - top_left).clamp(min=0).prod(dim=1)
    return overlap / (box_area(box[None]) + box_area(others) - overlap)


TORCHVISION: dict[str, dict[str, Any]] = {
    "torchvision": {},
    "torchvision.ops": {},
    "torchvision.ops.boxes": {"batched_nms": batched_nms, "box_area": box_area},
    "torchvision.transforms": {},
    "torchvision.transforms.functional": {"resize": resize, "to_pil_image": to_pil_image},
}


@contextmanager
def stood_in(contents: Mapping[str, Mapping[str, Any]]) -> Iterator[None]:
    """Put stand-ins for modules into ``sys.modules`` while a reference is imported.

    Only for that long: `transformers` looks for torchvision too, and must not find this one.
    """
    before = {name: sys.modules.get(name) for name in contents}
    for name, functions in contents.items():
        module = ModuleType(name)
        vars(module).update(functions)
        sys.modules[name] = module
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


with stood_in(TORCHVISION):
    import segment_anything
    import segment_anything.modeling
    import segment_anything.modeling.image_encoder

reference_image_encoder = segment_anything.modeling.image_encoder
SamPredictor = segment_anything.SamPredictor
SamAutomaticMaskGenerator = segment_anything.SamAutomaticMaskGenerator


# The reference of a configuration --------------------------------------------------------------


def reference_sam(config: SamConfig) -> segment_anything.modeling.Sam:
    """Build `segment-anything`'s Sam of a configuration, in eval mode, freshly initialised."""
    encoder = config.encoder
    if not isinstance(encoder, ViTConfig):
        raise TypeError(f"expected a configuration with a ViT encoder, got {encoder!r}")
    grid = config.image_size // encoder.patch_size
    modeling = segment_anything.modeling
    sam = modeling.Sam(
        image_encoder=modeling.ImageEncoderViT(
            depth=encoder.depth,
            embed_dim=encoder.embed_dim,
            img_size=config.image_size,
            mlp_ratio=encoder.mlp_ratio,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            num_heads=encoder.num_heads,
            patch_size=encoder.patch_size,
            qkv_bias=encoder.qkv_bias,
            use_rel_pos=encoder.use_rel_pos,
            global_attn_indexes=encoder.global_attn_indexes,
            window_size=encoder.window_size,
            out_chans=config.embed_dim,
        ),
        **decoder_of(modeling, config, grid),
    )
    return sam.eval()


def decoder_of(modeling: Any, config: SamConfig, grid: int) -> dict[str, Any]:
    """Build what a reference has beside its image encoder, by the names that its Sam takes."""
    return {
        "prompt_encoder": modeling.PromptEncoder(
            embed_dim=config.embed_dim,
            image_embedding_size=(grid, grid),
            input_image_size=(config.image_size, config.image_size),
            mask_in_chans=config.mask_in_chans,
        ),
        "mask_decoder": modeling.MaskDecoder(
            num_multimask_outputs=config.num_multimask_outputs,
            transformer=modeling.TwoWayTransformer(
                depth=config.decoder_depth,
                embedding_dim=config.embed_dim,
                mlp_dim=config.decoder_mlp_dim,
                num_heads=config.decoder_heads,
            ),
            transformer_dim=config.embed_dim,
            iou_head_depth=config.iou_head_depth,
            iou_head_hidden_dim=config.iou_head_hidden_dim,
        ),
        "pixel_mean": list(config.pixel_mean),
        "pixel_std": list(config.pixel_std),
    }


@torch.no_grad()
def randomise(module: nn.Module, seed: int) -> None:
    """Fill every parameter with values that leave no term of the network without effect.

    Position tables and biases, which a fresh network has at zero, and scales, which it has at
    one, are drawn as well. Matrices are scaled by their fan-in, so that activations stay near one
    however deep the network.
    """
    generator = torch.Generator().manual_seed(seed)
    for layer in module.modules():
        for name, value in (*layer.named_parameters(recurse=False), *_saved_buffers(layer)):
            noise = torch.randn(value.shape, generator=generator)
            if isinstance(layer, nn.Embedding) or name == "positional_encoding_gaussian_matrix":
                value.copy_(noise)
            elif name in ("pos_embed", "rel_pos_h", "rel_pos_w", "attention_biases"):
                value.copy_(0.5 * noise)
            elif not value.is_floating_point():  # a count of batches
                value.fill_(1000)
            elif name in ("bias", "running_mean"):
                value.copy_(0.1 * noise)
            elif name == "running_var":
                value.copy_(0.5 + torch.rand(value.shape, generator=generator))
            elif value.ndim == 1:  # the scale of a normalisation layer
                value.copy_(1 + 0.2 * noise)
            elif isinstance(layer, nn.ConvTranspose2d):
                value.copy_(noise / len(value) ** 0.5)
            else:
                value.copy_(noise * (1.5 / value[0].numel()) ** 0.5)


def make_masks_small(original: Any, image: np.ndarray) -> None:
    """Shift the logits of random weights until a few percent of them in an image are positive.

    Masks that fill the image all have one box, and nothing could be compared.
    """
    seen, decoder = [], original.mask_decoder
    hook = decoder.output_upscaling.register_forward_hook(lambda _, __, out: seen.append(out))
    predictor = SamPredictor(original)
    predictor.set_image(image)
    points = torch.rand(30, 1, 2, generator=torch.Generator().manual_seed(0)) * 64
    logits = predictor.predict_torch(points, torch.ones(30, 1), multimask_output=True)[2]
    hook.remove()
    direction = seen[0].mean((0, 2, 3))
    for k, mlp in enumerate(decoder.output_hypernetworks_mlps[1:]):
        cut = logits[:, k].quantile(0.97)
        mlp.layers[-1].bias.data -= cut * direction / direction.square().sum()
        for value in mlp.layers[-1].parameters():  # logits of a usual size
            value.data *= 20


def _saved_buffers(layer: nn.Module) -> list[tuple[str, Tensor]]:
    saved = layer.state_dict(keep_vars=True)
    return [(name, value) for name, value in layer.named_buffers(recurse=False) if name in saved]


# transformers ----------------------------------------------------------------------------------


def transformers_sam(config: SamConfig, state: Mapping[str, Tensor]) -> Any:
    """Build `transformers`' SamModel of a configuration with the given weights, in eval mode."""
    import transformers

    encoder = config.encoder
    if not isinstance(encoder, ViTConfig):
        raise TypeError(f"expected a configuration with a ViT encoder, got {encoder!r}")
    sizes = {"image_size": config.image_size, "patch_size": encoder.patch_size}
    model = transformers.SamModel(
        transformers.SamConfig(
            vision_config=transformers.SamVisionConfig(
                **sizes,
                hidden_size=encoder.embed_dim,
                output_channels=config.embed_dim,
                num_hidden_layers=encoder.depth,
                num_attention_heads=encoder.num_heads,
                mlp_ratio=encoder.mlp_ratio,
                window_size=encoder.window_size,
                global_attn_indexes=list(encoder.global_attn_indexes),
                num_pos_feats=config.embed_dim // 2,
                mlp_dim=int(encoder.embed_dim * encoder.mlp_ratio),
            ),
            prompt_encoder_config=transformers.SamPromptEncoderConfig(
                **sizes, hidden_size=config.embed_dim, mask_input_channels=config.mask_in_chans
            ),
            mask_decoder_config=transformers.SamMaskDecoderConfig(
                hidden_size=config.embed_dim,
                mlp_dim=config.decoder_mlp_dim,
                num_hidden_layers=config.decoder_depth,
                num_attention_heads=config.decoder_heads,
                num_multimask_outputs=config.num_multimask_outputs,
                iou_head_depth=config.iou_head_depth,
                iou_head_hidden_dim=config.iou_head_hidden_dim,
                layer_norm_eps=1e-5,  # SAM's value; the default of transformers is another
            ),
        )
    )
    converted = {transformers_key(name): value for name, value in state.items()}
    shared = "shared_image_embedding.positional_embedding"
    converted["prompt_encoder.shared_embedding.positional_embedding"] = converted[shared]
    model.load_state_dict(converted, strict=True)
    return model.eval()


def transformers_key(name: str) -> str:
    """Name of a `segment-anything` tensor in `transformers`' SamModel."""
    for pattern, replacement in _TRANSFORMERS_KEYS:
        name = re.sub(pattern, replacement, name)
    return name


_MLP_LAYERS = {"0": "proj_in", "1": "layers.0", "2": "proj_out"}


def _mlp_layer(match: re.Match[str]) -> str:
    return f"{match[1]}.{_MLP_LAYERS[match[2]]}."


_TRANSFORMERS_KEYS: tuple[tuple[str, Any], ...] = (
    (r"^image_encoder\.", "vision_encoder."),
    (r"patch_embed\.proj\.", "patch_embed.projection."),
    (r"\.blocks\.", ".layers."),
    (r"neck\.0\.", "neck.conv1."),
    (r"neck\.1\.", "neck.layer_norm1."),
    (r"neck\.2\.", "neck.conv2."),
    (r"neck\.3\.", "neck.layer_norm2."),
    (r"\.norm(\d)\.", r".layer_norm\1."),
    (r"\.norm_final_attn\.", ".layer_norm_final_attn."),
    (
        r"^prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix$",
        "shared_image_embedding.positional_embedding",
    ),
    (r"\.point_embeddings\.", ".point_embed."),
    (r"\.mask_downscaling\.0\.", ".mask_embed.conv1."),
    (r"\.mask_downscaling\.1\.", ".mask_embed.layer_norm1."),
    (r"\.mask_downscaling\.3\.", ".mask_embed.conv2."),
    (r"\.mask_downscaling\.4\.", ".mask_embed.layer_norm2."),
    (r"\.mask_downscaling\.6\.", ".mask_embed.conv3."),
    (r"\.output_upscaling\.0\.", ".upscale_conv1."),
    (r"\.output_upscaling\.1\.", ".upscale_layer_norm."),
    (r"\.output_upscaling\.3\.", ".upscale_conv2."),
    (r"(output_hypernetworks_mlps\.\d+)\.layers\.(\d)\.", _mlp_layer),
    (r"(iou_prediction_head)\.layers\.(\d)\.", _mlp_layer),
)


# Comparison ------------------------------------------------------------------------------------


def relative_error(value: Tensor, expected: Tensor) -> float:
    """Largest absolute difference, relative to the largest expected magnitude."""
    if value.shape != expected.shape:
        raise AssertionError(f"shapes differ: {tuple(value.shape)}, {tuple(expected.shape)}")
    return float((value - expected).abs().max() / expected.abs().max())
