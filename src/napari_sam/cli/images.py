"""Commands that take images: from clicks, everything, or ahead of clicks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_sam.cli.application import app
from napari_sam.cli.console import announce, bar, clear_errors, conclude, load_model, open_model
from napari_sam.cli.options import (
    Axes,
    Cache,
    ChannelNumber,
    Contrast,
    Device,
    Format,
    Images,
    Measurements,
    MinScore,
    Model,
    Output,
    Overlay,
    Precision,
    Scheduler,
    Workers,
)

if TYPE_CHECKING:
    from napari_sam.batch import ClusterModel
    from napari_sam.segmentation.protocol import Segmenter


@app.command(epilog="Example: napari-sam segment cells.tif --prompts clicks.csv -o labels.tif")
def segment(
    images: Images,
    output: Output,
    prompts: Annotated[
        Path | None,
        typer.Option(
            "--prompts",
            "-p",
            help="CSV of a Points layer, a session, or a folder with a NAME.csv for each image; by "
            "default NAME.csv or NAME.napari-sam beside each image.",
        ),
    ] = None,
    boxes: Annotated[
        Path | None,
        typer.Option(
            "--boxes", help="CSV of a Shapes layer, or a folder with a NAME.csv for each image."
        ),
    ] = None,
    model: Model = "nano",
    device: Device = "auto",
    precision: Precision = "auto",
    contrast: Contrast = None,
    overwrite: Annotated[
        bool, typer.Option(help="Let later objects take pixels of earlier ones.")
    ] = False,
    overlay: Overlay = False,
    measurements: Measurements = False,
    suffix: Format = ".tif",
    axes: Axes = None,
    channel: ChannelNumber = None,
    cache: Cache = True,
    scheduler: Scheduler = None,
    workers: Workers = None,
) -> None:
    """Segment images from clicks and boxes, or from sessions, saved in the viewer."""
    with clear_errors():
        from napari_sam.batch import check_request, count_prompts

        found = check_request(images, output, prompts, suffix, needs_prompts=True, boxes=boxes)
        announce(count_prompts(found, prompts, boxes))
        with open_model(model, device, precision, scheduler, workers, cache) as segmenter:
            from napari_sam.batch import segment_files

            with bar("segmenting") as report:
                summary = segment_files(
                    segmenter,
                    found,
                    output,
                    prompts,
                    contrast,
                    overwrite=overwrite,
                    overlay=overlay,
                    measurements=measurements,
                    suffix=suffix,
                    progress=report,
                    axes=axes,
                    channel=channel,
                    boxes=boxes,
                )
        conclude(summary, f"labels in {output}")


@app.command(epilog="Example: napari-sam auto day1/ -o labels/ --overlay")
def auto(
    images: Images,
    output: Output,
    model: Model = "nano",
    device: Device = "auto",
    precision: Precision = "auto",
    contrast: Contrast = None,
    overlay: Overlay = False,
    measurements: Measurements = True,
    suffix: Format = ".tif",
    axes: Axes = None,
    channel: ChannelNumber = None,
    cache: Cache = True,
    points_per_side: Annotated[
        int | None,
        typer.Option(help="Prompt with a grid of this many points per side, as SAM does."),
    ] = None,
    text: Annotated[
        str,
        typer.Option(
            help='Find only what this text names, such as "nuclei"; needs a model that reads text.'
        ),
    ] = "",
    min_score: MinScore = None,
    min_area: Annotated[
        int,
        typer.Option(
            min=0,
            help="With a decoder for instances: drop objects of fewer pixels. With a grid of "
            "points: fill smaller holes and drop smaller islands.",
        ),
    ] = 0,
    scheduler: Scheduler = None,
    workers: Workers = None,
) -> None:
    """Segment every object in images; in a z-stack, overlapping objects are joined."""
    settings = _with_scores_from(min_score)
    if min_area:
        settings["min_mask_region_area"] = min_area
    if text:
        settings = {"text": text} | ({} if min_score is None else {"text_score_thresh": min_score})
    if points_per_side is not None:
        settings |= {"proposals": False, "points_per_side": points_per_side}
    with clear_errors():
        from napari_sam.batch import check_request

        if text and points_per_side is not None:
            raise ValueError("expected --text or --points-per-side, got both; give one")
        found = check_request(images, output, suffix=suffix)
        with open_model(model, device, precision, scheduler, workers, cache) as segmenter:
            from napari_sam.batch import segment_all_files

            with bar("segmenting") as report:
                summary = segment_all_files(
                    segmenter,
                    found,
                    output,
                    contrast,
                    overlay=overlay,
                    measurements=measurements,
                    suffix=suffix,
                    progress=report,
                    axes=axes,
                    channel=channel,
                    **settings,
                )
        conclude(summary, f"labels in {output}, by {found_by(segmenter, settings)}")


@app.command(epilog="Example: napari-sam track movie.tif -o tracks/ --ctc")
def track(
    images: Images,
    output: Output,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="Link the objects of these labels instead of finding any: a file, or a folder "
            "with a NAME_labels.tif for each image."
        ),
    ] = None,
    model: Model = "nano",
    device: Device = "auto",
    precision: Precision = "auto",
    contrast: Contrast = None,
    reach: Annotated[
        float | None,
        typer.Option(
            help="Longest distance that an object moves between two frames, in the image's unit; "
            "by default the objects' median diameter."
        ),
    ] = None,
    gap: Annotated[
        int,
        typer.Option(min=0, help="Longest run of frames from which an object may be missing."),
    ] = 2,
    divisions: Annotated[bool, typer.Option(help="Let objects divide in two.")] = True,
    ctc: Annotated[
        bool, typer.Option("--ctc", help="Write a Cell Tracking Challenge folder, too.")
    ] = False,
    suffix: Format = ".tif",
    axes: Axes = None,
    channel: ChannelNumber = None,
    cache: Cache = True,
    min_score: MinScore = None,
) -> None:
    """Find the objects of movies, number them by track, and report which ones divide."""
    with clear_errors():
        from napari_sam.batch import check_request
        from napari_sam.tracking import LinkSettings

        found = check_request(images, output, suffix=suffix)
        settings = LinkSettings(reach, gap, divisions)
        segmenter = None
        if labels is None:
            segmenter = load_model(model, device, precision, on_disk=cache)
        from napari_sam.batch import track_files

        with bar("tracking") as report:
            summary = track_files(
                segmenter,
                found,
                output,
                labels,
                settings,
                contrast,
                ctc,
                suffix,
                report,
                axes,
                channel,
                **_with_scores_from(min_score),
            )
        conclude(summary, f"labels and tables of tracks in {output}")


@app.command(epilog="Example: napari-sam embed stack.tif --model vit_b")
def embed(
    images: Images,
    model: Model = "nano",
    device: Device = "auto",
    precision: Precision = "auto",
    contrast: Contrast = None,
    axes: Axes = None,
    channel: ChannelNumber = None,
    scheduler: Scheduler = None,
    workers: Workers = None,
) -> None:
    """Compute embeddings ahead of time, so that clicks in the viewer are answered at once."""
    with clear_errors():
        from napari_sam.batch import check_request

        found = check_request(images)
        with open_model(model, device, precision, scheduler, workers) as segmenter:
            from napari_sam.batch import embed_files
            from napari_sam.segmentation.cached import embeddings_home

            with bar("embedding") as report:
                summary = embed_files(
                    segmenter, found, contrast, report, axes=axes, channel=channel
                )
        conclude(summary, f"embeddings in {embeddings_home()}")


def _with_scores_from(least: float | None) -> dict[str, Any]:
    """Return the settings by which masks of a lower score are dropped."""
    names = ("pred_iou_thresh", "proposal_iou_thresh", "instance_score_thresh")
    return {} if least is None else dict.fromkeys(names, least)


def found_by(segmenter: Segmenter | ClusterModel, settings: dict[str, Any]) -> str:
    """Return by what objects are found, such as ``a grid of points``."""
    if "text" in settings:
        return "the text"
    from napari_sam.segmentation.traits import WAYS

    return WAYS[segmenter.traits.way(settings.get("proposals"))]
