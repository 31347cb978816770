"""The planes of an image layer for a session, and which of them is on screen."""

from __future__ import annotations

import numpy as np
from napari.components import Dims, ViewerModel
from napari.layers import Image

from napari_sam.gui.placement import finest, shape_of
from napari_sam.gui.slicing import LayerSlice, data_of_world, layer_axes, slice_of
from napari_sam.prompts import Box
from napari_sam.session import ArraySource, Channel, Plane, plane_axes

Colours = tuple[Channel | None, Channel | None, Channel | None]

_CHANNEL_NAMES = {"c", "ch", "channel", "channels"}
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722])  # of red, green and blue, ITU-R BT.709
_DARKER = 0.2  # luminance from 0 to 1; a colormap with a smaller difference isn't inverted
_MOST_CHANNELS = 5  # a longer unnamed axis is more likely depth or time


def source_of(
    image: Image,
    dims: Dims | None = None,
    channels: Colours | None = None,
    revision: int = 0,
) -> ArraySource:
    """Return the source of an image layer's planes, at the finest level of a multiscale image.

    Parameters
    ----------
    image
        The layer.
    dims
        The viewer's dims, which define the axes that planes span and the thickness of slices.
    channels
        Channels that the model gets as red, green and blue instead of the layer.
    revision
        As for :class:`~napari_sam.session.ArraySource`.

    Raises
    ------
    ValueError
        If the image has no planes, for example because it is empty.
    """
    data = finest(image)
    if channels is not None and not any(channels):
        channels = None
    axis = channel_axis(image) if channels and any(c and c.data is data for c in channels) else None
    limits, slab = shown_limits(image), None
    displayed = displayed_axes(dims, image) if dims is not None else None
    if dims is not None and displayed is not None:
        here = slice_of(dims, image)
        slab = here.slab(image, _index(here, image))
    return ArraySource(
        data,
        image.rgb,
        displayed,
        None if image.auto_contrast else limits,
        axis,
        channels,
        revision,
        slab=slab,
        gamma=float(image.gamma),
        inverted=is_inverted(image),
        autocontrast=bool(image.auto_contrast),
    )


def limits_of(image: Image) -> tuple[float, float]:
    """Return a layer's contrast limits as plain numbers."""
    low, high = image.contrast_limits
    return float(low), float(high)


def shown_limits(image: Image) -> tuple[float, float] | None:
    """Return the limits that the layer's display stretches; None for unchanged uint8 RGB.

    napari applies the contrast limits to each sample of RGB images of every dtype.
    """
    limits = limits_of(image)
    unchanged = image.rgb and image.dtype == np.uint8 and limits == (0.0, 255.0)
    return None if unchanged else limits


def is_inverted(image: Image) -> bool:
    """Whether a layer's colormap shows high values clearly darker than low ones.

    This is all that the model gets of a colormap: otherwise it sees grey values.
    """
    if image.rgb:
        return False
    low, high = image.colormap.map(np.array([0.0, 1.0]))[:, :3] @ _LUMINANCE
    return bool(low > high + _DARKER)


def channel_axis(image: Image) -> int | None:
    """Return the channel axis of a layer: by its name, else a short unnamed axis, else None."""
    shape = shape_of(image)
    for axis, name in enumerate(image.axis_labels):
        if name.lower() in _CHANNEL_NAMES:
            return axis
    unnamed = [axis for axis in range(image.ndim - 2) if not _is_named(image, axis)]
    short = [axis for axis in unnamed if 2 <= shape[axis] <= _MOST_CHANNELS]
    return short[-1] if short else None


def displayed_axes(dims: Dims, image: Image) -> tuple[int, int] | None:
    """Return the two axes of a layer that are on screen; None in 3-D."""
    if dims.ndisplay != 2:
        return None
    first, second = layer_axes(dims, image)
    return (first, second) if first >= 0 else None


def displayed_plane(dims: Dims, image: Image, source: ArraySource) -> Plane | None:
    """Return the plane of a layer that is on screen; None in 3-D or outside the image.

    For a thick slice it is the plane in the middle.
    """
    axes = displayed_axes(dims, image)
    if axes is None:
        return None
    here = slice_of(dims, image)
    index, slab = _index(here, image), here.slab(image, _index(here, image))
    thick = (here.before, here.after) if slab is not None else (0, 0)
    first, last = np.round(here.position - thick[0]), np.round(here.position + thick[1])
    if np.any(last < 0) or np.any(first > np.subtract(shape_of(image), 1)):
        return None
    at: list[int | None] = [None if axis in axes else i for axis, i in enumerate(index)]
    try:
        return source.plane_of(at)
    except ValueError:  # the image has another shape than the source by now
        return None


def why_no_plane(dims: Dims, image: Image) -> str:
    """Return a message: why no plane of a layer is on screen, and what to do."""
    if dims.ndisplay != 2:
        return (
            "expected a plane on screen, got the 3-D view; go back to the slice first, with "
            "Back to the slice in the dock or the square below the layer list"
        )
    if displayed_axes(dims, image) is None:
        return (
            f"expected a prompt on a plane of '{image.name}', got one in a view across an axis "
            "that this image doesn't have; change the order of the axes"
        )
    index = np.round(slice_of(dims, image).position).astype(int).tolist()
    displayed = displayed_axes(dims, image) or ()
    beyond = [
        f"{axis_name(image, axis)} {i} of 0 to {n - 1}"
        for axis, (i, n) in enumerate(zip(index, shape_of(image), strict=True))
        if axis not in displayed and not 0 <= i < n
    ]
    return (
        f"expected a prompt on a plane of '{image.name}', got one where it has none "
        f"({', '.join(beyond)}); scroll back into the image"
    )


