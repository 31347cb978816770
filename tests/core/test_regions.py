"""Seeds and their watershed, on maps that are drawn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_sam.regions import find_regions
from napari_sam.training.dense import distance_maps

SHAPE = (90, 120)


def maps_of(*circles) -> tuple[np.ndarray, np.ndarray]:
    """What a perfect head says about disks (row, column, radius)."""
    rows, columns = np.indices(SHAPE)
    labels = np.zeros(SHAPE, np.int32)
    for number, (r, c, radius) in enumerate(circles, 1):
        labels[(rows - r) ** 2 + (columns - c) ** 2 <= radius**2] = number
    return labels, distance_maps(labels)


@pytest.mark.parametrize(
    "circles",
    [
        [(30, 30, 12), (60, 90, 8)],
        [(30, 30, 12), (30, 53, 11), (49, 41, 10)],
        [(45, 60, 40)],
    ],
    ids=["apart", "touching", "large"],
)
def test_every_object_is_one_region(circles):
    labels, (foreground, distance) = maps_of(*circles)
    found = find_regions(foreground, distance)
    assert len(found.peaks) == len(found.scores) == found.labels.max() == len(circles)
    assert np.array_equal(found.labels > 0, labels > 0)
    assert (np.diff(found.scores) <= 0).all()
    for number, peak in enumerate(found.peaks, 1):
        assert found.labels[tuple(peak)] == number
        same = labels[found.labels == number] == labels[tuple(peak)]
        assert same.mean() > 0.95


def test_ripples_make_no_seeds(rng):
    _, (foreground, distance) = maps_of((45, 60, 30))
    ripples = ndimage.gaussian_filter(rng.normal(0, 0.2, SHAPE), 2).astype(np.float32)
    assert len(find_regions(foreground, np.clip(distance + ripples, 0, 1)).peaks) == 1


def test_background_has_no_regions():
    found = find_regions(np.zeros(SHAPE, np.float32), np.zeros(SHAPE, np.float32))
    assert not found.labels.any()
    assert found.peaks.shape == (0, 2)
    assert found.scores.shape == (0,)
