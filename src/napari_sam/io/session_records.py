"""What session files hold, as plain records, and how their values are spelled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

Json = Any
"""What JSON can say: None, bool, int, float, str, lists and dicts of these."""


class SessionFileError(ValueError):
    """A file is no session of this program, is damaged, or is of a newer version."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """Labels of the pixels of a mask, in its row-major order.

    Parameters
    ----------
    dtype
        As NumPy spells it, such as ``"<u4"``.
    values
        The number that all of them are, or all of them as zlib-compressed bytes.
    """

    dtype: str
    values: int | bytes


@dataclass(frozen=True, slots=True)
class PatchRecord:
    """A mask on a plane, and perhaps how labels changed there.

    Parameters
    ----------
    plane
        For every axis its index, or None for the two that the plane spans.
    region
        (first row, first column, height, width) in pixels of the plane.
    area
        How many pixels of it the mask has.
    mask
        Its bits, row by row, packed into bytes (highest bit first), zlib-compressed.
    old, new
        Labels before and after; None where the mask tells no change.
    """

    plane: tuple[int | None, ...]
    region: tuple[int, int, int, int]
    area: int
    mask: bytes
    old: Numbers | None = None
    new: Numbers | None = None


@dataclass(frozen=True, slots=True)
class EntryRecord:
    """One entry of a journal.

    Parameters
    ----------
    number
        Never given twice; ascending in the order in which entries were made.
    kind, text
        What happened, as a word and as words for a person.
    time
        Seconds since 1970.
    data
        Everything else; it may name `patches` by their positions.
    patches
        Masks and changed pixels.
    """

    number: int
    kind: str
    text: str
    time: float
    data: Mapping[str, Json] = field(default_factory=dict)
    patches: tuple[PatchRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class PlaneRecord:
    """The labels of a whole plane.

    Parameters
    ----------
    entry
        Number of the last entry when the labels were taken; 0 before the first.
    plane, height, width
        As of :class:`PatchRecord`.
    dtype
        As NumPy spells it.
    labels
        zlib-compressed, row by row.
    """

    entry: int
    plane: tuple[int | None, ...]
    height: int
    width: int
    dtype: str
    labels: bytes


@dataclass(frozen=True, slots=True)
class Content:
    """All that a session file holds of what was done.

    Parameters
    ----------
    entries
        Every one that was ever recorded, by number.
    in_force
        Numbers of those that hold, in their order.
    undone
        Numbers of those that can be made again, first the one that was taken back first.
    planes
        Labels that were there before.
    models
        Files of the taught models that answered, by their digests.
    """

    entries: tuple[EntryRecord, ...]
    in_force: tuple[int, ...]
    undone: tuple[int, ...]
    planes: tuple[PlaneRecord, ...]
    models: Mapping[str, bytes] = field(default_factory=dict)


def patch_of(
    plane: str,
    row: int,
    column: int,
    height: int,
    width: int,
    area: int,
    mask: bytes,
    *labels: Any,
) -> PatchRecord:
    """Make a record of the columns of a row, or say what is wrong with them."""
    if min(row, column) < 0 or min(height, width) < 1 or not 0 < area <= height * width:
        raise damaged(f"{area} pixels in a rectangle of {height} x {width}")
    region = row, column, height, width
    if labels == (None,) * 4:
        return PatchRecord(plane_of(plane), region, area, mask)
    if None in labels:
        raise damaged("a change of pixels with half of its labels")
    old, new = Numbers(labels[0], labels[1]), Numbers(labels[2], labels[3])
    return PatchRecord(plane_of(plane), region, area, mask, old, new)


@lru_cache(maxsize=4096)  # many entries are on one plane
def plane_of(text: str) -> tuple[int | None, ...]:
    """Read a plane, or say what is wrong with it."""
    plane = loads(text)
    indices = [i for i in plane if i is not None] if isinstance(plane, list) else None
    if indices is None or any(type(i) is not int or i < 0 for i in indices):
        raise damaged(f"the plane {text[:100]}")
    return tuple(plane)


def dumps(value: Json) -> str:
    """Spell a value as JSON."""
    return json.dumps(value, separators=(",", ":"), default=_plain)


def _plain(value: object) -> Json:
    """Return the number that one of NumPy's is."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"expected a value of JSON, got {type(value).__name__}")


def loads(text: str) -> Json:
    """Read JSON, or say what is wrong with it."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise damaged("JSON that is nested too deeply") from error
    except ValueError as error:
        raise damaged(f"JSON that can't be read ({error})") from error


def damaged(what: str) -> SessionFileError:
    """Return the error that says that a file is damaged, and how that shows."""
    return SessionFileError(
        f"expected a session file as it was written, got {what}: it is damaged; use another copy"
    )
