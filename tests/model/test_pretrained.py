"""Models on Hugging Face's hub: found on this disk, fetched, and what is told otherwise."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub.constants
import pytest
import safetensors.torch
import torch
from file_server import unused_port

from napari_sam.model import pretrained, weights
from napari_sam.model.registry import REGISTRY
from napari_sam.model.weights import CheckpointError, DownloadError
from napari_sam.segmentation.protocol import Cancelled

NAME, REPOSITORY, COMMIT = "sam2.1_tiny", "facebook/sam2.1-hiera-tiny", "c" * 40
WEIGHTS = safetensors.torch.save({"weight": torch.zeros(400_000)})
FILES = {
    "config.json": b'{"model_type": "sam2_video"}',
    "model.safetensors": WEIGHTS,
    "sam2.1_hiera_tiny.pt": b"a pickle",
    "vocab.json": b"{}",
    "merges.txt": b"",
    "README.md": b"what it is",
}


class Hub(ThreadingHTTPServer):
    """As much of the hub as a download asks for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.refusal: tuple[int, str] | None = None
        self.asked: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        place = self.path.partition("?")[0].strip("/")
        self.server.asked.append(place)
        if self.server.refusal is not None:
            status, code = self.server.refusal
            self._send(b"{}", status, {"X-Error-Code": code})
        elif place == f"api/models/{REPOSITORY}/revision/main":
            self._send(json.dumps({"id": REPOSITORY, "sha": COMMIT, "siblings": []}).encode())
        elif place == f"api/models/{REPOSITORY}/tree/{COMMIT}":
            listed = [
                {"type": "file", "path": name, "size": len(content), "oid": "0" * 40}
                for name, content in FILES.items()
            ]
            self._send(json.dumps(listed).encode())
        elif (name := place.removeprefix(f"{REPOSITORY}/resolve/{COMMIT}/")) in FILES:
            etag = hashlib.sha256(FILES[name]).hexdigest()
            self._send(FILES[name], 200, {"X-Repo-Commit": COMMIT, "ETag": f'"{etag}"'})
        else:
            self._send(b"{}", 404, {"X-Error-Code": "RepoNotFound"})

    do_HEAD = do_GET

    def _send(self, body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Stay quiet."""


@pytest.fixture
def hub(monkeypatch) -> Iterator[Hub]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    running = Hub()
    use(monkeypatch, running.server_port)
    thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def no_hub_of_the_user(monkeypatch, tmp_path):
    for name in ("HF_HUB_CACHE", "HF_TOKEN", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "huggingface"))


def use(monkeypatch, port: int) -> None:
    """Have the library ask a server of this machine."""
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{port}")
    template = f"http://127.0.0.1:{port}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


def keep(cache: Path, files: dict[str, bytes] = FILES, repository: str = REPOSITORY) -> Path:
    """Lay files where the hub's tools keep a repository's."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    snapshot = folder / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(COMMIT)
    for name, content in files.items():
        (snapshot / name).write_bytes(content)
    return snapshot


def test_model_is_fetched_once_with_its_commit(hub, private_home):
    assert not weights.is_downloaded(NAME)
    assert weights.to_download(NAME) == weights.to_download(REPOSITORY) == NAME
    fractions: list[float] = []
    folder = weights.download(NAME, fractions.append)
    assert folder.is_relative_to(private_home / "models")
    assert folder.name == COMMIT
    assert fractions[-1] == 1
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "merges.txt",
        "model.safetensors",
        "vocab.json",
    ]
    asked = len(hub.asked)
    assert weights.download(NAME) == pretrained.folder_of(REPOSITORY) == folder
    assert len(hub.asked) == asked
    assert weights.is_downloaded(NAME)
    assert weights.to_download(NAME) is None
    assert weights.size_of(NAME) == len(WEIGHTS)
    assert (
        weights.verify(NAME)
        == f"commit {COMMIT}, {weights.file_digest(folder / 'model.safetensors')}"
    )


