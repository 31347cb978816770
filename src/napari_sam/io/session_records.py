"""Records of session files, and their values as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

Json = Any
"""A value that JSON can represent: None, bool, int, float, str, lists and dicts of these."""


class SessionFileError(ValueError):
    """A file is not a session of this program, is damaged, or was written by a newer version."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """Labels of the pixels of a mask, in its row-major order.

    Parameters
    ----------
    dtype
        NumPy's name of the type, such as ``"<u4"``.
    values
        One number if all pixels have the same label; otherwise all labels as zlib-compressed
        bytes.
    """

    dtype: str
    values: int | bytes


@dataclass(frozen=True, slots=True)
class PatchRecord:
    """A mask on a plane, and perhaps how labels changed there.

    Parameters
    ----------
    plane
        The index along each axis, or None for the two axes that the plane spans.
    region
        (first row, first column, height, width) in pixels of the plane.
    area
        Number of pixels of the mask.
    mask
        Its bits, row by row, packed into bytes (highest bit first), zlib-compressed.
    old, new
        Labels before and after; None for a mask that is not a change of labels.
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
        Unique; ascending in the order in which entries were made.
    kind, text
        Kind of action as a keyword, and a description for users.
    time
        Seconds since 1970.
    data
        All other values; they may refer to `patches` by their index.
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
        Number of the last entry when the labels were stored; 0 before the first.
    plane, height, width
        As in :class:`PatchRecord`.
    dtype
        NumPy's name of the type.
    labels
        The labels row by row, zlib-compressed.
    """

    entry: int
    plane: tuple[int | None, ...]
    height: int
    width: int
    dtype: str
    labels: bytes


@dataclass(frozen=True, slots=True)
class Content:
    """The content of a session file.

    Parameters
    ----------
    entries
        All entries that were ever recorded, by number.
    in_force
        Numbers of the entries that are in force (not undone), in their order.
    undone
        Numbers of the entries that can be redone, in the order in which they were undone.
    planes
        Labels of planes that existed before the session.
    models
        Files of the taught models that were used, by their digests.
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
    """Return a row's columns as a record; raise a `SessionFileError` if they are invalid."""
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
    """Return a plane from its JSON; raise a `SessionFileError` if it is invalid."""
    plane = loads(text)
    indices = [i for i in plane if i is not None] if isinstance(plane, list) else None
    if indices is None or any(type(i) is not int or i < 0 for i in indices):
        raise damaged(f"the plane {text[:100]}")
    return tuple(plane)


def dumps(value: Json) -> str:
    """Return a value as JSON."""
    return json.dumps(value, separators=(",", ":"), default=_plain)


def _plain(value: object) -> Json:
    """Return NumPy's numbers and arrays as Python's numbers and lists."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"expected a value of JSON, got {type(value).__name__}")


def loads(text: str) -> Json:
    """Return the value of JSON; raise a `SessionFileError` if it is invalid."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise damaged("JSON that is nested too deeply") from error
    except ValueError as error:
        raise damaged(f"JSON that can't be read ({error})") from error


def damaged(what: str) -> SessionFileError:
    """Return the error for a damaged file, with what was found in it."""
    return SessionFileError(
        f"expected a session file as it was written, got {what}: it is damaged; use another copy"
    )
