"""Messages about the outcome of following objects."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from napari_sam.session.prompt_words import ids_text

_MOST = 8  # objects or planes that are listed


def ending_text(
    ids: Collection[int],
    planes: Collection[int],
    known: Collection[int] = (),
    lost: Collection[int] = (),
    locked: Collection[int] = (),
    failed: Collection[int] = (),
) -> str:
    """Return a message about how far objects were followed.

    Parameters
    ----------
    ids
        The objects.
    planes
        Indices of the planes to which they were followed.
    known
        Indices of the planes on which they were known before.
    lost
        Objects that were found on no other plane.
    locked
        Objects that were locked meanwhile, and not written from then on.
    failed
        Indices of the planes that could not be read.
    """
    one = len(ids) == 1
    what = f"Object {min(ids)} was" if one else f"{len(ids)} objects were"
    if planes:
        every = sorted({*planes, *known})
        text = f"{what} followed to {len(planes)} further plane{'s' if len(planes) > 1 else ''}; "
        text += "it reaches" if one else "together they reach"
        text += f" from plane {every[0]} to {every[-1]}"
        if lost:
            text += f"; {_named(lost)} {'was' if len(lost) == 1 else 'were'} found on none"
    else:
        text = f"{what} found on no further plane"
    if locked:
        keeps = (
            "is locked, and stays as it is" if len(locked) == 1 else "are locked, and stay as is"
        )
        text += f"; {_named(locked)} {keeps}"
    if failed:
        names = ", ".join(map(str, sorted(failed)[:_MOST]))
        text += f"; plane{'s' if len(failed) > 1 else ''} {names}"
        text += f"{', ...' if len(failed) > _MOST else ''} could not be read"
    return text


def locked_text(ids: Collection[int]) -> str:
    """Return a message about locked objects that were left out of following."""
    verb, them = ("is", "it") if len(ids) == 1 else ("are", "them")
    return (
        f"{_named(ids)} {verb} locked and not followed; unlock {them} to follow {them}".capitalize()
    )


def _named(ids: Collection[int]) -> str:
    """Return a list of objects, as in ``objects 4, 7 and 9``; of many only their number."""
    if len(ids) == 1 or len(ids) > _MOST:
        return ids_text(ids)
    names: Sequence[str] = [str(i) for i in sorted(ids)]
    return f"objects {', '.join(names[:-1])} and {names[-1]}"
