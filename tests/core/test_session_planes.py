"""Planes of n-D arrays: indices, orientations, channels, and what is read."""

import dask.array as da
import numpy as np
import pytest
import zarr
from component_segmenter import ComponentSegmenter
from core.fake_segmenter import FakeSegmenter

from napari_sam.image import stack_limits
from napari_sam.planes.tokens import token_of
from napari_sam.session import ArraySource, Channel, Session, Slab, same_planes


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


@pytest.mark.parametrize("projection", ["mean", "max", "min", "sum"])
def test_thick_slice_is_read_from_its_planes_alone(projection, rng):
    counted = Counted(rng.integers(0, 255, (100, 10, 12), np.uint8))
    slab = Slab(projection, (2, 0, 0), (1, 0, 0), (0, 0, 0))
    source = ArraySource(counted, contrast_limits=(0, 255), slab=slab)
    pixels, _ = source.read(source.plane_of(40))
    expected = getattr(np, projection)(counted.data[38:42], 0)
    np.testing.assert_array_equal(pixels, expected)
    assert counted.read == [(slice(38, 42), slice(None), slice(None))]
    np.testing.assert_array_equal(
        source.read(source.plane_of(0))[0], getattr(np, projection)(counted.data[:2], 0)
    )
    assert source.stamp != ArraySource(counted, contrast_limits=(0, 255)).stamp


def test_channel_without_limits_gets_its_own_pair(rng):
    data = rng.integers(0, 100, (5, 2, 10, 12)).astype(np.float32)
    data[:, 1] *= 50
    source = ArraySource(data, channel_axis=1, channels=(Channel(data, 0), Channel(data, 1), None))
    pixels, _ = source.read(source.plane_of(3))
    assert pixels[..., 0].max() > 200
    assert pixels[..., 1].max() > 200


def test_stamp_distinguishes_contents(rng):
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


def test_source_that_grows_goes_on_with_what_is_embedded(rng):
    data = rng.integers(0, 255, (5, 20, 30), np.uint8)
    segmenter = FakeSegmenter()
    before = ArraySource(data[:3], contrast_limits=(0, 255))
    session = Session(segmenter, before)
    session.add_point(1, (10, 15))
    mask = session.mask(1, 1)
    grown = ArraySource(data, contrast_limits=(0, 255), content=before.identity)
    session.source = grown
    assert session.embeddings.state((1, None, None)) == "ready"
    assert session.embeddings.planes == ((1, None, None),)
    session.add_point(4, (10, 15))
    assert len(segmenter.embedded) == 2
    np.testing.assert_array_equal(session.mask(1, 1), mask)
    with pytest.raises(ValueError, match="start a new session"):
        session.source = before
    with pytest.raises(ValueError, match="start a new session"):
        session.source = ArraySource(np.zeros((5, 20, 31)))


def test_planes_of_a_longer_stack_are_compared_with_those_of_before(rng):
    data = rng.random((5, 20, 30))
    data[0, 3, 3] = np.nan
    planes = [(0, None, None), (2, None, None)]
    before, grown = ArraySource(data[:3]), ArraySource(data.copy())
    before._found[-1] = grown._found[-1] = (0.0, 1.0)
    reported = []
    assert same_planes(before, grown, planes, reported.append)
    assert reported == [0.0, 0.5]
    grown.data[2, 1, 1] = 7
    assert not same_planes(before, grown, planes, reported.append)
    assert same_planes(before, grown, planes[:1], reported.append)


@pytest.mark.parametrize("shape", [(2, 20, 30), (3, 20, 31), (3, 19, 30)])
def test_array_resized_in_place_is_not_read_as_what_it_was(shape):
    array = zarr.array(np.zeros((3, 20, 30), np.uint8), chunks=(1, 20, 30))
    source = ArraySource(array, contrast_limits=(0, 255))
    array.resize(shape)
    assert source.shape == (3, 20, 30)
    with pytest.raises(ValueError, match="as it had when it was chosen"):
        source.read((2, None, None))
    with pytest.raises(ValueError, match="as it had when it was chosen"):
        source.read((0, None, None))


def test_closed_session_refuses_every_change_and_can_be_read():
    session = Session(FakeSegmenter(), ArraySource(np.zeros((20, 30), np.uint8)))
    click = session.add_point((), (10, 15))
    mask, reported = session.mask(1, ()), []
    session.failed.connect(reported.append)
    reason = ValueError("expected the image of before")
    session.close(reason)
    for change in (
        lambda: session.add_point((), (5, 5)),
        lambda: session.move_point(click, (5, 5)),
        lambda: session.set_box((), (2, 2, 9, 9)),
        lambda: session.choose_candidate(1, ()),
    ):
        with pytest.raises(ValueError, match="image of before"):
            change()
    session.undo()
    session.show(())
    assert reported == [reason]
    assert session.closed is reason
    assert len(session.prompts.clicks) == 1
    np.testing.assert_array_equal(session.mask(1, ()), mask)


def test_image_that_has_grown_and_was_rolled_at_once_is_read_as_long_as_it_is(rng):
    data, segmenter = rng.integers(0, 255, (5, 10, 12), np.uint8), FakeSegmenter()
    before = ArraySource(data[:3], displayed=(0, 2), contrast_limits=(0, 255))
    session = Session(segmenter, before)
    session.show((None, 4, None))
    rolled_back = ArraySource(data[:3], contrast_limits=(0, 255), content=before.identity)
    session.source = rolled_back
    session.source = ArraySource(
        data, displayed=(0, 2), contrast_limits=(0, 255), content=before.identity
    )
    session.show((None, 4, None))
    assert [plane.shape for plane in (segmenter.embedded[0], segmenter.embedded[-1])] == [
        (3, 12),
        (5, 12),
    ]
    with pytest.raises(ValueError, match="expected an image of shape"):
        session.source = ArraySource(data[:4], displayed=(0, 2))


def test_limits_are_found_from_the_planes_that_a_batch_finds_them_from(rng):
    stack = rng.random((13, 20, 20)) * np.arange(13)[:, None, None]
    _, limits = ArraySource(stack).read((4, None, None))
    assert limits == stack_limits(stack)
