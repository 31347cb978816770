"""Times, counts and sizes as the dock writes them."""

from __future__ import annotations

import time


def time_text(then: float, now: float | None = None) -> str:
    """Return a date and time as text: ``28 Nov 14:10``, or ``28 Nov 2025`` for another year.

    Parameters
    ----------
    then, now
        Seconds since 1970; ``now`` is the current time unless given.
    """
    at, today = time.localtime(then), time.localtime(now)
    if at.tm_year != today.tm_year:
        return f"{at.tm_mday} {time.strftime('%b %Y', at)}"
    return f"{at.tm_mday} {time.strftime('%b %H:%M', at)}"


def object_count_text(count: int) -> str:
    """Return a number of objects as text: ``1 object``, ``3 objects``."""
    return "1 object" if count == 1 else f"{count} objects"


def image_count_text(count: int) -> str:
    """Return a number of images as text: ``1 image``, ``3 images``."""
    return "1 image" if count == 1 else f"{count} images"


def size_text(size: int) -> str:
    """Return a size in bytes as text: ``12 kB``, ``3.4 MB``."""
    return f"{max(1, size // 1000)} kB" if size < 1_000_000 else f"{size / 1e6:.1f} MB"


def time_left_text(seconds: float) -> str:
    """Return an estimate of the remaining time as text: ``40 s left``, ``3 min left``."""
    if seconds < 1:
        return "less than 1 s left"
    return f"{seconds:.0f} s left" if seconds < 100 else f"{seconds / 60:.0f} min left"
