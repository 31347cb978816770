"""Teach the heads that find everything, where most of a plane is unlabelled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from napari_sam.model.dense_head import DenseOutput
from napari_sam.model.sam import Sam
from napari_sam.training.dense_loss import SIDES_STRIDE, DenseTargets, Known, dense_loss
from napari_sam.training.roi_loss import region_loss
from napari_sam.training.views import View

# Where nothing is labelled, and the parent's scores are below this, is background.
_NOTHING = 0.25
# Cells beside an object belong to its outline: they have no target.
_RIM = 2


@dataclass(frozen=True, slots=True, eq=False)
class HeadView:
    """A view with the targets of the heads.

    Parameters
    ----------
    features
        Levels `(1, C, h, w)`.
    labels
        `(1, H, W)` of model pixels.
    known
        `(1, H, W)` bool: where labels are complete.
    target, cells
        Targets and known cells of :func:`~napari_sam.training.dense_loss.dense_loss`.
    """

    features: tuple[Tensor, ...]
    labels: Tensor
    known: Tensor
    target: DenseTargets
    cells: Known


@torch.no_grad()
def head_view(view: View, parent: Sam) -> HeadView:
    """Find what is known in a view: objects, complete regions, and what the parent finds empty."""
    assert parent.dense_head is not None  # the caller knows the model
    labels, complete = view.on_canvas
    _, scores = parent.dense_head.boxes(view.features)
    empty = scores[0].sigmoid().cpu().numpy() < _NOTHING
    seems_empty = empty.repeat(SIDES_STRIDE, 0).repeat(SIDES_STRIDE, 1)
    known = (labels > 0) | complete | (seems_empty & _inside(view, labels, complete))
    batch, seen = labels[None], known[None]
    return HeadView(
        view.features,
        torch.from_numpy(batch),
        torch.from_numpy(seen),
        DenseTargets.of(batch),
        Known.of(seen),
    )


def _inside(
    view: View, labels: NDArray[np.int32], complete: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Model pixels that are of the view rather than padding, and not on an object's rim."""
    inside = np.zeros(labels.shape, bool)
    inside[: view.frame.scaled[0], : view.frame.scaled[1]] = True
    rim = ndimage.binary_dilation(labels > 0, iterations=_RIM) & (labels == 0) & ~complete
    return inside & ~rim


def heads_loss(pupil: Sam, views: Sequence[HeadView], rng: np.random.Generator) -> Tensor:
    """Compare the heads' outputs for views with their targets."""
    assert pupil.dense_head is not None  # the caller knows the model
    total = torch.zeros(())
    for view in views:
        output = pupil.dense_head(view.features)
        loss = dense_loss(DenseOutput(*output), view.target, view.cells)
        if pupil.roi_head is not None:
            cells = output.sides, output.scores
            regions = region_loss(
                pupil.roi_head, view.features, cells, view.labels, rng.spawn(1)[0], view.known
            )
            loss = loss + regions
        total = total + loss
    return total / len(views)
