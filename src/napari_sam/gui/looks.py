"""How masks look: filled or outlined, and in which colours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal
from weakref import WeakKeyDictionary

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import CyclicLabelColormap, DirectLabelColormap, label_colormap
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from napari_sam.gui.annotation import Annotation
    from napari_sam.session import Session

Colours = Literal["by number", "apart from the image", "by class"]
"""What gives a mask its colour."""

COLOURS: tuple[Colours, ...] = ("by number", "apart from the image", "by class")

_WIDTH = 2  # pixels of an outline
_COUNT = 12  # colours that stand out
_OTHERS = (0.6, 0.6, 0.6, 1.0)  # of objects without a class
_LIKE_NAPARI = 49, 0.5

_CHOSEN: WeakKeyDictionary[Labels, Colours] = WeakKeyDictionary()


def outline_masks(annotation: Annotation, on: bool | None = None) -> None:
    """Show masks as outlines, or filled.

    Parameters
    ----------
    annotation
        Whose masks.
    on
        Whether as outlines; None for the other way than now.

    Raises
    ------
    ValueError
        If there are no masks yet.
    """
    masks = annotation.labels
    if masks is None:
        raise ValueError("expected masks to outline, got none yet; click on an object first")
    wanted = masks.contour == 0 if on is None else on
    masks.contour = _WIDTH if wanted else 0


def colours_of(masks: Labels) -> Colours:
    """Return what gives masks their colours."""
    return _CHOSEN.get(masks, "by number")


def colour_masks(annotation: Annotation, colours: Colours) -> None:
    """Give masks other colours; those that a user chose in napari's own controls go.

    ``by class`` shows the classes that objects have now.
    """
    masks = annotation.labels
    if masks is None:
        return
    _CHOSEN[masks] = colours
    if colours == "by number":
        masks.colormap = label_colormap(*_LIKE_NAPARI)
    elif colours == "by class":
        masks.colormap = _by_class(annotation.session)
    else:
        shown = np.asarray(annotation.image.thumbnail, float)[..., :3] / 255
        apart = np.ones((_COUNT + 1, 4), np.float32)
        apart[0], apart[1:, :3] = 0, colours_apart_from(shown.reshape(-1, 3), _COUNT)
        masks.colormap = CyclicLabelColormap(colors=apart, background_value=0)


def colours_apart_from(shown: ArrayLike, count: int) -> NDArray[np.float32]:
    """Return bright colours that an image doesn't have, and that differ from each other.

    Parameters
    ----------
    shown
        `(n, 3)` colours of the image, red, green and blue from 0 to 1.
    count
        How many are wanted.

    Returns
    -------
    colours
        `(count, 3)`, those that differ most from each other first.

    Notes
    -----
    Distances are those of CIELAB, in which equal ones look alike. Of the hues at two brightnesses
    the half that is farther from what the image has is taken, and of these one after the other
    the colour that is farthest from those before.
    """
    from skimage.color import hsv2rgb, rgb2lab

    hues, values = np.meshgrid(np.arange(0, 1, 1 / 36), (1.0, 0.7))
    hsv = np.stack([hues.ravel(), np.ones(hues.size), values.ravel()], 1)
    rgb = hsv2rgb(hsv[None])[0]
    lab, there = rgb2lab(rgb[None])[0], rgb2lab(np.asarray(shown, float)[None])[0]
    near = np.linalg.norm(lab[:, None] - there[None], axis=2)
    distance = np.percentile(near, 5, axis=1)  # a few pixels of any colour don't count
    kept = np.argsort(-distance, kind="stable")[: max(count, len(rgb) // 2)]
    chosen = [int(kept[0])]
    while len(chosen) < count:
        between = np.linalg.norm(lab[kept][:, None] - lab[chosen][None], axis=2).min(1)
        chosen.append(int(kept[np.argmax(between)]))
    return rgb[chosen].astype(np.float32)


def _by_class(session: Session) -> DirectLabelColormap:
    colours = {one.name: _rgba(one.colour) for one in session.classes}
    table: dict[int | None, NDArray[np.float32]] = {
        None: np.array(_OTHERS, np.float32),
        0: np.zeros(4, np.float32),
    }
    for object_id in session.object_ids:
        if (name := session.facts(object_id).class_name) in colours:
            table[object_id] = colours[name]
    return DirectLabelColormap(color_dict=table)


def _rgba(colour: str) -> NDArray[np.float32]:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return np.array([*parts, 1.0], np.float32)
