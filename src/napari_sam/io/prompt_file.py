"""Prompts as the table that napari saves for a Points layer."""

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from napari_sam.io.atomic import replaced
from napari_sam.prompts import Prompts
from napari_sam.special_files import refuse_special

PlaneObject: TypeAlias = tuple[tuple[int, ...], int]
"""A plane's index along the leading axes, and an object's number."""

_LABELS = {"positive": 1, "negative": 0}
_WORDS = {number: word for word, number in _LABELS.items()}


def read_prompts(path: str | Path) -> dict[PlaneObject, Prompts]:
    """Read a prompts file.

    The file is what napari saves for a Points layer, with the layer's features ``label`` and
    ``object``: a heading ``index,axis-0,axis-1,...,label,object`` and a row for each point.
    The last two axes are row and column, in pixels; the others say which plane. Points are
    ordered by ``index`` where that column exists, else by row. Other columns are ignored.

    Returns
    -------
    dict of (plane index, object) to Prompts
        Each with the object's points on that plane in order; the planes and objects in the
        order in which they first appear. Empty for a table without rows.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a column is missing, a number is not finite, an object is not 1 or more, or a label
        is neither ``positive`` nor ``negative``; the message names the line. Or if the name is
        that of a named pipe or a device.
    """
    path = Path(path)
    refuse_special(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.reader(file, strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"cannot read {path} as a table of prompts: {error}") from error
    heading = [name.strip() for name in rows[0]] if rows else []
    axes = _check_heading(path, heading)
    points = []
    for line, cells in enumerate(rows[1:], start=2):
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(heading):
            raise ValueError(
                f"{path}, line {line}: expected {len(heading)} values as in the heading, "
                f"got {len(cells)}; the file may be cut short"
            )
        row = _Row(f"{path}, line {line}", dict(zip(heading, cells, strict=True)))
        position = [row.number(name) for name in axes]
        plane = tuple(math.floor(at + 0.5) for at in position[:-2])
        order = row.number("index") if "index" in heading else 0.0
        points.append((order, (plane, row.object()), (position[-2], position[-1]), row.label()))
    points.sort(key=lambda point: point[0])
    gathered: dict[PlaneObject, list[tuple[tuple[float, float], int]]] = {}
    for _, key, at, label in points:
        gathered.setdefault(key, []).append((at, label))
    return {
        key: Prompts(
            points=tuple(at for at, _ in given), point_labels=tuple(label for _, label in given)
        )
        for key, given in gathered.items()
    }


def write_prompts(path: str | Path, prompts: Mapping[PlaneObject, Prompts]) -> None:
    """Write a prompts file that `read_prompts` and napari read back.

    The file appears when it is complete.

    Parameters
    ----------
    path : str or Path
        Ending in ``.csv``, as napari expects.
    prompts : mapping of (plane index, object) to Prompts
        Plane indices all of one length.

    Raises
    ------
    ValueError
        If a prompt holds a box or a mask, which such a table has no place for; if the planes'
        indices differ in length; or if the path does not end in ``.csv``.
    OSError
        If the place is full or cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".csv":
        raise ValueError(f"expected a path ending in .csv for prompts, got {path.name}")
    lengths = {len(plane) for plane, _ in prompts}
    if len(lengths) > 1:
        raise ValueError(f"expected plane indices of one length, got {sorted(lengths)}")
    rows: list[list[object]] = []
    for (plane, number), one in prompts.items():
        if one.box is not None or one.mask is not None:
            raise ValueError(
                f"object {number} on plane {plane} has a box or a mask; a prompts file holds "
                "points only"
            )
        for point, label in zip(one.points, one.point_labels, strict=True):
            position = [*plane, float(point[0]), float(point[1])]
            rows.append([len(rows), *position, _WORDS[int(label)], number])
    axes = [f"axis-{axis}" for axis in range(max(lengths, default=0) + 2)]
    with replaced(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(
            [["index", *axes, "label", "object"], *rows]
        )


def _check_heading(path: Path, heading: list[str]) -> list[str]:
    """Return the names of the axis columns, or say which columns are missing."""
    axes = [f"axis-{axis}" for axis in range(len(heading)) if f"axis-{axis}" in heading]
    needed = [f"axis-{axis}" for axis in range(max(2, len(axes)))] + ["label", "object"]
    missing = [name for name in needed if name not in heading]
    if missing:
        raise ValueError(
            f"{path} lacks the columns {', '.join(missing)}; expected what napari saves for a "
            f"Points layer (index, axis-0, axis-1, ...) with label and object, got: "
            f"{', '.join(heading) or 'an empty file'}"
        )
    repeated = sorted({name for name in heading if heading.count(name) > 1})
    if repeated:
        raise ValueError(f"{path} has the columns {', '.join(repeated)} more than once")
    return axes


class _Row:
    """The cells of one line, read as what they should be."""

    def __init__(self, place: str, cells: dict[str, str]) -> None:
        self._place = place
        self._cells = cells

    def number(self, name: str) -> float:
        text = self._cells[name].strip()
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise ValueError(f"{self._place}: expected a finite number as {name}, got {text!r}")
        return value

    def object(self) -> int:
        value = self.number("object")
        # napari writes every feature of a numeric table as a float.
        if value != int(value) or value < 1:
            raise ValueError(
                f"{self._place}: expected a whole number from 1 as object, "
                f"got {self._cells['object'].strip()!r}"
            )
        return int(value)

    def label(self) -> int:
        word = self._cells["label"].strip()
        if word.casefold() not in _LABELS:
            raise ValueError(f"{self._place}: expected positive or negative as label, got {word!r}")
        return _LABELS[word.casefold()]
