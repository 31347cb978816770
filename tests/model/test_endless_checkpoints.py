"""Checkpoints that claim, unpack to or walk through more than they are: refused before they do."""

from __future__ import annotations

import json
import pickle
import struct
import zipfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from reference import SMALL
from small_models import HYBRID, TINY

from napari_sam.model import tensor_file
from napari_sam.model.architecture import CheckpointError
from napari_sam.model.bounds import check_bounds
from napari_sam.model.checkpoint import save
from napari_sam.model.config import PRESETS, SamConfig
from napari_sam.model.sam import build
from napari_sam.model.weights import load

# A minute is long enough on any machine, and none of these ended in an hour.
pytestmark = pytest.mark.timeout(60, func_only=True)


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return build(SMALL).state_dict()


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "model.pth"


def refused(path: Path, *parts: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        load(path)
    message = str(caught.value)
    assert str(path) in message
    assert len(message) < 2000
    assert all(part in message for part in parts), message


def zipped(path: Path, pickled: bytes, records: dict[str, bytes], method: int = 0) -> None:
    """Write what torch.save would, of any pickle and any bytes of storages."""
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/byteorder", "little")
        archive.writestr("archive/version", "3\n")
        for name, content in records.items():
            archive.writestr(f"archive/data/{name}", content)


def tensor(numbers: int) -> bytes:
    """Pickle `{"w": tensor}` of so many float32 in the storage "0"."""
    count = b"\x8a\x08" + struct.pack("<q", numbers)
    return (
        b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n"
        b"((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
        + (count + b"tQK\x00" + count + b"\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtRs.")
    )


# Pickles -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("wrapper", ["model", "state_dict"])
def test_wrapper_that_holds_itself_is_refused(path, wrapper, zipped):
    content: dict[str, Any] = {"epoch": 3}
    content[wrapper] = content
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    refused(path, "expected tensors by name", "epoch")


@pytest.mark.parametrize(("depth", "words"), [(50, "tensors by name"), (250, "endlessly")])
def test_wrappers_within_wrappers_without_end_are_refused(path, state, depth, words):
    content: dict[str, Any] = state
    for _ in range(depth):
        content = {"model": content}
    torch.save(content, path)
    refused(path, words)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_key_that_is_hashed_for_ever_is_refused(path, state, zipped):
    """A tuple of a tuple twice, a hundred times: a few bytes, 2^100 numbers to hash."""
    key: tuple[Any, ...] = (1,)
    for _ in range(100):
        key = (key, key)
    content = {"model": state, "a": ["key", key]}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    refused(path, "objects that hold each other endlessly")


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_list_of_more_objects_than_any_network_has_is_refused(path, state, zipped):
    content = {"model": state, "losses": [0] * 400_000}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    refused(path, "more than 150000 objects", "save the weights alone")


def test_more_tensors_than_any_network_has_are_refused(path):
    safetensors.torch.save_file({str(i): torch.zeros(1) for i in range(5001)}, path)
    refused(path, "5001 tensors")


def test_trainers_state_of_the_largest_network_is_not_too_much(path, state):
    """ViT-H has 594 tensors; an optimizer keeps two of each size, and a number."""
    steps = {i: dict.fromkeys(("step", "mean", "square"), torch.zeros(1)) for i in range(594)}
    content = {"model": state, "optimizer": {"state": steps}, "losses": [0.5] * 50_000}
    torch.save(content, path)
    assert load(path).config.encoder == SMALL.encoder


def test_name_without_end_is_refused(path, state):
    torch.save({"module." * 1000 + name: value for name, value in state.items()}, path)
    refused(path, "a tensor with a name of 70")


def test_tensors_that_are_not_there_are_refused(path):
    torch.save({"w": torch.empty(10**6, 10**6, device="meta")}, path)
    refused(path, "expected tensors by name")


# Sizes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_tensor_that_repeats_one_number_without_end_is_refused(path, state, zipped):
    name = "image_encoder.pos_embed"
    content = {**state, name: torch.zeros(1).expand(1, 10**5, 10**5, 48)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    refused(path, f"{name} alone {4 * 48 * 10**10}", "of a file with room for")


def test_record_that_unpacks_to_far_more_than_the_file_is_refused(path):
    count = 2**24
    zipped(path, tensor(count), {"0": bytes(4 * count)}, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 2**17
    refused(path, "records that unpack to 671", "of a file of")


def test_tensor_larger_than_its_record_is_refused(path):
    zipped(path, tensor(10**9), {"0": bytes(400)})
    refused(path, "w alone 4000000000")


def test_list_of_contents_that_is_longer_than_any_networks_is_refused(path, state, monkeypatch):
    torch.save(state, path)
    monkeypatch.setattr(tensor_file, "_LARGEST_DIRECTORY", 2**12)
    refused(path, "truncated, damaged or of another kind")


@pytest.mark.parametrize("length", [2**22 + 1, 2**60])
def test_header_of_a_safetensors_file_that_is_too_long_is_refused(path, length):
    path.write_bytes(struct.pack("<Q", length) + b'{"a": ' + b"[" * 1000)
    refused(path, f"a header of {length} bytes")


def test_header_nested_too_deeply_is_refused(path):
    header = b'{"a": ' + b"[" * 100_000
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    refused(path, "safetensors file")


# Configurations ----------------------------------------------------------------------------------


def with_config(path: Path, state: dict[str, torch.Tensor], text: str) -> Path:
    safetensors.torch.save_file(state, path, metadata={"config": text})
    return path


@pytest.mark.parametrize(
    "text",
    [
        '{"encoder": ' + "[" * 9000,
        '{"encoder": ' + "[" * 4500 + "]" * 4500 + "}",
        '{"encoder": ' + '{"a":' * 1900 + "0" + "}" * 1901,
        '{"encoder": {"kind": [1]}}',
        '{"encoder": {"kind": "vit"}, "name": 3}',
        "[1, 2]",
        "null",
    ],
    ids=["open", "lists", "objects", "kind", "incomplete", "list", "null"],
)
def test_configuration_nested_too_deeply_or_of_another_shape_is_refused(path, state, text):
    refused(with_config(path, state, text), "expected the JSON of a SamConfig")


def test_configuration_that_is_too_long_is_refused(path, state):
    blocks = tuple(range(3000))
    config = replace(SMALL, encoder=replace(SMALL.encoder, global_attn_indexes=blocks))
    refused(with_config(path, state, config.to_json()), "of at most 10000 letters")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"encoder": replace(SMALL.encoder, depth=10**6)}, "depth a whole number"),
        ({"num_multimask_outputs": 10**6}, "num_multimask_outputs a whole number from 1 to 64"),
        ({"decoder_depth": 10**9}, "decoder_depth"),
        ({"iou_head_depth": 10**7}, "iou_head_depth"),
        ({"raster_sigmas": (1.0,) * 1000}, "raster_sigmas"),
        ({"image_size": 2**40}, "image_size"),
        ({"max_upscale": float("inf")}, "max_upscale a number from 1 to 16, got inf"),
        ({"max_upscale": float("nan")}, "max_upscale"),
        ({"embed_dim": 4096, "decoder_mlp_dim": 65536}, "far larger one than the file's"),
        ({"decoder_depth": 64}, "far larger one than the file's"),
        ({"decoder_depth": 3}, "are missing"),
    ],
)
def test_configuration_of_a_network_without_measure_is_refused(path, state, changes, words):
    refused(with_config(path, state, replace(SMALL, **changes).to_json()), words)


