"""Masks from a regular grid of points, over the plane and over crops of it.

Source: the automatic mask generation of Kirillov et al., Segment Anything (2023), appendix B;
settings and results are those of its reference implementation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_sam.automask.objects import IntBox, ObjectMask, encode_region
from napari_sam.automask.settings import AutomaskSettings
from napari_sam.masks import box_nms, stability_score
from napari_sam.prompts import Prompts
from napari_sam.segmentation.protocol import Embedding, Progress, Segmenter, part_of

# Masks this close to a crop's border, in pixels, are cut off, unless the plane ends there too.
_NEAR_EDGE = 20


def masks_from_grid(
    segmenter: Segmenter,
    pixels: NDArray[np.uint8],
    settings: AutomaskSettings,
    progress: Progress | None,
) -> list[ObjectMask]:
    """Prompt with a grid of points and keep sure, stable, different masks.

    Parameters
    ----------
    segmenter
        Decodes the points.
    pixels
        `(H, W, 3)` normalised grey values.
    settings
        Grid, thresholds and crops.
    progress
        Called with the finished fraction; it may raise :class:`Cancelled`.
    """
    shape = (pixels.shape[0], pixels.shape[1])
    crops = list(crop_boxes(shape, settings.crop_n_layers, settings.crop_overlap_ratio))
    objects: list[ObjectMask] = []
    for i, (crop, layer) in enumerate(crops):
        side = settings.points_per_side // settings.crop_n_points_downscale_factor**layer
        part = part_of(progress, i / len(crops), (i + 1) / len(crops))
        found = _masks_of_crop(segmenter, pixels, crop, side, settings, part)
        scores = np.array([one.score for one in found])
        objects += [found[k] for k in box_nms(_boxes(found), scores, settings.box_nms_thresh)]
    if len(crops) > 1:  # of duplicates, prefer the mask from the smaller crop
        small = np.array([1 / _box_area(one.crop_box) for one in objects])
        objects = [objects[k] for k in box_nms(_boxes(objects), small, settings.crop_nms_thresh)]
    if settings.min_mask_region_area:
        objects = _without_small_regions(objects, settings)
    return objects


def point_grid(side: int, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Spread `side`² points evenly over a rectangle: `(side², 2)` as (row, column)."""
    share = (np.arange(side) + 0.5) / side
    rows, columns = np.meshgrid(share * shape[0], share * shape[1], indexing="ij")
    points = np.column_stack([rows.ravel(), columns.ravel()])
    # Where there are fewer pixels than points the last ones would lie behind the border.
    return np.minimum(points, np.subtract(shape[:2], 0.5))


