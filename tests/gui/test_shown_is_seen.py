"""The packaged model sees what the viewer shows: however the image is stored and shown."""

import numpy as np
import pytest
from four_discs import AREA, CLICK, SHAPE, four_discs
from napari.layers import Image

from napari_sam import load_segmenter
from napari_sam.gui.planes import source_of
from napari_sam.session import Session


@pytest.fixture(scope="module")
def nano():
    return load_segmenter("nano")


@pytest.fixture
def segmenter(nano):
    return nano


def is_disc(pixels: int) -> bool:
    return abs(pixels - AREA) < 0.1 * AREA


def clicked(nano, image: Image, *plane: int) -> int:
    """Click on the third disc of a layer without a viewer; return the pixels of the mask."""
    session = Session(nano, source_of(image))
    session.add_point(plane, CLICK)
    return int(session.mask(1, plane).sum())


def click_in(me, *plane: int) -> int:
    """Click on the third disc in a viewer; return the pixels of the object's label."""
    me.click((*plane, *CLICK))
    assert me.session.wait(60)
    me.settle()
    return int(np.count_nonzero(me.labels == me.session.object_id))


def rgb(samples: int = 3) -> np.ndarray:
    image = four_discs()
    return np.stack([image, image * 0.6, image * 0.8, np.ones_like(image)][:samples], -1)


@pytest.mark.parametrize("samples", [3, 4], ids=["RGB", "RGBA"])
@pytest.mark.parametrize(
    ("dtype", "highest"),
    [("uint8", 255), ("uint16", 4095), ("int32", 10**6), ("float32", 255), ("float64", 1)],
)
def test_colours_of_any_dtype_are_seen_as_shown(nano, dtype, highest, samples):
    image = Image((rgb(samples) * highest).astype(dtype), rgb=True)
    image.contrast_limits = (0.02 * highest, 0.9 * highest)
    assert is_disc(clicked(nano, image))


def test_colours_in_a_stack_and_a_pyramid(nano):
    stack = np.zeros((3, *SHAPE, 4), np.uint16)
    stack[1] = rgb(4) * 4095
    image = Image(
        [stack, stack[:, ::2, ::2]], rgb=True, multiscale=True, contrast_limits=(48, 3721)
    )
    assert is_disc(clicked(nano, image, 1))


def test_colours_follow_the_limits_of_the_layer(user):
    me = user((rgb() * 4095).astype(np.uint16), rgb=True)
    assert is_disc(click_in(me))
    me.session.undo()
    me.annotation.image.contrast_limits = (5000, 9000)
    me.settle(700)
    assert not is_disc(click_in(me))


@pytest.mark.parametrize("projection", ["mean", "max"])
def test_thick_slice_is_segmented_as_it_is_shown(user, projection):
    disc = np.full(SHAPE, 0.1, np.float32)
    stack = np.stack([disc, disc, disc, four_discs(), disc, disc, disc])
    me = user(stack, projection_mode=projection, contrast_limits=(0, 0.6), scale=(2, 1, 1))
    me.scroll_to(2)  # where nothing is
    assert not is_disc(click_in(me, 2))
    me.session.clear(2)
    me.viewer.dims.thickness = (6, 0, 0)
    me.click((2, *CLICK))  # at once: it is meant for what is shown now
    assert me.session.wait(60)
    me.settle()
    assert is_disc(np.count_nonzero(me.labels[2]))
    assert not np.delete(me.labels, 2, axis=0).any()
    assert me.dock.choice.plane.text() == f"plane 2/6 ({projection} of 0 to 3)"


def test_click_in_a_viewer_of_two_units(user):
    stack = np.zeros((7, *SHAPE), np.float32)
    stack[3] = four_discs()
    me = user(stack, scale=(2, 0.5, 0.5), units=("um",) * 3, contrast_limits=(0, 1), name="um")
    beside = me.viewer.add_image(stack * 0, scale=(2000, 500, 500), units=("nm",) * 3, name="nm")
    beside.visible = False
    me.controller.choose_image(me.viewer.layers["um"])
    me.viewer.reset_view()
    me.viewer.dims.set_current_step(0, 3)
    me.settle(200)
    assert me.annotation.displayed() == (3, None, None)
    assert is_disc(click_in(me, 3))


def test_gamma_hides_and_shows(user):
    image = four_discs() ** 0.2  # pale: nothing stands out
    me = user(image, contrast_limits=(0, 1))
    seen = me.session.source
    me.annotation.image.gamma = 5
    assert is_disc(click_in(me))  # at once: it is meant for what is shown now
    assert me.session.source.stamp != seen.stamp
    pixels, limits = me.session.source.read((None, None))
    np.testing.assert_allclose(pixels, four_discs(), atol=1e-5)
    assert limits == (0, 1)
