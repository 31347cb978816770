"""Labels of one image file of any dimensions, plane by plane."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import groupby, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam.automask import segment_all
from napari_sam.batch.model_input import InputReader, ModelInput, image_of_prompts
from napari_sam.image import Limits
from napari_sam.io import ImageFile, PlaneIndex, PlaneObject, SavedPrompts, complete
from napari_sam.masks import merge_mask
from napari_sam.plane_input import PlaneInput
from napari_sam.prompts import Prompts
from napari_sam.segmentation.protocol import (
    Embedding,
    MaskPrediction,
    Progress,
    Segmenter,
    part_of,
)
from napari_sam.segmentation.replay import count_steps, replay_many

Labels = NDArray[Any]

# Embedding a plane takes about as long as this many steps of a replay, for the progress bar.
_EMBED_STEPS = 30


def label_objects(
    segmenter: Segmenter,
    image: ImageFile,
    prompts: Mapping[PlaneObject, Prompts],
    contrast_limits: Limits | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    notify: Callable[[str], None] | None = None,
) -> Labels:
    """Segment each object from its prompts, replayed in their order on each plane.

    The time is proportional to the number of clicks; objects of a plane are decoded in batches.

    Parameters
    ----------
    segmenter
        The model.
    image
        A plane or a stack; only planes with prompts are read.
    prompts
        (plane index, object) to the object's prompts there. Objects are merged in this order.
        :class:`~napari_sam.io.SavedPrompts` also record the channels and contrast that the model
        was given in the viewer.
    contrast_limits
        Values that become black and white. ``None`` takes those recorded with the prompts, or
        else robust ones: on a stack, one pair for all planes of a channel.
    overwrite
        Whether later objects take pixels of earlier ones.
    progress
        Called with the finished fraction; it may raise :class:`~napari_sam.Cancelled`.
    notify
        Called with a message for each input that the prompts don't record or that the image
        lacks, and the one that was used instead.

    Returns
    -------
    labels
        Of the image's shape without colours, or without the channel axis if the prompts were
        given on one channel; uint16, or uint32 or uint64 if an object's number needs it.

    Raises
    ------
    ValueError
        If the prompts' planes have another number of axes than the image's, a prompt lies
        outside its plane, or an object's number needs more than 64 bits.
    IndexError
        If a plane lies outside the stack.
    """
    image = image_of_prompts(image, prompts)
    saved = prompts if isinstance(prompts, SavedPrompts) else SavedPrompts(prompts)
    _check_planes(image, saved)
    dtype = _type_for(max((number for _, number in prompts), default=0))
    labels = np.zeros(image.stack_shape + image.plane_shape, dtype)
    reader = InputReader(image, contrast_limits)
    planes: dict[PlaneIndex, list[PlaneObject]] = {}
    for key in saved:
        planes.setdefault(key[0], []).append(key)
    embeds = sum(len({saved.inputs.get(key) for key in keys}) for keys in planes.values())
    total = embeds * _EMBED_STEPS + sum(count_steps(saved.steps_of(key)) for key in saved)
    done = 0

    def part(steps: int) -> Progress | None:
        nonlocal done
        done += steps
        return part_of(progress, (done - steps) / total, done / total)

    for plane, keys in planes.items():
        seen: dict[PlaneInput | None, tuple[Embedding, ModelInput]] = {}
        for given, group in groupby(keys, key=saved.inputs.get):
            alike = list(group)
            if given not in seen:
                shown = reader.read(plane, given)
                embedding = segmenter.embed(shown.pixels, shown.limits, part(_EMBED_STEPS))
                seen[given] = embedding, shown
            embedding, shown = seen[given]
            given_prompts = [saved.steps_of(key) for key in alike]
            candidates = [saved.candidates.get(key) for key in alike]
            within = part(sum(map(count_steps, given_prompts)))
            found = replay_many(segmenter, embedding, given_prompts, within, candidates)
            for key, prediction in zip(alike, found, strict=True):
                reader.note_object(key[1], shown)
                mask = prediction.part_logits(_chosen(saved, key, prediction))
                _paint(labels, complete(plane), shown.channel_axis, mask, key[1], overwrite)
    for note in reader.notes:
        if notify is not None:
            notify(note)
    return labels


def _paint(
    labels: Labels,
    plane: PlaneIndex,
    channel_axis: int | None,
    mask: tuple[tuple[int, int], NDArray[Any]],
    number: int,
    overwrite: bool,
) -> None:
    """Write a mask into the labels, on all channels of the plane."""
    (r, c), logits = mask
    at = [slice(None) if i is None else i for i in plane]
    region = slice(r, r + logits.shape[0]), slice(c, c + logits.shape[1])
    paint = merge_mask(labels[tuple(at)][region], None, logits > 0, number, overwrite).paint
    for i in range(1 if channel_axis is None else labels.shape[channel_axis]):
        if channel_axis is not None:
            at[channel_axis] = i
        labels[tuple(at)][region][paint] = number


def label_everything(
    segmenter: Segmenter,
    image: ImageFile,
    contrast_limits: Limits | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> Labels:
    """Segment every object; overlapping objects along ``Z``, or else along ``T``, are linked.

    Parameters
    ----------
    segmenter
        The model.
    image
        A plane or a stack, of which one plane is read at a time. The labels of each channel, and
        of each time point of a z-stack, are numbered separately.
    contrast_limits, progress, **settings
        As in :func:`~napari_sam.automask.segment_all`.

    Returns
    -------
    labels
        Of the image's shape without colours, int32.
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
        self.dtype = image.data.dtype

    def __getitem__(self, key: Any) -> NDArray[Any]:
        number = key[0] if isinstance(key, tuple) else key
        return self._image.plane(self._indexes[number])


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
    """Raise an error for planes and prompts outside of the image, before anything is encoded."""
    lengths = image.stack_shape + image.plane_shape
    for (plane, number), one in prompts.items():
        at = complete(plane)
        if not all(i is None or 0 <= i < n for i, n in zip(at, lengths, strict=True)):
            raise IndexError(
                f"plane {plane} of object {number} lies outside the axes {image.plane_axes!r} of "
                f"lengths {image.stack_shape}; give the prompts that belong to this image"
            )
        rows, columns = (n for i, n in zip(at, lengths, strict=True) if i is None)
        one.check((rows, columns))


def _chosen(saved: SavedPrompts, key: PlaneObject, last: MaskPrediction) -> int:
    """Return the index of the candidate that is the object's mask, as in the viewer."""
    is_first = count_steps(saved.steps_of(key)) == 1
    return last.index_of(saved.candidates.get(key) if is_first else None)
