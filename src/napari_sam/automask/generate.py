"""All objects of a plane as masks: from a head's proposals, a grid of points, or a text."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike

from napari_sam.automask.concept import masks_of_concept
from napari_sam.automask.grid import masks_from_grid
from napari_sam.automask.objects import ObjectMask
from napari_sam.automask.proposed import masks_from_proposals
from napari_sam.automask.settings import AutomaskSettings
from napari_sam.automask.settling import OnPart, PlanePart
from napari_sam.image import Limits, normalise
from napari_sam.segmentation.protocol import Progress, Segmenter


def generate_masks(
    segmenter: Segmenter,
    plane: ArrayLike,
    contrast_limits: Limits | None = None,
    progress: Progress | None = None,
    on_part: OnPart | None = None,
    **settings: Any,
) -> list[ObjectMask]:
    """Find every object of a plane.

    A model with a dense head proposes one box for each object it sees; other models are
    prompted with a regular grid of points, which equals SAM's automatic mask generation. With a
    text or boxes among the settings it is every object that they tell of.

    Parameters
    ----------
    segmenter
        The model.
    plane
        `(H, W)` or `(H, W, 3)`.
    contrast_limits
        As in :func:`~napari_sam.image.normalise`.
    progress
        Called with the finished fraction; it may raise :class:`~napari_sam.Cancelled`.
    on_part
        Called with a :class:`PlanePart` again and again, as objects are known that nothing still
        to come can change: together they are the result. From a grid all come at the end, when
        duplicates are known.
    **settings
        Fields of :class:`AutomaskSettings`, such as ``points_per_side=16``.

    Returns
    -------
    objects
        The highest score first, or from a grid in the order of the reference. They may overlap.

    Raises
    ------
    TypeError
        For a setting that doesn't exist, or as :func:`~napari_sam.image.normalise` does.
    ValueError
        If `proposals` is True and the model has no dense head; if there is a text and the model
        reads none; or as `normalise` does.
    """
    chosen = AutomaskSettings(**settings)
    pixels = normalise(plane, contrast_limits)
    if (concept := chosen.concept) is not None:
        found = masks_of_concept(segmenter, pixels, concept, chosen.text_score_thresh, progress)
        if on_part is not None:
            on_part(PlanePart(found, 1, 1))
        return found
    has_head = segmenter.traits.proposes
    if chosen.proposals and not has_head:
        raise ValueError(
            f"expected a model with a dense head for proposals, got {segmenter.traits.name}; "
            "use proposals=False for a grid of points"
        )
    if chosen.proposals is False or not has_head:
        found = masks_from_grid(segmenter, pixels, chosen, progress)
        if on_part is not None:
            on_part(PlanePart(found, 1, 1))
        return found
    return masks_from_proposals(segmenter, pixels, chosen, progress, on_part)
