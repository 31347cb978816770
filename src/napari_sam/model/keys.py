"""Hashes that identify networks: one of the encoder, and one of everything."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
import xxhash
from torch import Tensor

from napari_sam.model.architecture import INSTANCES
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
    key = key_of(about, sam.image_encoder.state_dict())
    return _KEPT_UNDER.get(key, key)


def model_key(sam: Sam) -> str:
    """Hash what a prediction from prompts depends on: weights, and the configuration.

    Its name doesn't count, nor does the decoder for instances, which has a key of its own: the
    same clicks on the same model give the same masks whether it is there or not. Numbers of a
    model's tuning count where they aren't the defaults, which never change.
    """
    about = json.loads(sam.config.renamed("").to_json())
    del about["instance_channels"], about["instance_upsampling"]
    if sam.config.tuning == Tuning():
        del about["tuning"]
    state = sam.state_dict()
    return key_of(about, {k: v for k, v in state.items() if not k.startswith(INSTANCES)})


def instance_key(sam: Sam) -> str:
    """Hash the decoder for instances; empty where there is none."""
    if sam.instance_decoder is None:
        return ""
    about = {"instance_upsampling": sam.config.instance_upsampling}
    return key_of(about, sam.instance_decoder.state_dict())


def key_of(about: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """Hash a network.

    Parameters
    ----------
    about
        Its configuration, as a value of JSON.
    tensors
        By name, in their order.
    """
    digest = xxhash.xxh3_128(json.dumps(about).encode())
    for name, tensor in tensors.items():
        digest.update(name.encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)  # strides of axes of length 1 are any
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()
