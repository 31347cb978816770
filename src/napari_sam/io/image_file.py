"""Images on disk with named axes and pixel sizes, whose planes are read when needed."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_sam.image import as_pixels
from napari_sam.io.plane_array import PlaneArray, rearranged

MICROMETRE = "µm"


class UnreadableImageError(ValueError):
    """A file is damaged, cut short, or has another content than its name suggests."""


@contextmanager
def reading(what: object) -> Iterator[None]:
    """Raise any error of the code that reads a file as an `UnreadableImageError`.

    Decoders and parsers raise errors of many types for a damaged file. `FileNotFoundError` and
    `ImportError` are not changed, as they don't mean that the file is damaged.

    Parameters
    ----------
    what : object
        What is read, for the message: a path, or a text such as ``"plane (3,) of cells.tif"``.
    """
    try:
        yield
    except (UnreadableImageError, FileNotFoundError, ImportError):
        raise
    except MemoryError as error:
        raise UnreadableImageError(
            f"cannot read {what}: it does not fit into memory; either it needs a larger machine "
            "or the file is damaged"
        ) from error
    except Exception as error:
        known = isinstance(error, OSError | RuntimeError | ValueError) and str(error)
        reason = error if known else f"{type(error).__name__} {error}".strip()
        raise UnreadableImageError(
            f"cannot read {what}: {reason}; the file may be damaged, copy or export it again"
        ) from error


class LazyArray(Protocol):
    """The interface of numpy, dask, zarr and plane arrays: indexing reads the pixels."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""

    @property
    def dtype(self) -> Any:
        """Type of one pixel."""

    def __getitem__(self, key: Any) -> Any: ...


