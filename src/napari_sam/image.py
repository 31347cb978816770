"""Any plane to what a model sees: `(H, W, 3)` grey values 0-255."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

Limits = tuple[float, float]

# Robust percentiles: clip hot pixels, keep the brightest objects apart.
_PERCENTILES = (0.3, 99.8)
_SAMPLES_PER_SIDE = 512
_SAMPLED_PLANES = 8


class ImageWarning(UserWarning):
    """Something in an image had to be replaced; the result is usable."""


def normalise(plane: ArrayLike, contrast_limits: Limits | None = None) -> NDArray[np.uint8]:
    """Turn a plane into RGB grey values 0-255.

    Parameters
    ----------
    plane
        `(H, W)`, `(H, W, 3)` or `(H, W, 4)` of any real dtype; the fourth colour is alpha and
        is dropped. Masked arrays and tensors as :func:`as_pixels` takes them.
    contrast_limits
        Values that become 0 and 255. By default uint8 RGB passes through unchanged and anything
        else is stretched between robust percentiles.

    Returns
    -------
    pixels
        `(H, W, 3)`.

    Raises
    ------
    TypeError
        For complex, text or object arrays.
    ValueError
        For other shapes, planes without area, or limits that are not an increasing pair.

    Warns
    -----
    ImageWarning
        If pixels are NaN, infinite or masked: they become the low limit.
    """
    pixels = stretch(plane, contrast_limits)
    return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, 2)


def stretch(plane: ArrayLike, contrast_limits: Limits | None = None) -> NDArray[np.uint8]:
    """Turn a plane into grey values 0-255 with as many channels as it has.

    As :func:`normalise`, except that a plane `(H, W)` stays one.
    """
    array = check_plane(plane)
    if contrast_limits is None and array.dtype == np.uint8 and array.ndim == 3:
        return np.ascontiguousarray(array)
    limits = robust_limits(array) if contrast_limits is None else _check_limits(contrast_limits)
    if array.dtype.kind in "ui" and array.dtype.itemsize <= 2:
        unsigned = np.dtype(f"u{array.dtype.itemsize}")
        if array.size > 2 ** (8 * unsigned.itemsize):  # more pixels than values they can have
            every = np.arange(2 ** (8 * unsigned.itemsize), dtype=unsigned)
            native = array.astype(array.dtype.newbyteorder("="), copy=False)
            return np.take(_stretched(every.view(native.dtype), limits), native.view(unsigned))
    return _stretched(array, limits)


def _stretched(array: NDArray[Any], limits: Limits) -> NDArray[np.uint8]:
    low, high = limits
    x: NDArray[Any] = array.astype(np.float32 if array.dtype.itemsize <= 2 else np.float64)
    x -= low
    x *= 255 / (high - low)
    if array.dtype.kind == "f" and not (finite := np.isfinite(array)).all():
        _warn_of_replaced(int(np.count_nonzero(~finite)), low)
        x[~finite] = 0
    return np.clip(x, 0, 255, out=x).round().astype(np.uint8)


def display_values(
    pixels: NDArray[Any], limits: Limits, gamma: float = 1.0, inverted: bool = False
) -> NDArray[np.float32]:
    """Return pixels as a display shows them, 0 to 1.

    Parameters
    ----------
    pixels
        Of any shape and real dtype.
    limits
        Values that become 0 and 1.
    gamma
        Exponent applied after the limits.
    inverted
        Whether high values are shown dark.

    Returns
    -------
    values
        Of the same shape; NaN where pixels are NaN or infinite.
    """
    low, high = limits
    kind = np.float32 if pixels.dtype.itemsize <= 2 else np.float64
    x: NDArray[Any] = pixels.astype(kind)
    x[~np.isfinite(x)] = np.nan
    x = np.clip((x - low) / (high - low), 0, 1) ** gamma
    return (1 - x if inverted else x).astype(np.float32)


def as_shown(
    pixels: NDArray[Any], limits: Limits | None, gamma: float = 1.0, inverted: bool = False
) -> tuple[NDArray[Any], Limits | None]:
    """Return pixels, and limits to stretch them by, so that they come out as a display shows them.

    As :func:`display_values`, but what is not changed by gamma or inversion stays as it is.
    """
    if gamma == 1 and not inverted:
        return pixels, limits
    return display_values(pixels, limits or (0.0, 255.0), gamma, inverted), (0.0, 1.0)


def value_range(pixels: NDArray[Any]) -> Limits:
    """Return the lowest and highest finite value, or a range that holds a constant plane's."""
    finite = pixels[np.isfinite(pixels)]
    if finite.size == 0:
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    return (low, high) if low < high else (min(low, 0.0), max(high, 1.0))


def check_plane(plane: Any) -> NDArray[Any]:
    """Return a plane as a real array `(H, W)` or `(H, W, 3)`, or raise what :func:`normalise` does.

    An RGBA plane loses its alpha; bool becomes uint8. Masked pixels are NaN, but black in uint8
    RGB, which needs no contrast limits.
    """
    array = as_pixels(plane, rgb=_is_plain_colour(plane))
    if array.dtype.kind == "c":
        raise TypeError(
            f"expected a real image, got {array.dtype}; take the magnitude (numpy.abs) or the "
            "phase (numpy.angle) first"
        )
    if array.dtype.kind not in "buif":
        raise TypeError(f"expected an image of numbers, got dtype {array.dtype}")
    if array.ndim == 3 and array.shape[2] == 4:
        array = array[..., :3]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3):
        raise ValueError(
            f"expected a 2-D, RGB or RGBA plane, got shape {array.shape}; pick a slice first"
        )
    if min(array.shape[:2]) < 2:
        raise ValueError(
            f"expected a plane of at least 2 x 2 pixels, got shape {array.shape}; "
            "there is nothing to segment in it"
        )
    return array.astype(np.uint8) if array.dtype == bool else array


