"""A model's name or checkpoint to a segmenter: the one place where it is composed.

The viewer, the commands, the command line and Python all use it, so that the same prompts on
the same plane give the same pixels for every caller.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_sam.segmentation.address import is_address
from napari_sam.segmentation.cached import DISK_BYTES, CachedSegmenter
from napari_sam.segmentation.networks import load_network
from napari_sam.segmentation.own_process import ProcessSegmenter
from napari_sam.segmentation.protocol import PixelSegmenter, Progress, Segmenter
from napari_sam.segmentation.remote import RemoteSegmenter
from napari_sam.segmentation.tiled import TiledSegmenter

if TYPE_CHECKING:
    from napari_sam.model.taught import TaughtModel


def load_segmenter(
    model: str | Path | TaughtModel = "nano",
    device: str = "auto",
    precision: str = "auto",
    progress: Progress | None = None,
    *,
    tiles: bool = True,
    cache: bool | str | Path = True,
    disk_bytes: int = DISK_BYTES,
    own_process: bool = False,
    token: str | None = None,
    patience: float | None = 60.0,
) -> Segmenter:
    """Load a model; one that is known by name but not on this disk is downloaded first.

    Parameters
    ----------
    model
        A name of :data:`~napari_sam.model.weights.REGISTRY`, such as ``"nano"`` or ``"vit_b"``,
        or of a model that you taught, or the path of a taught model or of a checkpoint (``.pth``,
        ``.pt``, ``.safetensors``), whose architecture is read from its metadata or its tensors.
        Or a taught model itself, such as a session has it. A SAM 2 or SAM 3 model may also be a
        folder in the format of the library transformers, or its name on Hugging Face's hub, such
        as ``"facebook/sam2.1-hiera-tiny"``; it needs that library.
    device
        ``"auto"`` (a GPU where there is one), ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``. Or
        the address of another machine on which ``napari-sam serve`` runs, such as
        ``"ws://127.0.0.1:8765"``: `model` is the name of one of its models then.
    precision
        Of the image encoder: ``"auto"``, ``"float32"``, ``"bfloat16"``, ``"float16"``.
    progress
        Called with the fraction downloaded; it may raise to cancel.
    tiles
        Whether a plane larger than the model's input becomes tiles, see
        :class:`~napari_sam.TiledSegmenter`; without, it is made smaller until it fits, as in SAM's
        reference implementation.
    cache
        Whether embeddings are kept, see :class:`~napari_sam.CachedSegmenter`; a path names
        another directory than the user's. A kept embedding is rounded to half precision, so
        masks without a cache may differ in pixels where the model is undecided.
    disk_bytes
        Largest size of the cache on disk; 0 keeps embeddings in memory alone, with the same masks.
    own_process
        Whether the network runs in a process of its own, as the viewer has it: the same masks, at
        the same speed beside a busy window.
    token
        For another machine; by default of the environment, ``NAPARI_SAM_TOKEN`` or the file that
        ``NAPARI_SAM_TOKEN_FILE`` names.
    patience
        Seconds that a call waits for a connection to another machine that was lost; None waits
        for ever.

    Returns
    -------
    segmenter
        As the viewer and the command line have it. With neither `tiles` nor `cache` it is the
        network alone, such as :class:`~napari_sam.segmentation.network.SamSegmenter`, whose
        embeddings and logits are those of SAM's reference implementation.

    Raises
    ------
    ValueError
        For an unknown model, device or precision, an absent device, or a checkpoint that is
        damaged, unsafe, of another architecture, or needs a library that isn't installed
        (:class:`~napari_sam.model.weights.CheckpointError`).
    OSError
        If a download fails (:class:`~napari_sam.model.weights.DownloadError`), or another machine
        can't be reached (:class:`~napari_sam.segmentation.connection.ConnectionLost`) or refuses
        the token.
    """
    plain: PixelSegmenter
    if is_address(device):
        # embeddings are kept there; as a cache on this machine rounds them, where one is wanted
        plain = RemoteSegmenter(
            model, device, token, precision, cache is not False, progress, patience
        )
        return TiledSegmenter(plain) if tiles else plain
    if own_process:
        plain = ProcessSegmenter(model, device, precision, progress)
    else:
        plain = load_network(model, device, precision, progress)
    segmenter: Segmenter = TiledSegmenter(plain) if tiles else plain
    if cache is False:
        return segmenter
    return CachedSegmenter(segmenter, None if cache is True else cache, disk_bytes)
