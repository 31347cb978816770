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
    me.session.new_object()
    me.annotation.image.contrast_limits = (5000, 9000)
    me.settle(700)
    assert not is_disc(click_in(me))
