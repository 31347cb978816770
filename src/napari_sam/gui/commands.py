"""The plugin's commands for files: called with paths, or without any to open a dialog in napari.

``pm.commands.execute("napari-sam-live.segment_files", kwargs={"images": ..., "output": ...})``,
with npe2's plugin manager ``pm``, works without a viewer. Without ``images``, as called from
napari's menus, a command opens its dialog.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_sam.batch import BatchProgress, BatchSummary, ClusterModel
    from napari_sam.segmentation.protocol import Segmenter


def segment_files(
    images: Any = None,
    output: Any = None,
    prompts: Any = None,
    model: str = "nano",
    device: str = "auto",
    overlay: bool = False,
    overwrite: bool = False,
    measurements: bool = False,
    progress: BatchProgress | None = None,
    boxes: Any = None,
    workers: int | None = None,
    scheduler: str | None = None,
) -> BatchSummary | None:
    """Segment images from prompts that were saved in the viewer.

    Parameters
    ----------
    images
        A file, a folder, a pattern or a list of them; None opens a dialog in the viewer.
    output
        A folder for the label images, or one label file for one image.
    prompts
        A prompts file or a session for all images, or a folder of them; by default ``NAME.csv``
        or ``NAME.napari-sam`` beside each image ``NAME``.
    model, device
        As for :func:`~napari_sam.load_segmenter`.
    overlay
        Whether to save a picture of each image with its objects outlined too.
    overwrite
        Whether later objects may take pixels of earlier ones.
    measurements
        Whether to write a CSV with size, shape and intensity of each object.
    progress
        Called with the image and the finished fraction of all work.
    boxes
        A boxes file, as napari saves it for a Shapes layer, or a folder of them.
    workers, scheduler
        Number of processes on this machine, or the address of a dask cluster to compute on, as
        for :func:`napari_sam.batch.on_cluster`; by default this process computes.

    Returns
    -------
    summary
        The images that were done, skipped and failed; None if a dialog was opened.

    Raises
    ------
    FileNotFoundError, ValueError
        As for :func:`napari_sam.batch.segment_files`.
    """
    if images is None:
        _open_dialog("segment_files")
        return None
    from napari_sam import batch

    output = _given(output)
    found = batch.check_request(images, output, prompts, needs_prompts=True, boxes=boxes)
    with _model(model, device, progress, workers, scheduler) as segmenter:
        return batch.segment_files(
            segmenter,
            found,
            output,
            prompts,
            overwrite=overwrite,
            overlay=overlay,
            measurements=measurements,
            progress=progress,
            boxes=boxes,
        )


def segment_all_files(
    images: Any = None,
    output: Any = None,
    model: str = "nano",
    device: str = "auto",
    overlay: bool = False,
    measurements: bool = True,
    progress: BatchProgress | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
) -> BatchSummary | None:
    """Segment every object in images, without prompts.

    Parameters, return value and errors are as for :func:`segment_files`.
    """
    if images is None:
        _open_dialog("segment_all_files")
        return None
    from napari_sam import batch

    output = _given(output)
    found = batch.check_request(images, output)
    with _model(model, device, progress, workers, scheduler) as segmenter:
        return batch.segment_all_files(
            segmenter,
            found,
            output,
            overlay=overlay,
            measurements=measurements,
            progress=progress,
        )


def embed_files(
    images: Any = None,
    model: str = "nano",
    device: str = "auto",
    progress: BatchProgress | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
) -> BatchSummary | None:
    """Embed every plane of images in advance, so that they open ready for clicks.

    Parameters, return value and errors are as for :func:`segment_files`.
    """
    if images is None:
        _open_dialog("embed_files")
        return None
    from napari_sam import batch

    found = batch.check_request(images)
    with _model(model, device, progress, workers, scheduler) as segmenter:
        return batch.embed_files(segmenter, found, progress=progress)


COMMANDS: dict[str, tuple[str, Callable[..., Any], Sequence[str]]] = {
    "segment_files": (
        "Segment files from prompts",
        segment_files,
        (
            "images",
            "prompts",
            "boxes",
            "output",
            "model",
            "device",
            "overlay",
            "overwrite",
            "measurements",
            "workers",
            "scheduler",
        ),
    ),
    "segment_all_files": (
        "Segment everything in files",
        segment_all_files,
        (
            "images",
            "output",
            "model",
            "device",
            "overlay",
            "measurements",
            "workers",
            "scheduler",
        ),
    ),
    "embed_files": (
        "Embed files ahead",
        embed_files,
        ("images", "model", "device", "workers", "scheduler"),
    ),
}
"""Title, function and dialog fields of each command, by its name."""


@contextmanager
def _model(
    model: str,
    device: str,
    progress: BatchProgress | None,
    workers: int | None,
    scheduler: str | None,
) -> Iterator[Segmenter | ClusterModel]:
    """Yield a model that is loaded in this process, or on a cluster if one is requested."""
    if not workers and not scheduler:
        yield _segmenter(model, device, progress)
        return
    from napari_sam.batch import on_cluster

    where = on_cluster(model, device, workers=workers or None, scheduler=scheduler or None)
    with where as loaded:
        yield loaded


def _segmenter(model: str, device: str, progress: BatchProgress | None) -> Segmenter:
    """Load a model; a download shows the model's name and can be cancelled like the batch."""
    from napari_sam.gui.models import load_for_viewer
    from napari_sam.segmentation.cached import DISK_BYTES

    def report(fraction: float) -> None:
        if progress is not None:
            progress(Path(model), 0.0)

    return load_for_viewer(DISK_BYTES)(model, device, report)


def _given(output: Any) -> Any:
    if output is None:
        raise ValueError("expected an output folder or file, got none; pass output=...")
    return output


def _open_dialog(name: str) -> None:
    import sys

    napari = sys.modules.get("napari")
    viewer = napari.current_viewer() if napari is not None else None
    if viewer is None:
        raise ValueError(f"expected images for {name}, got none and no viewer to ask in")
    from napari_sam.gui.batch_dialog import BatchDialog

    title, function, fields = COMMANDS[name]
    viewer.window.add_dock_widget(BatchDialog(title, function, fields), name=title, area="right")
