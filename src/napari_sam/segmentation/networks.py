"""A model's name or checkpoint to the segmenter of its network, in this process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_sam.model import pretrained, weights
from napari_sam.segmentation.complete import CompleteSegmenter
from napari_sam.segmentation.devices import choose_device, choose_precision
from napari_sam.segmentation.network import SamSegmenter
from napari_sam.segmentation.protocol import Progress

if TYPE_CHECKING:
    from napari_sam.model.taught import TaughtModel


def load_network(
    model: str | Path | TaughtModel, device: str, precision: str, progress: Progress | None = None
) -> CompleteSegmenter:
    """Load the network of a model; parameters and errors are those of `load_segmenter`."""
    choose_precision(precision, choose_device(device))  # a wrong one must not cost a download
    if isinstance(model, str | Path) and pretrained.is_pretrained(model):
        pretrained.require_library(model)  # its lack must not cost a download either
        folder = pretrained.folder_of(model, progress)
        if pretrained.family_of(folder) == "sam3_video":
            from napari_sam.segmentation.sam3 import load_sam3

            return load_sam3(model, device, precision, progress)
        from napari_sam.segmentation.sam2 import load_sam2

        return load_sam2(model, device, precision, progress)
    return SamSegmenter(weights.load(model, progress), device, precision)
