"""The image, or its masks, get other data while they are annotated: replaced, grown, resized."""

import dask.array as da
import numpy as np
import pytest
import zarr
from core.fake_segmenter import disk

SHAPE = (60, 80)


def grey(rng, *shape):
    return rng.integers(0, 255, shape, np.uint8)


@pytest.fixture
def user_and_messages(user):
    """Open an image, and collect the errors and notices that the dock shows."""

    def begin(data, **options):
        me = user(data, **options)
        messages = []
        me.controller.refused.connect(lambda error: messages.append(str(error)))
        me.controller.noticed.connect(messages.append)
        return me, messages

    return begin


def test_image_of_another_shape_takes_no_clicks_until_it_is_chosen_again(
    user_and_messages, rng, segmenter
):
    me, messages = user_and_messages(grey(rng, *SHAPE), name="cells")
    image = me.annotation.image
    me.click((20, 30))
    me.annotation.draw_box()
    me.annotation.click_here()
    first, masks = me.annotation, me.annotation.labels
    before = me.labels.copy()
    fresh = grey(rng, 100, 90)
    image.data = fresh
    me.settle(150)
    assert "choose the image again to start anew" in messages[-1]
    assert "choose it again" in me.dock.status.text.text()
    decodes = segmenter.decodes
    me.click((40, 50))
    assert len(me.annotation.points.data) == 1
    assert "choose the image again" in messages[-1]
    me.session.undo()
    with pytest.raises(ValueError, match="choose the image again"):
        me.session.add_point((), (5, 5))
    assert segmenter.decodes == decodes
    np.testing.assert_array_equal(masks.data, before)

    menu = me.dock.choice.image
    menu.activated.emit(menu.currentIndex())
    me.settle(150)
    me.viewer.reset_view()
    assert me.annotation is not first
    assert "starts anew; what was done before is in 'cells · prompts (60 × 80)'" in messages[-1]
    np.testing.assert_array_equal(segmenter.embedded[-1], fresh)
    me.click((70, 60))
    assert [np.round(c.point).tolist() for c in me.session.prompts.clicks] == [[70, 60]]
    np.testing.assert_array_equal(me.labels, disk((100, 90), me.session.prompts.clicks[0].point, 4))
    np.testing.assert_array_equal(masks.data, before)
    names = {layer.name for layer in me.viewer.layers}
    assert {f"cells · {x} (60 × 80)" for x in ("prompts", "shapes", "masks")} <= names
    assert {"cells · prompts", "cells · masks"} <= names


def test_image_selected_again_in_the_list_of_layers_starts_anew(user_and_messages, rng):
    me, _ = user_and_messages(grey(rng, *SHAPE))
    me.click((20, 30))
    image = me.annotation.image
    image.data = grey(rng, 3, *SHAPE)
    me.settle(150)
    me.viewer.layers.selection.active = image
    me.settle(150)
    me.click((me.annotation.displayed()[0], 20, 30))
    assert me.labels.shape == (3, *SHAPE)
    assert me.labels.any()


@pytest.mark.parametrize("wrap", [np.asarray, da.from_array])
def test_time_that_goes_on_keeps_planes_prompts_and_masks(user_and_messages, rng, segmenter, wrap):
    data = grey(rng, 6, *SHAPE)
    me, messages = user_and_messages(wrap(data[:3]), contrast_limits=(0, 255))
    me.scroll_to(1)
    me.click((1, 20, 30))
    masks, before = me.annotation.labels, me.labels.copy()
    embedded = len(segmenter.embedded)
    for length in (4, 6):
        me.annotation.image.data = wrap(data[:length])
        assert me.session.embeddings.state((1, None, None)) == "ready"
    me.settle(150)
    assert not messages
    assert len(segmenter.embedded) == embedded
    np.testing.assert_array_equal(me.labels, before)
    me.scroll_to(5)
    me.click((5, 40, 50))
    assert not messages
    assert me.annotation.labels is masks
    assert me.labels.shape == data.shape
    np.testing.assert_array_equal(me.labels[:3], before)
    np.testing.assert_array_equal(me.labels[5], disk(SHAPE, me.session.prompts.clicks[1].point, 4))
    me.session.undo()
    assert not me.labels[5].any()
    me.session.undo()
    assert not me.labels.any()
    assert sum(np.array_equal(plane, data[5]) for plane in segmenter.embedded) == 1


def test_longer_stack_of_other_planes_is_read_anew(user_and_messages, rng, segmenter):
    me, messages = user_and_messages(grey(rng, 3, *SHAPE), contrast_limits=(0, 255))
    me.click((0, 20, 30))
    fresh = grey(rng, 5, *SHAPE)
    me.annotation.image.data = fresh
    assert me.controller.engine.wait(20, background=True)
    me.settle(150)
    assert "are read again" in messages[-1]
    assert any(np.array_equal(plane, fresh[0]) for plane in segmenter.embedded)


