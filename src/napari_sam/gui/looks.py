"""How masks look: filled or outlined, and in which colours."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_sam.gui.annotation import Annotation

_WIDTH = 2  # pixels of an outline


def outline_masks(annotation: Annotation, on: bool | None = None) -> None:
    """Show masks as outlines, or filled.

    Parameters
    ----------
    annotation
        Whose masks.
    on
        Whether as outlines; None for the other way than now.

    Raises
    ------
    ValueError
        If there are no masks yet.
    """
    masks = annotation.labels
    if masks is None:
        raise ValueError("expected masks to outline, got none yet; click on an object first")
    wanted = masks.contour == 0 if on is None else on
    masks.contour = _WIDTH if wanted else 0
