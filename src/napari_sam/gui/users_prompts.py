"""Reads prompts from a user's own Points and Shapes layers, which are never changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from napari.layers import Image, Layer, Points, Shapes
from numpy.typing import NDArray

from napari_sam.gui.placement import shape_of, unit_factors
from napari_sam.gui.prompt_columns import SIGNS, object_of
from napari_sam.gui.shape_rows import Kind, bounds, kind_of
from napari_sam.patches import fill_polygon
from napari_sam.prompts import Candidate, Prompts
from napari_sam.session import ObjectPlane, Plane, PromptBook, plane_axes

Path = list[tuple[float, float]]

Grouping = Literal["each", "one"]
"""Whether each point is a separate object, or all points belong to one object."""


@dataclass(frozen=True, slots=True)
class UsersPrompts:
    """Prompts that were read from a user's layer.

    Parameters
    ----------
    prompts
        Clicks and box by (object, plane).
    summary
        A sentence about the objects of the prompts, and what was left out.
    candidates
        The candidate masks that had been chosen, by (object, plane).
    strokes, lassos
        Paths of strokes, and corners of a lasso, by (object, plane); as (row, column).
    """

    prompts: dict[ObjectPlane, Prompts]
    summary: str
    candidates: dict[ObjectPlane, Candidate] = field(default_factory=dict)
    strokes: dict[ObjectPlane, list[Path]] = field(default_factory=dict)
    lassos: dict[ObjectPlane, Path] = field(default_factory=dict)

    def added_to(self, book: PromptBook) -> PromptBook:
        """Return a session's prompts with these added."""
        return book.with_prompts(self.prompts, self.candidates).with_drawn(
            self.strokes, self.lassos
        )


def offered(layers: Iterable[Layer], image: Image, own: Sequence[Layer]) -> list[Points | Shapes]:
    """Return the Points and Shapes layers that prompts can be read from, except `own` layers."""
    return [
        layer
        for layer in layers
        if isinstance(layer, Points | Shapes)
        and layer.ndim <= image.ndim
        and not any(layer is mine for mine in own)
    ]


def names_objects(layer: Points | Shapes) -> bool:
    """Whether a layer defines which object each of its points or shapes belongs to."""
    return isinstance(layer, Shapes) or "object" in layer.features


def read_layer(
    layer: Points | Shapes, image: Image, plane: Plane, grouping: Grouping, highest: int
) -> UsersPrompts:
    """Read the prompts of a user's layer.

    Every point is a click at the place in the image where it is shown. Rectangles and ellipses
    are boxes, lines and paths are strokes, polygons are lassos. The features ``label`` and
    ``object`` are used if the layer has them.

    Parameters
    ----------
    layer
        A Points or Shapes layer. It has all axes of the image, or only its last ones: then its
        prompts are on `plane`.
    image
        The image.
    plane
        The plane on screen.
    grouping
        Which objects points belong to if the layer doesn't define it.
    highest
        The highest object id in use. The objects get ids above it.

    Raises
    ------
    ValueError
        If nothing in the layer can be a prompt.
    """
    reader = _Reader(layer, image, plane, highest)
    if isinstance(layer, Shapes):
        reader.read_shapes(layer)
    else:
        reader.read_points(layer, grouping)
    return reader.result()


