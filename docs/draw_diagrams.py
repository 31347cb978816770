"""Draw the diagrams of the docs as SVG that reads on light and on dark pages.

python docs/draw_diagrams.py [--check]

The layers are those that the import contract in ``pyproject.toml`` names, each with the first
sentence of its docstring. ``make docs`` checks that the files are current.
"""

from __future__ import annotations

import argparse
import ast
import re
import textwrap
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from html import escape
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
WIDTH, LINE, PAD, GAP = 660, 19, 9, 8  # pixels
BESIDE = 26  # pixels that the arrow beside the layers takes
LETTERS = 68  # of a sentence in one line
# Boxes bring their own ground; what lies on the page's is of a grey that both schemes show.
GROUND, BORDER, INK, ARROW = "#e9edf7", "#7a8bb5", "#1c2333", "#7d879c"

ENCODER = (
    ("image", "(1, 3, 1024, 1024)"),
    ("PatchEmbed", "16 × 16 pixels each"),
    ("+ pos_embed", "(1, 64, 64, 768)"),
    ("4 times", "2 × Block with windows, then 1 × Block over all (Blocks 2, 5, 8, 11)"),
    ("neck", "1 × 1, 3 × 3"),
    ("embedding", "(1, 256, 64, 64)"),
)
CLUSTER = (
    ("your terminal", "napari-sam auto /shared/day1/ -o /shared/labels/ --scheduler …"),
    ("scheduler", "gives each free worker an image; with embed, eight planes"),
    ("workers", "load the model once; read an image, segment it, write its labels"),
    ("shared folder", "images and labels, at the same path for all"),
)


@dataclass(frozen=True, slots=True)
class Part:
    """A name and what is said of it, in lines.

    Parameters
    ----------
    name
        Shown in bold.
    lines
        Beside it.
    """

    name: str
    lines: tuple[str, ...]


def layers() -> list[list[Part]]:
    """Return the layers of the package from the top, each the parts that lie side by side."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    rows = next(one["layers"] for one in contracts if one["id"] == "layers")
    return [[part_of(name) for name in re.findall(r"\((\w+)\)", row)] for row in rows]


def part_of(package: str) -> Part:
    """Return a package with the first sentence of its docstring."""
    path = ROOT / "src" / "napari_sam" / package
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    told = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    first = " ".join(told.split("\n\n")[0].split()).rstrip(".")
    first = re.sub(r":\w+:(?=`)|`", "", first)
    return Part(package, tuple(textwrap.wrap(first, LETTERS)))


def draw_layers() -> str:
    """Draw the layers one below another, and an arrow that says which way imports point."""
    shapes: list[str] = []
    y = 2
    for row in layers():
        box, height = draw_box(row, y, WIDTH - BESIDE, 134)
        shapes.append(box)
        y += height + GAP
    x = WIDTH - BESIDE // 2
    shapes.append(draw_arrow(x, 6, y - GAP - 4))
    words = f'<text class="side" transform="translate({x + 10} {y // 2}) rotate(90)">'
    return figure("The package's layers", [*shapes, f"{words}imports point downward</text>"], y - 4)


def draw_steps(title: str, steps: Iterable[tuple[str, str]]) -> str:
    """Draw steps one below another, each with a line of text, and arrows between them."""
    shapes: list[str] = []
    y = 2
    for i, (name, line) in enumerate(steps):
        if i:
            shapes.append(draw_arrow(WIDTH // 2, y - 18, y - 2))
        box, height = draw_box([Part(name, (line,))], y, WIDTH, 140)
        shapes.append(box)
        y += height + 20
    return figure(title, shapes, y - 16)


def draw_box(parts: list[Part], top: int, width: int, indent: int) -> tuple[str, int]:
    """Draw a box with a line for each part; return it and its height."""
    shapes: list[str] = []
    y = top + PAD
    for part in parts:
        shapes.append(f'<text class="name" x="14" y="{y + 14}">{escape(part.name)}</text>')
        for line in part.lines:
            y += LINE
            shapes.append(f'<text x="{indent}" y="{y - 5}">{escape(line)}</text>')
    height = y + PAD - top
    box = f'<rect x="1" y="{top}" width="{width - 2}" height="{height}" rx="6"/>'
    return "\n".join([box, *shapes]), height


def draw_arrow(x: int, top: int, bottom: int) -> str:
    """Draw an arrow downward."""
    return (
        f'<path class="arrow" d="M{x} {top}V{bottom - 6}M{x - 5} {bottom - 7}L{x} {bottom}'
        f'L{x + 5} {bottom - 7}"/>'
    )


def figure(title: str, shapes: list[str], height: int) -> str:
    """Return a whole SVG."""
    style = (
        "text{font:13px system-ui,sans-serif;fill:" + INK + "}.name{font-weight:bold}"
        ".side{fill:" + ARROW + ";text-anchor:middle;dominant-baseline:middle}"
        "rect{fill:" + GROUND + ";stroke:" + BORDER + "}"
        ".arrow{fill:none;stroke:" + ARROW + ";stroke-width:2}"
    )
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}">'
    return "\n".join([head, f"<title>{title}</title><style>{style}</style>", *shapes, "</svg>\n"])


DIAGRAMS = {
    "layers.svg": draw_layers,
    "encoder.svg": partial(draw_steps, "An image becomes an embedding", ENCODER),
    "cluster.svg": partial(draw_steps, "A batch on a cluster", CLUSTER),
}


def main() -> None:
    """Write the diagrams, or with ``--check`` fail if one isn't what would be written."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail if one differs")
    check = parser.parse_args().check
    for name, draw in DIAGRAMS.items():
        path = HERE / "images" / name
        if not check:
            path.write_text(draw(), encoding="utf-8", newline="\n")
        elif path.read_text(encoding="utf-8") != draw():
            raise SystemExit(f"docs/images/{name} is out of date: run docs/draw_diagrams.py")


if __name__ == "__main__":
    main()
