"""One image file of any dimensions to labels, plane by plane."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam.automask import segment_all
from napari_sam.image import Limits, stack_limits
from napari_sam.io import ImageFile, PlaneObject
from napari_sam.masks import merge_mask
from napari_sam.measurements import Table, join_tables, measure_objects
from napari_sam.prompts import Prompts
from napari_sam.segmenter import Progress, Segmenter, count_steps, part_of, replay_many

Labels = NDArray[Any]
Index = tuple[int, ...]

# Embedding a plane takes as long as about so many steps of a replay, for the progress bar.
_EMBED_STEPS = 30


def label_objects(
    segmenter: Segmenter,
    image: ImageFile,
    prompts: Mapping[PlaneObject, Prompts],
    contrast_limits: Limits | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Labels:
    """Segment each object from its prompts, replayed in their order on each plane.

    Time grows in proportion to the clicks; objects of a plane are decoded some at a time.

    Parameters
    ----------
    segmenter
        The model.
    image
        A plane or a stack; only planes with prompts are read.
    prompts
        (plane index, object) to the object's prompts there. Objects are merged in this order.
    contrast_limits
        Values that become black and white. ``None`` on a stack means one pair for all planes of
        a channel.
    overwrite
        Whether later objects take pixels of earlier ones.
    progress
        Called with the finished fraction; it may raise :class:`~napari_sam.segmenter.Cancelled`.

    Returns
    -------
    labels
        uint16, or uint32 or uint64 where an object's number needs it; the image's shape without
        colours.

    Raises
    ------
    ValueError
        If the prompts' planes have another number of axes than the image's, a prompt lies
        outside its plane, or an object's number needs more than 64 bits.
    IndexError
        If a plane lies outside the stack.
    """
    _check_planes(image, prompts)
    dtype = _type_for(max((number for _, number in prompts), default=0))
    labels = np.zeros(image.stack_shape + image.plane_shape, dtype)
    limits = limits_of_planes(image, contrast_limits)
    objects: dict[Index, dict[int, Prompts]] = {}
    for (plane, number), one in prompts.items():
        objects.setdefault(plane, {})[number] = one
    total = len(objects) * _EMBED_STEPS + sum(map(count_steps, prompts.values()))
    done = 0
    for plane, given in objects.items():
        steps = sum(map(count_steps, given.values()))
        shares = [(done + part) / total for part in (0, _EMBED_STEPS, _EMBED_STEPS + steps)]
        done += _EMBED_STEPS + steps
        embedding = segmenter.embed(
            image.plane(plane), limits(plane), part_of(progress, shares[0], shares[1])
        )
        predictions = replay_many(
            segmenter, embedding, list(given.values()), part_of(progress, shares[1], shares[2])
        )
        for number, prediction in zip(given, predictions, strict=True):
            (r, c), logits = prediction.part_logits(prediction.best_index)
            here = labels[plane][r : r + logits.shape[0], c : c + logits.shape[1]]
            here[merge_mask(here, None, logits > 0, number, overwrite).paint] = number
    return labels


def label_everything(
    segmenter: Segmenter,
    image: ImageFile,
    contrast_limits: Limits | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> Labels:
    """Segment every object; along ``Z``, or else ``T``, objects that overlap are one.

    Parameters
    ----------
    segmenter, contrast_limits, progress, **settings
        As in :func:`~napari_sam.automask.segment_all`.
    image
        A plane or a stack, of which one plane is read at a time. Channels, and time points of a
        z-stack, are numbered by themselves.

    Returns
    -------
    labels
        int32; the image's shape without colours.
    """
    axes = image.plane_axes
    along = next((axis for axis in "ZT" if axis in axes), None)
    labels = np.zeros(image.stack_shape + image.plane_shape, np.int32)
    loops: list[list[Any]] = [
        [slice(None)] if axis == along else list(range(length))
        for axis, length in zip(axes, image.stack_shape, strict=True)
    ]
    places: list[tuple[Any, ...]] = list(product(*loops))
    for i, place in enumerate(places):
        part = part_of(progress, i / len(places), (i + 1) / len(places))
        pixels = _Planes(image, place) if along else image.plane(place)
        labels[place] = segment_all(segmenter, pixels, contrast_limits, part, **settings)
    return labels


def measure_labels(image: ImageFile, labels: Labels) -> Table:
    """Measure labelled objects in the image's physical units.

    Parameters
    ----------
    image
        Its grey values and pixel sizes. Along ``Z`` objects are measured as volumes; each
        position along any other axis is measured by itself.
    labels
        The image's shape without colours.

    Returns
    -------
    table
        Columns for the position along other axes (`t`, `c`), `unit` (`pixel` where the file
        doesn't give all pixel sizes in space), and those of
        :func:`~napari_sam.measurements.measure_objects`.
    """
    axes = image.axes.removesuffix("S")
    outer = image.plane_axes.replace("Z", "")
    space = [axis for axis in axes if axis not in outer]
    known = image.pixel_size or {}
    sizes = [known[axis] for axis in space] if set(space) <= set(known) else None
    unit = (image.unit or "unknown") if sizes else "pixel"
    tables: list[tuple[dict[str, object], Table]] = []
    lengths = dict(zip(image.plane_axes, image.stack_shape, strict=True))
    for place in product(*(range(lengths[axis]) for axis in outer)):
        at = dict(zip(outer, place, strict=True))
        index = tuple(at.get(axis, slice(None)) for axis in image.plane_axes)
        pixels = _Planes(image, index).read() if "Z" in space else image.plane(place)
        columns: dict[str, object] = {axis.lower(): number for axis, number in at.items()}
        columns["unit"] = unit
        tables.append((columns, measure_objects(labels[index], pixels, sizes)))
    return join_tables(tables)


def limits_of_planes(
    image: ImageFile, contrast_limits: Limits | None
) -> Callable[[Index], Limits | None]:
    """Return what gives a plane its contrast limits: those asked for, or one pair a channel."""
    if contrast_limits is not None or not image.plane_axes:
        return lambda index: contrast_limits
    channel = image.plane_axes.find("C")

    @cache
    def of_channel(number: int | None) -> Limits | None:
        place: list[Any] = [slice(None)] * len(image.plane_axes)
        if number is not None:
            place[channel] = number
        return stack_limits(_Planes(image, tuple(place)))

    return lambda index: of_channel(None if channel < 0 else index[channel])


class _Planes:
    """Planes of an image file as a stack that is read one plane at a time.

    `place` has an index or a full slice for each plane axis; the sliced axes become one.
    """

    def __init__(self, image: ImageFile, place: tuple[Any, ...]) -> None:
        self._image = image
        loops = [
            range(length) if isinstance(at, slice) else (at,)
            for at, length in zip(place, image.stack_shape, strict=True)
        ]
        self._indexes = list(product(*loops))
        samples = image.data.shape[-1:] if image.is_rgb else ()
        self.shape = (len(self._indexes), *image.plane_shape, *samples)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        number = key[0] if isinstance(key, tuple) else key
        return self._image.plane(self._indexes[number])

    def read(self) -> NDArray[Any]:
        return np.stack([self._image.plane(index) for index in self._indexes])


def _type_for(highest: int) -> type[np.unsignedinteger[Any]]:
    """Return the narrowest type of labels that holds an object's number."""
    for dtype in (np.uint16, np.uint32, np.uint64):
        if highest <= np.iinfo(dtype).max:
            return dtype
    raise ValueError(
        f"expected object numbers below 2**64, got {highest}; number the objects anew in the "
        "column 'object'"
    )


def _check_planes(image: ImageFile, prompts: Mapping[PlaneObject, Prompts]) -> None:
    expected = len(image.plane_axes)
    for (plane, number), one in prompts.items():
        if len(plane) != expected:
            raise ValueError(
                f"expected prompts with {expected + 2} coordinates, as the image has the axes "
                f"{image.axes.removesuffix('S')}, got {len(plane) + 2} for object {number}; save "
                "the Points layer that belongs to this image"
            )
        if not all(0 <= at < length for at, length in zip(plane, image.stack_shape, strict=True)):
            raise IndexError(
                f"plane {plane} of object {number} lies outside the axes {image.plane_axes!r} of "
                f"lengths {image.stack_shape}; give the prompts that belong to this image"
            )
        one.check(image.plane_shape)
