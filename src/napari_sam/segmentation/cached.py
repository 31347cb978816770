"""A cache of embeddings in memory and on disk, so that no plane is encoded twice."""

from __future__ import annotations

import json
import logging
import math
import os
import sys
import time
import warnings
from collections import OrderedDict
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from threading import Lock

import numpy as np
import safetensors.torch
import torch
import xxhash
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError
from torch import Tensor

from napari_sam.atomic import replaced, target_of
from napari_sam.geometry import Frame, fit_frame
from napari_sam.image import Limits
from napari_sam.model.weights import home
from napari_sam.segmentation.protocol import (
    DelegatingSegmenter,
    Embedding,
    PixelSegmenter,
    Progress,
    Segmenter,
    SegmenterWrapper,
    embed_whole,
)
from napari_sam.segmentation.traits import Traits
from napari_sam.special_files import refuse_special

_log = logging.getLogger(__name__)

DISK_BYTES = 8 * 2**30
MEMORY_BYTES = 2**30

# Raised whenever the same pixels come to other features: preprocessing, encoder, file layout.
_VERSION = 1
# An eviction makes room for this share of the limit, so that it is rarely needed.
_FREED = 0.1
_STALE_SECONDS = 24 * 3600
_HEADER_BYTES = 2**16  # of a file, beside its features

Shapes = tuple[tuple[int, ...], ...]
"""Of the features of an embedding."""

# What libraries raise, or were seen to raise, for files that are none of this cache.
_FOREIGN = (
    SafetensorError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    BufferError,
    RuntimeError,
    MemoryError,
    OverflowError,
)


class CacheWarning(UserWarning):
    """Embeddings can't be cached on disk; the program continues without the cache."""


class CachedSegmenter(DelegatingSegmenter[Segmenter]):
    """A segmenter that encodes each plane or tile once; see :class:`Segmenter`.

    Embeddings are stored in half precision, and what has just been encoded is rounded in the same
    way, so results don't depend on whether an embedding was found.

    Parameters
    ----------
    segmenter
        A :class:`~napari_sam.segmentation.network.SamSegmenter`, or a wrapper such as
        :class:`~napari_sam.TiledSegmenter`, whose tiles are then cached individually. The cache of
        one that is cached already is replaced by this one.
    directory
        Directory of the cache; :func:`embeddings_home` by default.
    max_bytes
        Largest size of the directory in bytes; 0 caches embeddings in memory only.
    max_memory
        Largest size of the embeddings in memory, in bytes.

    Attributes
    ----------
    cache
        The cached embeddings.
    uncached
        The segmenter without the cache.

    Raises
    ------
    TypeError
        If the segmenter can't encode normalised grey values (`embed_pixels`).
    """

    def __init__(
        self,
        segmenter: Segmenter,
        directory: str | Path | None = None,
        max_bytes: int = DISK_BYTES,
        max_memory: int = MEMORY_BYTES,
    ) -> None:
        folder = embeddings_home() if directory is None else Path(directory).expanduser()
        self.cache = EmbeddingCache(folder, max_bytes, max_memory)
        if isinstance(segmenter, CachedSegmenter):
            segmenter = segmenter.uncached
        self.uncached: Segmenter = segmenter
        if isinstance(segmenter, SegmenterWrapper):
            super().__init__(segmenter.with_inner(_CachedEncoder(segmenter.inner, self.cache)))
        elif isinstance(segmenter, PixelSegmenter):
            super().__init__(_CachedEncoder(segmenter, self.cache))
        else:
            raise TypeError(
                f"expected a segmenter with embed_pixels to cache, got {type(segmenter).__name__}"
            )


def embeddings_home() -> Path:
    """Return the user's directory of embeddings; it need not exist yet."""
    return home() / "embeddings"


