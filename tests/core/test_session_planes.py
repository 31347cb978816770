"""Planes of n-D arrays: indices, orientations, channels, and what is read."""

import dask.array as da
import numpy as np
import pytest
import zarr
from component_segmenter import ComponentSegmenter

from napari_sam.session import ArraySource, Channel, Session
from napari_sam.session.identity import token_of


def test_plane_is_spelled_by_the_axes_it_does_not_span(rng):
    source = ArraySource(rng.random((3, 4, 10, 12)))
    assert source.plane_of((2, 1)) == (2, 1, None, None)
    assert source.plane_of((2, 1, None, None)) == (2, 1, None, None)
    assert source.plane_shape((2, 1, None, None)) == (10, 12)


def test_any_two_axes_can_be_displayed(rng):
    data = rng.random((5, 10, 12))
    source = ArraySource(data, displayed=(2, 0))
    plane = source.plane_of(3)
    assert plane == (None, 3, None)
    np.testing.assert_array_equal(source.read(plane)[0], data[:, 3])


@pytest.mark.parametrize("wrap", [da.from_array, zarr.array], ids=["dask", "zarr"])
def test_lazy_arrays_are_read_one_plane_at_a_time(wrap, rng):
    data = rng.random((4, 10, 12))
    source = ArraySource(wrap(data), contrast_limits=(0, 1))
    pixels, limits = source.read(source.plane_of(2))
    assert isinstance(pixels, np.ndarray)
    np.testing.assert_array_equal(pixels, data[2])
    assert limits == (0, 1)


class Counted:
    """An array that remembers what was read."""

    def __init__(self, data):
        self.data, self.shape, self.dtype, self.read = data, data.shape, data.dtype, []

    def __getitem__(self, index):
        self.read.append(index)
        return self.data[index]


def test_one_pair_of_limits_serves_the_whole_stack(rng):
    counted = Counted(rng.random((100, 10, 12)) * np.linspace(1, 2, 100)[:, None, None])
    source = ArraySource(counted)
    first = source.read(source.plane_of(0))[1]
    assert source.read(source.plane_of(99))[1] == first
    assert len(counted.read) == 2 + 8


def test_rgb_planes_keep_their_samples(rng):
    data = rng.integers(0, 255, (3, 10, 12, 3), np.uint8)
    source = ArraySource(data, rgb=True)
    assert source.shape == (3, 10, 12)
    pixels, limits = source.read(source.plane_of(1))
    np.testing.assert_array_equal(pixels, data[1])
    assert limits is None


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_one_pair_of_limits_serves_a_stack_of_colours_without_its_alpha(dtype, rng):
    data = rng.integers(0, 4000, (3, 10, 12, 4)).astype(dtype)
    data[..., 3] = 65_535
    source = ArraySource(data, rgb=True)
    limits = source.read(source.plane_of(1))[1]
    assert limits[1] < 4000
    assert source.read(source.plane_of(2))[1] == limits


def test_masked_pixels_are_nan():
    data = np.ma.masked_greater(np.arange(300, dtype=np.uint16).reshape(3, 10, 10), 289)
    source = ArraySource(data)
    pixels, limits = source.read(source.plane_of(2))
    assert np.isnan(pixels).sum() == 10
    assert limits[1] < 290


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32])
def test_rgba_planes_lose_their_alpha(dtype, rng):
    data = rng.integers(0, 100, (3, 10, 12, 4)).astype(dtype)
    pixels, limits = ArraySource(data, rgb=True, contrast_limits=(10, 90)).read((1, None, None))
    np.testing.assert_array_equal(pixels, data[1, ..., :3])
    assert limits == (10, 90)


def test_channels_become_colours(rng):
    data = rng.integers(0, 4000, (3, 2, 10, 12), np.uint16)
    channels = (Channel(data, 1, (0, 4000)), None, Channel(data, 0, (0, 2000)))
    source = ArraySource(data, channel_axis=1, channels=channels)
    plane = source.plane_of(2)
    assert plane == (2, 0, None, None)
    pixels, limits = source.read(plane)
    assert limits is None
    assert pixels.dtype == np.uint8
    np.testing.assert_allclose(pixels[..., 0], data[2, 1] * (255 / 4000), atol=0.6)
    assert not pixels[..., 1].any()
    np.testing.assert_allclose(pixels[..., 2], np.clip(data[2, 0] * (255 / 2000), 0, 255), atol=0.6)


def test_plane_that_spans_the_channels_has_no_colours(rng):
    data = rng.integers(0, 4000, (3, 2, 10, 12), np.uint16)
    channels = (Channel(data, 1, (0, 4000)), None, None)
    source = ArraySource(data, False, (1, 3), (0, 100), 1, channels)
    plane = source.plane_of((2, None, 5, None))
    pixels, limits = source.read(plane)
    np.testing.assert_array_equal(pixels, data[2, :, 5])
    assert limits == (0, 100)


def test_channel_without_limits_gets_its_own_pair(rng):
    data = rng.integers(0, 100, (5, 2, 10, 12)).astype(np.float32)
    data[:, 1] *= 50
    source = ArraySource(data, channel_axis=1, channels=(Channel(data, 0), Channel(data, 1), None))
    pixels, _ = source.read(source.plane_of(3))
    assert pixels[..., 0].max() > 200
    assert pixels[..., 1].max() > 200


def test_stamp_tells_contents_apart(rng):
    data = rng.random((10, 12))
    same = ArraySource(data, contrast_limits=(0, 1))
    assert same.stamp == ArraySource(data, contrast_limits=(0, 1)).stamp
    assert same.stamp != ArraySource(data, contrast_limits=(0, 2)).stamp
    assert same.stamp != ArraySource(data, contrast_limits=(0, 1), revision=1).stamp


def test_number_of_a_freed_array_makes_no_new_image_an_old_one():
    bright = np.zeros((25, 60, 70))
    for i, plane in enumerate(bright):
        plane[i : i + 20, 30:50] = 1
    segmenter = ComponentSegmenter()
    session = Session(segmenter, ArraySource(np.zeros((60, 70))))
    for i, plane in enumerate(bright):
        session.source = ArraySource(plane.copy())  # the one before is freed
        session.add_point((), (i + 10, 40), object_id=i + 1)
        np.testing.assert_array_equal(session.mask(i + 1, ()), plane > 0)
    assert len(segmenter.embedded) == 25


def test_freed_channel_is_not_taken_for_a_new_one(rng):
    data = rng.random((10, 12))
    stamps = {
        ArraySource(data, channels=(Channel(data.copy()), None, None)).stamp for _ in range(50)
    }
    assert len(stamps) == 50


def test_token_is_never_given_twice():
    tokens, numbers = set(), set()
    for _ in range(500):
        array = np.zeros(1000)
        tokens.add(token_of(array))
        numbers.add(id(array))
        assert token_of(array) in tokens
    assert len(tokens) == 500
    assert len(numbers) < 500  # otherwise nothing was tried


def test_token_of_what_has_no_weak_references_keeps_it():
    things = [[0], [0]]  # equal lists
    first, second = map(token_of, things)
    assert first == token_of(things[0])
    assert hash(first) == hash(token_of(things[0]))
    assert first != second


@pytest.mark.parametrize(
    ("shape", "rgb", "message"),
    [
        ((7,), False, "at least 2 axes"),
        ((0, 5), False, "with pixels"),
        ((5, 5, 5), True, "3 or 4 samples"),
    ],
)
def test_images_without_planes_are_refused(shape, rgb, message):
    with pytest.raises(ValueError, match=message):
        ArraySource(np.zeros(shape), rgb=rgb)