def as_pixels(data: Any, rgb: bool = False) -> NDArray[Any]:
    """Return pixels as a plain array.

    Parameters
    ----------
    data
        Anything that NumPy takes for an array. Masked pixels become NaN, the array then floating
        point. A tensor may have a gradient, be on a GPU, or have a type that NumPy lacks
        (bfloat16), which becomes float32.
    rgb
        Whether the last axis holds red, green, blue and perhaps alpha: then masked pixels of
        uint8, which needs no contrast limits, become black.
    """
    if hasattr(data, "__dask_graph__"):
        # NumPy's own conversion would lose a mask. A cache that a viewer has registered with dask
        # fails, there or here, where two threads compute at once: so nobody is called.
        data = data.compute(callbacks=())
    if callable(detach := getattr(data, "detach", None)):
        tensor = detach().cpu()
        try:
            return np.asarray(tensor.numpy())
        except TypeError:
            return np.asarray(tensor.float().numpy())
    if not np.ma.is_masked(data):
        return np.asarray(data)
    masked: Any = np.ma.asanyarray(data)
    if rgb and masked.dtype == np.uint8:
        hidden = np.ma.getmaskarray(masked)[..., :3]
        _warn_of_replaced(int(np.count_nonzero(hidden)), 0, stacklevel=6)
        return np.where(hidden, np.uint8(0), masked.data[..., :3])
    if masked.dtype.kind in "bui":
        masked = masked.astype(np.float32 if masked.dtype.itemsize <= 2 else np.float64)
    return masked.filled(np.nan) if masked.dtype.kind in "fc" else masked.filled()


def _is_plain_colour(plane: ArrayLike) -> bool:
    """Whether a plane is uint8 RGB or RGBA, which models see unchanged."""
    dtype = getattr(plane, "dtype", None)
    shape: tuple[int, ...] = getattr(plane, "shape", ())
    return str(dtype) in ("uint8", "torch.uint8") and len(shape) == 3 and shape[2] in (3, 4)


def _warn_of_replaced(count: int, low: float, stacklevel: int = 5) -> None:
    warnings.warn(
        f"{count} pixels are NaN, infinite or masked; they were read as the low contrast limit "
        f"{low:g}. Replace them to choose another value",
        ImageWarning,
        stacklevel=stacklevel,  # who called normalise
    )


def robust_limits(values: ArrayLike) -> Limits:
    """Contrast limits between robust percentiles of the finite values.

    Parameters
    ----------
    values
        An array; a large one is sampled on a regular grid of its first two axes.

    Returns
    -------
    limits
        (low, high) with low < high, also for constant or empty input.
    """
    array = as_pixels(values)
    if array.ndim >= 2:
        steps = (-(-side // _SAMPLES_PER_SIDE) or 1 for side in array.shape[:2])
        array = array[tuple(slice(None, None, step) for step in steps)]
    array = array[np.isfinite(array)]
    if array.size == 0:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(array, _PERCENTILES))
    if high <= low:  # few bright pixels on a constant background
        low, high = float(array.min()), float(array.max())
    # Adding 1 to a huge number would change nothing.
    return (low, high) if high > low else (low, low + max(1.0, abs(low) * 1e-6))


def stack_limits(stack: Any, axis: int = 0) -> Limits | None:
    """One pair of contrast limits for a stack, from sampled planes, so that neighbours agree.

    Parameters
    ----------
    stack
        Array-like with `shape` and indexing; only the sampled planes are read.
    axis
        Axis along which planes are stacked.

    Returns
    -------
    limits
        (low, high), or ``None`` for uint8 RGB, which needs no stretching.
    """
    picked = sampled_planes(stack.shape[axis])
    before = (slice(None),) * axis
    planes = (stack[(*before, int(i))] for i in picked)
    first = next(planes)
    if _is_plain_colour(first):
        return None
    return common_limits((first, *planes))


def common_limits(planes: Iterable[ArrayLike]) -> Limits:
    """Return one pair of contrast limits that holds the robust limits of every plane."""
    pairs = np.array([robust_limits(check_plane(plane)) for plane in planes])
    return float(pairs[:, 0].min()), float(pairs[:, 1].max())


def sampled_planes(count: int) -> NDArray[np.int64]:
    """Return which of so many planes one pair of contrast limits is found from, ascending."""
    return np.unique(np.linspace(0, count - 1, min(count, _SAMPLED_PLANES)).round().astype(int))


def _check_limits(limits: Limits) -> Limits:
    low, high = (float(v) for v in limits)
    if not (np.isfinite([low, high]).all() and low < high):
        raise ValueError(f"expected contrast limits (low, high) with low < high, got {limits}")
    return low, high


def resize_pixels(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize `(h, w, 3)` grey values as SAM's reference does: bilinear, antialiased, in uint8."""
    if pixels.shape[:2] == size:
        return np.array(pixels)  # writable, as torch wants it
    image = Image.fromarray(pixels).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.array(image)
