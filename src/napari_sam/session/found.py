"""What a run finds on each plane, what it is called, and which pixels of the labels it gets."""

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

_LEAST_LEFT = 0.5  # share of an object that must be free for it to be written


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The objects of a plane.

    Parameters
    ----------
    shape
        (H, W) of the plane.
    labels
        Numbered from 1 in this plane, in C order.
    numbers
        `(n + 1,)`: what object k of the plane is called in all planes; 0 is 0.
    given
        What the model was given of the plane, in words.
    quality
        `(n, 2)`: predicted IoU and stability of object k + 1.
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
    """What is written on a plane.

    Parameters
    ----------
    erased
        What people had taken away there when it was decided.
    pixels
        What changes; None if nothing does.
    marks
        What is known of each object then.
    """

    erased: tuple[Patch, ...]
    pixels: PixelChange | None = None
    marks: Mapping[ObjectPlane, Marks] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Decided:
    """What is written on all planes of a run.

    Parameters
    ----------
    parts
        By the place of their plane in the run.
    labels
        Of objects, by what they are called.
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
    """Find the objects of a plane. What does that is imported here: a window opens without it."""
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
    """Return what was found from labels that were placed, and the masks they come from."""
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
    """Do to each object of a plane what is done to masks; none takes pixels of another."""
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
    """Name the objects of all planes: those that overlap from plane to plane are one if linked."""
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
    """Decide what is written on some planes, and keep what was decided of the others.

    Parameters
    ----------
    canvas
        The labels.
    searches
        Whether their highest number isn't known.
    planes
        Those of the run.
    work
        What was found on a plane, and what people have erased there, by its place in the run.
    before
        What was decided before.
    report
        Called with the finished fraction.
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
    """Decide what is written on a plane: where nothing is yet, and nobody has erased anything.

    An object of which less than half is free is left out; `labels` gets those of the others.
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
    if values.max() <= np.iinfo(here.dtype).max:  # otherwise labels get a wider type, or refuse
        values = values.astype(here.dtype)
    marks: dict[ObjectPlane, Marks] = {}
    shown = np.where(free, image, 0)
    for number, region in enumerate(ndimage.find_objects(shown), 1):
        if region is not None:
            written = cut(shown[region] == number, (region[0].start, region[1].start))
            marks[int(label_of[number]), plane] = Marks(written)
    return Part(erased, PixelChange.of(plane, whole, free, here[free], values), marks)
