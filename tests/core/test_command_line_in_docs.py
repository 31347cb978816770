"""Commands that the docs show, and their options, are those of the program."""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command

from napari_sam import cli

DOCS = Path(__file__).parents[2] / "docs"
SHELL = re.compile(r"^ *```(?:sh|text)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)


def shown_lines() -> Iterator[tuple[str, list[str]]]:
    """Yield the page and the words of each line that begins with ``napari-sam``."""
    for page in (*sorted(DOCS.glob("*.md")), DOCS / "api" / "command-line.md"):
        for block in SHELL.findall(page.read_text(encoding="utf-8")):
            for line in block.splitlines():
                if line.strip().startswith("napari-sam "):
                    yield page.name, shlex.split(line, comments=True)[1:]


def options_of(command) -> set[str]:
    """The options of a command and of its own commands."""
    own = {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
    return own.union(*map(options_of, getattr(command, "commands", {}).values()))


def test_page_names_every_command():
    page = (DOCS / "command-line.md").read_text(encoding="utf-8")
    missing = [name for name in get_command(cli.app).commands if f"`{name}`" not in page]
    assert not missing


def test_reference_is_the_one_that_the_script_makes():
    path = DOCS.parent / "tools" / "command_line_page.py"
    spec = importlib.util.spec_from_file_location("command_line_page", path)
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    page = (DOCS / "api" / "command-line.md").read_text(encoding="utf-8")
    assert maker.page() == page, "run tools/command_line_page.py"


def test_every_argument_and_option_has_a_help_text():
    def lacking(name, command):
        for one in command.params:
            if not one.help:
                yield f"{name} {one.name}"
        for subname, subcommand in getattr(command, "commands", {}).items():
            yield from lacking(f"{name} {subname}", subcommand)

    assert not list(lacking("napari-sam", get_command(cli.app)))


def test_options_of_the_page_are_options_of_a_command():
    pages = (DOCS / "command-line.md", DOCS / "api" / "command-line.md")
    page = "".join(one.read_text(encoding="utf-8") for one in pages)
    known = options_of(get_command(cli.app))
    assert set(re.findall(r"--[a-z][a-z-]+", page)) - {"--help"} <= known


@pytest.mark.parametrize(("page", "words"), list(shown_lines()))
def test_line_in_the_docs_is_a_command(page, words):
    command = get_command(cli.app)
    assert words[0] in command.commands, page
    while words and hasattr(command, "commands") and words[0] in command.commands:
        command, words = command.commands[words[0]], words[1:]
    used = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
    assert used <= options_of(command) | {"--help"}, page
