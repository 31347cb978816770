"""What is saved from the viewer gives the command line the viewer's masks, pixel for pixel."""

import numpy as np
import pytest
from component_segmenter import ComponentSegmenter
from typer.testing import CliRunner

from napari_sam import cli
from napari_sam.io import read_image, write_labels

SHAPE = (60, 80)
DISCS = ((15, 15, 6), (18, 50, 7), (42, 30, 7), (45, 65, 6))


@pytest.fixture
def segmenter():
    return ComponentSegmenter()


@pytest.fixture
def replay(tmp_path, monkeypatch, segmenter):
    """Save an image and a viewer's prompts with napari's writer, and run the command line."""

    def run(me, data, axes, *options, boxes=False):
        image, labels = tmp_path / "image.tif", tmp_path / "labels.tif"
        write_labels(image, data, axes)
        me.settle(100)
        me.annotation.points.save(str(tmp_path / "prompts.csv"))
        arguments = ["segment", image, "-p", tmp_path / "prompts.csv", "-o", labels, *options]
        if boxes:
            me.annotation.shapes.layer.save(str(tmp_path / "boxes.csv"))
            arguments += ["--boxes", tmp_path / "boxes.csv"]
        monkeypatch.setattr(cli.console, "load_model", lambda *_, **__: segmenter)
        result = CliRunner().invoke(cli.app, [str(a) for a in arguments])
        assert result.exit_code == 0, result.output
        return np.asarray(read_image(labels).data[...]), result.stderr

    return run


def discs(*values):
    rows, columns = np.indices(SHAPE)
    plane = np.full(SHAPE, 100, np.uint16)
    for (r, c, radius), value in zip(DISCS, values, strict=True):
        plane[(rows - r) ** 2 + (columns - c) ** 2 <= radius**2] = value
    return plane


def test_clicks_and_boxes_of_another_view_and_contrast(user, replay):
    ball = np.indices((30, *SHAPE)) - np.array([12, 30, 40]).reshape(3, 1, 1, 1)
    data = np.where((ball**2).sum(0) <= 9**2, 400, 100).astype(np.uint16)
    data[3:9, :, 5:15] = 3000
    me = user(data, contrast_limits=(100, 4000))
    me.viewer.dims.order = (1, 0, 2)
    me.viewer.reset_view()
    me.scroll_to(*[0, 33])
    me.click((5, 33, 10))
    me.annotation.image.contrast_limits = (100, 500)
    me.settle(700)
    me.annotation.session.new_object()
    me.click((12, 33, 40))
    me.annotation.draw_box()
    me.drag((2, 33, 3), (10, 33, 17))
    assert me.annotation.session.wait(5)
    assert [box.object_id for box in me.session.prompts.boxes] == [3]
    shown = me.annotation.points.features
    assert shown["displayed"].tolist() == ["rows 0 columns 2"] * 2
    assert shown["contrast"].tolist() == ["100.0 to 4000.0", "100.0 to 500.0"]
    labels, output = replay(me, data, "ZYX", boxes=True)
    assert set(np.unique(me.labels)) >= {0, 1, 2}
    np.testing.assert_array_equal(labels, me.labels)
    assert "don't say the contrast limits of object 3: robust" in output  # two were given here
    labels, output = replay(me, data, "ZYX")
    assert "the viewer had boxes of object 3, which this run lacks" in output
    assert "--boxes" in output


def test_channels_of_one_image_made_colours(user, replay):
    data = np.stack([np.stack([discs(200, 300, 150, 250), discs(800, 400, 2000, 900)])] * 2)
    me = user(data, axis_labels=("z", "c", "y", "x"))
    red, _, blue = me.dock.channels.menus
    for menu, row in ((red, 2), (blue, 1)):
        menu.setCurrentIndex(row)
        menu.activated.emit(row)
    me.scroll_to(1, 0)
    me.click((1, 0, 42, 30))
    assert me.labels[1, :, 42, 30].tolist() == [1, 1]
    labels, output = replay(me, data, "ZCYX")
    np.testing.assert_array_equal(labels, me.labels)
    assert not output.strip()


def test_channels_that_are_layers_of_their_own(user, replay):
    data = np.stack([discs(200, 300, 150, 250), discs(800, 400, 2000, 900)])
    me = user(data, channel_axis=0, name=["dapi", "actin"])
    actin = me.viewer.layers["actin"]
    me.controller.choose_image(actin)
    me.annotation.click_here()
    actin.contrast_limits = (100, 1000)
    me.settle(700)
    me.click((15, 15))
    me.annotation.session.new_object()
    red = me.dock.channels.menus[0]
    red.setCurrentIndex(red.findText("dapi"))
    red.activated.emit(red.currentIndex())
    me.settle()
    me.click((18, 50))
    assert set(np.unique(me.labels)) == {0, 1, 2}
    labels, output = replay(me, data, "CYX")
    np.testing.assert_array_equal(labels, me.labels)
    assert not output.strip()


def test_boxes_alone_and_the_mask_that_was_chosen(user, replay):
    data = discs(800, 400, 2000, 900)
    me = user(data, contrast_limits=(100, 700))
    me.click((42, 30))
    me.annotation.session.choose_candidate("part", ())
    me.annotation.draw_box()
    me.drag((8, 8), (23, 23))
    me.drag((8, 40), (28, 60))
    assert [box.object_id for box in me.session.prompts.boxes] == [2, 3]
    assert me.annotation.points.features["candidate"].tolist() == ["part"]
    labels, output = replay(me, data, "YX", boxes=True)
    assert set(np.unique(me.labels)) == {0, 1, 2, 3}
    np.testing.assert_array_equal(labels, me.labels)
    assert not output.strip()
