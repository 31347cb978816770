"""Points and shapes of the user's own layers become prompts; the layers stay as they are."""

import numpy as np
import pytest
from core.fake_segmenter import FakeSegmenter
from napari.layers import Image, Points, Shapes

from napari_sam.gui.users_prompts import names_objects, offered, read_layer
from napari_sam.session import ArraySource, Session

SHAPE = (60, 80)
IMAGE = Image(np.zeros(SHAPE, np.uint8), name="cells")
STACK = Image(np.zeros((5, *SHAPE), np.uint8), name="stack", scale=(2, 0.5, 0.5))
PLANE, THIRD = (None, None), (3, None, None)


def points_of(read):
    return {key: one.points.tolist() for key, one in read.prompts.items()}


def test_each_point_is_an_object_numbered_above_those_in_use():
    layer = Points([(10, 20), (30, 40)], name="seeds")
    read = read_layer(layer, IMAGE, PLANE, "each", 4)
    assert points_of(read) == {(5, PLANE): [[10, 20]], (6, PLANE): [[30, 40]]}
    assert read.summary == "2 points of 'seeds': 2 objects, 5 to 6"


def test_all_points_are_one_object():
    read = read_layer(Points([(10, 20), (30, 40)], name="p"), IMAGE, PLANE, "one", 0)
    assert points_of(read) == {(1, PLANE): [[10, 20], [30, 40]]}
    assert read.summary == "2 points of 'p': object 1"


def test_features_define_object_and_sign():
    features = {"object": [7, 7, 2.0, 0], "label": ["positive", "negative", "positive", "positive"]}
    layer = Points(np.arange(8).reshape(4, 2), features=features, name="p")
    assert names_objects(layer)
    read = read_layer(layer, IMAGE, PLANE, "each", 10)
    assert list(read.prompts) == [(17, PLANE), (12, PLANE)]
    assert read.prompts[17, PLANE].point_labels.tolist() == [1, 0]
    assert "left out: 1 without a whole number" in read.summary


def test_a_label_that_is_no_sign_is_ignored():
    layer = Points([(1, 2), (3, 4)], features={"label": ["nucleus", "cell"]}, name="p")
    read = read_layer(layer, IMAGE, PLANE, "each", 0)
    assert [one.point_labels.tolist() for one in read.prompts.values()] == [[1], [1]]


def test_points_lie_where_they_are_shown_whatever_the_geometry():
    layer = Points([(6.2, 5, 10)], scale=(1, 1, 1), name="p")
    (key,) = (read := read_layer(layer, STACK, THIRD, "each", 0)).prompts
    assert key == (1, (3, None, None))
    assert points_of(read)[key] == [[10, 20]]


def test_points_of_fewer_axes_lie_on_the_plane_shown():
    read = read_layer(Points([(5, 10)], name="p"), STACK, THIRD, "each", 0)
    assert points_of(read) == {(1, THIRD): [[10, 20]]}


def test_rolled_axes_make_planes_of_their_own():
    layer = Points([(3, 7, 20)], scale=(2, 0.5, 0.5), name="p")
    read = read_layer(layer, STACK, (None, 30, None), "each", 0)
    assert points_of(read) == {(1, (None, 7, None)): [[3, 20]]}


def test_what_is_hidden_or_outside_is_left_out_and_reported():
    layer = Points([(10, 20), (30, 40), (70, 10)], shown=[True, False, True], name="p")
    read = read_layer(layer, IMAGE, PLANE, "each", 0)
    assert len(read.prompts) == 1
    assert read.summary.endswith("left out: 1 hidden, 1 outside the image")


def test_rectangles_are_boxes():
    rectangle = [(10, 20), (10, 40), (30, 40), (30, 20)]
    layer = Shapes([rectangle], shape_type="rectangle", name="rois")
    read = read_layer(layer, IMAGE, PLANE, "each", 2)
    assert {key: one.box for key, one in read.prompts.items()} == {(3, PLANE): (10, 20, 30, 40)}
    assert read.summary == "1 box of 'rois': object 3"


