"""A model's input for a plane, as values and as the text that a prompts file stores."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from napari_sam.image import Limits
from napari_sam.lazy_plane import LARGE, samples

DISPLAYED, CONTRAST, CHANNELS = "displayed", "contrast", "channels"
PROJECTED, PIXELS = "projected", "pixels"
COLUMNS = (DISPLAYED, CONTRAST, CHANNELS, PROJECTED, PIXELS)
"""Names of the columns that store a :class:`PlaneInput`. A new property is a new column."""

_AS_IT_IS, _INVERTED = "as it is", "inverted"
_NUMBER = r"([-+]?(?:\d+[.,]?\d*|[.,]\d+)(?:[eE][-+]?\d+)?)"
_PAIR = re.compile(rf"\s*{_NUMBER}\s+to\s+{_NUMBER}\s*")
_GAMMA = re.compile(rf"(.*)\bgamma\s+{_NUMBER}\s*")
_AXES = re.compile(r"\s*rows\s+(\d+)\s+columns\s+(\d+)\s*")
_OWN_AXIS = re.compile(r"\s*axis\s+(\d+)\s*:(.*)")
_LAYERS = "layers:"
_BLOCK = 2**22  # pixels that are copied at a time to take their checksum
_PROJECTED = re.compile(r"(sum|mean|max|min) of (.+)")
_SPAN = re.compile(r"\s*(\d+) to (\d+) on axis (\d+)\s*")


@dataclass(frozen=True, slots=True)
class ColourInput:
    """One grey or colour channel of a model's input.

    Parameters
    ----------
    limits
        Pixel values that became black and white; None for the model's own choice, which leaves
        uint8 RGB as it is.
    index
        Index along the image's channel axis; None for the whole plane of the image or of another
        layer.
    layer
        Name of the layer, if it is not the image's.
    checksum
        Checksum of the pixels before contrast stretching (:func:`checksum`); empty if unknown.
    gamma, inverted
        As in :func:`~napari_sam.image.as_shown`.
    """

    limits: Limits | None = None
    index: int | None = None
    layer: str = ""
    checksum: str = ""
    gamma: float = 1.0
    inverted: bool = False


@dataclass(frozen=True, slots=True)
class PlaneInput:
    """A model's input for one plane.

    Parameters
    ----------
    displayed
        The two axes of the image that the plane spans: rows and columns.
    colours
        One entry for a plane as it is; three for channels shown as red, green and blue, with None
        for a colour that is black.
    channel_axis
        Axis of the image that the `index` of `colours` refers to.
    known
        Whether the contrast limits are known; those computed from the pixels are unknown until
        the pixels are read.
    projection, spans
        NumPy's function that projected several planes to this one, and these planes as (axis,
        first, last) for each axis with more than one; empty for a single plane.
    """

    displayed: tuple[int, int]
    colours: tuple[ColourInput | None, ...] = (ColourInput(),)
    channel_axis: int | None = None
    known: bool = True
    projection: str = ""
    spans: tuple[tuple[int, int, int], ...] = ()

    @property
    def is_plain(self) -> bool:
        """Whether the input is the image's own plane, without a choice of channels."""
        return len(self.colours) == 1

    def words(self) -> dict[str, str]:
        """Return it as text, one entry for each of :data:`COLUMNS`.

        No separator is one that spreadsheets take for that of a number, a date or a column.
        """
        return dict(_words(self))


def input_of_words(words: dict[str, str], ndim: int) -> PlaneInput:
    """Read the text that :meth:`PlaneInput.words` returns; missing entries count as unknown.

    Parameters
    ----------
    words
        Text by the names of :data:`COLUMNS`.
    ndim
        Number of axes of the image; by default a plane spans the last two.

    Raises
    ------
    ValueError
        If an entry is malformed.
    """
    displayed = _read_axes(words.get(DISPLAYED, ""), ndim)
    projected = _read_projected(words.get(PROJECTED, ""))
    axis, channels = _read_channels(words.get(CHANNELS, ""))
    count = len(channels) if channels else 1
    pairs, sums = (_parts(words.get(name, ""), name, count) for name in (CONTRAST, PIXELS))
    known = bool(words.get(CONTRAST, "").strip())
    if not channels:
        limits, gamma, inverted = _read_contrast(pairs[0])
        one = ColourInput(limits, None, "", sums[0], gamma, inverted)
        return PlaneInput(displayed, (one,), None, known, *projected)
    colours = tuple(
        ColourInput(
            _read_contrast(pair)[0],
            None if axis is None else int(name),
            name if axis is None else "",
            checksum,
            *_read_contrast(pair)[1:],
        )
        if name
        else None
        for name, pair, checksum in zip(channels, pairs, sums, strict=True)
    )
    return PlaneInput(displayed, colours, axis, known, *projected)


def without_checksums(given: PlaneInput) -> PlaneInput:
    """Return what is the same on every plane that was given alike."""
    colours = tuple(one and replace(one, checksum="") for one in given.colours)
    return replace(given, colours=colours)


