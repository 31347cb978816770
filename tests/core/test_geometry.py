"""Plane pixels and model pixels: there and back, padding, tiles."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from reference import SMALL
from small_models import HYBRID, VIT

from napari_sam.geometry import Frame, Geometry, fit_frame, tile_grid
from napari_sam.segmentation.traits import Traits

shapes = st.tuples(st.integers(2, 300), st.integers(2, 300))
configs = st.sampled_from([SMALL, HYBRID])
geometries = st.sampled_from(
    [Traits.of(SMALL).geometry, Traits.of(HYBRID).geometry, Geometry(96, keeps_aspect=False)]
)


@given(shapes, geometries, st.tuples(st.integers(0, 99), st.integers(0, 99)))
def test_points_return_from_the_model(shape, geometry, origin):
    plane = (shape[0] + 120, shape[1] + 120)
    frame = fit_frame(shape, geometry, origin, plane)
    corners = np.array([[0, 0], [shape[0] - 1, shape[1] - 1], [shape[0] / 3, 0.25]]) + origin
    np.testing.assert_allclose(frame.to_plane(frame.to_model(corners)), corners, atol=1e-9)


@given(shapes, configs)
def test_longest_side_fills_the_input_unless_growth_is_limited(shape, config):
    frame = fit_frame(shape, Traits.of(config).geometry)
    scale = max(frame.scaled) / max(shape)
    if config.resize == "sam":
        assert max(frame.scaled) == config.image_size
        assert frame.canvas == (config.image_size, config.image_size)
    else:
        assert max(frame.scaled) == min(config.image_size, config.max_upscale * max(shape))
        assert all(side % 32 == 0 for side in frame.canvas)
        assert all(0 <= c - s < 32 for c, s in zip(frame.canvas, frame.scaled, strict=True))
    for side, scaled in zip(shape, frame.scaled, strict=True):
        assert abs(scaled - side * scale) <= 0.5 + 1e-9 or scaled == 1


@given(shapes)
def test_sam_coordinates_scale_from_the_corner_as_in_the_reference(shape):
    from segment_anything.utils.transforms import ResizeLongestSide

    frame = fit_frame(shape, Traits.of(SMALL).geometry)
    transform = ResizeLongestSide(SMALL.image_size)
    points = np.array([[0.0, 0.0], [shape[1] - 1, shape[0] - 1], [1.5, 0.5]])  # (x, y)
    expected = transform.apply_coords(points, shape)
    np.testing.assert_allclose(frame.to_model(points[:, ::-1]), expected)
    assert frame.scaled == transform.get_preprocess_shape(*shape, SMALL.image_size)


@given(shapes)
def test_own_coordinates_map_edges_to_edges(shape):
    frame = fit_frame(shape, Traits.of(HYBRID).geometry)
    outer = np.array([[-0.5, -0.5], [shape[0] - 0.5, shape[1] - 0.5]])
    expected = [[-0.5, -0.5], [frame.scaled[1] - 0.5, frame.scaled[0] - 0.5]]
    np.testing.assert_allclose(frame.to_model(outer), expected)


def test_region_is_the_rectangle():
    frame = Frame((100, 200), (10, 20), (30, 40), (30, 40), (32, 64), "own")
    plane = np.zeros((100, 200))
    plane[frame.region] = 1
    assert plane.sum() == 30 * 40
    assert plane[10, 20] == plane[39, 59] == 1
    assert not frame.is_whole
    assert fit_frame((100, 200), Traits.of(HYBRID).geometry).is_whole


@given(shapes, geometries)
def test_enlarged_logits_have_the_rectangles_shape(shape, geometry):
    frame = fit_frame(shape, geometry)
    low = tuple(side // 4 for side in frame.canvas)
    logits = torch.randn(2, *low, generator=torch.Generator().manual_seed(0))
    large = frame.enlarge(logits)
    assert large.shape == (2, *shape)
    assert large.max() <= logits.max() + 1e-4


@given(shapes, geometries, st.integers(0, 2**32 - 1), st.sampled_from([-0.7, 0.0, 0.4]))
def test_enlarged_part_is_all_that_exceeds_the_threshold(shape, geometry, seed, threshold):
    frame = fit_frame(shape, geometry, (7, 9), (shape[0] + 20, shape[1] + 20))
    h, w = (side // 4 for side in frame.canvas)
    rng = np.random.default_rng(seed)
    logits = np.full((h, w), -1, np.float32)
    r, c = rng.integers(0, h), rng.integers(0, w)
    logits[r : r + rng.integers(0, h), c : c + rng.integers(0, w)] = rng.normal()
    whole = frame.enlarge(torch.from_numpy(logits[None]))[0].numpy()
    (top, left), part = frame.enlarge_part(logits, threshold)
    inside = np.zeros(shape, bool)
    inside[top - 7 : top - 7 + part.shape[0], left - 9 : left - 9 + part.shape[1]] = True
    assert inside.sum() == part.size
    assert np.allclose(whole[inside], part.ravel(), atol=1e-5)
    assert not (whole[~inside] > threshold + 1e-5).any()


@given(shapes, configs, st.floats(0.1, 0.9), st.floats(0.1, 0.9))
def test_mask_survives_reduction_and_enlargement(shape, config, row, column):
    """A half plane comes back with its edge in place to within a cell."""
    assume(min(shape) >= 16)
    frame = fit_frame(shape, Traits.of(config).geometry)
    stride = 4
    mask = np.zeros(shape, bool)
    mask[: max(1, int(row * shape[0])), : max(1, int(column * shape[1]))] = True
    low = tuple(side // stride for side in frame.canvas)
    share = frame.reduce(mask, low)
    assert share.shape == low
    assert share.min() >= 0
    assert share.max() <= 1 + 1e-6
    back = (frame.enlarge(torch.from_numpy(share)[None])[0] > 0.5).numpy()
    cell = stride * max(shape) / max(frame.scaled) + 1
    rows, columns = np.nonzero(back != mask)
    for axis, at in ((0, rows), (1, columns)):
        edge = mask.any(1 - axis).sum() - 0.5
        other = (columns, rows)[axis]
        limit = mask.any(axis).sum() - 0.5
        near = (np.abs(at - edge) <= cell) | (np.abs(other - limit) <= cell)
        assert near.all()


sides = st.integers(1, 400)


@given(st.tuples(sides, sides), st.integers(2, 90), st.integers(0, 30))
def test_tile_cores_partition_the_plane(shape, tile, halo):
    assume(tile > 2 * halo)
    count = np.zeros(shape, int)
    for one in tile_grid(shape, tile, halo):
        r0, c0, r1, c1 = one.core
        count[r0:r1, c0:c1] += 1
    assert (count == 1).all()


@given(st.tuples(sides, sides), st.integers(2, 90), st.integers(0, 30))
def test_tiles_have_their_size_and_halo(shape, tile, halo):
    assume(tile > 2 * halo)
    for one in tile_grid(shape, tile, halo):
        for axis in range(2):
            low, high = one.core[axis], one.core[axis + 2]
            start, stop = one.outer[axis], one.outer[axis + 2]
            assert 0 <= start <= low < high <= stop <= shape[axis]
            assert stop - start == min(tile, shape[axis])
            assert low - start >= halo or start == 0
            assert stop - high >= halo or stop == shape[axis]


def test_halo_that_fills_the_tile_is_refused():
    with pytest.raises(ValueError, match="larger than two halos of 8 pixels, got 16"):
        tile_grid((100, 100), 16, 8)


@pytest.mark.parametrize(("wanted", "scaled"), [(0.5, (20, 25)), (1.2, (48, 60)), (9, (51, 64))])
def test_wanted_scale_is_taken_as_far_as_the_input_holds(wanted, scaled):
    assert fit_frame((40, 50), Traits.of(HYBRID).geometry, scale=wanted).scaled == scaled


def test_sams_scale_is_no_choice():
    assert fit_frame((40, 50), Traits.of(VIT).geometry, scale=0.5) == fit_frame(
        (40, 50), Traits.of(VIT).geometry
    )
