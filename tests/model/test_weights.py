"""Models by name: the registry, where files belong, downloading, verifying and loading."""

from __future__ import annotations

import hashlib
import logging
import re
from dataclasses import replace
from pathlib import Path

import platformdirs
import pytest
import torch
from file_server import serving, unused_port
from reference import SMALL, randomise, reference_sam

from napari_sam.model import weights
from napari_sam.model.checkpoint import save
from napari_sam.model.config import PRESETS
from napari_sam.model.sam import build
from napari_sam.model.weights import (
    REGISTRY,
    CheckpointError,
    DownloadError,
    Entry,
    download,
    file_digest,
    home,
    is_downloaded,
    load,
    path_of,
    verify,
)


@pytest.fixture(scope="module")
def content(tmp_path_factory) -> bytes:
    """The file of a small model."""
    original = reference_sam(SMALL)
    randomise(original, seed=5)
    path = tmp_path_factory.mktemp("server") / "model.pt"
    torch.save(original.state_dict(), path)
    return path.read_bytes()


@pytest.fixture
def server(content, monkeypatch):
    """A server that has the file of a registered model called "small"."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving(content) as running:
        entry = Entry(
            name="small",
            url=running.url,
            digest=f"sha256:{hashlib.sha256(content).hexdigest()}",
            size=len(content),
            licence="CC0-1.0",
            description="random weights",
            config="vit_b",
        )
        monkeypatch.setitem(REGISTRY, "small", entry)
        yield running


# The registry --------------------------------------------------------------------------------


OWN = {name: entry for name, entry in REGISTRY.items() if entry.repository is None}


@pytest.mark.parametrize("entry", OWN.values(), ids=OWN.keys())
def test_entry_is_complete(entry):
    assert REGISTRY[entry.name] is entry
    assert entry.config in PRESETS
    assert entry.licence
    assert entry.description
    if entry.url is None:
        assert path_of(entry.name).parent.name == "data"
        return
    assert entry.url.startswith("https://")
    lengths = {"sha256": 64, "xxh128": 32}
    algorithm, _, value = entry.digest.partition(":")
    assert re.fullmatch(rf"[0-9a-f]{{{lengths[algorithm]}}}", value)
    with torch.device("meta"):
        tensors = build(PRESETS[entry.config]).state_dict().values()
    # MobileSAM's files hold the head that classified images into a thousand classes, too
    unused = 1000 * 321 + 2 * 320 if entry.config == "vit_t" else 0
    numbers = sum(value.numel() for value in tensors) + unused
    assert entry.size == pytest.approx(4 * numbers, rel=0.01)


def test_every_downloaded_model_has_a_file_of_its_own():
    paths = [path_of(name) for name in REGISTRY]
    assert len(set(paths)) == len(paths)


def test_home_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("NAPARI_SAM_HOME", str(tmp_path / "elsewhere"))
    assert home() == tmp_path / "elsewhere"
    assert path_of("vit_b") == tmp_path / "elsewhere" / "models" / "vit_b.pth"
    monkeypatch.setenv("NAPARI_SAM_HOME", "~/sam")
    assert home() == Path.home() / "sam"


def test_home_is_the_users_cache_directory_by_default(monkeypatch):
    monkeypatch.delenv("NAPARI_SAM_HOME")
    assert home().is_relative_to(platformdirs.user_cache_path())
    assert not home().is_relative_to(Path(weights.__file__).parents[2])


@pytest.mark.parametrize("ask", [path_of, is_downloaded, download, load, verify])
def test_unknown_name_lists_the_known_ones(ask):
    with pytest.raises(CheckpointError, match=", ".join(REGISTRY)) as caught:
        ask("vit_x")
    assert "vit_x" in str(caught.value)


# Downloading ---------------------------------------------------------------------------------


def test_model_is_downloaded_once_on_first_use(server, content):
    assert not is_downloaded("small")
    fractions: list[float] = []
    first = load("small", progress=fractions.append)
    assert fractions[-1] == 1
    assert is_downloaded("small")
    assert path_of("small").read_bytes() == content
    second = load("small")
    assert len(server.asked) == 1
    assert second.config.name == "small"  # not that of its architecture
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])


def test_intact_copy_is_fetched_again_only_by_force(server):
    download("small")
    download("small")
    assert len(server.asked) == 1
    download("small", force=True)
    assert len(server.asked) == 2


def test_altered_copy_is_replaced_by_downloading_and_never_opened(server, content, caplog):
    download("small")
    altered = content[:-1] + bytes([content[-1] ^ 1])
    path_of("small").write_bytes(altered)
    with pytest.raises(CheckpointError, match="force=True") as caught:
        load("small")
    expected = REGISTRY["small"].digest
    assert expected in str(caught.value)
    assert hashlib.sha256(altered).hexdigest() in str(caught.value)
    with pytest.raises(CheckpointError, match="not opened"):
        verify("small")
    assert len(server.asked) == 1
    with caplog.at_level(logging.WARNING):
        download("small")
    assert "fetching it anew" in caplog.text
    assert verify("small") == expected


def test_file_brought_by_hand_is_used_without_a_network(server, content, monkeypatch):
    offline = f"http://127.0.0.1:{unused_port()}/model.pt"
    monkeypatch.setitem(REGISTRY, "small", replace(REGISTRY["small"], url=offline))
    with pytest.raises(DownloadError) as caught:
        load("small")
    message = re.search(r"save it as (.+)$", str(caught.value))
    assert message is not None
    path = Path(message[1])
    path.write_bytes(content)
    assert load("small").config.image_size == SMALL.image_size


def test_wrong_file_on_the_server_leaves_nothing_that_counts_as_downloaded(server):
    server.content = b"<html>Please log in</html>"
    with pytest.raises(DownloadError, match="login page"):
        load("small")
    assert not is_downloaded("small")


def test_home_that_cannot_be_written_is_reported(server, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NAPARI_SAM_HOME", str(tmp_path / "file"))
    with pytest.raises(DownloadError, match="NAPARI_SAM_HOME"):
        load("small")
    assert not server.asked


# Verifying -----------------------------------------------------------------------------------


def test_verifying_a_missing_model_explains_how_to_get_it(server):
    with pytest.raises(CheckpointError, match="napari-sam models download small"):
        verify("small")
    assert not server.asked


def test_verifying_a_path_loads_it_and_returns_its_digest(tmp_path, content):
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    assert verify(path) == f"sha256:{hashlib.sha256(content).hexdigest()}"
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match="truncated"):
        verify(path)


def test_digest_of_a_changed_file_is_taken_again(server, content):
    download("small")
    verify("small")
    path_of("small").write_bytes(content + b"x")
    with pytest.raises(CheckpointError, match="digest"):
        verify("small")


def test_packaged_weights_have_the_digest_that_the_registry_names():
    assert verify("nano") == REGISTRY["nano"].digest


def test_model_inside_the_package_loads_and_has_no_download(monkeypatch, tmp_path):
    path = tmp_path / "nano.safetensors"
    monkeypatch.setitem(REGISTRY, "nano", replace(REGISTRY["nano"], digest=None))
    monkeypatch.setattr(weights, "path_of", lambda name: path)
    for ask in (load, download, verify):
        with pytest.raises(CheckpointError, match="install napari-sam-live again"):
            ask("nano")
    save(build(PRESETS["nano"]), path)
    assert load("nano").config == PRESETS["nano"]
    assert download("nano") == path
    assert verify("nano") == file_digest(path)


def test_path_may_be_a_string_and_start_at_home(tmp_path, content, monkeypatch):
    (tmp_path / "model.pt").write_bytes(content)
    assert load(str(tmp_path / "model.pt")).config.image_size == SMALL.image_size
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert load("~/model.pt").config.image_size == SMALL.image_size
    with pytest.raises(CheckpointError, match="no file"):
        load(tmp_path / "other.pt")
