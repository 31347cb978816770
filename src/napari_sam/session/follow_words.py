"""How following objects ended, in a sentence."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from napari_sam.session.prompt_words import told_ids

_MOST = 8  # that are named one by one


def told_end(
    ids: Collection[int],
    planes: Collection[int],
    known: Collection[int] = (),
    lost: Collection[int] = (),
    locked: Collection[int] = (),
    failed: Collection[int] = (),
) -> str:
    """Say how far objects were followed, and which of them were not.

    Parameters
    ----------
    ids
        The objects.
    planes
        Indices of the planes that they were carried to.
    known
        Indices of the planes where they were known.
    lost
        Those that were carried nowhere.
    locked
        Those that were locked meanwhile: nothing was written of them from then on.
    failed
        Indices of the planes that could not be read.
    """
    one = len(ids) == 1
    what = f"Object {min(ids)} was" if one else f"{len(ids)} objects were"
    if planes:
        every = sorted({*planes, *known})
        told = f"{what} followed to {len(planes)} further plane{'s' if len(planes) > 1 else ''}; "
        told += "it reaches" if one else "together they reach"
        told += f" from plane {every[0]} to {every[-1]}"
        if lost:
            told += f"; {_named(lost)} {'was' if len(lost) == 1 else 'were'} found on none"
    else:
        told = f"{what} found on no further plane"
    if locked:
        keeps = (
            "is locked, and stays as it is" if len(locked) == 1 else "are locked, and stay as is"
        )
        told += f"; {_named(locked)} {keeps}"
    if failed:
        names = ", ".join(map(str, sorted(failed)[:_MOST]))
        told += f"; plane{'s' if len(failed) > 1 else ''} {names}"
        told += f"{', ...' if len(failed) > _MOST else ''} could not be read"
    return told


def told_locked(ids: Collection[int]) -> str:
    """Say that locked objects were left out where all were to be followed."""
    verb, them = ("is", "it") if len(ids) == 1 else ("are", "them")
    return (
        f"{_named(ids)} {verb} locked and not followed; unlock {them} to follow {them}".capitalize()
    )


def _named(ids: Collection[int]) -> str:
    """Name objects, as in ``objects 4, 7 and 9``; of many say how many there are."""
    if len(ids) == 1 or len(ids) > _MOST:
        return told_ids(ids)
    names: Sequence[str] = [str(i) for i in sorted(ids)]
    return f"objects {', '.join(names[:-1])} and {names[-1]}"
