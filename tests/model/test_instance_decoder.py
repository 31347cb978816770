"""The decoder for instances of micro-sam's models, and the files that have one."""

from __future__ import annotations

import pytest
import torch
from instance_reference import decode, decoder_tensors
from reference import SMALL, randomise, reference_sam

from napari_sam.model import weights
from napari_sam.model.checkpoint import load_into_new, save
from napari_sam.model.instance_decoder import InstanceDecoder
from napari_sam.model.keys import encoder_key, instance_key, model_key
from napari_sam.model.weights import CheckpointError

WIDE = 32


def relative(came, expected):
    return float((came - expected).abs().max() / expected.abs().max())


@pytest.fixture(scope="module")
def network():
    """Tensors of a small SAM by their names."""
    original = reference_sam(SMALL)
    randomise(original, seed=5)
    return original.state_dict()


@pytest.fixture
def decoder():
    return decoder_tensors(SMALL.embed_dim, WIDE)


def trained(network, decoder):
    """What micro-sam's trainer saves."""
    named = {f"sam.{name}": value for name, value in network.items()}
    return {"iteration": 7, "model_state": named, "decoder_state": decoder}


# The network ---------------------------------------------------------------------------------


@pytest.mark.parametrize("upsampling", ["bilinear", "transposed"])
@pytest.mark.parametrize("grid", [(6, 6), (4, 7)])
def test_maps_are_the_references(upsampling, grid):
    state = decoder_tensors(24, 48, upsampling)
    ours = InstanceDecoder(24, (48, 24, 12, 6), upsampling).eval()
    ours.load_state_dict({k: v for k, v in state.items() if "tracked" not in k})
    embedding = torch.randn(1, 24, *grid, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        came, expected = ours(embedding), decode(state, embedding)
    assert came.shape == (1, 3, 16 * grid[0], 16 * grid[1])
    assert expected.std() > 0.05
    assert relative(came, expected) < 1e-5


def test_published_size_has_the_published_tensors():
    with torch.device("meta"):
        ours = InstanceDecoder(256, (512, 256, 128, 64)).state_dict()
    assert ours["deconv1.block.0.conv.weight"].shape == (512, 256, 1, 1)
    assert ours["decoder.blocks.0.block.1.weight"].shape == (256, 512, 3, 3)
    assert ours["decoder_head.block.1.weight"].shape == (64, 128, 3, 3)
    expected = {k for k in decoder_tensors(8, 16) if "tracked" not in k}
    assert set(ours) == expected


# Files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("upsampling", ["bilinear", "transposed"])
def test_trainers_checkpoint_has_its_decoder(tmp_path, network, upsampling):
    decoder = decoder_tensors(SMALL.embed_dim, WIDE, upsampling)
    torch.save(trained(network, decoder), tmp_path / "best.pt")
    sam = weights.load(tmp_path / "best.pt")
    assert sam.config.instance_channels == (32, 16, 8, 4)
    assert sam.config.instance_upsampling == upsampling
    for name, value in sam.instance_decoder.state_dict().items():
        assert torch.equal(value, decoder[name]), name


@pytest.mark.parametrize("name", ["mine_decoder.pt", "mine_decoder.pth"])
def test_file_beside_a_checkpoint_is_its_decoder(tmp_path, network, decoder, name):
    torch.save(network, tmp_path / "mine.pt")
    assert weights.load(tmp_path / "mine.pt").instance_decoder is None
    torch.save(decoder, tmp_path / name)
    sam = weights.load(tmp_path / "mine.pt")
    assert torch.equal(sam.instance_decoder.out_conv.weight, decoder["out_conv.weight"])


def test_checkpoints_own_decoder_goes_before_the_file_beside_it(tmp_path, network, decoder):
    torch.save(trained(network, decoder), tmp_path / "mine.pt")
    torch.save(decoder_tensors(SMALL.embed_dim, WIDE, seed=1), tmp_path / "mine_decoder.pt")
    sam = weights.load(tmp_path / "mine.pt")
    assert torch.equal(sam.instance_decoder.out_conv.weight, decoder["out_conv.weight"])


def test_saved_network_keeps_its_decoder(tmp_path, network, decoder):
    torch.save(trained(network, decoder), tmp_path / "best.pt")
    sam = weights.load(tmp_path / "best.pt")
    save(sam, tmp_path / "whole.safetensors", half=False)
    again = weights.load(tmp_path / "whole.safetensors")
    assert again.config == sam.config
    assert instance_key(again) == instance_key(sam)


def test_decoder_changes_no_key_of_what_clicks_depend_on(tmp_path, network, decoder):
    torch.save(network, tmp_path / "plain.pt")
    torch.save(trained(network, decoder), tmp_path / "whole.pt")
    plain, whole = (weights.load(tmp_path / name) for name in ("plain.pt", "whole.pt"))
    assert encoder_key(plain) == encoder_key(whole)
    assert model_key(plain) == model_key(whole)
    assert instance_key(plain) == ""
    other = decoder_tensors(SMALL.embed_dim, WIDE, seed=1)
    torch.save(trained(network, other), tmp_path / "other.pt")
    assert instance_key(whole) != instance_key(weights.load(tmp_path / "other.pt"))


# Files that are wrong ------------------------------------------------------------------------


def without(state, name):
    return {k: v for k, v in state.items() if k != name}


WRONG = [
    (lambda d: without(d, "deconv2.block.2.running_var"), "1 are missing"),
    (lambda d: without(d, "out_conv.weight"), "expected the tensors of micro-sam's decoder"),
    (lambda d: d | {"encoder.extra": torch.ones(3)}, "1 have no place"),
    (lambda d: d | {"decoder_head.block.4.bias": torch.ones(5)}, "1 have another shape"),
    (lambda d: d | {"base.block.4.bias": torch.full((WIDE,), torch.nan)}, "NaN or infinity"),
    (lambda d: decoder_tensors(SMALL.embed_dim + 8, WIDE), "channels, as this model's are"),
    (lambda d: d | {"out_conv.weight": torch.ones(5, 4, 1, 1)}, "got one with 5"),
    (
        lambda d: d | {"deconv2.block.1.block.weight": torch.ones(20, 20, 3, 3)},
        "each half of the one before",
    ),
    (lambda d: {"layer": torch.ones(2)}, "expected the tensors of micro-sam's decoder"),
]


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_wrong_decoder_is_refused(tmp_path, network, decoder, change, message):
    torch.save(network, tmp_path / "mine.pt")
    torch.save(change(decoder), tmp_path / "mine_decoder.pt")
    with pytest.raises(CheckpointError, match=message):
        weights.load(tmp_path / "mine.pt")
    torch.save(trained(network, change(decoder)), tmp_path / "best.pt")
    with pytest.raises(CheckpointError, match=message):
        weights.load(tmp_path / "best.pt")


def test_damaged_files_beside_a_checkpoint_are_named(tmp_path, network, decoder):
    torch.save(network, tmp_path / "mine.pt")
    path = tmp_path / "mine_decoder.pt"
    torch.save(decoder, path)
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], b"not a checkpoint", b""):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"mine_decoder\.pt"):
            weights.load(tmp_path / "mine.pt")


