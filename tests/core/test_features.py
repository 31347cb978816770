"""Mean features of masks and the similarity of places, through every wrapper."""

import numpy as np
import pytest
from component_segmenter import ComponentSegmenter, disks
from small_models import HYBRID, VIT, segmenter

from napari_sam.segmentation.cached import CachedSegmenter
from napari_sam.segmentation.tiled import TiledSegmenter

SHAPE = (60, 64)


def halves(rng, shape=SHAPE) -> np.ndarray:
    """A plane of fine stripes on the left and of noise on the right."""
    plane = rng.integers(0, 255, shape).astype(np.uint8)
    plane[:, : shape[1] // 2] = np.where(np.arange(shape[0]) % 4 < 2, 255, 0)[:, None]
    return plane


def mask(shape, *sides) -> np.ndarray:
    out = np.zeros(shape, bool)
    out[sides[0] : sides[1], sides[2] : sides[3]] = True
    return out


@pytest.fixture(scope="module", params=[HYBRID, VIT], ids=["hybrid", "vit"])
def plain(request):
    return segmenter(request.param)


def test_places_are_most_like_the_half_they_lie_in(plain, rng):
    embedding = plain.embed(halves(rng))
    left, right = mask(SHAPE, 8, 52, 4, 24), mask(SHAPE, 8, 52, 40, 60)
    means = plain.mean_features(embedding, [left, right])
    (contrast,) = plain.similarity(embedding, means[:1] - means[1:])
    cells = contrast.shape[1]
    assert contrast[:, : cells // 4].mean() > contrast[:, -cells // 4 :].mean()
    assert means.dtype == contrast.dtype == np.float32


def test_a_mask_of_two_parts_has_the_mean_of_both(plain, rng):
    embedding = plain.embed(halves(rng))
    upper, lower = mask(SHAPE, 0, 32, 0, 32), mask(SHAPE, 32, 60, 32, 64)
    one, other, both = plain.mean_features(embedding, [upper, lower, upper | lower])
    assert np.abs(both - (one + other) / 2).max() < 0.02


def test_vectors_of_another_model_and_broken_ones_are_refused(plain, rng):
    embedding = plain.embed(halves(rng))
    (mean,) = plain.mean_features(embedding, [np.ones(SHAPE, bool)])
    with pytest.raises(ValueError, match="of the same model"):
        plain.similarity(embedding, mean[None, :-1])
    with pytest.raises(ValueError, match="finite"):
        plain.similarity(embedding, mean[None] * np.nan)


def test_no_masks_and_no_vectors_give_empty_arrays(plain, rng):
    for one in (plain, TiledSegmenter(plain, 48)):
        embedding = one.embed(halves(rng))
        means = one.mean_features(embedding, [])
        assert means.shape == (0, one.mean_features(embedding, [np.ones(SHAPE, bool)]).shape[1])
        assert one.similarity(embedding, means).shape[0] == 0


def test_an_empty_mask_has_no_features(plain, rng):
    for one in (plain, TiledSegmenter(plain, 48)):
        assert not one.mean_features(one.embed(halves(rng)), [np.zeros(SHAPE, bool)]).any()


def test_tiles_see_a_plane_as_a_whole_does(rng):
    plain = segmenter(HYBRID)
    shape = (128, 128)
    tiled = TiledSegmenter(plain, 64, 16)
    embedding = tiled.embed(halves(rng, shape))
    left, right = mask(shape, 20, 108, 8, 56), mask(shape, 20, 108, 72, 120)
    means = tiled.mean_features(embedding, [left, right])
    (contrast,) = tiled.similarity(embedding, means[:1] - means[1:])
    assert contrast.shape == (16, 16)  # the finest level's scale, whatever the number of tiles
    assert contrast[:, :7].mean() > contrast[:, 9:].mean() + 0.05


def test_a_place_of_one_tile_has_the_features_of_its_tile(rng):
    plain = segmenter(HYBRID)
    tiled = TiledSegmenter(plain, 64, 16, rescale=False)
    embedding = tiled.embed(rng.integers(0, 255, (64, 128)).astype(np.uint8))
    (vector,) = tiled.mean_features(embedding, [mask((64, 128), 20, 40, 10, 30)])
    (whole,) = tiled.similarity(embedding, vector[None])
    first = embedding.pyramid.levels[0][0]
    (alone,) = plain.similarity(embedding.store.get(first), vector[None])
    width = first.core[3] // 8
    assert np.allclose(whole[:, :width], alone[:, :width], atol=1e-5)


def test_a_mask_in_any_tile_is_most_like_its_own_place(rng):
    tiled = TiledSegmenter(segmenter(HYBRID), 64, 16, rescale=False)
    embedding = tiled.embed(rng.integers(0, 255, (96, 128)).astype(np.uint8))
    for row, column in ((1, 1), (1, 13), (10, 2), (10, 14), (5, 7)):
        cell = mask((96, 128), 8 * row, 8 * row + 8, 8 * column, 8 * column + 8)
        means = tiled.mean_features(embedding, [cell])
        (like,) = tiled.similarity(embedding, means)
        assert np.unravel_index(like.argmax(), like.shape) == (row, column)
        assert abs(like.max() - 1) < 1e-4


def test_a_cache_changes_neither(tmp_path, rng):
    plain = segmenter(HYBRID)
    plane, where = halves(rng), mask(SHAPE, 8, 52, 4, 24)
    results = []
    for one in (plain, CachedSegmenter(TiledSegmenter(plain, 64), tmp_path)):
        embedding = one.embed(plane, (0, 255), scale=1.0)
        means = one.mean_features(embedding, [where])
        results.append((means, one.similarity(embedding, means)))
    for there, here in zip(*results, strict=True):
        assert np.allclose(there, here, atol=2e-3)  # kept in half precision


def test_objects_of_a_segmenter_without_a_network_are_alike():
    segmenter = ComponentSegmenter()
    plane = disks(SHAPE, (20, 20, 8), (40, 44, 8))
    embedding = segmenter.embed(plane, (0, 255))
    means = segmenter.mean_features(embedding, [mask(SHAPE, 18, 23, 18, 23), np.ones(SHAPE, bool)])
    (contrast,) = segmenter.similarity(embedding, means[:1] - means[1:])
    assert np.array_equal(contrast > 0, plane > 0)