@dataclass(frozen=True, slots=True, eq=False)
class ImageFile:
    """An image with named axes; every axis that is not part of a plane indexes planes.

    Pixels are read when they are indexed, and no file stays open between reads. Uncompressed
    files are mapped into memory instead, until the last array that uses the mapping is deleted.

    Parameters
    ----------
    data : numpy, memory-mapped, dask or zarr array, or PlaneArray
        The pixels, in the order of `axes`. Masked ones are read as NaN.
    axes : str
        One letter for each axis of `data`, ending in ``YX``, or in ``YXS`` when the last axis
        holds the samples red, green, blue (and alpha). The others index planes: ``T`` time,
        ``Z`` depth, ``C`` channel; any other letter is a dimension that the file doesn't name.
    pixel_size : mapping of axis letter to float, or None
        Distance between neighbouring pixels along the axes for which it is known: in `unit` for
        space, in seconds for ``T``. None if the file doesn't record any.
    unit : str or None
        Unit of the spatial pixel sizes. Lengths are converted to ``µm`` when a file is read;
        another text is a unit of the file that could not be converted.

    Raises
    ------
    ValueError
        If `axes` does not describe `data` or does not end in ``YX`` or ``YXS``, or a pixel size
        is not positive and finite.

    Examples
    --------
    >>> import numpy as np
    >>> image = ImageFile(np.zeros((2, 5, 64, 32), np.uint8), "TZYX", {"Z": 0.5}, "µm")
    >>> image.plane_axes, image.plane_shape, image.scale
    ('TZ', (64, 32), (1.0, 0.5, 1.0, 1.0))
    >>> image.plane((1, 4)).shape
    (64, 32)
    """

    data: LazyArray
    axes: str
    pixel_size: Mapping[str, float] | None = None
    unit: str | None = None

    def __post_init__(self) -> None:
        check_axes(self.axes, self.data.shape)
        if not self.axes.endswith(("YX", "YXS")):
            raise ValueError(f"expected axes that end in YX or YXS, got {self.axes!r}")
        for axis, size in (self.pixel_size or {}).items():
            if not 0 < size < np.inf:
                raise ValueError(
                    f"expected pixel sizes that are positive and finite, got {size} along {axis}; "
                    "leave it out where it is not known"
                )

    @property
    def is_rgb(self) -> bool:
        """Whether the last axis holds the samples of a colour image."""
        return self.axes.endswith("S")

    @property
    def plane_axes(self) -> str:
        """The letters of the axes that index planes, outermost first."""
        return self.axes[: -3 if self.is_rgb else -2]

    @property
    def plane_shape(self) -> tuple[int, int]:
        """Rows and columns of one plane."""
        rows, columns = self.data.shape[len(self.plane_axes) :][:2]
        return rows, columns

    @property
    def stack_shape(self) -> tuple[int, ...]:
        """Length of each axis in `plane_axes`; empty for a single plane."""
        return tuple(self.data.shape[: len(self.plane_axes)])

    @property
    def scale(self) -> tuple[float, ...]:
        """Pixel size of each axis except the samples, 1.0 where it is not known."""
        sizes = self.pixel_size or {}
        return tuple(sizes.get(axis, 1.0) for axis in self.axes.removesuffix("S"))

    def plane_indices(self) -> Iterator[tuple[int, ...]]:
        """Yield the index of each plane, the last plane axis running fastest."""
        yield from np.ndindex(self.stack_shape)

    def plane(self, index: tuple[int, ...] = ()) -> NDArray[Any]:
        """Read one plane.

        Parameters
        ----------
        index : tuple of int
            One position for each axis in `plane_axes`.

        Returns
        -------
        array of shape (H, W) or (H, W, samples)
            A copy in the machine's byte order, independent of the file.

        Raises
        ------
        IndexError
            If the index has another length than `plane_axes` or lies outside.
        UnreadableImageError
            If the file turns out to be damaged at this plane.
        """
        shape = self.stack_shape
        if len(index) != len(shape):
            raise IndexError(
                f"expected an index along the axes {self.plane_axes!r} ({len(shape)} numbers), "
                f"got {index}"
            )
        if not all(0 <= at < length for at, length in zip(index, shape, strict=True)):
            raise IndexError(
                f"plane {index} lies outside the axes {self.plane_axes!r} of lengths {shape}"
            )
        return self._read(tuple(int(at) for at in index), f"plane {index}")

    def part(self, at: tuple[int | slice, ...]) -> NDArray[Any]:
        """Read a part, such as a plane that spans any two axes, or several planes.

        Parameters
        ----------
        at : tuple of int or slice
            A position or range for each axis except the samples.

        Returns
        -------
        array
            A copy in the machine's byte order, independent of the file, without the axes that
            have a position.

        Raises
        ------
        IndexError
            If the number of axes is another, or a position lies outside.
        UnreadableImageError
            If the file turns out to be damaged there.
        """
        axes = self.axes.removesuffix("S")
        lengths = tuple(self.data.shape[: len(axes)])
        inside = all(isinstance(i, slice) or 0 <= i < n for i, n in zip(at, lengths, strict=False))
        if len(at) != len(lengths) or not inside:
            raise IndexError(
                f"expected a position or range on each of the axes {axes!r} of lengths {lengths}, "
                f"got {at}"
            )
        where = ", ".join(
            f"{axis} {i.start} to {i.stop - 1}" if isinstance(i, slice) else f"{axis} {i}"
            for axis, i in zip(axes, at, strict=True)
            if i != slice(None)
        )
        return self._read(at, f"plane {where}" if where else "the plane")

    def _read(self, at: tuple[Any, ...], name: str) -> NDArray[Any]:
        rows, columns = self.plane_shape
        with reading(f"{name} of {rows} x {columns} pixels"):
            pixels = as_pixels(self.data[at])
            return np.array(pixels, dtype=pixels.dtype.newbyteorder("="))

    def channel(self, number: int) -> "ImageFile":
        """Return one channel as an image without that axis; no pixels are read.

        Parameters
        ----------
        number : int
            Index along the axis ``C``, or of the colour if there is no such axis; from 0.

        Raises
        ------
        ValueError
            If the image has neither channels nor colours, or too few.
        """
        axis = next((letter for letter in "CS" if letter in self.axes), None)
        if axis is None:
            raise ValueError(
                f"expected an image with channels (an axis C) or colours, got the axes "
                f"{self.axes!r}; leave the channel out, or name the axes"
            )
        count = self.data.shape[self.axes.index(axis)]
        if not 0 <= number < count:
            raise ValueError(f"expected a channel from 0 to {count - 1}, got {number}")
        rest = self.axes.replace(axis, "")
        data = rearranged(self.data, self.axes, rest, {axis: int(number)})
        sizes = {a: size for a, size in (self.pixel_size or {}).items() if a in rest} or None
        return replace(self, data=data, axes=rest, pixel_size=sizes)

    def planes(self) -> Iterator[tuple[tuple[int, ...], NDArray[Any]]]:
        """Yield the index and the pixels of each plane; each is read when it is yielded."""
        for index in self.plane_indices():
            yield index, self.plane(index)


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """An image as it is stored, with its axes in the file's own order.

    Parameters
    ----------
    data : array
        As in `ImageFile`, in the order of `axes`.
    axes : str
        One letter for each axis.
    pixel_size, unit
        As in `ImageFile`.
    has_alpha : bool
        Whether there are two samples, a grey value and alpha.
    to_colours : callable, optional
        Converts a plane of palette indices `(H, W)` or inks `(H, W, 4)` to RGB.
    notices : tuple of str
        Messages about content of the file that is not read, or is changed.
    """

    data: Any
    axes: str
    pixel_size: Mapping[str, float] | None = None
    unit: str | None = None
    has_alpha: bool = False
    to_colours: Callable[[NDArray[Any]], NDArray[Any]] | None = None
    notices: tuple[str, ...] = ()

    def opened(self, axes: str | None = None) -> ImageFile:
        """Return the image, with `axes` instead of the file's own.

        Raises
        ------
        ValueError
            If the axes don't fit. With grey values and alpha, axes of the grey values alone fit,
            too.
        """
        data, own = self.data, self.axes
        named = own if axes is None else axes
        if self.has_alpha and (axes is None or len(axes) < len(own)):
            grey = own.replace("S", "")
            data = rearranged(data, own, grey, {"S": 0})
            named = grey if axes is None else axes
        data, arranged = arrange(data, named)
        if self.to_colours is not None and ("S" in named) == ("S" in own):
            data, arranged = _coloured(data, arranged, self.to_colours)
        sizes = {a: size for a, size in (self.pixel_size or {}).items() if a in arranged} or None
        return ImageFile(data, arranged, sizes, self.unit)


