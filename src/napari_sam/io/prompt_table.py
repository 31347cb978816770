"""Tables of text as spreadsheets and napari write them: a heading and numbered lines."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from napari_sam.special_files import refuse_special

_SEPARATORS = ",;\t"
_MOST_NAMES = 12  # names of a heading that a message repeats


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a table, with its cells as text or numbers.

    Parameters
    ----------
    place
        File and line, for messages.
    cells
        Text by column.
    decimal_comma
        Whether a comma may stand for a decimal point.
    """

    place: str
    cells: dict[str, str]
    decimal_comma: bool = False

    def text(self, name: str) -> str:
        """Return a cell; empty where there is no such column."""
        return self.cells.get(name, "").strip()

    def number(self, name: str) -> float:
        """Return a cell as a finite number.

        Raises
        ------
        ValueError
            If it isn't one.
        """
        text = self.text(name)
        pointed = text.replace(",", ".") if self.decimal_comma else text
        try:
            value = float(pointed)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise ValueError(f"{self.place}: expected a finite number as {name}, got {text!r}")
        return value


def read_table(path: Path) -> tuple[list[str], Iterator[Line]]:
    """Read a table whose columns are separated by commas, semicolons or tabs.

    With semicolons or tabs, a comma in a number is a decimal point. Empty lines are left out.

    Returns
    -------
    heading, lines
        The names of the columns, and an iterator over the lines.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file isn't text, or has a column twice, or (from `lines`) if a line has another
        number of cells than the heading.
    """
    refuse_special(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            text = file.read()
        separator = _separator(text.split("\n", 1)[0])
        rows = list(csv.reader(StringIO(text, newline=""), strict=True, delimiter=separator))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"cannot read {path} as a table of prompts: {error}") from error
    heading = [name.strip() for name in rows[0]] if rows else []
    repeated = sorted(name for name, count in Counter(heading).items() if count > 1 and name)
    if repeated:
        raise ValueError(f"{path} has the columns {listed(repeated)} more than once")
    return heading, _lines(path, heading, rows, separator != ",")


def listed(names: list[str]) -> str:
    """Return names as text for a message; of many names, the first ones and how many more."""
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more


def axis_columns(heading: list[str]) -> list[str]:
    """Return the columns ``axis-0``, ``axis-1``, ... of a heading, in the axes' order."""
    numbers = [name.removeprefix("axis-") for name in heading if name.startswith("axis-")]
    return [f"axis-{n}" for n in sorted(int(n) for n in numbers if n.isdecimal())]


def _separator(heading: str) -> str:
    return max(_SEPARATORS, key=heading.count)


def _lines(
    path: Path, heading: list[str], rows: list[list[str]], decimal_comma: bool
) -> Iterator[Line]:
    for number, cells in enumerate(rows[1:], start=2):
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(heading):
            raise ValueError(
                f"{path}, line {number}: expected {len(heading)} values as in the heading, "
                f"got {len(cells)}; the file may be cut short"
            )
        cells_by_name = dict(zip(heading, cells, strict=True))
        yield Line(f"{path}, line {number}", cells_by_name, decimal_comma)
