"""Makes and styles the layers through which a session is edited, and checks labels layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import ReferenceType, WeakKeyDictionary, ref

import numpy as np
import pandas as pd
from napari.layers import Image, Labels, Layer, Points, Shapes
from numpy.typing import NDArray

from napari_sam.gui.palette import GREEN, RED, YELLOW
from napari_sam.gui.placement import finest, geometry_of, geometry_text, lies_on, shape_of
from napari_sam.gui.prompt_columns import NEGATIVE, POSITIVE, empty_columns, new_defaults
from napari_sam.gui.shape_rows import SIGNS as SHAPE_SIGNS

COLOURS = {POSITIVE: GREEN, NEGATIVE: RED}
SYMBOLS = {POSITIVE: "disc", NEGATIVE: "cross"}
BOX_COLOUR = YELLOW
SHAPE_COLOURS = {"": BOX_COLOUR, SHAPE_SIGNS[1]: GREEN, SHAPE_SIGNS[0]: RED}
"""Colours of shapes by sign; boxes and lassos have none."""

_LARGEST_ARRAY = 4 << 30  # bytes; larger labels keep only the chunks that are written to
_LARGE_PLANE = 2048 * 2048  # pixels; napari takes long to show labels of a larger plane
_PAINTING = ("paint", "erase", "fill", "polygon", "pick")  # modes of a Labels layer
_DIM = 0.35  # opacity of the prompts of other objects

_MASKS: WeakKeyDictionary[Labels, tuple[ReferenceType[Image], tuple[int, ...]]] = (
    WeakKeyDictionary()  # the image they were made for, and the shape they were given
)


def new_points(image: Image) -> Points:
    """Return a points layer for the clicks on an image, with the image's geometry."""
    features = pd.DataFrame(empty_columns())
    defaults = new_defaults(features, {"label": POSITIVE, "object": 1, "id": 0})
    return Points(
        ndim=image.ndim,
        features=features,
        feature_defaults=defaults,
        size=_point_size(image),
        canvas_size_limits=(0, 14),
        face_color=COLOURS[POSITIVE],
        border_color="white",
        border_width=0.12,
        name=f"{image.name} · prompts",
        **geometry_of(image),
    )


def new_shapes(image: Image) -> Shapes:
    """Return a shapes layer for boxes, strokes and lassos, with the image's geometry."""
    width = _point_size(image) / 6
    columns = {"object": np.empty(0, np.uint64), "id": np.empty(0, int)}
    return Shapes(
        ndim=image.ndim,
        features=pd.DataFrame({**columns, "sign": np.empty(0, object)}),
        feature_defaults={"object": 1, "id": 0, "sign": ""},
        edge_color=BOX_COLOUR,
        edge_width=width,
        face_color="transparent",
        name=f"{image.name} · shapes",
        **geometry_of(image),
    )


def new_labels(image: Image) -> Labels:
    """Return an empty labels layer for the masks of an image, with the image's geometry.

    Labels of a large plane have 16 bits, which napari shows without a pass over all pixels.
    Labels of a very large image are a zarr array in memory, which holds only the chunks that are
    written to.

    Raises
    ------
    MemoryError
        If such an array is needed and zarr isn't installed.
    """
    shape = shape_of(image)
    dtype = np.dtype(np.uint16 if len(shape) == 2 and has_large_planes(image) else np.int32)
    large = dtype.itemsize * int(np.prod(shape, dtype=np.int64)) > _LARGEST_ARRAY
    data: Any = _sparse_labels(shape) if large else np.zeros(shape, dtype)
    return Labels(data, name=f"{image.name} · masks", opacity=0.5, **geometry_of(image))


def has_large_planes(image: Image) -> bool:
    """Whether napari takes long to show labels of an image's size, even empty ones."""
    return int(np.prod(shape_of(image)[-2:], dtype=np.int64)) > _LARGE_PLANE


def note_masks(layer: Labels, image: Image) -> None:
    """Remember, as long as both exist, that a layer was made for the masks of an image."""
    _MASKS[layer] = ref(image), tuple(layer.data.shape)


def forget_masks(layer: Labels) -> None:
    """Forget that a layer was made for the masks of an image."""
    _MASKS.pop(layer, None)


def image_of_masks(layer: Layer) -> Image | None:
    """Return the image that a layer was made for as its masks; None for any other layer."""
    made = _MASKS.get(layer) if isinstance(layer, Labels) else None
    return made[0]() if made is not None else None


def is_behind(layer: Labels, image: Image) -> bool:
    """Whether masks made for an image are smaller only because the image has grown since."""
    made, shape = _MASKS.get(layer), shape_of(image)
    return (
        made is not None
        and made[0]() is image
        and made[1] == tuple(layer.data.shape)
        and len(made[1]) == len(shape)
        and all(old <= n for old, n in zip(made[1], shape, strict=True))
    )


def grow_masks(layer: Labels, image: Image) -> None:
    """Enlarge masks to their image's present shape; new pixels are 0, others stay."""
    data, shape = layer.data, shape_of(image)
    if isinstance(data, np.ndarray):
        grown = np.zeros(shape, data.dtype)
        grown[tuple(slice(n) for n in data.shape)] = data
    else:
        data.resize(shape)
        grown = data
    layer.data = grown
    note_masks(layer, image)


