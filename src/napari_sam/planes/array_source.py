"""Planes of an array, as a viewer shows them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam.geometry import Region
from napari_sam.image import (
    Limits,
    as_pixels,
    as_shown,
    common_limits,
    normalise,
    sampled_planes,
    value_range,
)
from napari_sam.lazy_plane import LARGE, LazyPlane
from napari_sam.plane_input import ColourInput, PlaneInput, checksum
from napari_sam.planes.slabs import Slab
from napari_sam.planes.source import Plane, extends, plane_axes
from napari_sam.planes.tokens import token_of


@dataclass(frozen=True, slots=True, eq=False)
class Channel:
    """One of the model's colours: an array of the source's shape, or one index of its channels.

    Parameters
    ----------
    data
        Array-like of the source's shape.
    index
        Position on the source's channel axis; of no meaning where the source has none.
    contrast_limits
        Limits to stretch by; None finds one robust pair for the whole channel.
    name
        Of the layer it comes from, where that is another one than the source's.
    gamma, inverted
        As of :class:`ArraySource`.
    """

    data: Any
    index: int = 0
    contrast_limits: Limits | None = None
    name: str = ""
    gamma: float = 1.0
    inverted: bool = False

    @property
    def stamp(self) -> Hashable:
        """Hashable value that changes with the channel's pixels or appearance."""
        style = self.contrast_limits, self.gamma, self.inverted
        return token_of(self.data), self.index, *style


