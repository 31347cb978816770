"""Prompts as the tables that napari saves for a Points and a Shapes layer."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from napari_sam.atomic import replaced
from napari_sam.io.prompt_table import Line, axis_columns, listed, read_table
from napari_sam.plane_input import COLUMNS, PlaneInput, input_of_words, without_checksums
from napari_sam.prompts import GRANULARITIES, Box, Candidate, Prompts
from napari_sam.steps import Steps

PlaneIndex: TypeAlias = tuple[int | None, ...]
"""A plane: its index along the leading axes; or, where it spans others than the last two, an
index for every axis with None for the two that it spans."""

PlaneObject: TypeAlias = tuple[PlaneIndex, int]
"""A plane, and an object's number."""

CANDIDATE, BOXES = "candidate", "boxes"

_LABELS = {"positive": 1, "negative": 0}
_WORDS = {number: word for word, number in _LABELS.items()}
_OBJECTS = "objects"
_MOST_BOXES = 10_000_000


@dataclass(frozen=True, slots=True, eq=False)
class SavedPrompts(Mapping[PlaneObject, Prompts]):
    """Prompts by plane and object, with how they were given.

    Parameters
    ----------
    prompts
        Prompts by plane and object, in the order in which these first appear.
    inputs
        Channels, contrast and projection that the model was given when the object was last
        predicted; an object without an entry has none recorded.
    candidates
        The mask that was chosen after the first click; without an entry it is the model's best.
    boxed
        Numbers of the objects of the boxes that existed when the points were saved, one for each
        box.
    has_boxes
        Whether boxes were read as well.
    notes
        Messages for the user about what was left out or assumed.
    steps
        The steps of objects whose order of prompts `prompts` can't hold: those of a session with
        strokes, lassos or given masks.
    """

    prompts: Mapping[PlaneObject, Prompts]
    inputs: Mapping[PlaneObject, PlaneInput] = field(default_factory=dict)
    candidates: Mapping[PlaneObject, Candidate] = field(default_factory=dict)
    boxed: tuple[int, ...] = ()
    has_boxes: bool = False
    notes: tuple[str, ...] = ()
    steps: Mapping[PlaneObject, Steps] = field(default_factory=dict)

    def steps_of(self, key: PlaneObject) -> Steps:
        """Return the prompts of an object on a plane, step by step."""
        return self.steps.get(key) or Steps.of(self.prompts[key])

    def __getitem__(self, key: PlaneObject) -> Prompts:
        return self.prompts[key]

    def __iter__(self) -> Iterator[PlaneObject]:
        return iter(self.prompts)

    def __len__(self) -> int:
        return len(self.prompts)


def read_prompts(path: str | Path) -> SavedPrompts:
    """Read a prompts file.

    The file is what napari saves for a Points layer, with the layer's features ``label`` and
    ``object``: a heading ``index,axis-0,axis-1,...,label,object`` and a row for each point.
    The last two axes are row and column, in pixels, unless ``displayed`` names others; the other
    axes index the plane. Points are ordered by ``index`` where that column exists, else by row.
    The model's input is read from the columns of :data:`~napari_sam.plane_input.COLUMNS`, the
    chosen mask from ``candidate`` (its index, or ``whole``, ``part`` or ``sub-part``). Other
    columns are ignored. Columns may also be separated by semicolons or tabs; then numbers may
    have decimal commas.

    Parameters
    ----------
    path
        The CSV file.

    Returns
    -------
    mapping of (plane index, object) to Prompts
        The object's points on that plane in order; planes and objects in the order in which they
        first appear. Empty for a table without rows.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a column is missing, a number is not finite, an object is not 1 or more, or a label
        is neither ``positive`` nor ``negative``; the message names the line. Also if the path is
        a named pipe or a device.
    """
    path = Path(path)
    heading, lines = read_table(path)
    axes = _check_heading(path, heading)
    points, inputs, candidates = [], {}, {}
    boxed: tuple[int, ...] = ()
    knows_input = bool({*COLUMNS} & {*heading})
    for line in lines:
        position = [line.number(name) for name in axes]
        given = _input(line, len(axes))
        rows, columns = given.displayed
        key = _plane_index(position, given.displayed), _object(line)
        order = line.number("index") if "index" in heading else 0.0
        points.append((order, key, (position[rows], position[columns]), _label(line)))
        if knows_input:
            inputs[key] = given
        if line.text(CANDIDATE):
            candidates[key] = _candidate(line)
        boxed = _boxed(line) or boxed
    points.sort(key=lambda point: point[0])
    gathered: dict[PlaneObject, list[tuple[tuple[float, float], int]]] = {}
    for _, key, at, label in points:
        gathered.setdefault(key, []).append((at, label))
    prompts = {
        key: Prompts(
            points=tuple(at for at, _ in given), point_labels=tuple(label for _, label in given)
        )
        for key, given in gathered.items()
    }
    return SavedPrompts(prompts, inputs, candidates, boxed)


