"""Commands about models: list, download, verify, remove."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Column, Table

from napari_sam.cli.application import app
from napari_sam.cli.console import bar, clear_errors, out, show_warning

if TYPE_CHECKING:
    from napari_sam.model.taught_library import TaughtFile

models = typer.Typer(invoke_without_command=True)
app.add_typer(models, name="models")


@models.callback()
def list_by_default(context: typer.Context) -> None:
    """List, download, verify and remove models; without a command, list them."""
    if context.invoked_subcommand is None:
        list_models()


@models.command("list")
def list_models() -> None:
    """List models with size and licence, whether they are on this disk, and those you taught."""
    from napari_sam.model.registry import models_folder
    from napari_sam.model.taught_library import listed
    from napari_sam.model.weights import REGISTRY, is_downloaded, megabytes, path_of, size_of

    table = Table(Column("name", no_wrap=True), "size", "here", "licence", "description")
    for entry in REGISTRY.values():
        size = megabytes(size_of(entry.name))
        here = "yes" if is_downloaded(entry.name) else "no"
        if here == "yes" and entry.repository is not None:
            here += f", commit {path_of(entry.name).name[:7]}"
        table.add_row(entry.name, size, here, entry.licence, entry.description)
    out.print(table)
    out.print(f"folder of downloads: {escape(str(models_folder()))}", soft_wrap=True)
    if taught := listed():
        _print_taught(taught)


def _print_taught(taught: list[TaughtFile]) -> None:
    from napari_sam.model.lesson_facts import day_of, taught_on

    table = Table(Column("taught", no_wrap=True), "size", "parent", "taught on", "day")
    for one in taught:
        size = f"{one.size / 1e6:.1f} MB"
        if one.card is None:
            table.add_row(one.name, size, "", "can't be read", day_of(one))
        else:
            lesson = one.card.lesson
            table.add_row(one.name, size, escape(lesson.parent), taught_on(lesson), day_of(one))
    out.print(table)
    for one in taught:
        if one.error:
            show_warning(one.error)


@models.command(epilog="Example: napari-sam models download vit_b")
def download(
    names: Annotated[list[str], typer.Argument(metavar="MODEL...", help="Names of models.")],
    force: Annotated[bool, typer.Option(help="Download again what is on this disk.")] = False,
) -> None:
    """Download models, or continue an interrupted download."""
    with clear_errors():
        from napari_sam.model import weights

        for name in names:
            with bar("downloading") as report:
                path = weights.download(name, partial(report, Path(name)), force)
            out.print(f"{name}: {path}", soft_wrap=True)


@models.command(epilog="Example: napari-sam models verify vit_b my_model.pt")
def verify(
    names: Annotated[
        list[str], typer.Argument(metavar="MODEL...", help="Names, or paths of checkpoints.")
    ],
) -> None:
    """Check that models or checkpoint files are complete and undamaged."""
    with clear_errors():
        from napari_sam.model import weights

        for name in names:
            out.print(f"{name}: {weights.verify(name)}", soft_wrap=True)


@models.command(epilog="Example: napari-sam models remove coli")
def remove(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME...", help="Names of models that you taught.")
    ],
) -> None:
    """Delete models that you taught; sessions that used them hold their own copy."""
    with clear_errors():
        from napari_sam.model import taught_library

        found = [taught_library.existing(name) for name in names]
        for one in found:
            taught_library.remove(one.name)
            out.print(f"{one.name} removed", markup=False, highlight=False, soft_wrap=True)
