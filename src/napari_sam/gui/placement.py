"""The geometry of layers: their transforms compared, copied, and kept equal to an image's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from itertools import product
from typing import Any

import numpy as np
import pint
from napari.layers import Image, Labels, Layer
from numpy.typing import NDArray

from napari_sam.gui.delay import Delay

TOLERANCE = 0.5
"""Pixels by which layers may be displaced and still count as lying on each other."""

_TRANSFORMS = ("scale", "rotate", "shear", "translate", "affine", "units", "axis_labels")


def geometry_of(layer: Layer) -> dict[str, Any]:
    """Return the transforms, units and axis labels that place a layer in the world."""
    values = {name: getattr(layer, name) for name in _TRANSFORMS if name != "affine"}
    # a copy: a layer made with another layer's Affine would share it
    return {**values, "affine": np.array(layer.affine.affine_matrix)}


def finest(layer: Image | Labels) -> Any:
    """Return the array of a layer; for a multiscale layer, that of its finest level."""
    return layer.data[0] if layer.multiscale else layer.data


def shape_of(image: Image) -> tuple[int, ...]:
    """Return the length of every axis of an image at its finest level, without the RGB axis."""
    return tuple(int(n) for n in finest(image).shape[: image.ndim])


def shape_text(shape: tuple[int, ...]) -> str:
    """Return a shape as text, such as ``5 × 120 × 160``."""
    return " × ".join(str(n) for n in shape)


def same_geometry(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two geometries agree up to rounding."""
    return all(_same(value, other[name]) for name, value in one.items())


def place(layer: Layer, geometry: dict[str, Any]) -> None:
    """Give a layer a geometry; only values that differ are set, since each redraws the layer."""
    own = geometry_of(layer)
    for name, value in geometry.items():
        if not _same(own[name], value):
            setattr(layer, name, value)


def lies_on(layer: Layer, image: Image) -> bool:
    """Whether a layer of an image's shape shows each pixel where the image shows it.

    The tolerance is half a pixel of the image. It is checked at all corners; the transforms are
    affine, so it holds everywhere between.
    """
    if layer.ndim != image.ndim:
        return False
    if same_geometry(geometry_of(layer), geometry_of(image)):
        return True
    factors = unit_factors(layer.units, image.units)
    for corner in product(*((0.0, n - 1.0) for n in shape_of(image))):
        world = np.asarray(layer.data_to_world(corner), float) * factors
        if not np.all(np.abs(np.asarray(image.world_to_data(world)) - corner) <= TOLERANCE):
            return False
    return True


def connect(layer: Layer, call: Callable[..., None], verb: str = "connect") -> None:
    """Connect a function to the events of a layer's transforms, or "disconnect" it."""
    for name in _TRANSFORMS:
        getattr(getattr(layer.events, name), verb)(call)


def geometry_text(layer: Layer, beside: Layer) -> str:
    """Return a layer's transforms that differ from another's as text: ``scale (2, 2)``."""
    own, other = geometry_of(layer), geometry_of(beside)
    differing = [name for name in _TRANSFORMS if not _same(own[name], other[name])]
    return ", ".join(
        f"{name} {_value_text(own[name])}" for name in differing if name != "axis_labels"
    )


class Followers:
    """Layers that move with their image.

    Parameters
    ----------
    image
        The image that they follow.
    moved
        Called a moment after the image or a watched layer was moved, once for several changes in
        a row such as scale and translation.
    geometry
        Returns the geometry that puts a layer where the image is; by default the image's own.

    Notes
    -----
    Layers added with ``held=True`` are editors: their coordinates are the image's pixels, so they
    must lie on it. If they are moved, they are put back, and `moved` gets them. Other layers
    follow only while they lie where the image lies; a layer that the user has moved stays there.
    """

    def __init__(
        self,
        image: Image,
        moved: Callable[[list[Layer]], None],
        geometry: Callable[[], dict[str, Any]] | None = None,
    ) -> None:
        self._image = image
        self._moved = moved
        self._geometry_now = geometry or partial(geometry_of, image)
        self._closed = False
        self._held: list[Layer] = []
        self._free: list[Layer] = []
        self._watched: list[Layer] = []
        self._geometry = self._geometry_now()
        self._settling = Delay(0, self._settled)
        connect(image, self.follow)

    def follow(self, event: Any = None) -> None:
        """Move the layers if the image's geometry has changed."""
        geometry = self._geometry_now()
        in_step = [x for x in self._free if same_geometry(geometry_of(x), self._geometry)]
        self._geometry = geometry
        for layer in (*self._held, *in_step):
            if layer.ndim == self._image.ndim:
                place(layer, geometry)
        self._stir()

    def add(self, layer: Layer, held: bool = False) -> None:
        """Put a layer where the image is, and let it follow."""
        place(layer, self._geometry)
        (self._held if held else self._free).append(layer)
        self.watch(layer)

    def take_up(self, layer: Layer) -> None:
        """Let an existing layer follow if it lies exactly where the image does; watch it anyway."""
        if same_geometry(geometry_of(layer), self._geometry) and not self.follows(layer):
            self._free.append(layer)
        self.watch(layer)

    def watch(self, layer: Layer) -> None:
        """Report when a layer is moved, without moving it."""
        if not _among(layer, self._watched):
            self._watched.append(layer)
            connect(layer, self._stir)

    def forget(self, layer: Layer) -> None:
        """Disconnect from a layer."""
        if _among(layer, self._watched):
            connect(layer, self._stir, "disconnect")
        for layers in (self._held, self._free, self._watched):
            layers[:] = [other for other in layers if other is not layer]

    def follows(self, layer: Layer) -> bool:
        """Whether a layer moves with the image."""
        return _among(layer, [*self._held, *self._free])

    def close(self) -> None:
        """Disconnect from the image and from every layer."""
        self._settling.close()
        connect(self._image, self.follow, "disconnect")
        for layer in list(self._watched):
            self.forget(layer)
        self._closed = True

    def _stir(self, event: Any = None) -> None:
        if not self._closed:
            self._settling.start()

    def _settled(self) -> None:
        back = [x for x in self._held if not same_geometry(geometry_of(x), self._geometry)]
        for layer in back:
            place(layer, self._geometry)
        self._moved(back)


def _among(layer: Layer, layers: Iterable[Layer]) -> bool:
    return any(layer is other for other in layers)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray):
        return one.shape == np.shape(other) and np.allclose(one, other, rtol=1e-9, atol=1e-12)
    return bool(one == other)


def unit_factors(units: Sequence[pint.Unit], others: Sequence[pint.Unit]) -> NDArray[np.float64]:
    """Return the factors that convert values from some units to others, axis by axis.

    If there are more `others`, the last ones are used, since the axes of a layer with fewer axes
    are the last ones of a viewer or an image. As in napari, all factors are 1 unless every unit
    can be converted.
    """
    if len(others) < len(units):
        return np.ones(len(units))
    factors = [_factor(*pair) for pair in zip(units, others[-len(units) :], strict=True)]
    return np.array([1.0 if None in factors else factor for factor in factors], float)


@lru_cache(maxsize=256)
def _factor(unit: pint.Unit, other: pint.Unit) -> float | None:
    """Return the factor between two units; None if they can't be converted."""
    base = pint.get_application_registry().get_base_units
    (size, kind), (other_size, other_kind) = base(unit), base(other)
    return float(size / other_size) if kind == other_kind else None


def _value_text(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return str(np.round(value, 6).tolist())
    return ", ".join(str(one) for one in value) if isinstance(value, Sequence) else str(value)
