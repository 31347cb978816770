"""Checks of values from session files, which raise a ValueError or TypeError."""

from __future__ import annotations

import math

from napari_sam.io.session_file import Json

LARGEST_NUMBER = 2**64 - 1


def as_object(value: Json) -> int:
    """Return the number of an object."""
    if type(value) is not int or not 1 <= value <= LARGEST_NUMBER:
        raise ValueError(f"the object number {str(value)[:40]}")
    return value


def as_index(value: Json) -> int:
    """Return a position, from 0."""
    if type(value) is not int or not 0 <= value < 2**53:
        raise ValueError(f"{str(value)[:40]} as a position")
    return value


def as_flag(value: Json) -> int:
    """Return the sign of a click."""
    if type(value) is not int or value not in (0, 1):
        raise ValueError(f"{str(value)[:40]} as the sign of a click")
    return value


def as_text(value: Json) -> str:
    """Return a text."""
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} as a text")
    return value


def as_path(value: Json) -> tuple[tuple[float, float], ...]:
    """Return points of a path."""
    if not value:
        raise ValueError("a stroke without a vertex")
    return tuple((as_finite(row), as_finite(column)) for row, column in value)


def as_finite(value: Json) -> float:
    """Return a coordinate, or another finite number."""
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{number} as a coordinate")
    return number


def as_json_number(value: float) -> float | None:
    """Return a number for JSON: None if it is not finite."""
    return float(value) if math.isfinite(value) else None
