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
    session: Annotated[Path, typer.Argument(metavar="FILE", help="A session.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="A .tif or .zarr, or a folder for it.")
    ],
    image: Annotated[
        str | None, typer.Argument(metavar="IMAGE", help="By default the one beside FILE.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--with", "-m", help="Answer by this model instead of the session's own."),
    ] = None,
    device: Device = "auto",
    precision: Annotated[
        str | None, typer.Option(help="As of other commands; by default the session's.")
    ] = None,
    axes: Axes = None,
    channel: ChannelNumber = None,
    cache: Cache = True,
) -> None:
    """Run a session again: its prompts are answered anew; says what differs from its labels."""
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
        told = session_models.describe_difference(saved, result, models)
        out.print(f"{told}; labels in {task.labels}", highlight=False, soft_wrap=True)


def _load(
    device: str, wanted: str | None, cache: bool, model: str | TaughtModel, *, precision: str
) -> Segmenter:
    """Load a model of a session, in its own precision unless another one is wanted."""
    return load_model(model, device, wanted or precision, on_disk=cache)


@app.command(epilog="Example: napari-sam export cells.napari-sam --to geojson -o cells.geojson")
def export(
    sessions: Annotated[list[Path], typer.Argument(metavar="SESSION...", help="Sessions.")],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            help="labels, coco, geojson (QuPath), ome-zarr, imagej, csv, crops, classes or ctc "
            "(Cell Tracking Challenge).",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="A file of the format, or a folder.")
    ],
    image: Annotated[
        Path | None, typer.Option("--image", help="By default the one beside SESSION.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", help="Labels that the session wrote on disk.")
    ] = None,
    only: Annotated[
        str | None, typer.Option("--only", help="accepted: leave proposed objects out.")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace files that are there.")] = False,
    masks: Annotated[str, typer.Option("--masks", help="Of COCO: rle or polygons.")] = "rle",
    ome_version: Annotated[
        str | None, typer.Option("--ome-version", help="Of OME-Zarr: 0.4 or 0.5.")
    ] = None,
    margin: Annotated[
        int, typer.Option("--margin", min=0, help="Pixels around an object that is cut out.")
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
            help="COCO, GeoJSON, ImageJ regions, a label image, or a folder of tracks.",
        ),
    ],
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="The image that they are of.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="A .napari-sam.")],
    axes: Axes = None,
    channel: ChannelNumber = None,
    overwrite: Annotated[bool, typer.Option(help="Replace a session that is there.")] = False,
) -> None:
    """Make a session of the objects that another program has written."""
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
