"""Times, counts and sizes in words, as the dock has them."""

from __future__ import annotations

import time


def told_time(then: float, now: float | None = None) -> str:
    """Spell a time for a person: ``28 Nov 14:10``, and of other years ``28 Nov 2025``.

    Parameters
    ----------
    then, now
        Seconds since 1970.
    """
    at, today = time.localtime(then), time.localtime(now)
    if at.tm_year != today.tm_year:
        return f"{at.tm_mday} {time.strftime('%b %Y', at)}"
    return f"{at.tm_mday} {time.strftime('%b %H:%M', at)}"


def told_objects(count: int) -> str:
    """Spell a number of objects."""
    return "1 object" if count == 1 else f"{count} objects"


def told_images(count: int) -> str:
    """Spell a number of images."""
    return "1 image" if count == 1 else f"{count} images"


def told_size(size: int) -> str:
    """Spell a size in bytes: ``12 kB``, ``3.4 MB``."""
    return f"{max(1, size // 1000)} kB" if size < 1_000_000 else f"{size / 1e6:.1f} MB"


def told_left(seconds: float) -> str:
    """Spell how long something still takes: ``40 s left``, ``3 min left``."""
    if seconds < 1:
        return "less than 1 s left"
    return f"{seconds:.0f} s left" if seconds < 100 else f"{seconds / 60:.0f} min left"
