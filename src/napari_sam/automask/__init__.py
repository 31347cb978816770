"""Everything in a plane or a stack, without a click."""

from napari_sam.automask.generate import generate_masks
from napari_sam.automask.objects import ObjectMask
from napari_sam.automask.settings import AutomaskSettings
from napari_sam.automask.stack import (
    label_plane,
    link_planes,
    linked_planes,
    merge_objects,
    place_objects,
    segment_all,
)

__all__ = [
    "AutomaskSettings",
    "ObjectMask",
    "generate_masks",
    "label_plane",
    "link_planes",
    "linked_planes",
    "merge_objects",
    "place_objects",
    "segment_all",
]
