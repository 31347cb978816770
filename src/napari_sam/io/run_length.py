"""COCO's run-length encoding of masks: runs down the columns, outside and inside in turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LARGEST = 2**31  # pixels of a mask that is read


def encode(mask: NDArray[np.bool_], origin: tuple[int, int], shape: tuple[int, int]) -> str:
    """Encode a mask as pycocotools does.

    Parameters
    ----------
    mask
        `(h, w)`, of which `origin` is the first pixel.
    origin
        Row and column in the image.
    shape
        (H, W) of the image.
    """
    height = shape[0]
    columns = np.zeros((mask.shape[1], mask.shape[0] + 2), np.int8)
    columns[:, 1:-1] = mask.T
    steps = np.diff(columns, axis=1)
    bases = (origin[1] + np.arange(mask.shape[1])) * height + origin[0]
    starts = np.add(*_at(steps == 1, bases))
    ends = np.add(*_at(steps == -1, bases))
    goes_on = np.zeros(len(starts), bool)  # of a column that is full down to the next one
    goes_on[1:] = starts[1:] == ends[:-1]
    kept_ends = ends[np.append(~goes_on[1:], True)] if len(ends) else ends
    places = np.stack([starts[~goes_on], kept_ends], 1).reshape(-1)
    counts = np.diff(places, prepend=0, append=height * shape[1])
    return _to_text(counts.tolist() if counts[-1] else counts[:-1].tolist())


def decode(
    counts: str | bytes | Sequence[int], shape: tuple[int, int]
) -> tuple[tuple[int, int], NDArray[np.bool_]]:
    """Decode a mask.

    Parameters
    ----------
    counts
        Lengths of runs, or their text.
    shape
        (H, W) of the image.

    Returns
    -------
    origin
        Row and column of the first pixel of `mask`.
    mask
        `(h, w)`; the smallest rectangle around what is inside.

    Raises
    ------
    ValueError
        If they are not the runs of such a mask.
    """
    height, width = shape
    if height * width > _LARGEST:
        raise ValueError(f"expected a mask of up to {_LARGEST} pixels, got {height} x {width}")
    text = counts.decode("ascii", "replace") if isinstance(counts, bytes) else counts
    runs = _from_text(text) if isinstance(text, str) else [int(n) for n in text]
    lengths = np.array(runs, np.int64) if max(runs, default=0) <= _LARGEST else np.array([-1])
    if (lengths < 0).any() or int(lengths.sum()) != height * width:
        raise ValueError(
            f"expected runs that make {height} x {width} pixels, got others; they are damaged"
        )
    ends = np.cumsum(lengths)
    starts, ends = (ends - lengths)[1::2], ends[1::2]
    starts, ends = starts[ends > starts], ends[ends > starts]
    if not len(starts):
        return (0, 0), np.zeros((0, 0), bool)
    left, right = int(starts[0]) // height, (int(ends[-1]) - 1) // height + 1
    steps = np.zeros((right - left) * height + 1, np.int8)
    np.add.at(steps, starts - left * height, 1)
    np.add.at(steps, ends - left * height, -1)
    mask = np.cumsum(steps[:-1], dtype=np.int8).astype(bool).reshape(right - left, height).T
    rows = np.flatnonzero(mask.any(1))
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    return (top, left), mask[top:bottom]


def _at(where: NDArray[np.bool_], bases: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any]]:
    column, row = np.nonzero(where)
    return bases[column], row


def _to_text(counts: Sequence[int]) -> str:
    """Spell numbers in base 32, from the third run on as differences to the last but one."""
    letters = []
    for i, count in enumerate(counts):
        value = count - counts[i - 2] if i > 2 else count
        is_done = False
        while not is_done:
            digit = value & 31
            value >>= 5
            is_done = value == (-1 if digit & 16 else 0)
            letters.append(chr(digit + 48 + (0 if is_done else 32)))
    return "".join(letters)


def _from_text(text: str) -> list[int]:
    counts: list[int] = []
    value = shift = 0
    for letter in text:
        digit = ord(letter) - 48
        if not 0 <= digit < 64 or shift > 60:
            raise ValueError(f"expected the text of a run-length encoding, got {text[:40]!r}")
        value |= (digit & 31) << shift
        shift += 5
        if not digit & 32:
            if digit & 16:
                value -= 1 << shift
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("expected a complete run-length encoding, got one that was cut short")
    return counts
