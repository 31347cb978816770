"""The procedural generator: exact labels, reproducible, in the promised form."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import uniform_filter
from skimage.measure import label as connected_components

from napari_sam.training.synthetic import KINDS, Sample, generate


def _draw(kind: str, seed: int = 3, size: int = 128) -> Sample:
    return generate(np.random.default_rng(seed), size, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_draws_the_same_sample(kind: str) -> None:
    first, again, other = _draw(kind), _draw(kind), _draw(kind, seed=4)
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.labels, again.labels)
    assert not np.array_equal(first.image, other.image)


@pytest.mark.parametrize("kind", KINDS)
def test_sample_has_the_promised_form(kind: str) -> None:
    sample = _draw(kind, size=96)
    assert sample.kind == kind
    assert sample.image.shape == (96, 96, 3)
    assert sample.image.dtype == np.uint8
    assert sample.labels.shape == (96, 96)
    assert sample.labels.dtype == np.int32


@pytest.mark.parametrize("kind", KINDS)
def test_labels_are_consecutive_connected_and_not_specks(kind: str) -> None:
    for seed in range(4):
        labels = _draw(kind, seed).labels
        areas = np.bincount(labels.ravel())[1:]
        assert np.all(areas >= 10)
        pieces = connected_components(labels, connectivity=1, background=0)
        assert pieces.max() == len(areas)


@pytest.mark.parametrize("kind", KINDS)
def test_every_family_shows_objects_and_contrast(kind: str) -> None:
    counts = [_draw(kind, seed, 256).labels.max() for seed in range(5)]
    assert np.median(counts) >= 3
    assert _draw(kind).image.std() > 2


@pytest.mark.parametrize("kind", KINDS)
def test_outlines_coincide_with_changes_in_the_image(kind: str) -> None:
    """Along true outlines the image changes more than along the same outlines moved away."""
    steps = []
    for seed in range(6):
        sample = _draw(kind, seed, 192)
        grey = sample.image.astype(np.float32).mean(axis=2)
        edges = _edges(sample.labels)
        gradient = np.abs(np.gradient(_smooth(grey), axis=0)) + np.abs(
            np.gradient(_smooth(grey), axis=1)
        )
        if kind in ("membrane_cells", "plant_walls", "em_neuropil"):
            # A border here is a ridge or valley, whose slopes lie beside it.
            gradient = np.abs(grey - _smooth(grey, 15))
        moved = np.roll(edges, (9, 7), axis=(0, 1)) & ~edges
        steps.append(gradient[edges].mean() / gradient[moved].mean())
    assert np.median(steps) > 1.1


def test_kind_is_drawn_from_the_generator_when_left_open() -> None:
    rng = np.random.default_rng(0)
    drawn = {generate(rng, 32).kind for _ in range(40)}
    assert len(drawn) > len(KINDS) // 2
    assert drawn <= set(KINDS)


def test_consecutive_draws_differ() -> None:
    rng = np.random.default_rng(0)
    first, second = generate(rng, 64, "nuclei"), generate(rng, 64, "nuclei")
    assert not np.array_equal(first.image, second.image)


def test_objects_span_small_and_large_sizes() -> None:
    diameters = np.concatenate(
        [
            np.sqrt(np.bincount(_draw(kind, seed, 256).labels.ravel())[1:])
            for kind in ("nuclei", "membrane_cells", "phase_cells")
            for seed in range(12)
        ]
    )
    assert np.percentile(diameters, 5) < 14
    assert diameters.max() > 90


@pytest.mark.parametrize("size", [32, 50, 200])
def test_any_size_is_accepted(size: int) -> None:
    for kind in KINDS:
        assert generate(np.random.default_rng(1), size, kind).labels.shape == (size, size)


def test_unknown_kind_is_refused_with_the_valid_ones() -> None:
    with pytest.raises(ValueError, match=r"nuclei.*'cats'"):
        generate(np.random.default_rng(0), 64, "cats")


def test_too_small_a_size_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 32"):
        generate(np.random.default_rng(0), 16)


def _edges(labels: np.ndarray) -> np.ndarray:
    edge = np.zeros(labels.shape, bool)
    edge[:-1] |= labels[:-1] != labels[1:]
    edge[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    return edge


def _smooth(grey: np.ndarray, width: int = 3) -> np.ndarray:
    return uniform_filter(grey, width)
