"""Checkpoint files: formats that load, architectures inferred, and files that are refused."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from reference import SMALL, randomise, reference_sam

from napari_sam.model.architecture import CheckpointError, infer_config
from napari_sam.model.checkpoint import save
from napari_sam.model.config import PRESETS, ViTConfig
from napari_sam.model.sam import build
from napari_sam.model.weights import load

# SMALL as it comes back from a file that holds tensors only: without its name and its number of
# decoder heads, which leave no trace in a tensor.
INFERRED = replace(SMALL, name="custom", decoder_heads=8)


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    original = reference_sam(SMALL)
    randomise(original, seed=3)
    return original.state_dict()


def assert_holds(sam, state) -> None:
    loaded = sam.state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], value) for name, value in state.items())


# Formats that load ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"model_state": state, "epoch": 3, "optimizer_state": {"lr": [0.1]}},
        lambda state: {"state_dict": state},
        lambda state: {"model": state},
        lambda state: {"model": {"state_dict": state}},
        lambda state: {f"sam.{name}": value for name, value in state.items()},
        lambda state: {"model_state": {f"sam.{name}": value for name, value in state.items()}},
        lambda state: {f"module.sam.{name}": value for name, value in state.items()},
    ],
    ids=[
        "plain",
        "trainer",
        "state_dict",
        "model",
        "nested",
        "sam. prefix",
        "trainer with sam. prefix",
        "data parallel",
    ],
)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_pytorch_file_loads(tmp_path, state, wrap, zipped):
    path = tmp_path / "model.pt"
    torch.save(wrap(state), path, _use_new_zipfile_serialization=zipped)
    sam = load(path)
    assert_holds(sam, state)
    assert sam.config == INFERRED
    assert not sam.training


def test_safetensors_without_configuration_is_inferred(tmp_path, state):
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file(state, path)
    sam = load(path)
    assert_holds(sam, state)
    assert sam.config == INFERRED


def test_configuration_in_metadata_wins_over_inference(tmp_path, state):
    path = tmp_path / "model.safetensors"
    config = replace(SMALL, decoder_heads=2, pixel_mean=(1.0, 2.0, 3.0))
    safetensors.torch.save_file(state, path, metadata={"config": config.to_json()})
    sam = load(path)
    assert sam.config == config
    assert sam.pixel_mean.flatten().tolist() == [1.0, 2.0, 3.0]


def test_format_is_recognised_by_the_content_whatever_the_suffix(tmp_path, state):
    torch.save(state, tmp_path / "model.safetensors")
    assert_holds(load(tmp_path / "model.safetensors"), state)
    safetensors.torch.save_file(state, tmp_path / "model.pth")
    assert_holds(load(tmp_path / "model.pth"), state)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_load_as_float32(tmp_path, state, dtype):
    path = tmp_path / "model.pt"
    torch.save({name: value.to(dtype) for name, value in state.items()}, path)
    assert_holds(load(path), {name: value.to(dtype).float() for name, value in state.items()})


def test_loaded_network_equals_one_that_was_filled(networks, tmp_path):
    """Building without initial values must leave nothing uninitialised."""
    path = tmp_path / "model.safetensors"
    save(networks.ours, path, half=False)
    sam = load(path)
    filled = build(SMALL).eval()
    filled.load_state_dict(networks.ours.state_dict(), strict=True)
    pixels = 255 * torch.rand(1, 3, 60, 96)
    with torch.no_grad():
        embeddings = [s.image_encoder(s.preprocess(pixels))[0] for s in (sam, filled)]
    assert torch.equal(*embeddings)
    assert all(value.requires_grad for value in sam.parameters())


def test_saved_hybrid_loads_again_in_half_precision(tmp_path):
    path = tmp_path / "nano.safetensors"
    sam = build(PRESETS["nano"])
    save(sam, path)
    again = load(path)
    assert again.config == PRESETS["nano"]
    assert_holds(again, {name: value.half().float() for name, value in sam.state_dict().items()})
    assert [p.name for p in tmp_path.iterdir()] == ["nano.safetensors"]
    (tmp_path / "other").touch()
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode


def test_saving_refuses_weights_that_overflow_half_precision(tmp_path):
    sam = build(SMALL)
    with torch.no_grad():
        sam.mask_decoder.iou_token.weight.fill_(1e6)
    path = tmp_path / "model.safetensors"
    with pytest.raises(ValueError, match=r"mask_decoder\.iou_token\.weight.*half=False"):
        save(sam, path)
    assert not path.exists()
    save(sam, path, half=False)
    assert load(path).mask_decoder.iou_token.weight[0, 0] == 1e6


def test_saving_refuses_another_suffix(tmp_path):
    with pytest.raises(ValueError, match=r"\.safetensors"):
        save(build(SMALL), tmp_path / "model.pth")


# Inference ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["vit_t", "vit_b", "vit_l", "vit_h"])
def test_presets_are_recognised_by_their_tensors(name):
    with torch.device("meta"):
        state = build(PRESETS[name]).state_dict()
    assert infer_config(state) == PRESETS[name]


@pytest.mark.parametrize(
    "changes",
    [
        {"encoder": ViTConfig(64, 3, 2, (0, 2), window_size=5, mlp_ratio=2.0)},
        {"encoder": ViTConfig(64, 2, 4, (), window_size=7, patch_size=8)},
        {"encoder": ViTConfig(64, 2, 4, (0, 1), qkv_bias=False)},
        {"image_size": 256, "embed_dim": 64, "decoder_depth": 3, "num_multimask_outputs": 5},
        {"iou_head_depth": 4, "iou_head_hidden_dim": 40, "mask_in_chans": 8},
    ],
)
def test_sizes_are_inferred_from_shapes(changes):
    config = replace(INFERRED, **changes)
    assert infer_config(reference_sam(config).state_dict()) == config


# Files that are refused --------------------------------------------------------------------------


def refused(path: Path, *parts: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        load(path)
    message = str(caught.value)
    assert str(path) in message
    assert all(part in message for part in parts), message


class Payload:
    """Pickles as a call that would create a file."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self):
        return (Path.touch, (self.witness,))


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_pickle_that_would_run_code_is_refused_and_not_run(tmp_path, state, zipped):
    witness = tmp_path / "it ran"
    path = tmp_path / "model.pth"
    content = {**state, "payload": Payload(witness)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    refused(path, "refused", "could run code", "state_dict()")
    assert not witness.exists()


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_bare_pickle_that_would_run_code_is_refused_and_not_run(tmp_path, protocol):
    witness = tmp_path / "it ran"
    path = tmp_path / "model.pth"
    path.write_bytes(pickle.dumps(Payload(witness), protocol))
    refused(path, "refused", "could run code")
    assert not witness.exists()


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_truncated_file_is_refused(tmp_path, state, kind, share):
    path = tmp_path / "model.pth"
    if kind == "safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "zip")
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    refused(path, "truncated", "fetch it anew")


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_damaged_file_is_refused_or_loads_but_never_crashes(tmp_path, state, kind, rng):
    """Damage within a tensor's bytes can't be told from weights without a known digest."""
    path = tmp_path / "model.pth"
    if kind == "safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "zip")
    content = path.read_bytes()
    for _ in range(40):
        damaged = bytearray(content)
        # the structure lies at the beginning or, in a zip, also at the end
        at = int(rng.integers(min(20_000, len(content))))
        at = -at if rng.random() < 0.5 else at
        damaged[at] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        try:
            load(path)
        except CheckpointError as error:
            assert str(path) in str(error)  # noqa: PT017


@pytest.mark.parametrize(
    "content",
    [
        b"<!DOCTYPE html><html><body>Please log in</body></html>",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        bytes(1000),
        b'\x10\x00\x00\x00\x00\x00\x00\x00{"a": not json ',
    ],
    ids=["login page", "git-lfs pointer", "png", "zeros", "broken safetensors header"],
)
def test_file_of_another_kind_is_refused(tmp_path, content):
    path = tmp_path / "model.pth"
    path.write_bytes(content)
    refused(path, f"{len(content)} bytes")


def test_zip_that_is_no_checkpoint_is_refused(tmp_path):
    import zipfile

    path = tmp_path / "model.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    refused(path, "truncated, damaged or of another kind")


@pytest.mark.parametrize(
    ("content", "got"),
    [
        ({"epoch": 3, "optimizer": {}}, "epoch, optimizer"),
        ({}, "keys"),
        (torch.zeros(3), "Tensor"),
        ([torch.zeros(3)], "list"),
        ({"weight": torch.zeros(3, dtype=torch.int32)}, "weight"),
        ({"a": torch.eye(3).to_sparse()}, "a"),
    ],
)
def test_file_without_a_state_dict_is_refused(tmp_path, content, got):
    path = tmp_path / "model.pth"
    torch.save(content, path)
    refused(path, "expected tensors by name", "model_state", got)


@pytest.mark.parametrize(
    ("name", "relative"),
    [
        ("image_encoder.trunk.pos_embed", "SAM 2"),
        ("vision_encoder.pos_embed", "SamModel"),
        ("conv1.weight", "1 tensors, conv1.weight"),
    ],
)
def test_other_architecture_is_named(tmp_path, name, relative):
    path = tmp_path / "model.pth"
    torch.save({name: torch.zeros(3)}, path)
    refused(path, "expected the tensors of a Segment Anything network", relative)


def test_missing_extra_and_misshapen_tensors_are_listed(tmp_path, state):
    path = tmp_path / "model.pth"
    changed = dict(state)
    del changed["mask_decoder.iou_token.weight"]
    changed["mask_decoder.hq_token.weight"] = torch.zeros(1, 32)
    changed["prompt_encoder.no_mask_embed.weight"] = torch.zeros(1, 16)
    torch.save(changed, path)
    refused(
        path,
        "1 are missing (mask_decoder.iou_token.weight)",
        "1 have no place in it (mask_decoder.hq_token.weight)",
        "1 have another shape (prompt_encoder.no_mask_embed.weight: (1, 32), got (1, 16))",
    )


def test_tables_of_several_window_sizes_are_refused(tmp_path, state):
    path = tmp_path / "model.pth"
    changed = dict(state)
    changed["image_encoder.blocks.3.attn.rel_pos_h"] = torch.zeros(9, 16)
    torch.save(changed, path)
    refused(path, "relative-position tables", "[7, 9, 11]")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path, state, value):
    path = tmp_path / "model.pth"
    changed = dict(state)
    changed["mask_decoder.iou_token.weight"] = torch.full((1, 32), value)
    torch.save(changed, path)
    refused(path, "finite", "mask_decoder.iou_token.weight")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("{}", "JSON of a SamConfig"),
        (replace(SMALL, embed_dim=-1).to_json(), "embed_dim a whole number from 8"),
        (PRESETS["vit_b"].to_json(), "far larger one than the file"),
        (replace(SMALL, decoder_mlp_dim=65).to_json(), "another shape"),
    ],
    ids=["incomplete", "impossible", "of another network", "of a similar network"],
)
def test_configuration_that_does_not_fit_is_refused(tmp_path, state, config, words):
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file(state, path, metadata={"config": config})
    refused(path, words)