def test_tensors_of_a_network_without_measure_are_refused(path, state):
    """Without a configuration the shapes say what is built: those of no numbers cost no bytes."""
    names = (f"image_encoder.blocks.{i}.attn.rel_pos_h" for i in range(4))
    empty = dict.fromkeys(names, torch.zeros(7, 0))
    torch.save(state | empty, path)
    refused(path, "Segment Anything network")
    torch.save(state | {"mask_decoder.mask_tokens.weight": torch.zeros(10**6, 32)}, path)
    refused(path, "num_multimask_outputs")


def fields(config: SamConfig) -> list[tuple[str, ...]]:
    encoder = [("encoder", name) for name in asdict(config.encoder)]
    return [(name,) for name in asdict(config) if name != "encoder"] + encoder


@pytest.mark.parametrize("config", [SMALL, HYBRID, TINY], ids=["vit", "hybrid", "tiny_vit"])
@pytest.mark.parametrize(
    "value", [None, "4", -1, 10**30, 1e300, float("nan"), (), ("a",), ((1,),), {"a": 1}]
)
def test_every_setting_is_refused_where_it_is_absurd(config, value):
    may_be_empty = ("raster_sigmas", "skip_channels", "global_attn_indexes", "instance_channels")
    for names in fields(config):
        values = json.loads(config.to_json())
        inner = values["encoder"] if len(names) == 2 else values
        if value == () and names[-1] in may_be_empty:
            continue  # SAM has none
        if value == "4" and names == ("name",):
            continue
        inner[names[-1]] = value
        with pytest.raises(ValueError, match=names[-1]):
            check_bounds(SamConfig.from_json(json.dumps(values)))


@pytest.mark.parametrize(
    "config", [*PRESETS.values(), SMALL, HYBRID], ids=[*PRESETS, "small vit", "small hybrid"]
)
def test_networks_that_are_in_use_are_within_bounds(config):
    check_bounds(config)
    check_bounds(SamConfig.from_json(config.to_json()))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (replace(SMALL, decoder_heads=7), "decoder_heads"),
        (replace(SMALL, embed_dim=36), "embed_dim is a multiple of 8"),
        (replace(SMALL, image_size=100), "image_size"),
        (replace(HYBRID, decoder_pooling=3), "decoder_pooling"),
        (replace(SMALL, encoder=replace(SMALL.encoder, num_heads=5)), "num_heads"),
        (replace(HYBRID, encoder=replace(HYBRID.encoder, head_dim=5)), "head_dim"),
        (replace(TINY, encoder=replace(TINY.encoder, num_heads=(3, 3, 2))), "num_heads"),
    ],
)
def test_settings_that_do_not_go_together_are_refused_before_the_first_click(config, words):
    with pytest.raises(ValueError, match=words):
        check_bounds(config)


def test_saved_model_of_largest_name_loads_again(path):
    sam = build(replace(SMALL, name="n" * 100))
    path = path.with_suffix(".safetensors")
    save(sam, path)
    assert load(path).config.name == "n" * 100


def test_pickle_protocol_is_what_the_scan_expects(path, state):
    """What torch.save writes is read step by step; another protocol would pass unseen."""
    torch.save(state, path)
    with zipfile.ZipFile(path) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith("data.pkl"))
        assert archive.read(name)[:2] == pickle.PROTO + b"\x02"
