"""Write docs/api/command-line.md: every command with its arguments and options.

Usage: ``command_line_page.py``. It all comes from what ``napari-sam COMMAND --help`` shows.
``page`` is what a test compares.
"""

from __future__ import annotations

from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_type_hints

from typer.main import get_command

from napari_sam import cli

PAGE = Path(__file__).parents[1] / "docs" / "api" / "command-line.md"
LEAD = """\
# Command-line reference

All commands of `napari-sam`, as `--help` shows them. What they are for, file types and exit \
codes: [Command line](../command-line.md).

An option with two names, such as `--overlay` and `--no-overlay`, is switched on by the first and \
off by the second. Where no default is given, the option isn't used unless you give it."""
PROGRAM = "napari-sam"
HEADING = ("argument or option", "default", "meaning")
NOT_OURS = {"install_completion", "show_completion", "help"}
VALUES = {int: "NUMBER", float: "NUMBER", Path: "PATH", str: "TEXT"}


def page() -> str:
    """Return the page as Markdown: a section for each command."""
    program = get_command(cli.app)
    sections = [LEAD, section(PROGRAM, program)]
    for name, command in program.commands.items():
        sections.append(section(f"{PROGRAM} {name}", command))
        for subname, subcommand in getattr(command, "commands", {}).items():
            sections.append(section(f"{PROGRAM} {name} {subname}", subcommand))
    return "\n\n".join(sections) + "\n"


def section(name: str, command: Any) -> str:
    """Return a command's heading, usage, what it does, an example, and what it takes."""
    taken = [one for one in command.params if one.name not in NOT_OURS]
    arguments = [one for one in taken if one.param_type_name == "argument"]
    words = [one.metavar if one.required else f"[{one.metavar}]" for one in arguments]
    options = [] if len(arguments) == len(taken) else ["[OPTIONS]"]
    parts = [f"## {name}", command.help]
    if not hasattr(command, "commands"):
        parts.append(f"```text\n{' '.join([name, *options, *words])}\n```")
    if command.epilog:
        label, _, example = command.epilog.partition(": ")
        parts.append(f"{label}: `{example}`")
    if taken:
        types = get_type_hints(command.callback)
        rows = [HEADING, ("---",) * len(HEADING), *(row(one, types[one.name]) for one in taken)]
        parts.append("\n".join(f"| {' | '.join(cells)} |" for cells in rows))
    return "\n\n".join(parts)


def row(taken: Any, hint: Any) -> tuple[str, ...]:
    """Return what is shown of an argument or option, cell by cell."""
    about = (taken.help or "").replace("|", "\\|")
    if taken.param_type_name == "argument":
        return f"`{taken.metavar}`", "required" if taken.required else "", about
    names = [*taken.opts, *taken.secondary_opts]
    takes = "" if taken.is_flag else f" {taken.metavar or value_of(hint)}"
    shown = ", ".join([f"`{names[0]}{takes}`", *(f"`{name}`" for name in names[1:])])
    return shown, default_of(taken), about


def value_of(hint: Any) -> str:
    """Return the placeholder of an option's value by its type."""
    kinds = get_args(hint) if isinstance(hint, UnionType) or get_args(hint) else (hint,)
    for kind in kinds:
        if kind in VALUES:
            return VALUES[kind]
        if get_args(kind):
            return value_of(kind)
    raise ValueError(f"expected a type with a placeholder, one of {list(VALUES)}, got {hint}")


def default_of(option: Any) -> str:
    """Return the default of an option; empty if it has none, or its help states it."""
    if option.required:
        return "required"
    if option.is_flag:
        return "on" if option.default else "off"
    return "" if option.default in (None, "") else f"`{option.default}`"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8", newline="\n")
