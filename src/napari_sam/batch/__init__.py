"""Folders and stacks without a viewer: embed, segment from clicks, or segment everything."""

from napari_sam.batch.files import embed_files, segment_all_files, segment_files
from napari_sam.batch.image import label_everything, label_objects, measure_labels
from napari_sam.batch.inputs import find_images
from napari_sam.batch.manifest import ManifestWarning
from napari_sam.batch.run import BatchProgress, BatchSummary, Failure

__all__ = [
    "BatchProgress",
    "BatchSummary",
    "Failure",
    "ManifestWarning",
    "embed_files",
    "find_images",
    "label_everything",
    "label_objects",
    "measure_labels",
    "segment_all_files",
    "segment_files",
]
