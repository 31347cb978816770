"""Embeddings in memory and on disk: found again, bounded, never trusted blindly."""

from __future__ import annotations

import json
import os
import warnings

import numpy as np
import pytest
import safetensors.torch
import torch
from small_models import HYBRID, segmenter

from napari_sam.geometry import fit_frame
from napari_sam.prompts import Prompts
from napari_sam.segmentation import cached as embedding_cache
from napari_sam.segmentation.cached import (
    CachedSegmenter,
    CacheWarning,
    EmbeddingCache,
    embedding_key,
)
from napari_sam.segmentation.protocol import Embedding, Segmenter
from napari_sam.segmentation.tiled import TiledSegmenter
from napari_sam.segmentation.traits import Traits

CLICK = Prompts([(10, 12)], [1])


class CountingEncoder:
    """A segmenter that counts the runs of its encoder."""

    def __init__(self, inner):
        self.inner, self.runs = inner, 0

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def embed_pixels(self, pixels, frame=None, progress=None):
        self.runs += 1
        return self.inner.embed_pixels(pixels, frame, progress)


@pytest.fixture(scope="module")
def plain():
    return segmenter(HYBRID)


@pytest.fixture
def encoder(plain):
    return CountingEncoder(plain)


@pytest.fixture
def plane(rng):
    return rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)


def planes(rng, count, shape=(40, 50, 3)):
    return [rng.integers(0, 256, shape, dtype=np.uint8) for _ in range(count)]


def same(one: Embedding, other: Embedding) -> bool:
    pairs = zip(one.features, other.features, strict=True)
    return all(a.equal(b) for a, b in pairs) and (
        (one.frame, one.encoder_key, one.precision)
        == (other.frame, other.encoder_key, other.precision)
    )


def files(directory):
    return sorted(directory.glob("??/[!.]*.safetensors"))


def test_it_follows_the_protocol(plain, tmp_path):
    cached = CachedSegmenter(plain, tmp_path)
    assert isinstance(cached, Segmenter)
    for name in ("traits", "encoder_key", "model_key", "device", "precision"):
        assert getattr(cached, name) == getattr(plain, name)


def test_segmenter_that_takes_no_grey_values_is_refused(tmp_path):
    with pytest.raises(TypeError, match="embed_pixels"):
        CachedSegmenter(object(), tmp_path)


def test_plane_is_encoded_once(encoder, tmp_path, plane):
    cached, seen = CachedSegmenter(encoder, tmp_path), []
    first = cached.embed(plane)
    second = cached.embed(plane.copy(), progress=seen.append)
    assert encoder.runs == 1
    assert second is first
    assert seen == [1.0]


def test_miss_returns_what_a_hit_in_another_process_returns(encoder, plain, tmp_path, plane):
    missed = CachedSegmenter(encoder, tmp_path).embed(plane)
    found = CachedSegmenter(encoder, tmp_path).embed(plane)
    assert encoder.runs == 1
    assert found is not missed
    assert same(found, missed)
    assert {f.dtype for f in found.features} == {torch.float16}
    exact = plain.embed(plane)
    for rounded, level in zip(found.features, exact.features, strict=True):
        torch.testing.assert_close(rounded.float(), level, rtol=1e-3, atol=1e-3)
    one = plain.decode(missed, CLICK).logits
    assert np.array_equal(one, plain.decode(found, CLICK).logits)


def test_default_directory_lies_in_the_home(encoder, private_home, plane):
    CachedSegmenter(encoder).embed(plane)
    assert len(files(private_home / "embeddings")) == 1


def test_key_follows_from_everything_that_decides_the_features(plane):
    frame = fit_frame((40, 50), Traits.of(HYBRID).geometry)
    keys = [
        embedding_key(plane, frame, "model", "float32"),
        embedding_key(plane ^ 1, frame, "model", "float32"),
        embedding_key(plane.reshape(50, 40, 3), frame, "model", "float32"),
        embedding_key(
            plane,
            fit_frame((40, 50), Traits.of(HYBRID).geometry, (1, 0), (90, 90)),
            "model",
            "float32",
        ),
        embedding_key(plane, frame, "other", "float32"),
        embedding_key(plane, frame, "model", "bfloat16"),
    ]
    assert len(set(keys)) == len(keys)
    assert keys[0] == embedding_key(np.asfortranarray(plane), frame, "model", "float32")


