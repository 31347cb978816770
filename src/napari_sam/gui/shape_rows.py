"""The rows of the shapes layer: boxes as rectangles, strokes as paths, lassos as polygons."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_sam.gui.planes import coordinates_of
from napari_sam.session import BoxPrompt, ObjectPlane, Plane, PromptBook, plane_axes
from napari_sam.session.prompt_book import Lasso, Stroke, changed_keys

Shape = BoxPrompt | Stroke | Lasso
"""A prompt that is drawn as a shape."""

Kind = Literal["box", "stroke", "lasso"]

KINDS: tuple[Kind, ...] = ("box", "stroke", "lasso")

POSITIVE, NEGATIVE = "+", "−"

SIGNS = {1: POSITIVE, 0: NEGATIVE}
"""Values of the column ``sign`` by a stroke's label; for other shapes the column is empty."""

_KINDS: dict[str, Kind] = {
    "rectangle": "box",
    "ellipse": "box",
    "line": "stroke",
    "path": "stroke",
    "polygon": "lasso",
}


@dataclass(frozen=True, eq=False)
class ShapeRows:
    """The shapes of a book as arrays, one row each.

    Parameters
    ----------
    book
        The book whose shapes these are.
    ids
        `(N,)` identifier of each row.
    objects
        `(N,)` object of each row.
    signs
        `(N,)` sign of each row.
    vertices
        `(n, ndim)` coordinates of each row.
    """

    book: PromptBook
    ids: NDArray[np.int64]
    objects: NDArray[np.uint64]
    signs: NDArray[np.object_]
    vertices: list[NDArray[np.float64]]

    @classmethod
    def of(cls, book: PromptBook) -> ShapeRows:
        """Return the rows of all shapes of a book, in the order they were drawn."""
        drawn: tuple[Shape, ...] = (*book.boxes, *book.strokes, *book.lassos)
        shapes = sorted(drawn, key=lambda one: one.id)
        return cls(
            book,
            np.array([one.id for one in shapes], np.int64),
            np.array([one.object_id for one in shapes], np.uint64),
            np.array([sign_of(one) for one in shapes], object),
            [vertices_of(one) for one in shapes],
        )

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """The columns of the layer's features, with a value for each row."""
        return {"object": self.objects, "id": self.ids, "sign": self.signs}

    def kept(self, rows: NDArray[np.intp], more: int = 0) -> ShapeRows:
        """Return some of the rows, and empty rows at the end."""
        return ShapeRows(
            self.book,
            np.concatenate([self.ids[rows], np.zeros(more, np.int64)]),
            np.concatenate([self.objects[rows], np.zeros(more, np.uint64)]),
            np.concatenate([self.signs[rows], np.full(more, "", object)]),
            [self.vertices[row] for row in rows.tolist()] + [np.empty((0, 0))] * more,
        )

    def edited(self, data: Sequence[Any], rows: NDArray[np.intp]) -> list[int]:
        """Return which shapes of a layer's data differ from the vertices in these rows."""
        shown = [self.vertices[row] for row in rows.tolist()]
        lengths = np.array([len(one) for one in shown], int)
        differs = np.array([len(shape) for shape in data], int) != lengths
        same = np.flatnonzero(~differs)
        if len(same):
            now, then = (np.concatenate([x[i] for i in same.tolist()]) for x in (data, shown))
            starts = np.cumsum(lengths[same]) - lengths[same]
            differs[same] = np.logical_or.reduceat((now != then).any(1), starts)
        return np.flatnonzero(differs).tolist()


@dataclass(frozen=True, eq=False)
class ShapeChanges:
    """What differs between the shapes of two books.

    Parameters
    ----------
    changed
        New and changed shapes, by identifier.
    gone
        Identifiers of removed shapes.
    """

    changed: dict[int, Shape]
    gone: set[int]

    @classmethod
    def between(cls, before: PromptBook, after: PromptBook) -> ShapeChanges:
        """Compare the shapes of two books."""
        keys = changed_keys(before, after)
        old, new = _shapes_on(before, keys), _shapes_on(after, keys)
        changed = {number: one for number, one in new.items() if old.get(number) != one}
        return cls(changed, {*old} - {*new})


def kind_of(shape_type: str) -> Kind:
    """Return which kind of prompt a shape of a layer becomes."""
    return _KINDS[shape_type]


def shape_type_of(shape: Shape) -> str:
    """Return the type of shape that shows a prompt."""
    if isinstance(shape, BoxPrompt):
        return "rectangle"
    return "path" if isinstance(shape, Stroke) else "polygon"


def sign_of(shape: Shape) -> str:
    """Return the value of the column ``sign`` for a prompt."""
    return SIGNS[shape.label] if isinstance(shape, Stroke) else ""


def vertices_of(shape: Shape) -> NDArray[np.float64]:
    """Return the coordinates `(n, ndim)` of a prompt."""
    if isinstance(shape, BoxPrompt):
        r0, c0, r1, c1 = shape.box
        points: Iterable[tuple[float, float]] = ((r0, c0), (r0, c1), (r1, c1), (r1, c0))
    else:
        points = shape.path if isinstance(shape, Stroke) else shape.polygon
    return np.array([coordinates_of(shape.plane, point) for point in points])


def is_drawn(vertices: Any, shape_type: str, shape: Shape) -> bool:
    """Whether a layer's shape shows a prompt; a box may begin at any corner."""
    wanted = vertices_of(shape)
    if np.array_equal(vertices, wanted):
        return shape_type == shape_type_of(shape)
    if not isinstance(shape, BoxPrompt) or shape_type not in ("rectangle", "polygon"):
        return False
    return np.array_equal(_ordered(vertices), _ordered(wanted))


def plane_and_points(
    vertices: Any, pattern: Plane
) -> tuple[Plane, tuple[tuple[float, float], ...]]:
    """Split a shape's coordinates `(n, ndim)` into the plane it lies in and its (row, column)s."""
    vertices = np.asarray(vertices, float)
    rows, columns = plane_axes(pattern)
    plane = tuple(
        None if i is None else int(np.round(x))
        for i, x in zip(pattern, vertices.mean(0), strict=True)
    )
    return plane, tuple((row, column) for row, column in vertices[:, [rows, columns]].tolist())


def bounds(points: Sequence[tuple[float, float]]) -> tuple[float, float, float, float]:
    """Return the box (row 0, column 0, row 1, column 1) around points."""
    low, high = np.min(points, axis=0), np.max(points, axis=0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def moved(shape: Shape, vertices: Any) -> Shape:
    """Return a prompt as it is after its shape was edited in a layer."""
    plane, points = plane_and_points(vertices, shape.plane)
    if isinstance(shape, BoxPrompt):
        return replace(shape, plane=plane, box=bounds(points))
    if isinstance(shape, Stroke):
        return replace(shape, plane=plane, path=points)
    return replace(shape, plane=plane, polygon=points)


def _shapes_on(book: PromptBook, keys: Iterable[ObjectPlane]) -> dict[int, Shape]:
    groups = [book.group(key) for key in keys]
    shapes = (one for group in groups for one in (group.box, *group.strokes, group.lasso))
    return {one.id: one for one in shapes if one is not None}


def _ordered(vertices: Any) -> np.ndarray:
    vertices = np.asarray(vertices, float)
    return vertices[np.lexsort(vertices.T)]
