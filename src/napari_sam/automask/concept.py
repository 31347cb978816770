"""Find the objects of a plane that a text or example boxes describe."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_sam.automask.objects import ObjectMask, encode_region
from napari_sam.image import Limits, normalise
from napari_sam.prompts import Box
from napari_sam.segmentation.concepts import Concept, Instance
from napari_sam.segmentation.protocol import Progress, Segmenter, concept_segmenter, part_of


def find_text(
    segmenter: Segmenter,
    plane: ArrayLike,
    text: str = "",
    boxes: Iterable[Box] = (),
    negative_boxes: Iterable[Box] = (),
    contrast_limits: Limits | None = None,
    progress: Progress | None = None,
    least_score: float = 0.5,
) -> list[ObjectMask]:
    """Find every object of a plane that matches a text or example boxes.

    Parameters
    ----------
    segmenter
        A model that reads text.
    plane
        `(H, W)` or `(H, W, 3)`.
    text
        A short noun phrase in English, such as ``"nuclei"``; may be empty if there are boxes.
    boxes, negative_boxes
        Example boxes as (row 0, column 0, row 1, column 1) in pixels: around objects of the wanted
        kind, and around objects that are not to be found.
    contrast_limits, progress
        As in :func:`~napari_sam.generate_masks`.
    least_score
        Objects whose score is not above this are left out, 0-1.

    Returns
    -------
    objects
        The highest score first; they may overlap.

    Raises
    ------
    ValueError
        If the model reads no text, if there is neither a text nor a box, if the text is too long,
        or if a box is malformed or outside the plane.
    """
    concept = Concept(text, tuple(boxes), tuple(negative_boxes))
    pixels = normalise(plane, contrast_limits)
    return masks_of_concept(segmenter, pixels, concept, least_score, progress)


def masks_of_concept(
    segmenter: Segmenter,
    pixels: NDArray[np.uint8],
    concept: Concept,
    least_score: float,
    progress: Progress | None,
) -> list[ObjectMask]:
    """Find the objects of a kind in normalised grey values; see :func:`find_text`."""
    finder = concept_segmenter(segmenter)
    embedding = segmenter.embed(pixels, None, part_of(progress, 0.0, 0.5))
    found = finder.find_concept(embedding, concept, least_score, part_of(progress, 0.5, 1.0))
    return list(map(partial(_object_of, embedding.frame.plane_shape), found))


def _object_of(plane_shape: tuple[int, int], one: Instance) -> ObjectMask:
    box, mask = encode_region(one.patch.pixels, one.patch.origin, plane_shape)
    middle = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return ObjectMask(box, mask, one.score, one.stability, middle, one.seen)
