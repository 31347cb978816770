"""Images, label images, overlay pictures and prompt files on disk."""

from napari_sam.io.formats import IMAGE_FORMATS, LABEL_FORMATS, read_image, write_labels
from napari_sam.io.image_file import ImageFile, UnreadableImageError
from napari_sam.io.overlay import draw_overlay, write_overlay
from napari_sam.io.prompt_file import (
    PlaneIndex,
    PlaneObject,
    SavedPrompts,
    complete,
    dimensions,
    format_objects,
    read_boxes,
    read_prompts,
    with_boxes,
    write_prompts,
)

__all__ = [
    "IMAGE_FORMATS",
    "LABEL_FORMATS",
    "ImageFile",
    "PlaneIndex",
    "PlaneObject",
    "SavedPrompts",
    "UnreadableImageError",
    "complete",
    "dimensions",
    "draw_overlay",
    "format_objects",
    "read_boxes",
    "read_image",
    "read_prompts",
    "with_boxes",
    "write_labels",
    "write_overlay",
    "write_prompts",
]
