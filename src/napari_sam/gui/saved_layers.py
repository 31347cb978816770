"""Reads prompts and boxes of an earlier session back from layers that napari has opened."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.layers import Image, Layer, Points, Shapes
from numpy.typing import NDArray

from napari_sam.gui.placement import shape_of
from napari_sam.gui.prompt_columns import EDITED, SIGNS, object_of
from napari_sam.gui.users_prompts import UsersPrompts, offered
from napari_sam.io.prompt_file import BOXES, CANDIDATE, read_objects
from napari_sam.plane_input import DISPLAYED, input_of_words
from napari_sam.prompts import GRANULARITIES, Box, Candidate, Prompts
from napari_sam.session import ObjectPlane, Plane

_COLUMNS = {*EDITED, DISPLAYED, CANDIDATE, BOXES}


@dataclass(frozen=True, eq=False, slots=True)
class SavedLayers:
    """Layers with prompts of an earlier session: the dock's own, or opened from saved files.

    Parameters
    ----------
    points, shapes
        The layers of the clicks and of the boxes; None if there is none.
    """

    points: Points | None
    shapes: Shapes | None

    @property
    def layers(self) -> list[Points | Shapes]:
        """The layers that aren't None."""
        return [layer for layer in (self.points, self.shapes) if layer is not None]

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, SavedLayers)
            and self.points is other.points
            and self.shapes is other.shapes
        )

    __hash__ = None  # type: ignore[assignment]


def find_saved(
    layers: Iterable[Layer], image: Image, own: Sequence[Layer], done: Iterable[Layer] = ()
) -> SavedLayers | None:
    """Return the topmost layers with prompts of an earlier session; None if there are none.

    Clicks are recognised by the columns of their features. napari's files of a Shapes layer hold
    no features, so boxes are recognised by their number, which the clicks' file records.

    Parameters
    ----------
    layers, image, own
        As for :func:`~napari_sam.gui.users_prompts.offered`.
    done
        Layers that have been continued from.
    """
    whole = [
        layer
        for layer in offered(layers, image, [*own, *done])
        if layer.ndim == image.ndim and len(layer.data)
    ]
    points = [x for x in whole if isinstance(x, Points) and {*_COLUMNS} <= {*x.features.columns}]
    shapes = [x for x in whole if isinstance(x, Shapes) and {"object", "id"} <= {*x.features}]
    if points and not shapes:
        count = len(_boxed(points[-1]))
        shapes = [x for x in whole if isinstance(x, Shapes) and len(x.data) == count]
    if not points and not shapes:
        return None
    return SavedLayers(points[-1] if points else None, shapes[-1] if shapes else None)


def read_saved(
    saved: SavedLayers, image: Image, taken: Collection[int], highest: int
) -> UsersPrompts:
    """Read the prompts of an earlier session, with the masks that were chosen.

    Objects keep their numbers, unless one of them is taken.

    Parameters
    ----------
    saved
        The layers. If a layer has no transform, as if opened from a file, its coordinates are
        pixels of the image.
    image
        The image.
    taken
        Ids of objects that have prompts already.
    highest
        The highest object id in use. If an id is taken, all objects get new ids above it.

    Raises
    ------
    ValueError
        If nothing in the layers can be a prompt.
    """
    reader = _Reader(image)
    if saved.points is not None:
        reader.read_points(saved.points)
    if saved.shapes is not None:
        reader.read_shapes(saved.shapes, saved.points)
    given = {object_id for object_id, _ in (*reader.clicks, *reader.boxes)}
    names = " and ".join(f"'{layer.name}'" for layer in saved.layers)
    left = ", ".join(f"{count} {why}" for why, count in reader.left.items())
    if not given:
        raise ValueError(
            f"expected clicks or boxes on '{image.name}' in {names}, got none"
            f"{f': {left}' if left else ''}"
        )
    by = highest if given & {*taken} else 0
    prompts = {}
    for key in {**reader.clicks, **reader.boxes}:
        clicks = reader.clicks.get(key, [])
        prompts[key[0] + by, key[1]] = Prompts(
            [at for at, _ in clicks], [sign for _, sign in clicks], reader.boxes.get(key)
        )
    candidates = {
        (object_id + by, plane): chosen
        for (object_id, plane), chosen in reader.candidates.items()
        if (object_id, plane) in reader.clicks
    }
    counts = (sum(map(len, reader.clicks.values())), "click", "clicks"), (
        len(reader.boxes), "box", "boxes"
    )  # fmt: skip
    things = " and ".join(f"{n} {one if n == 1 else many}" for n, one, many in counts if n)
    objects = f"{len(given)} objects" if len(given) > 1 else f"object {min(given) + by}"
    summary = f"continued with {things} of {objects} from {names}, hidden now"
    if by and len(given) > 1:
        summary += f"; numbered from {min(given) + by} on, as some were in use"
    return UsersPrompts(prompts, summary + (f"; left out: {left}" if left else ""), candidates)