def _index(here: LayerSlice, image: Image) -> list[int]:
    """Return the index of the plane in the middle of a slice, or of the nearest in the image."""
    highest = np.subtract(shape_of(image), 1)
    index: list[int] = np.clip(np.round(here.position), 0, highest).astype(int).tolist()
    return index


def scrolled_axis(image: Image, source: ArraySource, plane: Plane) -> int | None:
    """Return the innermost axis that a plane has an index on, channels last; None in 2-D."""
    free = [axis for axis, i in enumerate(plane) if i is not None and axis != source.channel_axis]
    channels = channel_axis(image)
    return max(free, key=lambda axis: (axis != channels, axis), default=None)


def slider_axes(image: Image, source: ArraySource, plane: Plane) -> list[int]:
    """Return the axes with a slider and more than one position, except channels."""
    channels = {source.channel_axis, channel_axis(image)}
    shape = shape_of(image)
    return [a for a, i in enumerate(plane) if i is not None and a not in channels and shape[a] > 1]


def middle_of_view(viewer: ViewerModel, image: Image, plane: Plane) -> tuple[float, float]:
    """Return the (row, column) of a plane that is nearest to the middle of the canvas."""
    ((row, column),) = _on_plane(viewer, image, plane, [(0.0, 0.0)]).tolist()
    return row, column


def visible_part(viewer: ViewerModel, image: Image, plane: Plane) -> Box:
    """Return the box (row 0, column 0, row 1, column 1) of the part of a plane on screen.

    If the plane is rotated, this is the box around that part.
    """
    height, width = np.divide(viewer.canvas.size, 2 * viewer.scene.camera.zoom)
    corners = [(r, c) for r in (-height, height) for c in (-width, width)]
    points = _on_plane(viewer, image, plane, corners)
    (r0, c0), (r1, c1) = points.min(0).tolist(), points.max(0).tolist()
    return r0, c0, r1, c1


def _on_plane(
    viewer: ViewerModel, image: Image, plane: Plane, offsets: list[tuple[float, float]]
) -> np.ndarray:
    """Return the `(N, 2)` pixels of a plane nearest to offsets from the canvas's middle."""
    points = []
    for offset in offsets:
        world = list(viewer.dims.point)
        middle = viewer.scene.camera.center[-2:]
        for axis, at, by in zip(viewer.dims.displayed, middle, offset, strict=True):
            world[axis] = at + by
        _, point = plane_and_point(data_of_world(viewer.dims, image, world), plane)
        points.append(point)
    shape = [n for n, i in zip(shape_of(image), plane, strict=True) if i is None]
    return np.clip(points, 0, np.subtract(shape, 1))


def plane_and_point(coordinates: np.ndarray, pattern: Plane) -> tuple[Plane, tuple[float, float]]:
    """Split a layer's coordinates into the plane and (row, column) on it.

    Parameters
    ----------
    coordinates
        `(ndim,)` data coordinates.
    pattern
        Any plane that spans the same axes.
    """
    rows, columns = plane_axes(pattern)
    plane = tuple(
        None if i is None else int(np.round(x)) for i, x in zip(pattern, coordinates, strict=True)
    )
    return plane, (float(coordinates[rows]), float(coordinates[columns]))


def coordinates_of(plane: Plane, point: tuple[float, float]) -> list[float]:
    """Return a layer's coordinates of a (row, column) on a plane."""
    rows, columns = plane_axes(plane)
    at = {rows: point[0], columns: point[1]}
    return [at[axis] if i is None else float(i) for axis, i in enumerate(plane)]


def plane_name(image: Image, plane: Plane, source: ArraySource | None = None) -> str:
    """Return the position of a plane as text, such as ``t 3/12 · z 5/40``; empty in 2-D.

    Positions count from 0. If the source projects several planes, they are named too:
    ``z 5/40 (mean of 3 to 7)``.
    """
    shape = shape_of(image)
    names = []
    for axis, i in enumerate(plane):
        if i is None:
            continue
        name = f"{axis_name(image, axis)} {i}/{shape[axis] - 1}"
        first, end = source.span_of(plane, axis) if source else (i, i + 1)
        if source and source.slab and end - first > 1:
            name += f" ({source.slab.projection} of {first} to {end - 1})"
        names.append(name)
    return " · ".join(names)


def axis_name(image: Image, axis: int) -> str:
    """Return the name of an axis, or if it has none, ``plane`` or ``axis`` and its index."""
    if _is_named(image, axis):
        return str(image.axis_labels[axis])
    return "plane" if image.ndim == 3 else f"axis {axis}"


def _is_named(image: Image, axis: int) -> bool:
    """Whether an axis has a name: napari labels the others with negative numbers."""
    return not str(image.axis_labels[axis]).lstrip("-").isdigit()
