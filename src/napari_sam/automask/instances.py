"""Objects from the maps of a decoder for instances, by a watershed.

An object is sure where its pixels are far from its boundary and near to its centre. From there it
grows over the foreground, least distant pixels first, until it meets another one: a seeded
watershed, as micro-sam does it (Archit et al., Segment Anything for Microscopy, 2025).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_sam.automask.objects import ObjectMask, encode_region
from napari_sam.automask.settings import AutomaskSettings
from napari_sam.segmentation.instance_maps import BOUNDARY, CENTRE, FOREGROUND, instance_maps
from napari_sam.segmentation.protocol import Progress, Segmenter, part_of

# Shares of the progress up to the plane being encoded, and mapped.
_ENCODED, _MAPPED = 0.6, 0.9
# Of a Gaussian's width, as the library that micro-sam uses cuts it off.
_TRUNCATED = 3.0


def masks_from_decoder(
    segmenter: Segmenter,
    pixels: NDArray[np.uint8],
    settings: AutomaskSettings,
    progress: Progress | None,
) -> list[ObjectMask]:
    """Map the objects of a plane, and part them.

    Parameters
    ----------
    segmenter
        A model with a decoder for instances.
    pixels
        `(H, W, 3)` normalised grey values.
    settings
        Thresholds, smoothing, and which objects are too small or too unsure.
    progress
        Called with the finished fraction; it may raise :class:`Cancelled`.

    Returns
    -------
    objects
        The highest score first; none has pixels of another. See :func:`objects_of_maps`.
    """
    embedding = segmenter.embed(pixels, None, part_of(progress, 0.0, _ENCODED / 2))
    segmenter.prepare(embedding, None, part_of(progress, _ENCODED / 2, _ENCODED))
    maps = instance_maps(segmenter, embedding, part_of(progress, _ENCODED, _MAPPED))
    found = objects_of_maps(maps, settings)
    if progress is not None:
        progress(1.0)
    return found


def objects_of_maps(maps: NDArray[np.float32], settings: AutomaskSettings) -> list[ObjectMask]:
    """Find the objects in the maps `(3, H, W)` of a decoder for instances.

    Parameters
    ----------
    maps
        As :meth:`InstanceSegmenter.instance_maps` returns them.
    settings
        As of :func:`masks_from_decoder`.

    Returns
    -------
    objects
        The highest score first. The score is the mean probability of foreground over an object's
        pixels: how sure it is that something is there, not that it is one object. The stability
        is the share of its pixels that are left when the threshold of the foreground is raised by
        `stability_score_offset` as a logit. The point is the place of its seed that is nearest to
        the centre.
    """
    foreground = _smoothed(maps[FOREGROUND], settings.foreground_smoothing)
    centre = _smoothed(maps[CENTRE], settings.distance_smoothing)
    boundary = _smoothed(maps[BOUNDARY], settings.distance_smoothing)
    labels, seeds = part_objects(foreground, centre, boundary, settings)
    count = int(labels.max(initial=0))
    if not count:
        return []
    numbers = np.arange(1, count + 1)
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    scores = np.atleast_1d(ndimage.mean(maps[FOREGROUND], labels, numbers))
    threshold = settings.foreground_threshold
    higher = 1 / (1 + (1 - threshold) / threshold * np.exp(-settings.stability_score_offset))
    left = np.bincount(labels[foreground > higher], minlength=count + 1)[1:]
    places = ndimage.minimum_position(centre, seeds, numbers)
    kept = (areas >= settings.min_mask_region_area) & (scores >= settings.instance_score_thresh)
    regions = ndimage.find_objects(labels)
    shape = (labels.shape[0], labels.shape[1])
    found = []
    for i in np.flatnonzero(kept):
        rows, columns = regions[i]
        box, rle = encode_region(
            labels[rows, columns] == numbers[i], (rows.start, columns.start), shape
        )
        row, column = map(float, places[i])
        stability = float(left[i] / areas[i])
        score = float(np.clip(scores[i], 0, 1))
        found.append(ObjectMask(box, rle, score, stability, (row, column), (0, 0, *shape)))
    return sorted(found, key=lambda one: -one.score)


def part_objects(
    foreground: NDArray[np.float32],
    centre: NDArray[np.float32],
    boundary: NDArray[np.float32],
    settings: AutomaskSettings,
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Part the foreground into objects.

    Parameters
    ----------
    foreground, centre, boundary
        `(H, W)` each, as smooth as they shall be.
    settings
        Thresholds.

    Returns
    -------
    labels, seeds
        `(H, W)`, numbered from 1: the objects, and what of each is sure. Foreground that no seed
        reaches is background.
    """
    # the dock need not wait for it when it opens
    from skimage.segmentation import watershed

    inside = foreground > settings.foreground_threshold
    sure = (
        inside
        & (centre < settings.center_distance_threshold)
        & (boundary < settings.boundary_distance_threshold)
    )
    seeds, count = ndimage.label(sure, np.ones((3, 3), bool))
    if not count:
        return np.zeros(inside.shape, np.int32), np.zeros(inside.shape, np.int32)
    labels = watershed(boundary, seeds, mask=inside)
    return labels.astype(np.int32, copy=False), seeds.astype(np.int32, copy=False)


def _smoothed(values: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    if not sigma:
        return values
    return ndimage.gaussian_filter(values, sigma, mode="mirror", truncate=_TRUNCATED)
