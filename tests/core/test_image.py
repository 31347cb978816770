"""Any plane to grey values 0-255."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_sam.image import (
    ImageWarning,
    as_pixels,
    check_plane,
    normalise,
    robust_limits,
    stack_limits,
    stretch,
)


def test_uint8_colour_passes_unchanged(rng):
    plane = rng.integers(0, 256, (9, 7, 3), dtype=np.uint8)
    assert np.array_equal(normalise(plane), plane)


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "i4", "u8", "f2", "f4", "f8", bool])
def test_alpha_is_dropped_whatever_the_type(dtype, rng):
    plane = rng.integers(0, 256, (9, 7, 4)).astype(dtype)
    plane[..., 3] = np.array(200).astype(dtype)  # would move the limits, were it a colour
    assert np.array_equal(normalise(plane), normalise(plane[..., :3]))


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_alpha_of_a_stack_has_no_part_in_its_limits(dtype, rng):
    stack = rng.integers(0, 200, (3, 9, 7, 4)).astype(dtype)
    stack[..., 3] = 255
    assert stack_limits(stack) == stack_limits(stack[..., :3])


@pytest.mark.parametrize(
    "dtype", [bool, np.uint8, np.int8, np.uint16, np.int16, np.int32, np.uint64, "f2", "f4", "f8"]
)
def test_every_real_dtype_is_stretched_to_the_full_range(dtype):
    plane = (np.arange(64 * 64).reshape(64, 64) // 41).astype(dtype)
    if dtype is bool:
        plane[:, 32:] = False
    pixels = normalise(plane)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (64, 64, 3)
    assert pixels.min() == 0
    assert pixels.max() == 255
    assert np.array_equal(pixels[..., 0], pixels[..., 2])


@given(arrays(np.int16, (5, 6)), st.integers(-1000, 1000), st.integers(1, 2000))
def test_limits_become_black_and_white(plane, low, width):
    high = low + width
    pixels = normalise(plane, (low, high))[..., 0]
    expected = np.clip((plane.astype(float) - low) / width * 255, 0, 255)
    assert np.abs(pixels - expected).max() <= 0.5 + 1e-3
    assert (pixels[plane <= low] == 0).all()
    assert (pixels[plane >= high] == 255).all()


@given(arrays(np.float32, (6, 7), elements=st.floats(-1e6, 1e6, width=32)))
def test_stretching_keeps_the_order_of_grey_values(plane):
    pixels = normalise(plane)[..., 0].ravel()[np.argsort(plane, axis=None)]
    assert (np.diff(pixels.astype(int)) >= 0).all()


def test_same_values_in_another_dtype_are_shown_alike(rng):
    plane = rng.integers(0, 200, (40, 40))
    small = normalise(plane.astype(np.uint8)).astype(int)
    for dtype in (np.uint16, np.int32, np.float32, np.float64):
        assert np.abs(normalise(plane.astype(dtype)) - small).max() <= 1


def test_hot_pixel_does_not_darken_the_rest(rng):
    plane = rng.integers(100, 200, (100, 100)).astype(np.uint16)
    plane[3, 3] = 65535
    assert normalise(plane)[..., 0].std() > 50


def test_pixels_that_are_no_numbers_become_black_with_one_notice(rng):
    plane = rng.random((20, 20)) + 1
    expected = normalise(plane, (1, 2))
    plane[2, 3], plane[4, 5], plane[6, 7] = np.nan, np.inf, -np.inf
    with pytest.warns(ImageWarning, match="3 pixels are NaN, infinite or masked") as caught:
        pixels = normalise(plane, (1, 2))
    assert len(caught) == 1
    bad = ~np.isfinite(plane)
    assert (pixels[bad] == 0).all()
    assert np.array_equal(pixels[~bad], expected[~bad])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32])
@pytest.mark.parametrize("limits", [None, (40.0, 180.0)])
def test_masked_pixels_are_read_like_nan(dtype, limits, rng):
    values = rng.integers(20, 200, (30, 30)).astype(dtype)
    hidden = np.zeros((30, 30), bool)
    hidden[5:9, 5:9] = True
    values[hidden] = 127 if dtype is np.uint8 else 30_000  # what lies under the mask
    without = np.where(hidden, np.nan, values)
    with pytest.warns(ImageWarning, match="16 pixels are NaN"):
        expected = normalise(without, limits)
    with pytest.warns(ImageWarning, match="16 pixels are NaN, infinite or masked") as caught:
        pixels = normalise(np.ma.array(values, mask=hidden), limits)
    assert len(caught) == 1
    assert np.abs(pixels.astype(int) - expected).max() <= 1
    assert not pixels[hidden].any()


def test_masked_pixels_of_a_colour_picture_are_black_and_the_rest_unchanged(rng):
    plane = rng.integers(1, 256, (9, 7, 4), dtype=np.uint8)
    masked = np.ma.array(plane, mask=np.zeros_like(plane))
    masked[2, 3] = np.ma.masked
    with pytest.warns(ImageWarning, match="3 pixels") as caught:
        pixels = normalise(masked)
    assert len(caught) == 1
    assert not pixels[2, 3].any()
    plane[2, 3] = 0
    assert np.array_equal(pixels, plane[..., :3])


def test_mask_of_a_stack_counts_for_its_limits():
    stack = np.ma.array(np.arange(3 * 400).reshape(3, 20, 20) % 100, mask=False)
    stack[1, 3, 3:9] = 60_000
    stack[1, 3, 3:9] = np.ma.masked
    assert stack_limits(stack)[1] < 100


def test_mask_behind_dask_is_seen():
    dask_array = pytest.importorskip("dask.array")
    masked = np.ma.masked_less(np.arange(16.0).reshape(4, 4), 3)
    assert np.isnan(as_pixels(dask_array.from_array(masked, chunks=2))).sum() == 3


def test_cache_of_a_viewer_takes_no_part_when_a_thread_reads_dask():
    dask_array = pytest.importorskip("dask.array")
    from dask.callbacks import Callback

    called = []
    with Callback(pretask=lambda *_: called.append("pretask")):
        np.testing.assert_array_equal(as_pixels(dask_array.arange(6, chunks=2)), np.arange(6))
    assert not called


def test_array_with_a_mask_that_hides_nothing_keeps_its_type():
    assert as_pixels(np.ma.array([[1, 2], [3, 4]], np.uint16, mask=False)).dtype == np.uint16


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.uint8])
@pytest.mark.parametrize("shape", [(12, 9), (12, 9, 3), (12, 9, 4)])
def test_tensors_are_planes_with_a_gradient_and_in_bfloat16_too(dtype, shape):
    tensor = torch.arange(float(np.prod(shape))).reshape(shape).remainder(251).to(dtype)
    expected = normalise(tensor.float().numpy().astype("u1" if dtype == torch.uint8 else "f4"))
    if dtype.is_floating_point:
        tensor.requires_grad_()
    assert np.array_equal(normalise(tensor), expected)


def test_stack_of_tensors_has_limits():
    stack = torch.arange(1200.0).reshape(3, 20, 20).requires_grad_()
    assert stack_limits(stack) == stack_limits(stack.detach().numpy())


def test_plane_of_nan_alone_is_black():
    with pytest.warns(ImageWarning):
        assert not normalise(np.full((4, 4), np.nan)).any()


@pytest.mark.parametrize("value", [0, 7, -3.5, 1e30, -1e300])
def test_constant_plane_is_uniform(value):
    assert normalise(np.full((8, 8), value)).std() == 0


@pytest.mark.parametrize(
    "values", [[], [np.nan], [5, 5, 5], [-1e30] * 3, [0] * 999 + [1], [np.inf, 2]]
)
def test_robust_limits_always_increase(values):
    low, high = robust_limits(np.array(values, float))
    assert np.isfinite([low, high]).all()
    assert low < high


def test_robust_limits_leave_out_outliers(rng):
    values = np.concatenate([rng.uniform(10, 20, 10_000), [1e9, -1e9]])
    low, high = robust_limits(values)
    assert 9 < low < 11
    assert 19 < high < 21


def test_stack_has_one_pair_of_limits_over_its_planes():
    stack = np.zeros((5, 20, 20), np.uint16)
    stack[0], stack[4] = np.arange(400).reshape(20, 20), np.arange(400).reshape(20, 20) * 10
    low, high = stack_limits(stack)
    assert low == 0
    assert high > 3900
    assert stack_limits(np.moveaxis(stack, 0, 2), axis=2) == (low, high)


def test_colour_stack_needs_no_limits():
    assert stack_limits(np.zeros((5, 20, 20, 3), np.uint8)) is None


def test_few_planes_of_a_long_stack_are_read():
    class Stack:
        shape = (1000, 20, 20)
        reads = 0

        def __getitem__(self, key):
            Stack.reads += 1
            return np.arange(400.0).reshape(20, 20)

    stack_limits(Stack())
    assert Stack.reads <= 10


def test_view_of_other_byte_order_and_strides_is_read():
    plane = np.arange(600, dtype=">u2").reshape(20, 30)
    turned = plane.T[::-1, ::2]
    assert np.array_equal(normalise(turned), normalise(np.ascontiguousarray(turned, "<u2")))


@pytest.mark.parametrize("plane", [np.zeros((4, 4), bool), np.zeros((4, 4, 3)), np.eye(4)])
def test_checked_plane_keeps_its_shape(plane):
    assert check_plane(plane).shape == plane.shape


@pytest.mark.parametrize("dtype", ["u1", "i1", "<u2", ">u2", "<i2", ">i2"])
def test_large_planes_are_stretched_by_a_table_to_the_same_values(dtype, rng):
    info = np.iinfo(np.dtype(dtype).newbyteorder("="))
    large = rng.integers(info.min, info.max, (300, 300), endpoint=True).astype(dtype)
    limits = (0.1 * info.min + 3, 0.6 * info.max)
    parts = [stretch(part, limits) for part in np.array_split(large, 30)]
    assert np.array_equal(stretch(large, limits), np.concatenate(parts))
    expected = (large.astype(np.float32) - limits[0]) * (255 / (limits[1] - limits[0]))
    assert np.abs(stretch(large, limits) - expected.clip(0, 255)).max() <= 0.51