class EmbeddingCache:
    """Embeddings by key: the latest in memory, many on disk. Safe between threads and processes.

    Parameters
    ----------
    directory
        Directory of the files, which is created with the first embedding.
    max_bytes, max_memory
        Limits of the directory and of the memory, in bytes. The least recently used embeddings
        are removed first.

    Notes
    -----
    On systems with file owners, only files of this user, of the directory's owner and of root are
    read; those of others count as missing. Only this user's files are replaced, removed or
    counted.
    """

    def __init__(self, directory: Path, max_bytes: int, max_memory: int) -> None:
        self.directory = directory
        self.max_bytes = max_bytes
        self.max_memory = max_memory
        self._memory: OrderedDict[str, Embedding] = OrderedDict()
        self._memory_bytes = 0
        self._disk_bytes: int | None = None  # unknown until the first file is written
        self._writes = max_bytes > 0
        self._told = False
        self._lock = Lock()

    def get(
        self,
        key: str,
        frame: Frame,
        encoder_key: str,
        precision: str,
        shapes: Shapes | None = None,
    ) -> Embedding | None:
        """Return the embedding of a key.

        A file that is damaged, cut short or of another origin counts as missing.

        Parameters
        ----------
        key
            Key of the pixels and the encoder.
        frame, encoder_key, precision
            Of the embedding, as only its features are stored.
        shapes
            Shapes of the features; a file with others counts as missing.

        Returns
        -------
        embedding
            None if it is not in the cache.
        """
        with self._lock:
            found = self._memory.get(key)
            if found is not None:
                self._memory.move_to_end(key)
                return found
        features = self._read(key, shapes) if self.max_bytes > 0 else None
        if features is None:
            return None
        embedding = Embedding(features, frame, encoder_key, precision)
        self._remember(key, embedding)
        return embedding

    def put(self, key: str, embedding: Embedding) -> Embedding:
        """Store an embedding.

        Parameters
        ----------
        key
            Of the pixels and the encoder.
        embedding
            What is stored, in half precision.

        Returns
        -------
        stored
            The embedding rounded to half precision, as it will be read.
        """
        features = tuple(f.detach().cpu().half().contiguous() for f in embedding.features)
        stored = Embedding(features, embedding.frame, embedding.encoder_key, embedding.precision)
        self._remember(key, stored)
        if self._writes:
            try:
                self._write(key, features)
            except OSError as error:
                self._writes = False
                warnings.warn(
                    f"can't keep embeddings in {self.directory} ({error}); going on in memory. "
                    "Make room or choose another directory with NAPARI_SAM_HOME",
                    CacheWarning,
                    stacklevel=2,
                )
        return stored

    def clear(self) -> None:
        """Remove all embeddings from memory and from disk."""
        with self._lock:
            self._memory.clear()
            self._memory_bytes = 0
            for path, _, _ in self._files():
                path.unlink(missing_ok=True)
            self._disk_bytes = 0

    def path_of(self, key: str) -> Path:
        """Return the file for the embedding of a key, whether or not it exists."""
        return self.directory / key[:2] / f"{key}.safetensors"

    def _remember(self, key: str, embedding: Embedding) -> None:
        with self._lock:
            before = self._memory.pop(key, None)
            self._memory[key] = embedding
            self._memory_bytes += embedding.nbytes - (before.nbytes if before else 0)
            while self._memory_bytes > self.max_memory:
                self._memory_bytes -= self._memory.popitem(last=False)[1].nbytes

    def _read(self, key: str, shapes: Shapes | None) -> tuple[Tensor, ...] | None:
        path = self.path_of(key)
        try:
            refuse_special(path)
            if not self._is_trusted(path):
                _log.info("%s is of another user; encoding anew", path)
                return None
            size = path.stat().st_size
            if shapes is not None and size > 2 * sum(map(math.prod, shapes)) + _HEADER_BYTES:
                raise ValueError(f"it has {size} bytes")
            features = _unpack(path.read_bytes(), key)
            if shapes is not None and tuple(tuple(f.shape) for f in features) != shapes:
                raise ValueError("its features have other shapes")
        except FileNotFoundError:
            return None
        except OSError as error:
            _log.info("%s can't be read (%s)", path, error)
            return None
        except _FOREIGN as error:
            _log.warning("%s is no embedding of this cache (%s); encoding anew", path, error)
            return None
        with suppress(OSError):  # of a file that isn't ours
            os.utime(path)  # the time of last use
        return features

    def _is_trusted(self, path: Path) -> bool:
        """Whether a file belongs to a user who is trusted to write embeddings."""
        owner = _owner_of(path)
        return _is_own(owner) or owner == 0 or owner == _owner_of(self.directory)

    def _write(self, key: str, features: tuple[Tensor, ...]) -> None:
        path, data = self.path_of(key), _pack(features, key)
        with suppress(FileNotFoundError):
            if not _is_own(_owner_of(path)):
                self._warn_of_others()
                return
        if not path.is_file():
            path.unlink(missing_ok=True)  # such as a named pipe
        with replaced(path, durable=False) as temporary:
            temporary.write_bytes(data)
        with self._lock:
            if self._disk_bytes is None:
                self._disk_bytes = sum(size for _, _, size in self._files())
            else:
                self._disk_bytes += len(data)
            if self._disk_bytes > self.max_bytes:
                self._evict()

    def _warn_of_others(self) -> None:
        if not self._told:
            self._told = True
            warnings.warn(
                f"{self.directory} holds embeddings of another user that can't be used; those of "
                "the same planes are kept in memory alone. Set NAPARI_SAM_HOME to a directory of "
                "your own",
                CacheWarning,
                stacklevel=2,
            )

    def _evict(self) -> None:
        # Counted anew, since other processes write here too.
        files = sorted(self._files(), key=lambda file: file[1])
        total = sum(size for _, _, size in files)
        for path, _, size in files:
            if total <= (1 - _FREED) * self.max_bytes:
                break
            path.unlink(missing_ok=True)
            total -= size
        self._disk_bytes = total

    def _files(self) -> list[tuple[Path, float, int]]:
        """Path, time of last use and size of every file of this user's.

        Forgotten temporary ones are removed.
        """
        found = []
        for path in self.directory.glob("??/*"):
            try:
                stat = path.stat()
                if not _is_own(stat.st_uid):
                    continue
                if target_of(path) is not None:
                    if time.time() - stat.st_mtime > _STALE_SECONDS:
                        path.unlink(missing_ok=True)
                elif path.suffix == ".safetensors":
                    found.append((path, stat.st_mtime, stat.st_size))
            except FileNotFoundError:  # removed by another process meanwhile
                continue
        return found


