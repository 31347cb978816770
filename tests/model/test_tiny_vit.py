"""MobileSAM: its encoder and its masks equal the reference's, its files load, it is put to use."""

from __future__ import annotations

import copy
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from mobile_reference import SMALL, SamPredictor, mobile_reference, used
from reference import randomise, relative_error
from small_models import TINY, network, segmenter

from napari_sam import load_segmenter
from napari_sam.model import tiny_vit_folded
from napari_sam.model.architecture import CheckpointError, infer_config
from napari_sam.model.checkpoint import load_into_new, save
from napari_sam.model.config import PRESETS, SamConfig
from napari_sam.model.keys import encoder_key, model_key
from napari_sam.model.sam import Sam, build
from napari_sam.model.tiny_vit_folded import fold
from napari_sam.model.weights import load
from napari_sam.prompts import Prompts
from napari_sam.segmentation.network import SamSegmenter

TOLERANCE = 1e-4


def pair(config: SamConfig) -> tuple[Sam, Any]:
    """Our network and the reference's with the same random weights and statistics."""
    original = mobile_reference(config)
    randomise(original, seed=11)
    original.eval()  # gathers its biases anew
    ours = load_into_new(used(original.state_dict()), config, "the reference's weights")
    return ours, original


@pytest.fixture(scope="module")
def networks() -> tuple[Sam, Any]:
    return pair(SMALL)


@pytest.fixture
def plane(rng) -> np.ndarray:
    return rng.integers(0, 256, (75, 112, 3), dtype=np.uint8)


def test_preset_has_the_tensors_of_the_reference():
    with torch.device("meta"):
        ours = build(PRESETS["vit_t"])
    original = mobile_reference(PRESETS["vit_t"])
    shapes = {key: tuple(value.shape) for key, value in ours.state_dict().items()}
    assert shapes == {k: tuple(v.shape) for k, v in used(original.state_dict()).items()}
    left = sum(value.numel() for value in original.parameters()) - 1000 * 321 - 2 * 320
    assert sum(value.numel() for value in ours.parameters()) == left


def test_stand_ins_are_gone_after_the_import():
    assert "timm" not in sys.modules or hasattr(sys.modules["timm"], "__file__")