def test_contrast_limits_decide_which_embedding_is_found(encoder, tmp_path, rng):
    cached, plane = CachedSegmenter(encoder, tmp_path), rng.random((30, 30))
    cached.embed(plane, (0, 1))
    cached.embed(plane, (0, 0.5))
    cached.embed(plane * 2, (0, 2))
    assert encoder.runs == 2


def test_tiles_are_cached_one_by_one(encoder, tmp_path, rng):
    plane = rng.random((100, 120))
    tiled = CachedSegmenter(TiledSegmenter(encoder, rescale=False), tmp_path)
    embedding = tiled.embed(plane)
    assert encoder.runs == 0
    first = tiled.decode(embedding, CLICK)
    assert encoder.runs == 1
    again = CachedSegmenter(TiledSegmenter(encoder, rescale=False), tmp_path)
    second = again.decode(again.embed(plane), CLICK)
    assert encoder.runs == 1
    assert np.array_equal(first.logits, second.logits)


def test_cancelled_embedding_leaves_nothing_behind(encoder, tmp_path, plane):
    from napari_sam.segmentation.protocol import Cancelled

    def stop(fraction):
        raise Cancelled

    cached = CachedSegmenter(encoder, tmp_path)
    with pytest.raises(Cancelled):
        cached.embed(plane, progress=stop)
    assert list(tmp_path.rglob("*.*")) == []