def test_polygons_are_lassos_and_paths_strokes():
    layer = Shapes([[(10, 20), (10, 40), (30, 30)]], shape_type="polygon", name="cells")
    layer.add([[(1, 1), (5, 5)], [(50, 70), (50, 99)]], shape_type="line")
    layer.add([[(2, 2), (4, 9), (6, 2)]], shape_type="path")
    layer.add([[(3.2, 3.2), (3.4, 3.3), (3.3, 3.4)]], shape_type="polygon")
    layer.features["object"] = [1, 2, 3, 2, 4]
    read = read_layer(layer, IMAGE, PLANE, "each", 5)
    assert read.lassos == {(6, PLANE): [(10, 20), (10, 40), (30, 30)]}
    assert read.strokes == {(7, PLANE): [[(1, 1), (5, 5)], [(2, 2), (4, 9), (6, 2)]]}
    assert read.summary.startswith("2 strokes, 1 lasso of 'cells': 2 objects, 6 to 7; left out: ")
    assert "1 partly outside the image" in read.summary
    session = Session(FakeSegmenter(), ArraySource(np.zeros(SHAPE)))
    session.add_point((), (5, 5))
    session.prompts = read.added_to(session.prompts)
    assert [one.object_id for one in session.prompts.strokes] == [7, 7]
    assert [one.object_id for one in session.prompts.lassos] == [6]
    session.undo()
    assert (session.prompts.click_count, session.prompts.lassos) == (1, ())


def test_a_layer_without_anything_to_use_is_refused():
    with pytest.raises(ValueError, match="1 outside the image"):
        read_layer(Points([(500, 1)], name="p"), IMAGE, PLANE, "each", 0)


def test_thousands_of_seeds_are_read_in_one_go(rng):
    layer = Points(rng.uniform(0, 59, (5000, 2)), name="p")
    assert len(read_layer(layer, IMAGE, PLANE, "each", 0).prompts) == 5000


def test_our_own_layers_are_not_offered():
    mine, yours, other = Points(ndim=2), Shapes(ndim=2), Points(ndim=4)
    assert offered([mine, yours, other, IMAGE], IMAGE, [mine]) == [yours]


def test_seeds_picked_in_the_dock_are_objects_and_their_layer_stays(user, rng):
    me = user(rng.integers(0, 255, SHAPE, np.uint8))
    section = me.dock.prompts
    assert section.isHidden()
    seeds = me.viewer.add_points([(15, 20), (40, 60)], name="seeds", features={"p": [0.5, 0.9]})
    me.settle()
    before = seeds.data.copy(), seeds.features.copy()
    section.layer.setCurrentIndex(section.layer.findText("seeds"))
    section.layer.activated.emit(section.layer.currentIndex())
    assert section.each.text() == "2 points, each an object"
    section.each.click()
    me.settle()
    assert (me.labels[15, 20], me.labels[40, 60]) == (1, 2)
    assert section.result.text() == "2 points of 'seeds': 2 objects, 1 to 2"
    np.testing.assert_array_equal(seeds.data, before[0])
    assert seeds.features.equals(before[1])
    assert me.session.object_id == 3
    me.session.undo()
    me.settle()
    assert not me.labels.any()
    assert not me.session.prompts.clicks


def test_points_of_fewer_axes_and_other_units_lie_where_they_are_shown():
    stack = Image(np.zeros((5, *SHAPE), np.uint8), scale=(2000, 500, 500), units=("nm",) * 3)
    layer = Points([(5, 10)], units=("um", "um"), name="p")
    ((key, points),) = points_of(read_layer(layer, stack, THIRD, "each", 0)).items()
    assert key == (1, THIRD)
    np.testing.assert_allclose(points, [[10, 20]])
