"""The command line's program, to which its commands are added."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

app = typer.Typer(
    name="napari-sam",
    help="Segment microscopy with Segment Anything, without a viewer.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


@app.callback()
def main(
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose", "-v", help="Report more: what is done, and where an error came from."
        ),
    ] = False,
) -> None:
    """Segment microscopy with Segment Anything, without a viewer."""
    logging.basicConfig(level=logging.INFO if verbose else logging.ERROR, format="%(message)s")
    if not verbose:  # our own messages report what matters of a file
        logging.getLogger("tifffile").setLevel(logging.CRITICAL)
