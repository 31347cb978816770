"""Images, label images, overlay pictures and prompt files on disk."""

from napari_sam.io.formats import IMAGE_FORMATS, LABEL_FORMATS, read_image, write_labels
from napari_sam.io.image_file import ImageFile, UnreadableImageError
from napari_sam.io.overlay import draw_overlay, write_overlay
from napari_sam.io.prompt_file import PlaneObject, read_prompts, write_prompts

__all__ = [
    "IMAGE_FORMATS",
    "LABEL_FORMATS",
    "ImageFile",
    "PlaneObject",
    "UnreadableImageError",
    "draw_overlay",
    "read_image",
    "read_prompts",
    "write_labels",
    "write_overlay",
    "write_prompts",
]