@torch.no_grad()
def test_embedding_equals_the_reference(networks):
    ours, original = networks
    x = torch.randn(2, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    expected = original.image_encoder(x)
    assert float(expected.std()) > 0.1
    for encoder in (ours.image_encoder, fold(ours.image_encoder)):
        assert relative_error(encoder(x)[0], expected) < TOLERANCE
        memory = x.contiguous(memory_format=torch.channels_last)
        assert relative_error(encoder(memory)[0], expected) < TOLERANCE


@torch.no_grad()
@pytest.mark.parametrize("strip", [2, 6, 12])
def test_rows_taken_a_few_at_a_time_give_the_same_embedding(monkeypatch, strip):
    """Strips that divide the 16 rows of the first stage, and that don't."""
    encoder = network(TINY).eval().image_encoder
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    expected = encoder(x)[0]
    # 16 cells of 32 channels a row
    monkeypatch.setattr(tiny_vit_folded, "_CACHE_BYTES", strip * 16 * 32 * 4)
    assert relative_error(fold(encoder)(x)[0], expected) < 1e-5


@torch.no_grad()
def test_every_tensor_of_the_encoder_has_a_part_in_the_embedding():
    """Or parity would say nothing of it."""
    generator = torch.Generator().manual_seed(0)
    encoder = network(TINY).eval().image_encoder
    x = torch.randn(1, 3, 64, 64, generator=generator)
    before = encoder(x)[0]
    for name, value in encoder.state_dict().items():
        kept = value.clone()
        value.add_(torch.rand(value.shape, generator=generator))
        assert relative_error(encoder(x)[0], before) > 1e-4, name
        value.copy_(kept)
    assert torch.equal(encoder(x)[0], before)


@pytest.mark.parametrize("multimask", [True, False], ids=["candidates", "single mask"])
def test_masks_equal_the_predictors(networks, plane, multimask):
    ours, original = networks
    predictor = SamPredictor(original)
    predictor.set_image(plane)
    expected = predictor.predict(
        np.array([[50, 30], [20, 10]]),
        np.array([1, 0]),
        box=np.array([10, 5, 90, 60]),
        multimask_output=multimask,
    )
    mine = SamSegmenter(copy.deepcopy(ours), "cpu", "float32")
    embedding = mine.embed(plane)
    assert relative_error(embedding.features[0], predictor.get_image_embedding()) < TOLERANCE
    prompts = Prompts([(30, 50), (10, 20)], [1, 0], box=np.array([5, 10, 60, 90]))
    prediction = mine.decode(embedding, prompts, multimask)
    logits = torch.from_numpy(prediction.logits)
    assert relative_error(logits, torch.from_numpy(expected[2])) < TOLERANCE
    assert np.abs(prediction.scores - expected[1]).max() < TOLERANCE * np.abs(expected[1]).max()
    assert np.array_equal(prediction.masks(), expected[0])


# Files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("trainer", [False, True], ids=["official", "micro-sam's trainer"])
def test_file_with_its_unused_head_and_counts_loads(tmp_path, networks, suffix, trainer):
    ours, original = networks
    path = tmp_path / f"mobile_sam{suffix}"
    state = original.state_dict()
    assert "image_encoder.head.weight" in state
    assert "image_encoder.patch_embed.seq.0.bn.num_batches_tracked" in state
    if trainer:
        state = {f"sam.{name}": value for name, value in state.items()}
    if suffix == ".pt":
        torch.save({"model_state": state, "decoder_state": {}} if trainer else state, path)
    else:
        safetensors.torch.save_file(state, path)
    sam = load(path)
    # neither the size of the input nor the decoder's heads leave a trace
    assert sam.config == replace(SMALL, name="custom", image_size=1024)
    for name, value in ours.state_dict().items():
        assert torch.equal(sam.state_dict()[name], value), name


def test_other_tensors_have_no_place(tmp_path, networks):
    state = networks[1].state_dict()
    state["image_encoder.head.scale"] = torch.ones(1)
    del state["image_encoder.layers.2.blocks.0.attn.attention_biases"]
    torch.save(state, tmp_path / "mobile.pt")
    with pytest.raises(CheckpointError, match=r"TinyViT encoder.*attention_biases"):
        load(tmp_path / "mobile.pt")
    state["image_encoder.layers.2.blocks.0.attn.attention_biases"] = torch.zeros(3, 16)
    torch.save(state, tmp_path / "mobile.pt")
    with pytest.raises(CheckpointError, match=r"1 have no place in it \(image_encoder.head.scale"):
        load(tmp_path / "mobile.pt")


def test_saved_model_loads_again_with_its_configuration(tmp_path):
    sam = network(TINY)
    save(sam, tmp_path / "tiny.safetensors", half=False)
    again = load(tmp_path / "tiny.safetensors")
    assert again.config == TINY
    assert (encoder_key(again), model_key(again)) == (encoder_key(sam), model_key(sam))


def test_sizes_are_inferred_from_shapes():
    assert infer_config(build(replace(TINY, image_size=1024)).state_dict()) == replace(
        TINY, name="custom", image_size=1024, decoder_heads=8
    )


# Put to use ---------------------------------------------------------------------------------------


def test_network_that_is_put_to_use_stays_as_its_file_has_it(plane):
    sam = network(TINY)
    before = {name: value.clone() for name, value in sam.state_dict().items()}
    keys = encoder_key(sam), model_key(sam)
    used_one = SamSegmenter(sam, "cpu", "float32")
    used_one.embed(plane)
    assert (used_one.encoder_key, used_one.model_key) == keys
    after = used_one.network.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_encoding_reports_its_progress_and_can_be_stopped(plane):
    heard: list[float] = []
    segmenter(TINY).embed_pixels(plane[:64, :64], progress=heard.append)
    assert heard == sorted(heard)
    assert len(heard) > 4
    assert heard[-1] == 1.0

    def stop(fraction: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        segmenter(TINY).embed_pixels(plane[:64, :64], progress=stop)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.filterwarnings("ignore::napari_sam.segmentation.devices.DeviceWarning")
def test_half_precision_gives_nearly_the_same_embedding(plane, precision):
    expected = segmenter(TINY).embed(plane).features[0]
    half = SamSegmenter(network(TINY), "cpu", precision).embed(plane).features[0]
    assert half.dtype == getattr(torch, precision)
    assert relative_error(half.float(), expected) < 0.1


def test_encoder_learns_where_it_is_taught():
    sam = network(TINY).train()
    features = sam.image_encoder(torch.randn(2, 3, 64, 64))[0]
    features.square().mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in sam.image_encoder.parameters())


def test_file_answers_clicks_in_tiles_of_large_planes(tmp_path, rng):
    save(network(TINY), tmp_path / "tiny.safetensors")
    mine = load_segmenter(tmp_path / "tiny.safetensors", "cpu", cache=False)
    large = rng.integers(0, 256, (150, 100), dtype=np.uint8)
    prediction = mine.decode(mine.embed(large), Prompts([(70, 50)], [1]))
    assert prediction.masks().shape == (3, 150, 100)