class _Reader:
    def __init__(self, image: Image) -> None:
        self._image, self._shape = image, np.array(shape_of(image))
        self.clicks: dict[ObjectPlane, list[tuple[tuple[float, float], int]]] = {}
        self.boxes: dict[ObjectPlane, Box] = {}
        self.candidates: dict[ObjectPlane, Candidate] = {}
        self.left: dict[str, int] = {}

    def read_points(self, layer: Points) -> None:
        table = layer.features
        places = self._pixels(layer, np.asarray(layer.data, float))
        names = ("label", "object", DISPLAYED, CANDIDATE)
        rows = zip(*(table[name].tolist() for name in names), strict=True)
        for place, (label, number, displayed, candidate) in zip(places, rows, strict=True):
            try:
                object_id, spanned = object_of(number), self._spanned(displayed)
            except ValueError:
                self._leave("that don't say their object or plane")
                continue
            if label not in SIGNS:
                self._leave("neither positive nor negative")
            elif not self._is_inside(place):
                self._leave("outside the image")
            else:
                key = object_id, self._plane(place, spanned)
                at = float(place[spanned[0]]), float(place[spanned[1]])
                self.clicks.setdefault(key, []).append((at, SIGNS[label]))
                if (chosen := _chosen(candidate)) is not None:
                    self.candidates[key] = chosen

    def read_shapes(self, layer: Shapes, points: Points | None) -> None:
        boxed: Sequence[Any] = () if points is None else _boxed(points)
        if "object" in layer.features:
            boxed = layer.features["object"].tolist()
        for corners, number in zip(layer.data, boxed, strict=False):
            places = self._pixels(layer, np.asarray(corners, float))
            low, high = places.min(0), places.max(0)
            along = np.flatnonzero(high - low > 0).tolist()
            rows, columns = along if len(along) == 2 else (len(low) - 2, len(low) - 1)
            if (object_id := _whole(number)) is None or object_id < 1:
                self._leave("that don't say their object or plane")
            elif np.any((high < -0.5) | (low > self._shape - 0.5)):
                self._leave("outside the image")
            else:
                key = object_id, self._plane(places.mean(0), (rows, columns))
                self.boxes[key] = (
                    float(low[rows]), float(low[columns]), float(high[rows]), float(high[columns])
                )  # fmt: skip

    def _pixels(self, layer: Layer, places: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return a layer's coordinates in pixels of the image."""
        still = np.eye(layer.ndim + 1)
        matrix = np.asarray(layer.data_to_world(np.zeros(layer.ndim)), float)
        steps = [np.asarray(layer.data_to_world(step), float) for step in np.eye(layer.ndim)]
        if not matrix.any() and np.allclose(steps, still[:-1, :-1]):
            return places
        return np.array([self._image.world_to_data(layer.data_to_world(x)) for x in places])

    def _spanned(self, displayed: Any) -> tuple[int, int]:
        word = displayed if isinstance(displayed, str) else ""
        return input_of_words({DISPLAYED: word}, len(self._shape)).displayed

    def _plane(self, place: NDArray[np.float64], spanned: tuple[int, int]) -> Plane:
        index = np.clip(np.round(place), 0, self._shape - 1).astype(int).tolist()
        return tuple(None if axis in spanned else i for axis, i in enumerate(index))

    def _is_inside(self, place: NDArray[np.float64]) -> bool:
        return bool(np.all((place >= -0.5) & (place <= self._shape - 0.5)))

    def _leave(self, why: str) -> None:
        self.left[why] = self.left.get(why, 0) + 1


def _boxed(points: Points) -> tuple[int, ...]:
    """Return the objects of the boxes, as recorded in the clicks' table; () if they aren't."""
    texts = [text for text in points.features[BOXES].tolist() if isinstance(text, str) and text]
    try:
        return read_objects(texts[0]) if texts else ()
    except ValueError:
        return ()


def _chosen(value: Any) -> Candidate | None:
    """Return which candidate was chosen, by granularity or by index; None if none was."""
    return next((one for one in GRANULARITIES if value == one), None) or _whole(value)


def _whole(value: Any) -> int | None:
    """Return a whole number from text, an int or a float, as napari reads it; else None."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return int(number) if np.isfinite(number) and number % 1 == 0 and number >= 0 else None
