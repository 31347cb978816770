"""The image, or what should lie on it, is moved, scaled or turned after the dock was opened."""

import numpy as np
import pytest
from core.fake_segmenter import disk

from napari_sam.gui.channels import options
from napari_sam.gui.placement import geometry_of, lies_on, same_geometry
from napari_sam.gui.widget import SegmentAnything

SHAPE = (60, 80)
MOVES = {
    "scale": (0.5, 0.5),
    "translate": (100, -30),
    "rotate": 30,
    "shear": [0.3],
    "affine": np.array([[0, 2.0, 5], [-1.0, 0.3, 7], [0, 0, 1]]),
    "units": ("um", "um"),
    "axis_labels": ("rows", "columns"),
}


def grey(rng, *shape):
    return rng.integers(0, 255, shape, np.uint8)


def test_click_lands_where_it_was_made_however_the_image_is_moved(user_and_errors, rng):
    me, errors = user_and_errors(grey(rng, *SHAPE))
    me.annotation.draw_box()
    me.annotation.click_here()
    image = me.annotation.image
    expected = np.zeros(SHAPE, int)
    for number, (name, value) in enumerate(MOVES.items(), 1):
        setattr(image, name, value)
        me.settle()
        me.viewer.reset_view()
        me.settle()
        me.session.new_object()
        point = (10 + 25 * (number % 2), 8 * number)
        me.click(point)
        clicks = me.session.prompts.clicks
        assert np.allclose(clicks[-1].point, point, atol=0.7), name
        assert len(clicks) == number
        expected[disk(SHAPE, clicks[-1].point, 4)] = number
        np.testing.assert_array_equal(me.labels, expected)
        assert len(me.annotation.layers) == 4
        for layer in me.annotation.layers:
            assert same_geometry(geometry_of(layer), geometry_of(image)), name
    assert not errors


def test_image_moved_before_the_first_click(user, rng):
    me = user(grey(rng, *SHAPE))
    me.annotation.image.scale = (0.5, 0.5)
    me.settle()
    me.viewer.reset_view()
    me.click((40, 30))
    assert np.allclose(me.session.prompts.clicks[0].point, (40, 30), atol=0.7)
    assert me.labels[40, 30] == 1


def test_image_that_is_not_chosen_is_followed_too(user, rng):
    me = user(grey(rng, *SHAPE), name="first")
    me.click((20, 30))
    first = me.annotation
    me.viewer.add_image(grey(rng, *SHAPE), name="second")
    me.settle()
    first.image.translate = (7, 9)
    for layer in first.layers:
        np.testing.assert_array_equal(layer.translate, (7, 9))


def test_every_layer_calibrated_one_after_the_other_needs_no_word(user_and_errors, rng):
    me, errors = user_and_errors(grey(rng, *SHAPE))
    me.click((20, 30))
    for layer in reversed(me.viewer.layers):
        layer.scale = (0.5, 0.5)
    me.settle()
    assert not errors
    for layer in me.annotation.layers:
        np.testing.assert_array_equal(layer.scale, (0.5, 0.5))


def test_prompts_that_are_moved_alone_are_put_back(user_and_errors, rng):
    me, errors = user_and_errors(grey(rng, *SHAPE))
    me.annotation.points.translate = (0, 20)
    me.settle()
    assert "put back" in errors[0]
    me.click((20, 30))
    assert np.allclose(me.session.prompts.clicks[0].point, (20, 30), atol=0.6)


def test_plane_on_screen_follows_an_image_that_is_moved_along_the_stack(user, rng):
    me = user(grey(rng, 5, *SHAPE))
    me.scroll_to(3)
    me.annotation.image.translate = (1, 0, 0)
    me.settle(200)
    assert me.annotation.displayed() == (2, None, None)
    assert me.session.shown == (2, None, None)
    me.click((2, 20, 30))
    assert me.labels[2, 20, 30] == 1


def test_picked_labels_stay_where_they_are_and_nothing_is_written_beside_the_object(
    user_and_errors, rng
):
    me, errors = user_and_errors(grey(rng, *SHAPE))
    mine = me.viewer.add_labels(np.zeros(SHAPE, np.int32), name="mine")
    me.annotation.labels = mine
    me.annotation.click_here()
    me.annotation.image.translate = (0, 20)
    me.settle()
    assert "'mine' with translate [0.0, 0.0]" in errors[-1]
    assert "translate [0.0, 20.0]" in errors[-1]
    np.testing.assert_array_equal(mine.translate, (0, 0))
    assert "doesn't fit" in me.dock.masks.layer.currentText()
    me.click((20, 30))
    assert not me.labels.any()
    mine.translate = (0, 20)
    me.settle()
    assert me.labels[20, 30] == 1
    assert me.dock.masks.layer.currentText() == "mine"


