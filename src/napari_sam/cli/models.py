"""Commands about models: list, download, verify."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table

from napari_sam.cli.application import app
from napari_sam.cli.console import bar, clear_errors, out

models = typer.Typer(help="List, download and verify models.", invoke_without_command=True)
app.add_typer(models, name="models")


@models.callback()
def list_by_default(context: typer.Context) -> None:
    """List, download and verify models."""
    if context.invoked_subcommand is None:
        list_models()


@models.command("list")
def list_models() -> None:
    """List models, their size and licence, and whether they are here."""
    from napari_sam.model.weights import REGISTRY, is_downloaded, megabytes, size_of

    table = Table(Column("name", no_wrap=True), "size", "here", "licence", "description")
    for entry in REGISTRY.values():
        size = megabytes(size_of(entry.name))
        here = "yes" if is_downloaded(entry.name) else "no"
        table.add_row(entry.name, size, here, entry.licence, entry.description)
    out.print(table)


@models.command(epilog="Example: napari-sam models download vit_b")
def download(
    names: Annotated[list[str], typer.Argument(metavar="MODEL...")],
    force: Annotated[bool, typer.Option(help="Fetch even what is here.")] = False,
) -> None:
    """Download models; an interrupted download is continued."""
    with clear_errors():
        from napari_sam.model import weights

        for name in names:
            with bar("downloading") as report:
                path = weights.download(name, partial(report, Path(name)), force)
            out.print(f"{name}: {path}", soft_wrap=True)


@models.command(epilog="Example: napari-sam models verify vit_b my_model.pt")
def verify(names: Annotated[list[str], typer.Argument(metavar="MODEL...")]) -> None:
    """Check that models or checkpoint files are what they should be."""
    with clear_errors():
        from napari_sam.model import weights

        for name in names:
            out.print(f"{name}: {weights.verify(name)}", soft_wrap=True)
