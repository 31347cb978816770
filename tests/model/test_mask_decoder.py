"""Mask decoder, and prompts to logits through prompt encoder and decoder, against references."""

from __future__ import annotations

import pytest
import torch
from reference import SMALL, relative_error

TOLERANCE = 1e-4

pytestmark = pytest.mark.usefixtures("no_gradients")


@pytest.fixture
def no_gradients():
    with torch.no_grad():
        yield


def features(batch: int) -> torch.Tensor:
    return torch.randn(batch, SMALL.embed_dim, 6, 6, generator=torch.Generator().manual_seed(batch))


def clicks(batch: int, number: int = 3):
    generator = torch.Generator().manual_seed(number)
    points = torch.rand(batch, number, 2, generator=generator) * SMALL.image_size
    labels = torch.randint(0, 2, (batch, number), generator=generator)
    return points, labels


def boxes(batch: int) -> torch.Tensor:
    return torch.tensor([[10.0, 20.0, 60.0, 70.0]]).repeat(batch, 1) + torch.arange(batch)[:, None]


def masks(batch: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    return 4 * torch.randn(batch, 1, 24, 24, generator=generator)


PROMPTS = {
    "one point": lambda b: (*clicks(b, 1), None, None),
    "points": lambda b: (*clicks(b), None, None),
    "box": lambda b: (None, None, boxes(b), None),
    "box+points": lambda b: (*clicks(b), boxes(b), None),
    "mask": lambda b: (None, None, None, masks(b)),
    "points+mask": lambda b: (*clicks(b), None, masks(b)),
    "box+points+mask": lambda b: (*clicks(b), boxes(b), masks(b)),
}


@pytest.mark.parametrize("multimask", [True, False], ids=["candidates", "single mask"])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("kind", PROMPTS)
def test_logits_and_predicted_ious_equal_segment_anything(networks, kind, batch, multimask):
    points, labels, box, mask = PROMPTS[kind](batch)
    plane = features(1)
    logits, iou = networks.ours.decode((plane,), points, labels, box, mask, multimask)

    original = networks.original
    sparse, dense = original.prompt_encoder(None if points is None else (points, labels), box, mask)
    expected_logits, expected_iou = original.mask_decoder(
        image_embeddings=plane,
        image_pe=original.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=multimask,
    )
    assert logits.shape == (batch, 3 if multimask else 1, 24, 24)
    assert relative_error(logits, expected_logits) < TOLERANCE
    assert relative_error(iou, expected_iou) < TOLERANCE


@pytest.mark.parametrize("multimask", [True, False], ids=["candidates", "single mask"])
@pytest.mark.parametrize("kind", [kind for kind in PROMPTS if kind != "mask"])
def test_objects_on_their_own_planes_equal_transformers(networks, kind, multimask):
    points, labels, box, mask = PROMPTS[kind](2)
    planes = features(2)
    logits, iou = networks.ours.decode((planes,), points, labels, box, mask, multimask)
    expected = networks.transformers(
        image_embeddings=planes,
        input_points=None if points is None else points[:, None],
        input_labels=None if labels is None else labels[:, None],
        input_boxes=None if box is None else box[:, None],
        input_masks=mask,
        multimask_output=multimask,
    )
    assert relative_error(logits, expected.pred_masks[:, 0]) < TOLERANCE
    assert relative_error(iou, expected.iou_scores[:, 0]) < TOLERANCE


def test_objects_decoded_together_equal_objects_decoded_one_by_one(networks):
    points, labels = clicks(4)
    plane = features(1)
    together, together_iou = networks.ours.decode((plane,), points, labels, None, None, True)
    for i in range(4):
        at = slice(i, i + 1)
        alone, iou = networks.ours.decode((plane,), points[at], labels[at], None, None, True)
        assert relative_error(together[at], alone) < 1e-5
        assert relative_error(together_iou[at], iou) < 1e-5


def test_candidates_are_other_masks_than_the_single_one(networks):
    points, labels = clicks(1)
    plane = features(1)
    candidates, _ = networks.ours.decode((plane,), points, labels, None, None, True)
    single, _ = networks.ours.decode((plane,), points, labels, None, None, False)
    for candidate in candidates[0]:
        assert relative_error(candidate, single[0, 0]) > 0.01
