"""Where napari slices a layer, with units, transforms and thick slices."""

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
        `(ndim,)`: the middle of the slice, and its extent to either side; 0 for the axes on
        screen.
    """

    displayed: tuple[int, ...]
    position: NDArray[np.float64]
    before: NDArray[np.float64]
    after: NDArray[np.float64]

    def slab(self, image: Image, index: list[int]) -> Slab | None:
        """Return the planes projected onto the plane at an index; None if it is a single plane."""
        mode = str(image.projection_mode)
        if mode == "none" or not (self.before.any() or self.after.any()):
            return None
        position = self.position
        return Slab.around(mode, position, self.before, self.after, index)  # type: ignore[arg-type]


def slice_of(dims: Dims, layer: Layer) -> LayerSlice:
    """Return where napari slices a layer, in the layer's pixels.

    As in napari, units are converted to those of the layer, and a rotation or shear of the slice
    against the axes on screen is ignored.
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
    """Return the axes of a layer that are on screen, ascending; negative if it lacks an axis."""
    return tuple(sorted(axis - (dims.ndim - layer.ndim) for axis in dims.displayed))


def data_of_world(dims: Dims, layer: Layer, world: ArrayLike) -> NDArray[np.float64]:
    """Return a layer's data coordinates for world coordinates in the viewer's units."""
    at = _last(np.asarray(world, float), layer.ndim)
    return np.asarray(layer.world_to_data(at * _viewer_units(dims, layer)), float)


def world_of_data(dims: Dims, layer: Layer, data: ArrayLike) -> NDArray[np.float64]:
    """Return world coordinates in the viewer's units for a layer's data coordinates."""
    return np.asarray(layer.data_to_world(data), float) / _viewer_units(dims, layer)


def geometry_on_screen(dims: Dims, image: Image) -> dict[str, Any]:
    """Return the geometry that puts a layer where an image is shown, in the viewer's units.

    If layers have different units, napari draws each at the right place, but treats the mouse's
    position, which is in the viewer's units, as if it were in the layer's. So a layer that takes
    clicks must have the viewer's units.
    """
    geometry, factors = geometry_of(image), _viewer_units(dims, image)
    if np.all(factors == 1):
        return geometry
    to_viewer = np.diag([*(1 / factors), 1.0])
    units = dims.units[-image.ndim :]
    return {**geometry, "affine": to_viewer @ geometry["affine"], "units": units}


def _last(values: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Return a copy of the last `count` values, with zeros in front if there are fewer."""
    return np.concatenate([np.zeros(max(0, count - len(values))), values[-count:]])


def _viewer_units(dims: Dims, layer: Layer) -> NDArray[np.float64]:
    """Return the viewer's unit in a layer's units, for every axis of the layer.

    It is 1 if the layers of the viewer have units that can't be converted to each other.
    """
    units = getattr(dims, "units", None)
    if units is None or len(units) < layer.ndim:
        return np.ones(layer.ndim)
    return unit_factors(units[-layer.ndim :], layer.units)
