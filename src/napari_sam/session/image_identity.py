"""Recognising the image of a session by its pixels, even if its file was moved."""

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
_WHOLE = 2**22  # pixels of a plane that is read whole; of a larger one, windows are read
_WINDOWS, _WINDOW = 4, 256  # along rows and along columns; pixels

Index = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """The hash of one plane of an image.

    Parameters
    ----------
    index
        Index of the plane along the axes before its own.
    digest
        Hash of its pixels.
    is_blank
        Whether all its pixels are equal, so that many images may have such a plane.
    """

    index: Index
    digest: str
    is_blank: bool


@dataclass(frozen=True, slots=True)
class ImageIdentity:
    """What identifies an image: hashes of some planes, and its file.

    Parameters
    ----------
    shape, dtype
        Shape and type of its array, including the axis of colours if `rgb`.
    samples
        Hashes of some of its planes.
    rgb
        Whether its last axis holds red, green and blue.
    layer
        Name of the layer.
    path
        Its file; empty if it has none.
    size, time
        Size of the file in bytes, and time of its last change in ns since 1970.
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
        """A hash of type and plane shape, equal for images that may differ only in planes."""
        planes = _leading(self.shape, self.rgb)
        about = self.dtype, len(self.shape), self.shape[planes:], self.rgb
        return xxhash.xxh3_64(repr(about).encode()).hexdigest()

    def to_json(self) -> Json:
        """Return the identity as JSON values for a session file, without the path."""
        return {
            "shape": list(self.shape),
            "dtype": self.dtype,
            "rgb": self.rgb,
            "layer": self.layer,
            "samples": [[list(s.index), s.digest, s.is_blank] for s in self.samples],
        }

    def where(self) -> Json:
        """Return the path, size and time of the file as JSON values, for the library only."""
        return {"path": self.path, "size": self.size, "time": self.time}


@dataclass(eq=False)
class ImageContent:
    """An image to be identified, whose planes are read when they are needed.

    Parameters
    ----------
    data
        The array.
    rgb, layer
        As for :class:`ImageIdentity`.
    path
        The image's file; None if it has none.
    """

    data: Any
    rgb: bool = False
    layer: str = ""
    path: Path | None = None
    _samples: dict[Index, Sample] = field(default_factory=dict, init=False, repr=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return tuple(int(n) for n in np.shape(self.data))

    def identity(self) -> ImageIdentity:
        """Return the identity of the image; reads a few planes."""
        lengths = self.shape[: _leading(self.shape, self.rgb)]
        count = int(np.prod(lengths))
        picked = np.unique(np.linspace(0, count - 1, min(count, _SAMPLED)).astype(int))
        indices = [tuple(int(i) for i in np.unravel_index(flat, lengths)) for flat in picked]
        path, size, time = "", 0, 0
        if self.path is not None:
            path = str(self.path.absolute())
            try:
                state = self.path.stat()
            except OSError:  # the file is gone; the pixels identify the image
                pass
            else:
                size, time = state.st_size, state.st_mtime_ns
        samples = tuple(map(self.sample, indices if lengths else [()]))
        dtype = np.dtype(self.data.dtype).str
        return ImageIdentity(self.shape, dtype, samples, self.rgb, self.layer, path, size, time)

    def sample(self, index: Index) -> Sample:
        """Return the hash of a plane; each plane is read once only."""
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
        """Whether this is the image of an identity; it may have moved and have more planes."""
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


def read_identity(stored: Json, where: Json = None) -> ImageIdentity:
    """Return the identity that :meth:`ImageIdentity.spell` and :meth:`ImageIdentity.where` gave.

    Raises
    ------
    ValueError
        If it is not valid.
    """
    place = where if isinstance(where, Mapping) else {}
    try:
        samples = tuple(
            Sample(_lengths(index), str(digest), bool(blank))
            for index, digest, blank in stored["samples"]
        )
        return ImageIdentity(
            _lengths(stored["shape"]),
            str(stored["dtype"]),
            samples,
            bool(stored["rgb"]),
            str(stored["layer"]),
            str(place.get("path", "")),
            int(place.get("size", 0)),
            int(place.get("time", 0)),
        )
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"expected what an image is, got {str(stored)[:100]}") from error


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
