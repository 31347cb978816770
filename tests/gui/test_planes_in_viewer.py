"""Stacks, colours, pyramids and lazy arrays in a real viewer."""

import dask.array as da
import numpy as np
import zarr
from core.fake_segmenter import disk

from napari_sam.gui.channels import options

SHAPE = (40, 50)


def grey(rng, *shape):
    return rng.integers(0, 255, shape, np.uint8)


def test_click_on_a_slice_stays_on_it(user, rng):
    me = user(grey(rng, 7, *SHAPE), scale=(3, 1, 1))
    me.scroll_to(4)
    me.click((4, 20, 30))
    (click,) = me.session.prompts.clicks
    assert click.plane == (4, None, None)
    np.testing.assert_array_equal(me.labels[4], disk(SHAPE, click.point, 4))
    assert not np.delete(me.labels, 4, axis=0).any()
    me.scroll_to(2)
    me.click((2, 10, 10))
    assert me.session.mask(1, 2).any()
    np.testing.assert_array_equal(me.labels[4], disk(SHAPE, click.point, 4))


def test_slice_is_embedded_when_it_is_first_shown(user, rng, segmenter):
    data = grey(rng, 20, *SHAPE)
    me = user(data)
    me.scroll_to(15)
    assert any(np.array_equal(plane, data[15]) for plane in segmenter.embedded)
    assert me.session.embeddings.state((15, None, None)) == "ready"
    assert me.session.embeddings.state((2, None, None)) == "none"
    assert me.dock.choice.plane.text() == "plane 15/19"


def test_time_and_depth_both_index_planes(user, rng):
    me = user(grey(rng, 3, 4, *SHAPE), axis_labels=("t", "z", "y", "x"))
    me.scroll_to(2, 1)
    me.click((2, 1, 20, 30))
    assert me.session.prompts.clicks[0].plane == (2, 1, None, None)
    assert me.labels[2, 1, 20, 30] == 1
    assert me.dock.choice.plane.text() == "t 2/2 · z 1/3"


def test_rolled_axes_are_planes_of_their_own(user, rng):
    me = user(grey(rng, 30, *SHAPE))
    me.viewer.dims.roll()
    me.settle(200)
    me.viewer.reset_view()
    free = me.viewer.dims.order[0]
    me.viewer.dims.set_current_step(free, 12)
    me.settle(200)
    assert free == 2
    me.click((15, 20, 12))
    (click,) = me.session.prompts.clicks
    assert click.plane == (None, None, 12)
    assert np.allclose(click.point, (15, 20), atol=0.6)
    assert me.labels[15, 20, 12] == 1
    assert not me.labels[..., 13].any()


def test_axes_are_rolled_after_scrolling_while_something_is_embedded(user, rng, segmenter):
    me = user(grey(rng, 9, *SHAPE))
    dims, errors = me.viewer.dims, []
    me.controller.refused.connect(errors.append)
    me.scroll_to(4)
    me.scroll_to(5)
    segmenter.seconds = 0.05
    changes = [
        dims.roll,
        dims.transpose,
        lambda: setattr(dims, "order", (2, 0, 1)),
        lambda: setattr(dims, "ndisplay", 3),
        dims.roll,
        lambda: setattr(dims, "ndisplay", 2),
        lambda: dims.set_current_step(1, 7),
        lambda: setattr(dims, "order", (0, 2, 1)),
    ]
    for change in changes:
        change()
        me.qtbot.wait(150)  # shown, and being embedded when the next change comes
    me.viewer.reset_view()
    me.settle(200)
    assert not errors
    me.click((5, 20, 30))
    (click,) = me.session.prompts.clicks
    assert click.plane == (5, None, None)
    assert np.allclose(click.point, (20, 30), atol=0.6)
    assert me.labels[5, 20, 30] == 1


def test_channels_are_combined_and_then_shown_side_by_side(user, rng):
    me = user(grey(rng, 8, 9, *SHAPE), axis_labels=("z", "c", "y", "x"))
    first, second, *_ = options(me.annotation.image, me.controller.images())
    me.annotation.channels = (first, second, None)
    me.viewer.dims.order = (0, 2, 1, 3)  # channels and columns on screen
    me.settle(200)
    me.viewer.dims.set_current_step(2, 20)
    me.viewer.reset_view()
    me.settle(200)
    z = int(me.viewer.dims.current_step[0])
    me.click((z, 4, 20, 30))
    (click,) = me.session.prompts.clicks
    assert click.plane == (z, None, 20, None)
    assert me.labels[z, 4, 20, 30] == 1
    assert not np.delete(me.labels, 20, axis=2).any()


def test_three_dimensional_view_asks_for_two(user, rng):
    me = user(grey(rng, 7, *SHAPE))
    me.viewer.dims.ndisplay = 3
    me.settle(200)
    assert "2-D" in me.dock.status.text.text()
    me.viewer.dims.ndisplay = 2
    me.settle(200)
    assert "Ready" in me.dock.status.text.text()


