"""What is read is what napari shows: whatever the units, the transforms, the order of axes."""

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image

from napari_sam.gui.channels import options
from napari_sam.gui.planes import displayed_plane, plane_name, source_of
from napari_sam.image import stretch

SHAPE = (7, 5, 8, 9)


def shown(image):
    """The pixels that napari has sliced, rows and columns in the image's own order."""
    pixels = image._slice.image.raw
    rows, columns = image._slice_input.displayed
    return pixels.swapaxes(0, 1) if rows > columns else pixels


def read(viewer, image):
    source = source_of(image, viewer.dims)
    plane = displayed_plane(viewer.dims, image, source)
    return None if plane is None else source.read(plane)[0]


def check(viewer, image):
    pixels = read(viewer, image)
    assert (pixels is None) == image._slice.empty
    if pixels is not None:
        np.testing.assert_allclose(pixels, shown(image))


@pytest.mark.parametrize("seed", range(6))
def test_any_view_of_a_layer_is_read_as_it_is_shown(seed):
    rng = np.random.default_rng(seed)
    rgb = bool(seed % 2)
    viewer = ViewerModel()
    image = viewer.add_image(
        rng.integers(0, 255, (*SHAPE, 3) if rgb else SHAPE).astype(np.uint8),
        rgb=rgb,
        scale=((1, 1, 1, 1), (2.5, 0.3, 0.5, 0.5), (1e-3, 7, 1, 2))[seed % 3],
        translate=((0, 0, 0, 0), (3, -2.5, 10, 1))[rng.integers(2)],
        units=(("um", "nm", "mm", "pixel")[rng.integers(4)],) * 4,
        projection_mode=("none", "mean", "max", "min", "sum", "mean")[seed],
    )
    if seed % 2:
        ndim = (2, 4, 5)[rng.integers(3)]
        viewer.add_image(np.zeros([4] * ndim), units=(("um", "nm", "pixel")[seed // 2],) * ndim)
    dims = viewer.dims
    for _ in range(4):
        dims.order = tuple(rng.permutation(dims.ndim).tolist())
        thickness = (0, 0.8, 1.7, 2.9)[rng.integers(4)]
        for axis in range(dims.ndim):
            dims.set_current_step(axis, int(rng.integers(9)))
        dims.thickness = tuple(thickness * steps.step for steps in dims.range)
        if min(dims.displayed) >= dims.ndim - 4:
            check(viewer, image)
        else:  # across an axis that the image doesn't have
            assert read(viewer, image) is None


@pytest.mark.parametrize("projection", ["mean", "max", "min", "sum"])
@pytest.mark.parametrize("thickness", [1, 2, 5.2])
def test_thick_slice_at_every_plane_of_a_scaled_stack(projection, thickness):
    viewer = ViewerModel()
    pixels = np.random.default_rng(2).integers(0, 4000, (9, 6, 7)).astype(np.uint16)
    image = viewer.add_image(pixels, scale=(0.3, 1, 1), projection_mode=projection)
    viewer.dims.thickness = (0.3 * thickness, 0, 0)
    stamps = set()
    for z in range(9):
        viewer.dims.set_current_step(0, z)
        check(viewer, image)
        stamps.add(source_of(image, viewer.dims).stamp)
    if thickness != 1:  # which ends between two planes, where rounding decides
        assert len(stamps) == 1  # planes that were read stay known while one scrolls


def test_slice_of_other_units_is_that_which_napari_shows():
    viewer = ViewerModel()
    pixels = np.random.default_rng(3).integers(0, 255, (7, 8, 9)).astype(np.uint8)
    image = viewer.add_image(pixels, scale=(2, 0.5, 0.5), units=("um",) * 3)
    viewer.add_image(pixels, scale=(2000, 500, 500), units=("nm",) * 3)
    viewer.dims.set_current_step(0, 3)
    source = source_of(image, viewer.dims)
    assert displayed_plane(viewer.dims, image, source) == (3, None, None)
    check(viewer, image)


def test_plane_is_named_with_those_that_are_projected_onto_it():
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((9, 6, 7)), axis_labels=("z", "y", "x"))
    viewer.dims.set_current_step(0, 4)
    viewer.dims.thickness = (2, 0, 0)
    source = source_of(image, viewer.dims)
    assert plane_name(image, (4, None, None), source) == "z 4/8 (mean of 3 to 5)"
    assert plane_name(image, (0, None, None), source) == "z 0/8 (mean of 0 to 1)"


UPRIGHT, INVERTED = ("gray", "green", "viridis", "twilight_shifted", "hsv"), ("gray_r", "I Blue")


@pytest.mark.parametrize("colormap", [*UPRIGHT, *INVERTED])
def test_colormap_counts_where_it_shows_high_values_dark(colormap):
    pixels = np.arange(100.0).reshape(10, 10)
    image = Image(pixels, colormap=colormap, contrast_limits=(0, 50))
    seen = stretch(*source_of(image).read((None, None)))
    expected = np.clip(pixels / 50, 0, 1) * 255
    expected = 255 - expected if colormap in INVERTED else expected
    np.testing.assert_allclose(seen, expected, atol=0.6)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32])
@pytest.mark.parametrize("rgb", [False, True], ids=["grey", "RGB"])
def test_autocontrast_stretches_every_plane_as_napari_does(dtype, rgb):
    pixels = np.random.default_rng(4).integers(0, 250, (3, 8, 9, 3) if rgb else (3, 8, 9))
    pixels[1] //= 5
    viewer = ViewerModel()
    image = viewer.add_image(pixels.astype(dtype), rgb=rgb)
    image.auto_contrast = True
    for z in range(3):
        viewer.dims.set_current_step(0, z)
        source = source_of(image, viewer.dims)
        values, limits = source.read(displayed_plane(viewer.dims, image, source))
        low, high = limits or (0, 255)
        assert (low, high) == tuple(image.contrast_limits)
        np.testing.assert_array_equal(values, shown(image))
    stamps = {source_of(image, viewer.dims).stamp, source.stamp}
    viewer.dims.set_current_step(0, 0)
    assert stamps == {source_of(image, viewer.dims).stamp}  # nothing is read again by scrolling


def test_gamma_of_colours_is_that_which_napari_shows():
    pixels = np.random.default_rng(5).integers(0, 255, (8, 9, 3), np.uint8)
    image = Image(pixels, rgb=True, gamma=2)
    seen = stretch(*source_of(image).read((None, None)))
    np.testing.assert_allclose(seen, (pixels / 255.0) ** 2 * 255, atol=0.6)


def test_channels_are_shown_by_their_layers():
    pixels = np.arange(100.0).reshape(10, 10)
    red, blue = Image(pixels, contrast_limits=(0, 50)), Image(pixels + 1, gamma=2)
    first, last = options(red, [red, blue])
    blue.contrast_limits = (0, 100)
    channels = (first.channel(), None, last.channel())
    seen, limits = source_of(red, channels=channels).read((None, None))
    assert limits is None
    np.testing.assert_allclose(seen[..., 0], np.clip(pixels / 50, 0, 1) * 255, atol=0.6)
    np.testing.assert_allclose(seen[..., 2], ((pixels + 1) / 100) ** 2 * 255, atol=0.6)