def test_altered_weights_are_reported(hub):
    path = weights.download(NAME) / "model.safetensors"
    blob = path.resolve()
    blob.chmod(0o644)
    blob.write_bytes(WEIGHTS[:-1] + b"\1")
    with pytest.raises(CheckpointError, match=r"expected the digest sha256:.*--force sam2.1_"):
        weights.verify(NAME)


def test_download_may_be_cancelled(hub):
    def cancel(fraction: float) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        weights.download(NAME, cancel)
    assert not weights.is_downloaded(NAME)


def test_what_the_hubs_own_tools_have_fetched_is_used(tmp_path, monkeypatch):
    snapshot = keep(tmp_path / "huggingface" / "hub")
    assert weights.path_of(NAME) == snapshot
    assert weights.is_downloaded(NAME)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "elsewhere"))
    assert not weights.is_downloaded(NAME)
    assert keep(tmp_path / "elsewhere") == pretrained.folder_of(NAME)


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_half_a_download_is_none(tmp_path, missing):
    keep(tmp_path / "huggingface" / "hub", {k: v for k, v in FILES.items() if k != missing})
    assert not weights.is_downloaded(NAME)


def test_without_a_network_the_way_by_hand_is_explained(monkeypatch):
    use(monkeypatch, unused_port())
    with pytest.raises(DownloadError) as caught:
        weights.download(NAME)
    words = str(caught.value)
    assert f"could not download {REPOSITORY} from huggingface.co" in words
    assert f"hf download {REPOSITORY} --local-dir FOLDER" in words
    assert len(words) < 700


def test_guarded_model_explains_how_to_get_access(hub):
    hub.refusal = 403, "GatedRepo"
    with pytest.raises(DownloadError, match="accept its conditions, make a token") as caught:
        pretrained.download(REPOSITORY)
    assert f"https://huggingface.co/{REPOSITORY}" in str(caught.value)


def test_unknown_repository_is_reported(hub):
    with pytest.raises(DownloadError, match=r"no model somebody/nothing on hugging"):
        pretrained.download("somebody/nothing")


def test_missing_library_is_reported(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(CheckpointError, match=r'pip install "napari-sam-live\[sam2\]"'):
        weights.download(NAME)


def test_repository_of_another_kind_is_refused(tmp_path):
    files = FILES | {"config.json": b'{"model_type": "bert"}'}
    keep(tmp_path / "huggingface" / "hub", files, "somebody/bert")
    with pytest.raises(CheckpointError, match="of the kind 'bert'"):
        pretrained.folder_of("somebody/bert")


@pytest.mark.parametrize("name", ["nano", "models/mine.pth", "mine", "a/b/c", "../mine", "/mine"])
def test_names_and_paths_mean_no_repository(name):
    assert pretrained.repository_of(name) is None


def test_folder_that_is_there_comes_before_a_repository_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert pretrained.repository_of("facebook/mine") == "facebook/mine"
    (tmp_path / "facebook" / "mine").mkdir(parents=True)
    assert pretrained.repository_of("facebook/mine") is None


def test_registered_repository_has_its_name():
    assert pretrained.name_of(REPOSITORY) == NAME
    assert pretrained.name_of("somebody/mine") == "somebody/mine"
    repositories = [entry.repository for entry in REGISTRY.values() if entry.repository]
    assert len(repositories) == len(set(repositories)) >= 4


def test_settings_that_are_none_are_empty(tmp_path):
    path = tmp_path / "config.json"
    for text in ("", "[]", "[" * 10_000, '{"a": "' + "b" * 10**6 + '"}'):
        path.write_text(text)
        assert pretrained.read_json(path) == {}


def test_it_can_neither_be_taught_nor_trained():
    for ask in (weights.load, weights.load_parent):
        with pytest.raises(
            CheckpointError, match=r"sam2.1_tiny, .*can't be taught or trained further"
        ):
            ask(NAME)
