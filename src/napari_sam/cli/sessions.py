"""Commands that take sessions: run again, export, import."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_sam.cli.application import app
from napari_sam.cli.console import bar, clear_errors, load_model, out, show_warning
from napari_sam.cli.options import Axes, Cache, ChannelNumber, Device

if TYPE_CHECKING:
    from napari_sam.model.taught import TaughtModel
    from napari_sam.segmentation.protocol import Segmenter


@app.command(epilog="Example: napari-sam replay cells.napari-sam -o labels.tif")
def replay(
    session: Annotated[Path, typer.Argument(metavar="FILE", help="A session file.")],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Where labels go: a .tif or .zarr file, or a folder."),
    ],
    image: Annotated[
        str | None, typer.Argument(metavar="IMAGE", help="Its image; by default the one beside it.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--with", "-m", help="Use this model instead of the session's own."),
    ] = None,
    device: Device = "auto",
    precision: Annotated[
        str | None,
        typer.Option(
            help="Number format of the image encoder: auto, float32, bfloat16 or float16; by "
            "default the session's."
        ),
    ] = None,
    axes: Axes = None,
    channel: ChannelNumber = None,
    cache: Cache = True,
) -> None:
    """Run a session again, and report how the labels differ from those it saved."""
    with clear_errors():
        from napari_sam.session.saved import read_without_image

        saved = read_without_image(session)
        from napari_sam.batch import replay as replaying
        from napari_sam.batch import session_models
        from napari_sam.batch.inputs import check_request, plan

        found = check_request([image or str(replaying.find_image(saved))], output)
        (task,) = plan(found, output, ".tif")
        opened = replaying.open_image(saved, task.image, axes, channel, must_match=image is None)
        if model is None:
            load = partial(_load, device, precision, cache)
            models = session_models.load_models(saved, load)
        else:
            models = (load_model(model, device, precision or "auto", on_disk=cache),)
        with bar("replaying") as report:
            result = replaying.replay_session(saved, opened, models, partial(report, session))
        replaying.write_replayed(result, task.labels)
        for note in result.notes:
            show_warning(note)
        difference = session_models.describe_difference(saved, result, models)
        out.print(f"{difference}; labels in {task.labels}", highlight=False, soft_wrap=True)


def _load(
    device: str, wanted: str | None, cache: bool, model: str | TaughtModel, *, precision: str
) -> Segmenter:
    """Load a model of a session, in its own precision unless another one is wanted."""
    return load_model(model, device, wanted or precision, on_disk=cache)


@app.command(epilog="Example: napari-sam export cells.napari-sam --to geojson -o cells.geojson")
def export(
    sessions: Annotated[list[Path], typer.Argument(metavar="SESSION...", help="Session files.")],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            help="Format: labels, coco, yolo, geojson (QuPath), ome-zarr, imagej, csv, crops, "
            "classes or ctc (Cell Tracking Challenge).",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="A file of the format, or a folder.")
    ],
    image: Annotated[
        Path | None,
        typer.Option("--image", help="Image of the session; by default the one beside it."),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option("--labels", help="Labels that the session wrote into a file of yours."),
    ] = None,
    only: Annotated[
        str | None, typer.Option("--only", help="accepted: leave out objects that nobody accepted.")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace existing files.")] = False,
    masks: Annotated[
        str, typer.Option("--masks", help="How COCO stores masks: rle or polygons.")
    ] = "rle",
    ome_version: Annotated[
        str | None, typer.Option("--ome-version", help="Version of OME-Zarr: 0.4 or 0.5.")
    ] = None,
    margin: Annotated[
        int, typer.Option("--margin", min=0, help="Pixels around each object, for crops.")
    ] = 8,
) -> None:
    """Write the objects of sessions in a format that other programs read."""
    with clear_errors():
        if only not in (None, "accepted"):
            raise ValueError(f"expected --only accepted, or no --only, got {only!r}")
        from napari_sam.batch import export_sessions
        from napari_sam.io.exports import ExportOptions

        options = ExportOptions(masks, ome_version, margin)  # type: ignore[arg-type]  # checked
        with bar("writing") as report:
            written = export_sessions(
                sessions,
                to,
                output,
                image,
                labels,
                only == "accepted",
                overwrite,
                options,
                partial(report, output),
                show_warning,
            )
        for path in written:
            out.print(str(path), markup=False, highlight=False, soft_wrap=True)


@app.command(
    "import", epilog="Example: napari-sam import cells.geojson cells.tif -o cells.napari-sam"
)
def import_(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="COCO, GeoJSON, ImageJ regions, a label image, or a folder of the Cell Tracking "
            "Challenge.",
        ),
    ],
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="The image to which they belong.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="A .napari-sam file.")],
    axes: Axes = None,
    channel: ChannelNumber = None,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing session.")] = False,
) -> None:
    """Make a session from objects that another program wrote."""
    with clear_errors():
        from napari_sam.batch import import_session

        with bar("reading") as report:
            count = import_session(
                file,
                image,
                output,
                axes,
                channel,
                overwrite,
                partial(report, file),
                show_warning,
            )
        what = "1 object" if count == 1 else f"{count:,} objects"
        out.print(f"{what} in {output}", highlight=False, soft_wrap=True)
