"""The program's messages as its source has them: what it raises, warns of and notes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "napari_sam"
ANYTHING = "…"
# Calls that show a text: in the dock, as napari's notification, or in the console.
TELLING = {
    "_notice",
    "emit",
    "warn",
    "warning",
    "error",
    "tell",
    "show_warning",
    "notify",
    "Status",
}


@dataclass(frozen=True)
class Message:
    """A text with ``…`` in place of what is filled in, and where it stands."""

    text: str
    module: str
    line: int

    def __str__(self) -> str:
        return f"{self.module}:{self.line}: {self.text}"


@cache
def messages() -> tuple[Message, ...]:
    """Return every message of the source."""
    return tuple(found())


def found() -> Iterator[Message]:
    for path in sorted(SOURCE.rglob("*.py")):
        module = path.relative_to(SOURCE).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for text, line in told(node):
                if any(letter.isalpha() for letter in text):
                    yield Message(text, module, line)


def told(node: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield the texts that an expression or statement shows."""
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
        call = node.exc
    elif isinstance(node, ast.Call) and name_of(node.func) in TELLING:
        call = node
    else:
        return
    for argument in call.args:
        for text in texts_of(argument):
            if " " in text:
                yield text, call.lineno


def name_of(function: ast.expr) -> str:
    """Return the last name of what is called."""
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def texts_of(node: ast.expr) -> list[str]:
    """Return the texts that an expression may be, with ``…`` for what only a run knows."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value.replace("%s", ANYTHING)]
    if isinstance(node, ast.JoinedStr):
        text = "".join(v.value if isinstance(v, ast.Constant) else ANYTHING for v in node.values)
        return [re.sub(f"{ANYTHING}+", ANYTHING, text)]
    if isinstance(node, ast.IfExp):
        return texts_of(node.body) + texts_of(node.orelse)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = texts_of(node.left) or [ANYTHING], texts_of(node.right) or [ANYTHING]
        return [one + other for one in left for other in right]
    return []
