"""Everything in a plane or a stack, without a click."""

from napari_sam.automask.concept import find_text
from napari_sam.automask.generate import generate_masks
from napari_sam.automask.objects import ObjectMask
from napari_sam.automask.settings import AutomaskSettings
from napari_sam.automask.settling import PlanePart
from napari_sam.automask.similar import (
    Examples,
    SimilarSettings,
    examples_of,
    find_similar,
    join_examples,
)
from napari_sam.automask.stack import (
    Placement,
    label_plane,
    link_planes,
    linked_planes,
    merge_objects,
    place_objects,
    segment_all,
)

__all__ = [
    "AutomaskSettings",
    "Examples",
    "ObjectMask",
    "Placement",
    "PlanePart",
    "SimilarSettings",
    "examples_of",
    "find_similar",
    "find_text",
    "generate_masks",
    "join_examples",
    "label_plane",
    "link_planes",
    "linked_planes",
    "merge_objects",
    "place_objects",
    "segment_all",
]