def _coloured(
    data: Any, axes: str, to_colours: Callable[[NDArray[Any]], NDArray[Any]]
) -> tuple[PlaneArray, str]:
    stack = len(axes.removesuffix("S")) - 2
    sample = to_colours(np.zeros((1, 1, *data.shape[stack + 2 :]), data.dtype))

    def read(index: tuple[int, ...]) -> NDArray[Any]:
        return to_colours(np.asarray(data[index]))

    shape = tuple(data.shape)
    plane_shape = (*shape[stack : stack + 2], sample.shape[-1])
    planes = PlaneArray(read, shape[:stack], plane_shape, sample.dtype)
    return planes, f"{axes.removesuffix('S')}S"


def left_out(chosen: str, shapes: Mapping[str, tuple[int, ...]]) -> tuple[str, ...]:
    """Return a notice of which of several images was read, by name and shape; none for one."""
    others = [name for name in shapes if name != chosen]
    if not others:
        return ()
    named = [f"{name} ({' x '.join(map(str, shapes[name]))})" for name in (chosen, *others[:5])]
    more = f" and {len(others) - 5} more" if len(others) > 5 else ""
    return (f"the largest image was read, {named[0]}; left out: {', '.join(named[1:])}{more}",)


def check_axes(axes: str, shape: tuple[int, ...]) -> None:
    """Refuse axes that do not name each dimension of `shape` once, Y and X among them."""
    if len(axes) != len(shape):
        raise ValueError(
            f"expected one letter for each of the {len(shape)} dimensions of shape {shape}, "
            f"got the axes {axes!r}"
        )
    if len(set(axes)) != len(axes) or not {"Y", "X"} <= set(axes):
        raise ValueError(f"expected axes with Y, X and no letter twice, got {axes!r}")


def guess_axes(shape: tuple[int, ...]) -> str:
    """Name the dimensions of pixels that came without names.

    A last dimension of up to 4 behind two larger ones, or of up to 8 that is sixteen times
    shorter than both, holds the samples of each pixel; what stands before Y and X is Z, then T,
    then C between them, then letters without a meaning.
    """
    if len(shape) < 2:
        raise UnreadableImageError(f"expected at least 2 dimensions, got shape {shape}")
    last, shorter = shape[-1], min(shape[-3:-1])
    samples = len(shape) > 2 and (
        (last <= 4 and shorter > 4) or (last <= 8 and 16 * last <= shorter)
    )
    stack = len(shape) - (3 if samples else 2)
    known = ("", "Z", "TZ", "TCZ")
    leading = known[stack] if stack < len(known) else "QRIJKLMNOP"[: stack - 3] + "TCZ"
    return leading + ("YXS" if samples else "YX")


def arrange(data: Any, axes: str) -> tuple[Any, str]:
    """Return an array with rows, columns and colour samples last, without reading pixels.

    A sample axis of another length than 3 or 4 is no colour: it becomes an axis of planes, and
    one of a single sample is left out.
    """
    check_axes(axes, tuple(data.shape))
    cut = {}
    if "S" in axes and (samples := data.shape[axes.index("S")]) not in (3, 4):
        if samples == 1:
            cut = {"S": 0}
        else:
            axes = axes.replace("S", next(letter for letter in "CQR" if letter not in axes))
    wanted = "".join(axis for axis in axes if axis not in "YXS") + "YX"
    wanted += "S" * ("S" in axes and not cut)
    return rearranged(data, axes, wanted, cut), wanted
