"""A model's name or checkpoint to a segmenter that is ready for planes of any size."""

from __future__ import annotations

from pathlib import Path

from napari_sam.model import weights
from napari_sam.segmentation.devices import choose_device, choose_precision
from napari_sam.segmentation.network import SamSegmenter
from napari_sam.segmentation.protocol import Progress, Segmenter
from napari_sam.segmentation.tiled import TiledSegmenter


def load_segmenter(
    model: str | Path = "nano",
    device: str = "auto",
    precision: str = "auto",
    progress: Progress | None = None,
) -> Segmenter:
    """Load a model; one that is known by name but not on this disk is downloaded first.

    Parameters
    ----------
    model
        A name of :data:`~napari_sam.model.weights.REGISTRY`, such as ``"nano"`` or ``"vit_b"``,
        or the path of a checkpoint (``.pth``, ``.pt``, ``.safetensors``), whose architecture is
        read from its metadata or its tensors.
    device
        ``"auto"`` (a GPU where there is one), ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.
    precision
        Of the image encoder: ``"auto"``, ``"float32"``, ``"bfloat16"``, ``"float16"``.
    progress
        Called with the fraction downloaded; it may raise to cancel.

    Returns
    -------
    segmenter
        Without a cache. Models that keep a plane's own resolution come in a
        :class:`~napari_sam.TiledSegmenter`; SAM's models see a whole plane at 1024 pixels,
        as in the reference, unless they are wrapped in one.

    Raises
    ------
    ValueError
        For an unknown model, device or precision, an absent device, or a checkpoint that is
        damaged, unsafe or of another architecture
        (:class:`~napari_sam.model.weights.CheckpointError`).
    OSError
        If a download fails (:class:`~napari_sam.model.weights.DownloadError`).
    """
    choose_precision(precision, choose_device(device))  # a wrong one must not cost a download
    plain = SamSegmenter(weights.load(model, progress), device, precision)
    return TiledSegmenter(plain) if plain.config.resize == "own" else plain
