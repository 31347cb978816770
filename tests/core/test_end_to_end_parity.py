"""From image and clicks to masks: our segmenter and the reference's SamPredictor."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from reference import SMALL, SamPredictor, randomise, reference_sam, relative_error

from napari_sam import load_segmenter, samples
from napari_sam.model.checkpoint import load_into_new, save
from napari_sam.model.config import PRESETS, SamConfig, ViTConfig
from napari_sam.prompts import Prompts
from napari_sam.segmentation.protocol import Segmenter

TOLERANCE = 1e-4

MEDIUM = replace(
    SMALL,
    name="medium",
    image_size=256,
    encoder=ViTConfig(48, 4, 3, (1, 3), window_size=6, patch_size=8),
)


def pair(config: SamConfig, directory) -> tuple[Segmenter, Any]:
    """Our network alone, from a file, and the reference's predictor with the same weights."""
    original = reference_sam(config)
    randomise(original, seed=17)
    ours = load_into_new(original.state_dict(), config, "the reference's weights")
    save(ours, directory / "model.safetensors", half=False)
    segmenter = load_segmenter(
        directory / "model.safetensors", "cpu", "float32", tiles=False, cache=False
    )
    return segmenter, SamPredictor(original)


@pytest.fixture(scope="module")
def medium(tmp_path_factory) -> tuple[Segmenter, Any]:
    return pair(MEDIUM, tmp_path_factory.mktemp("weights"))


def rgb(name: str) -> np.ndarray:
    """A plane of a sample image as uint8 RGB, which either side takes as it is."""
    plane = np.asarray(samples.load(name).data)
    if plane.ndim == 2:
        plane = np.repeat(plane[..., None], 3, axis=2)
    if plane.dtype != np.uint8:
        plane = (plane / plane.max() * 255).astype(np.uint8)
    return plane


def assert_same_masks(value: np.ndarray, expected: np.ndarray) -> None:
    assert value.shape == expected.shape
    for mask, other in zip(value, expected, strict=True):
        assert 0 < other.mean() < 1, "a mask that is empty or full compares nothing"
        assert np.count_nonzero(mask & other) >= 0.99 * np.count_nonzero(mask | other)


def assert_same_prediction(prediction, expected: tuple[np.ndarray, ...]) -> None:
    masks, scores, logits = expected
    assert relative_error(torch.tensor(prediction.logits), torch.tensor(logits)) < TOLERANCE
    assert relative_error(torch.tensor(prediction.scores), torch.tensor(scores)) < TOLERANCE
    assert_same_masks(prediction.masks(), masks)
    assert prediction.best_index == scores.argmax()
    assert np.array_equal(prediction.best(), prediction.masks()[scores.argmax()])


# Prompts for both sides: ours in (row, column), the reference's in (x, y); shares of the image.
CLICKS = np.array([[0.4, 0.55], [0.7, 0.2], [0.15, 0.8]])
LABELS = np.array([1, 0, 1])
BOX = np.array([0.2, 0.3, 0.75, 0.6])


@pytest.fixture(scope="module", params=["histology", "nuclei", "phase_contrast"])
def embedded(request, medium):
    """A real image, embedded by both sides."""
    segmenter, predictor = medium
    plane = rgb(request.param)
    predictor.set_image(plane)
    return plane, segmenter, segmenter.embed(plane), predictor


def test_embedding_of_a_real_image_equals_the_predictors(embedded):
    _, _, embedding, predictor = embedded
    (features,) = embedding.features
    assert relative_error(features, predictor.get_image_embedding()) < TOLERANCE


@pytest.mark.parametrize(
    ("number", "boxed"),
    [(1, False), (3, False), (0, True), (2, True)],
    ids=["one point", "points", "box", "box+points"],
)
@pytest.mark.parametrize("multimask", [True, False], ids=["candidates", "single mask"])
def test_masks_of_a_real_image_equal_the_predictors(embedded, number, boxed, multimask):
    plane, segmenter, embedding, predictor = embedded
    height, width = plane.shape[:2]
    points = CLICKS[:number] * (height - 1, width - 1)
    box = BOX * (height, width, height, width) if boxed else None
    prompts = Prompts(points=points, point_labels=LABELS[:number], box=box)
    expected = predictor.predict(
        point_coords=points[:, ::-1] if number else None,
        point_labels=LABELS[:number] if number else None,
        box=box[[1, 0, 3, 2]] if boxed else None,
        multimask_output=multimask,
    )
    assert_same_prediction(segmenter.decode(embedding, prompts, multimask), expected)


def test_correction_with_carried_logits_equals_the_predictors(embedded):
    plane, segmenter, embedding, predictor = embedded
    points = CLICKS * (plane.shape[0] - 1, plane.shape[1] - 1)

    first = Prompts(points[:1], LABELS[:1])
    prediction = segmenter.decode(embedding, first)
    expected = predictor.predict(points[:1, ::-1], LABELS[:1], multimask_output=True)
    assert_same_prediction(prediction, expected)

    chosen = prediction.best_index
    second = Prompts(points[:2], LABELS[:2]).with_logits(
        prediction.logits[chosen], prediction.frame
    )
    corrected = segmenter.decode(embedding, second)
    expected = predictor.predict(
        points[:2, ::-1],
        LABELS[:2],
        mask_input=expected[2][chosen][None],
        multimask_output=False,
    )
    assert_same_prediction(corrected, expected)


@pytest.mark.parametrize("shape", [(37, 300), (300, 37), (256, 256), (255, 511)])
def test_planes_of_any_shape_map_back_exactly(medium, shape, rng):
    segmenter, predictor = medium
    plane = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    point = np.array([[shape[0] // 3, shape[1] // 2]])
    predictor.set_image(plane)
    expected = predictor.predict(point[:, ::-1], np.array([1]))
    prediction = segmenter.decode(segmenter.embed(plane), Prompts(point, [1]))
    assert_same_prediction(prediction, expected)


@pytest.mark.timeout(1200)  # two full encoders: half a minute, but far more on a busy machine
def test_first_call_with_vit_b_equals_the_predictors(tmp_path):
    """One click in a photograph: three candidates with scores, of which the best is taken."""
    plane = rgb("histology")
    repeats = -(-1365 // plane.shape[0]), -(-2048 // plane.shape[1]), 1
    image = np.tile(plane, repeats)[:1365, :2048]
    assert image.shape == (1365, 2048, 3)

    segmenter, predictor = pair(PRESETS["vit_b"], tmp_path)
    predictor.set_image(image)
    assert predictor.input_size == (683, 1024)
    expected = predictor.predict(
        point_coords=np.array([[1300, 800]]), point_labels=np.array([1]), multimask_output=True
    )

    embedding = segmenter.embed(image)
    assert embedding.frame.scaled == (683, 1024)
    assert embedding.frame.canvas == (1024, 1024)
    assert [tuple(level.shape) for level in embedding.features] == [(1, 256, 64, 64)]
    assert relative_error(embedding.features[0], predictor.get_image_embedding()) < TOLERANCE

    prediction = segmenter.decode(embedding, Prompts(points=[(800, 1300)], point_labels=[1]))
    assert prediction.logits.shape == (3, 256, 256)
    assert prediction.scores.shape == (3,)
    assert prediction.masks().shape == (3, 1365, 2048)
    assert_same_prediction(prediction, expected)
