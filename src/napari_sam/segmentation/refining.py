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

from napari_sam.geometry import Frame, Region
from napari_sam.patches import Patch, cut, union
from napari_sam.prompts import Prompts
from napari_sam.segmentation.prediction import SURE, MaskPrediction

# A click so many pixels beside an error still points at it.
_REACH = 1
# An error no deeper than this share of the mask's depth is one of the outline, mostly all around.
# With a quarter, found masks took more clicks, on planes that `nano` was trained on.
_SHALLOW = 0.4


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
    return MaskPrediction(logits[None], np.ones(1, np.float32), frame, mask)


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
    return Prompts(points, labels, clicks.box, _exact(before))


def refine(
    before: MaskPrediction,
    prediction: MaskPrediction,
    point: Sequence[float],
    label: int,
    others: Prompts | None = None,
) -> MaskPrediction:
    """Change a given mask around the error that a click points at.

    That is the part of what the prediction adds to the mask, or takes away from it, which holds
    the click or lies beside it. Where that part is thin, the mask is too tight or too wide there:
    then all parts along its outline that are no thicker are changed with it. All else stays. A
    click always counts: where the prediction sees no error, it is the disk around the click that
    reaches the mask's outline, at most half as wide as the mask.

    Parameters
    ----------
    before
        From :func:`given_mask` or :func:`refine`.
    prediction
        A segmenter's prediction for the :func:`correction`.
    point
        The latest click, as (row, column).
    label
        1 if pixels are missing there, 0 if there are too many.
    others
        The object's other clicks, whose pixels keep their value.

    Returns
    -------
    refined
        The changed mask, which is exact; its score, frame and logits are those of the best
        candidate. It is the input of the next :func:`correction`.
    """
    index = prediction.best_index
    origin, logits = prediction.part_logits(index)
    seen, given = Patch(origin, logits > 0), _exact(before)
    row, column = np.rint(point).astype(int).tolist()
    region = _around(row, column, given, seen)
    predicted, mask = seen.within(region), given.within(region)
    error = predicted & ~mask if label else mask & ~predicted
    low = region[0].start, region[1].start
    inner = row - low[0], column - low[1]
    others = others or Prompts()
    contrary = np.rint(others.points[others.point_labels != label]).astype(np.int64) - low
    along = ndimage.binary_dilation(mask if label else ~mask, border_value=int(not label))
    changed = _part_at(error, inner, along, float(_depth(mask).max()), contrary)
    mask = mask | changed if label else mask & ~changed
    exact = cut(mask, low)
    if bool(mask[inner]) != bool(label):
        exact = _with_disk(exact, row, column, bool(label), prediction.frame.plane_shape)
    return MaskPrediction(
        prediction.logits[index : index + 1],
        prediction.scores[index : index + 1],
        prediction.frame,
        exact,
    )


def _exact(prediction: MaskPrediction) -> Patch:
    if prediction.exact is None:
        raise ValueError(
            "expected a mask that was given, got a prediction of a decoder; begin with given_mask"
        )
    return prediction.exact


def _around(row: int, column: int, *masks: Patch) -> Region:
    """Return the smallest region around masks and a pixel."""
    region = union([*masks, Patch((row, column), np.ones((1, 1), bool))])
    assert region is not None, "a pixel"
    return region


def _part_at(
    error: NDArray[np.bool_],
    inner: tuple[int, int],
    along: NDArray[np.bool_],
    depth: float,
    contrary: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Return the connected parts of an error within reach of a pixel; of a thin one, all like it.

    Parameters
    ----------
    error
        `(H, W)`.
    inner
        The pixel.
    along
        Pixels on the error's side of the mask's outline, among others.
    depth
        How deep the mask is.
    contrary
        `(N, 2)` pixels that another part must not hold.
    """
    parts, count = ndimage.label(error)
    (row, column), numbers = inner, np.arange(count + 1)
    r, c = max(row - _REACH, 0), max(column - _REACH, 0)
    wanted = np.zeros(count + 1, bool)
    wanted[parts[r : row + _REACH + 1, c : column + _REACH + 1]] = True
    wanted[0] = False
    if wanted.any():
        deepest = np.asarray(ndimage.maximum(_depth(error), parts, numbers))
        thickness = deepest[wanted].max()
        if thickness <= _SHALLOW * depth:
            alike = (deepest <= thickness) & np.asarray(ndimage.maximum(along, parts, numbers) > 0)
            known = ((contrary >= 0) & (contrary < parts.shape)).all(1)
            alike[parts[tuple(contrary[known].T)]] = False
            wanted |= alike
            wanted[0] = False
    return np.asarray(wanted[parts])


def _depth(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the distance of each pixel of a mask to what is outside; beyond the array all is."""
    depth: NDArray[np.float64] = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    return depth


def _with_disk(
    given: Patch, row: int, column: int, label: bool, plane_shape: tuple[int, int]
) -> Patch:
    """Add a disk around a pixel to a mask, or take it away."""
    widest = max(1.0, float(given.area / np.pi) ** 0.5 / 2)
    room = int(widest) + 1
    rows, columns = (
        slice(max(s.start - room, 0), min(s.stop + room, size))
        for s, size in zip(_around(row, column, given), plane_shape, strict=True)
    )
    mask, inner = given.within((rows, columns)), (row - rows.start, column - columns.start)
    radius = widest
    if mask.any():  # beyond a plane's border nothing is known: it is no outline
        to_outline = ndimage.distance_transform_edt(~mask if label else mask)
        radius = min(max(1.0, float(to_outline[inner])), widest)
    down, across = np.ogrid[: mask.shape[0], : mask.shape[1]]
    disk = (down - inner[0]) ** 2 + (across - inner[1]) ** 2 <= radius**2
    return cut(mask | disk if label else mask & ~disk, (rows.start, columns.start))


def _inner_point(
    prediction: MaskPrediction, outside: NDArray[np.float64]
) -> tuple[float, float] | None:
    """Return the pixel of a given mask that is deepest inside and far from clicks outside it.

    Of two joined objects, one of which is clicked away, it is in the other.
    """
    given = _exact(prediction)
    (row, column), pixels = given.origin, given.pixels
    if not pixels.size:
        return None
    depth = _depth(pixels)
    rows, columns = np.ogrid[: pixels.shape[0], : pixels.shape[1]]
    for r, c in outside - (row, column):
        depth = np.minimum(depth, np.where(pixels, np.hypot(rows - r, columns - c) / 2, 0))
    r, c = np.unravel_index(int(np.argmax(depth)), depth.shape)
    return float(row + r), float(column + c)