class SavedBoxes(tuple[tuple[PlaneIndex, Box], ...]):
    """Boxes of a file, each with its plane.

    Attributes
    ----------
    others
        Number of strokes and lassos in the file, which are not among the boxes.
    """

    others: int = 0


def read_boxes(path: str | Path) -> SavedBoxes:
    """Read the boxes of a file that napari saves for a Shapes layer.

    Its heading is ``index,shape-type,vertex-index,axis-0,...``. A shape counts as its bounding
    box, except for paths and lines, which are strokes, and polygons, which are lassos: the file
    doesn't state which objects those belong to. The two axes along which a shape extends are
    those of its plane.

    Parameters
    ----------
    path
        The CSV file.

    Returns
    -------
    boxes
        By plane and object.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a column is missing or a number is not finite; the message names the line.
    """
    path = Path(path)
    heading, lines = read_table(path)
    axes = axis_columns(heading)
    missing = [name for name in ("index", "axis-0", "axis-1") if name not in heading]
    if missing or "vertex-index" not in heading:
        raise ValueError(
            f"{path} lacks the columns {listed(missing or ['vertex-index'])}; expected what napari "
            "saves for a Shapes layer (index, shape-type, vertex-index, axis-0, axis-1, ...), got: "
            f"{listed(heading) or 'an empty file'}"
        )
    corners: dict[float, list[list[float]]] = {}
    types: dict[float, str] = {}
    for line in lines:
        position = [line.number(name) for name in axes]
        corners.setdefault(line.number("index"), []).append(position)
        types[line.number("index")] = line.text("shape-type").casefold()
    shapes = {index: np.array(shape) for index, shape in corners.items()}
    boxes = [_box(one) for index, one in shapes.items() if _is_box(types[index], one)]
    saved = SavedBoxes(boxes)
    saved.others = len(shapes) - len(boxes)
    return saved


def _is_box(shape_type: str, corners: NDArray[np.float64]) -> bool:
    """Whether a shape is a box: napari also calls one a polygon whose corner was moved."""
    if shape_type != "polygon":
        return shape_type not in ("path", "line")
    return bool(((corners == corners.min(0)) | (corners == corners.max(0))).all())


def with_boxes(
    saved: Mapping[PlaneObject, Prompts], boxes: Sequence[tuple[PlaneIndex, Box]]
) -> SavedPrompts:
    """Add boxes to prompts, each to the object that the prompts file names for it.

    Parameters
    ----------
    saved
        The prompts, from :func:`read_prompts`.
    boxes
        Plane and box (row 0, column 0, row 1, column 1) of each, from :func:`read_boxes`.

    Returns
    -------
    prompts
        With the boxes. If the prompts file doesn't name an object for each box, each box becomes a
        new object with the lowest free number, as if the boxes had been drawn one after the
        other in the viewer, and `notes` reports it. New objects are sorted in by their numbers.
    """
    if not isinstance(saved, SavedPrompts):
        saved = SavedPrompts(dict(saved))
    objects, notes = list(saved.boxed), list(saved.notes)
    if others := getattr(boxes, "others", 0):
        what = "stroke or lasso is" if others == 1 else "strokes and lassos are"
        notes.append(
            f"{others} {what} left out: the boxes file doesn't record their objects; save a "
            "session to keep such prompts"
        )
    if len(objects) != len(boxes):
        taken = {number for _, number in saved}
        free = (number for number in count(1) if number not in taken)
        objects = [next(free) for _ in boxes]
        if saved:
            notes.append(
                f"the prompts file lists {len(saved.boxed)} boxes, the boxes file has "
                f"{len(boxes)}: each box became an object with the lowest free number; save both "
                "layers again to have the viewer's numbers"
            )
    given = {(plane, number): box for (plane, box), number in zip(boxes, objects, strict=True)}
    prompts = _in_order(saved.prompts, [key for key in given if key not in saved])
    inputs = dict(saved.inputs)
    common = _common_inputs(saved.inputs)
    for key, box in given.items():
        prompts[key] = prompts[key].with_box(box)
        found = common.get(key[0], common.get(None))
        if key not in inputs and found is not None and found.displayed == spanned(key[0]):
            inputs[key] = found
    return replace(saved, prompts=prompts, inputs=inputs, has_boxes=True, notes=tuple(notes))


