"""What is offered of a taught model: all of it, the decoder, the heads, or none."""

from __future__ import annotations

import numpy as np
import pytest

from napari_sam.training.average_precision import THRESHOLDS, Counts
from napari_sam.training.teaching_scores import Figures
from napari_sam.training.verdict import DECODER, HEADS, judge

PARTS = DECODER + HEADS


def found(hits: int, of: int = 100) -> Counts:
    """So many of some objects, at every threshold."""
    true = np.full(len(THRESHOLDS), hits)
    return Counts(true, np.zeros_like(true), of - true)


def figures(iou: float, hits: int | None = None) -> Figures:
    """Two objects."""
    same = np.full(2, iou)
    return Figures(same, same, same, None if hits is None else found(hits))


@pytest.mark.parametrize(
    ("clicks", "joint", "half", "parts"),
    [
        (0.6, 80, 50, PARTS),
        (0.6, 80, 90, DECODER),
        (0.6, 80, 80, DECODER),
        (0.51, 80, 51, HEADS),
        (0.3, 80, 51, HEADS),
        (0.51, 80, 30, None),  # finds as much as before
        (0.51, 80, 49, None),  # more by less than a fifth
    ],
)
def test_each_half_is_judged_by_itself(
    clicks: float, joint: int, half: int, parts: tuple[str, ...] | None
) -> None:
    verdict = judge(figures(0.5, 30), figures(clicks, joint), found(half), PARTS)
    assert verdict.offered is (parts is not None)
    assert verdict.parts == (parts or PARTS)
    message = verdict.scores["everything"].after
    assert message == pytest.approx(0.8 if parts in (PARTS, None) else half / 100)
    assert verdict.scores["click"].after == (0.5 if parts == HEADS else clicks)


def test_model_without_heads_is_judged_by_clicks() -> None:
    assert judge(figures(0.5), figures(0.6), None, DECODER).offered
    assert not judge(figures(0.5), figures(0.51), None, DECODER).offered


def test_model_with_another_encoder_has_no_half() -> None:
    parts = (*PARTS, "image_encoder")
    assert judge(figures(0.5, 30), figures(0.6, 20), None, parts).parts == parts
    assert not judge(figures(0.5, 30), figures(0.5, 90), None, parts).offered
