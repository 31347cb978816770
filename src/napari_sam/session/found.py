"""The objects that a run finds on each plane, their numbers, and the pixels they get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_sam.engine import Report
from napari_sam.patches import Patch, cut
from napari_sam.plane_input import PlaneInput
from napari_sam.planes import Plane, PlaneSource
from napari_sam.segmentation.protocol import Segmenter
from napari_sam.session.canvas import LabelCanvas
from napari_sam.session.ownership import Marks
from napari_sam.session.pixels import Packed, PixelChange
from napari_sam.session.post_processing import PostProcessing
from napari_sam.session.prompt_book import ObjectPlane

if TYPE_CHECKING:
    from napari_sam.automask import ObjectMask

_LEAST_LEFT = 0.5  # fraction of an object that must be free for it to be written


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The objects found on a plane.

    Parameters
    ----------
    shape
        (H, W) of the plane.
    labels
        The objects, numbered from 1 on this plane, in C order.
    numbers
        `(n + 1,)` the number of object k of the plane in the whole run; 0 stays 0.
    given
        The model's input of the plane, as words.
    quality
        `(n, 2)` predicted IoU and stability of object k + 1.
    """

    shape: tuple[int, int]
    labels: Packed
    numbers: NDArray[np.int64]
    given: dict[str, str]
    quality: NDArray[np.float64] = field(default_factory=lambda: np.ones((0, 2)))

    def image(self) -> NDArray[Any]:
        """Return the labels `(H, W)`."""
        return self.labels.unpack().reshape(self.shape)


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """The pixels that are written on a plane.

    Parameters
    ----------
    erased
        The pixels that users had erased on the plane when this was decided.
    pixels
        The change of pixels; None if there is none.
    marks
        The ownership of pixels of each object afterwards.
    """

    erased: tuple[Patch, ...]
    pixels: PixelChange | None = None
    marks: Mapping[ObjectPlane, Marks] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Decided:
    """The pixels that are written on all planes of a run.

    Parameters
    ----------
    parts
        The part of each plane, by its index in the run.
    labels
        The label of each object, by its number in the run.
    highest
        The highest label before.
    quality
        Predicted IoU and stability by label, the lowest of all planes.
    """

    parts: dict[int, Part]
    labels: dict[int, int]
    highest: int
    quality: dict[int, tuple[float, float]] = field(default_factory=dict)


def find_plane(
    segmenter: Segmenter,
    source: PlaneSource,
    plane: Plane,
    settings: dict[str, Any],
    post_processing: PostProcessing,
    report: Report,
) -> Found:
    """Find the objects of a plane; imports of the search are delayed until it is needed."""
    from napari_sam.automask import generate_masks, place_objects

    report(0.0)
    pixels, limits, given = source.read_described(plane)
    objects = generate_masks(segmenter, pixels, limits, report, **settings)
    height, width = pixels.shape[:2]
    return found_of(*place_objects(objects, (height, width)), given, post_processing)


def found_of(
    labels: NDArray[Any],
    placed: Sequence[ObjectMask],
    given: PlaneInput,
    post_processing: PostProcessing,
) -> Found:
    """Return the objects found, from labels without overlaps and the masks they come from."""
    if not post_processing.is_off:
        _process(labels, post_processing)
    quality = np.array([(one.score, one.stability) for one in placed]).reshape(-1, 2)
    return Found(
        (labels.shape[0], labels.shape[1]),
        Packed.of(labels.ravel()),
        np.arange(len(placed) + 1),
        given.words(),
        quality.clip(0, 1),
    )


def _process(labels: NDArray[np.int32], how: PostProcessing) -> None:
    """Apply post-processing to each object of a plane, without taking pixels of others."""
    from scipy import ndimage

    for number, region in enumerate(ndimage.find_objects(labels), 1):
        if region is None:
            continue
        patch = cut(labels[region] == number, (region[0].start, region[1].start))
        after = how.apply(patch)
        labels[region][labels[region] == number] = 0
        shown = labels[after.region]
        kept = after.within(after.region)[: shown.shape[0], : shown.shape[1]]
        shown[kept & (shown == 0)] = number


