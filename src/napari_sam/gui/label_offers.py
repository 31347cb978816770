"""Finds labels of another program among the layers, to offer them as masks to correct."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
from napari.layers import Image, Labels, Layer
from numpy.typing import NDArray

from napari_sam.gui.layers import fits, image_of_masks
from napari_sam.gui.placement import geometry_of, lies_on, shape_of
from napari_sam.session import Plane, plane_axes

_PART = 512  # side in pixels of the part in the middle that is examined
_ALIKE = 0.8  # least share of neighbouring pixels in objects that have the same label

_EXAMINED: WeakKeyDictionary[Image, tuple[int, bool]] = WeakKeyDictionary()  # id of data, result


@dataclass(frozen=True, slots=True)
class Offer:
    """A layer that can become the masks of an image.

    Parameters
    ----------
    layer
        A Labels layer, or an image of whole numbers that resembles labels.
    image
        The image whose masks it can become.
    """

    layer: Labels | Image
    image: Image

    @property
    def is_image(self) -> bool:
        """Whether the layer is an image, of which a Labels layer must be made first."""
        return isinstance(self.layer, Image)


def find_offer(
    layers: Iterable[Layer],
    image: Image,
    plane: Plane | None,
    masks: Labels | None,
    is_declined: Callable[[Layer], bool],
) -> Offer | None:
    """Return the topmost layer that can become the masks of an image; None if there is none.

    The annotated image itself may be such a layer, since napari activates the layer opened last.
    Then it is offered as the masks of the topmost image that it fits.

    Parameters
    ----------
    layers
        The layers of the viewer, the lowest first.
    image, plane, masks
        The annotated image, its plane on screen, and the layer of its masks.
    is_declined
        Returns whether the user has declined a layer before.
    """
    from_above = [*layers][::-1]
    for layer in from_above:
        if layer is masks or is_declined(layer):
            continue
        if isinstance(layer, Labels):
            if image_of_masks(layer) is None and fits(layer, image):
                return Offer(layer, image)
        elif isinstance(layer, Image):
            others = [image] if layer is not image else [x for x in from_above if x is not image]
            for other in others:
                if isinstance(other, Image) and _can_become_labels(layer, other, plane):
                    return Offer(layer, other)
    return None


def labels_of(image: Image) -> Labels:
    """Make a Labels layer from an image of labels; the pixels are copied."""
    return Labels(np.array(image.data), name=image.name, opacity=0.5, **geometry_of(image))


def resembles_labels(pixels: NDArray[np.integer]) -> bool:
    """Whether pixels `(H, W)` of whole numbers are probably labels and not intensities.

    They are if there are several values above 0, and neighbours that aren't 0 are mostly equal.
    """
    if pixels.min(initial=0) < 0 or len(np.unique(pixels[pixels > 0])) < 2:
        return False
    alike = both = 0
    for one, other in ((pixels[:-1], pixels[1:]), (pixels[:, :-1], pixels[:, 1:])):
        inside = (one != 0) & (other != 0)
        both += int(np.count_nonzero(inside))
        alike += int(np.count_nonzero(inside & (one == other)))
    return alike > _ALIKE * both


def _can_become_labels(layer: Image, image: Image, plane: Plane | None) -> bool:
    data = layer.data
    is_plain = isinstance(data, np.ndarray) and not layer.rgb and not layer.multiscale
    if not is_plain or data.dtype.kind not in "iu" or data.shape != shape_of(image):
        return False
    if plane is None or not lies_on(layer, image):
        return False
    known = _EXAMINED.get(layer)
    if known is None or known[0] != id(data):
        known = _EXAMINED[layer] = id(data), resembles_labels(_middle(data, plane))
    return known[1]


def _middle(data: NDArray[np.integer], plane: Plane) -> NDArray[np.integer]:
    """Return the middle of a plane `(h, w)`."""
    axes = plane_axes(plane)
    at = tuple(
        slice(max(0, (n - _PART) // 2), (n + _PART) // 2) if axis in axes else i
        for axis, (n, i) in enumerate(zip(data.shape, plane, strict=True))
    )
    return np.asarray(data[at])
