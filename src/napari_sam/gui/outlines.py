"""Moves outlines of objects on the plane on screen by a pixel, for keys and buttons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_sam.gui.annotation import Annotation


def move_outlines(
    annotation: Annotation, pixels: int, object_ids: Sequence[int] | None = None
) -> None:
    """Move the outlines of objects outwards, or inwards.

    Parameters
    ----------
    annotation
        The annotation of the objects.
    pixels
        Distance in pixels; below 0 inwards.
    object_ids
        The objects; by default the current one.

    Raises
    ------
    ValueError
        If none of them has a mask on the plane on screen, or one is locked.
    """
    session, plane = annotation.session, annotation.plane_to_prompt()
    ids = (session.object_id,) if object_ids is None else object_ids
    rows = [session.object_row(i) for i in ids]
    here = [row.id for row in rows if row is not None and plane in row.planes]
    if not here:
        raise ValueError(
            "expected an object with a mask on this plane, got none; click on one first"
        )
    session.grow_objects(pixels, plane, here)


def move_found_outlines(annotation: Annotation, pixels: int) -> None:
    """Move the outlines of all found objects that nobody has clicked or locked.

    Raises
    ------
    ValueError
        If there are none on the plane on screen.
    """
    session, plane = annotation.session, annotation.plane_to_prompt()
    found = session.found_objects(plane)
    if not found:
        raise ValueError("expected found objects on this plane, got none; find all first")
    session.grow_objects(pixels, plane, found)