def name_objects(planes: Sequence[Found], linked: bool, report: Report) -> list[Found]:
    """Give the objects of all planes numbers; with `linked`, overlapping ones get the same.

    Parameters
    ----------
    planes
        The objects of each plane, in order.
    linked
        Whether to link objects from plane to plane.
    report
        Called with the fraction (0-1) that is done.
    """
    named, above = [], 0
    if not linked:
        for found in planes:
            named.append(replace(found, numbers=np.where(found.numbers, found.numbers + above, 0)))
            above += len(found.numbers) - 1
        return named

    from napari_sam.automask import linked_planes

    images = linked_planes(found.image().astype(np.int64) for found in planes)
    for found, image in zip(planes, images, strict=True):
        report(len(named) / len(planes))
        numbers = np.zeros_like(found.numbers)
        numbers[found.image()] = image
        named.append(replace(found, numbers=numbers))
    return named


def decide(
    canvas: LabelCanvas,
    searches: bool,
    planes: Sequence[Plane],
    work: Mapping[int, tuple[Found, tuple[Patch, ...]]],
    before: Decided,
    report: Report,
) -> Decided:
    """Decide which pixels are written on some planes, and keep the decisions on others.

    Parameters
    ----------
    canvas
        The labels.
    searches
        Whether their highest number isn't known and has to be searched.
    planes
        The planes of the run.
    work
        The objects found on a plane and the pixels erased there, by its index in the run.
    before
        The decisions so far.
    report
        Called with the fraction (0-1) that is done.
    """
    highest, labels, parts = before.highest, dict(before.labels), dict(before.parts)
    quality = dict(before.quality)
    report(0.0)
    if searches:
        highest = max(highest, canvas.highest(report))
    for done, (place, (found, erased)) in enumerate(work.items()):
        report(done / len(work))
        parts[place] = _place(canvas, planes[place], found, erased, labels, highest)
        for number, (score, stability) in zip(found.numbers[1:], found.quality, strict=False):
            if (label := labels.get(int(number))) is not None:
                least = quality.get(label, (1.0, 1.0))
                quality[label] = min(least[0], float(score)), min(least[1], float(stability))
    return Decided(parts, labels, highest, quality)


def _place(
    canvas: LabelCanvas,
    plane: Plane,
    found: Found,
    erased: tuple[Patch, ...],
    labels: dict[int, int],
    highest: int,
) -> Part:
    """Decide which pixels are written on a plane: those that are background and were not erased.

    An object of which less than half is free is left out; labels of the others are added to
    `labels`.
    """
    from scipy import ndimage

    image, count = found.image(), len(found.numbers)
    whole = slice(0, found.shape[0]), slice(0, found.shape[1])
    here = canvas.read(plane, whole)
    free = (image > 0) & (here == 0)
    for patch in erased:
        free[patch.region] &= ~patch.pixels
    area = np.bincount(image.ravel(), minlength=count)
    left = np.bincount(image[free], minlength=count)
    kept = left >= np.maximum(1, _LEAST_LEFT * area)
    kept[0] = False
    free &= kept[image]
    if not free.any():
        return Part(erased)
    label_of = np.zeros(count, np.uint64)
    for k in np.flatnonzero(kept):
        label_of[k] = labels.setdefault(int(found.numbers[k]), highest + 1 + len(labels))
    values = label_of[image[free]]
    if values.max() <= np.iinfo(here.dtype).max:  # else the canvas gets a wider type, or fails
        values = values.astype(here.dtype)
    marks: dict[ObjectPlane, Marks] = {}
    shown = np.where(free, image, 0)
    for number, region in enumerate(ndimage.find_objects(shown), 1):
        if region is not None:
            written = cut(shown[region] == number, (region[0].start, region[1].start))
            marks[int(label_of[number]), plane] = Marks(written)
    return Part(erased, PixelChange.of(plane, whole, free, here[free], values), marks)