def checksum(pixels: Any) -> str:
    """Return a short word that is the same for equal pixels, whatever type holds them.

    Parameters
    ----------
    pixels
        `(H, W)`, or `(H, W, samples)`, of which the first three count. Of a large plane, which
        may take long to read, only a few blocks count; the checksum begins with ``part`` then.
    """
    if np.size(pixels) and np.prod(np.shape(pixels)[:2], dtype=np.int64) > LARGE:
        crc = zlib.crc32(str(tuple(np.shape(pixels)[:2])).encode())
        for block in samples(pixels):
            crc = zlib.crc32(checksum(block).encode(), crc)
        return f"part-{crc:08x}"
    array = np.asarray(pixels)
    array = array[..., :3] if array.ndim == 3 else array
    crc = zlib.crc32(str(array.shape).encode())
    rows = max(1, _BLOCK // max(1, array[:1].size))
    for start in range(0, len(array), rows):
        with np.errstate(over="ignore", invalid="ignore"):
            values = np.ascontiguousarray(array[start : start + rows], dtype="<f4")
        bad = np.isnan(values)
        if bad.any():
            values = np.where(bad, np.float32(0), values)
        crc = zlib.crc32(values.data, crc)
    return f"crc-{crc:08x}"


@lru_cache(maxsize=1024)  # thousands of clicks have the same input
def _words(given: PlaneInput) -> dict[str, str]:
    rows, columns = given.displayed
    words = {DISPLAYED: f"rows {rows} columns {columns}", CHANNELS: "", CONTRAST: "", PROJECTED: ""}
    if given.known:
        words[CONTRAST] = _joined(c and _contrast_text(c) for c in given.colours)
    if given.spans:
        spans = (f"{first} to {last} on axis {axis}" for axis, first, last in given.spans)
        words[PROJECTED] = f"{given.projection} of {' and '.join(spans)}"
    words[PIXELS] = _joined(c and c.checksum for c in given.colours)
    if not given.is_plain and given.channel_axis is not None:
        numbers = _joined(c and str(c.index) for c in given.colours)
        words[CHANNELS] = f"axis {given.channel_axis}: {numbers}"
    elif not given.is_plain:
        names = _joined(c and (c.layer.replace("|", " ") or "?") for c in given.colours)
        words[CHANNELS] = f"{_LAYERS} {names}"
    return words


def _joined(parts: Any) -> str:
    parts = [part or "" for part in parts]
    return "|".join(parts) if any(parts) else ""


def _parts(text: str, name: str, count: int) -> list[str]:
    if not text.strip():
        return [""] * count
    parts = [part.strip() for part in text.split("|")]
    if len(parts) != count:
        raise ValueError(f"expected {count} parts, divided by |, as {name}, got {text!r}")
    return parts


def _contrast_text(one: ColourInput) -> str:
    limits = one.limits
    words = _AS_IT_IS if limits is None else f"{limits[0]!r} to {limits[1]!r}"
    words += f" gamma {one.gamma!r}" if one.gamma != 1 else ""
    return f"{words} {_INVERTED}" if one.inverted else words


def _read_contrast(text: str) -> tuple[Limits | None, float, bool]:
    """Return limits, gamma and whether it was inverted."""
    head, inverted = text.strip().removesuffix(_INVERTED).strip(), text.strip().endswith(_INVERTED)
    found = _GAMMA.fullmatch(head)
    if found is None:
        return _read_limits(head), 1.0, inverted
    gamma = float(found[2].replace(",", "."))
    if not gamma > 0:
        raise ValueError(f"expected a gamma above 0 in {CONTRAST}, got {text!r}")
    return _read_limits(found[1].strip()), gamma, inverted


def _read_limits(text: str) -> Limits | None:
    if text == _AS_IT_IS or not text:
        return None
    found = _PAIR.fullmatch(text)
    if not found:
        raise ValueError(f"expected 'LOW to HIGH' or '{_AS_IT_IS}' as {CONTRAST}, got {text!r}")
    low, high = (float(number.replace(",", ".")) for number in found.groups())
    if not low < high:
        raise ValueError(f"expected {CONTRAST} with LOW below HIGH, got {text!r}")
    return low, high


def _read_axes(text: str, ndim: int) -> tuple[int, int]:
    if not text.strip():
        return ndim - 2, ndim - 1
    found = _AXES.fullmatch(text)
    rows, columns = (int(n) for n in found.groups()) if found else (0, 0)
    if not rows < columns < ndim:
        raise ValueError(
            f"expected 'rows A columns B' with two of {ndim} axes in their order as {DISPLAYED}, "
            f"got {text!r}"
        )
    return rows, columns


def _read_projected(text: str) -> tuple[str, tuple[tuple[int, int, int], ...]]:
    if not text.strip():
        return "", ()
    found = _PROJECTED.fullmatch(text.strip())
    spans = [_SPAN.fullmatch(part) for part in found[2].split(" and ")] if found else []
    if found is None or None in spans:
        raise ValueError(f"expected 'mean of 3 to 7 on axis 0' as {PROJECTED}, got {text!r}")
    return found[1], tuple((int(s[3]), int(s[1]), int(s[2])) for s in spans if s)


def _read_channels(text: str) -> tuple[int | None, list[str]]:
    """Return the channel axis, if there is one, and the three channels; none if not recorded."""
    text = text.strip()
    if not text:
        return None, []
    found = _OWN_AXIS.fullmatch(text)
    if found:
        names = _parts(found[2], CHANNELS, 3)
        if any(names) and all(not name or name.isdecimal() for name in names):
            return int(found[1]), names
    elif text.startswith(_LAYERS):
        names = _parts(text.removeprefix(_LAYERS), CHANNELS, 3)
        if any(names):
            return None, names
    raise ValueError(
        f"expected 'axis N: red|green|blue' or '{_LAYERS} red|green|blue' as {CHANNELS}, "
        f"got {text!r}"
    )