class _Reader:
    def __init__(self, layer: Points | Shapes, image: Image, plane: Plane, highest: int) -> None:
        self._layer, self._image, self._pattern, self._highest = layer, image, plane, highest
        self._shape = np.array(shape_of(image))
        self._spanned = plane_axes(plane)
        self._clicks: dict[ObjectPlane, list[tuple[tuple[float, float], int]]] = {}
        self._boxes: dict[ObjectPlane, tuple[float, float, float, float]] = {}
        self._strokes: dict[ObjectPlane, list[Path]] = {}
        self._lassos: dict[ObjectPlane, Path] = {}
        self._left: dict[str, int] = {}
        self._to_image = _mapping(layer, image, plane)

    def read_points(self, layer: Points, grouping: Grouping) -> None:
        places = self._to_image(np.asarray(layer.data, float))
        signs = self._signs(layer)
        numbers = self._numbers(len(places), grouping == "one")
        shown = np.broadcast_to(np.asarray(layer.shown, bool), len(places))
        lonely = grouping == "each" and "object" not in layer.features
        for place, sign, number, is_shown in zip(places, signs, numbers, shown, strict=True):
            if not is_shown:
                self._leave("hidden")
            elif number is None:
                self._leave("without a whole number from 1 on as object")
            elif lonely and not sign:
                self._leave("negative, which no object of one point can be")
            elif not self._is_inside(place):
                self._leave("outside the image")
            else:
                rows, columns = self._spanned
                at = float(place[rows]), float(place[columns])
                self._clicks.setdefault((number, self._plane(place)), []).append((at, sign))

    def read_shapes(self, layer: Shapes) -> None:
        numbers = self._numbers(len(layer.data), False)
        for corners, shape_type, number in zip(layer.data, layer.shape_type, numbers, strict=True):
            places = self._to_image(np.asarray(corners, float))
            low, high = places.min(0), places.max(0)
            middle = np.clip(places.mean(0), 0, self._shape - 1)
            middle_of_others = np.where(np.isin(range(len(low)), self._spanned), middle, low)
            key = (number or 0), self._plane(middle_of_others)
            beside = (high < -0.5) | (low > self._shape - 0.5)
            if number is None:
                self._leave("without a whole number from 1 on as object")
            elif beside.any():
                self._leave("outside the image")
            else:
                self._take_shape(key, kind_of(shape_type), places)

    def _take_shape(self, key: ObjectPlane, kind: Kind, places: NDArray[np.float64]) -> None:
        rows, columns = self._spanned
        path = [(float(place[rows]), float(place[columns])) for place in places]
        if kind == "stroke":
            if all(map(self._is_inside, places)):
                self._strokes.setdefault(key, []).append(path)
            else:
                self._leave("partly outside the image")
            return
        others: dict[ObjectPlane, Any] = self._boxes if kind == "box" else self._lassos
        h, w = (int(self._shape[axis]) for axis in self._spanned)
        if key in others:
            self._leave(f"a second {kind} of an object on its plane")
        elif kind == "box":
            self._boxes[key] = bounds(path)
        elif fill_polygon(path, (h, w)).is_empty:
            self._leave("without a pixel inside")
        else:
            self._lassos[key] = path

    def result(self) -> UsersPrompts:
        prompts = {
            key: Prompts([at for at, _ in clicks], [sign for _, sign in clicks])
            for key, clicks in self._clicks.items()
        }
        for key, box in self._boxes.items():
            prompts[key] = Prompts(box=box)
        left = ", ".join(f"{count} {why}" for why, count in self._left.items())
        numbers = {number for number, _ in (*prompts, *self._strokes, *self._lassos)}
        if not numbers:
            raise ValueError(
                f"expected points or shapes on '{self._image.name}' in '{self._layer.name}', "
                f"got none{f': {left}' if left else ''}"
            )
        counts = {
            ("point", "points"): sum(map(len, self._clicks.values())),
            ("box", "boxes"): len(self._boxes),
            ("stroke", "strokes"): sum(map(len, self._strokes.values())),
            ("lasso", "lassos"): len(self._lassos),
        }
        things = ", ".join(f"{n} {names[n != 1]}" for names, n in counts.items() if n)
        ends = f"object {min(numbers)}"
        if len(numbers) > 1:
            ends = f"{len(numbers)} objects, {min(numbers)} to {max(numbers)}"
        summary = f"{things} of '{self._layer.name}': {ends}"
        return UsersPrompts(
            prompts,
            summary + (f"; left out: {left}" if left else ""),
            strokes=self._strokes,
            lassos=self._lassos,
        )

    def _signs(self, layer: Points) -> list[int]:
        """Return the sign of each point; all are positive if the column holds other words."""
        count = len(layer.data)
        if "label" not in layer.features:
            return [1] * count
        words = layer.features["label"].tolist()
        known: dict[Any, int] = {**SIGNS, 1: 1, 0: 0}
        try:
            return [known[word] for word in words]
        except (KeyError, TypeError):
            return [1] * count

    def _numbers(self, count: int, as_one: bool) -> list[int | None]:
        """Return the object of each point or shape; given ids are raised above those in use."""
        table = self._layer.features
        if "object" not in table:
            return [self._highest + (1 if as_one else 1 + i) for i in range(count)]
        numbers: list[int | None] = []
        for value in table["object"].tolist():
            try:
                numbers.append(self._highest + object_of(value))
            except ValueError:
                numbers.append(None)
        return numbers

    def _is_inside(self, place: NDArray[np.float64]) -> bool:
        return bool(np.all((place >= -0.5) & (place <= self._shape - 0.5)))

    def _plane(self, place: NDArray[np.float64]) -> Plane:
        index = np.clip(np.round(np.nan_to_num(place)), 0, self._shape - 1).astype(int).tolist()
        return tuple(None if axis in self._spanned else i for axis, i in enumerate(index))

    def _leave(self, why: str) -> None:
        self._left[why] = self._left.get(why, 0) + 1


def _mapping(
    layer: Layer, image: Image, plane: Plane
) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """Return a function from a layer's coordinates `(N, ndim)` to those of an image."""
    middle = [0.0 if i is None else float(i) for i in plane]
    missing = np.asarray(image.data_to_world(middle), float)[: image.ndim - layer.ndim]
    factors = unit_factors(layer.units, image.units)

    def at(point: NDArray[np.float64]) -> NDArray[np.float64]:
        world = np.asarray(layer.data_to_world(point), float) * factors
        return np.asarray(image.world_to_data([*missing, *world]), float)

    origin = at(np.zeros(layer.ndim))
    steps = np.array([at(step) - origin for step in np.eye(layer.ndim)])
    return lambda points: origin + points.reshape(-1, len(steps)) @ steps
