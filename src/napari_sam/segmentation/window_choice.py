"""How large a square around its prompts shows an object whole."""

from __future__ import annotations

import math

import numpy as np

from napari_sam.geometry import Frame
from napari_sam.model.tuning import WindowTuning
from napari_sam.prompts import Prompts, tight_box

# Squares that objects are decoded in have few sizes, in model pixels, so that their positions are
# at hand.
_WINDOW_STEP = 32


def window_side(prompts: Prompts, frame: Frame, stride: float, tuning: WindowTuning) -> int:
    """Choose the side, in model pixels, of a square that shows an object whole most of the time.

    It lies around the clicks and the box, and holds the mask that the prompts carry; 0, which is
    everything, where there is a mask alone.
    """
    places = frame.to_model(prompts.places)
    if not len(places):
        return 0
    centre = (places.min(0) + places.max(0)) / 2
    least = tuning.click if prompts.box is None else tuning.least
    patch, logits = prompts.mask_patch, prompts.logits
    corners = None
    if patch is not None and not patch.is_empty:
        corners = frame.to_model(np.reshape(patch.box, (2, 2)))
    elif logits is not None and (carried := logits > 0).any():
        corners = stride * np.reshape(tight_box(carried), (2, 2))[:, ::-1]
    if corners is not None:
        places, least = np.concatenate([places, corners]), tuning.least
    side = max(least, tuning.room * 2 * float(np.abs(places - centre).max()))
    return math.ceil(side / _WINDOW_STEP) * _WINDOW_STEP