def crop_boxes(
    shape: tuple[int, int], layers: int, overlap_ratio: float
) -> Iterator[tuple[IntBox, int]]:
    """Yield the plane and then, per layer i, 4**i overlapping crops, each with its layer.

    Boxes are (row 0, column 0, row 1, column 1), half-open.
    """
    height, width = shape
    yield (0, 0, height, width), 0
    for layer in range(1, layers + 1):
        count = 2**layer
        overlap = int(overlap_ratio * min(shape) * (2 / count))
        h, w = (-(-(overlap * (count - 1) + side) // count) for side in shape)
        for i, j in product(range(count), repeat=2):  # column by column, as in the reference
            r0, c0 = (h - overlap) * j, (w - overlap) * i
            yield (r0, c0, min(r0 + h, height), min(c0 + w, width)), layer


def _masks_of_crop(
    segmenter: Segmenter,
    pixels: NDArray[np.uint8],
    crop: IntBox,
    side: int,
    settings: AutomaskSettings,
    progress: Progress | None,
) -> list[ObjectMask]:
    r0, c0, r1, c1 = crop
    view = np.ascontiguousarray(pixels[r0:r1, c0:c1])
    plane_shape = (pixels.shape[0], pixels.shape[1])
    embedding = segmenter.embed(view, None, part_of(progress, 0.0, 0.5))
    points, size = point_grid(side, view.shape[:2]), settings.points_per_batch
    found: list[ObjectMask] = []
    for start in range(0, len(points), size):
        batch = points[start : start + size]
        found += _decode(segmenter, embedding, batch, crop, plane_shape, settings)
        if progress is not None:
            progress(0.5 + 0.5 * min(1.0, (start + size) / len(points)))
    return found


def _decode(
    segmenter: Segmenter,
    embedding: Embedding,
    points: NDArray[np.float64],
    crop: IntBox,
    plane_shape: tuple[int, int],
    settings: AutomaskSettings,
) -> Iterator[ObjectMask]:
    """Decode some points of a crop; yield the masks that pass every threshold."""
    prompts = [Prompts([point], [1]) for point in points]
    predictions = segmenter.decode_many(embedding, prompts, multimask=True)
    for point, prediction in zip(points, predictions, strict=True):
        sure = prediction.scores > settings.pred_iou_thresh
        for i in np.flatnonzero(sure | (settings.pred_iou_thresh <= 0)):
            offset = settings.stability_score_offset
            origin, logits = prediction.part_logits(int(i), -offset)
            stability = float(stability_score(logits, 0.0, offset))
            mask = logits > 0
            if stability < settings.stability_score_thresh or not mask.any():
                continue
            r, c = np.add(origin, crop[:2]).tolist()
            box, rle = encode_region(mask, (r, c), plane_shape)
            if not _is_cut_off(box, crop, plane_shape):
                at = (float(point[0] + crop[0]), float(point[1] + crop[1]))
                yield ObjectMask(box, rle, float(prediction.scores[i]), stability, at, crop)


def _is_cut_off(box: IntBox, crop: IntBox, plane_shape: tuple[int, int]) -> bool:
    at_crop = np.abs(np.subtract(box, crop)) <= _NEAR_EDGE
    at_plane = np.abs(np.subtract(box, (0, 0, *plane_shape))) <= _NEAR_EDGE
    return bool(np.any(at_crop & ~at_plane))


def _without_small_regions(
    objects: list[ObjectMask], settings: AutomaskSettings
) -> list[ObjectMask]:
    """Remove small holes and islands, then duplicates; prefer masks that needed no change."""
    cleaned, unchanged = [], []
    for one in objects:
        mask, changed = _without_specks(one, settings.min_mask_region_area)
        unchanged.append(float(not changed))
        if changed:
            r0, c0, _, _ = one.box
            box, rle = encode_region(mask, (r0, c0), one.mask.size)
            one = replace(one, box=box, mask=rle)
        cleaned.append(one)
    threshold = max(settings.box_nms_thresh, settings.crop_nms_thresh)
    return [cleaned[k] for k in box_nms(_boxes(cleaned), np.array(unchanged), threshold)]


def _without_specks(one: ObjectMask, least: int) -> tuple[NDArray[np.bool_], bool]:
    """Fill holes and drop islands of fewer than `least` pixels; return whether there were any."""
    eight = np.ones((3, 3), bool)
    (height, width), (r0, c0, r1, c1) = one.mask.size, one.box
    # What lies beyond the box is background, except where the plane ends.
    margins = (int(r0 > 0), int(r1 < height - 1)), (int(c0 > 0), int(c1 < width - 1))
    mask = np.pad(one.crop(), margins)
    holes, count = ndimage.label(~mask, eight)
    small = np.bincount(holes.ravel(), minlength=count + 1) < least
    inner = tuple(slice(low, -high or None) for low, high in margins)
    beyond = np.ones_like(mask)
    beyond[inner] = False
    small[holes[beyond]] = False
    small[0] = False
    filled = (mask | small[holes])[inner]
    islands, count = ndimage.label(filled, eight)
    areas = np.bincount(islands.ravel(), minlength=count + 1)
    areas[0] = 0
    large = areas >= least
    large[0] = False
    changed = bool(small.any()) or np.count_nonzero(large) < count
    if not large.any():
        large[areas.argmax()] = True
    return large[islands], changed


def _boxes(objects: list[ObjectMask]) -> NDArray[np.float64]:
    return np.array([one.box for one in objects], np.float64).reshape(-1, 4)


def _box_area(box: IntBox) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])
