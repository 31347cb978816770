"""Arguments and options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Images = Annotated[
    list[str],
    typer.Argument(metavar="IMAGE...", help="Image files, folders, or patterns in quotes."),
]
Output = Annotated[
    Path,
    typer.Option("--output", "-o", help="A folder; for a single image also a .tif or .zarr file."),
]
Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="Name of a model, including those you taught, or path of a checkpoint.",
    ),
]
Device = Annotated[
    str,
    typer.Option(
        help="Where the model runs: auto, cpu, cuda, cuda:1 or mps; or the address of another "
        "machine, ws://HOST:PORT."
    ),
]
Precision = Annotated[
    str,
    typer.Option(help="Number format of the image encoder: auto, float32, bfloat16 or float16."),
]
Contrast = Annotated[
    tuple[float, float] | None,
    typer.Option(
        metavar="LOW HIGH",
        help="Pixel values that the model sees as black and white; by default those of the prompts "
        "file, or else robust limits.",
    ),
]
Axes = Annotated[
    str | None,
    typer.Option(
        help="A letter for each dimension in the files' order, such as TZYX or YXC: T, Z, C, rows "
        "Y, columns X, colours S. Overrides what the files state."
    ),
]
ChannelNumber = Annotated[
    int | None, typer.Option("--channel", min=0, help="Read only this channel, counted from 0.")
]
Overlay = Annotated[
    bool, typer.Option(help="Write a PNG that shows the labels over the image, too.")
]
Measurements = Annotated[
    bool, typer.Option(help="Write a CSV table with size, shape and intensity of each object.")
]
Cache = Annotated[
    bool, typer.Option("--cache/--no-cache", help="Keep embeddings on disk and use them again.")
]
Format = Annotated[
    str, typer.Option(help="Format of labels that are written to a folder: .tif or .zarr.")
]
MinScore = Annotated[float | None, typer.Option(help="Drop masks with a lower score.")]
Scheduler = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Compute on the workers of this dask scheduler: tcp://..., tls://... or its file.",
    ),
]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Compute in this many processes, which share the cores.")
]