class _CachedEncoder(DelegatingSegmenter[PixelSegmenter]):
    """A segmenter whose `embed_pixels` reads a cache first."""

    def __init__(self, inner: PixelSegmenter, cache: EmbeddingCache) -> None:
        super().__init__(inner)
        self._cache = cache

    def embed(
        self,
        plane: ArrayLike,
        contrast_limits: Limits | None = None,
        progress: Progress | None = None,
        scale: float | None = None,
    ) -> Embedding:
        return embed_whole(self, plane, contrast_limits, progress, scale)

    def embed_pixels(
        self,
        pixels: NDArray[np.uint8],
        frame: Frame | None = None,
        progress: Progress | None = None,
    ) -> Embedding:
        frame = frame or fit_frame((pixels.shape[0], pixels.shape[1]), self.traits.geometry)
        precision = self.precision
        key = embedding_key(pixels, frame, self.encoder_key, precision)
        shapes = _shapes_of(frame, self.traits)
        found = self._cache.get(key, frame, self.encoder_key, precision, shapes)
        if found is not None:
            if progress is not None:
                progress(1.0)
            return found
        embedding = self._inner.embed_pixels(pixels, frame, progress)
        if embedding.precision != precision:  # fell back to the CPU meanwhile
            key = embedding_key(pixels, frame, self.encoder_key, embedding.precision)
        return self._cache.put(key, embedding)


def embedding_key(pixels: NDArray[np.uint8], frame: Frame, encoder_key: str, precision: str) -> str:
    """Hash everything that an embedding depends on.

    Parameters
    ----------
    pixels
        `(h, w, 3)` normalised grey values of the frame's rectangle.
    frame, encoder_key, precision
        As in :class:`Embedding`.
    """
    about = [_VERSION, pixels.shape, asdict(frame), encoder_key, precision]
    digest = xxhash.xxh3_128(json.dumps(about).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def _shapes_of(frame: Frame, traits: Traits) -> Shapes:
    """Return the shapes of an embedding's levels."""
    h, w = frame.low_res(traits.stride)
    return tuple((1, channels, h * cells, w * cells) for channels, cells in traits.levels)


def _owner_of(path: Path) -> int:
    return path.stat().st_uid


def _is_own(owner: int) -> bool:
    """Whether a user's number is ours; where users have none, everything is."""
    return sys.platform == "win32" or owner == os.geteuid()


def _pack(features: tuple[Tensor, ...], key: str) -> bytes:
    tensors = {str(i): f for i, f in enumerate(features)}
    about = {"key": key, "checksum": _checksum(features)}
    return safetensors.torch.save(tensors, about)


def _unpack(data: bytes, key: str) -> tuple[Tensor, ...]:
    tensors = safetensors.torch.load(data)
    length = int.from_bytes(data[:8], "little")
    about = json.loads(data[8 : 8 + length]).get("__metadata__") or {}
    features = tuple(tensors[name] for name in sorted(tensors, key=int))
    if not features or about.get("key") != key or any(f.dtype != torch.float16 for f in features):
        raise ValueError("it holds something else")
    if about.get("checksum") != _checksum(features):
        raise ValueError("its content was altered")
    return features


def _checksum(features: tuple[Tensor, ...]) -> str:
    digest = xxhash.xxh3_64()
    for feature in features:
        digest.update(str(tuple(feature.shape)).encode())
        digest.update(feature.numpy().data)
    return digest.hexdigest()