def test_mask_that_was_kept_back_goes_to_the_next_layer_picked(user_and_errors, rng):
    me, errors = user_and_errors(grey(rng, *SHAPE))
    me.annotation.labels.translate = (3, 0)
    me.settle()
    assert "translate [3.0, 0.0]" in errors[-1]
    me.click((20, 30))
    assert not me.labels.any()
    me.annotation.labels = me.viewer.add_labels(np.zeros(SHAPE, np.int32), name="mine")
    assert me.labels[20, 30] == 1


def test_labels_that_lie_elsewhere_are_neither_offered_nor_taken(user_and_errors, rng):
    me, errors = user_and_errors(grey(rng, *SHAPE), scale=(0.5, 0.5))
    beside = me.viewer.add_labels(np.zeros(SHAPE, int), name="beside", scale=(0.5, 0.5))
    beside.translate = (0, 10)
    me.viewer.add_labels(np.zeros(SHAPE, int), name="coarse")
    nearly = {"scale": (0.5, 0.5), "translate": (0.0, 0.2)}
    me.viewer.add_labels(np.zeros(SHAPE, int), name="nearly", **nearly)
    me.settle()
    menu = me.dock.masks.layer
    offered = [menu.itemText(i) for i in range(menu.count())]
    assert offered == ["a new layer", me.annotation.labels.name, "nearly"]
    me.annotation.labels = beside
    assert "'beside' with translate [0.0, 10.0]" in errors[-1]
    assert me.annotation.labels is not beside
    beside.translate = (0, 0)
    me.settle()
    assert menu.findText("beside") > 0


def test_images_that_lie_elsewhere_are_no_channels(user, rng):
    me = user(grey(rng, *SHAPE), name="dapi")
    image = me.annotation.image
    me.viewer.add_image(grey(rng, *SHAPE), name="shifted", translate=(0, 40))
    assert options(image, me.controller.images()) == []
    me.viewer.add_image(grey(rng, *SHAPE), name="actin")
    assert [x.text for x in options(image, me.controller.images())] == ["dapi", "actin"]


def test_channel_that_is_moved_or_replaced_is_not_mixed_of_two_places(
    user_and_errors, rng, segmenter
):
    me, errors = user_and_errors(grey(rng, *SHAPE), name="dapi")
    actin = me.viewer.add_image(grey(rng, *SHAPE), name="actin", contrast_limits=(0, 255))
    me.controller.choose_image(me.viewer.layers["dapi"])
    me.settle()
    green = me.dock.channels.menus[1]
    green.setCurrentIndex(green.findText("actin"))
    green.activated.emit(green.currentIndex())
    me.settle()
    fresh = grey(rng, *SHAPE)
    actin.data = fresh
    me.settle()
    np.testing.assert_array_equal(segmenter.embedded[-1][..., 1], fresh)
    assert not errors
    actin.translate = (0, 20)
    me.settle()
    assert "with translate [0.0, 0.0], got shape (60, 80) with translate [0.0, 20.0]" in errors[-1]
    assert me.annotation.channels is None
    assert me.session.source.read((None, None))[0].ndim == 2


def test_another_image_of_the_same_name_gets_masks_of_its_own_on_top(user, rng):
    me = user(grey(rng, *SHAPE), name="cells")
    me.click((20, 30))
    before, masks = me.labels.copy(), me.annotation.labels
    me.viewer.layers["cells"].name = "old"
    second = me.viewer.add_image(grey(rng, *SHAPE), name="cells")
    me.settle()
    assert me.annotation.image is second
    me.annotation.click_here()
    me.click((40, 60))
    assert me.annotation.labels is not masks
    assert me.labels[40, 60] == 1
    assert np.count_nonzero(me.labels) < 100
    np.testing.assert_array_equal(masks.data, before)
    layers = me.viewer.layers
    assert layers.index(me.annotation.labels) > layers.index(second)