def write_prompts(path: str | Path, prompts: Mapping[PlaneObject, Prompts]) -> None:
    """Write a prompts file for :func:`read_prompts` and napari.

    The file is replaced only once the new one is complete.

    Parameters
    ----------
    path : str or Path
        Ending in ``.csv``, as napari expects.
    prompts : mapping of (plane index, object) to Prompts
        Plane indices all of one length. The inputs and candidates of :class:`SavedPrompts` are
        written, too.

    Raises
    ------
    ValueError
        If a prompt has a box or a mask, which such a table can't hold; if the planes' indices
        differ in length; or if the path does not end in ``.csv``.
    OSError
        If the file can't be written, as where the disk is full.
    """
    path = Path(path)
    if path.suffix.lower() != ".csv":
        raise ValueError(f"expected a path ending in .csv for prompts, got {path.name}")
    lengths = {dimensions(plane) for plane, _ in prompts}
    if len(lengths) > 1:
        raise ValueError(f"expected plane indices of one length, got {sorted(lengths)}")
    ndim = max(lengths, default=2)
    saved = prompts if isinstance(prompts, SavedPrompts) else SavedPrompts(prompts)
    extra = [*COLUMNS, CANDIDATE] if saved.inputs or saved.candidates else []
    rows: list[list[object]] = []
    for (plane, number), one in prompts.items():
        if one.box is not None or one.mask is not None:
            raise ValueError(
                f"object {number} on plane {plane} has a box or a mask; a prompts file holds "
                "points only"
            )
        given = saved.inputs.get((plane, number))
        words = given.words() if given else {}
        words[CANDIDATE] = str(saved.candidates.get((plane, number), ""))
        for point, label in zip(one.points, one.point_labels, strict=True):
            position = _position(plane, (float(point[0]), float(point[1])))
            values = [words.get(name, "") for name in extra]
            rows.append([len(rows), *position, _WORDS[int(label)], number, *values])
    axes = [f"axis-{axis}" for axis in range(ndim)]
    with replaced(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(
            [["index", *axes, "label", "object", *extra], *rows]
        )


def format_objects(numbers: Sequence[int]) -> str:
    """Return the objects of boxes as text, as :attr:`SavedPrompts.boxed` is stored in a file.

    Examples
    --------
    >>> format_objects([1, 2, 3, 7])
    'objects 1..3 7'
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1] = [runs[-1][0], number]
        else:
            runs.append([number])
    parts = [str(run[0]) if len(run) == 1 else f"{run[0]}..{run[1]}" for run in runs]
    return " ".join([_OBJECTS, *parts]) if parts else ""


@lru_cache(maxsize=16)  # all rows have the same text
def read_objects(text: str) -> tuple[int, ...]:
    """Read the text that :func:`format_objects` returns.

    Raises
    ------
    ValueError
        If it is another text.
    """
    head, *words = text.split() or [_OBJECTS]
    numbers: list[int] = []
    for word in words:
        ends = word.split("..")
        fits = len(ends) <= 2 and all(end.isdecimal() for end in ends)
        run = range(int(ends[0]), int(ends[-1]) + 1) if fits else range(0)
        if head != _OBJECTS or not run or len(numbers) + len(run) > _MOST_BOXES:
            raise ValueError(f"expected '{_OBJECTS} 1..3 7' as {BOXES}, got {text!r}")
        numbers += run
    return tuple(numbers)


def dimensions(plane: PlaneIndex) -> int:
    """Return how many axes the image of a plane has."""
    return len(plane) if None in plane else len(plane) + 2


def spanned(plane: PlaneIndex) -> tuple[int, int]:
    """Return the two axes that a plane spans, rows and columns."""
    rows, columns = (axis for axis, i in enumerate(complete(plane)) if i is None)
    return rows, columns


def complete(plane: PlaneIndex) -> PlaneIndex:
    """Return a plane with an entry for every axis, None for the two that it spans."""
    return plane if None in plane else (*plane, None, None)


def _check_heading(path: Path, heading: list[str]) -> list[str]:
    """Return the names of the axis columns; raise a `ValueError` if columns are missing."""
    axes = axis_columns(heading)
    present = {*heading}
    needed = [f"axis-{axis}" for axis in range(max(2, len(axes)))] + ["label", "object"]
    missing = [name for name in needed if name not in present]
    if missing and "vertex-index" in present:
        raise ValueError(
            f"{path} is what napari saves for a Shapes layer; give it as boxes (--boxes), and as "
            "prompts the file of the Points layer"
        )
    if missing:
        raise ValueError(
            f"{path} lacks the columns {listed(missing)}; expected what napari saves for a "
            f"Points layer (index, axis-0, axis-1, ...) with label and object, got: "
            f"{listed(heading) or 'an empty file'}"
        )
    return axes


def _input(line: Line, ndim: int) -> PlaneInput:
    try:
        return _read_input(tuple(line.text(name) for name in COLUMNS), ndim)
    except ValueError as error:
        raise ValueError(f"{line.place}: {error}") from error


@lru_cache(maxsize=1024)  # rows of a plane have the same text
def _read_input(words: tuple[str, ...], ndim: int) -> PlaneInput:
    return input_of_words(dict(zip(COLUMNS, words, strict=True)), ndim)


def _object(line: Line) -> int:
    return _whole(line, "object", 1)


def _candidate(line: Line) -> Candidate:
    """Read which mask was chosen: its index among the candidates, or a word for its area."""
    for granularity in GRANULARITIES:
        if line.text(CANDIDATE) == granularity:
            return granularity
    return _whole(line, CANDIDATE, 0)


def _whole(line: Line, name: str, lowest: int) -> int:
    text = line.text(name)
    # napari writes every feature of a numeric table as a float, which is not exact beyond 2**53.
    value = int(text) if text.isdecimal() and len(text) <= 20 else line.number(name)
    if value != int(value) or value < lowest:
        raise ValueError(
            f"{line.place}: expected a whole number from {lowest} as {name}, "
            f"got {line.text(name)!r}"
        )
    return int(value)


def _boxed(line: Line) -> tuple[int, ...]:
    try:
        return read_objects(line.text(BOXES))
    except ValueError as error:
        raise ValueError(f"{line.place}: {error}") from error


def _label(line: Line) -> int:
    word = line.text("label")
    if word.casefold() not in _LABELS:
        raise ValueError(f"{line.place}: expected positive or negative as label, got {word!r}")
    return _LABELS[word.casefold()]


def _plane_index(position: Sequence[float], displayed: tuple[int, int]) -> PlaneIndex:
    ndim = len(position)
    at = [None if i in displayed else math.floor(x + 0.5) for i, x in enumerate(position)]
    return tuple(at[:-2]) if displayed == (ndim - 2, ndim - 1) else tuple(at)


def _position(plane: PlaneIndex, point: tuple[float, float]) -> list[float]:
    place = iter(point)
    return [next(place) if i is None else i for i in complete(plane)]


def _box(corners: np.ndarray) -> tuple[PlaneIndex, Box]:
    ndim = corners.shape[1]
    extent = np.ptp(corners, axis=0)
    along = [axis for axis in range(ndim) if extent[axis] > 0]
    rows, columns = (along[0], along[1]) if len(along) == 2 else (ndim - 2, ndim - 1)
    low, high = corners.min(0), corners.max(0)
    plane = _plane_index(corners.mean(0).tolist(), (rows, columns))
    return plane, (float(low[rows]), float(low[columns]), float(high[rows]), float(high[columns]))


def _in_order(
    prompts: Mapping[PlaneObject, Prompts], fresh: Sequence[PlaneObject]
) -> dict[PlaneObject, Prompts]:
    """Insert objects without prompts, each before the first one with a higher number."""
    waiting = sorted(fresh, key=lambda key: key[1], reverse=True)
    ordered: dict[PlaneObject, Prompts] = {}
    for key, one in prompts.items():
        while waiting and waiting[-1][1] < key[1]:
            ordered[waiting.pop()] = Prompts()
        ordered[key] = one
    ordered.update((key, Prompts()) for key in reversed(waiting))
    return ordered


def _common_inputs(
    inputs: Mapping[PlaneObject, PlaneInput],
) -> dict[PlaneIndex | None, PlaneInput]:
    """Find where the model was always given the same: by plane, and None for all planes."""
    by_place: dict[PlaneIndex | None, set[PlaneInput]] = {}
    for (plane, _), given in inputs.items():
        by_place.setdefault(plane, set()).add(given)
        by_place.setdefault(None, set()).add(without_checksums(given))
    return {place: found.pop() for place, found in by_place.items() if len(found) == 1}
