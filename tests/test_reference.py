"""The reference of the documentation has what is public, and docstrings fit what they describe."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from numpydoc.validate import validate
from psygnal import Signal

import napari_sam
import napari_sam.gui
from napari_sam.session import Session
from napari_sam.session.signals import Signals

PAGES = Path(__file__).parents[1] / "docs" / "api"
LINE = re.compile(
    r"\.\. currentmodule:: (?P<module>[\w.]+)"
    r"|\.\. auto(?:function|class|exception|data):: (?P<name>\w+)"
    r"|   :(?P<option>members|inherited-members):"
)

REFERENCE = re.compile(r"\b(?:see|as|of) :(?:meth|func|class):", re.IGNORECASE)

CHECKED = {
    "GL01": "text starts in the line of the quotes",
    "GL03": "no two blank lines",
    "GL05": "no tabs",
    "GL06": "no unknown sections",
    "GL07": "sections in numpydoc's order",
    "GL08": "there is a docstring",
    "PR01": "every parameter is described",
    "PR02": "every described parameter exists",
    "PR03": "parameters have the signature's order",
    "PR07": "every parameter has a text",
    "RT01": "what is returned is described",
    "RT03": "with a text",
    "SS01": "there is a summary",
    "SS03": "which ends with a period",
    "SS04": "and has no leading spaces",
    "SS05": "and is an imperative",
    "SS06": "in one line",
    "YD01": "what is yielded is described",
}
"""Checks of ``numpydoc.validate``. Types are left to the signature."""


@dataclass(slots=True)
class Entry:
    """What a page describes: its name in a module, and the page's options."""

    module: str
    name: str
    options: set[str]


def entries() -> Iterator[Entry]:
    """Yield what the reference's pages describe, in their order."""
    for page in sorted(PAGES.glob("*.md")):
        module, found = "", []
        for line in page.read_text(encoding="utf-8").splitlines():
            if match := re.match(LINE, line):
                module = match["module"] or module
                if match["name"]:
                    found.append(Entry(module, match["name"], set()))
                elif match["option"]:
                    found[-1].options.add(match["option"])
        yield from found


def functions_and_classes() -> dict[str, Any]:
    """Return what the reference shows a docstring of, by the name where it is defined."""
    found: dict[str, Any] = {}

    def add(one: Any) -> None:
        is_ours = getattr(one, "__module__", "").startswith("napari_sam")
        if is_ours and (inspect.isclass(one) or inspect.isfunction(one)):
            found[f"{one.__module__}.{one.__qualname__}"] = one

    for entry in entries():
        one = getattr(importlib.import_module(entry.module), entry.name)
        add(one)
        if not inspect.isclass(one) or "members" not in entry.options:
            continue
        for name in dir(one) if "inherited-members" in entry.options else vars(one):
            if not name.startswith("_"):
                member = inspect.getattr_static(one, name)
                add(getattr(member, "__func__", getattr(member, "fget", member)))
    return found


def is_exempt(code: str, one: Any, text: str) -> bool:
    """Whether a docstring may lack what a check asks for.

    A method of one parameter may say in its summary what that is; any method may refer to where
    its parameters are described. A summary that begins with "Return" or "Yield" says what comes.
    Protocols aren't called.
    """
    if code == "PR01" and inspect.isclass(one):
        return getattr(one, "_is_protocol", False)
    if code == "PR01":
        names = set(inspect.signature(one).parameters) - {"self", "cls"}
        is_plain = "Parameters\n---" not in text and "." in one.__qualname__
        return is_plain and (len(names) == 1 or REFERENCE.search(text) is not None)
    if code in ("RT01", "YD01"):
        return "\n---" not in text or text.startswith(("Return ", "Yield "))
    return False


def test_all_that_the_package_offers_is_described():
    described = {f"{entry.module}.{entry.name}" for entry in entries()}
    offered = {f"napari_sam.{name}" for name in napari_sam.__all__ if name != "__version__"}
    offered |= {f"napari_sam.gui.{name}" for name in napari_sam.gui.__all__}
    assert offered <= described


def test_docstrings_fit_what_they_describe():
    shown = functions_and_classes()
    assert len(shown) > 300
    problems = [
        f"{name}: {code}, {message}"
        for name, one in shown.items()
        for code, message in validate(name)["errors"]
        if code in CHECKED and not is_exempt(code, one, inspect.getdoc(one) or "")
    ]
    assert not problems, "\n".join(problems)


def test_every_signal_of_a_session_is_described():
    source = ast.parse(Path(inspect.getfile(Signals)).read_text(encoding="utf-8"))
    (body,) = (node.body for node in source.body if isinstance(node, ast.ClassDef))
    described = {
        before.targets[0].id
        for before, after in pairwise(body)
        if isinstance(before, ast.Assign)
        and isinstance(after, ast.Expr)
        and isinstance(after.value, ast.Constant)
    }
    signals = {
        name for name in dir(Session) if isinstance(inspect.getattr_static(Session, name), Signal)
    }
    assert len(signals) > 20
    assert signals == described