def test_zarr_resized_in_place(user_and_messages, rng, segmenter):
    store = zarr.array(grey(rng, 3, *SHAPE), chunks=(1, *SHAPE))
    me, messages = user_and_messages(store, contrast_limits=(0, 255))
    me.click((0, 20, 30))
    fourth = grey(rng, *SHAPE)
    store.resize((4, *SHAPE))
    store[3] = fourth
    me.annotation.image.data = store  # as readers do, so that napari offers the new plane
    me.scroll_to(3)
    me.click((3, 40, 50))
    assert not messages
    assert any(np.array_equal(plane, fourth) for plane in segmenter.embedded)
    assert me.labels[3].any()
    store.resize((2, *SHAPE))
    me.session.add_point(0, (50, 60))
    me.annotation.show()
    me.settle()
    assert "choose the image again" in messages[-1]
    with pytest.raises(ValueError, match="choose the image again"):
        me.session.add_point(0, (10, 10))


def test_contrast_of_a_zarr_that_was_cut_in_place_ends_it_like_any_other_check(
    user_and_messages, rng
):
    store = zarr.array(grey(rng, 3, *SHAPE), chunks=(1, *SHAPE))
    me, messages = user_and_messages(store, contrast_limits=(0, 255))
    me.click((0, 20, 30))
    before = me.labels.copy()
    store.resize((2, *SHAPE))
    me.annotation.image.contrast_limits = (0, 100)
    me.settle(700)
    assert "choose the image again" in messages[-1]
    np.testing.assert_array_equal(me.labels, before)


def test_channels_of_the_image_follow_its_data(user_and_messages, rng, segmenter):
    from napari_sam.gui.channels import options

    me, _ = user_and_messages(grey(rng, 2, *SHAPE), axis_labels=("c", "y", "x"))
    first, second = options(me.annotation.image, me.controller.images())
    me.annotation.channels = (first, second, None)
    me.settle()
    fresh = grey(rng, 2, *SHAPE)
    fresh[0] = 0
    me.annotation.image.data = fresh
    me.settle()
    assert segmenter.embedded[-1].shape == (*SHAPE, 3)
    assert not segmenter.embedded[-1][..., 0].any()
    assert segmenter.embedded[-1][..., 1].any()


@pytest.mark.parametrize(
    "change", [lambda d: d[10:, 20:], lambda d: np.repeat(np.repeat(d, 2, 0), 2, 1)]
)
def test_masks_cropped_or_scaled_by_hand_are_not_written_to(user_and_messages, rng, change):
    me, messages = user_and_messages(grey(rng, *SHAPE))
    me.click((20, 30))
    masks = me.annotation.labels
    other = change(np.asarray(masks.data)).copy()
    masks.data = other
    me.settle()
    assert "expected labels of shape (60, 80)" in messages[-1]
    me.click((25, 30))
    np.testing.assert_array_equal(masks.data, other)
    me.annotation.labels = None
    me.session.new_object()
    me.click((50, 60))
    assert me.annotation.labels is not masks
    assert me.labels[50, 60] == 2
    np.testing.assert_array_equal(masks.data, other)


def test_masks_replaced_by_others_of_their_shape_are_kept(user_and_messages, rng):
    me, messages = user_and_messages(grey(rng, *SHAPE))
    me.click((20, 30))
    other = np.zeros(SHAPE, np.int32)
    other[:5] = 9
    me.annotation.labels.data = other
    me.settle()
    me.session.new_object()
    assert me.session.object_id == 10
    me.click((40, 50))
    assert (me.labels[:5] == 9).all()
    assert me.labels[40, 50] == 10
    assert not messages


def test_image_that_grew_unnoticed_and_is_rolled_along_what_grew(user_and_messages, rng, segmenter):
    data = grey(rng, 5, *SHAPE)
    store = zarr.array(data[:3], chunks=(1, *SHAPE))
    me, messages = user_and_messages(store, contrast_limits=(0, 255))
    me.click((1, 20, 30))
    me.viewer.dims.order = (1, 0, 2)
    me.settle(200)
    me.viewer.dims.order = (0, 1, 2)
    me.settle(200)
    store.resize((5, *SHAPE))
    store[3:] = data[3:]
    me.viewer.dims.order = (1, 0, 2)
    me.settle(200)
    plane = me.annotation.displayed()
    assert any(np.array_equal(seen, data[:, plane[1]]) for seen in segmenter.embedded)
    me.session.add_point(plane, (4, 50))
    me.settle()
    assert not messages
    assert me.labels.shape == data.shape
    np.testing.assert_array_equal(me.labels[:, plane[1]] == 1, me.session.mask(1, plane))
