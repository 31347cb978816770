"""What tells networks apart: a key of the encoder, and one of everything."""

from __future__ import annotations

import json
from dataclasses import asdict

import torch
import xxhash
from torch import nn

from napari_sam.model.sam import Sam
from napari_sam.model.tuning import Tuning

# Of the embeddings of these encoders, those on users' disks are named by the key that the whole
# model had before encoders had one of their own.
_KEPT_UNDER = {"0f92251885bdbf6a7279a2ba2c5347d9": "33fee9b397d958285f7854cf60c00a3e"}  # nano


def encoder_key(sam: Sam) -> str:
    """Hash what an embedding depends on: the encoder's weights and its preprocessing.

    Networks whose decoders or heads alone differ read each other's embeddings.
    """
    config = sam.config
    about = {
        "encoder": {"kind": type(config.encoder).__name__} | asdict(config.encoder),
        "embed_dim": config.embed_dim,
        "skip_channels": config.skip_channels,
        "pixel_mean": config.pixel_mean,
        "pixel_std": config.pixel_std,
        "image_size": config.image_size,
        "resize": config.resize,
        "max_upscale": config.max_upscale,
    }
    digest = xxhash.xxh3_128(json.dumps(about).encode())
    _add_tensors(digest, sam.image_encoder)
    key = digest.hexdigest()
    return _KEPT_UNDER.get(key, key)


def model_key(sam: Sam) -> str:
    """Hash what a prediction depends on: all weights and the configuration but its name.

    Numbers of a model's tuning count where they aren't the defaults, which never change.
    """
    about = json.loads(sam.config.renamed("").to_json())
    if sam.config.tuning == Tuning():
        del about["tuning"]
    digest = xxhash.xxh3_128(json.dumps(about).encode())
    _add_tensors(digest, sam)
    return digest.hexdigest()


def _add_tensors(digest: xxhash.xxh3_128, network: nn.Module) -> None:
    for name, tensor in network.state_dict().items():
        digest.update(name.encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)  # strides of axes of length 1 are any
        digest.update(flat.view(torch.uint8).numpy().data)