def test_something_else_under_the_decoders_name_is_refused(tmp_path, network):
    torch.save(trained(network, {"step": 3}), tmp_path / "best.pt")
    with pytest.raises(CheckpointError, match="decoder_state"):
        weights.load(tmp_path / "best.pt")


def test_decoder_given_as_a_model_advises_what_to_give(tmp_path, decoder):
    torch.save(decoder, tmp_path / "vit_b_decoder.pt")
    with pytest.raises(CheckpointError, match="decoder for instances alone"):
        weights.load(tmp_path / "vit_b_decoder.pt")


def test_half_a_decoder_of_a_configuration_is_refused(network):
    config = SMALL.renamed("mine")
    object.__setattr__(config, "instance_channels", (32, 16, 8, 4))
    with pytest.raises(CheckpointError, match="instance_decoder"):
        load_into_new(network, config, "mine")


# Registered models ---------------------------------------------------------------------------


def test_micro_sams_models_name_their_decoders():
    named = {name for name, one in weights.REGISTRY.items() if one.decoder_digest}
    assert named == {f"vit_{size}_{kind}" for size in "tbl" for kind in ("lm", "em_organelles")}
    entry = weights.REGISTRY["vit_b_lm"]
    assert entry.decoder_url == entry.url.replace("vit_b.pt", "vit_b_decoder.pt")
    assert weights.decoder_path_of("vit_b_lm").name == "vit_b_lm_decoder.pt"
    assert weights.decoder_path_of("vit_b") is None


@pytest.fixture
def registered(tmp_path, network, decoder, monkeypatch):
    """A registered model whose two files a server has, under their own names."""
    import hashlib
    import io
    from dataclasses import dataclass

    from napari_sam.model import weights as module

    def content(state):
        file = io.BytesIO()
        torch.save(state, file)
        return file.getvalue()

    files = {"http://x/a.pt": content(network), "http://x/a_decoder.pt": content(decoder)}
    asked = []

    def fetch(url, target, digest, size=None, progress=None):
        asked.append(url)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(files[url])
        if progress is not None:
            progress(0.0)
            progress(1.0)

    digests = {url: f"sha256:{hashlib.sha256(data).hexdigest()}" for url, data in files.items()}
    model, beside = files
    entry = weights.Entry(
        "small_lm", model, digests[model], None, "CC0-1.0", "", "vit_b", None, digests[beside]
    )
    monkeypatch.setitem(weights.REGISTRY, "small_lm", entry)
    monkeypatch.setattr(module, "fetch", fetch)

    @dataclass
    class Registered:
        asked: list[str]

    return Registered(asked)


def test_decoder_is_downloaded_with_its_model(registered):
    reported: list[float] = []
    sam = weights.load("small_lm", reported.append)
    assert registered.asked == ["http://x/a.pt", "http://x/a_decoder.pt"]
    assert sam.instance_decoder is not None
    assert sam.config.name == "small_lm"
    assert reported == sorted(reported)
    assert reported[-1] == 1.0
    weights.download("small_lm")
    assert len(registered.asked) == 2
    weights.verify("small_lm")


def test_model_without_its_decoder_explains_how_to_fetch_it(registered):
    weights.download("small_lm")
    weights.decoder_path_of("small_lm").unlink()
    with pytest.warns(UserWarning, match="napari-sam models download small_lm"):
        assert weights.load("small_lm").instance_decoder is None
    weights.download("small_lm")
    assert registered.asked[2:] == ["http://x/a_decoder.pt"]


def test_altered_decoder_is_not_opened(registered):
    weights.download("small_lm")
    path = weights.decoder_path_of("small_lm")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    for ask in (weights.load, weights.verify):
        with pytest.raises(CheckpointError, match=r"small_lm_decoder\.pt.*not opened"):
            ask("small_lm")
