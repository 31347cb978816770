"""Masks that are given, and clicks that correct them around their error alone.

A mask of another program, or one that was found, is mostly right. A decoder that is shown it
draws all of it anew, so what was right changes, too. Here the mask stays as it is to the pixel,
and a click adds or takes away what the decoder sees of the error that it points at.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_sam.geometry import Frame, region_of
from napari_sam.patches import Patch, cut
from napari_sam.prompts import Prompts
from napari_sam.segmentation.prediction import SURE, MaskPrediction

Part = tuple[tuple[int, int], NDArray[np.bool_]]
"""(row, column) of the first pixel in the plane, and a mask at the plane's resolution."""

# A click so many pixels beside an error still points at it.
_REACH = 1


def given_mask(mask: NDArray[np.bool_] | Patch, frame: Frame, stride: int = 4) -> MaskPrediction:
    """Return a prediction that is exactly a mask, without a decode.

    Parameters
    ----------
    mask
        `(H, W)` at the plane's resolution, or cut to where it is.
    frame, stride
        Frame of the plane's embedding, and model pixels of a cell: what `logits` are laid over.
        They are a coarse copy; :attr:`MaskPrediction.exact` is the mask.

    Returns
    -------
    prediction
        One candidate whose score is 1.
    """
    cells = np.moveaxis(np.indices(frame.low_res(stride)), 0, -1) * stride + (stride - 1) / 2
    places = np.rint(frame.to_plane(cells[..., ::-1])).astype(np.int64)
    mask = mask if isinstance(mask, Patch) else cut(mask)
    places = np.clip(places, 0, np.subtract(frame.plane_shape, 1)) - mask.origin
    inside: NDArray[np.bool_] = np.all((places >= 0) & (places < mask.pixels.shape), axis=-1)
    inside[inside] = mask.pixels[tuple(places[inside].T)]
    logits = np.where(inside, SURE, -SURE).astype(np.float32)
    exact = mask.origin, mask.pixels
    return MaskPrediction(logits[None], np.ones(1, np.float32), frame, exact)


def correction(before: MaskPrediction, clicks: Prompts) -> Prompts:
    """Return what is decoded so that clicks correct a given mask.

    Parameters
    ----------
    before
        From :func:`given_mask` or :func:`refine`.
    clicks
        All clicks on the object since the mask was given, in their order; the last one is new.

    Returns
    -------
    prompts
        The mask, a positive click where it is deepest, and the clicks.
    """
    points, labels = clicks.points, clicks.point_labels
    inner = _inner_point(before, points[labels == 0])
    if inner is not None:
        points, labels = np.concatenate([[inner], points]), np.append(1, labels)
    return Prompts(points, labels, clicks.box, Patch(*_exact(before)))


def refine(
    before: MaskPrediction, prediction: MaskPrediction, point: Sequence[float], label: int
) -> MaskPrediction:
    """Change a given mask around the error that a click points at.

    That is the part of what the prediction adds to the mask, or takes away from it, which holds
    the click or lies beside it. All else stays. A click always counts: where the prediction sees
    no error, it is the disk around the click that reaches the mask's outline, at most half as wide
    as the mask.

    Parameters
    ----------
    before
        From :func:`given_mask` or :func:`refine`.
    prediction
        What a segmenter says to the :func:`correction`.
    point
        The latest click, as (row, column).
    label
        1 where it says that pixels are missing, 0 where they are too many.

    Returns
    -------
    refined
        The mask with the change, exactly; its score, frame and logits are the prediction's best.
        It is given to the next :func:`correction`.
    """
    index = prediction.best_index
    origin, logits = prediction.part_logits(index)
    seen, given = (origin, logits > 0), _exact(before)
    at = np.rint(point).astype(int)
    low, high = _around([seen, given], at)
    predicted, mask = _laid(seen, low, high), _laid(given, low, high)
    error = predicted & ~mask if label else mask & ~predicted
    changed = _part_at(error, at - low)
    mask = mask | changed if label else mask & ~changed
    exact = _cut(mask, low)
    if bool(mask[tuple(at - low)]) != bool(label):
        exact = _with_disk(exact, at, bool(label), prediction.frame.plane_shape)
    return MaskPrediction(
        prediction.logits[index : index + 1],
        prediction.scores[index : index + 1],
        prediction.frame,
        exact,
    )