def test_rgb_reaches_the_model_unchanged(user, rng, segmenter):
    data = grey(rng, *SHAPE, 3)
    me = user(data, rgb=True)
    np.testing.assert_array_equal(segmenter.embedded[0], data)
    assert segmenter.limits[0] is None
    me.click((20, 30))
    assert me.labels.shape == SHAPE
    assert me.labels[20, 30] == 1


def test_dask_stack_is_read_plane_by_plane(user, rng):
    data = grey(rng, 60, *SHAPE)
    read = []

    def block(block_info=None):
        (z, _), *_ = block_info[None]["array-location"]
        read.append(z)
        return data[z : z + 1]

    lazy = da.map_blocks(block, chunks=((1,) * 60, *((n,) for n in SHAPE)), dtype=np.uint8)
    me = user(lazy, contrast_limits=(0, 255))
    me.scroll_to(50)
    me.click((50, 20, 30))
    assert me.labels[50, 20, 30] == 1
    assert len(set(read)) < 15


def test_zarr_image_and_zarr_labels(user, rng):
    me = user(zarr.array(grey(rng, 4, *SHAPE)), contrast_limits=(0, 255))
    labels = me.viewer.add_labels(zarr.array(np.zeros((4, *SHAPE), np.int32)))
    me.annotation.labels = labels
    me.annotation.click_here()
    me.scroll_to(3)
    me.click((3, 20, 30))
    assert me.annotation.labels is labels
    assert me.labels[3, 20, 30] == 1


def test_pyramid_is_annotated_at_its_finest_level(user, rng, segmenter):
    fine = grey(rng, *SHAPE)
    me = user([fine, fine[::2, ::2]], multiscale=True)
    np.testing.assert_array_equal(segmenter.embedded[0], fine)
    me.click((20, 30))
    assert me.labels.shape == SHAPE
    assert np.allclose(me.session.prompts.clicks[0].point, (20, 30), atol=0.6)
    assert me.labels[20, 30] == 1


def test_contrast_of_the_layer_is_what_the_model_sees(user, rng, segmenter):
    me = user(rng.integers(0, 4000, SHAPE, np.uint16), contrast_limits=(100, 2000))
    assert segmenter.limits[-1] == (100, 2000)
    me.annotation.image.contrast_limits = (100, 1000)
    me.settle(700)
    assert segmenter.limits[-1] == (100, 1000)


def test_channels_of_an_axis_become_colours(user, rng, segmenter):
    data = grey(rng, 3, 2, *SHAPE)
    me = user(data, axis_labels=("z", "c", "y", "x"))
    me.scroll_to(1, 0)
    first, second = options(me.annotation.image, me.controller.images())
    me.annotation.channels = (first, second, None)
    me.settle()
    assert segmenter.embedded[-1].shape == (*SHAPE, 3)
    assert not segmenter.embedded[-1][..., 2].any()
    me.click((1, 0, 20, 30))
    assert (me.labels[1, :, 20, 30] == 1).all()
    assert not me.labels[2].any()


def test_images_of_the_same_shape_can_be_colours_too(user, rng, segmenter):
    me = user(grey(rng, *SHAPE), name="dapi")
    me.viewer.add_image(grey(rng, *SHAPE), name="actin")
    me.controller.choose_image(me.viewer.layers["dapi"])
    me.settle()
    section = me.dock.channels
    assert not section.isHidden()
    red = section.menus[0]
    red.setCurrentIndex(red.findText("actin"))
    red.activated.emit(red.currentIndex())
    me.settle()
    assert segmenter.embedded[-1].shape == (*SHAPE, 3)
    assert segmenter.embedded[-1][..., 0].any()


def test_image_replaced_by_another_of_its_shape_is_read_again(user, rng, segmenter):
    me = user(grey(rng, *SHAPE))
    me.click((20, 30))
    fresh = grey(rng, *SHAPE)
    me.annotation.image.data = fresh
    me.settle()
    np.testing.assert_array_equal(segmenter.embedded[-1], fresh)
    assert me.labels[20, 30] == 1


def test_scrolling_reads_the_image_that_is_chosen_and_no_other(user, rng):
    me = user(grey(rng, 9, *SHAPE), name="first")
    me.scroll_to(0)
    first = me.annotation
    me.viewer.add_image(grey(rng, 9, *SHAPE), name="second")
    me.settle()
    me.scroll_to(6)
    assert me.session.shown == (6, None, None)
    assert me.session.embeddings.state((6, None, None)) == "ready"
    assert first.session.embeddings.state((6, None, None)) == "none"
    me.controller.choose_image(first.image)
    me.settle()
    assert first.session.embeddings.state((6, None, None)) == "ready"
    me.click((6, 20, 30))
    assert me.labels[6, 20, 30] == 1
