"""Arrays of which a plane is read, or made of what is read, when it is indexed."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

ReadPlane = Callable[[tuple[int, ...]], NDArray[Any]]


class PlaneArray:
    """Planes of one shape and type behind indexing; whatever is asked for, they are read singly.

    Parameters
    ----------
    read : callable
        Gives the plane at an index along the leading axes.
    stack_shape : tuple of int
        Lengths of the leading axes.
    plane_shape : tuple of int
        Shape of what `read` returns.
    dtype : numpy.dtype
        Type of what `read` returns.
    """

    def __init__(
        self,
        read: ReadPlane,
        stack_shape: tuple[int, ...],
        plane_shape: tuple[int, ...],
        dtype: Any,
    ) -> None:
        self._read = read
        self._stack_shape = tuple(stack_shape)
        self._plane_shape = tuple(plane_shape)
        self.dtype = np.dtype(dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""
        return self._stack_shape + self._plane_shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray[Any]:
        keys = list(key) if isinstance(key, tuple) else [key]
        dots = next((i for i, one in enumerate(keys) if one is Ellipsis), len(keys))
        missing = self.ndim - sum(one is not Ellipsis for one in keys)
        if missing < 0 or any(one is None for one in keys):
            raise IndexError(f"expected at most {self.ndim} indices, got {key}")
        keys[dots : dots + 1] = [slice(None)] * missing
        leading = len(self._stack_shape)
        within = tuple(keys[leading:])
        # an index gives no axis, a slice one
        places = [np.arange(n)[k] for n, k in zip(self._stack_shape, keys, strict=False)]
        part = np.broadcast_to(np.empty((), self.dtype), self._plane_shape)[within].shape
        found = np.empty((*(place.size for place in places), *part), self.dtype)
        for out in np.ndindex(found.shape[:leading]):
            at = tuple(int(p.flat[i]) for p, i in zip(places, out, strict=True))
            found[out] = self._read(at)[within]
        return found.reshape((*(n for place in places for n in place.shape), *part))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[...], dtype)


def rearranged(data: Any, axes: str, wanted: str, at: Mapping[str, int] | None = None) -> Any:
    """Return an array with its axes in another order, without reading pixels.

    Parameters
    ----------
    data : array
        Numpy, memory-mapped, dask or zarr array, or `PlaneArray`.
    axes : str
        Its axes.
    wanted : str
        The axes of the result, ending in those of a plane.
    at : mapping of axis letter to int, optional
        Where the axes that are not wanted are cut.
    """
    cut = dict(at or {})
    rest = "".join(axis for axis in axes if axis not in cut)
    if rest == wanted == axes:
        return data
    if hasattr(data, "transpose"):
        part = data[tuple(cut.get(axis, slice(None)) for axis in axes)]
        return part if rest == wanted else part.transpose([rest.index(axis) for axis in wanted])
    leading = len(wanted) - (3 if wanted.endswith("S") else 2)
    inside = "".join(axis for axis in rest if axis in wanted[leading:])
    order = [inside.index(axis) for axis in wanted[leading:]]
    lengths = dict(zip(axes, data.shape, strict=True))

    def read(index: tuple[int, ...]) -> NDArray[Any]:
        known = cut | dict(zip(wanted, index, strict=False))
        key = tuple(known.get(axis, slice(None)) for axis in axes)
        return np.asarray(data[key]).transpose(order)

    shape = tuple(lengths[axis] for axis in wanted)
    return PlaneArray(read, shape[:leading], shape[leading:], data.dtype)
