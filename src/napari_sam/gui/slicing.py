"""Where napari slices a layer: its units, its transforms and thick slices included."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.components import Dims
from napari.layers import Image, Layer
from numpy.typing import ArrayLike, NDArray

from napari_sam.gui.placement import geometry_of, unit_factors
from napari_sam.session import Slab


@dataclass(frozen=True, slots=True, eq=False)
class LayerSlice:
    """The slice of a layer that is on screen, in the layer's pixels.

    Parameters
    ----------
    displayed
        The axes on screen, in ascending order.
    position, before, after
        `(ndim,)`: the middle of the slice, and how far it reaches to either side; 0 for the axes
        on screen.
    """

    displayed: tuple[int, ...]
    position: NDArray[np.float64]
    before: NDArray[np.float64]
    after: NDArray[np.float64]

    def slab(self, image: Image, index: list[int]) -> Slab | None:
        """Return what is projected onto the plane of an index; None if it is that plane alone."""
        mode = str(image.projection_mode)
        if mode == "none" or not (self.before.any() or self.after.any()):
            return None
        position = self.position
        return Slab.around(mode, position, self.before, self.after, index)  # type: ignore[arg-type]


def slice_of(dims: Dims, layer: Layer) -> LayerSlice:
    """Return where napari slices a layer.

    As napari does it, in the units of the layer, and without what a rotation or shear of the
    slice against the axes on screen would add.
    """
    displayed = layer_axes(dims, layer)

    def sliced(world: ArrayLike) -> NDArray[np.float64]:
        values = _last(np.asarray(world, float), layer.ndim)
        values[list(displayed)] = 0
        at = data_of_world(dims, layer, values)
        at[list(displayed)] = 0
        return np.nan_to_num(at, nan=0)

    if not (any(dims.margin_left) or any(dims.margin_right)):
        nothing = np.zeros(layer.ndim)
        return LayerSlice(displayed, sliced(dims.point), nothing, nothing)
    zero = sliced(np.zeros(layer.ndim))
    before, after = (sliced(margin) - zero for margin in (dims.margin_left, dims.margin_right))
    return LayerSlice(displayed, sliced(dims.point), before, after)


def layer_axes(dims: Dims, layer: Layer) -> tuple[int, ...]:
    """Return which axes of a layer are on screen, ascending; negative where it has none."""
    return tuple(sorted(axis - (dims.ndim - layer.ndim) for axis in dims.displayed))


def data_of_world(dims: Dims, layer: Layer, world: ArrayLike) -> NDArray[np.float64]:
    """Return a layer's pixel at world coordinates, which are in the viewer's units."""
    at = _last(np.asarray(world, float), layer.ndim)
    return np.asarray(layer.world_to_data(at * _viewer_units(dims, layer)), float)


def world_of_data(dims: Dims, layer: Layer, data: ArrayLike) -> NDArray[np.float64]:
    """Return where a layer's pixel is, in the viewer's units."""
    return np.asarray(layer.data_to_world(data), float) / _viewer_units(dims, layer)


def geometry_on_screen(dims: Dims, image: Image) -> dict[str, Any]:
    """Return the geometry that puts a layer where an image is shown, in the viewer's units.

    With layers of several units napari draws each where it belongs, but takes a mouse's position,
    which is in the viewer's units, for one in those of the layer: a layer to click in has the
    viewer's.
    """
    geometry, factors = geometry_of(image), _viewer_units(dims, image)
    if np.all(factors == 1):
        return geometry
    to_viewer = np.diag([*(1 / factors), 1.0])
    units = dims.units[-image.ndim :]
    return {**geometry, "affine": to_viewer @ geometry["affine"], "units": units}


def _last(values: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Return a copy of the last values, with zeros before them where there are too few."""
    return np.concatenate([np.zeros(max(0, count - len(values))), values[-count:]])


def _viewer_units(dims: Dims, layer: Layer) -> NDArray[np.float64]:
    """Return how many of a layer's units the viewer's unit is, for every axis of the layer.

    The viewer has none where its layers have units that can't be converted to each other.
    """
    units = getattr(dims, "units", None)
    if units is None or len(units) < layer.ndim:
        return np.ones(layer.ndim)
    return unit_factors(units[-layer.ndim :], layer.units)
