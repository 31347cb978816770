"""The stand-in for torchvision and the weights that parity rests on."""

from __future__ import annotations

import sys

import numpy as np
import torch
from reference import (
    SMALL,
    SamAutomaticMaskGenerator,
    SamPredictor,
    batched_nms,
    box_area,
    randomise,
    reference_sam,
    relative_error,
    resize,
    to_pil_image,
)


def image(rng: np.random.Generator, shape=(60, 90, 3)) -> np.ndarray:
    return rng.integers(0, 256, shape, dtype=np.uint8)


def test_stand_in_is_gone_after_the_import():
    assert "torchvision" not in sys.modules or hasattr(sys.modules["torchvision"], "__file__")


def test_resizing_takes_height_and_width_and_averages(rng):
    pixels = image(rng)
    small = np.asarray(resize(to_pil_image(pixels), (20, 45)))
    assert small.shape == (20, 45, 3)
    # antialiased: far smaller than a pixel picked from each block would vary
    assert small.std() < 0.6 * pixels.std()
    constant = np.full((64, 64, 3), 37, np.uint8)
    assert (np.asarray(resize(to_pil_image(constant), (10, 10))) == 37).all()


def test_suppression_keeps_the_best_box_of_each_overlap_and_group():
    boxes = torch.tensor(
        [[0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 30, 10], [0, 0, 10, 10], [0, 5, 10, 15]],
        dtype=torch.float32,
    )
    scores = torch.tensor([0.5, 0.9, 0.1, 0.4, 0.3])
    together = torch.zeros(5, dtype=torch.int64)
    assert batched_nms(boxes, scores, together, 0.5).tolist() == [1, 4, 2]
    assert batched_nms(boxes, scores, together, 0.2).tolist() == [1, 2]
    assert batched_nms(boxes, scores, torch.arange(5), 0.5).tolist() == [1, 0, 3, 4, 2]
    assert batched_nms(boxes[:0], scores[:0], together[:0], 0.5).tolist() == []
    assert box_area(boxes).tolist() == [100, 90, 100, 100, 100]


def test_random_weights_are_repeatable_and_reach_every_tensor():
    first, second, other = (reference_sam(SMALL) for _ in range(3))
    for sam, seed in ((first, 1), (second, 1), (other, 2)):
        randomise(sam, seed)
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name
        assert not torch.equal(value, other.state_dict()[name]), name
        assert value.count_nonzero() == value.numel(), name


def test_random_weights_are_well_conditioned():
    """Rounding must stay far below the tolerance of 1e-4 that parity is asserted with."""
    sam = reference_sam(SMALL)
    randomise(sam, seed=4)
    x = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        single = sam.image_encoder(x)
        double = sam.double().image_encoder(x.double())
    assert 0.1 < float(double.std()) < 10
    assert relative_error(single.double(), double) < 1e-5


def test_predictor_and_mask_generator_of_the_reference_run(rng):
    sam = reference_sam(SMALL)
    randomise(sam, seed=4)
    pixels = image(rng)
    predictor = SamPredictor(sam)
    predictor.set_image(pixels)
    masks, scores, logits = predictor.predict(np.array([[45, 30]]), np.array([1]))
    assert masks.shape == (3, 60, 90)
    assert scores.shape == (3,)
    assert logits.shape == (3, 24, 24)
    generator = SamAutomaticMaskGenerator(
        sam, points_per_side=3, pred_iou_thresh=-10.0, stability_score_thresh=0.0
    )
    records = generator.generate(pixels)
    assert records
    assert records[0]["segmentation"].shape == (60, 90)