def fits(layer: Layer, image: Image) -> bool:
    """Whether masks of an image can be written to a layer."""
    return isinstance(layer, Labels) and not misfit(layer, image)


def misfit(layer: Labels, image: Image) -> str:
    """Return why masks of an image can't be written to a layer; empty if they can.

    The labels must be writable, lie on the image, have its shape and a single resolution. Masks
    that were made for the image may lack planes that it gained since.
    """
    data = finest(layer)
    if layer.multiscale or (tuple(data.shape) != shape_of(image) and not is_behind(layer, image)):
        kind = "multiscale labels" if layer.multiscale else type(data).__name__
        return (
            f"expected labels of shape {shape_of(image)} held in memory or zarr, as "
            f"'{image.name}' needs, got {kind} of shape {tuple(data.shape)} in '{layer.name}'; "
            "pick another layer or a new one"
        )
    if not is_writable(data):
        return (
            f"expected labels that can be written, got '{layer.name}', whose "
            f"{type(data).__name__} is read-only; duplicate the layer or pick a new one"
        )
    if not lies_on(layer, image):
        return (
            f"expected labels that lie on '{image.name}', which has "
            f"{geometry_text(image, layer)}, got '{layer.name}' with "
            f"{geometry_text(layer, image)}; give both the same geometry, or pick another layer "
            "or a new one"
        )
    return ""


def is_writable(data: Any) -> bool:
    """Whether an array can be written to; dask arrays and read-only files can't."""
    if isinstance(data, np.ndarray):
        return bool(data.flags.writeable)
    read_only = hasattr(data, "dask") or bool(getattr(data, "read_only", False))
    return hasattr(data, "__setitem__") and not read_only


def is_painted(layer: Layer | None) -> bool:
    """Whether a click in the canvas changes or picks a label of a layer."""
    return isinstance(layer, Labels) and str(layer.mode) in _PAINTING


def style_points(layer: Points, current: int, touched: NDArray[np.intp] | None = None) -> None:
    """Show signs by colour and symbol, and dim the prompts of other objects.

    Parameters
    ----------
    layer
        The points layer.
    current
        The current object.
    touched
        Rows whose sign may have changed; by default all.
    """
    table = layer.features
    rows = np.arange(len(table)) if touched is None else touched
    if not len(table):
        return
    bright = np.where(table["object"].to_numpy() == current, 1.0, _DIM)
    colours, borders = layer.face_color.copy(), layer.border_color.copy()
    colours[:, 3] = borders[:, 3] = bright
    borders[rows, :3] = 1.0
    positive = table["label"].to_numpy()[rows] == POSITIVE
    colours[rows, :3] = np.where(
        positive[:, None], _rgba(COLOURS[POSITIVE])[:3], _rgba(COLOURS[NEGATIVE])[:3]
    )
    symbols = [SYMBOLS[POSITIVE if is_positive else NEGATIVE] for is_positive in positive]
    # setting a property redraws all points
    if not np.allclose(layer.face_color, colours, atol=1e-3):
        layer.face_color = colours
    if not np.allclose(layer.border_color, borders, atol=1e-3):
        layer.border_color = borders
    if [str(symbol) for symbol in layer.symbol[rows]] != symbols:
        every = layer.symbol.copy()
        every[rows] = symbols
        layer.symbol = every


def style_next_point(layer: Points, sign: str) -> None:
    """Set the style of the next point to that of its sign."""
    with layer.block_update_properties():
        layer.current_face_color = COLOURS[sign]
        layer.current_border_color = "white"
        layer.current_symbol = SYMBOLS[sign]


def write_signs(layer: Shapes, signs: Sequence[str]) -> None:
    """Write the sign beside every stroke, so that its colour isn't the only mark."""
    if any(signs):
        colours = [SHAPE_COLOURS[sign] for sign in signs]
        layer.text = {"string": list(signs), "color": colours, "size": 16}
    elif np.any(layer.text.values != ""):
        layer.text = {"string": {"constant": ""}}


def has_style(layer: Shapes, row: int, sign: str) -> bool:
    """Whether a shape has the colour of its sign."""
    return np.allclose(layer.edge_color[row], _rgba(SHAPE_COLOURS[sign]), atol=1e-2)


def width_of_shape(sign: str, width: float) -> float:
    """Return the width at which a shape is drawn; strokes are wider, to be seen and grabbed."""
    return 3 * width if sign else width


def style_next_shape(layer: Shapes, sign: str, width: float) -> None:
    """Set the style of the next shape to that of its sign."""
    with layer.block_update_properties():
        layer.current_edge_width = width_of_shape(sign, width)
        layer.current_edge_color = SHAPE_COLOURS[sign]


def _point_size(image: Image) -> float:
    return max(3.0, max(shape_of(image)[-2:]) / 60)


def _rgba(colour: str) -> list[float]:
    return [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)] + [1.0]


def _sparse_labels(shape: tuple[int, ...]) -> Any:
    try:
        import zarr
    except ModuleNotFoundError as error:
        raise MemoryError(
            f"expected labels of shape {shape} to fit into memory; install zarr "
            "(pip install 'napari-sam-live[zarr]') to keep what is written alone, or make a "
            "Labels layer and pick it"
        ) from error
    chunks = (*(1 for _ in shape[:-2]), *(min(n, 1024) for n in shape[-2:]))
    store = zarr.storage.MemoryStore()
    return zarr.create_array(store, shape=shape, chunks=chunks, dtype="int32")
