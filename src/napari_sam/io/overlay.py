"""Pictures of an image with its labels drawn over it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam.atomic import replaced
from napari_sam.image import normalise
from napari_sam.prompts import Prompts

_GOLDEN_RATIO = (5**0.5 - 1) / 2
_POSITIVE = (0, 255, 0)
_NEGATIVE = (255, 40, 40)


def draw_overlay(
    image: NDArray[Any],
    labels: NDArray[Any],
    prompts: Sequence[Prompts] = (),
    contrast_limits: tuple[float, float] | None = None,
    opacity: float = 0.3,
) -> NDArray[np.uint8]:
    """Draw each label in a colour of its own: a light fill, a full outline, and the clicks.

    Parameters
    ----------
    image : array of shape (H, W) or (H, W, 3 or 4)
        One plane, stretched as the model sees it.
    labels : array of int, shape (H, W)
        0 is background.
    prompts : sequence of Prompts, optional
        Positive points are drawn as green disks, negative ones as red crosses.
    contrast_limits : (low, high), optional
        Pixel values drawn as black and white; robust percentiles by default.
    opacity : float
        Of the fill, from 0 to 1.

    Returns
    -------
    picture
        `(H, W, 3)` uint8.

    Raises
    ------
    ValueError
        If the labels have another shape than the plane.
    """
    from skimage.segmentation import find_boundaries

    picture = np.array(normalise(image, contrast_limits))
    if labels.shape != picture.shape[:2]:
        raise ValueError(
            f"expected labels of the plane's shape {picture.shape[:2]}, got {labels.shape}; "
            "draw a stack one plane at a time"
        )
    inside = labels != 0
    numbers, which = np.unique(labels[inside], return_inverse=True)
    colours = np.array([label_colour(int(number)) for number in numbers]).reshape(-1, 3)
    fill = picture[inside] * (1 - opacity) + colours[which] * opacity
    # Inner boundaries, so that a one-pixel object still shows and no neighbour is covered.
    outline = find_boundaries(labels, mode="inner")[inside]
    fill[outline] = colours[which][outline]
    picture[inside] = np.rint(fill).astype(np.uint8)
    for one in prompts:
        for point, sign in zip(one.points, one.point_labels, strict=True):
            _draw_point(picture, point, positive=bool(sign))
    return picture


def write_overlay(
    path: str | Path,
    image: NDArray[Any],
    labels: NDArray[Any],
    prompts: Sequence[Prompts] = (),
    contrast_limits: tuple[float, float] | None = None,
    opacity: float = 0.3,
) -> None:
    """Write the picture that `draw_overlay` makes as PNG; it appears when it is complete.

    Parameters
    ----------
    path
        A ``.png``.
    image, labels, prompts, contrast_limits, opacity
        As in :func:`draw_overlay`.

    Raises
    ------
    ValueError
        If the path does not end in ``.png``, or as `draw_overlay` does.
    OSError
        If the place is full or cannot be written.
    """
    import imageio.v3

    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(f"expected a path ending in .png for an overlay, got {path.name}")
    picture = draw_overlay(image, labels, prompts, contrast_limits, opacity)
    with replaced(path) as temporary:
        imageio.v3.imwrite(temporary, picture, extension=".png")


def label_colour(number: int) -> tuple[int, int, int]:
    """Return a bright colour that differs between neighbouring numbers and never changes."""
    import colorsys

    hue = number * _GOLDEN_RATIO % 1
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.65 + 0.35 * (number % 2), 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def _draw_point(picture: NDArray[np.uint8], point: NDArray[np.float64], positive: bool) -> None:
    from skimage.draw import disk, line

    radius = max(2.0, max(picture.shape[:2]) / 150)
    shape = picture.shape[:2]
    if positive:
        picture[disk(point, radius + 1.5, shape=shape)] = 255
        picture[disk(point, radius, shape=shape)] = _POSITIVE
        return
    row, column = round(point[0]), round(point[1])
    arm = round(radius) + 1
    for width, colour in ((1, 255), (0, _NEGATIVE)):
        for slope in (1, -1):
            for shift in range(-width, width + 1):
                rows, columns = line(
                    row - arm, column - slope * arm + shift, row + arm, column + slope * arm + shift
                )
                kept = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
                picture[rows[kept], columns[kept]] = colour
