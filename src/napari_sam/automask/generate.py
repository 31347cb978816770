"""All objects of a plane as masks: by what the model has for it, from a grid, or by a text."""

from __future__ import annotations

import logging
from typing import Any

from numpy.typing import ArrayLike

from napari_sam.automask.concept import masks_of_concept
from napari_sam.automask.grid import masks_from_grid
from napari_sam.automask.instances import masks_from_decoder
from napari_sam.automask.objects import ObjectMask
from napari_sam.automask.proposed import masks_from_proposals
from napari_sam.automask.settings import AutomaskSettings
from napari_sam.automask.settling import OnPart, PlanePart
from napari_sam.image import Limits, normalise
from napari_sam.segmentation.protocol import Progress, Segmenter
from napari_sam.segmentation.traits import WAYS

_log = logging.getLogger(__name__)


def generate_masks(
    segmenter: Segmenter,
    plane: ArrayLike,
    contrast_limits: Limits | None = None,
    progress: Progress | None = None,
    on_part: OnPart | None = None,
    **settings: Any,
) -> list[ObjectMask]:
    """Find every object of a plane.

    A model with a dense head proposes one box for each object it detects. A model with a decoder
    for instances, such as micro-sam's, predicts foreground and distance maps, which a watershed
    splits into objects. Other models are prompted with a regular grid of points, as in SAM's
    automatic mask generation. :meth:`Traits.way` returns which of these methods is used; the log
    has it, too. With a text or boxes among the settings, only the objects that match them are
    found, as by :func:`find_text`.

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
        Called repeatedly with a :class:`PlanePart` of objects that are final; together the parts
        are the result. From a grid, whose duplicates are removed last, and from a decoder, all
        objects come in one part at the end.
    **settings
        Fields of :class:`AutomaskSettings`, such as ``points_per_side=16``.

    Returns
    -------
    objects
        The highest score first; from a grid, in the order of SAM's mask generator. They may
        overlap, except for those from a decoder, whose score is the mean foreground probability.

    Raises
    ------
    TypeError
        For a setting that doesn't exist, or as :func:`~napari_sam.image.normalise` does.
    ValueError
        If `proposals` is True and the model has neither a dense head nor a decoder for instances;
        if there is a text and the model reads none; or as `normalise` does.
    """
    chosen = AutomaskSettings(**settings)
    pixels = normalise(plane, contrast_limits)
    if (concept := chosen.concept) is not None:
        found = masks_of_concept(segmenter, pixels, concept, chosen.text_score_thresh, progress)
        if on_part is not None:
            on_part(PlanePart(found, 1, 1))
        return found
    traits = segmenter.traits
    way = traits.way(chosen.proposals)
    if chosen.proposals and way == "grid":
        raise ValueError(
            "expected a model with a dense head for proposals, or a decoder for instances, got "
            f"{traits.name}; use proposals=False for a grid of points"
        )
    if way == "head":
        found = masks_from_proposals(segmenter, pixels, chosen, progress, on_part)
    else:
        find = masks_from_grid if way == "grid" else masks_from_decoder
        found = find(segmenter, pixels, chosen, progress)
        if on_part is not None:
            on_part(PlanePart(found, 1, 1))
    _log.info("%s: %d objects by %s", traits.name, len(found), WAYS[way])
    return found