@dataclass(frozen=True, eq=False)
class ArraySource:
    """Planes of one array (NumPy, dask, zarr, anything that slices like one).

    Parameters
    ----------
    data
        The array.
    rgb
        Whether its last axis holds 3 or 4 samples, of which a fourth, alpha, is dropped.
    displayed
        The two axes that a plane spans; the last two by default.
    contrast_limits
        Pair given to the model; None finds one robust pair for all planes, except for uint8 RGB,
        which the model takes as it is.
    channel_axis
        Axis whose positions are the model's colours instead of planes of their own.
    channels
        What becomes red, green and blue (None stays black); all None shows `data` itself.
    revision
        Raise it when the array's content changes.
    content
        Value that identifies the array in :attr:`stamp`; by default the array's identity. A source
        with the planes of another one and more has that of the other.
    slab
        How planes around each one are projected onto it; None reads each plane alone.
    gamma, inverted
        How values between the limits are displayed: their exponent, and whether high values are
        dark.
    autocontrast
        Every plane is stretched between its own lowest and highest value (uint8 between 0 and
        255, as napari does it), whatever `contrast_limits` are.

    Notes
    -----
    The shape is that of the array when the source was made: one that is resized in place is read
    only where this shape still lies within its new one.
    """

    data: Any
    rgb: bool = False
    displayed: tuple[int, int] | None = None
    contrast_limits: Limits | None = None
    channel_axis: int | None = None
    channels: tuple[Channel | None, Channel | None, Channel | None] | None = None
    revision: int = 0
    content: Hashable = None
    slab: Slab | None = None
    gamma: float = 1.0
    inverted: bool = False
    autocontrast: bool = False
    _found: dict[int, Limits] = field(default_factory=dict, init=False, repr=False)
    _shape: tuple[int, ...] = field(default=(), init=False, repr=False)

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in np.shape(self.data))
        if len(shape) - self.rgb < 2:
            raise ValueError(
                f"expected an image of at least 2 axes, got shape {shape}; "
                "add an axis or open the file as an image"
            )
        if self.rgb and shape[-1] not in (3, 4):
            raise ValueError(
                f"expected 3 or 4 samples in the last axis of an RGB image, got shape {shape}; "
                "open it with rgb=False and choose channels"
            )
        if 0 in shape:
            raise ValueError(f"expected an image with pixels, got shape {shape}")
        object.__setattr__(self, "_shape", shape[:-1] if self.rgb else shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of every axis, without the samples of RGB."""
        return self._shape

    @property
    def spanned(self) -> tuple[int, int]:
        """The two axes of a plane, in ascending order: its rows and columns."""
        first, second = self.displayed or (len(self.shape) - 2, len(self.shape) - 1)
        return min(first, second), max(first, second)

    @property
    def identity(self) -> Hashable:
        """What stands for the array in :attr:`stamp`."""
        return token_of(self.data) if self.content is None else self.content

    @property
    def stamp(self) -> Hashable:
        """Hashable value that changes when the pixels of planes do."""
        channels = self.channels and tuple(c and c.stamp for c in self.channels)
        slab = self.slab and (self.slab, self.shape)  # which ends where the image does
        style = self.contrast_limits, self.gamma, self.inverted, self.autocontrast
        return *self.content_stamp, self.channel_axis, channels, slab, *style

    @property
    def content_stamp(self) -> tuple[Hashable, int]:
        """Hashable value that changes when the image's content does, however it is shown."""
        return self.identity, self.revision

    @property
    def limits(self) -> Limits | None:
        """The pair for all planes of `data`, found in sampled ones where it is not given.

        None for uint8 RGB, which the model takes as it is.
        """
        if self.contrast_limits is not None or (self.rgb and self._is_uint8):
            return self.contrast_limits
        return self._limits(-1, Channel(self.data))

    @property
    def _is_uint8(self) -> bool:
        dtype = getattr(self.data, "dtype", None)
        if dtype is None:  # something that is only read by indexing
            dtype = as_pixels(self.data[(0,) * len(self.shape)]).dtype
        return str(dtype) in ("uint8", "torch.uint8")

    def plane_of(self, index: object = ()) -> Plane:
        """Complete a plane from indices.

        Parameters
        ----------
        index
            A complete plane, an int, or the indices of the axes that a plane doesn't span, in
            the array's order.

        Returns
        -------
        plane
            With an index for each axis, and None for the two that it spans.

        Raises
        ------
        ValueError
            If their number doesn't fit or one lies outside.
        """
        given = tuple(index) if isinstance(index, Sequence) else (index,)
        free = self._free_axes()
        if len(given) == len(free):
            at = dict(zip(free, given, strict=True)) | dict.fromkeys(self.spanned)
            plane = tuple(at.get(axis, 0) for axis in range(len(self.shape)))
        elif len(given) == len(self.shape) and given.count(None) == 2:
            plane = tuple(
                0 if axis == self.channel_axis and i is not None else i
                for axis, i in enumerate(given)
            )
        else:
            raise ValueError(
                f"expected {len(free)} indices, of axes {free} of an image of shape "
                f"{self.shape}, got {given}"
            )
        plane = tuple(None if i is None else int(i) for i in plane)
        for axis, (i, n) in enumerate(zip(plane, self.shape, strict=True)):
            if i is not None and not 0 <= i < n:
                raise ValueError(
                    f"expected an index from 0 to {n - 1} on axis {axis} of an image of shape "
                    f"{self.shape}, got {i}"
                )
        return plane

    def plane_shape(self, plane: Plane) -> tuple[int, int]:
        """(H, W) of a plane."""
        rows, columns = plane_axes(plane)
        return self.shape[rows], self.shape[columns]

    def read(self, plane: Plane) -> tuple[NDArray[Any], Limits | None]:
        """Read the pixels of a plane and their contrast limits; nothing else is read.

        A large plane of an array on disk comes as a :class:`~napari_sam.lazy_plane.LazyPlane`,
        which is read where it is indexed.

        Parameters
        ----------
        plane
            From :meth:`plane_of`.

        Returns
        -------
        pixels
            `(H, W)`, or `(H, W, 3)` with colours, in the array's dtype.
        limits
            Pixel values that the model sees as black and white; None for colours as they are.

        Raises
        ------
        ValueError
            If the array was resized meanwhile, so that the plane is not what it was.
        """
        pixels, limits, _ = self.read_described(plane)
        return pixels, limits

    def read_described(self, plane: Plane) -> tuple[NDArray[Any], Limits | None, PlaneInput]:
        """Read a plane as :meth:`read`, and also return a description for a prompts file."""
        if self.channels is None or not any(self.channels) or not self._has_colours(plane):
            return self._read_alone(plane)
        image = np.zeros((*self.plane_shape(plane), 3), np.uint8)
        colours: list[ColourInput | None] = [None] * 3
        for i, channel in enumerate(self.channels):
            if channel is not None:
                limits: Limits | None = channel.contrast_limits or self._limits(i, channel)
                pixels = self._pixels(channel, plane)
                colours[i] = self._colour(channel, limits, checksum(pixels))
                shown, stretched = as_shown(pixels, limits, channel.gamma, channel.inverted)
                image[..., i] = normalise(shown, stretched)[..., 0]
        return (
            image,
            None,
            PlaneInput(
                plane_axes(plane), tuple(colours), self.channel_axis, True, *self._projected(plane)
            ),
        )

    def describe(self, plane: Plane) -> PlaneInput:
        """Return the model's input for a plane, without reading the plane.

        Checksums are empty, and limits that are found in the pixels not known, before a plane was
        read.
        """
        projected = self._projected(plane)
        channels = self.channels if self._has_colours(plane) else None
        if channels is None or not any(channels):
            unchanged = self.rgb and self._is_uint8
            limits = self.contrast_limits or self._found.get(-1)
            if self.autocontrast:
                limits = (0.0, 255.0) if self._is_uint8 and not self.rgb else None
            known = limits is not None or unchanged
            colour = ColourInput(limits, gamma=self.gamma, inverted=self.inverted)
            return PlaneInput(plane_axes(plane), (colour,), None, known, *projected)
        found: list[Limits | None] = [None] * 3
        for i, channel in enumerate(channels):
            if channel is not None:
                found[i] = channel.contrast_limits or self._found.get(i)
        known = all(c is None or pair is not None for c, pair in zip(channels, found, strict=True))
        colours = tuple(
            None if channel is None else self._colour(channel, pair if known else None)
            for channel, pair in zip(channels, found, strict=True)
        )
        return PlaneInput(plane_axes(plane), colours, self.channel_axis, known, *projected)

    def _projected(self, plane: Plane) -> tuple[str, tuple[tuple[int, int, int], ...]]:
        """Return the projection of several planes to this one, and (axis, first, last) of them."""
        if self.slab is None:
            return "", ()
        ends = [(a, *self.span_of(plane, a)) for a, i in enumerate(plane) if i is not None]
        spans = tuple((axis, first, end - 1) for axis, first, end in ends if end - first > 1)
        return (self.slab.projection if spans else ""), spans

    def _colour(self, channel: Channel, limits: Limits | None, checksum: str = "") -> ColourInput:
        style = channel.gamma, channel.inverted
        if self.channel_axis is not None:
            return ColourInput(limits, channel.index, "", checksum, *style)
        return ColourInput(limits, None, channel.name or "this image", checksum, *style)

    def _read_alone(self, plane: Plane) -> tuple[NDArray[Any], Limits | None, PlaneInput]:
        limits = None if self.autocontrast else self.limits
        is_plain = limits is not None and self.gamma == 1 and not self.inverted
        pixels = self._pixels(Channel(self.data), plane, lazy=is_plain)
        if self.autocontrast:
            limits = (0.0, 255.0) if self._is_uint8 else value_range(pixels)
            if self.rgb and pixels.dtype == np.uint8:
                limits = None
        style = self.gamma, self.inverted
        colour = ColourInput(limits, None, "", checksum(pixels), *style)
        given = PlaneInput(plane_axes(plane), (colour,), None, True, *self._projected(plane))
        return *as_shown(pixels, limits, *style), given

    def span_of(self, plane: Plane, axis: int) -> tuple[int, int]:
        """Return the first index on an axis that a plane is made of, and the one after the last.

        Parameters
        ----------
        plane
            From :meth:`plane_of`.
        axis
            One of the array's axes; one that the plane spans counts from 0 to its length.
        """
        index, length = plane[axis], self.shape[axis]
        if index is None:
            return 0, length
        if self.slab is None or axis == self.channel_axis:
            return index, index + 1
        return self.slab.span(axis, index, length)

    def _is_read_in_parts(self, channel: Channel, plane: Plane) -> bool:
        """Whether a plane is so large that only the parts that are needed are read."""
        rows, columns = self.plane_shape(plane)
        is_whole_number = str(getattr(channel.data, "dtype", "")) in ("uint8", "uint16", "int16")
        is_in_memory = isinstance(channel.data, np.ndarray)  # or is a mask's, such as of dask
        return rows * columns > LARGE and is_whole_number and not (self.rgb or is_in_memory)

    def _pixels(self, channel: Channel, plane: Plane, lazy: bool = False) -> Any:
        at: list[Any] = [slice(None) if i is None else i for i in plane]
        thick = []
        for axis, index in enumerate(plane):
            if index is None:
                continue
            if axis == self.channel_axis:
                at[axis] = channel.index
            elif self.slab is not None:
                at[axis] = slice(*self.span_of(plane, axis))
                thick.append(axis)
        shape = tuple(int(n) for n in np.shape(channel.data))[: len(self.shape)]
        resized = ValueError(
            f"expected an image of shape {self.shape}, as it had when it was chosen, got {shape}; "
            "choose it again to start anew"
        )
        if not extends(shape, self.shape, plane_axes(plane)):
            raise resized
        if lazy and not thick and self._is_read_in_parts(channel, plane):
            return _lazily(channel.data, at, self.plane_shape(plane))
        try:
            pixels = as_pixels(channel.data[tuple(at)], self.rgb)
        except IndexError as error:  # resized since
            raise resized from error
        if self.slab is not None:
            kept = [axis for axis, index in enumerate(at) if isinstance(index, slice)]
            pixels = self.slab.project(pixels, tuple(kept.index(axis) for axis in thick))
        return pixels[..., :3] if self.rgb else pixels

    def _has_colours(self, plane: Plane) -> bool:
        return self.channel_axis is None or plane[self.channel_axis] is not None

    def _limits(self, colour: int, channel: Channel) -> Limits:
        if colour not in self._found:
            free = self._free_axes()
            lengths = tuple(self.shape[axis] for axis in free)
            count = int(np.prod(lengths))
            picked = sampled_planes(count)
            indices = [np.unravel_index(i, lengths) if free else () for i in picked]
            planes = (self.plane_of([int(i) for i in index]) for index in indices)
            self._found[colour] = common_limits(self._pixels(channel, plane) for plane in planes)
        return self._found[colour]

    def _free_axes(self) -> tuple[int, ...]:
        spanned = {*self.spanned, self.channel_axis}
        return tuple(axis for axis in range(len(self.shape)) if axis not in spanned)


def _lazily(data: Any, at: Sequence[Any], shape: tuple[int, int]) -> LazyPlane:
    """Return a plane of an array that is read where it is indexed."""
    axes = [axis for axis, index in enumerate(at) if isinstance(index, slice)]

    def read(region: Region) -> NDArray[Any]:
        inside = list(at)
        for axis, part in zip(axes, region, strict=True):
            inside[axis] = part
        return as_pixels(data[tuple(inside)])

    return LazyPlane(read, shape, data.dtype)
