"""The demo: every sample segmented from its clicks, with files to look at."""

from __future__ import annotations

import numpy as np
import pytest
from small_models import HYBRID, segmenter

from napari_sam import samples
from napari_sam.batch.demo import run_demo
from napari_sam.io import read_image
from napari_sam.segmentation.tiled import TiledSegmenter


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    tiles = TiledSegmenter(segmenter(HYBRID), tile=256)
    return {result.name: result for result in run_demo(tiles, folder / "out")}


def test_every_sample_is_segmented(results):
    assert tuple(results) == samples.NAMES


@pytest.mark.parametrize("name", samples.NAMES)
def test_labels_fit_the_sample_and_are_its_objects(results, name):
    result, sample = results[name], samples.load(name)
    labels = read_image(result.labels)
    assert tuple(labels.data.shape) == result.shape == sample.stack_shape + sample.plane_shape
    assert labels.axes == sample.axes.removesuffix("S")
    assert labels.pixel_size == sample.pixel_size
    numbers = {number for _, number in sample.prompts}
    assert result.objects == len(numbers)
    assert set(np.unique(np.asarray(labels.data))) - {0} <= numbers


@pytest.mark.parametrize("name", samples.NAMES)
def test_overlay_shows_a_plane_of_the_sample(results, name):
    picture = read_image(results[name].overlay)
    assert picture.data.shape == (*samples.load(name).plane_shape, 3)


def test_times_are_measured(results):
    for result in results.values():
        assert result.click_seconds > 0
        assert result.embed_seconds > 0