def test_image_removed_and_added_again_gets_masks_that_are_seen(user, rng):
    me = user(grey(rng, *SHAPE))
    me.click((20, 30))
    image, masks = me.annotation.image, me.annotation.labels
    me.viewer.layers.remove(image)
    me.viewer.layers.append(image)
    me.controller.choose_image(image)
    me.annotation.click_here()
    me.settle()
    assert me.annotation.labels is not masks
    assert me.viewer.layers.index(me.annotation.labels) > me.viewer.layers.index(image)


def test_image_renamed_and_chosen_anew_goes_on_with_its_masks(user, rng):
    me = user(grey(rng, *SHAPE), name="before")
    me.click((20, 30))
    image, masks = me.annotation.image, me.annotation.labels
    image.name = "after"
    me.viewer.layers.remove(me.annotation.points)
    me.controller.choose_image(image)
    me.settle()
    assert me.annotation.labels is masks


@pytest.mark.parametrize(
    ("here", "there", "expected"),
    [
        ({}, {"translate": (0, 0.5)}, True),
        ({}, {"translate": (0, 0.6)}, False),
        ({"scale": (2, 2)}, {"scale": (2, 2), "translate": (0.9, 0)}, True),
        ({}, {"scale": (1.001, 1)}, True),
        ({}, {"scale": (1.01, 1)}, False),
        ({"units": "um"}, {"units": "nm", "scale": (1000, 1000)}, True),
        ({"units": "um"}, {"units": "nm"}, False),
        ({"scale": (2, 3)}, {"affine": np.diag([2, 3, 1])}, True),
    ],
)
def test_layers_lie_on_each_other_within_half_a_pixel(here, there, expected):
    from napari.layers import Image, Labels

    image = Image(np.zeros(SHAPE), **here)
    assert lies_on(Labels(np.zeros(SHAPE, int), **there), image) is expected


@pytest.fixture
def colours(user_and_errors, rng):
    """Give the model a second image as green."""
    me, errors = user_and_errors(grey(rng, *SHAPE), name="dapi")
    me.viewer.add_image(grey(rng, *SHAPE), name="actin", contrast_limits=(0, 255))
    me.controller.choose_image(me.viewer.layers["dapi"])
    me.settle()
    green = me.dock.channels.menus[1]
    green.setCurrentIndex(green.findText("actin"))
    green.activated.emit(green.currentIndex())
    me.settle()
    return me, errors


def test_colours_of_an_image_are_still_shown_when_it_is_chosen_again(colours):
    me, _ = colours
    for name in ("actin", "dapi"):
        me.controller.choose_image(me.viewer.layers[name])
        me.settle()
    assert me.annotation.channels[1].text == "actin"
    assert [menu.currentText() for menu in me.dock.channels.menus] == ["—", "actin", "—"]


def test_colour_whose_data_is_replaced_while_another_image_is_chosen_stays(colours, rng):
    me, errors = colours
    actin = me.viewer.layers["actin"]
    me.controller.choose_image(actin)
    me.settle()
    actin.data = fresh = grey(rng, *SHAPE)
    me.settle()
    me.controller.choose_image(me.viewer.layers["dapi"])
    me.settle()
    red, green, blue = me.dock.channels.menus
    assert [menu.currentText() for menu in (red, green, blue)] == ["—", "actin", "—"]
    red.setCurrentIndex(red.findText("dapi"))
    red.activated.emit(red.currentIndex())
    me.settle()
    assert [x and x.image.name for x in me.annotation.channels] == ["dapi", "actin", None]
    np.testing.assert_array_equal(me.segmenter.embedded[-1][..., 1], fresh)
    assert not errors


def test_second_dock_shows_the_same_colours_and_changes_them(colours):
    me, errors = colours
    second = SegmentAnything(me.viewer)
    me.viewer.window.add_dock_widget(second, name="again")
    me.settle()
    red, green, _ = second.channels.menus
    assert green.currentText() == "actin"
    red.setCurrentIndex(red.findText("dapi"))
    red.activated.emit(red.currentIndex())
    me.viewer.layers["actin"].name = "other"  # both docks refresh
    me.settle()
    assert [channel and channel.image.name for channel in me.annotation.channels] == [
        "dapi",
        "other",
        None,
    ]
    assert me.dock.channels.menus[0].currentText() == "dapi"
    assert not errors


def test_removed_layer_of_a_colour_is_reported(colours):
    me, errors = colours
    me.viewer.layers.remove("actin")
    me.settle()
    (text,) = errors
    assert text.startswith("expected 'actin' among the layers")
    assert me.annotation.channels is None
