"""How Sphinx makes the site from these pages; ``make docs`` runs it."""

from __future__ import annotations

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.util.nodes import make_refnode

import napari_sam

project = "napari-sam-live"
author = "napari-sam-live developers"
project_copyright = author
release = version = napari_sam.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["**/*.py", "images"]
nitpicky = True

# Pages

myst_enable_extensions = ["attrs_block", "attrs_inline", "colon_fence", "deflist"]
myst_heading_anchors = 4
copybutton_exclude = ".linenos, .gp, .go"

# The reference

# `Prompts` becomes a link, and what isn't in the reference, such as `(H, W)`, code.
default_role = "py:obj"
nitpick_ignore_regex = [
    ("py:obj", ".*"),
    # Of other projects, whose contents lists aren't fetched.
    ("py:.*", r"(collections|concurrent|dask|numpy|pathlib|psygnal|torch)\..*"),
    ("py:class", r"ArrayLike|Client|NDArray|Path|Tensor|np\..*|tuple\[.*"),
]
autodoc_type_aliases = {"ArrayLike": "ArrayLike"}
autodoc_typehints_format = "short"
autodoc_member_order = "groupwise"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 80
python_display_short_literal_types = True
autosummary_generate = False
numpydoc_show_class_members = False

# Looks

html_theme = "furo"
html_title = "napari-sam-live"
html_favicon = "images/logo.svg"
html_show_sourcelink = False
html_copy_source = False


_DEFINED = re.compile(r"(?m)^ *(?:def |class |self\.)?(\w+)(?: *=|:|\(|\[)")
_ARRAY = re.compile(
    r"~?numpy\.ndarray\[tuple\[~?typing\.Any, \.\.\.\], ~?numpy\.dtype\[([^\[\]]*)\]\]"
)


def shorten_arrays(
    _app: Any, _what: str, _name: str, _object: Any, _options: Any, signature: Any, returns: Any
) -> tuple[str | None, str | None]:
    """Say ``NDArray[float32]``, as the source does, instead of what that stands for."""
    shorten = lambda text: text and _ARRAY.sub(r"~numpy.typing.NDArray[\1]", text)  # noqa: E731
    return shorten(signature), shorten(returns)


def find_in_code(
    app: Any, environment: Any, node: nodes.Element, shown: nodes.Element
) -> nodes.Node | None:
    """Find a name that is documented elsewhere than where it is said to be.

    Docstrings name things as their own module does; the reference has them where callers import
    them. A name that is on no page is shown without a link if the code has it; otherwise it is
    an error.
    """
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"]
    if node["reftype"] == "obj" and not target.split(".")[-1][:1].isupper():
        return None  # a parameter, as a rule
    tail = ".".join(target.split(".")[-2 if node["reftype"] in {"attr", "meth"} else -1 :])
    python = environment.get_domain("py")
    context = (node.get("py:class") or "").split(".")[-1]
    for wanted in (tail, f"{context}.{tail}"):
        found = [
            name
            for name, entry in python.objects.items()
            if f".{name}".endswith(f".{wanted}") and not entry.aliased
        ]
        if len(found) == 1:
            entry = python.objects[found[0]]
            builder, page = app.builder, node["refdoc"]
            return make_refnode(builder, page, entry.docname, entry.node_id, [shown], found[0])
    names = target.removeprefix("napari_sam.").split(".")
    return shown if set(names) <= names_in_code() else None


@cache
def names_in_code() -> frozenset[str]:
    """Return every name that the package's modules define, and theirs."""
    every: set[str] = set()
    for path in Path(find_spec("napari_sam").origin).parent.rglob("*.py"):
        every.update(path.with_suffix("").parts)
        every.update(_DEFINED.findall(path.read_text(encoding="utf-8")))
    return frozenset(every)


def setup(app: Any) -> None:
    """Have signatures shortened and names found."""
    app.connect("missing-reference", find_in_code)
    app.connect("autodoc-process-signature", shorten_arrays)
