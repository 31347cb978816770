"""The appearance of masks: filled or outlined, and in which colours."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Literal
from weakref import WeakKeyDictionary

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import CyclicLabelColormap, DirectLabelColormap, label_colormap
from numpy.typing import ArrayLike, NDArray

from napari_sam.engine import Executor, Outcome, Report

if TYPE_CHECKING:
    from napari_sam.gui.annotation import Annotation

Colours = Literal["by number", "apart from the image", "by class"]
"""What gives a mask its colour."""

COLOURS: tuple[Colours, ...] = ("by number", "apart from the image", "by class")

_WIDTH = 2  # pixels of an outline
_COUNT = 12  # colours that stand out
_OTHERS = (0.6, 0.6, 0.6, 1.0)  # of objects without a class
_LIKE_NAPARI = 49, 0.5
_INT32 = np.dtype(np.int32)

_CHOSEN: WeakKeyDictionary[Labels, Colours] = WeakKeyDictionary()

_Members = tuple[dict[int, str], dict[str, str]]
_MEMBERS: WeakKeyDictionary[Labels, _Members] = WeakKeyDictionary()  # as they are coloured


def outline_masks(annotation: Annotation, on: bool | None = None) -> None:
    """Show masks as outlines, or filled.

    Parameters
    ----------
    annotation
        The annotation whose masks are shown so.
    on
        True for outlines, False for filled masks, None to switch.

    Raises
    ------
    ValueError
        If the annotation has no masks yet.
    """
    masks = annotation.labels
    if masks is None:
        raise ValueError("expected masks to outline, got none yet; click on an object first")
    wanted = masks.contour == 0 if on is None else on
    masks.contour = _WIDTH if wanted else 0


def colours_of(masks: Labels) -> Colours:
    """Return what gives masks their colours."""
    return _CHOSEN.get(masks, "by number")


def colour_masks(annotation: Annotation, colours: Colours, executor: Executor) -> None:
    """Colour masks, in place of any colours that a user chose in napari's own controls.

    Parameters
    ----------
    annotation
        The annotation whose masks are coloured.
    colours
        What gives a mask its colour. ``by class`` shows the current classes of the objects, and
        does nothing if they are shown already.
    executor
        Builds the colours of classes in the background: there may be fifty thousand objects.
    """
    masks = annotation.labels
    if masks is None:
        return
    if _CHOSEN.get(masks) != colours:
        _MEMBERS.pop(masks, None)
    _CHOSEN[masks] = colours
    if colours == "by number":
        masks.colormap = label_colormap(*_LIKE_NAPARI)
    elif colours == "by class":
        session = annotation.session
        members = session.class_names, {one.name: one.colour for one in session.classes}
        if _MEMBERS.get(masks) != members:
            _MEMBERS[masks] = members
            task = partial(_colormap_task, *members, np.dtype(masks.data.dtype))
            done = partial(_show_classes, masks)
            executor.chore(("colours of classes", id(masks)), task, done, awaited=False)
    else:
        shown = np.asarray(annotation.image.thumbnail, float)[..., :3] / 255
        apart = np.ones((_COUNT + 1, 4), np.float32)
        apart[0], apart[1:, :3] = 0, colours_apart_from(shown.reshape(-1, 3), _COUNT)
        masks.colormap = CyclicLabelColormap(colors=apart, background_value=0)


def colours_apart_from(shown: ArrayLike, count: int) -> NDArray[np.float32]:
    """Return bright colours that differ from those of an image, and from each other.

    Parameters
    ----------
    shown
        `(n, 3)` colours of the image, red, green and blue from 0 to 1.
    count
        Number of colours to return.

    Returns
    -------
    colours
        `(count, 3)`, red, green and blue from 0 to 1; those that differ most come first.

    Notes
    -----
    Distances are measured in CIELAB, where equal distances appear equally large. Candidates are
    36 hues at two brightnesses. The half that is farther from the image's colours is kept, and
    from it the colour farthest from all chosen so far is added until there are enough.
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


def class_colormap(
    members: Mapping[int, str], colours: Mapping[str, str], dtype: np.dtype = _INT32
) -> DirectLabelColormap:
    """Return a colormap that colours objects by class; objects without a class are grey.

    Parameters
    ----------
    members
        The class of every object that has one, by object id.
    colours
        The colour of each class, as ``#rrggbb``.
    dtype
        Type of the labels that will be shown; napari's lookup table for it is built here.
    """
    others: dict[int | None, NDArray[np.float32]] = {
        None: np.array(_OTHERS, np.float32),
        0: np.zeros(4, np.float32),
    }
    made = DirectLabelColormap(color_dict=others)
    rgba = {name: _rgba(colour) for name, colour in colours.items()}
    # not as an argument: napari would parse each object's colour as a name
    made.color_dict.update({i: rgba[name] for i, name in members.items() if name in rgba})
    made.map(np.zeros(1, dtype))  # builds the table, which the colormap keeps
    return made


def _colormap_task(
    members: Mapping[int, str], colours: Mapping[str, str], dtype: np.dtype, report: Report
) -> DirectLabelColormap:
    return class_colormap(members, colours, dtype)


def _show_classes(masks: Labels, outcome: Outcome) -> None:
    if outcome.cancelled or _CHOSEN.get(masks) != "by class":
        return
    if outcome.error is not None:
        raise outcome.error
    masks.colormap = outcome.value


def _rgba(colour: str) -> NDArray[np.float32]:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return np.array([*parts, 1.0], np.float32)
