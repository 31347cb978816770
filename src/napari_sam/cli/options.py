"""Arguments and options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Images = Annotated[
    list[str], typer.Argument(metavar="IMAGE...", help="Images, folders or patterns.")
]
Output = Annotated[
    Path, typer.Option("--output", "-o", help="A folder, or for one image a .tif or .zarr.")
]
Model = Annotated[
    str,
    typer.Option(
        "--model", "-m", help="Name of a model, also of one that you taught, or path of a file."
    ),
]
Device = Annotated[
    str,
    typer.Option(help="auto, cpu, cuda, cuda:1, mps, or another machine: ws://HOST:PORT."),
]
Precision = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")]
Contrast = Annotated[
    tuple[float, float] | None,
    typer.Option(metavar="LOW HIGH", help="Pixel values shown as black and white."),
]
Axes = Annotated[
    str | None,
    typer.Option(
        help="A letter for each dimension in the files' order, such as TZYX or YXC, instead of "
        "what they say: T, Z, C, rows Y, columns X, colours S."
    ),
]
ChannelNumber = Annotated[
    int | None, typer.Option("--channel", min=0, help="The only channel to read, from 0.")
]
Overlay = Annotated[bool, typer.Option(help="Draw the labels over the image, as PNG.")]
Measurements = Annotated[
    bool, typer.Option(help="Write a CSV with size, shape and intensity of each object.")
]
Cache = Annotated[
    bool, typer.Option("--cache/--no-cache", help="Keep embeddings on disk, and use those kept.")
]
Format = Annotated[str, typer.Option(help="Labels in a folder: .tif or .zarr.")]
MinScore = Annotated[float | None, typer.Option(help="Drop masks whose score is smaller.")]
Scheduler = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Compute on the workers of this dask scheduler, tcp://... or tls://..., or its file.",
    ),
]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Compute in so many processes that share the cores.")
]
