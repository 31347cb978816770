"""What tells that an image is the one a session was made with, wherever it lies by now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from napari_sam.image import as_pixels
from napari_sam.io.session_file import Json

_SAMPLED = 5  # planes that are read
_WHOLE = 2**22  # pixels of a plane that are looked at; of a larger one, windows are
_WINDOWS, _WINDOW = 4, 256  # along rows and along columns; pixels

Index = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """A plane of an image.

    Parameters
    ----------
    index
        Of the axes before the plane's.
    digest
        Hash of its pixels.
    is_blank
        Whether all of them are equal, so that it tells little.
    """

    index: Index
    digest: str
    is_blank: bool


@dataclass(frozen=True, slots=True)
class ImageIdentity:
    """An image by its content, and where it came from.

    Parameters
    ----------
    shape, dtype
        Of its array; with `rgb`, the last axis holds the samples.
    samples
        Some of its planes.
    rgb
        Whether its last axis holds red, green and blue.
    layer
        Name of the layer.
    path, size, time
        Its file, where it has one, and the file's bytes and time of change in ns.
    """

    shape: tuple[int, ...]
    dtype: str
    samples: tuple[Sample, ...]
    rgb: bool = False
    layer: str = ""
    path: str = ""
    size: int = 0
    time: int = 0

    @property
    def family(self) -> str:
        """A word that is the same for images that may be the same, more planes or not."""
        planes = _leading(self.shape, self.rgb)
        about = self.dtype, len(self.shape), self.shape[planes:], self.rgb
        return xxhash.xxh3_64(repr(about).encode()).hexdigest()

    def spell(self) -> Json:
        """Return what a saved file may tell of it: nothing about where it lies."""
        return {
            "shape": list(self.shape),
            "dtype": self.dtype,
            "rgb": self.rgb,
            "layer": self.layer,
            "samples": [[list(s.index), s.digest, s.is_blank] for s in self.samples],
        }

    def where(self) -> Json:
        """Return where it lies, for kept files alone."""
        return {"path": self.path, "size": self.size, "time": self.time}


@dataclass(eq=False)
class ImageContent:
    """An image whose planes are looked at as far as that is needed. Reading may be slow.

    Parameters
    ----------
    data
        Array-like.
    rgb, layer
        As of :class:`ImageIdentity`.
    path
        The image's file, if it has one.
    """

    data: Any
    rgb: bool = False
    layer: str = ""
    path: Path | None = None
    _samples: dict[Index, Sample] = field(default_factory=dict, init=False, repr=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array."""
        return tuple(int(n) for n in np.shape(self.data))

    def identity(self) -> ImageIdentity:
        """Say what the image is; reads a few planes."""
        lengths = self.shape[: _leading(self.shape, self.rgb)]
        count = int(np.prod(lengths))
        picked = np.unique(np.linspace(0, count - 1, min(count, _SAMPLED)).astype(int))
        indices = [tuple(int(i) for i in np.unravel_index(flat, lengths)) for flat in picked]
        path, size, time = "", 0, 0
        if self.path is not None:
            path = str(self.path.absolute())
            try:
                state = self.path.stat()
            except OSError:  # not there any more: its content tells
                pass
            else:
                size, time = state.st_size, state.st_mtime_ns
        samples = tuple(map(self.sample, indices if lengths else [()]))
        dtype = np.dtype(self.data.dtype).str
        return ImageIdentity(self.shape, dtype, samples, self.rgb, self.layer, path, size, time)

    def sample(self, index: Index) -> Sample:
        """Look at a plane; one that was looked at before is not read again."""
        if index not in self._samples:
            plane = as_pixels(self.data[index])
            parts = list(_parts(plane))
            state = xxhash.xxh3_128(repr((plane.shape, plane.dtype.str)).encode())
            for part in parts:
                state.update(np.ascontiguousarray(part).tobytes())
            first = parts[0].flat[0]
            blank = all(bool((part == first).all()) for part in parts)
            self._samples[index] = Sample(index, state.hexdigest(), blank)
        return self._samples[index]

    def is_image_of(self, other: ImageIdentity) -> bool:
        """Whether this is an image of before, moved, touched or grown by planes perhaps."""
        planes = _leading(self.shape, self.rgb)
        if (self.rgb, np.dtype(self.data.dtype).str) != (other.rgb, other.dtype):
            return False
        if len(self.shape) != len(other.shape) or self.shape[planes:] != other.shape[planes:]:
            return False
        lengths = self.shape[:planes], other.shape[:planes]
        if any(now < before for now, before in zip(*lengths, strict=True)):
            return False
        if not all(self._has(sample.index) for sample in other.samples):
            return False
        return all(self.sample(s.index).digest == s.digest for s in other.samples)

    def _has(self, index: Index) -> bool:
        lengths = self.shape[: _leading(self.shape, self.rgb)]
        return len(index) == len(lengths) and all(
            i < n for i, n in zip(index, lengths, strict=True)
        )


def read_identity(told: Json, where: Json = None) -> ImageIdentity:
    """Read what :meth:`ImageIdentity.spell` and :meth:`ImageIdentity.where` told.

    Raises
    ------
    ValueError
        If it is none.
    """
    place = where if isinstance(where, Mapping) else {}
    try:
        samples = tuple(
            Sample(_lengths(index), str(digest), bool(blank))
            for index, digest, blank in told["samples"]
        )
        return ImageIdentity(
            _lengths(told["shape"]),
            str(told["dtype"]),
            samples,
            bool(told["rgb"]),
            str(told["layer"]),
            str(place.get("path", "")),
            int(place.get("size", 0)),
            int(place.get("time", 0)),
        )
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"expected what an image is, got {str(told)[:100]}") from error


def _lengths(value: Json) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(type(n) is int and n >= 0 for n in value):
        raise ValueError(f"expected lengths, got {str(value)[:100]}")
    return tuple(value)


def _leading(shape: tuple[int, ...], rgb: bool) -> int:
    """Return how many axes come before a plane's."""
    return max(0, len(shape) - 2 - rgb)


def _parts(plane: NDArray[Any]) -> list[NDArray[Any]]:
    """Return a plane, or windows that are spread over a large one."""
    height, width = plane.shape[:2]
    if height * width <= _WHOLE:
        return [plane]
    tops, lefts = (
        np.linspace(0, max(0, n - _WINDOW), _WINDOWS).astype(int) for n in (height, width)
    )
    return [plane[t : t + _WINDOW, c : c + _WINDOW] for t in tops for c in lefts]
