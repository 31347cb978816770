"""What prompts are to a network: checked, and masks as logits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_sam.geometry import Frame
from napari_sam.prompts import Prompts
from napari_sam.segmentation.prediction import SURE


def check_prompts(prompts: Prompts, frame: Frame, low_res: tuple[int, int]) -> None:
    """Refuse prompts that can't be decoded from an embedding.

    Parameters
    ----------
    prompts
        Of one object.
    frame, low_res
        Of the embedding, and (h, w) of its logits.

    Raises
    ------
    ValueError
        If there are none, if they lie outside the plane, or carry another frame's logits.
    """
    if prompts.is_empty:
        raise ValueError("expected a click, a box or a mask, got no prompts; add one first")
    prompts.check(frame.plane_shape)
    logits = prompts.logits
    if logits is None:
        return
    foreign = prompts.mask_frame is not None and prompts.mask_frame != frame
    if foreign or logits.shape != low_res:
        raise ValueError(
            f"expected mask logits of this embedding's frame, shape {low_res}, got shape "
            f"{logits.shape} of {'another' if foreign else 'an unknown'} frame; carry "
            "logits only between predictions on the same plane, or give a bool mask"
        )


def mask_logits(prompts: Prompts, frame: Frame, low_res: tuple[int, int]) -> NDArray[np.floating]:
    """Return the mask among some prompts as `(*low_res)` logits of an embedding's frame."""
    if prompts.logits is not None:
        return prompts.logits
    patch = prompts.mask_patch
    assert patch is not None, "a batch of prompts with masks"
    return (2 * frame.reduce(patch.within(frame.region), low_res) - 1) * SURE
