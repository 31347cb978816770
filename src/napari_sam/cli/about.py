"""The commands demo, train and info: an example, training, versions and files' properties."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from napari_sam.cli.application import app
from napari_sam.cli.console import clear_errors, err, load_model, out
from napari_sam.cli.options import Device, Model, Precision

if TYPE_CHECKING:
    from napari_sam.model.taught_library import TaughtFile


@app.command(epilog="Example: napari-sam demo --output demo-output")
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")] = Path(
        "demo-output"
    ),
    model: Model = "nano",
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:
    """Segment the sample images of the package from clicks, and show how long it takes."""
    with clear_errors():
        start = time.perf_counter()
        from napari_sam.batch.demo import run_demo
        from napari_sam.samples import NAMES

        segmenter = load_model(model, device, precision, cache=False)
        loaded = time.perf_counter() - start
        table = Table("sample", "shape", "objects", "embed", "click")
        steps = track(run_demo(segmenter, output), "segmenting", len(NAMES), console=err)
        for result in steps:
            table.add_row(
                result.name,
                " × ".join(map(str, result.shape)),
                str(result.objects),
                f"{result.embed_seconds * 1e3:.0f} ms",
                f"{result.click_seconds * 1e3:.0f} ms",
            )
        out.print(table)
        out.print(
            f"model {model} on {segmenter.device} in {segmenter.precision}, "
            f"ready after {loaded:.1f} s; labels and overlay pictures in {output}",
            soft_wrap=True,
        )


@app.command(epilog="Example: napari-sam train configs/nano.toml")
def train(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="A TOML file, such as those in configs/.")
    ],
) -> None:
    """Train a model from a configuration file, or resume its training."""
    logging.getLogger("napari_sam").setLevel(logging.INFO)
    with clear_errors():
        from napari_sam.training.config import read_config
        from napari_sam.training.loop import train as run

        out.print(f"weights in {run(read_config(config))}", soft_wrap=True)


@app.command(epilog="Example: napari-sam info cells.napari-sam --methods")
def info(
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE", help="A session file, or a taught model by its file or name."
        ),
    ] = None,
    methods: Annotated[
        bool,
        typer.Option("--methods", help="Write a methods paragraph about the session, for a paper."),
    ] = False,
) -> None:
    """Show versions, devices and folders; with a file, what it holds."""
    with clear_errors():
        from napari_sam.model import taught_library

        if file is not None and (taught := taught_library.find(file)) is not None:
            _print_taught(taught, methods)
        elif file is not None:
            _refuse_other(Path(file), taught_library.SUFFIX)
            _print_session(Path(file), methods)
        elif methods:
            raise ValueError("expected a session to write about, got none; name its file")
        else:
            _print_installation()


def _refuse_other(path: Path, suffix: str) -> None:
    """Raise an error for a path that can't be a session or a taught model, by its name."""
    if not path.exists():
        raise FileNotFoundError(
            f"expected a session, or a taught model's file or name, got {path}: nothing there, and "
            "no taught model of that name"
        )
    if path.suffix == suffix:
        raise ValueError(
            f"{path}: expected a taught model, got another checkpoint, or a damaged file"
        )


def _print_session(path: Path, methods: bool) -> None:
    from napari_sam.session.methods import methods_text
    from napari_sam.session.saved import read_without_image
    from napari_sam.session.summary import facts_of

    saved = read_without_image(path)
    if methods:
        text = methods_text(saved.about, saved.entries)
        out.print(text, markup=False, highlight=False, soft_wrap=True)
        return
    _print_facts(facts_of(saved))


def _print_taught(file: TaughtFile, methods: bool) -> None:
    from napari_sam.model.lesson_facts import facts_of

    if methods:
        raise ValueError(
            f"expected a session to write about, got the taught model {file.path}; name a session "
            "that used it"
        )
    file.read()  # raises for a damaged file
    _print_facts(facts_of(file))


def _print_facts(facts: Mapping[str, str]) -> None:
    table = Table(show_header=False, box=None)
    for name, value in facts.items():
        table.add_row(name, escape(value))
    out.print(table, highlight=False)


def _print_installation() -> None:
    import platform

    import torch

    import napari_sam
    from napari_sam.model import taught_library
    from napari_sam.model.registry import models_folder, taught_folder
    from napari_sam.model.weights import megabytes
    from napari_sam.segmentation.cached import embeddings_home

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    mps = torch.backends.mps.is_available()
    cache = embeddings_home()
    used = sum(p.stat().st_size for p in cache.glob("??/*.safetensors"))
    table = Table(show_header=False, box=None)
    for row in (
        ("napari-sam-live", napari_sam.__version__),
        ("Python", f"{platform.python_version()} on {platform.platform()}"),
        ("torch", f"{torch.__version__}, {torch.get_num_threads()} threads"),
        ("GPU", ", ".join(gpus) or ("Apple MPS" if mps else "none")),
        ("models", str(models_folder())),
        ("taught models", f"{taught_folder()} ({len(taught_library.names())})"),
        ("embeddings", f"{cache} ({megabytes(used)})"),
    ):
        table.add_row(*row)
    out.print(table)