DAMAGES = {
    "cut short": lambda data: data[: len(data) // 2],
    "cut to the header": lambda data: data[:40],
    "empty": lambda data: b"",
    "foreign": lambda data: b"PK\x03\x04 something else entirely",
    "altered": lambda data: data[:-3] + bytes([data[-3] ^ 1]) + data[-2:],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_file_is_recomputed_and_replaced(encoder, tmp_path, plane, damage):
    expected = CachedSegmenter(encoder, tmp_path).embed(plane)
    (path,) = files(tmp_path)
    good = path.read_bytes()
    path.write_bytes(DAMAGES[damage](good))
    found = CachedSegmenter(encoder, tmp_path).embed(plane)
    assert encoder.runs == 2
    assert same(found, expected)
    CachedSegmenter(encoder, tmp_path).embed(plane)
    assert encoder.runs == 2, "the damaged file was replaced by a good one"


def with_header(data: bytes, change) -> bytes:
    """Return a safetensors file with its JSON header changed."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    text = json.dumps(change(header)).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


ODD = {
    "no metadata": lambda data: with_header(
        data, lambda h: {k: v for k, v in h.items() if k != "__metadata__"}
    ),
    "null": lambda data: with_header(data, lambda h: h | {"__metadata__": None}),
    "list": lambda data: with_header(data, lambda h: h | {"__metadata__": [1]}),
    "numbers": lambda data: with_header(data, lambda h: h | {"__metadata__": {"key": 1}}),
    "names": lambda data: with_header(
        data, lambda h: {{"0": "a"}.get(k, k): v for k, v in h.items()}
    ),
    "unknown type": lambda data: with_header(
        data, lambda h: {k: v | {"dtype": "F8_E8M0"} if "dtype" in v else v for k, v in h.items()}
    ),
    "another type": lambda data: with_header(
        data, lambda h: {k: v | {"dtype": "I16"} if "dtype" in v else v for k, v in h.items()}
    ),
    "another shape": lambda data: with_header(
        data,
        lambda h: {k: v | {"shape": v["shape"][::-1]} if "shape" in v else v for k, v in h.items()},
    ),
    "nested": lambda data: (50_000).to_bytes(8, "little") + b'{"a": ' + b"[" * 60_000,
    "endless header": lambda data: (2**62).to_bytes(8, "little") + data[8:],
    "too long": lambda data: data + bytes(2**20),
    "nothing in it": lambda data: safetensors.torch.save(
        {}, json.loads(data[8 : 8 + data[0] + 256 * data[1]])["__metadata__"]
    ),
}


@pytest.mark.parametrize("kind", ODD)
def test_file_with_odd_metadata_is_recomputed_and_replaced(encoder, tmp_path, plane, kind):
    expected = CachedSegmenter(encoder, tmp_path).embed(plane)
    (path,) = files(tmp_path)
    path.write_bytes(ODD[kind](path.read_bytes()))
    assert same(CachedSegmenter(encoder, tmp_path).embed(plane), expected)
    assert encoder.runs == 2
    CachedSegmenter(encoder, tmp_path).embed(plane)
    assert encoder.runs == 2, "the odd file was replaced by a good one"


@pytest.mark.parametrize(
    "features",
    [
        {},
        {"0": torch.zeros(1, 32, 5, 7, dtype=torch.float16)},
        {"0": torch.zeros(0, dtype=torch.float16)},
        {"0": torch.zeros((), dtype=torch.float16)},
    ],
    ids=["none", "too few", "empty", "a number"],
)
def test_features_that_the_decoder_could_not_read_are_recomputed(
    encoder, tmp_path, plane, features
):
    """Their key and checksum are right: only their shapes tell."""
    cached = CachedSegmenter(encoder, tmp_path)
    expected = cached.embed(plane)
    (path,) = files(tmp_path)
    levels = tuple(features.values())
    try:
        about = {"key": path.stem, "checksum": embedding_cache._checksum(levels)}
    except (TypeError, BufferError, ValueError):
        about = {"key": path.stem}
    path.write_bytes(safetensors.torch.save(features, about))
    again = CachedSegmenter(encoder, tmp_path)
    assert same(again.embed(plane), expected)
    assert again.decode(again.embed(plane), CLICK).logits.shape[0] == 3


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.timeout(60, func_only=True)
def test_named_pipe_in_place_of_an_embedding_is_replaced(encoder, tmp_path, plane):
    CachedSegmenter(encoder, tmp_path).embed(plane)
    (path,) = files(tmp_path)
    path.unlink()
    os.mkfifo(path)
    CachedSegmenter(encoder, tmp_path).embed(plane)
    assert path.is_file()
    CachedSegmenter(encoder, tmp_path).embed(plane)
    assert encoder.runs == 2


# Several users -----------------------------------------------------------------------------------

ME, OTHER, ADMIN = 1000, 1001, 1002


@pytest.fixture
def owners(monkeypatch, tmp_path):
    """The owner of each path, by the end of its name; by default this user."""
    owned: dict[str, int] = {}

    def owner_of(path):
        path.stat()
        return next((user for end, user in owned.items() if str(path).endswith(end)), ME)

    monkeypatch.setattr(embedding_cache, "_owner_of", owner_of)
    monkeypatch.setattr(embedding_cache, "_is_own", lambda owner: owner == ME)
    return owned


@pytest.mark.parametrize("owner", [0, ADMIN], ids=["system", "the directory's owner"])
def test_embedding_of_whom_one_trusts_is_used_and_left(
    encoder, tmp_path, plane, owners, owner, monkeypatch
):
    expected = CachedSegmenter(encoder, tmp_path).embed(plane)
    (path,) = files(tmp_path)
    owners.update({".safetensors": owner, tmp_path.name: ADMIN})

    def refuse(path, *times):
        raise PermissionError(1, "Operation not permitted", str(path))

    monkeypatch.setattr(os, "utime", refuse)
    assert same(CachedSegmenter(encoder, tmp_path).embed(plane), expected)
    assert encoder.runs == 1
    assert path.exists()


def test_embedding_of_another_user_is_neither_used_nor_replaced(encoder, tmp_path, rng, owners):
    one, other = planes(rng, 2)
    CachedSegmenter(encoder, tmp_path).embed(one)
    (path,) = files(tmp_path)
    before = path.stat()
    owners[path.name] = OTHER
    cached = CachedSegmenter(encoder, tmp_path)
    with pytest.warns(CacheWarning, match="another user.*NAPARI_SAM_HOME") as caught:
        cached.embed(one)
    assert len(caught) == 1
    assert encoder.runs == 2
    cached.embed(one)  # from memory
    cached.embed(other)  # still written
    assert encoder.runs == 3
    assert len(files(tmp_path)) == 2
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away"
)
def test_embedding_of_another_user_is_neither_removed_nor_counted(encoder, tmp_path, rng):
    many = planes(rng, 12)
    for plane in many[:3]:
        CachedSegmenter(encoder, tmp_path).embed(plane)
    foreign = files(tmp_path)
    size = foreign[0].stat().st_size
    (tmp_path / "ab").mkdir(exist_ok=True)
    forgotten = tmp_path / "ab" / ".0123abcd-old.safetensors"
    forgotten.write_bytes(b"half an embedding")
    os.utime(forgotten, (0, 0))
    for path in (*foreign, forgotten):
        os.chown(path, 12345, -1)
    cached = CachedSegmenter(encoder, tmp_path, max_bytes=6 * size + 1, max_memory=0)
    for plane in many[3:]:
        cached.embed(plane)
    own = set(files(tmp_path)) - set(foreign)
    assert 4 <= len(own) <= 6
    assert set(foreign) < set(files(tmp_path))
    cached.cache.clear()
    assert files(tmp_path) == foreign
    assert forgotten.exists()


def test_file_of_another_plane_is_never_taken(encoder, tmp_path, rng):
    one, other = planes(rng, 2)
    cached = CachedSegmenter(encoder, tmp_path)
    cached.embed(one)
    (first,) = files(tmp_path)
    cached.embed(other)
    (second,) = set(files(tmp_path)) - {first}
    second.write_bytes(first.read_bytes())
    found = CachedSegmenter(encoder, tmp_path).embed(other)
    assert encoder.runs == 3
    assert same(found, cached.embed(other))


def test_directory_stays_under_its_limit_and_keeps_what_was_used_last(encoder, tmp_path, rng):
    many = planes(rng, 12)
    CachedSegmenter(encoder, tmp_path).embed(many[0])
    size = files(tmp_path)[0].stat().st_size
    cached = CachedSegmenter(encoder, tmp_path, max_bytes=6 * size + 1, max_memory=0)
    for i, plane in enumerate(many):
        cached.embed(plane)
        cached.embed(many[0])  # in use all the time
        for age, path in enumerate(sorted(files(tmp_path), key=lambda p: -p.stat().st_mtime_ns)):
            os.utime(path, (1000 + i - age, 1000 + i - age))  # coarse clocks would tie
        assert sum(p.stat().st_size for p in files(tmp_path)) <= 6 * size + 1
    runs = encoder.runs
    cached.embed(many[0])
    cached.embed(many[-1])
    assert encoder.runs == runs
    cached.embed(many[1])
    assert encoder.runs == runs + 1


def test_writing_does_not_scan_the_directory_each_time(encoder, tmp_path, rng, monkeypatch):
    cached, scans = CachedSegmenter(encoder, tmp_path), []
    original = EmbeddingCache._files
    monkeypatch.setattr(EmbeddingCache, "_files", lambda self: (scans.append(1), original(self))[1])
    for plane in planes(rng, 5):
        cached.embed(plane)
    assert len(scans) == 1


def test_memory_stays_under_its_limit(encoder, tmp_path, rng):
    many = planes(rng, 4)
    one = CachedSegmenter(encoder, tmp_path).embed(many[0]).nbytes
    cached = CachedSegmenter(encoder, tmp_path, max_bytes=0, max_memory=2 * one)
    for plane in many:
        cached.embed(plane)
    assert cached.cache._memory_bytes == 2 * one
    runs = encoder.runs
    cached.embed(many[3])
    cached.embed(many[2])
    assert encoder.runs == runs
    cached.embed(many[0])
    assert encoder.runs == runs + 1


def test_cache_without_disk_writes_nothing(encoder, tmp_path, plane):
    CachedSegmenter(encoder, tmp_path / "cache", max_bytes=0).embed(plane)
    assert not (tmp_path / "cache").exists()


def test_read_only_directory_gives_one_warning_and_works_in_memory(encoder, tmp_path, rng):
    (tmp_path / "file").write_text("a file where a folder is needed")
    cached = CachedSegmenter(encoder, tmp_path / "file" / "cache")
    one, other = planes(rng, 2)
    with pytest.warns(CacheWarning, match="going on in memory") as caught:
        cached.embed(one)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cached.embed(other)
        cached.embed(one)
    assert encoder.runs == 2


def test_full_disk_leaves_no_partial_file(encoder, tmp_path, plane, monkeypatch):
    def full(self, data):
        with open(self, "wb") as file:
            file.write(data[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    cached = CachedSegmenter(encoder, tmp_path)
    with pytest.warns(CacheWarning, match="No space left"):
        cached.embed(plane)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []
    cached.embed(plane)
    assert encoder.runs == 1


def test_clear_removes_every_file_and_forgets(encoder, tmp_path, rng):
    cached = CachedSegmenter(encoder, tmp_path)
    for plane in planes(rng, 3):
        cached.embed(plane)
    (tmp_path / "notes.txt").write_text("of the user")
    cached.cache.clear()
    assert files(tmp_path) == []
    assert (tmp_path / "notes.txt").exists()
    cached.embed(plane)
    assert encoder.runs == 4


def test_forgotten_temporary_files_are_removed(encoder, tmp_path, plane):
    (tmp_path / "ab").mkdir()
    old, new = (tmp_path / "ab" / f".0123abcd-{name}.safetensors" for name in ("old", "new"))
    for path in (old, new):
        path.write_bytes(b"half an embedding")
    os.utime(old, (0, 0))
    CachedSegmenter(encoder, tmp_path).embed(plane)
    assert not old.exists()
    assert new.exists()
