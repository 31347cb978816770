"""The click protocol."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from napari_sam.geometry import Frame
from napari_sam.prompts import Prompts
from napari_sam.segmentation.protocol import MaskPrediction
from napari_sam.training.data import Plane
from napari_sam.training.protocol import (
    evaluate_plane,
    group_scores,
    select_objects,
    summarise,
    thin_out,
    validation_planes,
)


def _plane(source: str = "dsb2018", name: str = "x") -> Plane:
    labels = np.zeros((60, 80), np.uint16)
    labels[5:20, 5:25] = 4
    labels[30:50, 40:70] = 7
    return Plane(labels.astype(np.uint8), labels, source, "fluorescence_x", name)


@dataclass
class Oracle:
    """Knows the labels; the first click finds half of the object, the second one all."""

    plane: Plane

    def embed(self, plane: np.ndarray) -> Frame:
        shape = (plane.shape[0], plane.shape[1])
        return Frame(shape, (0, 0), shape, shape, shape, "own")

    def decode_many(self, frame: Frame, prompts: list[Prompts]) -> list[MaskPrediction]:
        return [self._decode(frame, p) for p in prompts]

    def _decode(self, frame: Frame, prompts: Prompts) -> MaskPrediction:
        r, c = prompts.points[0] if len(prompts.points) else np.reshape(prompts.box, (2, 2)).mean(0)
        mask = self.plane.labels == self.plane.labels[int(r), int(c)]
        if len(prompts.points) == 1:
            mask = mask & (np.arange(mask.shape[1]) % 2 == 0)
        logits = np.where(mask, 5, -5).astype(np.float32)[None]
        return MaskPrediction(logits, np.array([0.9], np.float32), frame)


def test_scores_follow_the_predictions() -> None:
    plane = _plane()
    scores = evaluate_plane(Oracle(plane), plane, clicks=3)  # type: ignore[arg-type]
    assert scores is not None
    assert scores.clicks[:, 0] == pytest.approx([0.5, 0.5], abs=0.01)
    assert (scores.clicks[:, 1:] == 1).all()
    assert (scores.box == 1).all()
    summary = summarise([scores])
    assert summary["clicks_to_85"] == 2
    assert summary["share_1"] == 0
    assert summary["share_3"] == 1
    assert summary["calibration"] == pytest.approx(np.mean([0.4, 0.1, 0.1]), abs=0.01)


def test_small_objects_and_objects_cut_by_the_border_are_left_out() -> None:
    labels = np.zeros((50, 50), int)
    labels[0:10, 5:20] = 1  # lies along the border with its whole side
    labels[20:25, 20:25] = 2  # 25 pixels
    labels[30:40, 30:40] = 3
    assert [m[35, 35] for m in select_objects(labels)] == [True]


def test_at_most_sixteen_objects_lowest_ids_first() -> None:
    labels = np.kron(np.arange(1, 26).reshape(5, 5), np.ones((12, 12), int))
    labels[::12] = labels[:, ::12] = labels[11::12] = labels[:, 11::12] = 0
    chosen = select_objects(labels)
    assert len(chosen) == 16
    assert [labels[m][0] for m in chosen] == list(range(1, 17))


def test_a_plane_without_objects_has_no_scores() -> None:
    plane = _plane()
    empty = Plane(plane.image, np.zeros_like(plane.labels), "dsb2018", "m", "e")
    assert evaluate_plane(Oracle(plane), empty) is None  # type: ignore[arg-type]


def test_a_group_is_the_mean_over_its_sources() -> None:
    scores = []
    for source, clicks in (("plantseg", [0.2]), ("maize", [0.6, 0.6, 0.6])):
        one = evaluate_plane(Oracle(_plane()), _plane(source), clicks=1)  # type: ignore[arg-type]
        assert one is not None
        values = np.array(clicks)[:, None]
        nothing = np.zeros(len(values))
        scores.append(type(one)(_plane(source), values, nothing, nothing, values))
    assert group_scores(scores)["never trained on"]["iou_1"] == pytest.approx(0.4)


def test_volumes_are_thinned_evenly_and_validation_covers_every_group() -> None:
    planes = [_plane(name=f"v/{i}") for i in range(9)] + [_plane("maize", "m")]
    assert [p.name for p in thin_out(planes, 3)] == ["v/0", "v/4", "v/8", "m"]
    assert {p.source for p in validation_planes(planes, 4)} == {"dsb2018", "maize"}
    assert validation_planes(planes, 0) == planes