def _exact(prediction: MaskPrediction) -> Part:
    if prediction.exact is None:
        raise ValueError(
            "expected a mask that was given, got a prediction of a decoder; begin with given_mask"
        )
    return prediction.exact


def _cut(mask: NDArray[np.bool_], low: Sequence[int] | NDArray[np.integer]) -> Part:
    """Cut a mask, whose first pixel is at `low` of the plane, to its bounding box."""
    region = region_of(mask)
    if region is None:
        return (0, 0), np.zeros((0, 0), bool)
    rows, columns = region
    return (int(low[0]) + rows.start, int(low[1]) + columns.start), mask[region].copy()


def _around(
    parts: Sequence[Part], at: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first pixel of a rectangle around parts and a pixel, and the one past its end."""
    filled = [(np.array(origin), pixels.shape) for origin, pixels in parts if pixels.size]
    low = np.min([at, *(origin for origin, _ in filled)], 0)
    high = np.max([at + 1, *(origin + shape for origin, shape in filled)], 0)
    return low, high


def _laid(part: Part, low: NDArray[np.int64], high: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Lay a part of a plane into a rectangle that holds it."""
    out = np.zeros(high - low, bool)
    (r, c), pixels = np.subtract(part[0], low), part[1]
    if pixels.size:
        out[r : r + pixels.shape[0], c : c + pixels.shape[1]] = pixels
    return out


def _part_at(mask: NDArray[np.bool_], at: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return the connected parts of a mask within reach of a pixel."""
    parts, count = ndimage.label(mask)
    r, c = np.maximum(at - _REACH, 0)
    wanted = np.zeros(count + 1, bool)
    wanted[parts[r : at[0] + _REACH + 1, c : at[1] + _REACH + 1]] = True
    wanted[0] = False
    return np.asarray(wanted[parts])


def _with_disk(
    part: Part, at: NDArray[np.int64], label: bool, plane_shape: tuple[int, int]
) -> Part:
    """Add a disk around a pixel to a mask, or take it away."""
    widest = max(1.0, float(np.count_nonzero(part[1]) / np.pi) ** 0.5 / 2)
    low, high = _around([part], at)
    room = int(widest) + 1
    low, high = np.maximum(low - room, 0), np.minimum(high + room, plane_shape)
    mask, inner = _laid(part, low, high), tuple(at - low)
    radius = widest
    if mask.any():  # beyond a plane's border nothing is known: it is no outline
        to_outline = ndimage.distance_transform_edt(~mask if label else mask)
        radius = min(max(1.0, float(to_outline[inner])), widest)
    rows, columns = np.ogrid[: mask.shape[0], : mask.shape[1]]
    disk = (rows - inner[0]) ** 2 + (columns - inner[1]) ** 2 <= radius**2
    return _cut(mask | disk if label else mask & ~disk, low)


def _inner_point(
    prediction: MaskPrediction, outside: NDArray[np.float64]
) -> tuple[float, float] | None:
    """Return the pixel of a given mask that is deepest inside and far from clicks outside it.

    Of two joined objects, one of which is clicked away, it is in the other.
    """
    (row, column), pixels = _exact(prediction)
    if not pixels.size:
        return None
    depth = ndimage.distance_transform_edt(np.pad(pixels, 1))[1:-1, 1:-1]
    rows, columns = np.ogrid[: pixels.shape[0], : pixels.shape[1]]
    for r, c in outside - (row, column):
        depth = np.minimum(depth, np.where(pixels, np.hypot(rows - r, columns - c) / 2, 0))
    r, c = np.unravel_index(int(np.argmax(depth)), depth.shape)
    return float(row + r), float(column + c)
